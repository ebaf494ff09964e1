package storetest

import (
	"context"
	"database/sql"
	"errors"
	"testing"
	"time"

	"assent/catalog"
	"assent/fleet"
	"assent/installation"
	"assent/ledger"
	"assent/rollout"
	"assent/server/internal/store"
)

// leases checks leases by the database's clock: one that began in the past is over.
func leases(t *testing.T, fresh func(testing.TB) store.Config) {
	cfg := fresh(t)
	skewed := cfg
	skewed.Now = func() time.Time { return time.Now().Add(24 * time.Hour) }
	one, two := open(t, cfg), open(t, cfg)
	if cfg.Engine == store.Postgres {
		two = open(t, skewed) // the servers' clocks do not matter
	}
	const hour = time.Hour
	for i, c := range []struct {
		db        *store.DB
		name, who string
		life      time.Duration
		want      int64 // token; 0: somebody else has it
	}{{one, "x", "one", hour, 1}, {two, "x", "two", hour, 0}, {two, "y", "two", hour, 1}, {one, "x", "one", hour, 1}, {one, "x", "one", -hour, 1},
		{two, "x", "two", hour, 2}, {one, "x", "one", hour, 0}, {two, "x", "two", -hour, 2}, {two, "x", "two", hour, 2}} {
		got, ok, err := c.db.Lease(t.Context(), c.name, c.who, c.life)
		must(t, err)
		if ok != (c.want > 0) || got.Token != c.want {
			t.Errorf("%d: %s got %s: %v, token %d; want %d", i, c.who, c.name, ok, got.Token, c.want)
		}
	}
	must(t, two.Release(t.Context(), store.Lease{Name: "x", Holder: "two", Token: 1}))
	if _, ok, err := one.Lease(t.Context(), "x", "one", hour); ok || err != nil {
		t.Errorf("an earlier holding was given back and ended the later one: %v", err)
	}
	must(t, two.Release(t.Context(), store.Lease{Name: "x", Holder: "two", Token: 2}))
	if l, ok, err := one.Lease(t.Context(), "x", "one", hour); !ok || l.Token != 3 || err != nil {
		t.Errorf("after it was given back: %v %v %v", l, ok, err)
	}
}

// fenced checks that a holder that stood still writes nothing once another one has begun, whatever it writes.
func fenced(t *testing.T, fresh func(testing.TB) store.Config) {
	cfg := fresh(t)
	one, two := open(t, cfg), open(t, cfg)
	s := begin(t, one)
	lease, _, err := one.Lease(t.Context(), "x", "one", -time.Hour)
	must(t, err)
	old := store.Fenced(t.Context(), lease)
	must(t, one.SaveInstalls(old, []store.InstallRow{{Device: "d", Update: "before"}})) // nobody has begun yet
	next, ok, err := two.Lease(t.Context(), "x", "two", time.Hour)
	if must(t, err); !ok {
		t.Fatal("the lease was not to be had")
	}
	writes := map[string]func(context.Context) error{
		"an act": func(ctx context.Context) error {
			return act(ctx, one, s.Clone(), "server", ledger.TokenRevoke{ID: "token"})
		},
		"rows": func(ctx context.Context) error {
			return one.SaveInstalls(ctx, []store.InstallRow{{Device: "d", Update: "u"}})
		},
		"contacts": func(ctx context.Context) error { return one.SaveContacts(ctx, []store.Contact{{Device: "d"}}) },
		"rollouts": func(ctx context.Context) error {
			return one.SaveRollouts(ctx, []store.RolloutRow{{State: rollout.Start("t", "u", nil, at(1))}})
		},
		"prunes": func(ctx context.Context) error { _, err := one.PruneDocuments(ctx, time.Now()); return err },
	}
	for name, write := range writes {
		if err := write(old); !errors.Is(err, store.ErrFenced) {
			t.Errorf("%s of a holder that lost its lease: %v, want ErrFenced", name, err)
		}
	}
	for name, write := range writes {
		if err := write(store.Fenced(t.Context(), next)); err != nil {
			t.Errorf("%s of the holder: %v", name, err)
		}
	}
}

// seenBy follows the changes of a database.
type seenBy struct {
	t    *testing.T
	db   *store.DB
	mark store.Mark
}

func (f *seenBy) next() store.Changes {
	f.t.Helper()
	c, err := f.db.Changes(f.t.Context(), f.mark)
	must(f.t, err)
	f.mark = c.Mark
	return c
}

func changes(t *testing.T, fresh func(testing.TB) store.Config) {
	cfg := fresh(t)
	one, two := open(t, cfg), open(t, cfg)
	s := begin(t, one)
	f := &seenBy{t: t, db: two}
	if c := f.next(); !c.Empty() || c.Head != s.Seq {
		t.Fatalf("at the beginning: %+v", c)
	}
	must(t, one.SaveCatalog(t.Context(), seen(0, update("pkg", 1))))
	_, err := one.ApplyReports(t.Context(), "d", []store.AppliedReport{installed("r1", "d", "u1", installation.Installed), event("e1", store.EventRefused, 3), event("e2", "hello", 3)})
	must(t, err)
	must(t, one.SaveContacts(t.Context(), []store.Contact{{Device: "d", Sequence: 7}}))
	must(t, one.SaveRollouts(t.Context(), []store.RolloutRow{{State: rollout.Start("t", "u", nil, at(1))}}))
	must(t, act(t.Context(), one, s, "admin", ledger.TokenRevoke{ID: "token"}))
	c := f.next()
	if c.Head != s.Seq {
		t.Errorf("the ledger's head is %d, want %d", c.Head, s.Seq)
	}
	if !one.Shared() {
		if !c.Empty() {
			t.Errorf("a database of one server says that others wrote: %+v", c)
		}
		return
	}
	same(t, "updates", c.Updates, seen(1, update("pkg", 1)))
	same(t, "rows", c.Installs, []store.InstallRow{written(*installed("r1", "d", "u1", installation.Installed).Row, 1)})
	if len(c.Contacts) != 1 || c.Contacts[0].Sequence != 7 || len(c.Rollouts) != 1 || c.Rollouts[0].Version != 1 {
		t.Errorf("contacts %+v and rollouts %+v", c.Contacts, c.Rollouts)
	}
	if len(c.Events) != 1 || c.Events[0].Event != store.EventRefused || !c.Events[0].At.Equal(at(3)) {
		t.Errorf("events %+v", c.Events)
	}
	if c := f.next(); !c.Empty() {
		t.Errorf("told twice: %+v", c)
	}
	must(t, one.AskRefresh(t.Context(), []fleet.DeviceID{"d", "nobody"}, at(9)))
	if c := f.next(); len(c.Contacts) != 1 || !c.Contacts[0].Refresh.Equal(at(9)) || c.Contacts[0].Sequence != 7 {
		t.Errorf("a request for a refresh: %+v", c.Contacts)
	}
	heardOf(t, one, two)
}

// heardOf checks that one server hears of what another writes, and not of what it writes itself.
func heardOf(t *testing.T, one, two *store.DB) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	heard, ended := make(chan struct{}, 100), make(chan error, 1)
	go func() { ended <- two.Listen(ctx, func() { heard <- struct{}{} }) }()
	<-heard // it listens
	must(t, two.SaveInstalls(t.Context(), []store.InstallRow{{Device: "d", Update: "own"}}))
	must(t, one.SaveInstalls(t.Context(), []store.InstallRow{{Device: "d", Update: "another"}}))
	<-heard
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
}

// lateChange holds a transaction open that began, and took its number, before others that end earlier: whoever follows by
// numbers that grow never sees it.
func lateChange(t *testing.T, fresh func(testing.TB) store.Config) {
	cfg := fresh(t)
	db := open(t, cfg)
	if !db.Shared() {
		return // one writer at a time
	}
	f := &seenBy{t: t, db: db}
	f.next()
	late, err := raw(t, cfg).BeginTx(t.Context(), nil)
	must(t, err)
	defer func() { _ = late.Rollback() }()
	insert(t, late, "late")
	var got []catalog.UpdateID
	take := func() {
		for _, r := range f.next().Installs {
			got = append(got, r.Update)
		}
	}
	must(t, db.SaveInstalls(t.Context(), []store.InstallRow{{Device: "d", Update: "early"}}))
	take()
	must(t, db.SaveInstalls(t.Context(), []store.InstallRow{{Device: "d", Update: "later"}}))
	take()
	take()
	same(t, "while it is open", got, []catalog.UpdateID{"early", "later"})
	must(t, late.Commit())
	take()
	take()
	same(t, "after its end, each once", got, []catalog.UpdateID{"early", "later", "late"})
}

func insert(t *testing.T, tx *sql.Tx, update string) {
	t.Helper()
	if _, err := tx.ExecContext(t.Context(), `INSERT INTO installs (device, update_id, body) VALUES ('d', $1, $2)`, update, `{"device":"d","update":"`+update+`"}`); err != nil {
		t.Fatal(err)
	}
}

func mergedContacts(t *testing.T, fresh func(testing.TB) store.Config) {
	cfg := fresh(t)
	one, two := open(t, cfg), open(t, cfg)
	merges := 0
	add := func(stored, mine store.Contact) store.Contact {
		merges++
		mine.Sequence += stored.Sequence
		return mine
	}
	got, err := one.MergeContacts(t.Context(), []store.Contact{{Device: "d", Sequence: 1}, {Device: "e", Sequence: 10}}, add)
	if must(t, err); len(got) != 0 || merges != 0 {
		t.Errorf("the first contacts were merged with nothing: %v", got)
	}
	got, err = two.MergeContacts(t.Context(), []store.Contact{{Device: "f", Sequence: 100}, {Device: "d", Sequence: 2}}, add)
	must(t, err)
	if !two.Shared() {
		if merges != 0 {
			t.Error("one server has nobody to merge with")
		}
		return
	}
	same(t, "merged", got, []store.Contact{{Device: "d", Sequence: 3}})
	all := map[fleet.DeviceID]int64{}
	must(t, one.LoadContacts(t.Context(), func(c store.Contact) error { all[c.Device] = c.Sequence; return nil }))
	same(t, "contacts", all, map[fleet.DeviceID]int64{"d": 3, "e": 10, "f": 100})
	if _, err := one.MergeContacts(t.Context(), nil, add); err != nil {
		t.Error(err)
	}
}

func pinned(t *testing.T, fresh func(testing.TB) store.Config) {
	cfg := fresh(t)
	for _, key := range []string{"first", "second"} {
		got, err := open(t, cfg).Pin(t.Context(), store.Installation{LedgerKey: key})
		must(t, err)
		if got.LedgerKey != "first" {
			t.Errorf("the server with the key %q: %+v", key, got)
		}
	}
}
