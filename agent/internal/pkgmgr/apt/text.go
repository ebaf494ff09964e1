package apt

import (
	"bytes"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// validName is the syntax of package and source names: ^[a-z0-9][a-z0-9+.-]*$.
func validName(b []byte) bool {
	if len(b) == 0 || len(b) > maxName || !isLowerAlnum(b[0]) {
		return false
	}
	for _, c := range b[1:] {
		if !isLowerAlnum(c) && c != '+' && c != '.' && c != '-' {
			return false
		}
	}
	return true
}

// validArch is the syntax of architecture names.
func validArch(b []byte) bool {
	if len(b) == 0 || len(b) > 64 || !isLowerAlnum(b[0]) {
		return false
	}
	for _, c := range b[1:] {
		if !isLowerAlnum(c) && c != '-' {
			return false
		}
	}
	return true
}

// validSHA256 wants 64 lower-case hex digits.
func validSHA256(b []byte) bool {
	if len(b) != 64 {
		return false
	}
	for _, c := range b {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func isLowerAlnum(c byte) bool { return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' }

// maxName caps a package name, in bytes. dpkg's file names could not be longer.
const maxName = 200

// number reads a non-negative number; -1 if it is none.
func number(b []byte) int64 {
	n, err := strconv.ParseInt(string(b), 10, 64)
	if err != nil || n < 0 {
		return -1
	}
	return n
}

// cleanText makes a text from outside safe to pass on: valid UTF-8, no control or invisible formatting
// characters, at most limit bytes.
func cleanText(b []byte, limit int) string {
	if len(b) <= limit && plainASCII(b) {
		return string(b)
	}
	b = b[:min(len(b), 4*limit)]
	s := strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case r == utf8.RuneError || !unicode.IsPrint(r):
			return -1
		}
		return r
	}, string(b))
	return clip(s, limit)
}

func plainASCII(b []byte) bool {
	for _, c := range b {
		if c < ' ' || c >= 0x7f {
			return false
		}
	}
	return true
}

// clip cuts a text at limit bytes, between characters.
func clip(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}

// cutSource splits a Source field, "name (version)".
func cutSource(value []byte) (name, version []byte) {
	name, rest, ok := bytes.Cut(value, []byte("("))
	if !ok {
		return bytes.TrimSpace(value), nil
	}
	version, _, _ = bytes.Cut(rest, []byte(")"))
	return bytes.TrimSpace(name), bytes.TrimSpace(version)
}

// interner keeps one copy of each text: versions and source names repeat a lot.
type interner map[string]string

func (in interner) text(b []byte) string {
	if s, ok := in[string(b)]; ok {
		return s
	}
	s := string(b)
	in[s] = s
	return s
}
