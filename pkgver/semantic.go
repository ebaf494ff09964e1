package pkgver

import (
	"cmp"
	"fmt"
	"strings"
)

// Semantic is a version of what Assent itself and feeds of trees and content files publish: Semantic Versioning 2.0.0,
// but with one to six numbers, so that a date ("2026.11.23") is one too. Numbers that are missing count as zero.
type Semantic struct {
	text    string
	numbers []string // without leading zeros: any length is read
	pre     []string
}

// maxSemantic caps a version, in bytes.
const maxSemantic = 128

// ParseSemantic reads a version. The error is ErrMalformed.
func ParseSemantic(text string) (Semantic, error) {
	v := Semantic{text: text}
	core, build, hasBuild := strings.Cut(text, "+")
	core, pre, hasPre := strings.Cut(core, "-")
	numbers := strings.Split(core, ".")
	ok := len(text) <= maxSemantic && len(numbers) <= 6 && (!hasBuild || identifiers(build))
	for _, n := range numbers {
		ok = ok && isNumber(n)
		v.numbers = append(v.numbers, trimZeros(n))
	}
	if hasPre {
		ok = ok && identifiers(pre)
		v.pre = strings.Split(pre, ".")
	}
	if !ok {
		return Semantic{}, fmt.Errorf("%.80q is no semantic version: %w", text, ErrMalformed)
	}
	return v, nil
}

// identifiers reports whether s is one or more dot-separated identifiers.
func identifiers(s string) bool {
	for part := range strings.SplitSeq(s, ".") {
		if part == "" {
			return false
		}
		for i := range len(part) {
			if c := part[i]; !isDigit(c) && !isLetter(c) && c != '-' {
				return false
			}
		}
	}
	return true
}

func isNumber(s string) bool {
	for i := range len(s) {
		if !isDigit(s[i]) {
			return false
		}
	}
	return s != ""
}

func trimZeros(s string) string {
	if t := strings.TrimLeft(s, "0"); t != "" {
		return t
	}
	return "0"
}

// String is the text that was read.
func (v Semantic) String() string { return v.text }

// Compare orders by number, then a pre-release before its release; what stands after a plus sign does not count.
func (v Semantic) Compare(w Semantic) int {
	for i := range max(len(v.numbers), len(w.numbers)) {
		if c := compareNumbers(at(v.numbers, i), at(w.numbers, i)); c != 0 {
			return c
		}
	}
	if len(v.pre) == 0 || len(w.pre) == 0 {
		return cmp.Compare(len(w.pre), len(v.pre)) // none is newest; both none are equal
	}
	for i := range min(len(v.pre), len(w.pre)) {
		if c := comparePre(v.pre[i], w.pre[i]); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(v.pre), len(w.pre))
}

func at(numbers []string, i int) string {
	if i < len(numbers) {
		return numbers[i]
	}
	return "0"
}

// compareNumbers orders numbers without leading zeros.
func compareNumbers(a, b string) int {
	return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
}

// comparePre orders identifiers of a pre-release: numbers before words, numbers by value.
func comparePre(a, b string) int {
	na, nb := isNumber(a), isNumber(b)
	switch {
	case na && nb:
		return compareNumbers(trimZeros(a), trimZeros(b))
	case na:
		return -1
	case nb:
		return 1
	}
	return cmp.Compare(a, b)
}
