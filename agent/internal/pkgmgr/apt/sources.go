package apt

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"slices"
	"strings"
)

// source is one entry of sources.list(5) for binary packages: one URI and suite with its components.
type source struct {
	uri, suite string
	components []string          // empty for a flat repository (suite ends in a slash)
	options    map[string]string // lower-case names of the one-line form
	where      string            // file and line or paragraph, for findings
}

// readSources reads all sources in apt's order.
func readSources(t *tree, arch string) (out []source, bad []string) {
	files, err := t.parts("etc/apt/sources.list.d", "list", "sources")
	if err != nil {
		bad = append(bad, "/etc/apt/sources.list.d: "+err.Error())
	}
	for _, name := range append([]string{"etc/apt/sources.list"}, files...) {
		data, err := t.read(name, maxSmallFile)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			bad = append(bad, "/"+name+": "+err.Error())
			continue
		}
		parse := parseSourcesList
		if strings.HasSuffix(name, ".sources") {
			parse = parseSourcesDeb822
		}
		found, problems := parse("/"+name, data)
		out, bad = append(out, found...), append(bad, problems...)
	}
	for i := range out {
		out[i].uri = withSlash(strings.ReplaceAll(out[i].uri, "$(ARCH)", arch))
		out[i].suite = strings.ReplaceAll(out[i].suite, "$(ARCH)", arch)
	}
	return out, bad
}

func withSlash(uri string) string {
	if strings.HasSuffix(uri, "/") {
		return uri
	}
	return uri + "/"
}

// parseSourcesList reads the one-line form.
func parseSourcesList(file string, data []byte) (out []source, bad []string) {
	n := 0
	for line := range bytes.Lines(data) {
		n++
		where := fmt.Sprintf("%s:%d", file, n)
		text := strings.TrimSpace(withoutComment(string(line)))
		rest, ok := strings.CutPrefix(text, "deb")
		if !ok || rest == "" || rest[0] != ' ' && rest[0] != '\t' {
			if text != "" && !strings.HasPrefix(text, "deb-src") {
				bad = append(bad, where+": not understood")
			}
			continue
		}
		s, err := parseOneLine(rest)
		if err != nil {
			bad = append(bad, where+": "+err.Error())
			continue
		}
		s.where = where
		out = append(out, s)
	}
	return out, bad
}

// withoutComment cuts at a # outside of brackets.
func withoutComment(line string) string {
	depth := false
	for i := range len(line) {
		switch c := line[i]; {
		case c == '[':
			depth = true
		case c == ']':
			depth = false
		case c == '#' && !depth:
			return line[:i]
		}
	}
	return line
}

func parseOneLine(text string) (source, error) {
	s := source{options: map[string]string{}}
	text = strings.TrimSpace(text)
	if rest, ok := strings.CutPrefix(text, "["); ok {
		options, after, ok := strings.Cut(rest, "]")
		if !ok {
			return s, errors.New("options are not closed")
		}
		for option := range strings.FieldsSeq(options) {
			key, value, ok := strings.Cut(option, "=")
			if !ok || key == "" || value == "" {
				return s, errors.New("option is not an assignment")
			}
			s.options[strings.ToLower(key)] = strings.Trim(value, `"`)
		}
		text = after
	}
	f := strings.Fields(text)
	if len(f) < 2 {
		return s, errors.New("no suite")
	}
	s.uri, s.suite, s.components = unquote(f[0]), unquote(f[1]), f[2:]
	return s, s.check()
}

func unquote(s string) string { return strings.Trim(s, `"`) }

func (s source) check() error {
	flat := strings.HasSuffix(s.suite, "/")
	switch {
	case !strings.Contains(s.uri, ":"):
		return errors.New("no URI")
	case flat && len(s.components) > 0:
		return errors.New("a component after an absolute suite")
	case !flat && len(s.components) == 0:
		return errors.New("no component")
	}
	return nil
}

// parseSourcesDeb822 reads the paragraph form.
func parseSourcesDeb822(file string, data []byte) (out []source, bad []string) {
	paras, err := deb822(data)
	if err != nil {
		bad = append(bad, file+": "+err.Error())
	}
	for i, p := range paras {
		if enabled, ok := aptBool(p["enabled"]); ok && !enabled || !slices.Contains(words(p["types"]), "deb") {
			continue
		}
		where := fmt.Sprintf("%s:%d", file, i+1)
		if len(words(p["uris"])) == 0 || len(words(p["suites"])) == 0 {
			bad = append(bad, where+": no URI or suite")
			continue
		}
		options := deb822Options(p)
		for _, uri := range words(p["uris"]) {
			for _, suite := range words(p["suites"]) {
				s := source{uri: uri, suite: suite, components: words(p["components"]), options: options, where: where}
				if err := s.check(); err != nil {
					bad = append(bad, where+": "+err.Error())
					continue
				}
				out = append(out, s)
			}
		}
	}
	return out, bad
}

// deb822Options gives the options their names of the one-line form.
func deb822Options(p map[string]string) map[string]string {
	options := map[string]string{}
	names := map[string]string{"architectures": "arch", "architectures-add": "arch+", "architectures-remove": "arch-"}
	for name, value := range p {
		if short, ok := names[name]; ok {
			options[short] = strings.Join(words(value), ",")
			continue
		}
		options[name] = value
	}
	return options
}

// architectures of an entry: its own list, or all that the device has, with "all" last unless it was named.
func (s source) architectures(device []string) []string {
	split := func(v string) []string { return strings.FieldsFunc(v, func(r rune) bool { return r == ',' }) }
	out := slices.Clone(device)
	if v, ok := s.options["arch"]; ok {
		out = split(v)
	}
	for _, a := range split(s.options["arch+"]) {
		if !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	if !slices.Contains(out, "all") {
		out = append(out, "all")
	}
	remove := split(s.options["arch-"])
	return slices.DeleteFunc(out, func(a string) bool { return slices.Contains(remove, a) })
}

// base is the URI of the directory of the Release file.
func (s source) base() string {
	switch {
	case s.suite == "/":
		return s.uri
	case strings.HasSuffix(s.suite, "/"):
		return s.uri + s.suite
	}
	return s.uri + "dists/" + s.suite + "/"
}

// listName is apt's name for the local copy of a URI: without scheme and user, odd characters quoted,
// slashes as underscores.
func listName(uri string) string {
	rest := uri
	if u, err := url.Parse(uri); err == nil && u.Scheme != "" {
		_, rest, _ = strings.Cut(uri, ":")
		rest = strings.TrimPrefix(rest, "//")
		host, path, slash := strings.Cut(rest, "/")
		if i := strings.LastIndexByte(host, '@'); i >= 0 {
			host = host[i+1:]
		}
		rest = host
		if slash {
			rest += "/" + path
		}
	}
	var b strings.Builder
	for i := range len(rest) {
		switch c := rest[i]; {
		case c == '/':
			b.WriteByte('_')
		case c <= ' ' || c >= 0x7f || strings.IndexByte("\\|{}[]<>\"^~_=!@#$%^&*", c) >= 0:
			fmt.Fprintf(&b, "%%%02x", c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}
