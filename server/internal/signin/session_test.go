package signin

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"assent/fleet"
	"assent/ledger"
	"assent/server/internal/auth"
	"assent/server/internal/store"
)

func TestN22_ASessionEndsWhenIdleAndAfterTwelveHoursWhateverItDoes(t *testing.T) {
	w := newWorld(t, nil)
	w.password("ada")
	idle, _ := w.enter("ada")
	busy, _ := w.enter("ada")
	w.wait(idleLife - time.Minute)
	if !w.in(busy) {
		t.Fatal("ended before it was idle for long")
	}
	w.wait(2 * time.Minute)
	if w.in(idle) || !w.in(busy) {
		t.Error("idle time is not measured from the last request")
	}
	for range 23 {
		w.wait(idleLife - time.Minute)
		if !w.in(busy) {
			t.Fatal("ended before twelve hours")
		}
	}
	w.wait(idleLife - time.Minute)
	if w.in(busy) {
		t.Error("lived on after twelve hours")
	}
	if w.in(idle) {
		t.Error("a session that ended came back")
	}
}

func TestN22_ASessionIsWorthWhatItStandsOnNow(t *testing.T) {
	for name, end := range map[string]func(w *world, access string){
		"the token is revoked": func(w *world, access string) { w.act(ledger.AccessRevoke{ID: access}) },
		"the token expired":    func(w *world, _ string) { w.wait(10 * time.Minute) },
		"the operator is gone": func(w *world, _ string) { w.act(ledger.OperatorRemove{Name: "ada"}) },
		"somebody signed them out": func(w *world, _ string) {
			_, err := w.EndAll(w.t.Context(), w.actor("root"), "ada", "")
			w.must(err)
		},
		"the operator is another of that name": func(w *world, _ string) {
			w.act(ledger.OperatorRemove{Name: "ada"})
			w.act(ledger.OperatorSet{Operator: ledger.Operator{Name: "ada", Role: ledger.Administrator, Scope: fleet.Root}})
		},
	} {
		w := newWorld(t, nil)
		a, text := auth.NewAccess("ada", "", w.now().Add(5*time.Minute), false)
		w.act(ledger.AccessCreate{Access: a})
		p, err := w.WithToken(t.Context(), text, here)
		w.must(err)
		cookie, _ := w.start(p)
		other := w.beside()
		if !w.in(cookie) || !other.in(cookie) {
			t.Fatalf("%s: the session does not begin", name)
		}
		end(w, a.ID)
		if w.in(cookie) || other.in(cookie) {
			t.Errorf("%s, but the session goes on", name)
		}
	}
}

func TestN22_ARoleThatChangesCountsFromTheNextRequestOn(t *testing.T) {
	w := newWorld(t, nil)
	w.password("ada")
	cookie, _ := w.enter("ada")
	w.act(ledger.OperatorSet{Operator: ledger.Operator{Name: "ada", Role: ledger.Viewer, Scope: fleet.Root}})
	if _, who, err := w.Find(t.Context(), cookie); err != nil || who.Role != ledger.Viewer {
		t.Errorf("%+v %v", who, err)
	}
}

func TestSessions_CountOnEveryServerAndOverARestart(t *testing.T) {
	w := newWorld(t, nil)
	w.password("ada")
	cookie, one := w.enter("ada")
	other := w.beside()
	if !other.in(cookie) {
		t.Fatal("another server does not know the session")
	}
	w.must(w.Choose(t.Context(), one.Key, "g"))
	w.wait(10 * time.Minute)
	w.must(w.ConfirmPassword(t.Context(), one, secret, here))
	got, _, err := other.Check(t.Context(), one.Key)
	if err != nil || got.Scope != "g" || !other.Fresh(got) || got.Agent != "Browser[31m/1.0" || got.Means != string(ByPassword) {
		t.Errorf("%+v %v", got, err)
	}
	w.must(other.End(t.Context(), one.Key))
	if w.in(cookie) {
		t.Error("a session that ended on another server goes on")
	}
}

func TestSessions_OneEndsOnesOwnAndNoOthers(t *testing.T) {
	w := newWorld(t, nil)
	w.password("ada")
	w.password("eve")
	first, one := w.enter("ada")
	second, two := w.enter("ada")
	third, _ := w.enter("eve")
	if err := w.EndOne(t.Context(), "eve", two.ID); err == nil {
		t.Error("eve ended a session of ada")
	}
	w.must(w.EndOne(t.Context(), "ada", two.ID))
	if !w.in(first) || w.in(second) || !w.in(third) {
		t.Error("the wrong session ended")
	}
	fourth, _ := w.enter("ada")
	if n, err := w.EndOthers(t.Context(), "ada", one.Key); n != 1 || err != nil {
		t.Errorf("%d ended, %v", n, err)
	}
	if !w.in(first) || w.in(fourth) || !w.in(third) {
		t.Error("the wrong sessions ended")
	}
	if list, err := w.List(t.Context(), "ada"); len(list) != 1 || list[0].Key != one.Key || err != nil {
		t.Errorf("%+v %v", list, err)
	}
	before := w.last().Seq
	if _, err := w.EndAll(t.Context(), w.actor("root"), "ada", ""); err != nil {
		t.Fatal(err)
	}
	if e := w.last(); e.Seq != before+1 || e.Kind != "session.end" || e.By != "root" || w.in(first) {
		t.Errorf("signed out by an administrator: %+v", e)
	}
}

func TestSessions_AreBoundedAndHaveNewSecretsEachTime(t *testing.T) {
	w := newWorld(t, nil)
	w.password("ada")
	p, err := w.WithPassword(t.Context(), "ada", secret, here)
	w.must(err)
	seen := map[string]bool{}
	for range maxSessions + 10 {
		cookie, _ := w.start(p)
		seen[cookie] = true
		w.wait(time.Second)
	}
	list, err := w.List(t.Context(), "ada")
	if len(seen) != maxSessions+10 || len(list) != maxSessions || err != nil {
		t.Errorf("%d secrets, %d sessions, %v", len(seen), len(list), err)
	}
	if w.in("") || w.in(list[0].Key) {
		t.Error("no secret, or what is kept of one, finds a session")
	}
}

// TestN43_TheDatabaseHoldsNeitherCookiesNorPasswordsNorTokens looks for every secret of a sign-in in its files.
func TestN43_TheDatabaseHoldsNeitherCookiesNorPasswordsNorTokens(t *testing.T) {
	w := newWorld(t, nil)
	w.password("ada")
	cookie, one := w.enter("ada")
	_, text := w.access("ada", false)
	w.must(w.ConfirmToken(t.Context(), one, text, here))
	_, err := w.SetPassword(t.Context(), w.actor("ada"), "ada", "another passphrase of hers", one.Key)
	w.must(err)
	files, err := filepath.Glob(w.path + "*")
	w.must(err)
	var all []byte
	for _, f := range files {
		b, err := os.ReadFile(f)
		w.must(err)
		all = append(all, b...)
	}
	if !bytes.Contains(all, []byte(one.Key)) || !bytes.Contains(all, []byte("$argon2id$")) {
		t.Fatal("neither a session nor a hash is found: this test looks at nothing")
	}
	for what, s := range map[string]string{"a cookie": cookie, "a password": secret, "another password": "another passphrase", "a token": text[15:]} {
		if bytes.Contains(all, []byte(s)) {
			t.Errorf("%s stands in the database", what)
		}
	}
}

// counting counts how often last uses are written down, and fails when it is told to.
type counting struct {
	Vault
	writes atomic.Int32
	broken atomic.Bool
	last   map[string]time.Time
}

func (c *counting) SeeSessions(ctx context.Context, seen map[string]time.Time) error {
	c.writes.Add(1)
	c.last = seen
	if c.broken.Load() {
		return errors.New("the disk is full")
	}
	return c.Vault.SeeSessions(ctx, seen)
}

// memory is a Vault with sessions only.
type memory struct {
	Vault
	all map[string]store.Session
}

func (m memory) AddSession(_ context.Context, s store.Session, _ int) error {
	m.all[s.Key] = s
	return nil
}

func (m memory) Session(_ context.Context, key string) (store.Session, bool, error) {
	s, ok := m.all[key]
	return s, ok, nil
}

func (m memory) SeeSessions(context.Context, map[string]time.Time) error   { return nil }
func (m memory) SweepSessions(context.Context, time.Time, time.Time) error { return nil }
func (m memory) Password(context.Context, string) (store.Password, bool, error) {
	return store.Password{}, false, nil
}

// fixed is a Book with one operator.
type fixed struct{}

func (fixed) Access(string) (ledger.Access, ledger.Operator, bool) {
	return ledger.Access{}, ledger.Operator{}, false
}

func (fixed) Operator(name string) (ledger.Operator, bool) {
	return ledger.Operator{Name: name, Role: ledger.Viewer, Scope: fleet.Root}, name == "ada"
}

// alone is a Service on its own, for tests of time.
func alone(t *testing.T, v Vault) *Service {
	t.Helper()
	tokens, err := auth.New(auth.Config{Book: auth.IndexBook{}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Config{Book: fixed{}, Tokens: tokens, Vault: v, Acts: noActs{}, Cost: Cost{Memory: 64, Time: 1, Lanes: 1}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSessions_LastUsesAreWrittenBehindOnceAMinuteAndKeptWhenTheyCannotBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &counting{Vault: memory{all: map[string]store.Session{}}}
		s := alone(t, v)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		cookie, err := s.Start(ctx, Proof{Session: auth.Session{Actor: auth.Actor{Name: "ada"}}, Means: ByPassword}, From{})
		if err != nil {
			t.Fatal(err)
		}
		v.broken.Store(true)
		for range 300 { // five minutes
			time.Sleep(time.Second)
			if _, _, err := s.Find(ctx, cookie); err != nil {
				t.Fatal(err)
			}
		}
		if n := v.writes.Load(); n < 4 || n > 6 {
			t.Errorf("%d writes in five minutes of constant use", n)
		}
		v.broken.Store(false)
		last := time.Now()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if !v.last[keyOf(cookie)].Equal(last) {
			t.Errorf("the last use is written down as %v, was %v", v.last[keyOf(cookie)], last)
		}
		n := v.writes.Load()
		time.Sleep(5 * time.Minute)
		if v.writes.Load() != n {
			t.Error("something was written down although nobody did anything")
		}
		if _, _, err := s.Find(ctx, cookie); err != nil {
			t.Fatal(err)
		}
		cancel()
		if err := <-done; err != nil || v.writes.Load() != n+1 {
			t.Errorf("at the end %d writes, %v", v.writes.Load()-n, err)
		}
	})
}

func TestSweep_ForgetsWhatEnded(t *testing.T) {
	w := newWorld(t, nil)
	w.password("ada")
	_, one := w.enter("ada")
	w.wait(idleLife + 3*time.Minute)
	w.enter("ada")
	w.must(w.sweep(t.Context()))
	if _, ok, err := w.db.Session(t.Context(), one.Key); ok || err != nil {
		t.Error("an ended session is still there", err)
	}
	if list, err := w.List(t.Context(), "ada"); len(list) != 1 || err != nil {
		t.Errorf("%d sessions, %v", len(list), err)
	}
}

// noActs is an Acts that nobody calls.
type noActs struct{ Acts }
