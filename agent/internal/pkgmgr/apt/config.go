package apt

import (
	"errors"
	"io/fs"
	"strings"
)

// aptConfig is apt's configuration as far as its files say, by lower-case name. Of lists only the
// elements are kept, under the name with a trailing "::".
type aptConfig map[string][]string

// configLimit caps the number of values; real configurations have some hundreds.
const configLimit = 20_000

// readConfig reads apt.conf.d and apt.conf in apt's order. Unreadable files are named in bad; apt would
// stop at them, the scan goes on with the rest.
func readConfig(t *tree) (c aptConfig, bad []string) {
	c = aptConfig{}
	files, err := t.parts("etc/apt/apt.conf.d", "conf", "")
	if err != nil {
		bad = append(bad, "/etc/apt/apt.conf.d: "+err.Error())
	}
	for _, name := range append(files, "etc/apt/apt.conf") {
		if err := c.readFile(t, name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			bad = append(bad, "/"+name+": "+err.Error())
		}
	}
	return c, bad
}

func (c aptConfig) readFile(t *tree, name string) error {
	data, err := t.read(name, maxSmallFile)
	if err != nil {
		return err
	}
	return c.parse(string(data))
}

// parse reads one configuration file (apt.conf(5)). Directives other than #clear are not followed and are an error.
func (c aptConfig) parse(text string) error {
	var scopes []string
	var problem error
	for _, s := range configStatements(text) {
		tag, value, hasValue := splitStatement(s.text)
		if tag == "" && !hasValue {
			if s.end == '}' && len(scopes) > 0 {
				scopes = scopes[:len(scopes)-1]
			}
			continue
		}
		switch {
		case strings.HasPrefix(tag, "#clear"):
			c.clear(value)
		case strings.HasPrefix(tag, "#"):
			problem = errors.New("directive " + clip(tag, 40) + " is not followed")
		case s.end == '{':
			scopes = append(scopes, tag)
		case len(c) > configLimit:
			return errTooLarge
		default:
			c.set(strings.ToLower(strings.Join(append(scopes[:len(scopes):len(scopes)], tag), "::")), value)
		}
		if s.end == '}' && len(scopes) > 0 {
			scopes = scopes[:len(scopes)-1]
		}
	}
	return problem
}

// set stores a value: a scalar replaces, a list element (name ending in "::") is appended.
func (c aptConfig) set(name, value string) {
	if strings.HasSuffix(name, "::") {
		if len(c[name]) < configLimit {
			c[name] = append(c[name], value)
		}
		return
	}
	c[name] = []string{value}
}

func (c aptConfig) clear(name string) {
	name = strings.ToLower(strings.TrimSuffix(name, "::"))
	for key := range c {
		if key == name || strings.HasPrefix(key, name+"::") {
			delete(c, key)
		}
	}
}

// find gives a scalar; empty if it is not set.
func (c aptConfig) find(name string) string {
	if v := c[strings.ToLower(name)]; len(v) > 0 {
		return v[len(v)-1]
	}
	return ""
}

// all gives a list: its scalar value split at commas, or its elements.
func (c aptConfig) all(name string) []string {
	var out []string
	if v := c.find(name); v != "" {
		out = append(out, strings.FieldsFunc(v, func(r rune) bool { return r == ',' || r == ' ' })...)
	}
	return append(out, c[strings.ToLower(name)+"::"]...)
}

// isTrue reads a boolean as apt does.
func (c aptConfig) isTrue(name string) bool {
	b, ok := aptBool(c.find(name))
	return ok && b
}

func aptBool(s string) (value, ok bool) {
	switch strings.ToLower(strings.TrimSpace(s)) {
	case "yes", "true", "with", "on", "enable", "1":
		return true, true
	case "no", "false", "without", "off", "disable", "0":
		return false, true
	}
	return false, false
}

// statement is a piece of a configuration file up to ; { or }.
type statement struct {
	text string
	end  byte
}

// configStatements cuts a file into statements and drops comments.
func configStatements(text string) []statement {
	var out []statement
	var b strings.Builder
	quoted := false
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '"':
			quoted = !quoted
			b.WriteByte(c)
		case quoted && c != '\n':
			b.WriteByte(c)
		case strings.HasPrefix(text[i:], "//"), c == '#' && !directive(text[i:]):
			i += lineEnd(text[i:]) - 1
		case strings.HasPrefix(text[i:], "/*"):
			end := strings.Index(text[i+2:], "*/")
			if end < 0 {
				return out
			}
			i += end + 3
		case c == ';' || c == '{' || c == '}':
			out = append(out, statement{strings.TrimSpace(b.String()), c})
			b.Reset()
		case c == '\n':
			quoted = false
			b.WriteByte(' ')
		default:
			b.WriteByte(c)
		}
	}
	return out
}

func directive(s string) bool {
	return strings.HasPrefix(s, "#clear") || strings.HasPrefix(s, "#include") || strings.HasPrefix(s, "#x-apt-configure-index")
}

func lineEnd(s string) int {
	if i := strings.IndexByte(s, '\n'); i >= 0 {
		return i
	}
	return len(s)
}

// splitStatement gives the name and the value; a lone quoted text is a value without a name, that is an
// element of the surrounding list.
func splitStatement(s string) (tag, value string, hasValue bool) {
	if strings.HasPrefix(s, `"`) {
		return "", strings.Trim(s, `"`), true
	}
	tag, value, hasValue = strings.Cut(s, " ")
	value = strings.TrimSpace(value)
	if len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"' {
		value = value[1 : len(value)-1]
	}
	return tag, value, hasValue
}
