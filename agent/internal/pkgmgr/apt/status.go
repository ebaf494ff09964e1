package apt

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"assent/pkgver"
	"assent/wire"
)

const (
	statusFile   = "var/lib/dpkg/status"
	updatesDir   = "var/lib/dpkg/updates"
	archFile     = "var/lib/dpkg/arch"
	extendedFile = "var/lib/apt/extended_states"
	maxStatus    = 1 << 30
)

// relations are the fields of a package that name others, as they are written.
type relations struct {
	PreDepends, Depends, Recommends, Conflicts, Breaks, Replaces, Provides string
}

// installed is one package of dpkg's database.
type installed struct {
	Name, Arch, Version   string // Arch may be "all"
	Source, SourceVersion string
	Want, Flag, State     string // the three words of the Status field
	MultiArch             string
	Essential, Protected  bool
	Auto                  bool
	Relations             relations  // only where asked for
	Conffiles             []conffile // only where asked for

	parsed pkgver.Deb
	hash   uint32
}

// key is "name:arch" as apt sees it: packages for all architectures belong to the native one.
func (p *installed) key(native string) string { return packageKey(p.Name, p.Arch, native) }

func packageKey(name, arch, native string) string {
	if arch == "all" {
		arch = native
	}
	return name + ":" + arch
}

// abbrev is dpkg's status abbreviation, trimmed: "ii", "hi", "iF", "iU". It is shorter than two letters if
// the words are none of dpkg's.
func (p *installed) abbrev() string {
	s := letter(p.Want, "unknown u", "install i", "hold h", "deinstall r", "purge p") +
		letter(p.State, "not-installed n", "config-files c", "half-installed H", "unpacked U", "half-configured F",
			"triggers-awaited W", "triggers-pending t", "installed i")
	if len(s) == 2 && strings.Contains(p.Flag, "reinstreq") {
		s += "R"
	}
	return s
}

func letter(word string, table ...string) string {
	for _, line := range table {
		if name, abbrev, _ := strings.Cut(line, " "); name == word {
			return abbrev
		}
	}
	return ""
}

// present says whether files of the package are on the device.
func (p *installed) present() bool { return p.State != "not-installed" && p.State != "config-files" }

// status is dpkg's database.
type status struct {
	Native   string   // dpkg's architecture
	Foreign  []string // sorted
	Packages []*installed
	Pending  bool // dpkg was interrupted: updates wait in its journal

	byKey    map[string]*installed
	findings []wire.Finding
}

// find gives an installed package; nil if it is not there.
func (s *status) find(name, arch string) *installed { return s.byKey[packageKey(name, arch, s.Native)] }

// readStatus reads dpkg's database with relations and conffiles.
func readStatus(fsys fs.FS) (*status, error) { return loadStatus(newTree(fsys), true) }

func loadStatus(t *tree, whole bool) (*status, error) {
	f, err := t.open(statusFile)
	if err != nil {
		return nil, fmt.Errorf("open dpkg's database: %w", err)
	}
	defer f.Close()
	s := &status{byKey: map[string]*installed{}}
	if err := s.read(io.LimitReader(f, maxStatus), whole); err != nil {
		return nil, err
	}
	if err := s.readArchitectures(t); err != nil {
		return nil, err
	}
	for _, p := range s.Packages {
		s.byKey[p.key(s.Native)] = p
	}
	s.readAuto(t)
	s.Pending, err = pendingUpdates(t)
	return s, err
}

func (s *status) read(r io.Reader, whole bool) error {
	p := newParagraphs(r)
	in := interner{}
	for {
		para, ok := p.next()
		if !ok {
			break
		}
		pkg, problem := readInstalled(para, in, whole)
		switch {
		case problem != "" && len(s.findings) >= maxFindings:
		case problem != "":
			s.findings = append(s.findings, wire.Finding{Code: problem, Detail: "/" + statusFile + ": " + cleanText(packageName(para), maxField)})
		case pkg.present():
			s.Packages = append(s.Packages, pkg)
		}
		if len(s.Packages) > wire.MaxPackages {
			return fmt.Errorf("read dpkg's database: more than %d packages", wire.MaxPackages)
		}
	}
	if p.skipped > 0 {
		s.findings = append(s.findings, wire.Finding{Code: "database_malformed", Detail: "/" + statusFile + ": an entry is too long"})
	}
	if p.err != nil {
		return fmt.Errorf("read dpkg's database: %w", p.err)
	}
	s.sort()
	return nil
}

// sort orders the packages by name and architecture. Of entries for one package the last counts, as for dpkg.
func (s *status) sort() {
	slices.Reverse(s.Packages)
	slices.SortStableFunc(s.Packages, func(a, b *installed) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Arch, b.Arch)) })
	n := len(s.Packages)
	s.Packages = slices.CompactFunc(s.Packages, func(a, b *installed) bool { return a.Name == b.Name && a.Arch == b.Arch })
	if len(s.Packages) < n {
		s.findings = append(s.findings, wire.Finding{Code: "database_malformed", Detail: "/" + statusFile + ": a package is listed twice"})
	}
}

// readInstalled reads one paragraph; problem is the code of a finding.
func readInstalled(para []byte, in interner, whole bool) (p *installed, problem string) {
	p = &installed{}
	var h relationHash
	valid := true
	fields(para, func(name string, value []byte) {
		h.add(name, value)
		switch name {
		case fPackage:
			valid = valid && validName(value)
			p.Name = in.text(value)
		case fArchitecture:
			valid = valid && validArch(value)
			p.Arch = in.text(value)
		case fVersion:
			p.Version = in.text(value)
		case fSource:
			source, version := cutSource(value)
			valid = valid && validName(source)
			p.Source, p.SourceVersion = in.text(source), in.text(version)
		case fStatus:
			if w := strings.Fields(string(value)); len(w) == 3 {
				p.Want, p.Flag, p.State = in.text([]byte(w[0])), in.text([]byte(w[1])), in.text([]byte(w[2]))
			}
		case fMultiArch:
			p.MultiArch = in.text(value)
		case fEssential:
			p.Essential = string(value) == "yes"
		case fProtected, fImportant:
			p.Protected = p.Protected || string(value) == "yes"
		}
		if whole {
			p.keep(name, value)
		}
	})
	p.hash = h.sum()
	if p.State != "" && !p.present() {
		return p, ""
	}
	return p, p.finish(valid)
}

// finish checks what was read and fills in what is implied.
func (p *installed) finish(valid bool) (problem string) {
	if !valid || p.Name == "" || p.Arch == "" {
		return "invalid_name"
	}
	if len(p.abbrev()) < 2 {
		return "invalid_status"
	}
	var err error
	if p.parsed, err = pkgver.ParseDeb(p.Version); err != nil {
		return "invalid_version"
	}
	if p.Source == "" {
		p.Source = p.Name
	}
	if p.SourceVersion == "" {
		p.SourceVersion = p.Version
	}
	if _, err := pkgver.ParseDeb(p.SourceVersion); err != nil {
		return "invalid_version"
	}
	return ""
}

// keep stores the fields that only transactions need.
func (p *installed) keep(name string, value []byte) {
	if name == fConffiles {
		for line := range strings.Lines(string(value)) {
			if c, ok := parseConffile(line); ok {
				p.Conffiles = append(p.Conffiles, c)
			}
		}
		return
	}
	p.Relations.keep(name, value)
}

func (r *relations) keep(name string, value []byte) {
	switch name {
	case fPreDepends:
		r.PreDepends = string(value)
	case fDepends:
		r.Depends = string(value)
	case fRecommends:
		r.Recommends = string(value)
	case fConflicts:
		r.Conflicts = string(value)
	case fBreaks:
		r.Breaks = string(value)
	case fReplaces:
		r.Replaces = string(value)
	case fProvides:
		r.Provides = string(value)
	}
}

// readArchitectures takes the native architecture from dpkg's own package, where dpkg was built for it, and the
// foreign ones from dpkg's list.
func (s *status) readArchitectures(t *tree) error {
	i, ok := slices.BinarySearchFunc(s.Packages, "dpkg", func(p *installed, name string) int { return cmp.Compare(p.Name, name) })
	if !ok {
		return errors.New("dpkg's database does not hold dpkg itself, so its architecture is unknown")
	}
	s.Native = s.Packages[i].Arch
	data, err := t.read(archFile, maxSmallFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read dpkg's architectures: %w", err)
	}
	for arch := range strings.FieldsSeq(string(data)) {
		if validArch([]byte(arch)) && arch != s.Native {
			s.Foreign = append(s.Foreign, arch)
		}
	}
	return nil
}

// readAuto marks what apt says was installed as a dependency only. Without the file nothing was.
func (s *status) readAuto(t *tree) {
	f, err := t.open(extendedFile)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			s.findings = append(s.findings, wire.Finding{Code: "auto_marks_unreadable", Detail: clip(err.Error(), maxField)})
		}
		return
	}
	defer f.Close()
	for key := range autoInstalled(io.LimitReader(f, maxStatus), s.Native) {
		if p := s.byKey[key]; p != nil {
			p.Auto = true
		}
	}
}

// autoInstalled gives the keys of the packages that apt may remove when nothing needs them any more.
func autoInstalled(r io.Reader, native string) map[string]bool {
	out := map[string]bool{}
	p := newParagraphs(r)
	for {
		para, ok := p.next()
		if !ok {
			return out
		}
		var name, arch string
		auto := false
		fields(para, func(field string, value []byte) {
			switch field {
			case fPackage:
				name = string(value)
			case fArchitecture:
				arch = string(value)
			case "auto-installed":
				auto = string(value) == "1"
			}
		})
		if auto && len(out) < wire.MaxPackages {
			if arch == "" {
				arch = native
			}
			out[packageKey(name, arch, native)] = true
		}
	}
}

// pendingUpdates says whether dpkg's journal holds steps of a run that did not end.
func pendingUpdates(t *tree) (bool, error) {
	names, err := t.list(updatesDir)
	if err != nil {
		return false, fmt.Errorf("look at dpkg's journal: %w", err)
	}
	for _, name := range names {
		if name != "" && strings.Trim(name, "0123456789") == "" {
			return true, nil
		}
	}
	return false, nil
}

// broken says in words what is wrong with dpkg's database; empty when well.
func (s *status) broken() string {
	var names []string
	for _, p := range s.Packages {
		if p.State != "installed" || strings.Contains(p.Flag, "reinstreq") {
			names = append(names, p.Name+":"+p.Arch+" is "+p.State)
		}
	}
	switch more := len(names) - 5; {
	case s.Pending:
		return "dpkg was interrupted; " + clip(strings.Join(append(names, "its journal is not empty"), ", "), 400)
	case len(names) == 0:
		return ""
	case more > 0:
		return strings.Join(names[:5], ", ") + fmt.Sprintf(" and %d more", more)
	}
	return strings.Join(names, ", ")
}

// relationHash is apt's idea of sameness: two files that say the same about size and relations are one
// version, whichever index they came from (dpkg reformats the fields, so spaces and = do not count).
type relationHash struct{ parts [6]uint32 }

func (h *relationHash) add(name string, value []byte) {
	slot := slices.Index([]string{fInstalledSize, fDepends, fPreDepends, fConflicts, fBreaks, fReplaces}, name)
	if slot < 0 {
		return
	}
	sum := uint32(5381)
	for i := 0; i < len(value); i++ {
		c := value[i]
		if c == '0' && i+1 < len(value) && value[i+1] == ':' {
			i++
			continue
		}
		if c == ' ' || c == '=' || c >= '\t' && c <= '\r' {
			continue
		}
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		sum = sum*33 + uint32(c)
	}
	h.parts[slot] = sum
}

func (h *relationHash) sum() uint32 {
	sum := uint32(5381)
	for _, p := range h.parts {
		sum = sum*16777619 ^ p
	}
	return sum
}
