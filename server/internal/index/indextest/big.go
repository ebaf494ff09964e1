package indextest

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"assent/catalog"
	"assent/fault"
	"assent/fleet"
	"assent/ledger"
	"assent/server/internal/store"
	"assent/slot"
	"assent/wire"
)

// Big is a store in memory that holds a large fleet, for measurements. What is written to it is kept only
// as far as the index reads it back.
type Big struct {
	mu        sync.Mutex
	state     *ledger.State
	contacts  []store.Contact
	documents map[string][]byte
	kinds     map[string]wire.Kind // of documents, by digest
	updates   []store.CatalogRow
}

// Size says how large a fleet is.
type Size struct {
	Devices  int
	Updates  int // in the whole fleet
	Each     int // updates that one device could take
	Packages int // installed on each device
	Kinds    int // different sets of facts; devices share them evenly
}

// NewBig makes a fleet.
func NewBig(s Size) *Big {
	b := &Big{state: ledger.NewState(), documents: map[string][]byte{}, kinds: map[string]wire.Kind{}}
	digests := make([]map[wire.Kind]string, s.Kinds)
	for k := range s.Kinds {
		digests[k] = map[wire.Kind]string{
			wire.KindFacts:     b.put(wire.KindFacts, wire.Facts{Hostname: "host", OS: "debian", OSVersion: "12", Arch: "amd64", Agent: "bench"}),
			wire.KindInventory: b.put(wire.KindInventory, inventoryOf(s, k)),
			wire.KindAvailable: b.put(wire.KindAvailable, availableOf(s, k)),
		}
	}
	for i := range s.Devices {
		b.enrol(i, digests[i%s.Kinds])
	}
	return b
}

// tiny is how many updates are in either half of the pool that tiny sets are drawn from: a set has one of each half, so
// there are a million different ones.
const tiny = 1000

// NewTiny makes a fleet whose devices have the same packages and could take two updates each. So many different sets of
// two are shared evenly; as many as there are devices is the worst case, in which nobody shares.
func NewTiny(devices, sets int) *Big {
	b := &Big{state: ledger.NewState(), documents: map[string][]byte{}, kinds: map[string]wire.Kind{}}
	facts := b.put(wire.KindFacts, wire.Facts{Hostname: "host", OS: "debian", OSVersion: "12", Arch: "amd64", Agent: "bench"})
	inventory := b.put(wire.KindInventory, wire.Inventory{Ecosystem: "deb", Packages: []wire.Package{Package("base", "1.0")}})
	available := make([]string, sets)
	for k := range sets {
		available[k] = b.put(wire.KindAvailable, wire.Available{Ecosystem: "deb", Updates: []wire.Offer{
			Offer(fmt.Sprintf("left%03d", k%tiny), "1.1", "1.0"), Offer(fmt.Sprintf("right%03d", k/tiny), "1.1", "1.0")}})
	}
	for i := range devices {
		b.enrol(i, map[wire.Kind]string{wire.KindFacts: facts, wire.KindInventory: inventory, wire.KindAvailable: available[i%sets]})
	}
	return b
}

// enrol puts a device with a number into the store.
func (b *Big) enrol(i int, digests map[wire.Kind]string) {
	id := fleet.DeviceID(fmt.Sprintf("d%07d", i))
	b.state.Devices[id] = fleet.Device{ID: id, Name: fmt.Sprintf("host%07d", i), Group: fleet.Root, State: fleet.Active, Key: string(id), EnrolledAt: start}
	b.contacts = append(b.contacts, store.Contact{Device: id, Digests: digests, BootID: "boot", Run: "run", Sequence: 1, LastSeen: start, Capability: wire.Capability})
}

// number spreads the updates over the kinds of devices.
func (s Size) number(kind, i int) int { return (kind*7 + i*(s.Updates/s.Each)) % s.Updates }

func inventoryOf(s Size, kind int) wire.Inventory {
	inv := wire.Inventory{Ecosystem: "deb"}
	for i := range s.Each {
		inv.Packages = append(inv.Packages, Package(fmt.Sprintf("tool%06d", s.number(kind, i)), "1.0"))
	}
	for i := range s.Packages - s.Each {
		inv.Packages = append(inv.Packages, Package(fmt.Sprintf("base%04d", i), fmt.Sprintf("1.%d", kind%5)))
	}
	return inv
}

func availableOf(s Size, kind int) wire.Available {
	a := wire.Available{Ecosystem: "deb"}
	for i := range s.Each {
		n := s.number(kind, i)
		o := Offer(fmt.Sprintf("tool%06d", n), "1.1", "1.0")
		o.Items[0].Security = n%4 == 0
		a.Updates = append(a.Updates, o)
	}
	return a
}

func (b *Big) put(kind wire.Kind, doc any) string {
	body, digest, err := wire.Encode(doc)
	if err != nil {
		panic(err) // these types always encode
	}
	b.documents[digest], b.kinds[digest] = body, kind
	return digest
}

// AppendBeside forgets the entry but not the state.
func (b *Big) AppendBeside(_ context.Context, _ ledger.Entry, after *ledger.State, _ ...store.Beside) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.state = after
	return nil
}

// LoadState returns the state.
func (b *Big) LoadState(context.Context) (*ledger.State, error) { return b.state, nil }

// Entries has none.
func (b *Big) Entries(context.Context, int64, int64) ([]store.RawEntry, error) { return nil, nil }

// PutDocument keeps a document.
func (b *Big) PutDocument(_ context.Context, kind wire.Kind, digest string, body []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.documents[digest], b.kinds[digest] = slices.Clone(body), kind
	return nil
}

// Document returns a document.
func (b *Big) Document(_ context.Context, _ wire.Kind, digest string) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	body, ok := b.documents[digest]
	if !ok {
		return nil, fault.New(fault.NotFound, "document_unknown", "There is no such document.")
	}
	return body, nil
}

// LoadDocuments calls each with all documents.
func (b *Big) LoadDocuments(_ context.Context, each func(store.Packed) error) error {
	for digest, body := range b.documents {
		if err := each(store.Packed{Kind: b.kinds[digest], Digest: digest, Body: func() ([]byte, error) { return body, nil }}); err != nil {
			return err
		}
	}
	return nil
}

// SaveCatalog keeps updates.
func (b *Big) SaveCatalog(_ context.Context, updates []store.CatalogRow) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.updates = append(b.updates, updates...)
	return nil
}

// LoadCatalog returns the updates as they were saved, later ones last.
func (b *Big) LoadCatalog(_ context.Context, each func(store.CatalogRow) error) error {
	for _, u := range b.updates {
		if err := each(u); err != nil {
			return err
		}
	}
	return nil
}

// CatalogRows has none but those that the index knows.
func (b *Big) CatalogRows(context.Context, []catalog.UpdateID) ([]store.CatalogRow, error) {
	return nil, nil
}

// LoadContacts returns all devices' contacts.
func (b *Big) LoadContacts(_ context.Context, each func(store.Contact) error) error {
	for _, c := range b.contacts {
		if err := each(c); err != nil {
			return err
		}
	}
	return nil
}

// LoadInstalls has none.
func (b *Big) LoadInstalls(context.Context, func(store.InstallRow) error) error { return nil }

// DeviceInstalls has none.
func (b *Big) DeviceInstalls(context.Context, fleet.DeviceID) ([]store.InstallRow, error) {
	return nil, nil
}

// Rollout has none.
func (b *Big) Rollout(context.Context, string, catalog.UpdateID) (store.RolloutRow, bool, error) {
	return store.RolloutRow{}, false, nil
}

// Changes has none: nobody else is there.
func (b *Big) Changes(context.Context, store.Mark) (store.Changes, error) {
	return store.Changes{}, nil
}

// SaveInstalls keeps nothing.
func (b *Big) SaveInstalls(context.Context, []store.InstallRow) error { return nil }

// LoadRehearsals has none.
func (b *Big) LoadRehearsals(context.Context, func(store.Rehearsal) error) error { return nil }

// SaveRehearsal forgets it.
func (b *Big) SaveRehearsal(context.Context, store.Rehearsal) error { return nil }

// LoadRollouts has none.
func (b *Big) LoadRollouts(context.Context, func(store.RolloutRow) error) error { return nil }

// LoadSlots has none.
func (b *Big) LoadSlots(context.Context, func(slot.State) error) error { return nil }

// SaveSlots forgets them.
func (b *Big) SaveSlots(context.Context, slot.State) error { return nil }

// SaveRollouts forgets them.
func (b *Big) SaveRollouts(context.Context, []store.RolloutRow) error { return nil }

// ApplyReports takes every report as new.
func (b *Big) ApplyReports(_ context.Context, _ fleet.DeviceID, reports []store.AppliedReport) (fresh []string, err error) {
	for _, r := range reports {
		fresh = append(fresh, r.Report.ID)
	}
	return fresh, nil
}

// Events has none.
func (b *Big) Events(context.Context, store.EventQuery) ([]store.Event, error) { return nil, nil }
