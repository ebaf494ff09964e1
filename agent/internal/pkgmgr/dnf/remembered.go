package dnf

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"assent/agent/internal/durable"
	"assent/catalog"
	"assent/feed"
	"assent/wire"
)

// contents are what our transactions brought, by "name.arch".
type contents map[string]content

type content struct {
	Version string `json:"version"`
	SHA256  string `json:"sha256"`
	Failed  string `json:"failed,omitempty"` // the scriptlet that failed, which rpm itself does not remember
}

// of is what is known of an installed package: nothing if it came otherwise.
func (c contents) of(p installed) content {
	if have := c[p.Name+"."+p.Arch]; have.Version == p.Version {
		return have
	}
	return content{}
}

func (d *Dnf) readContents() (contents, error) {
	c := contents{}
	if err := readJSON(d.path("contents.json"), &c); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read what was installed: %w", err)
	}
	return c, nil
}

// recordContents notes what changes brought, where the device has it now, and which scriptlets failed.
func (d *Dnf) recordContents(db database, changes []wire.Change, failed map[string]string) error {
	c, err := d.readContents()
	if err != nil {
		return err
	}
	for _, ch := range changes {
		if slices.ContainsFunc(db.copies(ch.Name, ch.Arch), func(p installed) bool { return p.Version == ch.Version }) {
			c[ch.Name+"."+ch.Arch] = content{ch.Version, ch.SHA256, failed[rpmName(ch.Name, ch.Arch, ch.Version)]}
		}
	}
	there := map[string]bool{}
	for _, p := range db.Packages {
		there[p.Name+"."+p.Arch] = true
	}
	maps.DeleteFunc(c, func(key string, _ content) bool { return !there[key] })
	return writeJSON(d.path("contents.json"), c)
}

// had is what the device had of one application of a feed, so that it can go back several steps (C1).
type had struct {
	Software catalog.Software `json:"software"`
	Releases []hadRelease     `json:"releases"` // newest first
}

type hadRelease struct {
	Version string         `json:"version"` // of the source
	At      time.Time      `json:"at"`      // when it was last replaced
	Items   []catalog.Item `json:"items"`   // a SHA-256 that is not known is empty
}

// Caps on what is remembered: releases of an application, and how many of them have their files kept.
const (
	maxHad  = 20
	keptHad = 3
)

func (d *Dnf) hadFile(s catalog.Software) string {
	return d.path("had", s.Namespace+"_"+s.Name+".json")
}

func (d *Dnf) readHad() ([]had, error) {
	files, err := filepath.Glob(d.path("had", "*.json"))
	if err != nil {
		return nil, err
	}
	var out []had
	for _, f := range files {
		var h had
		if err := readJSON(f, &h); err != nil {
			return nil, fmt.Errorf("read what was there before: %w", err)
		}
		out = append(out, h)
	}
	return out, nil
}

// Remember implements pkgmgr.Historian: the releases that changes replace are noted, and the files of the last three are kept.
func (d *Dnf) Remember(ctx context.Context, update catalog.UpdateID, changes []wire.Change) error {
	db, err := d.query(ctx)
	if err != nil {
		return fmt.Errorf("remember what %s replaces: %w", update, err)
	}
	known, err := d.readContents()
	if err != nil {
		return fmt.Errorf("remember what %s replaces: %w", update, err)
	}
	bySoftware := map[catalog.Software][]wire.Change{}
	for _, c := range changes {
		if id, ok := catalog.FeedOf(c.Space); ok && feed.CheckID(id) == nil && nameSyntax.MatchString(c.Source) && c.Op != wire.OpRemove {
			s := catalog.Software{Ecosystem: Ecosystem, Namespace: c.Space, Name: c.Source}
			bySoftware[s] = append(bySoftware[s], c)
		}
	}
	for s, list := range bySoftware {
		if err := d.remember(db, known, s, list); err != nil {
			return fmt.Errorf("remember what %s replaces: %w", update, err)
		}
	}
	return nil
}

func (d *Dnf) remember(db database, known contents, s catalog.Software, changes []wire.Change) error {
	h := had{Software: s}
	if err := readJSON(d.hadFile(s), &h); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	there := slices.ContainsFunc(db.Packages, func(p installed) bool {
		return p.Source == s.Name || slices.ContainsFunc(changes, func(c wire.Change) bool { return c.Name == p.Name })
	})
	if !there {
		h.Releases = nil // it is installed anew: there is nothing to go back to
	}
	for _, c := range changes {
		if p, ok := db.newest(c.Name); ok && c.From != "" && p.Version != c.Version {
			h.note(p.SourceVersion, d.cfg.Now(), d.before(known, p))
		}
	}
	return writeJSON(d.hadFile(s), h)
}

// before is an installed package as an item. Its digest is what we installed ourselves, else what all feeds agree on.
func (d *Dnf) before(known contents, p installed) catalog.Item {
	it := catalog.Item{Name: p.Name, Arch: p.Arch, Version: p.Version, SHA256: known.of(p).SHA256}
	var published []catalog.Item
	for _, o := range d.published(p.Name, p.Arch, p.Version) {
		if it.SHA256 == "" || o.item.SHA256 == it.SHA256 {
			published = append(published, o.item)
		}
	}
	if len(published) > 0 && !slices.ContainsFunc(published, func(o catalog.Item) bool { return o.SHA256 != published[0].SHA256 }) {
		return published[0]
	}
	if info, err := os.Stat(d.poolFile(it.SHA256)); err == nil {
		it.Size = info.Size()
	}
	return it
}

// note adds a package to the release that it belonged to.
func (h *had) note(version string, at time.Time, it catalog.Item) {
	i := slices.IndexFunc(h.Releases, func(r hadRelease) bool { return r.Version == version })
	if i < 0 {
		h.Releases = append(h.Releases, hadRelease{Version: version})
		i = len(h.Releases) - 1
	}
	r := &h.Releases[i]
	r.At = at
	r.Items = slices.DeleteFunc(r.Items, func(o catalog.Item) bool { return o.Name == it.Name && o.Arch == it.Arch })
	r.Items = append(r.Items, it)
	slices.SortStableFunc(h.Releases, func(x, y hadRelease) int { return order(y.Version, x.Version) })
	h.Releases = h.Releases[:min(len(h.Releases), maxHad)]
}

// restorable lists, for the release of each application that is there now, the earlier ones that the device had, newest
// first: the items of one step back share their Release.
func (d *Dnf) restorable(db database, all []had) []wire.RestoreItem {
	var out []wire.RestoreItem
	for _, h := range all {
		current := ""
		for _, p := range db.Packages {
			if p.Source == h.Software.Name && (current == "" || order(p.SourceVersion, current) > 0) {
				current = p.SourceVersion
			}
		}
		if current == "" {
			continue
		}
		update := catalog.Release{Software: h.Software, Version: current}.ID()
		for _, r := range h.Releases {
			if order(r.Version, current) >= 0 {
				continue
			}
			for _, it := range r.Items {
				if back, ok := d.restoreItem(db, update, it); ok {
					back.Release = r.Version
					out = append(out, back)
				}
			}
		}
	}
	return out
}

func (d *Dnf) restoreItem(db database, update catalog.UpdateID, it catalog.Item) (wire.RestoreItem, bool) {
	r := wire.RestoreItem{Update: update, Name: it.Name, Arch: it.Arch, Version: it.Version, SHA256: it.SHA256, Size: it.Size}
	p, ok := db.newest(it.Name)
	if !ok || order(p.Version, it.Version) <= 0 {
		return r, false
	}
	r.Current = p.Version
	switch {
	case it.SHA256 == "":
	case len(d.sources(it)) > 0:
		r.From = "repository"
	default:
		if info, err := os.Stat(d.poolFile(it.SHA256)); err == nil && info.Mode().IsRegular() {
			r.From, r.Size = "cache", info.Size()
		}
	}
	return r, true
}

// writeJSON puts a value in place whole or not at all, on disk when it returns.
func writeJSON(path string, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %s: %w", filepath.Base(path), err)
	}
	return durable.Write(path, body, 0o600, 0o700)
}

func readJSON(path string, v any) error {
	body, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}
