package audit_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"assent/approval"
	"assent/catalog"
	"assent/client"
	"assent/fleet"
	"assent/ledger"
	"assent/server/internal/audit"
	"assent/server/internal/auth"
	"assent/server/internal/index"
	"assent/server/internal/store"
	"assent/wire"
)

// world is a real store with a real index and the audit service over them.
type world struct {
	*audit.Service
	db    *store.DB
	index *index.Index
	key   string
	now   time.Time
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
	var err error
	clock := func() time.Time { return w.now }
	w.db, err = store.Open(t.Context(), store.Config{DSN: filepath.Join(t.TempDir(), "assent.db"), Now: clock})
	must(t, err)
	t.Cleanup(func() { _ = w.db.Close() })
	w.index, err = index.Open(t.Context(), w.db, index.Config{Now: clock})
	must(t, err)
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
	signer, err := ledger.NewSigner("acme", key)
	must(t, err)
	w.key, err = ledger.VerifierKey("acme", key.Public().(ed25519.PublicKey))
	must(t, err)
	w.Service, err = audit.New(audit.Config{Store: w.db, Fleet: audit.IndexFleet{Index: w.index}, Signer: signer, Key: w.key})
	must(t, err)
	w.act(t, "server", ledger.ServerInit{Org: "acme"})
	return w
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) act(t *testing.T, by string, body ledger.Body) ledger.Entry {
	t.Helper()
	e, err := w.index.Act(t.Context(), by, func(*index.View) (ledger.Body, error) { return body, nil })
	must(t, err)
	return e
}

func (w *world) device(t *testing.T, name string, group fleet.GroupID) fleet.DeviceID {
	t.Helper()
	id := fleet.DeviceID("d" + name)
	w.act(t, "server", ledger.DeviceEnrol{Token: "tok", Device: fleet.Device{ID: id, Name: name, Group: group, State: fleet.Active, Key: name, EnrolledAt: w.now}})
	return id
}

func decision(n int, reason string) ledger.UpdateDecide {
	d := ledger.UpdateDecide{Scope: fleet.Root, Status: approval.Declined, Reason: reason}
	for i := range n {
		r := catalog.Release{Software: catalog.Software{Ecosystem: "deb", Namespace: "acme", Name: fmt.Sprint("app", i)}, Version: "1.0"}
		d.Updates = append(d.Updates, ledger.Decided{Update: r.ID(), Release: r, Rev: 1, Digest: strings.Repeat("0", 64)})
	}
	return d
}

func TestEntriesComeNewestFirstAndPagesAddUpToTheWholeLedger(t *testing.T) {
	w := newWorld(t)
	for i := range 25 {
		w.act(t, "ada", ledger.GroupCreate{Group: fleet.Group{ID: fleet.GroupID(fmt.Sprint("g", i)), Name: fmt.Sprint("Group ", i), Parent: fleet.Root}})
	}
	var got []int64
	q := client.LedgerQuery{Limit: 7}
	for {
		page, err := w.Entries(t.Context(), q)
		must(t, err)
		for _, r := range page.Items {
			got = append(got, r.Seq)
		}
		if page.Total != 26 {
			t.Fatalf("Total = %d, want 26", page.Total)
		}
		if page.Next == "" {
			break
		}
		_, err = fmt.Sscan(page.Next, &q.Before)
		must(t, err)
	}
	for i, seq := range got {
		if seq != int64(26-i) {
			t.Fatalf("entry %d of the pages is %d, want %d: %v", i, seq, 26-i, got)
		}
	}
	if len(got) != 26 {
		t.Errorf("the pages hold %d entries, want 26", len(got))
	}
}

func TestEntriesFilterByKindAndOperator(t *testing.T) {
	w := newWorld(t)
	w.act(t, "ada", decision(1, ""))
	w.act(t, "bob", decision(2, ""))
	w.act(t, "bob", ledger.GroupCreate{Group: fleet.Group{ID: "g", Name: "G", Parent: fleet.Root}})
	page, err := w.Entries(t.Context(), client.LedgerQuery{Kind: "update.decide", By: "bob"})
	must(t, err)
	if len(page.Items) != 1 || page.Items[0].Seq != 3 || page.Next != "" {
		t.Errorf("got %+v, want entry 3 alone", page)
	}
}

// TestN23_TextsOfPeopleCannotPassForOurs: a reason with line breaks, escape sequences and direction marks
// stays one quoted piece of one line.
func TestN23_TextsOfPeopleCannotPassForOurs(t *testing.T) {
	w := newWorld(t)
	w.act(t, "ada", decision(1, "ok\"\n2026-01-01 bob approved everything \x1b[31m\u202egnirts"))
	page, err := w.Entries(t.Context(), client.LedgerQuery{Limit: 1})
	must(t, err)
	text := page.Items[0].Text
	if strings.ContainsAny(text, "\n\x1b\u202e") || !strings.HasPrefix(text, `declined "app0 1.0" in "All devices": "ok\"\n`) {
		t.Errorf("the sentence is %q", text)
	}
}

func TestA2_ABulkActIsOneShortRowHoweverManyUpdatesItHas(t *testing.T) {
	w := newWorld(t)
	w.act(t, "ada", decision(5000, "cleaning up"))
	page, err := w.Entries(t.Context(), client.LedgerQuery{Kind: "update.decide"})
	must(t, err)
	row := page.Items[0]
	if want := `declined 5000 updates ("app0 1.0", "app1 1.0", "app2 1.0", …) in "All devices": "cleaning up"`; row.Text != want {
		t.Errorf("the sentence is %q, want %q", row.Text, want)
	}
	if !row.Omitted || row.Body != nil {
		t.Errorf("the body of %d bytes is in the list", len(row.Body))
	}
}

// TestEveryKindOfEntryHasASentence applies one act of each kind and looks for the two ways to have none.
func TestEveryKindOfEntryHasASentence(t *testing.T) {
	w := newWorld(t)
	later := w.now.Add(time.Hour)
	w.act(t, "ada", ledger.OperatorSet{Operator: ledger.Operator{Name: "root", Role: ledger.Administrator, Scope: fleet.Root}})
	w.act(t, "ada", ledger.OperatorSet{Operator: ledger.Operator{Name: "eve", Role: ledger.Viewer, Scope: fleet.Root}})
	w.act(t, "ada", ledger.AccessCreate{Access: ledger.Access{ID: "acc", Operator: "eve", Expires: later, OneTime: true}})
	w.act(t, "ada", ledger.AccessRevoke{ID: "acc"})
	w.act(t, "ada", ledger.PasswordSet{Operator: "eve"})
	w.act(t, "ada", ledger.PasswordRemove{Operator: "eve"})
	w.act(t, "ada", ledger.PasskeyAdd{Operator: "eve", ID: "k1", Name: "key ring"})
	w.act(t, "ada", ledger.PasskeyRemove{Operator: "eve", ID: "k1"})
	w.act(t, "ada", ledger.SessionEnd{Operator: "eve"})
	w.act(t, "ada", ledger.OperatorRemove{Name: "eve"})
	w.act(t, "ada", ledger.TokenCreate{ID: "tok", Group: fleet.Root, Uses: 9, Expires: later})
	w.act(t, "ada", ledger.GroupCreate{Group: fleet.Group{ID: "g", Name: "Web", Parent: fleet.Root}})
	w.act(t, "ada", ledger.GroupChange{Group: fleet.Group{ID: "g", Name: "Webs", Parent: fleet.Root, Guard: fleet.Observe}})
	id := w.device(t, "web1", "g")
	w.act(t, "ada", ledger.DeviceRenew{ID: id, Key: "k2"})
	w.act(t, "ada", ledger.DeviceMove{IDs: []fleet.DeviceID{id}, Group: fleet.Root})
	w.act(t, "ada", ledger.DeviceState{IDs: []fleet.DeviceID{id}, State: fleet.Retired, Reason: "old"})
	w.act(t, "ada", ledger.GroupDelete{ID: "g"})
	w.act(t, "ada", ledger.TokenRevoke{ID: "tok"})
	d := w.act(t, "ada", decision(2, "x"))
	u := decision(1, "").Updates[0].Update
	x := w.act(t, "ada", ledger.ExceptionAdd{Decline: d.Seq, Update: u, Scope: fleet.Root, Reason: "r", Expires: later})
	w.act(t, "ada", ledger.ExceptionRemove{Exception: x.Seq})
	w.act(t, "ada", ledger.UpdateRollback{Update: u, Scope: fleet.Root, Devices: []fleet.DeviceID{id}, Reason: "r"})
	page, err := w.Entries(t.Context(), client.LedgerQuery{Limit: 100})
	must(t, err)
	kinds := map[ledger.Kind]bool{}
	for _, r := range page.Items {
		kinds[r.Kind] = true
		if r.Text == "" || strings.HasPrefix(r.Text, "recorded ") || strings.Contains(r.Text, "cannot read") || strings.Contains(r.Text, "%!") {
			t.Errorf("entry %d (%s) has the sentence %q", r.Seq, r.Kind, r.Text)
		}
	}
	if len(kinds) != 23 {
		t.Errorf("%d kinds of entries were tried, want all 23: %v", len(kinds), kinds)
	}
}

func TestExportVerifiesOfflineAndStopsWhenAccessEnds(t *testing.T) {
	w := newWorld(t)
	for i := range 600 {
		w.act(t, "ada", ledger.TokenCreate{ID: fmt.Sprint("t", i), Group: fleet.Root, Uses: 1, Expires: w.now.Add(time.Hour)})
	}
	var out bytes.Buffer
	must(t, w.Export(t.Context(), &out, func() error { return nil }))
	s, err := ledger.VerifyExport(bytes.NewReader(out.Bytes()), w.key)
	if err != nil || s.Checkpoint.Size != 601 {
		t.Fatalf("VerifyExport: size %d, %v", s.Checkpoint.Size, err)
	}
	if _, err := ledger.VerifyExport(bytes.NewReader(bytes.Replace(out.Bytes(), []byte(`"by":"ada"`), []byte(`"by":"eve"`), 1)), w.key); err == nil {
		t.Error("an altered export verifies")
	}
	ended, asked := errors.New("access ended"), 0
	err = w.Export(t.Context(), &bytes.Buffer{}, func() error {
		if asked++; asked > 1 {
			return ended
		}
		return nil
	})
	if !errors.Is(err, ended) {
		t.Errorf("Export went on after access ended: %v", err)
	}
}

func TestCheckpointIsSignedOverTheHeadOfThisMoment(t *testing.T) {
	w := newWorld(t)
	cp, err := w.Checkpoint(t.Context())
	must(t, err)
	got, err := ledger.VerifyCheckpoint([]byte(cp.Note), cp.Key)
	if err != nil || got.Size != 1 || cp.Size != 1 || got.Org != "acme" {
		t.Errorf("checkpoint %+v, %v", got, err)
	}
}

// TestN25_EventsOfDevicesOutsideTheScopeAreNotShown also pages through more events than one batch.
func TestN25_EventsOfDevicesOutsideTheScopeAreNotShown(t *testing.T) {
	w := newWorld(t)
	w.act(t, "ada", ledger.TokenCreate{ID: "tok", Group: fleet.Root, Uses: 9, Expires: w.now.Add(time.Hour)})
	w.act(t, "ada", ledger.GroupCreate{Group: fleet.Group{ID: "g", Name: "Web", Parent: fleet.Root}})
	mine, other := w.device(t, "web1", "g"), w.device(t, "db1", fleet.Root)
	for i := range 30 {
		w.report(t, mine, fmt.Sprint("m", i))
		w.report(t, other, fmt.Sprint("o", i))
	}
	who := auth.Actor{Name: "eve", Role: ledger.Viewer, Scope: "g"}
	seen, q := map[int64]bool{}, client.EventQuery{Limit: 7}
	for {
		page, err := w.Events(t.Context(), who, q)
		must(t, err)
		for _, e := range page.Items {
			if e.Device != mine || e.DeviceName != "web1" || seen[e.ID] {
				t.Fatalf("event %+v is not web1's, or came twice", e)
			}
			seen[e.ID], q.Before, q.BeforeID = true, e.At, e.ID
		}
		if page.Next == "" {
			break
		}
	}
	if len(seen) != 30 {
		t.Errorf("saw %d events, want 30", len(seen))
	}
	if _, err := w.Events(t.Context(), who, client.EventQuery{Device: string(other)}); err == nil {
		t.Error("the events of a device outside the scope were listed by its id")
	}
	all, err := w.Events(t.Context(), auth.Actor{Name: "ada", Role: ledger.Viewer, Scope: fleet.Root}, client.EventQuery{Device: "db1", Event: "guard_refused", Limit: 100})
	if err != nil || len(all.Items) != 30 {
		t.Errorf("the events of db1: %d, %v", len(all.Items), err)
	}
}

func (w *world) report(t *testing.T, id fleet.DeviceID, report string) {
	t.Helper()
	_, err := w.db.ApplyReports(context.Background(), id, []store.AppliedReport{{Report: wire.Report{ID: report, At: w.now, Event: "guard_refused", Detail: "x"}}})
	must(t, err)
}
