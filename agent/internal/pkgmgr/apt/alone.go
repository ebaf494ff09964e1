package apt

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"assent/catalog"
	"assent/pkgver"
	"assent/wire"
)

func compareText(a, b string) int { return strings.Compare(a, b) }

func compareOffers(a, b wire.Offer) int {
	return cmp.Or(compareText(a.Namespace, b.Namespace), compareText(a.Name, b.Name), compareText(a.Version, b.Version))
}

// relation is one alternative of a dependency, or one conflict: a name, perhaps an architecture, perhaps a version.
type relation struct {
	name, arch  string
	op, version string
}

// parseRelations reads a field such as Depends: groups of alternatives. ok is false for what cannot be read.
func parseRelations(field string) (groups [][]relation, ok bool) {
	for group := range strings.SplitSeq(field, ",") {
		if strings.TrimSpace(group) == "" {
			continue
		}
		var alternatives []relation
		for text := range strings.SplitSeq(group, "|") {
			r, ok := parseRelation(strings.TrimSpace(text))
			if !ok {
				return nil, false
			}
			alternatives = append(alternatives, r)
		}
		groups = append(groups, alternatives)
	}
	return groups, true
}

func parseRelation(text string) (relation, bool) {
	head, rest, versioned := strings.Cut(text, "(")
	r := relation{}
	r.name, r.arch, _ = strings.Cut(strings.TrimSpace(head), ":")
	if !validName([]byte(r.name)) {
		return r, false
	}
	if !versioned {
		return r, true
	}
	inner, tail, closed := strings.Cut(rest, ")")
	inner = strings.TrimSpace(inner)
	end := strings.IndexFunc(inner, func(c rune) bool { return !strings.ContainsRune("<>=", c) })
	if !closed || strings.TrimSpace(tail) != "" || end < 1 {
		return r, false
	}
	r.op, r.version = inner[:end], strings.TrimSpace(inner[end:])
	return r, slices.Contains([]string{"<<", "<=", "=", ">=", ">>", "<", ">"}, r.op) && r.version != ""
}

// holds reports whether a version satisfies the relation; sure is false where it cannot be told.
func (r relation) holds(version string) (holds, sure bool) {
	if r.op == "" {
		return true, true
	}
	c, err := pkgver.Compare(ecosystem, version, r.version)
	if err != nil {
		return false, false
	}
	switch r.op {
	case "<<":
		return c < 0, true
	case "<=", "<":
		return c <= 0, true
	case "=":
		return c == 0, true
	case ">=", ">":
		return c >= 0, true
	}
	return c > 0, true
}

// member is one package of the device as it would be afterwards.
type member struct {
	name, version string
	changed       bool
	relations     relations
}

// standsAlone reports whether installing items needs and breaks nothing else, judged by the relations of all packages as
// they would be afterwards. It is conservative: whatever it cannot judge for sure (several architectures, fields that
// cannot be read) makes it say no, and then apt is asked.
func (w *world) standsAlone(items []catalog.Item) bool {
	after, ok := w.after(items)
	if !ok {
		return false
	}
	provided := providers{}
	for _, m := range after {
		if !provided.add(m) {
			return false
		}
	}
	changed := map[string]bool{}
	for _, it := range items {
		changed[it.Name] = true
		if u, ok := w.find(it.Name, it.Arch); ok {
			for _, name := range providedNames(u.Relations.Provides) {
				changed[name] = true
			}
		}
	}
	for _, m := range after {
		if m.changed {
			for _, name := range providedNames(m.relations.Provides) {
				changed[name] = true
			}
		}
	}
	for _, m := range after {
		if !m.satisfied(provided, changed) {
			return false
		}
	}
	return true
}

// after is the device with items in place. ok is false where an item's relations are not known, or packages of
// several architectures are involved. Items that are not installed yet come last.
func (w *world) after(items []catalog.Item) (out []member, ok bool) {
	next := map[string]member{}
	for _, it := range items {
		v := w.version(it)
		if v == nil {
			return nil, false
		}
		if orNative(it.Arch, w.native) != w.native {
			return nil, false
		}
		next[packageKey(it.Name, it.Arch, w.native)] = member{it.Name, it.Version, true, v.Relations}
	}
	for _, p := range w.status.Packages {
		if p.archOn(w.native) != w.native || p.State != "installed" {
			return nil, false
		}
		m, changes := next[p.key(w.native)]
		if !changes {
			m = member{p.Name, p.Version, false, p.Relations}
		}
		delete(next, p.key(w.native))
		out = append(out, m)
	}
	for _, key := range slices.Sorted(maps.Keys(next)) {
		out = append(out, next[key])
	}
	return out, true
}

// version finds the one version of an item that the sources have; nil if there is none or more than one.
func (w *world) version(it catalog.Item) *version {
	var found *version
	for _, v := range w.versions[packageKey(it.Name, it.Arch, w.native)] {
		if v.Version == it.Version && v.Arch == it.Arch && len(v.Files) > 0 {
			if found != nil {
				return nil
			}
			found = v
		}
	}
	return found
}

// providers are the versions that stand for a name: a package's own, or that of a Provides ("" without one).
type providers map[string][]provider

type provider struct {
	by, version string
	virtual     bool
}

func (p providers) add(m member) bool {
	p[m.name] = append(p[m.name], provider{by: m.name, version: m.version})
	groups, ok := parseRelations(m.relations.Provides)
	for _, g := range groups {
		p[g[0].name] = append(p[g[0].name], provider{by: m.name, version: g[0].version, virtual: true})
	}
	return ok
}

func providedNames(field string) (out []string) {
	groups, _ := parseRelations(field)
	for _, g := range groups {
		out = append(out, g[0].name)
	}
	return out
}

// mentions reports whether a field may name something changed; most do not, and need not be read then.
func mentions(field string, changed map[string]bool) bool {
	for name := range changed {
		if strings.Contains(field, name) {
			return true
		}
	}
	return false
}

// satisfied checks the relations of a package that is changed, or that name something changed.
func (m member) satisfied(p providers, changed map[string]bool) bool {
	for _, field := range []string{m.relations.PreDepends, m.relations.Depends} {
		if !m.changed && !mentions(field, changed) {
			continue
		}
		groups, ok := parseRelations(field)
		if !ok {
			return false
		}
		for _, alternatives := range groups {
			if m.concerned(alternatives, changed) && !p.anyHolds(alternatives) {
				return false
			}
		}
	}
	for _, field := range []string{m.relations.Conflicts, m.relations.Breaks} {
		if !m.changed && !mentions(field, changed) {
			continue
		}
		groups, ok := parseRelations(field)
		if !ok {
			return false
		}
		for _, g := range groups {
			if m.concerned(g, changed) && p.mayHit(m.name, g[0]) {
				return false
			}
		}
	}
	return true
}

func (m member) concerned(alternatives []relation, changed map[string]bool) bool {
	return m.changed || slices.ContainsFunc(alternatives, func(r relation) bool { return changed[r.name] })
}

// anyHolds reports whether an alternative is satisfied for sure. An architecture qualifier other than "any" is a doubt.
func (p providers) anyHolds(alternatives []relation) bool {
	for _, r := range alternatives {
		if r.arch != "" && r.arch != "any" {
			continue
		}
		for _, have := range p[r.name] {
			if have.virtual && r.op != "" && have.version == "" {
				continue // an unversioned Provides satisfies no versioned dependency
			}
			if holds, sure := r.holds(have.version); holds && sure {
				return true
			}
		}
	}
	return false
}

// mayHit reports whether a conflict could hit another package.
func (p providers) mayHit(self string, r relation) bool {
	for _, have := range p[r.name] {
		if have.by == self {
			continue
		}
		if have.virtual && r.op != "" && have.version == "" {
			continue
		}
		if holds, sure := r.holds(have.version); holds || !sure {
			return true
		}
	}
	return false
}
