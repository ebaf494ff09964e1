package index

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"

	"github.com/RoaringBitmap/roaring/v2"

	"assent/fault"
	"assent/wire"
)

// document is one uploaded document, checked and parsed once and shared by all devices that have it.
// Between parse and link it holds what was read as it was read; from link on, only what documents share.
type document struct {
	documentKey
	refs     int
	problems []string
	facts    *wire.Facts
	system   *keptSystem // of facts that are linked

	inventory *wire.Inventory // until it is linked
	available *wire.Available // until it is linked
	keys      [][32]byte      // of the offers of available, in order

	linked    bool
	ecosystem string
	packages  []*keptPackage // of an inventory, in its order
	offers    []*keptOffer   // of an available set, in its order
	restore   []wire.RestoreItem
	closed    bool    // the closures were worked out
	names     []int32 // software that it speaks of: what it would take to change its verdicts
	seen      atomic.Pointer[seenAt]
}

// seenAt is when the software of a document changed last, as looked up at a tick.
type seenAt struct{ tick, newest int64 }

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
	if doc.available != nil {
		if doc.keys, err = offerKeys(doc.available); err != nil {
			return nil, ErrDocument.Because(err)
		}
	}
	return doc, nil
}

func read[T any](body []byte) (*T, error) {
	v := new(T)
	return v, json.Unmarshal(body, v)
}

func offerKeys(a *wire.Available) ([][32]byte, error) {
	out := make([][32]byte, len(a.Updates))
	var err error
	for i, o := range a.Updates {
		if out[i], err = offerKey(a.Ecosystem, o); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// link puts what the document says into the shared tables. The caller holds x.mu, and the catalog knows
// its offers.
func (x *Index) link(doc *document) {
	if doc.linked {
		return
	}
	doc.linked = true
	if doc.facts != nil {
		doc.system = x.keepSystem(doc.facts)
	}
	names := map[int32]bool{}
	if inv := doc.inventory; inv != nil {
		doc.ecosystem, doc.packages = inv.Ecosystem, make([]*keptPackage, len(inv.Packages))
		for i, p := range inv.Packages {
			doc.packages[i] = x.keepPackage(inv.Ecosystem, p)
			names[doc.packages[i].number] = true
		}
	}
	if a := doc.available; a != nil {
		doc.ecosystem, doc.restore, doc.closed, doc.offers = a.Ecosystem, a.Restore, a.Closed, make([]*keptOffer, len(a.Updates))
		for i, o := range a.Updates {
			doc.offers[i] = x.keepOffer(a.Ecosystem, o, doc.keys[i])
			for _, n := range doc.offers[i].names {
				names[n] = true
			}
		}
	}
	doc.names = slices.AppendSeq(make([]int32, 0, len(names)), maps.Keys(names))
	doc.inventory, doc.available, doc.keys = nil, nil, nil
}

// readInventory is the inventory as the device sent it.
func (doc *document) readInventory() *wire.Inventory {
	if doc == nil {
		return nil
	}
	inv := &wire.Inventory{Ecosystem: doc.ecosystem, Packages: make([]wire.Package, len(doc.packages))}
	for i, k := range doc.packages {
		inv.Packages[i] = k.Package
	}
	return inv
}

// readAvailable is the available set as the device sent it.
func (doc *document) readAvailable() *wire.Available {
	if doc == nil {
		return nil
	}
	a := &wire.Available{Ecosystem: doc.ecosystem, Closed: doc.closed, Restore: doc.restore, Updates: make([]wire.Offer, len(doc.offers))}
	for i, k := range doc.offers {
		a.Updates[i] = k.Offer
	}
	return a
}

// newest is when the software that the document speaks of changed last. The caller holds x.mu for reading.
func (x *Index) newest(doc *document) int64 {
	if doc == nil {
		return 0
	}
	if s := doc.seen.Load(); s != nil && s.tick == x.software.tick {
		return s.newest
	}
	var last int64
	for _, n := range doc.names {
		last = max(last, x.software.ticks[n])
	}
	doc.seen.Store(&seenAt{tick: x.software.tick, newest: last})
	return last
}

// spread applies f to every bitmap in which a device with this document stands for it.
func (x *Index) spread(doc *document, f func(*roaring.Bitmap)) {
	if doc.facts != nil {
		x.roll.spread(doc.facts, f)
	}
	for _, k := range doc.packages {
		f(k.on.counted(k.whole))
		for _, n := range k.on.updates {
			f(x.updates.entries[n].counted(k.whole))
		}
	}
	for _, k := range doc.offers {
		switch {
		case !k.known:
		case k.New:
			f(x.updates.entries[k.update].brought)
		default:
			f(x.updates.entries[k.update].needs)
		}
	}
	for _, n := range doc.names {
		f(x.software.devices[n])
	}
}

// counted is the set that a whole or a half installed package counts in.
func (p *installedPackage) counted(whole bool) *roaring.Bitmap {
	if whole {
		return p.devices
	}
	return p.half
}

func (e *entry) counted(whole bool) *roaring.Bitmap {
	if whole {
		return e.has
	}
	return e.half
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
	if doc.system != nil {
		x.dropSystem(doc.system)
	}
	for _, k := range doc.packages {
		x.dropPackage(k)
	}
	for _, k := range doc.offers {
		x.dropOffer(k)
	}
}
