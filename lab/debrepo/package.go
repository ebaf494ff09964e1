package debrepo

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Package describes one binary package. Name and Version are required; every other field has a usable zero value.
type Package struct {
	Name    string
	Version string
	Arch    string // a Debian architecture or "all"; empty means "all"

	Source        string // source package; empty means Name
	SourceVersion string // only if it differs from Version

	Depends, PreDepends, Recommends, Conflicts, Breaks, Replaces, Provides string

	Description string // one line
	Section     string // empty means "misc"
	Essential   bool

	// Files maps absolute paths to contents. Contents that start with "#!" become executable.
	Files     map[string]string
	Conffiles []string // absolute paths, each of which must be in Files

	PreInst, PostInst, PreRm, PostRm string // maintainer scripts with their "#!" line

	// Phased is the Phased-Update-Percentage in the index, 1 to 99. Zero means not phased.
	Phased int
	// InstalledSize in KiB; zero means computed from the contents.
	InstalledSize int
	// Pad adds a file of that many incompressible bytes, to make a download or an installation big.
	Pad int
}

var (
	nameSyntax    = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+$`)
	versionSyntax = regexp.MustCompile(`^([0-9]+:)?[0-9][A-Za-z0-9.+~-]*$`)
)

// check reports the first thing about p that no archive would carry.
func (p Package) check() error {
	switch {
	case !nameSyntax.MatchString(p.Name):
		return fmt.Errorf("package name %q is not valid", p.Name)
	case !versionSyntax.MatchString(p.Version):
		return fmt.Errorf("package %s: version %q is not valid", p.Name, p.Version)
	case p.Phased < 0 || p.Phased > 99:
		return fmt.Errorf("package %s: phased percentage %d is not between 0 and 99", p.Name, p.Phased)
	case p.Pad < 0:
		return fmt.Errorf("package %s: negative padding", p.Name)
	}
	for name := range p.Files {
		if !path.IsAbs(name) || path.Clean(name) != name || name == "/" {
			return fmt.Errorf("package %s: file path %q is not absolute and clean", p.Name, name)
		}
	}
	for _, name := range p.Conffiles {
		if _, ok := p.Files[name]; !ok {
			return fmt.Errorf("package %s: conffile %s is not among its files", p.Name, name)
		}
	}
	if strings.ContainsRune(strings.Join(p.singleLines(), ""), '\n') {
		return errors.New("package " + p.Name + ": line break in a control field")
	}
	return nil
}

func (p Package) singleLines() []string {
	return []string{p.Arch, p.Source, p.SourceVersion, p.Depends, p.PreDepends, p.Recommends, p.Conflicts, p.Breaks,
		p.Replaces, p.Provides, p.Description, p.Section}
}

func (p Package) arch() string { return orElse(p.Arch, "all") }

// filename is the path in the pool, without the epoch, as in Debian's own archive.
func (p Package) filename() string {
	source := orElse(p.Source, p.Name)
	prefix := source[:1]
	if strings.HasPrefix(source, "lib") && len(source) > 3 {
		prefix = source[:4]
	}
	version := p.Version
	if _, after, ok := strings.Cut(version, ":"); ok {
		version = after
	}
	return path.Join("pool/main", prefix, source, fmt.Sprintf("%s_%s_%s.deb", p.Name, version, p.arch()))
}

// control is the binary control paragraph as it stands in the package.
func (p Package) control(installedKiB int) string {
	var b strings.Builder
	field := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%s: %s\n", name, value)
		}
	}
	field("Package", p.Name)
	field("Source", p.sourceField())
	field("Version", p.Version)
	field("Architecture", p.arch())
	if p.Essential {
		field("Essential", "yes")
	}
	field("Maintainer", "Acme Lab <lab@acme.example>")
	field("Installed-Size", fmt.Sprint(installedKiB))
	field("Depends", p.Depends)
	field("Pre-Depends", p.PreDepends)
	field("Recommends", p.Recommends)
	field("Conflicts", p.Conflicts)
	field("Breaks", p.Breaks)
	field("Replaces", p.Replaces)
	field("Provides", p.Provides)
	field("Section", orElse(p.Section, "misc"))
	field("Priority", "optional")
	field("Description", orElse(p.Description, p.Name+" of the lab repository"))
	return b.String()
}

// sourceField is empty where the source is named and versioned like the package.
func (p Package) sourceField() string {
	source := orElse(p.Source, p.Name)
	if p.SourceVersion != "" && p.SourceVersion != p.Version {
		return fmt.Sprintf("%s (%s)", source, p.SourceVersion)
	}
	if source == p.Name {
		return ""
	}
	return source
}

func (p Package) scripts() []namedText {
	all := []namedText{{"preinst", p.PreInst}, {"postinst", p.PostInst}, {"prerm", p.PreRm}, {"postrm", p.PostRm}}
	return slices.DeleteFunc(all, func(s namedText) bool { return s.text == "" })
}

type namedText struct{ name, text string }

func sortedFiles(files map[string]string) []namedText {
	var out []namedText
	for _, name := range slices.Sorted(maps.Keys(files)) {
		out = append(out, namedText{name, files[name]})
	}
	return out
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
