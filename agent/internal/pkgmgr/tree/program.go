package tree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"assent/archive"
	"assent/catalog"
	"assent/feed"
	"assent/pkgver"
	"assent/wire"
)

// Own is an application that was there before any feed brought it: the program that asks. Releases of its class Component are
// updates of it and not new to the device.
type Own struct {
	Name    string // of the application; empty: there is none
	Version string // that runs, in a form that can be ordered
	Arch    string
}

// Program is an executable of the version of an application that is in force.
type Program struct {
	Version string
	Path    string // absolute, below the device's root
	SHA256  string // of the file, hex
	Payload string // SHA-256 of the payload that it came in, hex
}

// Program finds the file with the application's own name at the top of its current version. Every file of the version was
// compared with what was unpacked; fs.ErrNotExist says that the application is not there.
func (t *Tree) Program(ctx context.Context, app string) (Program, error) {
	r, err := t.owner(catalog.Item{Name: app})
	if err != nil {
		return Program{}, err
	}
	v := r.Current
	if v == nil {
		return Program{}, fmt.Errorf("%s: %w", app, fs.ErrNotExist)
	}
	if d := t.damage(ctx, r.key(), *v, true); d != "" {
		return Program{}, fmt.Errorf("%s %s is damaged: %s", app, v.Version, d)
	}
	m, err := t.readManifest(r.key(), *v)
	if err != nil {
		return Program{}, err
	}
	i := slices.IndexFunc(m.Files, func(e entry) bool { return e.Name == app && e.Type == archive.File && e.Perm&0o111 != 0 })
	if i < 0 {
		return Program{}, fmt.Errorf("there is no program %s in version %s", app, v.Version)
	}
	return Program{Version: v.Version, SHA256: m.Files[i].SHA256, Payload: v.SHA256,
		Path: filepath.Join(t.cfg.Root, base(r.Payload), r.Feed, r.App, versions, v.Dir, app)}, nil
}

// Retreat makes the version that came in the payload to the current one again, from what is on disk, after the one that came in
// the payload from turned out not to work. Where to is not on disk the application is taken off. It does nothing when from is
// not in force.
func (t *Tree) Retreat(_ context.Context, app, from, to string) error {
	release, err := t.hold()
	if err != nil {
		return refusalOf(app, err)
	}
	defer release()
	r, err := t.owner(catalog.Item{Name: app})
	if err != nil || r.Current == nil || r.Current.SHA256 != from {
		return err
	}
	for _, v := range r.Past {
		if v.SHA256 != to || to == "" || v.Dir == "" {
			continue
		}
		home, err := t.home(r.key())
		if err != nil {
			return fmt.Errorf("go back from %s: %w", app, err)
		}
		v.At, v.How = t.cfg.Now().UTC(), howAssent
		return errors.Join(t.enter(home, r, v), home.Close())
	}
	return t.takeOff(r)
}

// own puts the program that asks among what is installed, where a feed has releases of it. A version that lies here and is not
// newer does not count: it is not the one that runs.
func (t *Tree) own(releases []feed.Release, installed map[string]record) (wire.Package, bool) {
	o := t.cfg.Own
	published := slices.ContainsFunc(releases, func(r feed.Release) bool { return o.Name != "" && t.ours(r) })
	have, there := installed[o.Name]
	if !published || there && !before(have.Current.Version, o.Version) {
		return wire.Package{}, false
	}
	installed[o.Name] = record{App: o.Name, Payload: catalog.Tar, Current: &version{Version: o.Version, Arch: o.Arch}}
	return wire.Package{Name: o.Name, Arch: o.Arch, Version: o.Version, Status: whole, Source: o.Name, SourceVersion: o.Version,
		Ecosystem: catalog.Generic, How: howByHand}, true
}

// ours reports whether a release is one of the program that asks.
func (t *Tree) ours(r feed.Release) bool {
	return r.Ecosystem == catalog.Generic && r.Name == t.cfg.Own.Name && r.Manifest.Class == catalog.Component && r.Manifest.Payload == catalog.Tar
}

func before(a, b string) bool {
	order, err := pkgver.Compare(catalog.Generic, a, b)
	return err == nil && order < 0
}
