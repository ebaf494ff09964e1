package index

import (
	"crypto/sha256"
	"encoding/json"
	"slices"
	"strings"

	"assent/catalog"
	"assent/wire"
)

// The same package at the same version is on thousands of devices, and the same offer is made to them.
// Each is kept once; a document is a list of them. So the memory of a fleet grows with what is different
// in it and not with its size.

// keptPackage is one installed package as devices report it, kept once for all of them.
type keptPackage struct {
	wire.Package
	key    keptKey
	number int32             // of its source package
	whole  bool              // fully installed
	on     *installedPackage // where it is counted
	refs   int               // documents that list it
}

type keptKey struct {
	ecosystem string
	wire.Package
}

// keptOffer is one offer as devices report it, kept once for all of them.
type keptOffer struct {
	wire.Offer
	key     [sha256.Size]byte
	release catalog.Release
	update  uint32  // number of the update it offers
	known   bool    // the catalog has the update
	names   []int32 // source packages that it speaks of
	refs    int
}

// interned keeps what documents share. The index's lock guards it.
type interned struct {
	packages map[keptKey]*keptPackage
	offers   map[[sha256.Size]byte]*keptOffer
	systems  map[System]*keptSystem
}

func newInterned() interned {
	return interned{packages: map[keptKey]*keptPackage{}, offers: map[[sha256.Size]byte]*keptOffer{}, systems: map[System]*keptSystem{}}
}

// keepPackage returns the one record of an installed package. The caller holds x.mu.
func (x *Index) keepPackage(inventory string, p wire.Package) *keptPackage {
	ecosystem := p.In(inventory)
	key := keptKey{inventory, p}
	k := x.kept.packages[key]
	if k == nil {
		k = &keptPackage{Package: p, key: key, whole: properlyInstalled(p.Status), number: x.software.number(nameKey{ecosystem, p.Source}),
			on: x.software.installed(packageKey{ecosystem, p.Source, p.SourceVersion, p.Name, p.Version})}
		x.kept.packages[key] = k
	}
	k.refs++
	return k
}

// dropPackage forgets a package that no document lists any more.
func (x *Index) dropPackage(k *keptPackage) {
	if k.refs--; k.refs > 0 {
		return
	}
	delete(x.kept.packages, k.key)
	if k.on.devices.IsEmpty() && k.on.half.IsEmpty() && len(k.on.updates) == 0 {
		delete(x.software.packages, k.on.key)
	}
}

// properlyInstalled reads dpkg's status letters: wanted (or held), and fully installed.
func properlyInstalled(status string) bool {
	return len(status) >= 2 && status[1] == 'i' && strings.TrimSpace(status[2:]) == ""
}

// offerKey names an offer by all that it says.
func offerKey(ecosystem string, o wire.Offer) ([sha256.Size]byte, error) {
	text, err := json.Marshal(o)
	return sha256.Sum256(append([]byte(ecosystem+"\n"), text...)), err
}

// keepOffer returns the one record of an offer. The caller holds x.mu, and the catalog knows the release.
func (x *Index) keepOffer(ecosystem string, o wire.Offer, key [sha256.Size]byte) *keptOffer {
	k := x.kept.offers[key]
	if k == nil {
		k = &keptOffer{Offer: o, key: key, release: o.In(ecosystem)}
		if e, ok := x.updates.byID[k.release.ID()]; ok {
			k.update, k.known = e.number, true
		}
		k.names = []int32{x.software.number(nameKey{k.release.Ecosystem, o.Name})}
		for _, ch := range o.Closure {
			if n := x.software.number(nameKey{k.release.Ecosystem, ch.Source}); ch.Source != "" && !slices.Contains(k.names, n) {
				k.names = append(k.names, n)
			}
		}
		x.kept.offers[key] = k
	}
	k.refs++
	return k
}

func (x *Index) dropOffer(k *keptOffer) {
	if k.refs--; k.refs == 0 {
		delete(x.kept.offers, k.key)
	}
}
