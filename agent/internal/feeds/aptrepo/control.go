package aptrepo

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"assent/feed"
	"assent/pkgver"
)

// allowed are the control fields that are taken over, in the order in which they are written, by lower-case name. Not among
// them, on purpose: Essential, Protected, Important and Build-Essential (apt installs those unasked or
// will not let go of them), Phased-Update-Percentage, Task, and everything that says where the file is.
var allowed = []string{"Maintainer", "Installed-Size", "Multi-Arch", "Pre-Depends", "Depends", "Recommends", "Suggests", "Enhances",
	"Conflicts", "Breaks", "Replaces", "Provides", "Section", "Priority", "Homepage", "Description"}

// maxValue caps one field, in bytes.
const maxValue = 64 << 10

var (
	fieldName   = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]{0,63}$`)
	packageName = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]{1,199}$`)
	archName    = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,63}$`)
)

// stanza is the entry of one item in Packages, ending in a line break.
func stanza(rel feed.Release, it feed.Item) (string, error) {
	if !packageName.MatchString(it.Name) || !archName.MatchString(it.Arch) || !packageName.MatchString(rel.Name) ||
		pkgver.Check("deb", it.Version) != nil || pkgver.Check("deb", rel.Version) != nil {
		return "", errors.New("its name, version or architecture is none that dpkg takes")
	}
	control, err := parseControl(it.Control)
	if err != nil {
		return "", err
	}
	source := control["source"]
	if source == "" {
		source = control["package"]
	}
	sourceName, sourceVersion := cutSource(source, control["version"])
	for _, c := range []struct{ what, says, manifest string }{
		{"package", control["package"], it.Name},
		{"version", control["version"], it.Version},
		{"architecture", control["architecture"], it.Arch},
		{"source", sourceName, rel.Name},
		{"source version", sourceVersion, rel.Version},
	} {
		if c.says != c.manifest {
			return "", fmt.Errorf("its control fields give the %s as %.80q, the manifest as %.80q", c.what, c.says, c.manifest)
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Package: %s\nSource: %s (%s)\nVersion: %s\nArchitecture: %s\n", it.Name, rel.Name, rel.Version, it.Version, it.Arch)
	for _, name := range allowed {
		if value := control[strings.ToLower(name)]; value != "" {
			fmt.Fprintf(&b, "%s: %s\n", name, value)
		}
	}
	fmt.Fprintf(&b, "Filename: %s/%s.deb\nSize: %d\nSHA256: %s\n", PoolDir, it.SHA256, it.Size, it.SHA256)
	return b.String(), nil
}

// cutSource splits a Source field, "name" or "name (version)".
func cutSource(source, version string) (string, string) {
	name, rest, ok := strings.Cut(source, " (")
	if !ok {
		return source, version
	}
	return name, strings.TrimSuffix(rest, ")")
}

// parseControl reads exactly one stanza: fields by lower-case name, each on one line. Anything that a reader could
// take for something else is refused and not repaired.
func parseControl(text string) (map[string]string, error) {
	out := map[string]string{}
	current := ""
	for line := range strings.Lines(strings.TrimRight(text, "\n")) {
		line = strings.TrimSuffix(line, "\n")
		if !utf8.ValidString(line) || strings.ContainsFunc(line, func(r rune) bool { return r != '\t' && !unicode.IsPrint(r) && r != ' ' }) {
			return nil, errors.New("its control fields have control or invisible characters")
		}
		if strings.TrimSpace(line) == "" {
			return nil, errors.New("its control fields are more than one stanza")
		}
		if line[0] == ' ' || line[0] == '\t' {
			if current == "" {
				return nil, errors.New("its control fields begin in the middle of one")
			}
			out[current] = continued(current, out[current], line)
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		key := strings.ToLower(name)
		if _, twice := out[key]; !ok || twice || !fieldName.MatchString(name) {
			return nil, fmt.Errorf("its control fields have a line that is none, or one twice: %.80q", line)
		}
		current, out[key] = key, flat(value)
	}
	for key, value := range out {
		if slices.ContainsFunc(allowed, func(a string) bool { return strings.EqualFold(a, key) }) && len(value) > maxValue {
			return nil, fmt.Errorf("its control field %s is longer than %d bytes", key, maxValue)
		}
	}
	return out, nil
}

// continued adds a continuation line. Of a description only the first line is wanted.
func continued(key, value, line string) string {
	if key == "description" || len(value) > maxValue {
		return value
	}
	return flat(value + " " + line)
}

// flat puts a value on one line.
func flat(value string) string { return strings.Join(strings.Fields(value), " ") }
