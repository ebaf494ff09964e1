// Package seed fills a server's database with a large fleet, for measurements: enrolling a hundred thousand devices over
// TLS would take longer than what is measured afterwards.
//
// Guarantees: what it writes goes through the store's own methods, so the database is what a server would have written
// that had enrolled these devices, and its ledger verifies. It needs a database that a server was started on once and
// that no server runs on now. The devices have no keys anybody holds: they never connect.
package seed

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"assent/fleet"
	"assent/ledger"
	"assent/server/internal/index"
	"assent/server/internal/store"
	"assent/wire"
)

// The engines of databases.
const (
	SQLite   = store.SQLite
	Postgres = store.Postgres
)

// Database says where the server keeps what it knows.
type Database struct {
	Engine string // SQLite or Postgres
	DSN    string // path or URL
}

// Fleet is what devices are, have and could take. Its methods may be called concurrently.
type Fleet interface {
	Devices() int
	// Name is the name of the device with a number.
	Name(device int) string
	// Facts are its own; Kind is the number of the packages that it shares with others.
	Facts(device int) wire.Facts
	Kind(device int) int
	// Kinds is how many kinds there are; Packages and Offers are what devices of one have and could take.
	Kinds() int
	Packages(kind int) wire.Inventory
	Offers(kind int) wire.Available
}

// DeviceID is the id of the device with a number.
func DeviceID(device int) fleet.DeviceID {
	return fleet.DeviceID("d" + wire.Digest(fmt.Appendf(nil, "seeded %d", device))[:12])
}

// Group is the id of one of the groups that the devices stand in, evenly.
func Group(n int) fleet.GroupID { return fleet.GroupID(fmt.Sprintf("g-seed%02d", n%Groups)) }

// Groups is how many there are, side by side below the root.
const Groups = 20

// token is the id of the token that they are enrolled with.
const token = "seed0000"

// chunk is how many devices are written in one transaction.
const chunk = 5000

// Fill writes a fleet. Afterwards the catalog holds what it could take.
func Fill(ctx context.Context, d Database, f Fleet) (err error) {
	db, err := store.Open(ctx, store.Config{Engine: d.Engine, DSN: d.DSN})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	s := seeder{db: db, fleet: f, now: time.Now().UTC().Truncate(time.Microsecond), digests: make([]map[wire.Kind]string, f.Kinds())}
	for _, step := range []func(context.Context) error{s.enrol, s.shared, s.own, s.grow} {
		if err := step(ctx); err != nil {
			return fmt.Errorf("fill the database: %w", err)
		}
	}
	return nil
}

type seeder struct {
	db    *store.DB
	fleet Fleet
	now   time.Time

	mu      sync.Mutex
	digests []map[wire.Kind]string // of the shared documents, by kind of device
}

// act makes one act of the server.
func (s *seeder) act(ctx context.Context, state *ledger.State, body ledger.Body) error {
	e, err := ledger.Make(state.Seq+1, s.now, "server", body)
	if err != nil {
		return err
	}
	if err := state.Apply(e); err != nil {
		return err
	}
	return s.db.Append(ctx, e, state)
}

// enrol admits all devices.
func (s *seeder) enrol(ctx context.Context) error {
	state, err := s.db.LoadState(ctx)
	if err != nil {
		return err
	}
	for i := range Groups {
		if err := s.act(ctx, state, ledger.GroupCreate{Group: fleet.Group{ID: Group(i), Name: fmt.Sprintf("Site %02d", i), Parent: fleet.Root}}); err != nil {
			return err
		}
	}
	n := s.fleet.Devices()
	if err := s.act(ctx, state, ledger.TokenCreate{ID: token, Group: fleet.Root, Uses: n, Expires: s.now.Add(time.Hour)}); err != nil {
		return err
	}
	for from := 0; from < n; from += chunk {
		var entries []ledger.Entry
		for i := from; i < min(from+chunk, n); i++ {
			e, err := ledger.Make(state.Seq+1, s.now, "device:"+string(DeviceID(i)), s.device(i))
			if err != nil {
				return err
			}
			if err := state.Apply(e); err != nil {
				return err
			}
			entries = append(entries, e)
		}
		if err := s.db.AppendEnrolments(ctx, entries, state); err != nil {
			return err
		}
	}
	return nil
}

func (s *seeder) device(i int) ledger.DeviceEnrol {
	id := DeviceID(i)
	return ledger.DeviceEnrol{Token: token, Device: fleet.Device{ID: id, Name: s.fleet.Name(i), Group: Group(i), State: fleet.Active, Key: wire.Digest([]byte(id)), EnrolledAt: s.now}}
}

// writers is how many documents are written at once: they share transactions.
const writers = 64

// shared writes the documents that devices of a kind share.
func (s *seeder) shared(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(writers)
	for k := range s.fleet.Kinds() {
		group.Go(func() error {
			inventory, err := s.put(ctx, wire.KindInventory, s.fleet.Packages(k))
			if err != nil {
				return err
			}
			available, err := s.put(ctx, wire.KindAvailable, s.fleet.Offers(k))
			s.mu.Lock()
			defer s.mu.Unlock()
			s.digests[k] = map[wire.Kind]string{wire.KindInventory: inventory, wire.KindAvailable: available}
			return err
		})
	}
	return group.Wait()
}

func (s *seeder) put(ctx context.Context, kind wire.Kind, doc any) (string, error) {
	body, digest, err := wire.Encode(doc)
	if err != nil {
		return "", err
	}
	return digest, s.db.PutDocument(ctx, kind, digest, body)
}

// own writes what each device has for itself: its facts and when it was seen.
func (s *seeder) own(ctx context.Context) error {
	group, together := errgroup.WithContext(ctx)
	group.SetLimit(writers)
	contacts := make([]store.Contact, s.fleet.Devices())
	for i := range contacts {
		group.Go(func() error {
			facts, err := s.put(together, wire.KindFacts, s.fleet.Facts(i))
			shared := s.digests[s.fleet.Kind(i)]
			contacts[i] = store.Contact{Device: DeviceID(i), BootID: "boot", Run: "run", Sequence: 1, LastSeen: s.now, Capability: wire.Capability,
				Progress: wire.Progress{LastScan: s.now, LastRefresh: s.now},
				Digests:  map[wire.Kind]string{wire.KindFacts: facts, wire.KindInventory: shared[wire.KindInventory], wire.KindAvailable: shared[wire.KindAvailable]}}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for len(contacts) > 0 {
		n := min(len(contacts), chunk)
		if err := s.db.SaveContacts(ctx, contacts[:n]); err != nil {
			return err
		}
		contacts = contacts[n:]
	}
	return nil
}

// grow has the index put what devices could take into the catalog, as it does when a device brings it.
func (s *seeder) grow(ctx context.Context) error {
	_, err := index.Open(ctx, s.db, index.Config{})
	return err
}
