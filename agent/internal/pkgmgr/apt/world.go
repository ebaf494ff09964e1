package apt

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"assent/catalog"
	"assent/wire"
)

// world is what a transaction is judged against: dpkg's database and what the package sources have of the packages in question.
type world struct {
	native   string
	status   *status
	versions map[string][]*version // by "name:arch"
	looked   map[string]bool       // names that were looked up
	highest  map[string]time.Time  // the newest Date ever accepted of each source, by its release file
}

// world reads dpkg's database, and the lists for the packages with these names.
func (a *Apt) world(ctx context.Context, names []string) (*world, error) {
	s, err := readStatus(a.fsys)
	if err != nil {
		return nil, err
	}
	w := &world{native: s.Native, status: s, versions: map[string][]*version{}, looked: map[string]bool{}}
	if w.highest, err = a.readHighest(); err != nil {
		return nil, err
	}
	return w, a.look(ctx, w, names)
}

// look adds what the lists have of further packages.
func (a *Apt) look(ctx context.Context, w *world, names []string) error {
	if len(names) == 0 {
		return nil
	}
	set := map[string]bool{}
	for _, n := range names {
		set[n] = true
		w.looked[n] = true
	}
	found, err := a.findVersions(ctx, set)
	if err != nil {
		return fmt.Errorf("look packages up: %w", err)
	}
	maps.Copy(w.versions, found)
	return nil
}

// find gives the installed package of that name and architecture; "all" counts as the native one, as apt sees it.
func (w *world) find(name, arch string) (*installed, bool) {
	p := w.status.find(name, arch)
	return p, p != nil
}

func (p *installed) held() bool { return p.Want == "hold" }

// unsatisfied are the items that are not installed and configured at exactly their version.
func (w *world) unsatisfied(items []catalog.Item) []catalog.Item {
	var out []catalog.Item
	for _, it := range items {
		if u, ok := w.find(it.Name, it.Arch); !ok || u.Version != it.Version || u.State != "installed" {
			out = append(out, it)
		}
	}
	return out
}

// offer is one content of a version that a package source has.
type offer struct {
	SHA256                string // empty where the source does not say
	Size                  int64
	Source, SourceVersion string
	Space, Origin         string
}

// offered lists every content that the package sources have under a name, architecture and version, those of feeds last.
func (w *world) offered(name, arch, version string) []offer {
	var out []offer
	for _, v := range w.versions[packageKey(name, arch, w.native)] {
		if v.Version != version || v.Arch != arch {
			continue
		}
		o := offer{Source: v.Source, SourceVersion: v.SourceVersion}
		for _, f := range v.Files {
			if w.rolledBack(f.Index.release) {
				continue
			}
			o.SHA256, o.Size, o.Space, o.Origin = f.SHA256, f.Size, f.Index.release.namespace(), f.Index.release.name()
			out = append(out, o)
		}
		if len(v.Files) == 0 && v.Indexes[0].release != nil {
			out = append(out, o)
		}
	}
	slices.SortStableFunc(out, func(x, y offer) int { return cmp.Compare(x.feed(), y.feed()) })
	return out
}

// feed is the feed that offers it; empty for a package source of the device.
func (o offer) feed() string {
	id, ok := catalog.FeedOf(o.Space)
	if !ok {
		return ""
	}
	return id
}

// rolledBack reports whether a source is older now than it was: what it offers is not used, however well it is signed.
func (w *world) rolledBack(r *release) bool { return r.date.Before(w.highest[r.file]) }

// installedSizes reads the Installed-Size fields, in KiB, of the packages with these names: of what is installed by
// "name:arch", of what the lists have by "name:arch=version".
func (a *Apt) installedSizes(ctx context.Context, names map[string]bool) (now, next map[string]int64, err error) {
	now, next = map[string]int64{}, map[string]int64{}
	t := newTree(a.fsys)
	l, err := loadLists(t, false)
	if err != nil {
		return nil, nil, err
	}
	f, err := t.open(statusFile)
	if err != nil {
		return nil, nil, fmt.Errorf("open dpkg's database: %w", err)
	}
	defer f.Close()
	p := newParagraphs(io.LimitReader(f, maxStatus))
	for para, ok := p.next(); ok; para, ok = p.next() {
		if name := packageName(para); names[string(name)] {
			key, _, size := sizeOf(para, l.native())
			now[key] = size
		}
	}
	err = l.walk(ctx, t, func(name []byte) bool { return names[string(name)] }, func(_ *index, para []byte) {
		key, version, size := sizeOf(para, l.native())
		next[key+"="+version] = size
	})
	return now, next, err
}

func sizeOf(para []byte, native string) (key, version string, size int64) {
	var name, arch string
	fields(para, func(field string, value []byte) {
		switch field {
		case fPackage:
			name = string(value)
		case fArchitecture:
			arch = string(value)
		case fVersion:
			version = string(value)
		case fInstalledSize:
			size = max(0, number(bytes.TrimSpace(value)))
		}
	})
	return packageKey(name, arch, native), version, size
}

// growth is how many bytes more the device's packages will take after changes.
func (a *Apt) growth(ctx context.Context, native string, changes []wire.Change) (int64, error) {
	names := map[string]bool{}
	for _, c := range changes {
		names[c.Name] = true
	}
	now, next, err := a.installedSizes(ctx, names)
	if err != nil {
		return 0, err
	}
	total := int64(0)
	for _, c := range changes {
		key := packageKey(c.Name, c.Arch, native)
		total += next[key+"="+c.Version] - now[key]
	}
	return total << 10, nil
}
