package pkgver

import (
	"cmp"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// MaxDebLength caps the text of a Debian version, in bytes. Real ones stay below 150.
const MaxDebLength = 512

// Deb is a Debian version, [epoch:]upstream[-revision]. Only ParseDeb makes one; the zero value is
// not a version.
type Deb struct {
	text     string
	upstream string
	revision string
	epoch    int32
}

// ParseDeb reads a version as strictly as dpkg reads the one of a package it is to install
// (deb-version(7), Policy 5.6.12). The error wraps ErrMalformed.
func ParseDeb(text string) (Deb, error) {
	v, problem := parseDeb(text)
	if problem != "" {
		return Deb{}, fmt.Errorf("version %.80q %s: %w", text, problem, ErrMalformed)
	}
	return v, nil
}

func parseDeb(text string) (v Deb, problem string) {
	if len(text) > MaxDebLength {
		return Deb{}, "is too long"
	}
	v.text, v.upstream = text, text
	if epoch, rest, ok := strings.Cut(text, ":"); ok {
		if v.epoch, ok = parseEpoch(epoch); !ok {
			return Deb{}, "has an epoch that is not a number"
		}
		v.upstream = rest
	}
	if i := strings.LastIndexByte(v.upstream, '-'); i >= 0 {
		v.upstream, v.revision = v.upstream[:i], v.upstream[i+1:]
		if v.revision == "" {
			return Deb{}, "has an empty revision"
		}
	}
	switch {
	case v.upstream == "":
		return Deb{}, "has no upstream part"
	case !isDigit(v.upstream[0]):
		return Deb{}, "does not start with a digit"
	case !only(v.upstream, ".+-~:"):
		return Deb{}, "has a character that is not allowed"
	case !only(v.revision, ".+~"):
		return Deb{}, "has a character that is not allowed in the revision"
	}
	return v, ""
}

func parseEpoch(s string) (int32, bool) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil || n > math.MaxInt32 {
		return 0, false
	}
	return int32(n), true
}

func only(s, punctuation string) bool {
	for i := range len(s) {
		if !isDigit(s[i]) && !isLetter(s[i]) && strings.IndexByte(punctuation, s[i]) < 0 {
			return false
		}
	}
	return true
}

// String is the text that was parsed.
func (v Deb) String() string { return v.text }

// Epoch is the number before the colon, 0 if there is none.
func (v Deb) Epoch() int { return int(v.epoch) }

// Upstream is the version without epoch and revision.
func (v Deb) Upstream() string { return v.upstream }

// Revision is what follows the last dash; empty for native packages.
func (v Deb) Revision() string { return v.revision }

// Compare gives -1, 0 or 1 as v is older than, equal to or newer than w.
func (v Deb) Compare(w Deb) int {
	if v.text == w.text {
		return 0
	}
	return cmp.Or(cmp.Compare(v.epoch, w.epoch), compareDebPart(v.upstream, w.upstream), compareDebPart(v.revision, w.revision))
}

// compareDebPart walks both texts in turns: a run of non-digits by debOrder, then a run of digits by
// value. A missing revision is the empty text, which equals "0".
func compareDebPart(a, b string) int {
	for a != "" || b != "" {
		for (a != "" && !isDigit(a[0])) || (b != "" && !isDigit(b[0])) {
			if c := cmp.Compare(debOrder(a), debOrder(b)); c != 0 {
				return c
			}
			// Equal orders other than 0 are equal characters; both 0 would mean two digits or ends.
			a, b = a[1:], b[1:]
		}
		var na, nb string
		na, a = cutNumber(a)
		nb, b = cutNumber(b)
		if c := cmp.Or(cmp.Compare(len(na), len(nb)), strings.Compare(na, nb)); c != 0 {
			return c
		}
	}
	return 0
}

// debOrder of the first character: tilde before the end, the end and digits before letters, letters
// before everything else.
func debOrder(s string) int {
	switch {
	case s == "" || isDigit(s[0]):
		return 0
	case s[0] == '~':
		return -1
	case isLetter(s[0]):
		return int(s[0])
	}
	return int(s[0]) + 256
}

// cutNumber splits off the leading digits, without their leading zeros: longer is greater then,
// whatever the size of the number.
func cutNumber(s string) (number, rest string) {
	end := 0
	for end < len(s) && isDigit(s[end]) {
		end++
	}
	return strings.TrimLeft(s[:end], "0"), s[end:]
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }
