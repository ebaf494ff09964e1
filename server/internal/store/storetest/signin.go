package storetest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"assent/fault"
	"assent/fleet"
	"assent/ledger"
	"assent/ledger/ledgertest"
	"assent/server/internal/store"
)

// people begins a ledger with some operators.
func people(t testing.TB, db *store.DB, names ...string) *ledger.State {
	t.Helper()
	s := begin(t, db)
	for _, n := range append(names, "root") {
		must(t, act(t.Context(), db, s, "admin", ledger.OperatorSet{Operator: ledger.Operator{Name: n, Role: ledger.Administrator, Scope: fleet.Root}}))
	}
	return s
}

// actBeside is act with what goes beside it.
func actBeside(t testing.TB, db *store.DB, s *ledger.State, b ledger.Body, beside ...store.Beside) error {
	t.Helper()
	e, err := ledger.Make(s.Seq+1, ledgertest.Start(), "admin", b)
	must(t, err)
	after := s.Clone()
	must(t, after.Apply(e))
	if err := db.AppendBeside(t.Context(), e, after, beside...); err != nil {
		return err
	}
	*s = *after
	return nil
}

func noPassword(t testing.TB, db *store.DB, operator string) {
	t.Helper()
	if _, ok, err := db.Password(t.Context(), operator); ok || err != nil {
		t.Errorf("there is a password of %.20q: %v", operator, err)
	}
}

func passwords(t *testing.T, fresh func(testing.TB) store.Config) {
	db := open(t, fresh(t))
	odd := "eve\x00" + long(4000)
	s := people(t, db, "ada", odd)
	noPassword(t, db, "ada")
	for _, name := range []string{"ada", odd} {
		for _, hash := range []string{"one", "two"} {
			want := store.Password{Operator: name, Hash: hash, Set: at(1)}
			must(t, actBeside(t, db, s, ledger.PasswordSet{Operator: name}, store.PutPassword(want)))
			got, ok, err := db.Password(t.Context(), name)
			if !ok || err != nil {
				t.Fatal(ok, err)
			}
			same(t, "password", got, want)
		}
	}
	old := store.Password{Operator: "ada", Hash: "two", Set: at(1)}
	stale, better := old, old
	stale.Hash, better.Hash = "one", "three"
	must(t, db.Rehash(t.Context(), stale, better))
	if got, _, _ := db.Password(t.Context(), "ada"); got.Hash != "two" {
		t.Errorf("a hash of an earlier password was replaced by %q", got.Hash)
	}
	must(t, db.Rehash(t.Context(), old, better))
	if got, _, _ := db.Password(t.Context(), "ada"); got.Hash != "three" {
		t.Errorf("the hash is %q", got.Hash)
	}
	must(t, actBeside(t, db, s, ledger.PasswordRemove{Operator: "ada"}, store.DropPassword("ada")))
	noPassword(t, db, "ada")
	before := s.Seq
	if err := actBeside(t, db, s, ledger.PasswordRemove{Operator: "ada"}, store.DropPassword("ada")); !errors.Is(err, fault.NotFound) {
		t.Errorf("a password was removed twice: %v", err)
	}
	if seq, _, err := db.Head(t.Context()); seq != before || err != nil {
		t.Errorf("the refused act is in the ledger: %d after %d, %v", seq, before, err)
	}
	must(t, act(t.Context(), db, s, "admin", ledger.OperatorRemove{Name: odd}))
	noPassword(t, db, odd)
	must(t, act(t.Context(), db, s, "admin", ledger.OperatorSet{Operator: ledger.Operator{Name: odd, Role: ledger.Viewer, Scope: fleet.Root}}))
	noPassword(t, db, odd)
	Consistent(t, db)
}

func passkeys(t *testing.T, fresh func(testing.TB) store.Config) {
	db := open(t, fresh(t))
	s := people(t, db, "ada", "eve")
	big := []byte(long(1023))
	one := store.Passkey{ID: "k1", Operator: "ada", Name: "a\x00b", Handle: []byte{0, 1}, Credential: []byte{1, 0, 255}, Record: []byte(`{"a":1}`), Created: at(1), Count: 1<<32 - 2}
	two := store.Passkey{ID: "k2", Operator: "ada", Name: "two", Handle: []byte{0, 1}, Credential: big, Record: []byte(`{}`), Created: at(2)}
	for _, k := range []store.Passkey{one, two} {
		must(t, actBeside(t, db, s, ledger.PasskeyAdd{Operator: k.Operator, ID: k.ID, Name: k.Name}, store.AddPasskey(k)))
	}
	list, err := db.Passkeys(t.Context(), "ada")
	must(t, err)
	same(t, "passkeys", list, []store.Passkey{one, two})
	got, ok, err := db.PasskeyOf(t.Context(), big)
	if !ok || err != nil {
		t.Fatal(ok, err)
	}
	same(t, "passkey", got, two)
	if _, ok, err := db.PasskeyOf(t.Context(), []byte("other")); ok || err != nil {
		t.Error(ok, err)
	}
	thief := one
	thief.ID, thief.Operator = "k3", "eve"
	if err := actBeside(t, db, s, ledger.PasskeyAdd{Operator: "eve", ID: "k3"}, store.AddPasskey(thief)); !errors.Is(err, fault.Conflict) {
		t.Errorf("a credential was registered twice: %v", err)
	}
	for _, c := range []struct {
		id    string
		count uint32
		want  bool
	}{{"k1", 1<<32 - 2, false}, {"k1", 0, false}, {"k1", 1<<32 - 1, true}, {"k1", 1<<32 - 1, false}, {"k2", 0, true}, {"k2", 0, true}, {"k2", 3, true}, {"k2", 0, false}, {"k2", 2, false}, {"none", 9, false}} {
		if ok, err := db.UsePasskey(t.Context(), c.id, c.count, at(5)); ok != c.want || err != nil {
			t.Errorf("%s with the count %d: %v %v, want %v", c.id, c.count, ok, err, c.want)
		}
	}
	if got, _, _ := db.PasskeyOf(t.Context(), big); got.Count != 3 || !got.Used.Equal(at(5)) {
		t.Errorf("used: %+v", got)
	}
	must(t, db.RenamePasskey(t.Context(), "ada", "k2", "\x00new"))
	if got, _, _ := db.PasskeyOf(t.Context(), big); got.Name != "\x00new" {
		t.Errorf("the name is %q", got.Name)
	}
	for what, err := range map[string]error{"renamed": db.RenamePasskey(t.Context(), "eve", "k2", "x"),
		"removed": actBeside(t, db, s, ledger.PasskeyRemove{Operator: "eve", ID: "k2"}, store.DropPasskey("eve", "k2"))} {
		if !errors.Is(err, fault.NotFound) {
			t.Errorf("somebody else's passkey was %s: %v", what, err)
		}
	}
	must(t, actBeside(t, db, s, ledger.PasskeyRemove{Operator: "ada", ID: "k1"}, store.DropPasskey("ada", "k1")))
	if list, err := db.Passkeys(t.Context(), "ada"); len(list) != 1 || err != nil {
		t.Errorf("%d passkeys, %v", len(list), err)
	}
	must(t, act(t.Context(), db, s, "admin", ledger.OperatorRemove{Name: "ada"}))
	if _, ok, err := db.PasskeyOf(t.Context(), big); ok || err != nil {
		t.Errorf("a passkey outlived its operator: %v", err)
	}
	Consistent(t, db)
}

func session(key, operator string, seen int) store.Session {
	return store.Session{Key: key, ID: "id-" + key, Operator: operator, Means: "password", Remote: "192.0.2.1", Agent: "a\x00\xff"[:2], Created: at(0), Seen: at(seen), Confirmed: at(seen), Until: at(1000)}
}

// standing lists the keys of an operator's sessions.
func standing(t testing.TB, db *store.DB, operator string) []string {
	t.Helper()
	list, err := db.Sessions(t.Context(), operator)
	must(t, err)
	keys := make([]string, len(list))
	for i, s := range list {
		keys[i] = s.Key
	}
	return keys
}

func sessions(t *testing.T, fresh func(testing.TB) store.Config) {
	db := open(t, fresh(t))
	s := people(t, db, "ada", "eve")
	must(t, act(t.Context(), db, s, "admin", ledger.AccessCreate{Access: ledger.Access{ID: "acc", Operator: "ada", Expires: at(5000)}}))
	first := session("k1", "ada", 1)
	first.Access, first.Own, first.Scope = "acc", true, "g\x00"
	must(t, db.AddSession(t.Context(), first, 3))
	got, ok, err := db.Session(t.Context(), "k1")
	if !ok || err != nil {
		t.Fatal(ok, err)
	}
	same(t, "session", got, first)
	if _, ok, err := db.Session(t.Context(), ""); ok || err != nil {
		t.Error("no key finds a session", err)
	}
	must(t, db.ConfirmSession(t.Context(), "k1", at(7)))
	must(t, db.ScopeSession(t.Context(), "k1", "other"))
	must(t, db.SeeSessions(t.Context(), map[string]time.Time{"k1": at(9), "gone": at(9)}))
	must(t, db.SeeSessions(t.Context(), map[string]time.Time{"k1": at(8)}))
	first.Confirmed, first.Scope, first.Seen = at(7), "other", at(9)
	got, _, err = db.Session(t.Context(), "k1")
	must(t, err)
	same(t, "session after its changes", got, first)

	for i := 2; i <= 4; i++ {
		must(t, db.AddSession(t.Context(), session(fmt.Sprint("k", i), "ada", i), 3))
	}
	must(t, db.AddSession(t.Context(), session("e1", "eve", 1), 3))
	same(t, "the last used sessions", standing(t, db, "ada"), []string{"k1", "k4", "k3"})
	must(t, act(t.Context(), db, s, "admin", ledger.AccessRevoke{ID: "acc"}))
	same(t, "sessions after their access token ended", standing(t, db, "ada"), []string{"k4", "k3"})

	must(t, db.AddSession(t.Context(), session("k5", "ada", 5), 9))
	if n, err := db.EndSessions(t.Context(), "ada", "k4"); n != 2 || err != nil {
		t.Errorf("%d ended: %v", n, err)
	}
	same(t, "the session that was kept", standing(t, db, "ada"), []string{"k4"})
	must(t, db.EndSession(t.Context(), "k4"))
	if err := db.ConfirmSession(t.Context(), "k4", at(20)); err != nil {
		t.Error(err)
	}
	same(t, "a session that ended comes back", len(standing(t, db, "ada")), 0)

	must(t, db.AddSession(t.Context(), session("k6", "ada", 6), 9))
	must(t, actBeside(t, db, s, ledger.SessionEnd{Operator: "ada"}, store.DropSessions("ada", "")))
	same(t, "sessions after the act", len(standing(t, db, "ada")), 0)
	same(t, "sessions of somebody else", standing(t, db, "eve"), []string{"e1"})
	must(t, act(t.Context(), db, s, "admin", ledger.OperatorRemove{Name: "eve"}))
	same(t, "sessions of nobody", len(standing(t, db, "eve")), 0)
	Consistent(t, db)
}

func sweptSessions(t *testing.T, fresh func(testing.TB) store.Config) {
	db := open(t, fresh(t))
	people(t, db, "ada")
	over := session("over", "ada", 90)
	over.Until = at(100)
	for _, one := range []store.Session{session("idle", "ada", 10), session("used", "ada", 50), over} {
		must(t, db.AddSession(t.Context(), one, 9))
	}
	must(t, db.PutCeremony(t.Context(), "old", at(100), "x", 9))
	must(t, db.PutCeremony(t.Context(), "new", at(101), "x", 9))
	must(t, db.SweepSessions(t.Context(), at(50), at(100)))
	same(t, "sessions", standing(t, db, "ada"), []string{"used"})
	var into string
	if _, ok, err := db.TakeCeremony(t.Context(), "old", &into); ok || err != nil {
		t.Error("an old challenge is there", err)
	}
}

func ceremonies(t *testing.T, fresh func(testing.TB) store.Config) {
	db := open(t, fresh(t))
	for i := range 6 {
		must(t, db.PutCeremony(t.Context(), fmt.Sprint("c", i), at(i), map[string]string{"a": "\x00"}, 4))
	}
	var mu sync.Mutex
	var taken []string
	var wait sync.WaitGroup
	for i := range 24 {
		id := fmt.Sprint("c", i%6)
		wait.Go(func() {
			var body map[string]string
			_, ok, err := db.TakeCeremony(t.Context(), id, &body)
			mu.Lock()
			defer mu.Unlock()
			if err != nil || ok && body["a"] != "\x00" {
				t.Error(err, body)
			}
			if ok {
				taken = append(taken, id)
			}
		})
	}
	wait.Wait()
	slices.Sort(taken)
	same(t, "challenges that were taken", taken, []string{"c2", "c3", "c4", "c5"})
}
