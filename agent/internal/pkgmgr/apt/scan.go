package apt

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"assent/agent/internal/pkgmgr"
	"assent/catalog"
	"assent/wire"
)

// scan reads everything anew.
func (a *Apt) scan(ctx context.Context, now time.Time) (*lastScan, error) {
	t := newTree(a.fsys)
	l, err := loadLists(t, false)
	if err != nil {
		return nil, fmt.Errorf("scan: %w", err)
	}
	published, err := l.publishedNames(ctx, t)
	if err != nil {
		return nil, fmt.Errorf("scan: %w", err)
	}
	versions, err := l.collect(ctx, t, l.interesting(published), false)
	if err != nil {
		return nil, fmt.Errorf("scan: %w", err)
	}
	next := &lastScan{}
	if a.last != nil {
		next.history = a.last.history
	}
	origins, stale := a.originHealth(t, l, now)
	next.stale = stale
	next.snapshot = &pkgmgr.Snapshot{
		Inventory: l.inventory(next.history.read(t, l.native())),
		Available: wire.Available{Ecosystem: ecosystem, Updates: sortedOffers(l.offers(versions), l.fresh(versions, published))},
		Restart:   restartNeeded(t),
		Posture:   l.posture(),
		Origins:   l.withoutFeeds(origins),
		Health:    pkgmgr.Health{Broken: l.status.broken()},
	}
	next.inputs = t.inputs
	next.snapshot.Stamp = t.inputs.digest()
	return next, nil
}

const ecosystem = "deb"

// interesting are the names of what is installed and of what feeds publish.
func (l *lists) interesting(published map[string]bool) func(name []byte) bool {
	names := make(map[string]struct{}, len(l.status.Packages)+len(published))
	for _, p := range l.status.Packages {
		names[p.Name] = struct{}{}
	}
	for name := range published {
		names[name] = struct{}{}
	}
	return func(name []byte) bool {
		_, ok := names[string(name)]
		return ok
	}
}

func (l *lists) inventory(how map[string]string) wire.Inventory {
	inv := wire.Inventory{Ecosystem: ecosystem, Packages: make([]wire.Package, 0, len(l.status.Packages))}
	for _, p := range l.status.Packages {
		h, ok := how[historyKey(p.key(l.native()), p.Version)]
		if !ok {
			h = howImage
		}
		inv.Packages = append(inv.Packages, wire.Package{
			Name: p.Name, Arch: p.Arch, Version: p.Version, Status: p.abbrev(), Source: p.Source, SourceVersion: p.SourceVersion,
			Auto: p.Auto, Hold: p.Want == "hold", How: h,
		})
	}
	return inv
}

type sourceRelease struct{ namespace, source, version string }

// offers groups all versions newer than what is installed by the source release that they were built from.
func (l *lists) offers(versions pool) []wire.Offer {
	grouped := map[sourceRelease][]wire.OfferItem{}
	count := 0
	for _, p := range l.status.Packages {
		all := versions[p.key(l.native())]
		candidate := l.candidate(all, p)
		for _, v := range all {
			if v.parsed.Compare(p.parsed) <= 0 || !l.fits(v, p) {
				continue
			}
			for namespace, item := range itemsOf(v, p, v == candidate) {
				if count++; count > wire.MaxPackages {
					l.find("too_many_versions", []string{"the rest of the available versions is left out"})
					return assembleOffers(grouped)
				}
				r := sourceRelease{namespace, v.Source, v.SourceVersion}
				grouped[r] = append(grouped[r], item)
			}
		}
	}
	return assembleOffers(grouped)
}

// fits says whether a version can take the place of an installed package.
func (l *lists) fits(v *version, p *installed) bool {
	return v.pkgArch(l.native()) == p.archOn(l.native())
}

func (p *installed) archOn(native string) string {
	if p.Arch == "all" {
		return native
	}
	return p.Arch
}

// candidate is apt's own choice for an installed package.
func (l *lists) candidate(all []*version, p *installed) *version {
	var current *version
	for _, v := range all {
		if v.Version == p.Version && slices.Contains(v.Indexes, l.installedIndex()) {
			current = v
		}
	}
	return l.policy.candidate(all, current)
}

// itemsOf gives one item for each content of a version, with its namespace. Of several places that have a content,
// a security suite names the origin, then the one with the highest priority. A feed that has it too gives an item of its
// own: neither can a feed take over what an archive publishes, nor an archive what a feed does.
func itemsOf(v *version, p *installed, candidate bool) func(yield func(string, wire.OfferItem) bool) {
	return func(yield func(string, wire.OfferItem) bool) {
		var done, contents []string
		for _, f := range v.Files {
			key := f.SHA256 + " " + f.Index.release.feed
			if slices.Contains(done, key) {
				continue
			}
			done = append(done, key)
			if !slices.Contains(contents, f.SHA256) {
				contents = append(contents, f.SHA256)
			}
			from := mainOrigin(v.Files, f)
			item := wire.OfferItem{
				Item:      catalog.Item{Name: v.Name, Arch: v.Arch, Version: v.Version, Size: f.Size, SHA256: f.SHA256},
				Installed: p.Version, Origin: from.release.name(), Security: from.release.security(), Hold: p.Want == "hold", Pin: v.Pin,
				// Should apt know several contents as one version, it takes the first.
				Candidate: candidate && len(contents) == 1, Summary: f.Summary,
			}
			if v.Phased < notPhased {
				item.Phased = max(1, v.Phased)
			}
			if !yield(from.release.namespace(), item) {
				return
			}
		}
	}
}

// mainOrigin is the place that names where a content comes from, among those of the same feed or of none.
func mainOrigin(files []file, one file) *index {
	var best *index
	for _, f := range files {
		if f.SHA256 != one.SHA256 || f.Index.release.feed != one.Index.release.feed {
			continue
		}
		better := best == nil
		if !better && f.Index.release.security() != best.release.security() {
			better = f.Index.release.security()
		} else if !better {
			better = f.Index.priority > best.priority
		}
		if better {
			best = f.Index
		}
	}
	return best
}

func assembleOffers(grouped map[sourceRelease][]wire.OfferItem) []wire.Offer {
	offers := make([]wire.Offer, 0, len(grouped))
	for r, items := range grouped {
		slices.SortFunc(items, func(a, b wire.OfferItem) int {
			return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Arch, b.Arch), cmp.Compare(a.Version, b.Version), cmp.Compare(a.SHA256, b.SHA256))
		})
		offers = append(offers, wire.Offer{Namespace: r.namespace, Name: r.source, Version: r.version, Items: items})
	}
	slices.SortFunc(offers, func(a, b wire.Offer) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Version, b.Version))
	})
	return offers
}

// restartNeeded reads what Debian's packages leave behind when they want a restart.
func restartNeeded(t *tree) []string {
	if !t.exists("run/reboot-required") {
		return nil
	}
	data, err := t.read("run/reboot-required.pkgs", maxSmallFile)
	if err != nil {
		data = nil
	}
	var out []string
	for line := range bytes.Lines(data) {
		name := bytes.TrimSpace(line)
		if !validName(name) || len(out) >= 1000 {
			continue
		}
		if strings.HasPrefix(string(name), "linux-image-") {
			out = append(out, "kernel")
		}
		out = append(out, string(name))
	}
	if len(out) == 0 {
		return []string{"unnamed"}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
