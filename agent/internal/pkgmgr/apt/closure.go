package apt

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"assent/agent/internal/pkgmgr"
	"assent/catalog"
	"assent/pkgver"
	"assent/wire"
)

var _ pkgmgr.Closer = (*Apt)(nil)

// closed is what is remembered of an offer.
type closed struct {
	Closure []wire.Change `json:"closure"`
	Problem string        `json:"problem,omitempty"`
}

// closures are remembered under the stamp of the scan that they belong to.
type closures struct {
	Stamp string            `json:"stamp"`
	Offer map[string]closed `json:"offers"` // by the digest of the offer's own items
}

func (a *Apt) closuresFile() string { return filepath.Join(a.cfg.StateDir, "apt", "closures.json") }

// Close implements pkgmgr.Closer. apt is asked only about offers for which a look at the relations of their packages
// leaves a doubt; recommended packages do not count, since transactions do not install them either.
func (a *Apt) Close(ctx context.Context, s *pkgmgr.Snapshot) (wire.Available, error) {
	out := s.Available
	out.Updates = slices.Clone(out.Updates)
	cache := closures{}
	if err := readJSON(a.closuresFile(), &cache); err != nil && !errors.Is(err, fs.ErrNotExist) {
		a.cfg.Log.Warn("remembered closures are not used", "error", err)
	}
	if cache.Stamp != s.Stamp {
		cache = closures{Stamp: s.Stamp, Offer: map[string]closed{}}
	}
	w, err := a.closureWorld(ctx, out.Updates)
	if err != nil {
		return out, fmt.Errorf("close: %w", err)
	}
	fresh := false
	for i := range out.Updates {
		key := offerKey(out.Updates[i])
		done, ok := cache.Offer[key]
		if !ok {
			if done, err = a.closeOffer(ctx, w, out.Updates[i]); err != nil {
				return out, fmt.Errorf("close %s: %w", out.Updates[i].Name, err)
			}
			cache.Offer[key], fresh = done, true
		}
		out.Updates[i].Closure, out.Updates[i].Problem = done.Closure, done.Problem
	}
	if fresh {
		if err := writeJSON(a.closuresFile(), cache); err != nil {
			a.cfg.Log.Warn("closures are not remembered", "error", err)
		}
	}
	if out.Updates, err = a.withNew(ctx, w, out.Updates); err != nil {
		return out, fmt.Errorf("close: %w", err)
	}
	out.Restore, err = a.restorable(ctx)
	out.Closed = err == nil
	return out, err
}

func offerKey(o wire.Offer) string {
	h := sha256.New()
	for _, it := range own(o) {
		fmt.Fprintln(h, it.Key(), it.SHA256)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// own are the items that installing an offer alone means: the packages of it that are on the device, and of an application
// that is not there all of them, each in the newest version that the offer has.
func own(o wire.Offer) []catalog.Item {
	best := map[string]catalog.Item{}
	for _, it := range o.Items {
		if it.Installed == "" && !o.Fresh {
			continue
		}
		key := it.Name + ":" + it.Arch
		have, ok := best[key]
		order, err := pkgver.Compare(ecosystem, it.Version, have.Version)
		if !ok || err == nil && order > 0 {
			best[key] = it.Item
		}
	}
	out := slices.Collect(maps.Values(best))
	slices.SortFunc(out, func(x, y catalog.Item) int { return compareText(x.Key(), y.Key()) })
	return out
}

func (a *Apt) closureWorld(ctx context.Context, offers []wire.Offer) (*world, error) {
	names := map[string]bool{}
	for _, o := range offers {
		for _, it := range o.Items {
			names[it.Name] = true
		}
	}
	return a.world(ctx, slices.Collect(maps.Keys(names)))
}

// closeOffer finds what apt would change beyond an offer's own items.
func (a *Apt) closeOffer(ctx context.Context, w *world, o wire.Offer) (closed, error) {
	items := own(o)
	if len(items) == 0 || w.standsAlone(items) {
		return closed{}, nil
	}
	steps, no, err := a.ask(ctx, preferences{}, verbInstall, a.arguments(w, pkgmgr.Want{}, items))
	if err == nil && no != nil {
		steps, no, err = a.askWithoutPins(ctx, a.arguments(w, pkgmgr.Want{}, items))
	}
	if err != nil {
		return closed{}, err
	}
	if no != nil {
		return closed{Problem: cleanText([]byte(no.Error()), 600)}, nil //nolint:nilerr // that apt cannot is the answer
	}
	changes, err := a.changes(ctx, w, steps)
	if err != nil {
		return closed{}, err
	}
	changes = slices.DeleteFunc(changes, func(c wire.Change) bool { return c.Op != wire.OpRemove && has(items, c.Name, c.Arch, c.Version) })
	return closed{Closure: changes}, nil
}

// askWithoutPins asks apt as if neither declines nor an administrator's own pins were there.
func (a *Apt) askWithoutPins(ctx context.Context, arguments []string) ([]step, error, error) {
	dir, err := a.scratch()
	if err != nil {
		return nil, nil, err
	}
	defer os.RemoveAll(dir)
	prefs, err := writePreferences(dir, "")
	if err != nil {
		return nil, nil, err
	}
	return a.ask(ctx, prefs, verbInstall, arguments)
}

// withNew adds the releases that closures would newly bring in, with their items.
func (a *Apt) withNew(ctx context.Context, w *world, offers []wire.Offer) ([]wire.Offer, error) {
	have := map[sourceRelease]bool{}
	for _, o := range offers {
		have[sourceRelease{o.Namespace, o.Name, o.Version}] = true
	}
	var names []string
	var news []wire.Change
	for _, o := range offers {
		for _, c := range o.Closure {
			if c.Op == wire.OpInstall && !have[sourceRelease{c.Space, c.Source, c.SrcVer}] {
				news = append(news, c)
				if !w.looked[c.Name] {
					names = append(names, c.Name)
				}
			}
		}
	}
	if err := a.look(ctx, w, names); err != nil {
		return nil, err
	}
	grouped := map[sourceRelease][]wire.OfferItem{}
	for _, c := range news {
		r := sourceRelease{c.Space, c.Source, c.SrcVer}
		for _, item := range w.newItems(c) {
			if !slices.Contains(grouped[r], item) {
				grouped[r] = append(grouped[r], item)
			}
		}
	}
	added := assembleOffers(grouped)
	for i := range added {
		added[i].New = true
	}
	out := slices.Concat(offers, added)
	slices.SortStableFunc(out, compareOffers)
	return out, nil
}

// newItems are the contents that the sources have under the version which a change would newly install.
func (w *world) newItems(c wire.Change) []wire.OfferItem {
	var out []wire.OfferItem
	for _, v := range w.versions[packageKey(c.Name, c.Arch, w.native)] {
		if v.Version != c.Version || v.Arch != c.Arch {
			continue
		}
		for space, item := range itemsOf(v, &installed{}, false) {
			if space == c.Space {
				out = append(out, item)
			}
		}
	}
	return out
}
