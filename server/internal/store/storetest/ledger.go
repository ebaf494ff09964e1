package storetest

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"assent/approval"
	"assent/catalog"
	"assent/fleet"
	"assent/ledger"
	"assent/ledger/ledgertest"
	"assent/server/internal/store"
)

func tablesEqualReplay(t *testing.T, fresh func(testing.TB) store.Config) {
	kinds := map[ledger.Kind]int{}
	const want = 40 // kinds; a few more ledgers are made where the first ones lack a rare one
	for seed := 0; seed < 8 || len(kinds) < want && seed < 40; seed++ {
		acts := ledgertest.Acts(400).Example(seed)
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) {
			db := open(t, fresh(t))
			want, err := ledgertest.Run(acts, func(e ledger.Entry, after *ledger.State) error {
				kinds[e.Kind]++
				return db.Append(t.Context(), e, after)
			})
			must(t, err)
			same(t, "tables against the state in memory", Consistent(t, db), want)
		})
	}
	if len(kinds) != want {
		t.Errorf("only %d of %d kinds of acts were made: %v", len(kinds), want, kinds)
	}
}

func appendOnlyNext(t *testing.T, fresh func(testing.TB) store.Config) {
	db := open(t, fresh(t))
	s := begin(t, db)
	for _, seq := range []int64{1, s.Seq, s.Seq + 2, s.Seq + 100} {
		e, err := ledger.Make(seq, ledgertest.Start(), "admin", ledger.TokenCreate{ID: fmt.Sprint("odd", seq), Group: fleet.Root})
		must(t, err)
		after := s.Clone()
		after.Seq = seq - 1
		must(t, after.Apply(e))
		if err := db.Append(t.Context(), e, after); !errors.Is(err, store.ErrMoved) {
			t.Errorf("entry %d after %d: %v, want ErrMoved", seq, s.Seq, err)
		}
	}
	e, err := ledger.Make(s.Seq+1, ledgertest.Start(), "admin", ledger.TokenRevoke{ID: "token"})
	must(t, err)
	if err := db.Append(t.Context(), e, s); err == nil {
		t.Error("an entry was taken with the state before it")
	}
	same(t, "state after refused acts", Consistent(t, db), s)
}

// appendRace lets four writers on two servers add tokens; each reloads when another was first. On a busy
// machine they may happen to come one after the other, so it goes on until one came second.
func enrolmentsTogether(t *testing.T, fresh func(testing.TB) store.Config) {
	db := open(t, fresh(t))
	s := begin(t, db)
	must(t, act(t.Context(), db, s, "admin", ledger.TokenCreate{ID: "many", Group: fleet.Root, Uses: 2000, Expires: ledgertest.Start().Add(time.Hour)}))
	before := s.Clone()
	var entries []ledger.Entry
	for i := range 1100 { // more than one statement takes
		id := fleet.DeviceID(fmt.Sprint("many-", i))
		e, err := ledger.Make(s.Seq+1, ledgertest.Start(), "device:"+string(id), ledger.DeviceEnrol{Token: "many", Device: fleet.Device{ID: id, Name: string(id), Group: fleet.Root, State: fleet.Active,
			Key: fmt.Sprint("key-", i), EnrolledAt: ledgertest.Start()}})
		must(t, err)
		must(t, s.Apply(e))
		entries = append(entries, e)
	}
	must(t, db.AppendEnrolments(t.Context(), entries, s))
	same(t, "tables against the state in memory", Consistent(t, db), s)
	if err := db.AppendEnrolments(t.Context(), entries, s); !errors.Is(err, store.ErrMoved) {
		t.Errorf("again: %v, want ErrMoved", err)
	}
	other, err := ledger.Make(s.Seq+1, ledgertest.Start(), "admin", ledger.TokenRevoke{ID: "many"})
	must(t, err)
	for what, list := range map[string][]ledger.Entry{"nothing": nil, "another kind": {other}, "a gap": {entries[0], entries[2]}} {
		if err := db.AppendEnrolments(t.Context(), list, before); err == nil {
			t.Errorf("%s was appended", what)
		}
	}
	must(t, act(t.Context(), db, s, "admin", ledger.TokenRevoke{ID: "many"}))
	same(t, "tables against the state in memory", Consistent(t, db), s)
}

func appendRace(t *testing.T, fresh func(testing.TB) store.Config) {
	cfg := fresh(t)
	servers := []*store.DB{open(t, cfg), open(t, cfg)}
	begin(t, servers[0])
	const writers, each, limit = 4, 15, 20
	var moved atomic.Int64
	rounds := 0
	for ; moved.Load() == 0 && rounds < limit; rounds++ {
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for i := range each {
					n, err := insist(t.Context(), servers[w%2], ledger.TokenCreate{ID: fmt.Sprintf("w%d-%d-%d", rounds, w, i), Group: fleet.Root})
					if err != nil {
						t.Error(err)
						return
					}
					moved.Add(int64(n))
				}
			})
		}
		wg.Wait()
	}
	s := Consistent(t, servers[1])
	if n := rounds * writers * each; len(s.Tokens) != 1+n || s.Seq != int64(2+n) {
		t.Errorf("%d tokens in %d entries, want %d in %d", len(s.Tokens), s.Seq, 1+n, 2+n)
	}
	if moved.Load() == 0 {
		t.Error("no writer ever came second: the race was not one")
	}
}

// insist appends an act however often others come first, and says how often they did.
func insist(ctx context.Context, db *store.DB, b ledger.Body) (moved int, err error) {
	for {
		s, err := db.LoadState(ctx)
		if err != nil {
			return moved, err
		}
		err = act(ctx, db, s, "writer", b)
		if !errors.Is(err, store.ErrMoved) {
			return moved, err
		}
		moved++
	}
}

// appendAtomic writes an act whose rows the database refuses: the device's group is not in its tables.
func appendAtomic(t *testing.T, fresh func(testing.TB) store.Config) {
	db := open(t, fresh(t))
	s := begin(t, db)
	wrong := s.Clone()
	wrong.Groups["ghost"] = fleet.Group{ID: "ghost", Name: "Ghost", Parent: fleet.Root}
	e, err := ledger.Make(s.Seq+1, ledgertest.Start(), "server", ledger.DeviceEnrol{Token: "token", Device: fleet.Device{ID: "d", Group: "ghost"}})
	must(t, err)
	must(t, wrong.Apply(e))
	if err := db.Append(t.Context(), e, wrong); err == nil || errors.Is(err, store.ErrMoved) {
		t.Fatalf("a device in a group that is not there: %v, want the database's refusal", err)
	}
	same(t, "state after the failed act", Consistent(t, db), s)
	must(t, act(t.Context(), db, s, "admin", ledger.TokenRevoke{ID: "token"}))
	same(t, "state after the next act", Consistent(t, db), s)
}

func appendCancelled(t *testing.T, fresh func(testing.TB) store.Config) {
	db := open(t, fresh(t))
	s := begin(t, db)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := act(ctx, db, s.Clone(), "admin", ledger.TokenRevoke{ID: "token"}); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled act: %v, want context.Canceled", err)
	}
	same(t, "state after the cancelled act", Consistent(t, db), s)
}

// raw opens the database past the store.
func raw(t testing.TB, cfg store.Config) *sql.DB {
	t.Helper()
	driver, dsn := "pgx", cfg.DSN
	if cfg.Engine == store.SQLite {
		driver, dsn = "sqlite", (&url.URL{Scheme: "file", Path: cfg.DSN, OmitHost: true}).String()
	}
	db, err := sql.Open(driver, dsn)
	must(t, err)
	t.Cleanup(func() { db.Close() })
	return db
}

func writtenOnce(t *testing.T, fresh func(testing.TB) store.Config) {
	cfg := fresh(t)
	db := open(t, cfg)
	s := begin(t, db)
	for _, q := range []string{
		"UPDATE ledger_entries SET data = data WHERE seq = 1", "DELETE FROM ledger_entries WHERE seq = 2", "DELETE FROM ledger_entries",
		"UPDATE ledger_hashes SET hash = hash", "DELETE FROM ledger_hashes WHERE id = 0",
	} {
		if _, err := raw(t, cfg).ExecContext(t.Context(), q); err == nil || !strings.Contains(err.Error(), "written once") {
			t.Errorf("%s: %v, want a refusal", q, err)
		}
	}
	same(t, "state", Consistent(t, db), s)
}

func exports(t *testing.T, fresh func(testing.TB) store.Config) {
	db := open(t, fresh(t))
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	signer, err := ledger.NewSigner("org", key)
	must(t, err)
	verifier, err := ledger.VerifierKey("org", key.Public().(ed25519.PublicKey))
	must(t, err)
	var checkpoints []ledger.Checkpoint
	want, err := ledgertest.Run(ledgertest.Acts(60).Example(1), func(e ledger.Entry, after *ledger.State) error {
		if err := db.Append(t.Context(), e, after); err != nil {
			return err
		}
		seq, root, err := db.Head(t.Context())
		checkpoints = append(checkpoints, ledger.Checkpoint{Org: "org", Size: seq, Root: root})
		return err
	})
	must(t, err)
	last := checkpoints[len(checkpoints)-1]
	for _, c := range checkpoints {
		proof, err := ledger.ProveConsistency(c.Size, last.Size, db.HashReader(t.Context()))
		must(t, err)
		must(t, ledger.CheckConsistency(c, last, proof))
	}
	signed, err := last.Sign(signer)
	must(t, err)
	var out bytes.Buffer
	must(t, ledger.Export(&out, signed, entries(t, db)))
	sum, err := ledger.VerifyExport(&out, verifier)
	must(t, err)
	same(t, "state of the verified export", sum.State, want)
	if _, err := db.HashReader(t.Context()).ReadHashes([]int64{1 << 40}); err == nil {
		t.Error("a hash that is not there was read")
	}
}

// Bulk is an act on n updates.
func Bulk(n int, status approval.Status) ledger.UpdateDecide {
	d := ledger.UpdateDecide{Scope: fleet.Root, Status: status, Reason: "all security updates of the month", Selection: "security"}
	for i := range n {
		r := catalog.Release{Software: catalog.Software{Ecosystem: "deb", Namespace: "debian", Name: fmt.Sprintf("package-%d", i)}, Version: "1.2.3-4+deb12u5"}
		d.Updates = append(d.Updates, ledger.Decided{Update: r.ID(), Release: r, Rev: 2, Digest: strings.Repeat("0123456789abcdef", 4)})
	}
	return d
}

func bulk(t *testing.T, fresh func(testing.TB) store.Config) {
	db := open(t, fresh(t))
	s := begin(t, db)
	for _, status := range []approval.Status{approval.Approved, approval.Declined, approval.Undefined} {
		before := s.Seq
		start := time.Now()
		must(t, act(t.Context(), db, s, "admin", Bulk(10_000, status)))
		t.Logf("%s: encode, apply and append 10,000 updates in %v", status, time.Since(start).Round(time.Millisecond))
		if s.Seq != before+1 {
			t.Errorf("%d entries, want 1", s.Seq-before)
		}
		same(t, "state", Consistent(t, db), s)
	}
	if len(s.Decisions) != 0 {
		t.Errorf("%d decisions are left after all were set back to undefined (A1)", len(s.Decisions))
	}
}

func huge(t *testing.T, fresh func(testing.TB) store.Config) {
	db := open(t, fresh(t))
	s := begin(t, db)
	must(t, act(t.Context(), db, s, long(10_000), ledger.GroupCreate{Group: fleet.Group{
		ID: fleet.GroupID(long(100_000)), Name: strings.Repeat("name\x00", 1<<20), Parent: fleet.Root}}))
	must(t, act(t.Context(), db, s, "admin", ledger.GroupCreate{Group: fleet.Group{
		ID: fleet.GroupID(long(100_001)), Name: "other", Parent: fleet.GroupID(long(100_000))}}))
	same(t, "state", Consistent(t, db), s)
}
