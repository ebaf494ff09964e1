package apt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"assent/agent/internal/pkgmgr"
	"assent/catalog"
	"assent/pkgver"
	"assent/wire"
)

var _ pkgmgr.Historian = (*Apt)(nil)

// past is what an update replaced: what it takes to put it back (C3).
type past struct {
	Update catalog.UpdateID    `json:"update"`
	At     time.Time           `json:"at"`
	Items  map[string]pastItem `json:"items"` // by "name:arch"
}

// pastItem is one package before an update.
type pastItem struct {
	Name    string `json:"name"`
	Arch    string `json:"arch"`
	Version string `json:"version"` // the one before
	New     string `json:"new"`     // the one that the update brought
	SHA256  string `json:"sha256,omitempty"`
	Size    int64  `json:"size,omitempty"`
	WasAuto bool   `json:"was_auto,omitempty"`
}

var updateID = regexp.MustCompile(`^[a-z0-9]{1,64}$`)

func (a *Apt) pastFile(update catalog.UpdateID) string {
	return filepath.Join(a.cfg.StateDir, "apt", "past", string(update)+".json")
}

// Remember implements pkgmgr.Historian. A file of a previous version that lies in an archive cache is kept, by a link, so
// that it can be put back without a network. New packages have no past. Of applications of feeds all releases that the device
// had are remembered, and not only the last.
func (a *Apt) Remember(ctx context.Context, update catalog.UpdateID, changes []wire.Change) error {
	if !updateID.MatchString(string(update)) {
		return fmt.Errorf("remember: %.80q is not an update", update)
	}
	var replaced, arriving []wire.Change
	var names []string
	for _, c := range changes {
		if c.Op == wire.OpRemove || c.From == c.Version {
			continue
		}
		names, arriving = append(names, c.Name), append(arriving, c)
		if _, ok := catalog.FeedOf(c.Space); !ok && c.From != "" {
			replaced = append(replaced, c)
		}
	}
	w, err := a.world(ctx, names)
	if err != nil {
		return fmt.Errorf("remember: %w", err)
	}
	known, err := a.readContents()
	if err != nil {
		return fmt.Errorf("remember: %w", err)
	}
	published, err := a.rememberPublished(w, known, arriving)
	if err != nil {
		return fmt.Errorf("remember: %w", err)
	}
	if published && len(replaced) == 0 {
		a.pruneKept()
		return nil
	}
	record := past{Items: map[string]pastItem{}}
	if err := readJSON(a.pastFile(update), &record); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remember: %w", err)
	}
	record.Update, record.At = update, a.cfg.Now()
	for _, c := range replaced {
		record.Items[c.Name+":"+c.Arch] = a.before(w, known, c)
	}
	if err := writeJSON(a.pastFile(update), record); err != nil {
		return fmt.Errorf("remember: %w", err)
	}
	a.pruneKept()
	return nil
}

// pruneKept keeps one file of each package, that of its latest previous version, and those of the last releases of
// applications of feeds.
func (a *Apt) pruneKept() {
	pasts, err := a.pasts()
	if err != nil {
		return
	}
	slices.SortFunc(pasts, func(x, y past) int { return x.At.Compare(y.At) })
	latest, wanted := map[string]string{}, map[string]bool{}
	for _, p := range pasts {
		for key, it := range p.Items {
			latest[key] = archiveName(it.Name, it.Arch, it.Version)
		}
	}
	for _, name := range latest {
		wanted[name] = true
	}
	earlier, err := a.readHad()
	if err != nil {
		return // rather too many files than too few
	}
	for _, it := range lastItems(earlier) {
		wanted[archiveName(it.Name, it.Arch, it.Version)] = true
	}
	prune(a.kept(), wanted)
}

// before describes the version that a change replaces. Its digest is what we installed ourselves, else what all package
// sources agree on.
func (a *Apt) before(w *world, known contents, c wire.Change) pastItem {
	item := pastItem{Name: c.Name, Arch: c.Arch, Version: c.From, New: c.Version}
	if u, ok := w.find(c.Name, c.Arch); ok {
		item.Arch, item.WasAuto, item.SHA256 = u.Arch, u.Auto, known.of(u)
	}
	found := w.offered(item.Name, item.Arch, item.Version)
	if item.SHA256 == "" && len(found) > 0 && !slices.ContainsFunc(found, func(o offer) bool { return o.SHA256 != found[0].SHA256 }) {
		item.SHA256 = found[0].SHA256
	}
	name := archiveName(item.Name, item.Arch, item.Version)
	for _, dir := range []string{a.kept(), a.archives(), sharedArchives} {
		sum, size, err := fileDigest(filepath.Join(dir, name))
		if err != nil || item.SHA256 != "" && sum != item.SHA256 {
			continue
		}
		item.Size = size
		if item.SHA256 == "" {
			item.SHA256 = sum
		}
		a.keep(dir, name)
		return item
	}
	for _, o := range found {
		if o.SHA256 == item.SHA256 {
			item.Size = o.Size
		}
	}
	return item
}

// kept holds files of previous versions. It stands apart from the archive cache, which is for one transaction.
func (a *Apt) kept() string { return filepath.Join(filepath.Dir(a.archives()), "previous") }

// keep links a file into the kept ones; where links do not work it is not kept, and the record says so later.
func (a *Apt) keep(dir, name string) {
	if dir == a.kept() || os.MkdirAll(a.kept(), 0o755) != nil {
		return
	}
	if err := os.Link(filepath.Join(dir, name), filepath.Join(a.kept(), name)); err != nil && !errors.Is(err, fs.ErrExist) {
		a.cfg.Log.Info("the file of a previous version is not kept", "file", name, "error", err)
	}
}

// pasts reads all records.
func (a *Apt) pasts() ([]past, error) {
	out, err := readRecords[past](a.pastFile("*"))
	slices.SortFunc(out, func(x, y past) int { return cmp.Compare(x.Update, y.Update) })
	return out, err
}

// restorable lists the previous versions that are not there any more and how their files can be had: wire.Available.Restore.
// A package that was removed since, or that is at the previous version or an older one, has nothing to restore.
func (a *Apt) restorable(ctx context.Context) ([]wire.RestoreItem, error) {
	out, err := a.earlier(ctx)
	if err != nil {
		return nil, err
	}
	pasts, err := a.pasts()
	if err != nil || len(pasts) == 0 {
		return out, err
	}
	names := map[string]bool{}
	for _, p := range pasts {
		for _, it := range p.Items {
			names[it.Name] = true
		}
	}
	w, err := a.world(ctx, slices.Collect(maps.Keys(names)))
	if err != nil {
		return nil, err
	}
	for _, p := range pasts {
		for _, key := range slices.Sorted(maps.Keys(p.Items)) {
			if r, ok := a.restoreItem(w, p.Update, p.Items[key]); ok {
				out = append(out, r)
			}
		}
	}
	return out, nil
}

func (a *Apt) restoreItem(w *world, update catalog.UpdateID, it pastItem) (wire.RestoreItem, bool) {
	r := wire.RestoreItem{Update: update, Name: it.Name, Arch: it.Arch, Version: it.Version, SHA256: it.SHA256, Size: it.Size, WasAuto: it.WasAuto}
	u, ok := w.find(it.Name, it.Arch)
	if !ok {
		return r, false
	}
	r.Current = u.Version
	if order, err := pkgver.Compare("deb", u.Version, it.Version); err != nil || order <= 0 {
		return r, false
	}
	for _, o := range w.offered(it.Name, it.Arch, it.Version) {
		if o.SHA256 != "" && (o.SHA256 == it.SHA256 || it.SHA256 == "") {
			r.From, r.SHA256, r.Size = "repository", o.SHA256, o.Size
			return r, true
		}
	}
	sum, size, err := fileDigest(filepath.Join(a.kept(), archiveName(it.Name, it.Arch, it.Version)))
	if err == nil && sum == it.SHA256 {
		r.From, r.Size = "cache", size
	}
	return r, true
}
