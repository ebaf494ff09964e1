package migrate

import (
	"fmt"
	"strings"
)

// AptConf is what files in the syntax of apt.conf(5) say: values by their path, in lower case. A list's values stand under the list's path.
type AptConf map[string][]string

// Read adds a file. Values that come later take the place of earlier ones, lists grow, as apt does it.
func (c AptConf) Read(at string, raw []byte) error {
	if err := within(at, raw); err != nil {
		return err
	}
	s := &confScanner{at: at, rest: string(raw), line: 1}
	return c.block(s, "", 0)
}

// maxDepth is how deep blocks of apt.conf may lie in each other.
const maxDepth = 20

// block reads statements up to the end of the block.
func (c AptConf) block(s *confScanner, prefix string, depth int) error {
	for {
		t, err := s.next()
		switch {
		case err != nil:
			return err
		case t.kind == 0 && depth > 0:
			return bad(s.at, "Line %d: a block is not closed.", s.line)
		case t.kind == 0:
			return nil
		case t.kind == '}' && depth > 0:
			return nil
		case t.kind == ';':
			continue
		case t.kind != word && t.kind != text:
			return bad(s.at, "Line %d: %q stands where a name is expected.", s.line, string(t.kind))
		}
		if err := c.statement(s, prefix, t, depth); err != nil {
			return err
		}
	}
}

// statement reads what follows a first word: `Name "value";`, `Name { … };`, or `"value";` in a list.
func (c AptConf) statement(s *confScanner, prefix string, first token, depth int) error {
	name, list := strings.CutSuffix(first.text, "::")
	path := strings.ToLower(strings.TrimPrefix(prefix+"::"+name, "::"))
	t, err := s.next()
	if err != nil {
		return err
	}
	var value *string
	if t.kind == word || t.kind == text {
		said := t.text
		value = &said
		if t, err = s.next(); err != nil {
			return err
		}
	}
	switch {
	case strings.HasPrefix(path, "#clear") && value != nil:
		c.clear(strings.ToLower(*value))
	case strings.HasPrefix(path, "#include"):
		return bad(s.at, "Line %d: #include is not followed; give that file too.", s.line)
	case t.kind == '{' && depth < maxDepth:
		return c.block(s, path, depth+1)
	case t.kind == '{':
		return bad(s.at, "Line %d: blocks lie more than %d deep.", s.line, maxDepth)
	case value == nil && first.kind == text:
		if c.add(prefix, first.text); t.kind == '}' { // the last of a list, which needs no ;
			s.back = &t
			return nil
		}
	case value != nil && list:
		c.add(path, *value)
	case value != nil:
		c[path] = []string{*value}
	}
	if t.kind != ';' {
		return bad(s.at, "Line %d: a statement does not end with ;.", s.line)
	}
	return nil
}

func (c AptConf) add(path, value string) {
	if path = strings.ToLower(path); len(c[path]) < maxRecords {
		c[path] = append(c[path], value)
	}
}

func (c AptConf) clear(path string) {
	for key := range c {
		if key == path || strings.HasPrefix(key, path+"::") {
			delete(c, key)
		}
	}
}

// last is the value of a path; empty where there is none.
func (c AptConf) last(path string) string {
	if v := c[path]; len(v) > 0 {
		return v[len(v)-1]
	}
	return ""
}

// on reports whether a value says yes, as apt reads it.
func (c AptConf) on(path string) bool {
	switch strings.ToLower(c.last(path)) {
	case "1", "yes", "true", "with", "on", "enable":
		return true
	}
	return false
}

// The kinds of tokens besides the characters {, } and ;.
const (
	word = 'w'
	text = 't' // in quotes
)

type token struct {
	kind rune // 0: the end
	text string
}

type confScanner struct {
	at, rest string
	line     int
	back     *token // read once more
}

// next is the next token.
func (s *confScanner) next() (token, error) {
	if t := s.back; t != nil {
		s.back = nil
		return *t, nil
	}
	if err := s.skip(); err != nil || s.rest == "" {
		return token{}, err
	}
	switch c := s.rest[0]; c {
	case '{', '}', ';':
		s.rest = s.rest[1:]
		return token{kind: rune(c)}, nil
	case '"':
		body, rest, closed := strings.Cut(s.rest[1:], `"`)
		if !closed || strings.Contains(body, "\n") {
			return token{}, bad(s.at, "Line %d: a text is not closed.", s.line)
		}
		s.rest = rest
		return token{kind: text, text: body}, nil
	}
	end := strings.IndexAny(s.rest, " \t\r\n{};\"")
	if end < 0 {
		end = len(s.rest)
	}
	t := token{kind: word, text: s.rest[:end]}
	s.rest = s.rest[end:]
	return t, nil
}

// skip goes over spaces and comments.
func (s *confScanner) skip() error {
	for s.rest != "" {
		switch {
		case s.rest[0] == '\n':
			s.line++
			s.rest = s.rest[1:]
		case strings.ContainsRune(" \t\r", rune(s.rest[0])):
			s.rest = s.rest[1:]
		case strings.HasPrefix(s.rest, "//"), s.rest[0] == '#' && !strings.HasPrefix(s.rest, "#clear") && !strings.HasPrefix(s.rest, "#include"):
			_, after, _ := strings.Cut(s.rest, "\n")
			s.rest, s.line = after, s.line+1
		case strings.HasPrefix(s.rest, "/*"):
			body, after, closed := strings.Cut(s.rest[2:], "*/")
			if !closed {
				return bad(s.at, "Line %d: a comment is not closed.", s.line)
			}
			s.rest, s.line = after, s.line+strings.Count(body, "\n")
		default:
			return nil
		}
	}
	return nil
}

// where names a setting for people.
func where(path string) string { return fmt.Sprintf("apt.conf, %s", path) }
