package tree

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"assent/agent/internal/pkgmgr"
	"assent/catalog"
	"assent/feed"
	"assent/pkgver"
	"assent/wire"
)

const (
	// lookAgain is how long a scan trusts an earlier look at a version's files.
	lookAgain = time.Hour
	// freshOffers is how many sound releases of an application that is not installed are offered.
	freshOffers = 3
	// maxOffers caps the offers of one application.
	maxOffers = 50
)

// Scan implements pkgmgr.Scanner. The files of a version are looked at at most once an hour; Verify always looks.
func (t *Tree) Scan(ctx context.Context) (*pkgmgr.Snapshot, error) {
	records, broken, err := t.known()
	if err != nil {
		return nil, fmt.Errorf("scan applications: %w", err)
	}
	s := &pkgmgr.Snapshot{Inventory: wire.Inventory{Ecosystem: catalog.Generic}, Health: pkgmgr.Health{Broken: broken}}
	installed := map[string]record{}
	hurt := map[string]bool{}
	for _, r := range records {
		if r.Current == nil {
			continue
		}
		p := t.pack(ctx, r)
		s.Inventory.Packages = append(s.Inventory.Packages, p)
		installed[r.App], hurt[r.App] = r, p.Status != whole
		if b := r.Current.Boot; b != "" && b == t.cfg.BootID() {
			s.Restart = append(s.Restart, r.App)
		}
	}
	releases := t.cfg.Payloads.Releases()
	if p, ok := t.own(releases, installed); ok {
		s.Inventory.Packages = append(slices.DeleteFunc(s.Inventory.Packages, func(o wire.Package) bool { return o.Name == p.Name }), p)
	}
	s.Available = wire.Available{Ecosystem: catalog.Generic, Updates: t.offers(releases, installed, hurt), Restore: t.restore(releases, records)}
	slices.SortFunc(s.Inventory.Packages, func(a, b wire.Package) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Arch, b.Arch))
	})
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("scan applications: %w", err)
	}
	return t.stamped(s)
}

// stamped gives the last snapshot again when nothing changed.
func (t *Tree) stamped(s *pkgmgr.Snapshot) (*pkgmgr.Snapshot, error) {
	b, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("scan applications: %w", err)
	}
	sum := sha256.Sum256(b)
	s.Stamp = hex.EncodeToString(sum[:])
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.last != nil && t.last.Stamp == s.Stamp {
		return t.last, nil
	}
	t.last = s
	return s, nil
}

// Close implements pkgmgr.Closer: nothing comes along with a tree.
func (t *Tree) Close(_ context.Context, s *pkgmgr.Snapshot) (wire.Available, error) {
	closed := s.Available
	closed.Closed = true
	return closed, nil
}

// pack is an installed application as a package.
func (t *Tree) pack(ctx context.Context, r record) wire.Package {
	v := *r.Current
	status := whole
	if v.Manifest != "" && t.lately(ctx, r) != "" {
		status = damaged
	} else if len(v.Units) > 0 {
		status = waiting
	}
	return wire.Package{Name: r.App, Arch: v.Arch, Version: v.Version, Status: status, Source: r.App, SourceVersion: v.Version,
		Ecosystem: catalog.Generic, How: v.How}
}

// lately is what an earlier look at the current version's files found, if it is not too old.
func (t *Tree) lately(ctx context.Context, r record) string {
	v, now := *r.Current, t.cfg.Now()
	stamp := v.Dir + " " + v.Manifest + " " + v.At.String()
	t.mu.Lock()
	last, ok := t.looked[r.key().String()]
	t.mu.Unlock()
	if age := now.Sub(last.at); ok && last.stamp == stamp && age >= 0 && age < lookAgain {
		return last.damage
	}
	found := look{at: now, stamp: stamp, damage: t.damage(ctx, r.key(), v, false)}
	if ctx.Err() == nil {
		t.mu.Lock()
		t.looked[r.key().String()] = found
		t.mu.Unlock()
	}
	return found.damage
}

// offers lists, for each application that is installed, its newer releases, and for the others the newest few.
func (t *Tree) offers(releases []feed.Release, installed map[string]record, hurt map[string]bool) []wire.Offer {
	byApp := map[string][]feed.Release{}
	for _, r := range releases {
		if r.Ecosystem == catalog.Generic {
			byApp[feedOf(r)+"/"+r.Name] = append(byApp[feedOf(r)+"/"+r.Name], r)
		}
	}
	out := []wire.Offer{}
	for _, some := range byApp {
		slices.SortFunc(some, func(a, b feed.Release) int { return newestFirst(a.Version, b.Version) })
		sound, offered := 0, 0
		have, ok := installed[some[0].Name]
		for _, r := range some {
			it, fits := t.best(r)
			if r.Name == t.cfg.Own.Name && !t.ours(r) {
				continue // nothing but a component of Assent may take the place of the agent
			}
			if !fits || offered >= maxOffers || !ok && sound >= freshOffers || ok && (feedOf(r) == have.Feed || have.Feed == "") && !ahead(have, r, hurt[r.Name]) {
				continue
			}
			out = append(out, offer(r, it, have, ok, offered == 0))
			if offered++; r.Revoked == nil && len(r.Unknown) == 0 {
				sound++
			}
		}
	}
	slices.SortFunc(out, func(a, b wire.Offer) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name), strings.Compare(a.Version, b.Version))
	})
	return out
}

// newestFirst orders versions; those that have no order come first: they are shown, and held.
func newestFirst(a, b string) int {
	ka, kb := pkgver.Check(catalog.Generic, a) == nil, pkgver.Check(catalog.Generic, b) == nil
	switch {
	case ka && kb:
		return compare(b, a)
	case ka != kb && ka:
		return 1
	case ka != kb:
		return -1
	}
	return strings.Compare(a, b)
}

// ahead reports whether a release is newer than what is installed, or could replace a damaged copy of the same.
func ahead(have record, r feed.Release, hurt bool) bool {
	order, err := pkgver.Compare(catalog.Generic, r.Version, have.Current.Version)
	return err != nil || order > 0 || order == 0 && hurt
}

// best is the item of a release that is made for this device most closely. It is the only one that is offered: one version
// of an application is in force, not several.
func (t *Tree) best(r feed.Release) (feed.Item, bool) {
	device := t.cfg.Platform()
	var best feed.Item
	fits := false
	for _, it := range r.Manifest.Items {
		if it.Platform.Fits(device) && (!fits || closeness(it.Platform) > closeness(best.Platform)) {
			best, fits = it, true
		}
	}
	return best, fits
}

// closeness is how much a platform says.
func closeness(p catalog.Platform) int {
	n := 0
	for _, s := range []string{p.OS, p.Distribution, p.Version, p.Arch} {
		if s != "" && s != "all" {
			n++
		}
	}
	return n
}

// offer is a release as an offer.
func offer(r feed.Release, it feed.Item, have record, installed, newest bool) wire.Offer {
	m := r.Manifest
	item := wire.OfferItem{Item: catalog.Item{Name: it.Name, Arch: it.Arch, Version: it.Version, Size: it.Size, SHA256: it.SHA256, Format: m.Payload},
		Origin: "feed:" + feedOf(r), Security: len(m.CVEs) > 0, Candidate: newest, Summary: m.Summary, Severity: m.Severity}
	o := wire.Offer{Namespace: r.Namespace, Name: r.Name, Version: r.Version, Ecosystem: catalog.Generic, New: !installed, Fresh: !installed}
	switch {
	case installed && have.Feed != feedOf(r) && have.Feed != "":
		o.New, o.Problem = true, fmt.Sprintf("%s is installed from the feed %s", r.Name, have.Feed)
	case installed && have.Payload != m.Payload:
		o.Problem = fmt.Sprintf("%s is installed as %s and cannot become %s", r.Name, have.Payload, m.Payload)
		item.Installed = have.Current.Version
	case installed:
		item.Installed = have.Current.Version
	}
	o.Items = []wire.OfferItem{item}
	return o
}

// restore lists for each installed application the older versions that it had here, the newest first.
func (t *Tree) restore(releases []feed.Release, records []record) []wire.RestoreItem {
	var out []wire.RestoreItem
	for _, r := range records {
		if r.Current == nil {
			continue
		}
		past := slices.DeleteFunc(slices.Clone(r.Past), func(v version) bool { return v.SHA256 == "" || !r.older(v) })
		slices.SortStableFunc(past, func(a, b version) int { return compare(b.Version, a.Version) })
		id := catalog.Release{Software: catalog.Software{Ecosystem: catalog.Generic, Namespace: catalog.FeedNamespace(r.Feed), Name: r.App}, Version: r.Current.Version}.ID()
		for _, v := range past {
			it := catalog.Item{Name: r.App, Arch: v.Arch, Version: v.Version, SHA256: v.SHA256, Size: v.Size}
			line := wire.RestoreItem{Update: id, Name: it.Name, Arch: it.Arch, Version: it.Version, Current: r.Current.Version, SHA256: it.SHA256, Size: it.Size, Release: it.Version, Format: r.Payload}
			switch {
			case v.Dir != "" || t.cached(it):
				line.From = "cache"
			case slices.ContainsFunc(releases, func(f feed.Release) bool {
				return feedOf(f) == r.Feed && slices.ContainsFunc(f.Manifest.Items, same(it))
			}):
				line.From = "repository"
			}
			out = append(out, line)
		}
	}
	return out
}
