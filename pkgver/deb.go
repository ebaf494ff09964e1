// Package pkgver orders versions as each ecosystem's own tools do.
//
// Parse once into a type: a version that does not parse has no order, and whoever asks must hold
// (product.md: unknown always holds). Guarantees: the order is total and equal to the real tool's;
// parsing never panics. It knows "deb" (deb-version(7), Debian Policy 5.6.12).
package pkgver

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// Deb is a parsed Debian version.
type Deb struct {
	epoch              int
	upstream, revision string
	text               string
}

// String is the version as it was written.
func (v Deb) String() string { return v.text }

// maxLength caps a version's length in bytes; real ones stay far below.
const maxLength = 512

// ParseDeb reads [epoch:]upstream[-revision].
func ParseDeb(s string) (Deb, error) {
	bad := func(why string) (Deb, error) { return Deb{}, fmt.Errorf("version %.80q: %s", s, why) }
	if len(s) > maxLength {
		return bad("too long")
	}
	v := Deb{text: s, upstream: s}
	if head, tail, ok := strings.Cut(s, ":"); ok {
		epoch, err := strconv.ParseUint(head, 10, 31)
		if err != nil || strings.HasPrefix(head, "+") {
			return bad("the epoch is not a number")
		}
		v.epoch, v.upstream = int(epoch), tail
	}
	if i := strings.LastIndexByte(v.upstream, '-'); i >= 0 {
		v.upstream, v.revision = v.upstream[:i], v.upstream[i+1:]
		if v.revision == "" {
			return bad("the revision is empty")
		}
	}
	switch {
	case v.upstream == "" || v.upstream[0] < '0' || v.upstream[0] > '9':
		return bad("the upstream version does not start with a digit")
	case !only(v.upstream, ".+-~:"):
		return bad("the upstream version has a character that Policy does not allow")
	case !only(v.revision, ".+~"):
		return bad("the revision has a character that Policy does not allow")
	}
	return v, nil
}

func only(s, extra string) bool {
	for i := range len(s) {
		if !alnum(s[i]) && strings.IndexByte(extra, s[i]) < 0 {
			return false
		}
	}
	return true
}

func digit(c byte) bool  { return c >= '0' && c <= '9' }
func letter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }
func alnum(c byte) bool  { return digit(c) || letter(c) }

// Compare orders as `dpkg --compare-versions`: negative when v is earlier than w.
func (v Deb) Compare(w Deb) int {
	return cmp.Or(cmp.Compare(v.epoch, w.epoch), compareParts(v.upstream, w.upstream), compareParts(v.revision, w.revision))
}

// compareParts is dpkg's verrevcmp: alternately a run of non-digits and a number.
func compareParts(a, b string) int {
	for a != "" || b != "" {
		for a != "" && !digit(a[0]) || b != "" && !digit(b[0]) {
			if c := cmp.Compare(order(a), order(b)); c != 0 {
				return c
			}
			a, b = a[1:], b[1:]
		}
		var x, y string
		x, a = number(a)
		y, b = number(b)
		if c := cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(x, y)); c != 0 {
			return c
		}
	}
	return 0
}

// order ranks the first character: tilde before the end, the end (and digits) before letters, letters
// before everything else.
func order(s string) int {
	switch {
	case s == "" || digit(s[0]):
		return 0
	case letter(s[0]):
		return int(s[0])
	case s[0] == '~':
		return -1
	}
	return int(s[0]) + 256
}

// number splits off the leading digits, without leading zeros.
func number(s string) (digits, rest string) {
	n := 0
	for n < len(s) && digit(s[n]) {
		n++
	}
	return strings.TrimLeft(s[:n], "0"), s[n:]
}

// Compare orders two versions of an ecosystem. An unknown ecosystem or an unparsable version is an error.
func Compare(ecosystem, a, b string) (int, error) {
	if ecosystem != "deb" {
		return 0, fmt.Errorf("versions of the ecosystem %q have no known order", ecosystem)
	}
	v, err := ParseDeb(a)
	if err != nil {
		return 0, err
	}
	w, err := ParseDeb(b)
	if err != nil {
		return 0, err
	}
	return v.Compare(w), nil
}
