package index

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"

	"assent/catalog"
	"assent/fault"
	"assent/fleet"
	"assent/server/internal/store"
	"assent/wire"
)

// KnowsDocument reports whether the server has a document's body.
func (x *Index) KnowsDocument(ctx context.Context, kind wire.Kind, digest string) (bool, error) {
	x.mu.RLock()
	_, ok := x.documents[documentKey{kind, digest}]
	x.mu.RUnlock()
	if ok {
		return true, nil
	}
	_, err := x.store.Document(ctx, kind, digest)
	if errors.Is(err, fault.NotFound) {
		return false, nil
	}
	return err == nil, err
}

// ObserveDocument keeps a document that a device uploaded, durably. It counts for the device once a
// contact announces it with all others (Contact): a device never shows half of a scan. Malformed
// bytes are refused; invalid parts are left out and become a problem of the device.
func (x *Index) ObserveDocument(ctx context.Context, id fleet.DeviceID, kind wire.Kind, digest string, body []byte) error {
	if _, err := parse(kind, digest, body); err != nil {
		return err
	}
	if err := x.store.PutDocument(ctx, kind, digest, body); err != nil {
		return fmt.Errorf("keep %s of device %s: %w", kind, id, err)
	}
	return nil
}

// Contact takes what a device's check-in said. The steady case, nothing new, touches neither the
// database nor any lock but for reading. When the check-in announces other documents than before and
// the server has them all, they count from now on; else the missing ones are returned and the old ones
// go on counting. Keeping contacts across restarts is the caller's part.
func (x *Index) Contact(ctx context.Context, c store.Contact) (need []wire.Kind, err error) {
	x.mu.RLock()
	n, ok := x.numbers[c.Device]
	var rec *device
	same := false
	if ok {
		rec = x.devices[n]
		same = rec.holds(c.Digests)
	}
	x.mu.RUnlock()
	if !ok {
		return nil, fault.New(fault.NotFound, "device_unknown", "There is no device %q.", c.Device)
	}
	if same {
		rec.contact.Store(&c)
		return nil, nil
	}
	return x.renewDocuments(ctx, rec, c)
}

// holds reports whether the device has exactly the documents that the digests name, and all that followed
// from them is durable.
func (d *device) holds(digests map[wire.Kind]string) bool {
	if d.owes.Load() {
		return false
	}
	for _, kind := range wire.Kinds() {
		doc, digest := *d.slot(kind), digests[kind]
		if digest != "" && (doc == nil || doc.digest != digest) {
			return false
		}
	}
	return true
}

func (x *Index) renewDocuments(ctx context.Context, rec *device, c store.Contact) (need []wire.Kind, err error) {
	x.grow.Lock()
	defer x.grow.Unlock()
	return x.renew(ctx, rec, c)
}

// renew makes the documents that a contact announces count for its device, if the server has them all. The caller holds x.grow.
func (x *Index) renew(ctx context.Context, rec *device, c store.Contact) (need []wire.Kind, err error) {
	var docs []*document
	for _, kind := range wire.Kinds() {
		digest := c.Digests[kind]
		if digest == "" {
			continue
		}
		doc, err := x.document(ctx, kind, digest)
		if errors.Is(err, fault.NotFound) || errors.Is(err, fault.Invalid) {
			need = append(need, kind)
			continue
		}
		if err != nil {
			return nil, err
		}
		docs = append(docs, doc)
	}
	if len(need) > 0 {
		old := c
		old.Digests = rec.digests() // what counts is what the server has
		rec.contact.Store(&old)
		return need, nil
	}
	return nil, x.adopt(ctx, rec, c, docs)
}

// digests names the documents that count for the device.
func (d *device) digests() map[wire.Kind]string {
	out := map[wire.Kind]string{}
	for _, doc := range d.documents() {
		out[doc.kind] = doc.digest
	}
	return out
}

// document returns a document from memory or from the store.
func (x *Index) document(ctx context.Context, kind wire.Kind, digest string) (*document, error) {
	x.mu.RLock()
	doc := x.documents[documentKey{kind, digest}]
	x.mu.RUnlock()
	if doc != nil {
		return doc, nil
	}
	body, err := x.store.Document(ctx, kind, digest)
	if err != nil {
		return nil, fmt.Errorf("read %s %s: %w", kind, digest, err)
	}
	return parse(kind, digest, body)
}

// adopt makes documents count for a device: the catalog grows by what they offer, durably, and then all
// of it is published at once. The caller holds x.grow.
func (x *Index) adopt(ctx context.Context, rec *device, c store.Contact, docs []*document) error {
	grown, err := x.save(ctx, grow(docs...))
	if err != nil {
		return err
	}
	rec.rows.Lock()
	defer rec.rows.Unlock()
	x.mu.Lock()
	x.software.tick++
	changed := x.publishGrowth(grown)
	for _, doc := range docs {
		x.link(doc)
	}
	x.attach(rec, docs)
	rec.contact.Store(&c)
	rows := x.factRows(rec)
	x.setRows(rec, rows)
	done := x.settleRollbacks(rec)
	x.mu.Unlock()
	if changed.Devices != nil {
		changed.Devices.Add(rec.number)
	}
	x.changes.publish(changed)
	return errors.Join(x.saveRows(ctx, rec, rows), x.saveDone(ctx, rec, done))
}

// grow adds what documents offer.
func grow(docs ...*document) func(*growth) {
	return func(g *growth) {
		for _, doc := range docs {
			if doc.available != nil && !doc.linked {
				g.add(doc.available)
			}
		}
	}
}

// save computes what is added to the catalog and makes it durable. When another server was faster, its
// catalog is read first and add called again. The caller holds x.grow; add runs with x.mu held for reading.
func (x *Index) save(ctx context.Context, add func(*growth)) (*growth, error) {
	for range maxTries {
		g := x.computeGrowth(add)
		changed := g.changed()
		if len(changed) == 0 {
			return g, nil
		}
		err := x.store.SaveCatalog(ctx, changed)
		if err == nil {
			return g, nil
		}
		if !errors.Is(err, store.ErrMoved) {
			return nil, fmt.Errorf("keep %d new or grown updates: %w", len(changed), err)
		}
		if err := x.rereadCatalog(ctx); err != nil {
			return nil, err
		}
	}
	return nil, ErrBusy
}

func (x *Index) computeGrowth(add func(*growth)) *growth {
	g := &growth{index: x, now: x.now().UTC(), updates: map[string]*grown{}}
	x.mu.RLock()
	defer x.mu.RUnlock()
	add(g)
	return g
}

// rereadCatalog takes what other servers added to the catalog.
func (x *Index) rereadCatalog(ctx context.Context) error {
	var all []store.CatalogRow
	if err := x.store.LoadCatalog(ctx, func(u store.CatalogRow) error { all = append(all, u); return nil }); err != nil {
		return fmt.Errorf("read the catalog again: %w", err)
	}
	x.followCatalog(all)
	return nil
}

// publishGrowth puts new and grown updates into the catalog. The caller holds x.mu.
func (x *Index) publishGrowth(g *growth) Change {
	change := Change{Devices: roaring.New()}
	for _, u := range g.changed() {
		x.enlarge(u.Update, u.Version+1, &change)
	}
	return change
}

// enlarge puts an update into the catalog and notes whom that concerns. The caller holds x.mu.
func (x *Index) enlarge(u catalog.Update, version int64, change *Change) {
	x.putUpdate(u, version)
	x.concerned(change.Devices, u.Software)
	if len(x.decisions.bySoftware[u.Software]) > 0 {
		change.All = true // a wall may have grown for everybody
	}
}

// Rollbacks lists the rollbacks ordered for a device and not yet done, oldest first.
func (v *View) Rollbacks(d Device) []rollback { return v.rollbacks(d.Number) }

func (v *View) rollbacks(number uint32) []rollback {
	pending := v.x.rollbacks[number]
	var out []rollback
	for _, act := range slices.Sorted(maps.Keys(pending)) {
		if pending[act] {
			out = append(out, v.x.state.Rollbacks[act])
		}
	}
	return out
}
