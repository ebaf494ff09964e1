package signin

import (
	"context"
	"errors"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"assent/fault"
	"assent/fleet"
	"assent/ledger"
	"assent/server/internal/auth"
	"assent/server/internal/index"
	"assent/server/internal/store"
)

const (
	here     = "192.0.2.1:1000"
	secret   = "correct horse battery staple"
	siteName = "https://assent.test"
)

// world is a real database with a real index, and a clock of its own. Each server over it is another Service.
type world struct {
	*Service
	t      *testing.T
	path   string
	db     *store.DB
	index  *index.Index
	tokens *auth.Service
	ahead  *atomic.Int64
	seen   map[Means]map[Outcome]int
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func newWorld(t *testing.T, change func(*Config)) *world {
	t.Helper()
	w := &world{t: t, path: filepath.Join(t.TempDir(), "assent.db"), ahead: &atomic.Int64{}, seen: map[Means]map[Outcome]int{}}
	w.open(change)
	w.act(ledger.ServerInit{Org: "acme"})
	for _, name := range []string{"root", "ada", "eve"} {
		w.act(ledger.OperatorSet{Operator: ledger.Operator{Name: name, Role: ledger.Administrator, Scope: fleet.Root}})
	}
	return w
}

// open starts a server on the database.
func (w *world) open(change func(*Config)) {
	w.t.Helper()
	db, err := store.Open(w.t.Context(), store.Config{DSN: w.path})
	w.must(err)
	w.t.Cleanup(func() { _ = db.Close() })
	w.db = db
	w.index, err = index.Open(w.t.Context(), db, index.Config{Now: w.now})
	w.must(err)
	w.tokens, err = auth.New(auth.Config{Book: auth.IndexBook{Index: w.index}, Now: w.now})
	w.must(err)
	c := Config{Book: auth.IndexBook{Index: w.index}, Tokens: w.tokens, Vault: db, Acts: w.index, Site: Site{Host: "assent.test", Origin: siteName},
		Cost: Cost{Memory: 64, Time: 1, Lanes: 1}, Now: w.now, Observe: func(m Means, o Outcome) {
			if w.seen[m] == nil {
				w.seen[m] = map[Outcome]int{}
			}
			w.seen[m][o]++
		}}
	if change != nil {
		change(&c)
	}
	w.Service, err = New(c)
	w.must(err)
}

// beside is another server on the same database, with the same clock.
func (w *world) beside() *world {
	w.t.Helper()
	other := *w
	other.open(nil)
	return &other
}

func (w *world) now() time.Time       { return time.Now().Add(time.Duration(w.ahead.Load())) }
func (w *world) wait(d time.Duration) { w.ahead.Add(int64(d)) }

func (w *world) act(body ledger.Body) ledger.Entry {
	w.t.Helper()
	e, err := w.index.Act(w.t.Context(), "server", func(*index.View) (ledger.Body, error) { return body, nil })
	w.must(err)
	return e
}

func (w *world) actor(name string) auth.Actor {
	o, _ := w.Book.Operator(name)
	return actor(o)
}

// access makes an access token.
func (w *world) access(name string, oneTime bool) (id, text string) {
	w.t.Helper()
	a, text := auth.NewAccess(name, "", w.now().Add(time.Hour*20), oneTime)
	w.act(ledger.AccessCreate{Access: a})
	return a.ID, text
}

func (w *world) password(name string) {
	w.t.Helper()
	_, err := w.SetPassword(w.t.Context(), w.actor(name), name, secret, "")
	w.must(err)
}

// enter signs somebody in by password and returns the cookie and the session.
func (w *world) enter(name string) (string, Session) {
	w.t.Helper()
	p, err := w.WithPassword(w.t.Context(), name, secret, here)
	w.must(err)
	return w.start(p)
}

func (w *world) start(p Proof) (string, Session) {
	w.t.Helper()
	cookie, err := w.Start(w.t.Context(), p, From{Remote: here, Agent: "Browser\x1b[31m/1.0"})
	w.must(err)
	one, _, err := w.Check(w.t.Context(), keyOf(cookie))
	w.must(err)
	return cookie, one
}

// in reports whether a cookie's session counts, and uses it.
func (w *world) in(cookie string) bool {
	w.t.Helper()
	_, _, err := w.Find(w.t.Context(), cookie)
	if err != nil && !errors.Is(err, fault.Unauthenticated) {
		w.t.Error(err)
	}
	return err == nil
}

// last is the newest entry of the ledger.
func (w *world) last() ledger.Entry {
	w.t.Helper()
	seq, _, err := w.db.Head(w.t.Context())
	w.must(err)
	raw, err := w.db.Entries(w.t.Context(), seq, 1)
	w.must(err)
	e, err := ledger.Decode(raw[0].Data)
	w.must(err)
	return e
}

func TestNew_NeedsItsServices(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("a service without anything was made")
	}
}

func TestWithToken_AdmitsAccessTokensAndSpendsSignInTokensOnce(t *testing.T) {
	w := newWorld(t, nil)
	id, text := w.access("ada", false)
	p, err := w.WithToken(t.Context(), text, here)
	if err != nil || p.Means != ByToken || p.Own || p.Access != id || p.Name != "ada" {
		t.Errorf("%+v %v", p, err)
	}
	_, once := w.access("ada", true)
	p, err = w.WithToken(t.Context(), once, here)
	if err != nil || p.Means != ByLink || !p.Own || p.Access == "" {
		t.Errorf("%+v %v", p, err)
	}
	for what, text := range map[string]string{"spent": once, "nonsense": "x", "empty": ""} {
		if _, err := w.WithToken(t.Context(), text, here); !errors.Is(err, errRefused) {
			t.Errorf("a %s token: %v", what, err)
		}
	}
	for range 30 {
		_, err = w.WithToken(t.Context(), "x", here)
	}
	if wait, ok := auth.RetryAfter(err); !ok || wait < 1 || w.seen[ByToken][Limited] == 0 {
		t.Errorf("after 30 failures: %v", err)
	}
}

func TestActs_OnAnotherOperatorNeedAnAdministratorAboveThem(t *testing.T) {
	w := newWorld(t, nil)
	w.act(ledger.GroupCreate{Group: fleet.Group{ID: "g", Name: "Team", Parent: fleet.Root}})
	w.act(ledger.OperatorSet{Operator: ledger.Operator{Name: "lead", Role: ledger.Administrator, Scope: "g"}})
	w.act(ledger.OperatorSet{Operator: ledger.Operator{Name: "bob", Role: ledger.Approver, Scope: "g"}})
	w.act(ledger.OperatorSet{Operator: ledger.Operator{Name: "view", Role: ledger.Viewer, Scope: fleet.Root}})
	set := func(who, whose string) error {
		_, err := w.SetPassword(context.Background(), w.actor(who), whose, secret, "")
		return err
	}
	for _, c := range []struct {
		who, whose string
		want       error
	}{{"bob", "bob", nil}, {"lead", "bob", nil}, {"root", "lead", nil}, {"lead", "root", fault.NotFound}, {"bob", "lead", fault.Forbidden}, {"view", "root", fault.Forbidden}, {"root", "nobody", fault.NotFound}} {
		if err := set(c.who, c.whose); !errors.Is(err, c.want) || (c.want == nil) != (err == nil) {
			t.Errorf("%s sets the password of %s: %v, want %v", c.who, c.whose, err, c.want)
		}
	}
	for what, err := range map[string]error{"sign out": second(w.EndAll(t.Context(), w.actor("bob"), "lead", "")), "remove a password": second(w.RemovePassword(t.Context(), w.actor("bob"), "lead", "")),
		"remove a passkey": second(w.RemovePasskey(t.Context(), w.actor("bob"), "lead", "k", ""))} {
		if !errors.Is(err, fault.Forbidden) {
			t.Errorf("an approver could %s of an administrator: %v", what, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }
