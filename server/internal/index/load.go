package index

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/RoaringBitmap/roaring/v2"

	"assent/approval"
	"assent/catalog"
	"assent/fault"
	"assent/server/internal/store"
	"assent/wire"
)

// load rebuilds the index from the store.
func (x *Index) load(ctx context.Context) error {
	state, err := x.store.LoadState(ctx)
	if err != nil {
		return fmt.Errorf("load the state of decisions: %w", err)
	}
	x.state, x.tree = state, state.Tree()
	for id := range state.Devices {
		x.place(id)
	}
	x.loadDecisions()
	x.compileTasks()
	if err := x.loadRollouts(ctx); err != nil {
		return err
	}
	if err := x.store.LoadCatalog(ctx, func(u catalog.Update) error { x.putUpdate(u); return nil }); err != nil {
		return fmt.Errorf("load the catalog: %w", err)
	}
	if err := x.store.LoadInstalls(ctx, x.loadInstall); err != nil {
		return fmt.Errorf("load installation states: %w", err)
	}
	if err := x.loadDocuments(ctx); err != nil {
		return err
	}
	if err := x.loadTroubles(ctx); err != nil {
		return err
	}
	return x.loadRollbacks(ctx)
}

// loadTroubles remembers which devices lately reported what cannot be, or refused a plan.
func (x *Index) loadTroubles(ctx context.Context) error {
	for event, at := range map[string]func(*device) *atomic.Int64{
		EventIllegal: func(d *device) *atomic.Int64 { return &d.illegal },
		EventRefused: func(d *device) *atomic.Int64 { return &d.refused },
	} {
		events, err := x.store.Events(ctx, store.EventQuery{Event: event, Limit: 1000})
		if err != nil {
			return fmt.Errorf("read events %s: %w", event, err)
		}
		for _, e := range slices.Backward(events) {
			if n, ok := x.numbers[e.Device]; ok {
				at(x.devices[n]).Store(e.At.Unix())
			}
		}
	}
	return nil
}

func (x *Index) loadDecisions() {
	for _, d := range x.state.Decisions {
		x.enter(d)
		x.decisions.bySoftware[d.Release.Software] = append(x.decisions.bySoftware[d.Release.Software], d)
	}
	for _, list := range x.decisions.bySoftware {
		slices.SortFunc(list, func(a, b approval.Decision) int {
			return cmp.Or(cmp.Compare(a.Act, b.Act), cmp.Compare(a.Update, b.Update), cmp.Compare(a.Scope, b.Scope))
		})
	}
	for _, e := range x.state.Exceptions {
		x.decisions.exceptions[e.Update] = append(x.decisions.exceptions[e.Update], e)
	}
	for _, list := range x.decisions.exceptions {
		slices.SortFunc(list, func(a, b approval.Exception) int { return cmp.Compare(a.Act, b.Act) })
	}
	x.listExpiries()
}

func (x *Index) loadInstall(row store.InstallRow) error {
	if n, ok := x.numbers[row.Device]; ok {
		x.devices[n].putInstall(&row)
	}
	return nil
}

// loadDocuments reads the documents that contacts name, each once, and gives them to their devices. A
// document that is missing or malformed is left out: the device will be asked for it.
func (x *Index) loadDocuments(ctx context.Context) error {
	held := map[documentKey]*roaring.Bitmap{}
	err := x.store.LoadContacts(ctx, func(c store.Contact) error {
		n, ok := x.numbers[c.Device]
		if !ok {
			return nil
		}
		x.devices[n].contact.Store(&c)
		for _, kind := range wire.Kinds() {
			key := documentKey{kind, c.Digests[kind]}
			if key.digest == "" {
				continue
			}
			if held[key] == nil {
				held[key] = roaring.New()
			}
			held[key].Add(n)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("load contacts: %w", err)
	}
	return x.loadHeld(ctx, held)
}

// loaded is a document read at start, or why it was not.
type loaded struct {
	doc *document
	key documentKey
	err error
}

// loadHeld reads documents on all processors and links them one after the other.
func (x *Index) loadHeld(ctx context.Context, held map[documentKey]*roaring.Bitmap) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	keys, read := make(chan documentKey), make(chan loaded)
	go func() {
		defer close(keys)
		for key := range held {
			select {
			case keys <- key:
			case <-ctx.Done():
				return
			}
		}
	}()
	var group sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() {
			for key := range keys {
				doc, err := x.document(ctx, key.kind, key.digest)
				select {
				case read <- loaded{doc, key, err}:
				case <-ctx.Done():
					return
				}
			}
		})
	}
	go func() { group.Wait(); close(read) }()
	for l := range read {
		if err := x.adoptLoaded(ctx, l, held[l.key]); err != nil {
			return err
		}
	}
	x.spreadRest(held)
	return ctx.Err()
}

// adoptLoaded gives a document to its devices. One that is missing or malformed is left out: its devices
// will be asked for it.
func (x *Index) adoptLoaded(ctx context.Context, l loaded, devices *roaring.Bitmap) error {
	if errors.Is(l.err, fault.NotFound) || errors.Is(l.err, fault.Invalid) {
		x.log.Warn("a document is missing; its devices will be asked for it", "kind", l.key.kind, "digest", l.key.digest, "devices", devices.GetCardinality(), "error", l.err)
		return nil
	}
	if l.err != nil {
		return l.err
	}
	grown, err := x.save(ctx, grow(l.doc))
	if err != nil {
		return err
	}
	x.mu.Lock() // documents are read meanwhile
	defer x.mu.Unlock()
	x.publishGrowth(grown)
	x.link(l.doc)
	x.documents[l.key] = l.doc
	for it := devices.Iterator(); it.HasNext(); {
		*x.devices[it.Next()].slot(l.key.kind) = l.doc
		l.doc.refs++
	}
	if devices.GetCardinality() >= manyDevices {
		x.spread(l.doc, func(b *roaring.Bitmap) { b.Or(devices) })
	}
	return nil
}

// manyDevices is from how many devices with one document on merging whole sets is faster than adding one
// device after the other.
const manyDevices = 200

// spreadRest counts the devices whose documents only few have, in the order of their numbers: adding at
// the end of a set is cheap.
func (x *Index) spreadRest(held map[documentKey]*roaring.Bitmap) {
	for _, rec := range x.devices {
		for _, doc := range rec.documents() {
			if held[doc.documentKey].GetCardinality() < manyDevices {
				x.spread(doc, func(b *roaring.Bitmap) { b.Add(rec.number) })
			}
		}
	}
}

// loadRollbacks finds the ordered rollbacks that are still to be done.
func (x *Index) loadRollbacks(ctx context.Context) error {
	for act, rb := range x.state.Rollbacks {
		x.ordered(act, rb.UpdateRollback)
	}
	if len(x.rollbacks) == 0 {
		return nil
	}
	if err := x.loadDone(ctx); err != nil {
		return err
	}
	for n := range x.rollbacks {
		if err := x.saveDone(ctx, x.devices[n], x.settleRollbacks(x.devices[n])); err != nil {
			return err
		}
	}
	return nil
}

// loadDone reads which rollbacks were done before.
func (x *Index) loadDone(ctx context.Context) error {
	const page = 1000
	for n := range x.rollbacks {
		q := store.EventQuery{Device: x.devices[n].id, Event: EventRollbackDone, Limit: page}
		for {
			events, err := x.store.Events(ctx, q)
			if err != nil {
				return fmt.Errorf("read which rollbacks are done: %w", err)
			}
			for _, e := range events {
				if act, err := strconv.ParseInt(e.Detail, 10, 64); err == nil {
					x.rollbacks[n][act] = false
				}
				q.Before, q.BeforeID = e.At, e.ID
			}
			if len(events) < page {
				break
			}
		}
	}
	return nil
}
