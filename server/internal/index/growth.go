package index

import (
	"cmp"
	"slices"
	"time"

	"assent/catalog"
	"assent/ledger"
	"assent/server/internal/store"
	"assent/wire"
)

type rollback = ledger.Rollback

// growth is what documents add to the catalog, before it is durable.
type growth struct {
	index   *Index
	now     time.Time
	updates map[string]*grown // by package URL
}

// grown is an update with what was added to it.
type grown struct {
	catalog.Update
	rev     int   // revision of what is new
	version int64 // how often the row was written that it grew from
	dirty   bool
}

// changed lists what has to be written, in a stable order.
func (g *growth) changed() []store.CatalogRow {
	var out []store.CatalogRow
	for _, u := range g.updates {
		if u.dirty {
			out = append(out, store.CatalogRow{Update: u.Update, Version: u.version})
		}
	}
	slices.SortFunc(out, func(a, b store.CatalogRow) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// add takes what one available set offers. The caller holds x.mu for reading.
func (g *growth) add(a *wire.Available) {
	for _, o := range a.Updates {
		release := o.In(a.Ecosystem)
		u := g.open(release)
		for _, it := range o.Items {
			u.item(catalog.Bound{Item: it.Item, Role: catalog.Own, Origin: it.Origin})
		}
		for _, ch := range o.Closure {
			if ch.Op == wire.OpInstall {
				u.item(brought(release, ch))
			}
		}
		u.describe(o)
	}
}

// brought is a package that the device does not have and that would come in with the release: a new
// package of the release itself, or a dependency that an approval covers too (T3).
func brought(release catalog.Release, ch wire.Change) catalog.Bound {
	b := catalog.Bound{Item: catalog.Item{Name: ch.Name, Arch: ch.Arch, Version: ch.Version, Size: ch.Size, SHA256: ch.SHA256}, Role: catalog.Dependency}
	if ch.Space == release.Namespace && ch.Source == release.Name && ch.SrcVer == release.Version {
		b.Role = catalog.Own
	}
	return b
}

// open starts or continues an update.
func (g *growth) open(release catalog.Release) *grown {
	purl := release.PURL()
	if u := g.updates[purl]; u != nil {
		u.rev = 0 // another document: a revision of its own
		return u
	}
	u := &grown{Update: catalog.Update{ID: release.ID(), Release: release, Class: catalog.ThirdParty, Severity: catalog.Unrated, Phased: 0, FirstSeen: g.now}, dirty: true}
	if _, ok := catalog.FeedOf(release.Namespace); ok {
		u.Class = catalog.Managed // until its feed says what it is, it holds
	}
	if e, ok := g.index.updates.byID[release.ID()]; ok {
		u = &grown{Update: *e.Update, version: e.version}
		u.Items, u.Origins = slices.Clone(u.Items), slices.Clone(u.Origins)
	}
	g.updates[purl] = u
	return u
}

// item binds a file that was not known yet, under a revision above all earlier ones. A file without a
// digest cannot be bound.
func (u *grown) item(b catalog.Bound) {
	_, published := catalog.FeedOf(u.Namespace)
	if b.SHA256 == "" || b.Role == catalog.Own && published {
		return // of a feed's release, the feed says what it is and no device
	}
	for _, it := range u.Items {
		if it.Role == b.Role && it.Item.Key() == b.Item.Key() && it.SHA256 == b.SHA256 {
			return
		}
	}
	if u.rev == 0 {
		u.rev = u.Rev() + 1
	}
	b.Rev = u.rev
	u.Items = append(u.Items, b)
	catalog.SortItems(u.Items)
	u.dirty = true
}

// publish takes what a feed says of its release: its own items are the feed's from the first revision on; what devices
// said would come along stays.
func (u *grown) publish(p catalog.Update) {
	var along []catalog.Bound
	for _, it := range u.Items {
		if it.Role != catalog.Own {
			along = append(along, it)
		}
	}
	first := u.FirstSeen
	u.Update = p
	u.FirstSeen, u.dirty = first, true
	u.Items = append(slices.Clone(p.Items), along...)
	catalog.SortItems(u.Items)
}

// describe takes what the offer says of the release as a whole: the worst severity, the widest phasing,
// the first text.
func (u *grown) describe(o wire.Offer) {
	if u.Published != nil {
		return
	}
	phased := 100
	for _, it := range o.Items {
		if it.Origin != "" && !slices.Contains(u.Origins, it.Origin) {
			u.Origins = append(u.Origins, it.Origin)
			slices.Sort(u.Origins)
			u.dirty = true
		}
		if it.Security && !u.Security {
			u.Security, u.dirty = true, true
		}
		if it.Severity.Rank() > u.Severity.Rank() {
			u.Severity, u.dirty = it.Severity, true
		}
		if it.Phased > 0 {
			phased = min(phased, it.Phased)
		}
		if it.Summary != "" && (u.Summary == "" || it.Name == o.Name && u.Summary != it.Summary && len(o.Items) > 1) {
			u.Summary, u.dirty = it.Summary, true
		}
	}
	if phased > u.Phased {
		u.Phased, u.dirty = phased, true
	}
}
