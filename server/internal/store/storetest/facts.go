package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"assent/catalog"
	"assent/fault"
	"assent/fleet"
	"assent/installation"
	"assent/ledger"
	"assent/server/internal/store"
	"assent/wire"
)

func documents(t *testing.T, fresh func(testing.TB) store.Config) {
	db := open(t, fresh(t))
	bodies := map[string][]byte{"empty": {}, "json": []byte(`{"a":"b"}`), "bytes": {0, 255, 10, 0}, "big": bytes.Repeat([]byte("package "), 1<<20),
		"d\x00": []byte("x"), "d\xff": []byte("y"), long(10_000): []byte("z")}
	for _, round := range []string{"first", "again"} {
		for digest, body := range bodies {
			must(t, db.PutDocument(t.Context(), wire.KindInventory, digest, body))
			got, err := db.Document(t.Context(), wire.KindInventory, digest)
			must(t, err)
			if !bytes.Equal(got, body) {
				t.Errorf("%s: document %.20q came back with %d bytes of %d", round, digest, len(got), len(body))
			}
		}
	}
	if _, err := db.Document(t.Context(), wire.KindFacts, "json"); !errors.Is(err, fault.NotFound) {
		t.Errorf("a digest of another kind: %v, want not found", err)
	}
	if err := db.PutDocument(t.Context(), wire.KindFacts, "huge", make([]byte, wire.MaxDocument+1)); !errors.Is(err, fault.TooLarge) {
		t.Errorf("a document over the cap: %v, want too large", err)
	}
	must(t, db.PutDocument(t.Context(), wire.KindFacts, "largest", make([]byte, wire.MaxDocument)))
	if got, err := db.Document(t.Context(), wire.KindFacts, "largest"); err != nil || len(got) != wire.MaxDocument {
		t.Errorf("the largest document: %d bytes, %v", len(got), err)
	}
}

func prune(t *testing.T, fresh func(testing.TB) store.Config) {
	cfg := fresh(t)
	now := at(0)
	cfg.Now = func() time.Time { return now }
	db := open(t, cfg)
	put := func(digest string) {
		t.Helper()
		must(t, db.PutDocument(t.Context(), wire.KindFacts, digest, []byte(digest)))
	}
	for _, d := range []string{"unused", "used", "used\x00", "sent again"} {
		put(d)
	}
	must(t, db.PutDocument(t.Context(), wire.KindInventory, "used", []byte("same digest, other kind")))
	must(t, db.SaveContacts(t.Context(), []store.Contact{{Device: "d1", Digests: map[wire.Kind]string{wire.KindFacts: "used"}},
		{Device: "d2", Digests: map[wire.Kind]string{wire.KindFacts: "used\x00", wire.KindInventory: "gone"}}}))
	now = at(10)
	put("new")
	put("sent again")
	n, err := db.PruneDocuments(t.Context(), at(10))
	must(t, err)
	if n != 2 {
		t.Errorf("%d documents were pruned, want 2", n)
	}
	for digest, kept := range map[string]bool{"unused": false, "used": true, "used\x00": true, "sent again": true, "new": true} {
		if _, err := db.Document(t.Context(), wire.KindFacts, digest); (err == nil) != kept {
			t.Errorf("document %q: %v, want kept: %v", digest, err, kept)
		}
	}
	if _, err := db.Document(t.Context(), wire.KindInventory, "used"); !errors.Is(err, fault.NotFound) {
		t.Errorf("an unused document under a used digest of another kind: %v, want not found", err)
	}
}

func update(name string, items int) catalog.Update {
	r := catalog.Release{Software: catalog.Software{Ecosystem: "deb", Namespace: "debian", Name: name}, Version: "1.0"}
	u := catalog.Update{ID: r.ID(), Release: r, Class: catalog.ThirdParty, Severity: catalog.Unrated, Origins: []string{"Debian:bookworm"},
		Summary: "a\x00summary", FirstSeen: at(0)}
	for i := range items {
		u.Items = append(u.Items, catalog.Bound{Item: catalog.Item{Name: fmt.Sprint("bin", i), Arch: "amd64", Version: "1.0", Size: 1 << 40, SHA256: strings.Repeat("a", 64)},
			Role: catalog.Own, Rev: i + 1, Origin: "Debian:bookworm"})
	}
	return u
}

func loadCatalog(t testing.TB, db *store.DB) map[string]catalog.Update {
	t.Helper()
	out := map[string]catalog.Update{}
	must(t, db.LoadCatalog(t.Context(), func(u store.CatalogRow) error { out[u.Name] = u.Update; return nil }))
	return out
}

// seen are updates whose rows were written so often when they were read.
func seen(version int64, updates ...catalog.Update) []store.CatalogRow {
	out := make([]store.CatalogRow, len(updates))
	for i, u := range updates {
		out[i] = store.CatalogRow{Update: u, Version: version}
	}
	return out
}

func catalogGrows(t *testing.T, fresh func(testing.TB) store.Config) {
	db := open(t, fresh(t))
	want := map[string]catalog.Update{}
	var all []catalog.Update
	for i := range 700 { // more than two batches
		u := update(fmt.Sprint("pkg", i), i%4)
		all = append(all, u)
		want[u.Name] = u
	}
	must(t, db.SaveCatalog(t.Context(), nil))
	must(t, db.SaveCatalog(t.Context(), seen(0, all...)))
	same(t, "catalog", loadCatalog(t, db), want)

	want["pkg3"], want["new"] = update("pkg3", 9), update("new", 1)
	must(t, db.SaveCatalog(t.Context(), append(seen(1, update("pkg3", 4), want["pkg3"]), seen(0, want["new"])...)))
	same(t, "catalog after growth", loadCatalog(t, db), want)

	err := db.SaveCatalog(t.Context(), append(seen(0, update("newer", 1)), seen(1, update("pkg3", 10))...))
	if !errors.Is(err, store.ErrMoved) {
		t.Errorf("an update that grew from an earlier one: %v, want ErrMoved", err)
	}
	if err := db.SaveCatalog(t.Context(), seen(0, update("newer", 1), update("pkg3", 9))); !errors.Is(err, store.ErrMoved) {
		t.Errorf("an update that another server saw first: %v, want ErrMoved", err)
	}
	same(t, "catalog after refused writes", loadCatalog(t, db), want)
	moved := update("pkg3", 9)
	moved.Severity, moved.Items[0].Origin = catalog.High, "Debian:bookworm-security"
	must(t, db.SaveCatalog(t.Context(), seen(2, moved)))
	want["pkg3"] = moved
	same(t, "catalog after a change of what is not identity", loadCatalog(t, db), want)
	stop := errors.New("stop")
	if err := db.LoadCatalog(t.Context(), func(store.CatalogRow) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("an error of the callback: %v, want it back", err)
	}
}

// catalogRace lets two servers grow one update at the same time; each rereads when the other was first.
func catalogRace(t *testing.T, fresh func(testing.TB) store.Config) {
	cfg := fresh(t)
	servers := []*store.DB{open(t, cfg), open(t, cfg)}
	const writers, each = 4, 10
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				if err := addItem(t.Context(), servers[w%2], fmt.Sprintf("bin-%d-%d", w, i)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if n := len(loadCatalog(t, servers[0])["pkg"].Items); n != writers*each {
		t.Errorf("the update has %d items, want %d: a server overwrote what another had seen", n, writers*each)
	}
}

func addItem(ctx context.Context, db *store.DB, name string) error {
	for {
		u := store.CatalogRow{Update: update("pkg", 0)}
		err := db.LoadCatalog(ctx, func(known store.CatalogRow) error { u = known; return nil })
		if err != nil {
			return err
		}
		u.Items = append(u.Items, catalog.Bound{Item: catalog.Item{Name: name}, Rev: u.Rev() + 1})
		if err := db.SaveCatalog(ctx, []store.CatalogRow{u}); !errors.Is(err, store.ErrMoved) {
			return err
		}
	}
}

func contacts(t *testing.T, fresh func(testing.TB) store.Config) {
	db := open(t, fresh(t))
	want := map[fleet.DeviceID]store.Contact{}
	var all []store.Contact
	for i := range 600 {
		c := store.Contact{Device: fleet.DeviceID(fmt.Sprint("d\x00", i)), Digests: map[wire.Kind]string{wire.KindFacts: "f", wire.KindInventory: fmt.Sprint("i", i)},
			BootID: "boot", Run: "run\x00", Sequence: 1<<62 + int64(i), LastSeen: at(i), Progress: wire.Progress{LastScan: at(1), Doing: "scan", Error: "\x1b[31m"}, Capability: 1}
		all = append(all, c)
		want[c.Device] = c
	}
	load := func() map[fleet.DeviceID]store.Contact {
		got := map[fleet.DeviceID]store.Contact{}
		must(t, db.LoadContacts(t.Context(), func(c store.Contact) error { got[c.Device] = c; return nil }))
		return got
	}
	must(t, db.SaveContacts(t.Context(), nil))
	must(t, db.SaveContacts(t.Context(), all))
	same(t, "contacts", load(), want)
	old, last := all[5], all[5]
	last.Sequence, last.Digests = 7, nil
	must(t, db.SaveContacts(t.Context(), []store.Contact{old, last}))
	want = maps.Clone(want)
	want[last.Device] = last
	same(t, "contacts after a change", load(), want)
}

func reopen(t *testing.T, fresh func(testing.TB) store.Config) {
	cfg := fresh(t)
	db, err := store.Open(t.Context(), cfg)
	must(t, err)
	s := begin(t, db)
	must(t, db.PutDocument(t.Context(), wire.KindFacts, "digest", []byte("body")))
	must(t, db.SaveCatalog(t.Context(), seen(0, update("pkg", 1))))
	must(t, db.SaveContacts(t.Context(), []store.Contact{{Device: "d"}}))
	row := installed("r", "d", "u", installation.Installed)
	_, err = db.ApplyReports(t.Context(), "d", []store.AppliedReport{row, event("e", "x", 0)})
	must(t, err)
	must(t, db.Ping(t.Context()))
	must(t, db.Close())

	db = open(t, cfg)
	same(t, "engine", db.Engine(), cfg.Engine)
	same(t, "state", Consistent(t, db), s)
	same(t, "catalog", loadCatalog(t, db), map[string]catalog.Update{"pkg": update("pkg", 1)})
	same(t, "installs", rows(t, db), map[string]store.InstallRow{"d u": written(*row.Row, 1)})
	if _, err := db.Document(t.Context(), wire.KindFacts, "digest"); err != nil {
		t.Error(err)
	}
	if got, err := db.ApplyReports(t.Context(), "d", []store.AppliedReport{row}); err != nil || len(got) != 0 {
		t.Errorf("a report from before the restart was applied again: %v, %v", got, err)
	}
	must(t, act(t.Context(), db, s, "admin", ledger.TokenRevoke{ID: "token"}))
}

func startTogether(t *testing.T, fresh func(testing.TB) store.Config) {
	cfg := fresh(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			db, err := store.Open(t.Context(), cfg)
			if err == nil {
				err = db.Close()
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	begin(t, open(t, cfg))
}

func newerSchema(t *testing.T, fresh func(testing.TB) store.Config) {
	cfg := fresh(t)
	must(t, open(t, cfg).Ping(t.Context()))
	if _, err := raw(t, cfg).Exec("INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, " +
		map[string]string{store.SQLite: "1", store.Postgres: "true"}[cfg.Engine] + ")"); err != nil {
		t.Fatal(err)
	}
	db, err := store.Open(context.Background(), cfg)
	if err == nil {
		db.Close()
		t.Fatal("a database with a newer schema was opened")
	}
	if !strings.Contains(err.Error(), "run the newer server") {
		t.Errorf("the error does not say what to do: %v", err)
	}
}
