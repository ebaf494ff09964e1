package index

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/RoaringBitmap/roaring/v2"

	"assent/catalog"
	"assent/fault"
	"assent/wire"
)

// document is one uploaded document, checked and parsed once and shared by all devices that have it.
type document struct {
	documentKey
	refs      int
	facts     *wire.Facts
	inventory *wire.Inventory
	available *wire.Available
	problems  []string

	// Known only once the document is linked.
	linked   bool
	names    []int32             // software that it speaks of: what it would take to change its verdicts
	packages []*installedPackage // inventory: the installed packages
	half     []*installedPackage // inventory: packages that are there but not fully installed
	offers   []uint32            // available: updates the device could take
	brought  []uint32            // available: updates that could only come in with another
}

// ErrDocument is the refusal of bytes that are not the document they claim to be.
var ErrDocument = fault.New(fault.Invalid, "document_malformed", "The document cannot be read; nothing of it was taken.")

// parse reads a document and leaves out what is wrong in it.
func parse(kind wire.Kind, digest string, body []byte) (*document, error) {
	if len(body) > wire.MaxDocument {
		return nil, fault.New(fault.TooLarge, "document_too_large", "A document may have %d bytes at most.", wire.MaxDocument)
	}
	if wire.Digest(body) != digest {
		return nil, fault.New(fault.Invalid, "document_digest", "The document is not the one that was announced.")
	}
	doc := &document{documentKey: documentKey{kind, digest}}
	check := &checker{interned: map[string]string{}}
	var err error
	switch kind {
	case wire.KindFacts:
		doc.facts, err = read[wire.Facts](body)
		if err == nil {
			check.facts(doc.facts)
		}
	case wire.KindInventory:
		doc.inventory, err = read[wire.Inventory](body)
		if err == nil {
			check.inventory(doc.inventory)
		}
	case wire.KindAvailable:
		doc.available, err = read[wire.Available](body)
		if err == nil {
			check.available(doc.available)
		}
	default:
		err = fmt.Errorf("unknown kind %q", kind)
	}
	if err != nil {
		return nil, ErrDocument.Because(err)
	}
	doc.problems = check.report(kind)
	return doc, nil
}

func read[T any](body []byte) (*T, error) {
	v := new(T)
	return v, json.Unmarshal(body, v)
}

// link resolves what the document speaks of. The caller holds x.mu, and the catalog knows its offers.
func (x *Index) link(doc *document) {
	if doc.linked {
		return
	}
	doc.linked = true
	names := map[nameKey]bool{}
	switch {
	case doc.inventory != nil:
		x.linkInventory(doc, names)
	case doc.available != nil:
		x.linkAvailable(doc, names)
	}
	for k := range names {
		doc.names = append(doc.names, x.software.number(k))
	}
}

func (x *Index) linkInventory(doc *document, names map[nameKey]bool) {
	eco := doc.inventory.Ecosystem
	for _, p := range doc.inventory.Packages {
		names[nameKey{eco, p.Source}] = true
		pkg := x.software.installed(packageKey{eco, p.Source, p.SourceVersion, p.Name, p.Version})
		if properlyInstalled(p.Status) {
			doc.packages = append(doc.packages, pkg)
		} else {
			doc.half = append(doc.half, pkg)
		}
	}
}

// properlyInstalled reads dpkg's status letters: wanted (or held), and fully installed.
func properlyInstalled(status string) bool {
	return len(status) >= 2 && status[1] == 'i' && strings.TrimSpace(status[2:]) == ""
}

func (x *Index) linkAvailable(doc *document, names map[nameKey]bool) {
	eco := doc.available.Ecosystem
	for _, o := range doc.available.Updates {
		names[nameKey{eco, o.Name}] = true
		for _, ch := range o.Closure {
			if ch.Source != "" {
				names[nameKey{eco, ch.Source}] = true
			}
		}
		if e, ok := x.updates.byID[offered(eco, o).ID()]; ok {
			if o.New {
				doc.brought = append(doc.brought, e.number)
			} else {
				doc.offers = append(doc.offers, e.number)
			}
		}
	}
}

// offered is the release that an offer names.
func offered(ecosystem string, o wire.Offer) catalog.Release {
	return catalog.Release{Software: catalog.Software{Ecosystem: ecosystem, Namespace: o.Namespace, Name: o.Name}, Version: o.Version}
}

// spread applies f to every bitmap in which a device with this document stands for it.
func (x *Index) spread(doc *document, f func(*roaring.Bitmap)) {
	for _, p := range doc.packages {
		f(p.devices)
		for _, n := range p.updates {
			f(x.updates.entries[n].has)
		}
	}
	for _, p := range doc.half {
		f(p.half)
		for _, n := range p.updates {
			f(x.updates.entries[n].half)
		}
	}
	for _, n := range doc.offers {
		f(x.updates.entries[n].needs)
	}
	for _, n := range doc.brought {
		f(x.updates.entries[n].brought)
	}
	for _, n := range doc.names {
		f(x.software.devices[n])
	}
}

// attach gives a device its documents, which must be linked. The caller holds x.mu.
func (x *Index) attach(d *device, docs []*document) {
	for _, old := range d.documents() {
		x.spread(old, func(b *roaring.Bitmap) { b.Remove(d.number) })
	}
	for _, doc := range docs {
		slot := d.slot(doc.kind)
		if *slot == doc {
			continue
		}
		doc.refs++
		x.documents[doc.documentKey] = doc
		old := *slot
		*slot = doc
		x.release(old)
	}
	for _, doc := range d.documents() {
		x.spread(doc, func(b *roaring.Bitmap) { b.Add(d.number) })
	}
}

// release forgets a document that no device has any more.
func (x *Index) release(doc *document) {
	if doc == nil {
		return
	}
	if doc.refs--; doc.refs > 0 {
		return
	}
	delete(x.documents, doc.documentKey)
	for _, p := range slices.Concat(doc.packages, doc.half) {
		if p.devices.IsEmpty() && p.half.IsEmpty() && len(p.updates) == 0 {
			delete(x.software.packages, p.key)
		}
	}
}
