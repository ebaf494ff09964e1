package apt

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"assent/agent/internal/pkgmgr"
	"assent/catalog"
	"assent/pkgver"
	"assent/wire"
)

// What is special about packages of feeds: offers of applications that are not on the device, payloads that are put in
// place first, and all releases that the device had. Everything else treats them like packages of any source.

// freshReleases is how many releases of an application that is not there are offered, the newest ones.
const freshReleases = 3

// publishedNames are the names of all packages in the repositories of feeds.
func (l *lists) publishedNames(ctx context.Context, t *tree) (map[string]bool, error) {
	out := map[string]bool{}
	for _, ix := range l.indexes {
		if ix.release == nil || ix.release.feed == "" {
			continue
		}
		err := walkList(ctx, t, ix, func(name []byte) bool { return validName(name) && len(out) < wire.MaxPackages },
			func(_ *index, para []byte) { out[string(packageName(para))] = true })
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // collect reads it too and reports what is wrong
			l.find("list_unreadable", []string{"/" + listsDir + ix.name + ": " + err.Error()})
		}
	}
	return out, nil
}

// fresh are the newest releases of the applications of feeds of which nothing is installed.
func (l *lists) fresh(versions pool, published map[string]bool) []wire.Offer {
	grouped := map[sourceRelease][]wire.OfferItem{}
	for name := range published {
		for _, v := range versions[packageKey(name, l.native(), l.native())] {
			for namespace, item := range itemsOf(v, &installed{}, false) {
				if _, ok := catalog.FeedOf(namespace); ok {
					r := sourceRelease{namespace, v.Source, v.SourceVersion}
					grouped[r] = append(grouped[r], item)
				}
			}
		}
	}
	var out []wire.Offer
	for _, offers := range l.absent(assembleOffers(grouped)) {
		slices.SortFunc(offers, func(x, y wire.Offer) int { return versionOrder(y.Version, x.Version) })
		for _, o := range offers[:min(len(offers), freshReleases)] {
			o.New, o.Fresh = true, true
			out = append(out, o)
		}
	}
	return out
}

// absent groups offers by their software and leaves out that of which something is installed, in any release.
func (l *lists) absent(offers []wire.Offer) map[[2]string][]wire.Offer {
	out := map[[2]string][]wire.Offer{}
	there := map[[2]string]bool{}
	for _, o := range offers {
		key := [2]string{o.Namespace, o.Name}
		out[key] = append(out[key], o)
		for _, it := range o.Items {
			there[key] = there[key] || l.status.find(it.Name, it.Arch) != nil
		}
	}
	maps.DeleteFunc(out, func(key [2]string, _ []wire.Offer) bool { return there[key] })
	return out
}

// versionOrder orders source versions; what cannot be read comes first.
func versionOrder(a, b string) int {
	order, err := pkgver.Compare(ecosystem, a, b)
	if err != nil {
		return cmp.Compare(a, b)
	}
	return order
}

// sortedOffers puts offers in the order that wire.Available promises.
func sortedOffers(lists ...[]wire.Offer) []wire.Offer {
	out := slices.Concat(lists...)
	slices.SortStableFunc(out, compareOffers)
	return out
}

// prepare has the payloads of a transaction's changes put where apt looks for them, and takes them over by links where
// that is possible.
func (a *Apt) prepare(ctx context.Context, tx pkgmgr.Transaction, progress func(pkgmgr.Progress)) error {
	if a.cfg.Feeds == nil {
		return nil
	}
	var missing []wire.Change
	for _, c := range tx.Changes {
		if _, ok := catalog.FeedOf(c.Space); ok && c.Op != wire.OpRemove && !a.isThere(c) {
			missing = append(missing, c)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, fetchDeadline)
	defer cancel()
	if err := a.cfg.Feeds.Prepare(ctx, missing, progress); err != nil {
		return err
	}
	return a.adopt(missing)
}

// keepPayloads drops the payloads of feeds but those of what is installed, of what it may go back to, and of changes.
func (a *Apt) keepPayloads(changes []wire.Change) {
	if a.cfg.Feeds == nil {
		return
	}
	installed, err := a.readContents()
	earlier, err2 := a.readHad()
	if errors.Join(err, err2) != nil {
		return // rather too many files than too few
	}
	wanted := map[string]bool{}
	for _, c := range installed {
		wanted[c.SHA256] = true
	}
	for _, it := range lastItems(earlier) {
		wanted[it.SHA256] = true
	}
	for _, c := range changes {
		wanted[c.SHA256] = true
	}
	a.cfg.Feeds.Keep(wanted)
}

// had is what a device had of one application of a feed, so that it can go back several steps (C1).
type had struct {
	Software catalog.Software `json:"software"`
	Releases []hadRelease     `json:"releases"` // newest first
}

// hadRelease is one release that was there, with the packages of it that were.
type hadRelease struct {
	Version string              `json:"version"` // of the source
	At      time.Time           `json:"at"`      // when it was last replaced
	Items   map[string]pastItem `json:"items"`   // by "name:arch"
}

// Caps on what is remembered: releases of an application, and how many of them have their files kept.
const (
	maxHad     = 20
	keptHad    = 3
	hadPattern = "*.json"
)

func (a *Apt) hadFile(s catalog.Software) string {
	return filepath.Join(a.cfg.StateDir, "apt", "had", s.Namespace+"_"+s.Name+".json")
}

// readHad reads all records.
func (a *Apt) readHad() ([]had, error) {
	return readRecords[had](filepath.Join(a.cfg.StateDir, "apt", "had", hadPattern))
}

// lastItems are the packages whose files are kept.
func lastItems(all []had) (out []pastItem) {
	for _, h := range all {
		for _, r := range h.Releases[:min(len(h.Releases), keptHad)] {
			out = slices.AppendSeq(out, maps.Values(r.Items))
		}
	}
	return out
}

// rememberPublished notes the releases that changes replace, where a feed publishes what comes in; published says whether
// one does. What comes from a feed and from elsewhere alike is the feed's too.
func (a *Apt) rememberPublished(w *world, known contents, changes []wire.Change) (published bool, err error) {
	bySoftware := map[catalog.Software][]wire.Change{}
	for _, c := range changes {
		for _, o := range w.offered(c.Name, c.Arch, c.Version) {
			if o.feed() != "" && o.SHA256 == c.SHA256 {
				s := catalog.Software{Ecosystem: ecosystem, Namespace: o.Space, Name: o.Source}
				bySoftware[s] = append(bySoftware[s], c)
			}
		}
	}
	for s, list := range bySoftware {
		h := had{Software: s}
		if err := readJSON(a.hadFile(s), &h); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
		if !w.hasAny(s.Name, list) {
			h.Releases = nil // it is installed anew: there is nothing to go back to
		}
		for _, c := range list {
			if u, ok := w.find(c.Name, c.Arch); ok && c.From != "" {
				h.note(u.SourceVersion, a.cfg.Now(), a.before(w, known, c))
			}
		}
		if err := writeJSON(a.hadFile(s), h); err != nil {
			return false, err
		}
	}
	return len(bySoftware) > 0, nil
}

// hasAny reports whether anything of an application is installed.
func (w *world) hasAny(source string, changes []wire.Change) bool {
	return slices.ContainsFunc(w.status.Packages, func(p *installed) bool {
		return p.Source == source || slices.ContainsFunc(changes, func(c wire.Change) bool { return c.Name == p.Name })
	})
}

// note adds a package to the release that it belonged to.
func (h *had) note(version string, at time.Time, it pastItem) {
	i := slices.IndexFunc(h.Releases, func(r hadRelease) bool { return r.Version == version })
	if i < 0 {
		h.Releases = append(h.Releases, hadRelease{Version: version, Items: map[string]pastItem{}})
		i = len(h.Releases) - 1
	}
	h.Releases[i].At = at
	h.Releases[i].Items[it.Name+":"+it.Arch] = it
	slices.SortStableFunc(h.Releases, func(x, y hadRelease) int { return versionOrder(y.Version, x.Version) })
	h.Releases = h.Releases[:min(len(h.Releases), maxHad)]
}

// earlier lists, for the release of each application of a feed that is there now, every earlier one that the device had,
// newest first: the items of one step back share their Release.
func (a *Apt) earlier(ctx context.Context) ([]wire.RestoreItem, error) {
	all, err := a.readHad()
	if err != nil || len(all) == 0 {
		return nil, err
	}
	names := map[string]bool{}
	for _, h := range all {
		for _, r := range h.Releases {
			for _, it := range r.Items {
				names[it.Name] = true
			}
		}
	}
	w, err := a.world(ctx, slices.Collect(maps.Keys(names)))
	if err != nil {
		return nil, err
	}
	var out []wire.RestoreItem
	for _, h := range all {
		out = append(out, a.earlierOf(w, h)...)
	}
	return out, nil
}

func (a *Apt) earlierOf(w *world, h had) (out []wire.RestoreItem) {
	current := ""
	for _, p := range w.status.Packages {
		if p.Source == h.Software.Name && (current == "" || versionOrder(p.SourceVersion, current) > 0) {
			current = p.SourceVersion
		}
	}
	if current == "" {
		return nil
	}
	update := catalog.Release{Software: h.Software, Version: current}.ID()
	for _, r := range h.Releases {
		if versionOrder(r.Version, current) >= 0 {
			continue
		}
		for _, key := range slices.Sorted(maps.Keys(r.Items)) {
			if item, ok := a.restoreItem(w, update, r.Items[key]); ok {
				item.Release = r.Version
				out = append(out, item)
			}
		}
	}
	return out
}
