package apt

import (
	"regexp"
	"strings"
)

// maxPattern caps a pattern of the preferences, in bytes: apt cuts release pins at 300.
const maxPattern = 1024

// expression is a pattern as apt takes it in preferences: /regex/ or a shell pattern, both without regard
// to case.
type expression struct {
	text  string
	regex *regexp.Regexp
	bad   bool // a regular expression that cannot be read: matches nothing, as in apt
}

func newExpression(text string) expression {
	e := expression{text: strings.ToLower(text)}
	if len(text) > maxPattern {
		return expression{bad: true}
	}
	if isRegex(text) {
		var err error
		e.regex, err = regexp.Compile("(?is)" + text[1:len(text)-1])
		e.bad = err != nil
	}
	return e
}

func isRegex(s string) bool { return len(s) >= 2 && s[0] == '/' && s[len(s)-1] == '/' }

// isPattern says whether a package name in the preferences is one.
func isPattern(s string) bool { return isRegex(s) || strings.ContainsAny(s, "*[?") }

func (e expression) matches(s string) bool {
	switch {
	case e.bad:
		return false
	case e.regex != nil:
		return e.regex.MatchString(s)
	}
	return fnmatch(e.text, strings.ToLower(s))
}

// fnmatch is fnmatch(3) without flags. It backtracks to the last star only, so that no pattern makes it slow.
func fnmatch(pattern, s string) bool {
	p, i := 0, 0
	star, mark := -1, 0
	for i < len(s) {
		if p < len(pattern) {
			if pattern[p] == '*' {
				star, mark = p, i
				p++
				continue
			}
			if n, ok := matchOne(pattern[p:], s[i]); ok {
				p += n
				i++
				continue
			}
		}
		if star < 0 {
			return false
		}
		mark++
		p, i = star+1, mark
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// matchOne matches one character and gives the length of the pattern it took.
func matchOne(pattern string, c byte) (length int, ok bool) {
	switch pattern[0] {
	case '?':
		return 1, true
	case '\\':
		if len(pattern) > 1 {
			return 2, pattern[1] == c
		}
		return 1, false // a backslash at the end matches nothing in glibc
	case '[':
		if n, ok := matchSet(pattern, c); n > 0 {
			return n, ok
		}
	}
	return 1, pattern[0] == c
}

// matchSet matches a bracket expression; length 0 means that it is none.
func matchSet(pattern string, c byte) (length int, ok bool) {
	i := 1
	negated := i < len(pattern) && (pattern[i] == '!' || pattern[i] == '^')
	if negated {
		i++
	}
	found := false
	for first := true; i < len(pattern); first = false {
		if pattern[i] == ']' && !first {
			return i + 1, found != negated
		}
		if class, n := className(pattern[i:]); n > 0 {
			found = found || inClass(class, c)
			i += n
			continue
		}
		low, n := setChar(pattern[i:])
		i += n
		high := low
		if i+1 < len(pattern) && pattern[i] == '-' && pattern[i+1] != ']' {
			high, n = setChar(pattern[i+1:])
			i += 1 + n
		}
		found = found || c >= low && c <= high
	}
	return 0, false
}

func setChar(s string) (c byte, length int) {
	if s[0] == '\\' && len(s) > 1 {
		return s[1], 2
	}
	return s[0], 1
}

func className(s string) (name string, length int) {
	rest, ok := strings.CutPrefix(s, "[:")
	if !ok {
		return "", 0
	}
	name, _, ok = strings.Cut(rest, ":]")
	if !ok {
		return "", 0
	}
	return name, len(name) + 4
}

func inClass(class string, c byte) bool {
	digit := c >= '0' && c <= '9'
	letter := c >= 'a' && c <= 'z'
	switch class {
	case "alpha", "lower", "upper": // case is of no regard
		return letter
	case "digit":
		return digit
	case "alnum":
		return digit || letter
	case "xdigit":
		return digit || c >= 'a' && c <= 'f'
	case "punct":
		return c > ' ' && c < 0x7f && !digit && !letter
	case "graph":
		return c > ' ' && c < 0x7f
	case "print":
		return c >= ' ' && c < 0x7f
	case "space":
		return c == ' ' || c >= '\t' && c <= '\r'
	case "blank":
		return c == ' ' || c == '\t'
	}
	return false
}
