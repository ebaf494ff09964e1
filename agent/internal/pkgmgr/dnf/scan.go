package dnf

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"assent/agent/internal/pkgmgr"
	"assent/catalog"
	"assent/feed"
	"assent/pkgver"
	"assent/wire"
)

const (
	// freshOffers is how many releases of an application that is not installed are offered, the newest ones.
	freshOffers = 3
	// maxOffers caps the offers of one application.
	maxOffers = 50
)

// Scan implements pkgmgr.Scanner. rpm is asked only when the files of its database changed.
func (d *Dnf) Scan(ctx context.Context) (*pkgmgr.Snapshot, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.look(ctx); err != nil {
		return nil, fmt.Errorf("scan: %w", err)
	}
	known, err := d.readContents()
	earlier, err2 := d.readHad()
	if err := errors.Join(err, err2); err != nil {
		return nil, fmt.Errorf("scan: %w", err)
	}
	db := d.read
	s := &pkgmgr.Snapshot{Inventory: d.inventory(db, known), Health: pkgmgr.Health{Broken: db.Broken},
		Available: wire.Available{Ecosystem: Ecosystem, Updates: d.offers(db, known), Restore: d.restorable(db, earlier)}}
	if db.Odd > 0 {
		s.Posture = append(s.Posture, wire.Finding{Code: "package_unreadable", Detail: fmt.Sprintf("%d packages of rpm's database could not be read", db.Odd)})
	}
	b, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("scan: %w", err)
	}
	if s.Stamp = wire.Digest(b); d.last == nil || d.last.Stamp != s.Stamp {
		d.last = s
	}
	return d.last, nil
}

// look brings what is known of rpm's database up to date. The caller holds d.mu.
func (d *Dnf) look(ctx context.Context) error {
	if stamp := d.stamp(); stamp != "" && stamp == d.read.stamp {
		return nil
	}
	db, err := d.query(ctx)
	if err == nil {
		d.read = db
	}
	return err
}

// inventory is what is installed. What a feed publishes and Assent did not bring came by hand (V4).
func (d *Dnf) inventory(db database, known contents) wire.Inventory {
	published := map[string]bool{}
	for _, r := range d.cfg.Payloads.Releases() {
		for _, it := range r.Manifest.Items {
			published[it.Name] = published[it.Name] || r.Ecosystem == Ecosystem
		}
	}
	inv := wire.Inventory{Ecosystem: Ecosystem, Packages: []wire.Package{}}
	for _, p := range db.Packages {
		w := wire.Package{Name: p.Name, Arch: p.Arch, Version: p.Version, Status: db.status(known, p), Source: p.Source, SourceVersion: p.SourceVersion}
		switch {
		case known.of(p).Version != "":
			w.How = "assent"
		case published[p.Name]:
			w.How = "by hand"
		}
		inv.Packages = append(inv.Packages, w)
	}
	return inv
}

// Statuses of a package, in dpkg's letters, which the protocol uses.
const (
	whole  = "ii"
	failed = "iF" // a scriptlet failed when we installed it
	twice  = "iU" // another version of it is there too, and the device is not sound
)

// status is how well a package is installed.
func (db database) status(known contents, p installed) string {
	switch {
	case db.twice[nevra(p.Name, p.Arch, p.Version)]:
		return twice
	case known.of(p).Failed != "":
		return failed
	}
	return whole
}

// offers lists for each application that is installed its newer releases, and for the others the newest few.
func (d *Dnf) offers(db database, known contents) []wire.Offer {
	byApp := map[catalog.Software][]feed.Release{}
	for _, r := range d.cfg.Payloads.Releases() {
		if r.Ecosystem == Ecosystem {
			byApp[r.Software] = append(byApp[r.Software], r)
		}
	}
	device := d.cfg.Platform()
	out := []wire.Offer{}
	for _, releases := range byApp {
		slices.SortFunc(releases, func(a, b feed.Release) int { return order(b.Version, a.Version) })
		there := slices.ContainsFunc(releases, func(r feed.Release) bool {
			return slices.ContainsFunc(r.Manifest.Items, func(it feed.Item) bool { return len(db.named(it.Name)) > 0 })
		})
		n, sound := 0, 0
		for _, r := range releases {
			o, ok := offer(db, known, r, device, there, n == 0)
			if !ok || n >= maxOffers || !there && sound >= freshOffers {
				continue
			}
			out = append(out, o)
			if n++; r.Revoked == nil && len(r.Unknown) == 0 {
				sound++
			}
		}
	}
	slices.SortFunc(out, func(a, b wire.Offer) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name), strings.Compare(a.Version, b.Version))
	})
	return out
}

// offer is a release as an offer; false if there is nothing in it that is newer than what is there, or could replace a damaged
// copy of the same.
func offer(db database, known contents, r feed.Release, device catalog.Platform, there, newest bool) (wire.Offer, bool) {
	m := r.Manifest
	id, _ := catalog.FeedOf(r.Namespace)
	o := wire.Offer{Namespace: r.Namespace, Name: r.Name, Version: r.Version, New: !there, Fresh: !there}
	ahead := !there
	for _, it := range m.Items {
		if !it.Platform.Fits(device) || checkItem(it) != nil {
			continue
		}
		item := wire.OfferItem{Item: itemOf(it), Origin: "feed:" + id, Security: len(m.CVEs) > 0, Candidate: newest, Summary: m.Summary, Severity: m.Severity}
		if p, ok := db.newest(it.Name); ok {
			item.Installed = p.Version
			c, err := pkgver.Compare(Ecosystem, it.Version, p.Version)
			ahead = ahead || err != nil || c > 0 || c == 0 && db.status(known, p) != whole // it can be installed anew
		}
		o.Items = append(o.Items, item)
	}
	slices.SortFunc(o.Items, func(a, b wire.OfferItem) int { return strings.Compare(a.Key(), b.Key()) })
	if !o.Fresh {
		o.Closure = siblings(db, r, o.Items)
	}
	return o, ahead && len(o.Items) > 0
}

func checkItem(it feed.Item) error {
	if !digest.MatchString(it.SHA256) {
		return errors.New("no digest")
	}
	return checkName(it.Name, it.Arch, it.Version)
}

func itemOf(it feed.Item) catalog.Item {
	return catalog.Item{Name: it.Name, Arch: it.Arch, Version: it.Version, Size: it.Size, SHA256: it.SHA256}
}

// siblings are the packages of a release that are not on the device and that those which are need in this release, as far
// as the names of what they require and provide say: they come along (wire.Offer.Closure).
func siblings(db database, r feed.Release, items []wire.OfferItem) []wire.Change {
	controls := map[string]feed.Item{}
	for _, it := range r.Manifest.Items {
		controls[it.Name+"."+it.Arch] = it
	}
	var coming, absent []feed.Item
	for _, it := range items {
		if f := controls[it.Name+"."+it.Arch]; it.Installed != "" {
			coming = append(coming, f)
		} else {
			absent = append(absent, f)
		}
	}
	var out []wire.Change
	for i := 0; i < len(coming); i++ {
		for _, need := range listed(coming[i].Control, "Requires: ") {
			provides := func(it feed.Item) bool {
				return it.Name == need || slices.Contains(listed(it.Control, "Provides: "), need)
			}
			at := slices.IndexFunc(absent, provides)
			if at < 0 || slices.ContainsFunc(coming, provides) || len(db.named(need)) > 0 {
				continue
			}
			it := absent[at]
			coming, absent = append(coming, it), slices.Delete(absent, at, at+1)
			out = append(out, wire.Change{Op: wire.OpInstall, Name: it.Name, Arch: it.Arch, Version: it.Version, SHA256: it.SHA256, Size: it.Size,
				Source: r.Name, SrcVer: r.Version, Space: r.Namespace})
		}
	}
	sortChanges(out)
	return out
}

// listed are the names in a field of an item's control text.
func listed(control, field string) []string {
	for line := range strings.Lines(control) {
		if names, ok := strings.CutPrefix(line, field); ok {
			return strings.Split(strings.TrimSuffix(names, "\n"), ", ")
		}
	}
	return nil
}

func sortChanges(changes []wire.Change) {
	slices.SortFunc(changes, func(a, b wire.Change) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Arch, b.Arch), strings.Compare(a.Version, b.Version))
	})
}

// Close implements pkgmgr.Closer. What comes along is known from the release itself; nothing else can (see the package).
func (d *Dnf) Close(_ context.Context, s *pkgmgr.Snapshot) (wire.Available, error) {
	out := s.Available
	out.Closed = true
	return out, nil
}

// Refresh implements pkgmgr.Refresher. There are no package lists that Assent uses; feeds are looked at elsewhere.
func (d *Dnf) Refresh(context.Context) ([]wire.OriginHealth, error) { return nil, nil }
