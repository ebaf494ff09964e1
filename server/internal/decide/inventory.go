package decide

import (
	"cmp"
	"context"
	"iter"
	"slices"
	"strings"

	"assent/client"
	"assent/ledger"
	"assent/server/internal/auth"
	"assent/server/internal/index"
	"assent/wire"
)

// Inventory lists what is installed on a device, as it last reported. A device that reported nothing has an empty list.
func (s *Service) Inventory(_ context.Context, who auth.Actor, reference string, q client.InventoryQuery, p client.Page) (client.List[client.PackageInfo], error) {
	out := client.List[client.PackageInfo]{Items: []client.PackageInfo{}}
	var err error
	s.index.View(func(v *index.View) {
		if _, err = scope(v, who, ledger.Viewer, "", who.Scope); err != nil {
			return
		}
		var d index.Device
		if d, err = v.FindDevice(reference, who.Scope); err != nil {
			return
		}
		keys := packageColumns()
		key, ok := keys[strings.TrimPrefix(cmp.Or(p.Sort, "name"), "-")]
		if !ok {
			err = unknownColumn(p.Sort, keys)
			return
		}
		var page part[wire.Package]
		page, err = paginate(installedPackages(d, q), key, compareKeys, func(p wire.Package) string { return p.Name + ":" + p.Arch + "=" + p.Version }, p, "name")
		if err != nil {
			return
		}
		out.Total, out.Next = page.total, page.next
		for _, one := range page.items {
			out.Items = append(out.Items, packageInfo(one, d.Ecosystem()))
		}
	})
	return out, err
}

// installedPackages iterates over the packages that a query selects.
func installedPackages(d index.Device, q client.InventoryQuery) iter.Seq[wire.Package] {
	words := strings.Fields(strings.ToLower(q.Search))
	return func(yield func(wire.Package) bool) {
		for p := range d.Packages() {
			switch {
			case q.Auto != nil && *q.Auto != p.Auto:
			case q.Hold != nil && *q.Hold != p.Hold:
			case len(words) > 0 && !hasAll(strings.ToLower(p.Name+"\n"+p.Version+"\n"+p.Source+"\n"+p.SourceVersion), words):
			default:
				if !yield(p) {
					return
				}
			}
		}
	}
}

func hasAll(text string, words []string) bool {
	return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(text, w) })
}

func packageInfo(p wire.Package, ecosystem string) client.PackageInfo {
	return client.PackageInfo{Name: p.Name, Arch: p.Arch, Version: p.Version, Status: p.Status, Source: p.Source, SourceVersion: p.SourceVersion, Ecosystem: p.In(ecosystem),
		Auto: p.Auto, Hold: p.Hold, How: p.How}
}

// packageColumns are the columns that packages can be sorted by.
func packageColumns() map[string]func(wire.Package) sortKey {
	text := func(of func(wire.Package) string) func(wire.Package) sortKey {
		return func(p wire.Package) sortKey { return sortKey{S: of(p)} }
	}
	return map[string]func(wire.Package) sortKey{
		"name":    text(func(p wire.Package) string { return p.Name }),
		"version": text(func(p wire.Package) string { return p.Version }),
		"arch":    text(func(p wire.Package) string { return p.Arch }),
		"source":  text(func(p wire.Package) string { return p.Source }),
		"status":  text(func(p wire.Package) string { return p.Status }),
		"how":     text(func(p wire.Package) string { return p.How }),
		"auto":    func(p wire.Package) sortKey { return sortKey{N: truth(p.Auto)} },
		"hold":    func(p wire.Package) sortKey { return sortKey{N: truth(p.Hold)} },
	}
}
