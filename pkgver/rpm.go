package pkgver

import (
	"cmp"
	"fmt"
	"strings"
)

// MaxRPMLength caps the text of an RPM version, in bytes.
const MaxRPMLength = 512

// RPM is a version of an RPM package, [epoch:]version[-release]. Only ParseRPM makes one; the zero value is not a version.
// Packages always have a release; conditions often leave it out, and a version without one comes before the same
// version with any.
type RPM struct {
	text    string
	version string
	release string
	epoch   int32
}

// ParseRPM reads a version as strictly as rpmbuild does when it makes a package: letters, digits and "._+~^", the dash
// between version and release only. It must hold at least one letter or digit in each part. The error wraps ErrMalformed.
func ParseRPM(text string) (RPM, error) {
	v, problem := parseRPM(text)
	if problem != "" {
		return RPM{}, fmt.Errorf("version %.80q %s: %w", text, problem, ErrMalformed)
	}
	return v, nil
}

func parseRPM(text string) (v RPM, problem string) {
	if len(text) > MaxRPMLength {
		return RPM{}, "is too long"
	}
	v.text, v.version = text, text
	if epoch, rest, ok := strings.Cut(text, ":"); ok {
		if v.epoch, ok = parseEpoch(epoch); !ok {
			return RPM{}, "has an epoch that is not a number"
		}
		v.version = rest
	}
	version, release, dashed := strings.Cut(v.version, "-")
	v.version, v.release = version, release
	switch {
	case dashed && !hasAlnum(release):
		return RPM{}, "has an empty release"
	case !hasAlnum(version):
		return RPM{}, "has no version part"
	case !only(version, "._+~^"), !only(release, "._+~^"):
		return RPM{}, "has a character that is not allowed"
	}
	return v, ""
}

func hasAlnum(s string) bool {
	for i := range len(s) {
		if isDigit(s[i]) || isLetter(s[i]) {
			return true
		}
	}
	return false
}

// String is the text that was parsed.
func (v RPM) String() string { return v.text }

// Epoch is the number before the colon, 0 if there is none.
func (v RPM) Epoch() int { return int(v.epoch) }

// Version is the part without epoch and release.
func (v RPM) Version() string { return v.version }

// Release is what follows the dash; empty where there is none.
func (v RPM) Release() string { return v.release }

// Compare gives -1, 0 or 1 as v is older than, equal to or newer than w.
func (v RPM) Compare(w RPM) int {
	if v.text == w.text {
		return 0
	}
	return cmp.Or(cmp.Compare(v.epoch, w.epoch), compareRPMPart(v.version, w.version), compareRPMPart(v.release, w.release))
}

// compareRPMPart is rpm's own rpmvercmp: runs of digits and runs of letters in turns, numbers newer than words, "~"
// older than the end and "^" newer than the end but older than anything else. Other characters only part the runs.
func compareRPMPart(a, b string) int {
	for a != "" || b != "" {
		a, b = trimRPM(a), trimRPM(b)
		if starts(a, '~') || starts(b, '~') {
			if !starts(a, '~') || !starts(b, '~') {
				return mark(starts(b, '~'))
			}
			a, b = a[1:], b[1:]
			continue
		}
		if starts(a, '^') || starts(b, '^') {
			switch {
			case starts(a, '^') && starts(b, '^'):
				a, b = a[1:], b[1:]
				continue
			case a == "" || b == "":
				return mark(b == "")
			}
			return mark(starts(b, '^'))
		}
		if a == "" || b == "" {
			break
		}
		var c int
		if c, a, b = compareRuns(a, b); c != 0 {
			return c
		}
	}
	return cmp.Compare(min(len(a), 1), min(len(b), 1)) // who has something left is newer
}

// mark is 1 if it is true, else -1.
func mark(newer bool) int {
	if newer {
		return 1
	}
	return -1
}

func starts(s string, c byte) bool { return s != "" && s[0] == c }

// trimRPM drops the characters that only part runs.
func trimRPM(s string) string {
	for s != "" && !isDigit(s[0]) && !isLetter(s[0]) && s[0] != '~' && s[0] != '^' {
		s = s[1:]
	}
	return s
}

// compareRuns compares the first runs of a and b, which both begin with a letter or digit, and gives what follows them.
func compareRuns(a, b string) (order int, restA, restB string) {
	if isDigit(a[0]) {
		if !isDigit(b[0]) {
			return 1, a, b
		}
		na, restA := cutNumber(a)
		nb, restB := cutNumber(b)
		return cmp.Or(cmp.Compare(len(na), len(nb)), strings.Compare(na, nb)), restA, restB
	}
	if isDigit(b[0]) {
		return -1, a, b
	}
	wa, restA := cutWord(a)
	wb, restB := cutWord(b)
	return strings.Compare(wa, wb), restA, restB
}

// cutWord splits off the leading letters.
func cutWord(s string) (word, rest string) {
	end := 0
	for end < len(s) && isLetter(s[end]) {
		end++
	}
	return s[:end], s[end:]
}
