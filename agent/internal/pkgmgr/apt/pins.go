package apt

import (
	"errors"
	"io/fs"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Priorities that apt gives by itself (apt_preferences(5)).
const (
	neverPin      = math.MinInt16 // "Pin-Priority: never"
	installedPrio = 100
	defaultPrio   = 500
	maxPins       = 200_000
)

// index is one file that versions come from: a Packages file of a release, or dpkg's status file.
type index struct {
	release   *release // nil for the status file
	component string
	arch      string // of the index
	name      string // of the list file, without compression extension
	metaKey   string // by which the Release file knows it
	priority  int    // by the general pins
}

// pinRecord is one record of the preferences for one name.
type pinRecord struct {
	pkg      string      // as written, without src: and architecture; empty for a general pin
	pattern  *expression // of pkg, if it is a pattern
	source   bool        // src:
	archSpec string      // architecture pattern; empty is the native one
	priority int
	match    matcher
}

// matcher is the Pin field. Of a release, what is nil or empty was not asked for.
type matcher struct {
	kind string // "version", "release", "origin"; empty matches nothing

	version       string // of the package, as written
	versionPrefix bool   // it ended in a star
	versionExpr   expression

	all                              bool // release *
	relVersion                       string
	relVersionPrefix                 bool
	relVersionExpr                   *expression
	origin, archive, codename, label *expression
	release                          *expression // archive or codename
	component, architecture          *expression

	site expression
}

func optional(text string) *expression {
	if text == "" {
		return nil
	}
	e := newExpression(text)
	return &e
}

// newMatcher reads the value of a Pin field behind its type.
func newMatcher(kind, data string) matcher {
	m := matcher{kind: kind}
	switch {
	case data == "":
		m.kind = "" // apt builds an empty match; for an origin it is the local site
		if kind == "origin" {
			m.kind = kind
			m.site = newExpression("")
		}
	case kind == "version":
		m.version, m.versionPrefix = strings.CutSuffix(data, "*")
		m.versionExpr = newExpression(m.version)
	case kind == "origin":
		if len(data) >= 2 && data[0] == '"' && data[len(data)-1] == '"' {
			data = data[1 : len(data)-1]
		}
		m.site = newExpression(data)
	case kind == "release":
		m.readRelease(data)
	}
	return m
}

func (m *matcher) readRelease(data string) {
	if data == "*" {
		m.all = true
		return
	}
	if !strings.Contains(data, "=") {
		if data[0] >= '0' && data[0] <= '9' {
			m.setVersion(data)
		} else {
			m.release = optional(data)
		}
		return
	}
	for part := range strings.SplitSeq(data, ",") {
		part = strings.TrimSpace(part)
		if len(part) < 3 {
			continue
		}
		value := part[2:]
		switch strings.ToLower(part[:2]) {
		case "v=":
			m.setVersion(value)
		case "o=":
			m.origin = optional(value)
		case "a=":
			m.archive = optional(value)
		case "n=":
			m.codename = optional(value)
		case "l=":
			m.label = optional(value)
		case "c=":
			m.component = optional(value)
		case "b=":
			m.architecture = optional(value)
		}
	}
}

func (m *matcher) setVersion(value string) {
	m.relVersion, m.relVersionPrefix = strings.CutSuffix(value, "*")
	m.relVersionExpr = optional(m.relVersion)
}

// matchesVersionText is for pins by version.
func (m matcher) matchesVersionText(version string) bool {
	return versionMatches(version, m.version, m.versionPrefix) || m.versionExpr.matches(version)
}

func versionMatches(version, want string, prefix bool) bool {
	if len(version) < len(want) || !prefix && len(version) != len(want) {
		return false
	}
	return strings.EqualFold(version[:len(want)], want)
}

// matchesIndex is for pins by release and origin.
func (m matcher) matchesIndex(ix *index) bool {
	switch m.kind {
	case "release":
		return m.matchesRelease(ix)
	case "origin":
		// The status file has no site, not even an empty one.
		return ix.release != nil && m.site.matches(ix.release.site())
	}
	return false
}

func (m matcher) matchesRelease(ix *index) bool {
	if m.all {
		return true
	}
	if m.relVersion == "" && m.origin == nil && m.archive == nil && m.codename == nil && m.label == nil &&
		m.release == nil && m.component == nil && m.architecture == nil {
		return false
	}
	if ix.release == nil {
		return m.matchesStatusFile(ix)
	}
	r := ix.release
	if m.relVersion != "" && !versionMatches(r.version, m.relVersion, m.relVersionPrefix) && !holds(m.relVersionExpr, r.version) {
		return false
	}
	return holds(m.origin, r.origin) && holds(m.archive, r.suite) && holds(m.codename, r.codename) && holds(m.label, r.label) &&
		(holds(m.release, r.suite) || holds(m.release, r.codename)) &&
		holds(m.component, ix.component) && holds(m.architecture, ix.arch)
}

// matchesStatusFile: what is installed belongs to the archive "now" and has no other property.
func (m matcher) matchesStatusFile(ix *index) bool {
	return m.relVersion == "" && m.origin == nil && m.codename == nil && m.label == nil &&
		holds(m.archive, "now") && holds(m.release, "now") && holds(m.component, "now") && holds(m.architecture, ix.arch)
}

func holds(e *expression, s string) bool { return e == nil || e.matches(s) }

// policy is apt's policy engine: pins for releases set the priority of indexes, pins for packages that of versions.
type policy struct {
	native   string
	general  []pinRecord
	specific []pinRecord
	byName   map[string][]int // specific pins for one exact name, in order
	patterns []int            // specific pins with a pattern, in order
}

// readPolicy reads the preferences. What is wrong with them is named in bad; apt refuses to work then.
func readPolicy(t *tree, c aptConfig, native string) (p *policy, bad []string) {
	p = &policy{native: native, byName: map[string][]int{}}
	if release := c.find("APT::Default-Release"); release != "" {
		p.general = append(p.general, pinRecord{priority: 990, match: newMatcher("release", release)})
	}
	files, err := t.parts("etc/apt/preferences.d", "pref", "")
	if err != nil {
		bad = append(bad, "/etc/apt/preferences.d: "+err.Error())
	}
	for _, name := range append([]string{"etc/apt/preferences"}, files...) {
		data, err := t.read(name, maxSmallFile)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = p.parse(data)
		}
		if err != nil {
			bad = append(bad, "/"+name+": "+err.Error())
		}
	}
	return p, bad
}

// parse reads one preferences file; like apt it stops at the first record that is wrong.
func (p *policy) parse(data []byte) error {
	records, err := deb822(data)
	if err != nil {
		return err
	}
	for _, r := range records {
		if err := p.addRecord(r); err != nil {
			return err
		}
	}
	return nil
}

func (p *policy) addRecord(r map[string]string) error {
	names := r[fPackage]
	if names == "" {
		return errors.New("a record has no Package")
	}
	value, ok := r["pin"]
	if !ok {
		return nil
	}
	kind, data, _ := strings.Cut(value, " ")
	kind, data = strings.ToLower(kind), strings.TrimSpace(data)
	if kind != "version" && kind != "release" && kind != "origin" || kind == "version" && names == "*" {
		return nil // apt warns and goes on
	}
	priority, err := pinPriority(r["pin-priority"], names)
	if err != nil {
		return err
	}
	m := newMatcher(kind, data)
	if names == "*" {
		p.general = append(p.general, pinRecord{priority: priority, match: m})
		return nil
	}
	for _, name := range words(names) {
		if len(p.specific) >= maxPins {
			return errTooLarge
		}
		p.addSpecific(name, pinRecord{priority: priority, match: m})
	}
	return nil
}

func pinPriority(text, names string) (int, error) {
	if text == "never" {
		if names != "*" {
			return 0, errors.New(`priority "never" is for all packages only`)
		}
		return neverPin, nil
	}
	n, err := strconv.Atoi(text)
	switch {
	case err != nil || n < math.MinInt16 || n > math.MaxInt16:
		return 0, errors.New("a priority is not a number in range")
	case n == 0:
		return 0, errors.New("no priority, or zero")
	}
	return max(n, neverPin+1), nil
}

func (p *policy) addSpecific(name string, record pinRecord) {
	name, record.source = strings.CutPrefix(name, "src:")
	record.pkg, record.archSpec, _ = cutLast(name, ':')
	at := len(p.specific)
	if isPattern(record.pkg) {
		e := newExpression(record.pkg)
		record.pattern = &e
		p.patterns = append(p.patterns, at)
	} else {
		p.byName[record.pkg] = append(p.byName[record.pkg], at)
	}
	p.specific = append(p.specific, record)
}

// rank sets the priority of an index: the first general pin that matches wins, but "never" always does.
func (p *policy) rank(ix *index) {
	ix.priority = defaultPrio
	switch r := ix.release; {
	case r == nil, r.butAutomaticUpgrades:
		ix.priority = installedPrio
	case r.notAutomatic:
		ix.priority = 1
	}
	fixed := false
	for _, g := range p.general {
		if (!fixed || g.priority == neverPin) && g.match.matchesIndex(ix) {
			ix.priority, fixed = g.priority, true
			if g.priority == neverPin {
				return
			}
		}
	}
}

// pinned gives the priority that the first matching record for the package sets for a version.
func (p *policy) pinned(v *version) (priority int, ok bool) {
	best := -1
	try := func(at int) {
		if (best < 0 || at < best) && p.specific[at].matches(v, p.native) {
			best = at
		}
	}
	for _, at := range p.byName[v.Name] {
		try(at)
	}
	if v.Source != v.Name {
		for _, at := range p.byName[v.Source] {
			try(at)
		}
	}
	for _, at := range p.patterns {
		try(at)
	}
	if best < 0 {
		return 0, false
	}
	return p.specific[best].priority, true
}

func (s pinRecord) matches(v *version, native string) bool {
	name := v.Name
	if s.source {
		name = v.Source
	}
	if s.pattern != nil && !s.pattern.matches(name) || s.pattern == nil && s.pkg != name {
		return false
	}
	if !archMatches(s.archSpec, v.pkgArch(native), native) {
		return false
	}
	if s.match.kind == "version" {
		return s.match.matchesVersionText(v.Version)
	}
	return slices.ContainsFunc(v.Indexes, s.match.matchesIndex)
}

// archMatches reads an architecture specification as apt does for names in preferences.
func archMatches(spec, arch, native string) bool {
	switch spec {
	case "":
		spec = native
	case "native":
		spec = native
	case "any", "*":
		return true
	}
	if spec == arch {
		return true
	}
	os, cpu, ok := strings.Cut(spec, "-")
	if !ok {
		return isPattern(spec) && fnmatch(spec, arch)
	}
	archOS, archCPU, ok := strings.Cut(arch, "-")
	if !ok {
		archOS, archCPU = "linux", arch
	}
	return (os == "any" || os == archOS) && (cpu == "any" || cpu == archCPU)
}

// priority is apt's priority of a version. ceiling caps it where phasing counts in the policy.
func (p *policy) priority(v *version, ceiling int) int {
	if pinned, ok := p.pinned(v); ok {
		for _, ix := range v.Indexes {
			if ix.priority != neverPin {
				return min(pinned, ceiling)
			}
		}
	}
	best := math.MinInt32
	for _, ix := range v.Indexes {
		best = max(best, ix.priority)
	}
	if best == math.MinInt32 {
		best = 0
	}
	return min(best, ceiling)
}

// candidate chooses the version that apt would install, among all known ones of a package, the newest first
// and equal ones in the order of their indexes. installed is nil for a package that is not there.
func (p *policy) candidate(versions []*version, installed *version) *version {
	var chosen *version
	best := -1
	for _, v := range versions {
		prio := v.Pin
		if prio == 0 || prio <= best {
			continue
		}
		if installed != nil && prio < 1000 && v.parsed.Compare(installed.parsed) < 0 {
			continue
		}
		chosen, best = v, prio
	}
	return chosen
}
