package apt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"assent/agent/internal/feeds/aptrepo"
	"assent/pkgver"
	"assent/wire"
)

const (
	listsDir = "var/lib/apt/lists/"
	maxList  = 2 << 30 // bytes of one list after decompression
)

// version is one version of one package as apt sees it: all index entries that agree on it.
type version struct {
	Name, Arch, Version   string // Arch is the file's own: "all" or an architecture
	Source, SourceVersion string
	MultiArch             string
	Phased                int // percentage; notPhased when not phased
	Pin                   int // apt's priority
	Files                 []file
	Indexes               []*index
	Relations             relations // only where asked for

	parsed pkgver.Deb
	hash   uint32
	size   int64 // of the file; 0 if it is known from the status file alone
}

// file is one content of a version and where it can be had.
type file struct {
	Index    *index
	Filename string
	Size     int64
	SHA256   string
	Summary  string
}

func (v *version) pkgArch(native string) string {
	if v.Arch == "all" {
		return native
	}
	return v.Arch
}

// same says whether apt would take an entry for the version it knows already.
func (v *version) same(w *version) bool {
	return v.Version == w.Version && v.hash == w.hash && v.MultiArch == w.MultiArch && (v.Arch == "all") == (w.Arch == "all") &&
		(v.size == 0 || w.size == 0 || v.size == w.size)
}

// lists is everything that decides what could be installed, without the packages themselves.
type lists struct {
	status   *status
	config   aptConfig
	sources  []source
	releases []*release
	indexes  []*index
	policy   *policy
	phasing  phasing
	findings []wire.Finding
}

// loadLists reads dpkg's database and apt's configuration, sources, releases and preferences.
func loadLists(t *tree, whole bool) (*lists, error) {
	s, err := loadStatus(t, whole)
	if err != nil {
		return nil, err
	}
	l := &lists{status: s, findings: s.findings}
	var bad []string
	l.config, bad = readConfig(t)
	l.find("config_unreadable", bad)
	l.sources, bad = readSources(t, l.native())
	l.find("source_malformed", bad)
	l.policy, bad = readPolicy(t, l.config, l.native())
	l.find("preferences_malformed", bad)
	for _, s := range l.sources {
		l.addSource(t, s)
	}
	l.indexes = append(l.indexes, &index{arch: l.native(), name: "status"})
	for _, ix := range l.indexes {
		l.policy.rank(ix)
	}
	aptVersion := ""
	if p := s.find("apt", l.native()); p != nil {
		aptVersion = p.Version
	}
	l.phasing = newPhasing(l.config, l.machineID(t), aptVersion)
	return l, nil
}

func (l *lists) find(code string, details []string) {
	for _, d := range details {
		l.findings = append(l.findings, wire.Finding{Code: code, Detail: cleanText([]byte(d), 2*maxField)})
	}
}

func (l *lists) native() string {
	if a := l.config.find("APT::Architecture"); validArch([]byte(a)) {
		return a
	}
	return l.status.Native
}

func (l *lists) architectures() []string {
	if configured := l.config.all("APT::Architectures"); len(configured) > 0 {
		if !slices.Contains(configured, l.native()) {
			configured = append([]string{l.native()}, configured...)
		}
		return configured
	}
	return append([]string{l.native()}, l.status.Foreign...)
}

func (l *lists) machineID(t *tree) string {
	if id := l.config.find("APT::Machine-ID"); id != "" {
		return id
	}
	data, err := t.read("etc/machine-id", 4096)
	if err != nil {
		return ""
	}
	id, _, _ := strings.Cut(string(data), "\n")
	return id
}

// installedIndex stands for dpkg's status file; it is the last, as in apt's cache.
func (l *lists) installedIndex() *index { return l.indexes[len(l.indexes)-1] }

// addSource adds a source's release, once per URI and suite, and its indexes.
func (l *lists) addSource(t *tree, s source) {
	name := listName(s.base())
	at := slices.IndexFunc(l.releases, func(r *release) bool { return r.file == name })
	if at < 0 {
		at = len(l.releases)
		l.releases = append(l.releases, l.readRelease(t, s, name))
	}
	r := l.releases[at]
	if id, ok := aptrepo.Owns(s.where, s.uri, s.suite); ok {
		r.feed = id
	}
	if len(s.components) == 0 {
		l.addIndex(&index{release: r, arch: l.native(), name: name + "Packages", metaKey: "Packages"})
		return
	}
	for _, component := range s.components {
		for _, arch := range s.architectures(l.architectures()) {
			key := component + "/binary-" + arch + "/Packages"
			l.addIndex(&index{release: r, component: component, arch: arch, metaKey: key, name: listName(s.base() + key)})
		}
	}
}

func (l *lists) addIndex(ix *index) {
	if !slices.ContainsFunc(l.indexes, func(have *index) bool { return have.name == ix.name }) {
		l.indexes = append(l.indexes, ix)
	}
}

func (l *lists) readRelease(t *tree, s source, name string) *release {
	r := &release{uri: s.uri, dist: s.suite, file: name}
	for _, kind := range []string{"InRelease", "Release"} {
		r.raw = listsDir + name + kind
		data, err := t.read(r.raw, maxSmallFile)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			r.present = true
			err = r.parse(data)
		}
		if err != nil {
			l.find("release_unreadable", []string{err.Error()})
		}
		break
	}
	return r
}

// walk reads all lists in apt's order and calls f for each paragraph of a package for which want says yes. The
// paragraph is valid during the call. A list that is missing or cannot be read is a finding, not an error.
func (l *lists) walk(ctx context.Context, t *tree, want func(name []byte) bool, f func(ix *index, para []byte)) error {
	for _, ix := range l.indexes {
		if ix.release == nil {
			continue
		}
		problem := walkList(ctx, t, ix, want, f)
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("read package lists: %w", err)
		}
		switch {
		case errors.Is(problem, fs.ErrNotExist):
			if detail := l.missing(t, ix); detail != "" {
				l.find("list_missing", []string{detail})
			}
		case problem != nil:
			l.find("list_unreadable", []string{"/" + listsDir + ix.name + ": " + problem.Error()})
		}
	}
	return nil
}

// missing says what is wrong about a list that is not there; empty when the archive has none.
func (l *lists) missing(t *tree, ix *index) string {
	if !ix.release.present || ix.arch == "all" {
		return "" // the one is reported as the source's health, the other is for archives without "all" elsewhere
	}
	data, err := t.read(ix.release.raw, maxSmallFile)
	if err != nil || releaseSize(data, ix.metaKey) <= 0 {
		return ""
	}
	return "/" + listsDir + ix.name
}

func walkList(ctx context.Context, t *tree, ix *index, want func([]byte) bool, f func(*index, []byte)) error {
	r, err := openList(t, ix.name)
	if err != nil {
		return err
	}
	defer r.Close()
	p := newParagraphs(r)
	for n := 0; ; n++ {
		para, ok := p.next()
		if !ok {
			break
		}
		if n%4096 == 4095 && ctx.Err() != nil {
			return ctx.Err()
		}
		if want(packageName(para)) {
			f(ix, para)
		}
	}
	if p.skipped > 0 {
		return fmt.Errorf("%d entries are %w", p.skipped, errTooLarge)
	}
	return p.err
}

// entry reads one paragraph of a list; problem is the code of a finding.
func entry(ix *index, para []byte, in interner, whole bool) (v *version, problem string) {
	v = &version{Phased: notPhased, Indexes: []*index{ix}, Files: []file{{Index: ix}}}
	fl := &v.Files[0]
	var h relationHash
	valid, digest := true, false
	fields(para, func(name string, value []byte) {
		h.add(name, value)
		switch name {
		case fPackage:
			valid = valid && validName(value)
			v.Name = in.text(value)
		case fArchitecture:
			valid = valid && validArch(value)
			v.Arch = in.text(value)
		case fVersion:
			v.Version = in.text(value)
		case fSource:
			source, version := cutSource(value)
			valid = valid && validName(source)
			v.Source, v.SourceVersion = in.text(source), in.text(version)
		case fMultiArch:
			v.MultiArch = in.text(value)
		case fFilename:
			fl.Filename = cleanText(value, wire.MaxString)
		case fSize:
			fl.Size = number(value)
		case fSHA256:
			digest = validSHA256(value)
			fl.SHA256 = string(value)
		case fPhased:
			if n := number(value); n >= 0 && n <= notPhased {
				v.Phased = int(n)
			}
		case fDescription:
			line, _, _ := strings.Cut(string(value), "\n")
			fl.Summary = cleanText([]byte(line), maxField)
		}
		if whole {
			v.Relations.keep(name, value)
		}
	})
	v.hash, v.size = h.sum(), max(0, fl.Size)
	return v, v.finish(valid, digest)
}

func (v *version) finish(valid, digest bool) (problem string) {
	if !valid || v.Name == "" || v.Arch == "" {
		return "invalid_name"
	}
	var err error
	if v.parsed, err = pkgver.ParseDeb(v.Version); err != nil {
		return "invalid_version"
	}
	if v.Source == "" {
		v.Source = v.Name
	}
	if v.SourceVersion == "" {
		v.SourceVersion = v.Version
	}
	if _, err := pkgver.ParseDeb(v.SourceVersion); err != nil {
		return "invalid_version"
	}
	if !digest || v.Files[0].Size <= 0 {
		v.Files = nil // apt knows the version, but nobody could be bound to its content
		return "no_digest"
	}
	return ""
}

// maxVersions caps the versions of one package in all lists.
const maxVersions = 2000

// pool collects versions by package key, each list newest first.
type pool map[string][]*version

// add inserts an entry as apt's cache does: merged with one that is the same, else behind all that are not older.
func (p pool) add(key string, v *version) (full bool) {
	have := p[key]
	at := len(have)
	for i, w := range have {
		c := w.parsed.Compare(v.parsed)
		if c == 0 && w.Version == v.Version && w.same(v) {
			w.merge(v)
			return false
		}
		if c < 0 {
			at = i
			break
		}
	}
	if len(have) >= maxVersions {
		return true
	}
	p[key] = slices.Insert(have, at, v)
	return false
}

// merge takes over where an entry was found, and its content if it is another one.
func (v *version) merge(w *version) {
	v.Indexes = append(v.Indexes, w.Indexes...)
	v.Files = append(v.Files, w.Files...)
	if v.size == 0 {
		v.size = w.size
	}
	v.Phased = min(v.Phased, w.Phased)
}

// collect reads all versions of the packages for which want says yes, with priorities. Installed versions
// are among them.
func (l *lists) collect(ctx context.Context, t *tree, want func(name []byte) bool, whole bool) (pool, error) {
	versions, in := pool{}, interner{}
	problems := map[wire.Finding]bool{}
	err := l.walk(ctx, t, want, func(ix *index, para []byte) {
		v, problem := entry(ix, para, in, whole)
		if problem != "" {
			problems[wire.Finding{Code: problem, Detail: "/" + listsDir + ix.name + ": " + cleanText(packageName(para), maxField)}] = true
		}
		if problem != "" && problem != "no_digest" {
			return
		}
		if versions.add(packageKey(v.Name, v.Arch, l.native()), v) {
			problems[wire.Finding{Code: "too_many_versions", Detail: v.Name}] = true
		}
	})
	if err != nil {
		return nil, err
	}
	l.report(problems)
	for _, p := range l.status.Packages {
		if want([]byte(p.Name)) {
			versions.add(p.key(l.native()), l.installedVersion(p))
		}
	}
	for _, all := range versions {
		for _, v := range all {
			v.Pin = l.policy.priority(v, l.phasing.ceiling(v))
		}
	}
	return versions, nil
}

// maxFindings caps what a hostile list can add to the posture.
const maxFindings = 100

func (l *lists) report(problems map[wire.Finding]bool) {
	var out []wire.Finding
	for f := range problems {
		out = append(out, f)
	}
	slices.SortFunc(out, compareFindings)
	l.findings = append(l.findings, out[:min(len(out), maxFindings)]...)
}

func (l *lists) installedVersion(p *installed) *version {
	return &version{Name: p.Name, Arch: p.Arch, Version: p.Version, Source: p.Source, SourceVersion: p.SourceVersion, MultiArch: p.MultiArch,
		Phased: notPhased, Indexes: []*index{l.installedIndex()}, Relations: p.Relations, parsed: p.parsed, hash: p.hash}
}

// findVersions reads the lists for the packages with these names, on all architectures: every version with its
// files, relations and apt's priority, newest first, by "name:arch" (arch of the package, never "all"). It holds
// nothing in memory between calls.
func (a *Apt) findVersions(ctx context.Context, names map[string]bool) (map[string][]*version, error) {
	t := newTree(a.fsys)
	l, err := loadLists(t, true)
	if err != nil {
		return nil, err
	}
	return l.collect(ctx, t, func(name []byte) bool { return names[string(name)] }, true)
}

// olderThan compares versions of tools; an unknown one is not older.
func olderThan(version, than string) bool {
	c, err := pkgver.Compare("deb", version, than)
	return err == nil && c < 0
}
