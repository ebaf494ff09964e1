package migrate

import (
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Match is how a Pattern compares.
type Match string

// The ways.
const (
	Exact  Match = "exact"
	Glob   Match = "glob"
	Regexp Match = "regexp"
	Title  Match = "title" // the update's title, or one of its advisories: what WSUS knows
)

// Pattern says of which software a record speaks.
type Pattern struct {
	Text   string `json:"text"`
	Match  Match  `json:"match"`
	Source bool   `json:"source,omitempty"` // the name of the source package, not of its files' packages
	re     *regexp.Regexp
}

// maxPattern is the longest expression that is compiled.
const maxPattern = 1000

// newPattern reads a name, a glob or a regular expression (between slashes), as apt does. ok is false for what is none.
func newPattern(word string) (p Pattern, ok bool) {
	p = Pattern{Text: word, Match: Exact}
	if rest, source := strings.CutPrefix(word, "src:"); source {
		p.Text, p.Source = rest, true
	}
	switch {
	case p.Text == "" || len(p.Text) > maxPattern:
		return p, false
	case len(p.Text) > 1 && strings.HasPrefix(p.Text, "/") && strings.HasSuffix(p.Text, "/"):
		return newRegexp(p, p.Text[1:len(p.Text)-1])
	case strings.ContainsAny(p.Text, "*?["):
		p.Match = Glob
		_, err := path.Match(p.Text, "")
		return p, err == nil
	}
	return p, true
}

func newRegexp(p Pattern, expression string) (Pattern, bool) {
	re, err := regexp.Compile(expression)
	p.Match, p.Text, p.re = Regexp, expression, re
	return p, err == nil && expression != ""
}

// name reports whether one name matches.
func (p Pattern) name(s string) bool {
	switch p.Match {
	case Exact:
		return s == p.Text
	case Glob:
		return glob(p.Text, s)
	case Regexp:
		return p.re != nil && p.re.MatchString(s)
	}
	return false
}

// matches reports whether a known update is meant, and whether packages of it are meant too that the pattern does not name.
func (p Pattern) matches(k Known) (is, wider bool) {
	switch {
	case p.Match == Title:
		return k.titled(p.Text) || slices.ContainsFunc(k.Advisories, func(a string) bool { return strings.EqualFold(a, p.Text) }), false
	case p.Source:
		return p.name(k.Name), false
	}
	for _, name := range k.Packages {
		if p.name(name) {
			is = true
		} else {
			wider = true
		}
	}
	return is, is && wider
}

// literal is the longest part of a pattern that every match contains; empty where there is none.
func (p Pattern) literal() string {
	switch p.Match {
	case Glob:
		longest := ""
		for _, part := range strings.FieldsFunc(p.Text, func(r rune) bool { return strings.ContainsRune("*?[]", r) }) {
			if len(part) > len(longest) {
				longest = part
			}
		}
		if strings.ContainsAny(p.Text, `[\`) {
			return ""
		}
		return longest
	case Regexp:
		return ""
	}
	return p.Text
}

func (p Pattern) String() string {
	switch {
	case p.Match == Regexp:
		return "/" + plain(p.Text) + "/"
	case p.Source:
		return "src:" + plain(p.Text)
	}
	return plain(p.Text)
}

// glob matches as fnmatch does for names without slashes; versions and names have none that matter, so they are taken out.
func glob(pattern, s string) bool {
	ok, err := path.Match(strings.ReplaceAll(pattern, "/", "\x01"), strings.ReplaceAll(s, "/", "\x01"))
	return ok && err == nil
}

// Archive is where releases come from, as far as a server knows it: the Origin of an archive and its codename or suite. Empty fields match all.
type Archive struct {
	Origin string `json:"origin,omitempty"` // glob
	Name   string `json:"name,omitempty"`   // glob
	// Security are the archives of security updates.
	Security bool `json:"security,omitempty"`
}

// has reports whether what the server calls "Debian:bookworm-security" is of the archive.
func (a Archive) has(seen string) bool {
	origin, name, _ := strings.Cut(seen, ":")
	return (a.Origin == "" || glob(a.Origin, origin)) && (a.Name == "" || glob(a.Name, name)) && (!a.Security || strings.HasSuffix(name, "-security"))
}

// criteria is the same as an expression over an update; ok is false for globs that no simple function says.
func (a Archive) criteria() (expression string, ok bool) {
	if !strings.ContainsAny(a.Origin+a.Name, `*?[\`) && a.Origin != "" && a.Name != "" {
		return both(quoted(a.Origin+":"+a.Name)+" in origins", a.Security), true
	}
	origin, ok1 := globCriteria(a.Origin, true)
	name, ok2 := globCriteria(a.Name, false)
	switch {
	case !ok1 || !ok2:
		return "", false
	case origin == "" && name == "":
		return "security", a.Security
	}
	return both("origins.exists(o, "+and(origin, name)+")", a.Security), true
}

func both(expression string, security bool) string {
	if security {
		return "security && " + expression
	}
	return expression
}

func and(parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), " && ")
}

// globCriteria says of the part of "Debian:bookworm" before or behind the colon that it matches a glob of the form a, a* or *a.
func globCriteria(pattern string, first bool) (string, bool) {
	body := strings.Trim(pattern, "*")
	begins, ends := strings.HasSuffix(pattern, "*"), strings.HasPrefix(pattern, "*")
	switch {
	case body == "":
		return "", true
	case strings.ContainsAny(body, `*?[\`) || begins && ends:
		return "", false
	case first && ends, !first && begins && ends:
		return "", false
	case first && begins:
		return "o.startsWith(" + quoted(body) + ")", true
	case first:
		return "o.startsWith(" + quoted(body+":") + ")", true
	case begins:
		return "o.contains(" + quoted(":"+body) + ")", true
	case ends:
		return "o.endsWith(" + quoted(body) + ")", true
	}
	return "o.endsWith(" + quoted(":"+body) + ")", true
}

// quoted is a text in an expression.
func quoted(s string) string { return strconv.Quote(s) }
