package indextest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"assent/catalog"
	"assent/fleet"
	"assent/ledger"
	"assent/plan"
	"assent/rollout"
	"assent/server/internal/index"
	"assent/server/internal/store"
	"assent/wire"
)

// server is one of several on a database.
type server struct {
	store *store.DB
	index *index.Index
}

// NewServers makes a world with several servers on the PostgreSQL database dsn. What a test does happens at the first one
// until it goes to another (At).
func NewServers(t testing.TB, dsn string, n int) *World {
	w := &World{T: t, config: store.Config{Engine: store.Postgres, DSN: dsn}, now: start, devices: map[fleet.DeviceID]*machine{}}
	for i := range n {
		w.open()
		one := server{w.Store, w.Index}
		t.Cleanup(func() { one.store.Close() })
		w.servers = append(w.servers, one)
		if i == 0 {
			w.begin()
		}
	}
	w.At(0)
	return w
}

// At goes to one of several servers.
func (w *World) At(n int) { w.Store, w.Index = w.servers[n].store, w.servers[n].index }

// Follow has the server at which the test is take in what the others wrote.
func (w *World) Follow() {
	w.T.Helper()
	_, err := w.Index.Follow(context.Background())
	w.must(err)
}

// Flush writes down what the server at which the test is heard of devices, as a gateway does behind them.
func (w *World) Flush() {
	w.T.Helper()
	var contacts []store.Contact
	w.Index.View(func(v *index.View) {
		for d := range v.All() {
			if d.Contact.Device != "" {
				contacts = append(contacts, d.Contact)
			}
		}
	})
	_, err := w.Store.MergeContacts(context.Background(), contacts, func(stored, mine store.Contact) store.Contact {
		if stored.After(mine) {
			return stored
		}
		return mine
	})
	w.must(err)
}

// Rebuilt is an index of a server that starts now.
func (w *World) Rebuilt() *index.Index {
	w.T.Helper()
	x, err := index.Open(w.T.Context(), w.Store, index.Config{Now: w.Now, Version: Version})
	w.must(err)
	return x
}

// Memory is all that an index tells, by names that are the same on every server.
type Memory struct {
	State    *ledger.State
	Devices  map[fleet.DeviceID]Known
	Updates  map[catalog.UpdateID]Devices
	Rollouts []rollout.State
}

// Known is what an index tells of a device.
type Known struct {
	Digests   map[wire.Kind]string
	Sequence  int64
	LastSeen  time.Time
	Facts     *wire.Facts
	Inventory *wire.Inventory
	Available *wire.Available
	Installs  map[catalog.UpdateID]store.InstallRow
	Refused   time.Time
	Illegal   time.Time
	Rollbacks []int64
	Plan      string
	Verdicts  []string
}

// Devices are those of an update.
type Devices struct {
	Update                    catalog.Update
	Needs, Brought, Has, Half []fleet.DeviceID
}

// Remembered is all that an index tells now.
func (w *World) Remembered(x *index.Index) Memory {
	w.T.Helper()
	m := Memory{Devices: map[fleet.DeviceID]Known{}, Updates: map[catalog.UpdateID]Devices{}}
	x.View(func(v *index.View) {
		m.State, m.Rollouts = v.State().Clone(), v.Rollouts()
		for d := range v.All() {
			m.Devices[d.ID] = w.known(v, d)
		}
		for u := range v.Updates() {
			m.Updates[u.ID] = Devices{Update: *u.Update, Needs: ids(v, u.Needs), Brought: ids(v, u.Brought), Has: ids(v, u.Has), Half: ids(v, u.Half)}
		}
	})
	return m
}

func (w *World) known(v *index.View, d index.Device) Known {
	w.T.Helper()
	k := Known{Digests: d.Contact.Digests, Sequence: d.Contact.Sequence, LastSeen: d.Contact.LastSeen, Facts: d.Facts, Inventory: d.Inventory(), Available: d.Available(),
		Installs: map[catalog.UpdateID]store.InstallRow{}, Refused: d.Refused, Illegal: d.Illegal}
	for row := range d.Installs() {
		k.Installs[row.Update] = row
	}
	for _, rb := range v.Rollbacks(d) {
		k.Rollbacks = append(k.Rollbacks, rb.Act)
	}
	result := plan.Compute(v.PlanInput(d, w.Now()))
	_, digest, err := wire.Encode(result.Plan)
	w.must(err)
	k.Plan = digest
	for _, one := range result.Verdicts {
		k.Verdicts = append(k.Verdicts, fmt.Sprint(one.Update, one.Action, one.Cause, one.Status))
	}
	return k
}

func ids(v *index.View, set *roaring.Bitmap) []fleet.DeviceID {
	out := map[fleet.DeviceID]bool{}
	for it := set.Iterator(); it.HasNext(); {
		out[v.DeviceID(it.Next())] = true
	}
	return slices.Sorted(maps.Keys(out))
}
