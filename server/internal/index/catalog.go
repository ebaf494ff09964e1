package index

import (
	"cmp"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/RoaringBitmap/roaring/v2"

	"assent/approval"
	"assent/catalog"
	"assent/fault"
	"assent/pkgver"
)

// entry is one update with the devices that need it and have it. Its number is its place in the table.
type entry struct {
	*catalog.Update // replaced when it grows, never changed
	number          uint32
	version         int64           // how often its row was written
	search          string          // lower case: everything a search looks at
	needs           *roaring.Bitmap // devices that are offered it for something they have
	brought         *roaring.Bitmap // devices on which it could only come in with another update
	has             *roaring.Bitmap // devices whose inventory shows it, fully installed
	half            *roaring.Bitmap // devices on which a package of it is there but not fully installed
}

// nameKey is a source package whoever publishes it: what an installed package tells of its origin.
type nameKey struct{ ecosystem, name string }

// packageKey is one installed binary package: what the inventory says of it. An update is on a device
// when one of its own items fits (as plan.Compute judges it).
type packageKey struct{ ecosystem, source, sourceVersion, name, version string }

// installedPackage is one binary package at one version, over all devices.
type installedPackage struct {
	key     packageKey
	devices *roaring.Bitmap // fully installed
	half    *roaring.Bitmap // unpacked but not configured, for example
	updates []uint32        // updates that have it as their own item
}

// softwareTable keeps, for each source package, its releases and when anything about it last changed.
type softwareTable struct {
	tick     int64 // grows with every change
	numbers  map[nameKey]int32
	ticks    []int64
	devices  []*roaring.Bitmap            // whose documents speak of it
	byName   map[nameKey][]catalog.Update // replaced, never changed
	packages map[packageKey]*installedPackage
}

// updateTable is the catalog.
type updateTable struct {
	entries []*entry
	byID    map[catalog.UpdateID]*entry
	byName  map[string][]*entry // by source name
}

func newSoftwareTable() softwareTable {
	return softwareTable{tick: 1, numbers: map[nameKey]int32{}, byName: map[nameKey][]catalog.Update{}, packages: map[packageKey]*installedPackage{}}
}

func newUpdateTable() updateTable {
	return updateTable{byID: map[catalog.UpdateID]*entry{}, byName: map[string][]*entry{}}
}

// number returns the small number of a source package.
func (t *softwareTable) number(k nameKey) int32 {
	n, ok := t.numbers[k]
	if !ok {
		n = int32(len(t.ticks))
		t.numbers[k] = n
		t.ticks = append(t.ticks, t.tick)
		t.devices = append(t.devices, roaring.New())
	}
	return n
}

// touch notes that something about the software changed.
func (t *softwareTable) touch(s catalog.Software) {
	t.ticks[t.number(nameKey{s.Ecosystem, s.Name})] = t.tick
}

// installed returns the record of a binary package, made on first sight.
func (t *softwareTable) installed(k packageKey) *installedPackage {
	p := t.packages[k]
	if p == nil {
		p = &installedPackage{key: k, devices: roaring.New(), half: roaring.New()}
		t.packages[k] = p
	}
	return p
}

// putUpdate publishes a new or grown update, whose row was written so often. The caller holds x.mu.
func (x *Index) putUpdate(u catalog.Update, version int64) *entry {
	e := x.updates.byID[u.ID]
	if e == nil {
		e = &entry{number: uint32(len(x.updates.entries)), needs: roaring.New(), brought: roaring.New(), has: roaring.New(), half: roaring.New()}
		x.updates.entries = append(x.updates.entries, e)
		x.updates.byID[u.ID] = e
		x.updates.byName[u.Name] = append(x.updates.byName[u.Name], e)
	}
	e.Update, e.version, e.search = &u, version, searchText(u)
	x.linkItems(e)
	key := nameKey{u.Ecosystem, u.Name}
	releases := slices.DeleteFunc(slices.Clone(x.software.byName[key]), func(o catalog.Update) bool { return o.ID == u.ID })
	x.software.byName[key] = append(releases, u)
	x.software.touch(u.Software)
	for _, d := range x.decisions.bySoftware[u.Software] {
		if d.Status == approval.Declined {
			x.decisions.walls[d.Scope] = x.software.tick // the files behind a wall may have changed
		} else {
			x.decisions.granted = x.software.tick // and those that an approval lets pass, where only these may
		}
	}
	return e
}

// linkItems finds the devices that have one of the update's own items already.
func (x *Index) linkItems(e *entry) {
	for _, it := range e.Items {
		if it.Role != catalog.Own {
			continue
		}
		p := x.software.installed(packageKey{e.Ecosystem, e.Name, e.Version, it.Name, it.Item.Version})
		if !slices.Contains(p.updates, e.number) {
			p.updates = append(p.updates, e.number)
			e.has.Or(p.devices)
			e.half.Or(p.half)
		}
	}
}

func searchText(u catalog.Update) string {
	words := []string{string(u.ID), u.PURL(), u.Name, u.Version, u.Summary}
	for _, it := range u.Items {
		if it.Role == catalog.Own {
			words = append(words, it.Name, it.Item.Version)
		}
	}
	slices.Sort(words)
	return strings.ToLower(strings.Join(slices.Compact(words), "\n"))
}

// Update is one update in a View with its devices. What the catalog says of it never changes and may be
// kept; the bitmaps must be neither changed nor kept.
type Update struct {
	*catalog.Update
	Number  uint32
	Needs   *roaring.Bitmap // devices that could take it, retired ones too
	Brought *roaring.Bitmap // devices on which it could only come in with another update
	Has     *roaring.Bitmap // devices that have it
	Half    *roaring.Bitmap // devices on which something of it is there but not fully installed (V3)
	search  string
}

func (e *entry) view() Update {
	return Update{Update: e.Update, Number: e.number, Needs: e.needs, Brought: e.brought, Has: e.has, Half: e.half, search: e.search}
}

// Matches reports whether every word is found in what describes the update. Words are lower case.
func (u Update) Matches(words []string) bool {
	return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(u.search, w) })
}

// Update returns an update.
func (v *View) Update(id catalog.UpdateID) (Update, bool) {
	e, ok := v.x.updates.byID[id]
	if !ok {
		return Update{}, false
	}
	return e.view(), true
}

// Updates iterates over the whole catalog.
func (v *View) Updates() iter.Seq[Update] {
	return func(yield func(Update) bool) {
		for _, e := range v.x.updates.entries {
			if !yield(e.view()) {
				return
			}
		}
	}
}

// NumberOfUpdates is the size of the catalog; all Update.Number are below it.
func (v *View) NumberOfUpdates() int { return len(v.x.updates.entries) }

// UpdateNumbered returns the update with a number.
func (v *View) UpdateNumbered(n uint32) Update { return v.x.updates.entries[n].view() }

// superseding lists the known releases that take the update's place where a device could take both, the newest
// first. What cannot be compared is not newer.
func (v *View) superseding(u Update) []Update {
	var out []Update
	for _, e := range v.x.updates.byName[u.Name] {
		if e.Software != u.Software || e.number == u.Number {
			continue
		}
		order, err := pkgver.Compare(u.Ecosystem, e.Version, u.Version)
		if e.Supersedes(*u.Update, err == nil && order > 0) {
			out = append(out, e.view())
		}
	}
	newestFirst(u.Ecosystem, out)
	return out
}

// Superseded returns the release that takes an update's place for the devices of a set (a newer one, or one whose
// publisher says so), if there is one for all of them: a release that only other devices could take (another Debian, another feed)
// supersedes nothing here. Releases that skip lists do not count.
func (v *View) Superseded(u Update, devices *roaring.Bitmap, skip func(Update) bool) (Update, bool) {
	newer := slices.DeleteFunc(v.superseding(u), func(n Update) bool { return skip != nil && skip(n) })
	if len(newer) == 0 {
		return Update{}, false
	}
	rest := roaring.Or(u.Needs, u.Has)
	rest.And(devices)
	if rest.IsEmpty() {
		return newer[0], true
	}
	var best *Update
	for _, n := range newer {
		could := roaring.Or(n.Needs, n.Has)
		if best == nil && could.Intersects(rest) {
			best = &n
		}
		rest.AndNot(could)
	}
	if best == nil || !rest.IsEmpty() {
		return Update{}, false
	}
	return *best, true
}

// Resolve returns the update that a reference names: its id or an unambiguous beginning of it, its
// package URL, name@version, or its name where there is only one release. The refusals are
// fault.NotFound (update_unknown) and fault.Invalid (update_ambiguous) with the candidates.
func (v *View) Resolve(ref string) (Update, error) {
	if u, ok := v.Update(catalog.UpdateID(ref)); ok {
		return u, nil
	}
	found := v.referred(ref)
	switch len(found) {
	case 0:
		return Update{}, fault.New(fault.NotFound, "update_unknown", "There is no update %q; `assent update list` shows all.", clip(ref)).On("update")
	case 1:
		return found[0].view(), nil
	}
	names := make([]string, 0, maxCandidates+1)
	for i, e := range found {
		if i == maxCandidates {
			names = append(names, "…")
			break
		}
		names = append(names, string(e.ID)+" ("+e.Name+" "+e.Version+")")
	}
	return Update{}, fault.New(fault.Invalid, "update_ambiguous", "%q names %d updates: %s. Give the id of one of them.", clip(ref), len(found), strings.Join(names, ", ")).On("update")
}

// referred finds entries by everything but the whole id.
func (v *View) referred(ref string) []*entry {
	if name, version, ok := strings.Cut(ref, "@"); ok && !strings.HasPrefix(ref, "pkg:") {
		return filter(v.x.updates.byName[name], func(e *entry) bool { return e.Version == version })
	}
	if strings.HasPrefix(ref, "pkg:") {
		return filter(v.x.updates.entries, func(e *entry) bool { return e.PURL() == ref })
	}
	if named := v.x.updates.byName[ref]; len(named) > 0 {
		return named
	}
	if len(ref) < minPrefix {
		return nil
	}
	return filter(v.x.updates.entries, func(e *entry) bool { return strings.HasPrefix(string(e.ID), ref) })
}

func filter(entries []*entry, keep func(*entry) bool) []*entry {
	var out []*entry
	for _, e := range entries {
		if keep(e) {
			out = append(out, e)
		}
	}
	return out
}

// Releases lists the known releases of a software, the newest first.
func (v *View) Releases(s catalog.Software) []Update {
	var out []Update
	for _, e := range v.x.updates.byName[s.Name] {
		if e.Software == s {
			out = append(out, e.view())
		}
	}
	newestFirst(s.Ecosystem, out)
	return out
}

// newestFirst sorts releases; what cannot be compared goes by its letters.
func newestFirst(ecosystem string, list []Update) {
	slices.SortStableFunc(list, func(a, b Update) int {
		order, err := pkgver.Compare(ecosystem, b.Version, a.Version)
		if err != nil {
			return cmp.Compare(b.Version, a.Version)
		}
		return order
	})
}

// DecidedSoftware iterates over the software that somebody decided on, in no order.
func (v *View) DecidedSoftware() iter.Seq[catalog.Software] {
	return maps.Keys(v.x.decisions.bySoftware)
}
