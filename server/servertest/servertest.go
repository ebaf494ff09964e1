// Package servertest is a whole server in the test's process, with devices that are simulated at the
// boundary where the gateway hands over what they send: real database, index, planner, services, API and
// tokens; no agents, no package managers. The command line and the API are tested against it.
package servertest

import (
	"bytes"
	"crypto/ed25519"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"assent/catalog"
	"assent/fleet"
	"assent/ledger"
	"assent/server/internal/api"
	"assent/server/internal/audit"
	"assent/server/internal/auth"
	"assent/server/internal/conductor"
	"assent/server/internal/decide"
	"assent/server/internal/index"
	"assent/server/internal/mirror"
	"assent/server/internal/notify"
	"assent/server/internal/packages"
	"assent/server/internal/planner"
	"assent/server/internal/roster"
	"assent/server/internal/signin"
	"assent/server/internal/store"
	"assent/server/internal/tasks"
	"assent/server/internal/trend"
	"assent/server/internal/views"
	"assent/server/internal/web"
)

// Org is the installation's id in every World.
const Org = "acme"

// World is a running server.
type World struct {
	URL     string // of the API and the console, on loopback
	Key     string // the ledger's verifier key
	Handler http.Handler
	// Packages is the directory of the agent's Debian packages on the server.
	Packages string

	t     testing.TB
	index *index.Index
	auth  *auth.Service
	feeds *mirror.Mirror

	plans     *planner.Planner
	db        *store.DB
	signin    *signin.Service
	ahead     atomic.Int64 // how far the clock of who is signed in is ahead
	trend     *trend.Service
	conductor *conductor.Conductor
	channels  *notify.Service

	violations atomic.Int64
}

// New starts a server with an empty installation. It ends with the test.
func New(t testing.TB) *World {
	t.Helper()
	w := &World{t: t, Packages: t.TempDir()}
	db, err := store.Open(t.Context(), store.Config{DSN: filepath.Join(t.TempDir(), "assent.db")})
	w.must(err)
	t.Cleanup(func() { _ = db.Close() })
	w.db = db
	w.index, err = index.Open(t.Context(), db, index.Config{})
	w.must(err)
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize))
	plans, err := planner.New(planner.Config{Index: w.index, Signer: key})
	w.must(err)
	t.Cleanup(plans.Close)
	w.plans = plans
	w.auth, err = auth.New(auth.Config{Book: auth.IndexBook{Index: w.index}})
	w.must(err)
	w.Act("server", ledger.ServerInit{Org: Org})
	server := httptest.NewUnstartedServer(nil) // has its port, which passkeys are bound to
	w.URL = "http://" + server.Listener.Addr().String()
	w.signin = w.door(db)
	w.Handler = w.api(db, plans, key)
	server.Config.Handler = w.Handler
	server.Start()
	t.Cleanup(server.Close)
	return w
}

// door is the service that lets people in. Passwords cost less here than anywhere else.
func (w *World) door(db *store.DB) *signin.Service {
	w.t.Helper()
	site, err := signin.ReadSite(w.URL)
	w.must(err)
	s, err := signin.New(signin.Config{Book: auth.IndexBook{Index: w.index}, Tokens: w.auth, Vault: db, Acts: w.index, Site: site, Now: w.now,
		Cost: signin.Cost{Memory: 64, Time: 1, Lanes: 1}})
	w.must(err)
	return s
}

// now is the clock of who is signed in.
func (w *World) now() time.Time { return time.Now().Add(time.Duration(w.ahead.Load())) }

// Wait lets time pass for everybody who is signed in.
func (w *World) Wait(d time.Duration) { w.ahead.Add(int64(d)) }

// api builds the services, and the API and the console over them.
func (w *World) api(db *store.DB, plans *planner.Planner, key ed25519.PrivateKey) http.Handler {
	w.t.Helper()
	signer, err := ledger.NewSigner(Org, key)
	w.must(err)
	w.Key, err = ledger.VerifierKey(Org, key.Public().(ed25519.PublicKey))
	w.must(err)
	read, err := audit.New(audit.Config{Store: db, Fleet: audit.IndexFleet{Index: w.index}, Signer: signer, Key: w.Key})
	w.must(err)
	feeds := w.mirror()
	w.feeds = feeds
	updates, err := decide.New(decide.Config{Index: w.index, Planner: plans, Version: "test", Engine: db.Engine(), Texts: feeds})
	w.must(err)
	w.trend, err = trend.New(trend.Config{Index: w.index, Store: db, Figures: updates})
	w.must(err)
	saved, err := views.New(views.Config{Index: w.index, Store: db})
	w.must(err)
	w.conductor, err = conductor.New(conductor.Config{Index: w.index, Planner: plans})
	w.must(err)
	w.t.Cleanup(w.conductor.Close)
	installs, err := tasks.New(tasks.Config{Index: w.index})
	w.must(err)
	people, err := roster.New(roster.Config{Index: w.index, Reader: updates, Events: read, CA: []byte("no real certificate"), Server: "https://assent.test:8443",
		Refresh: func([]fleet.DeviceID) {}, Rehearse: func([]fleet.DeviceID) {}}) // there is no gateway to pass it on
	w.must(err)
	kits, err := packages.New(packages.Config{Book: updates, Files: feeds, Tokens: people, Dir: w.Packages, Server: "https://assent.test:8443"})
	w.must(err)
	w.channels, err = notify.New(notify.Config{Index: w.index, Outbox: db, Figures: updates, Alarms: feeds.Alarms, Key: bytes.Repeat([]byte{7}, notify.KeySize), Public: "https://assent.test"})
	w.must(err)
	face, err := api.New(api.Config{Auth: w.auth, SignIn: w.signin, Decide: updates, Roster: people, Audit: read, Changes: w.index, Feeds: feeds, Packages: kits, Trends: w.trend, Views: saved, Tasks: installs, Rollouts: w.conductor, Channels: w.channels, Log: slog.New(slog.DiscardHandler), Version: "test"})
	w.must(err)
	console, err := web.New(web.Config{SignIn: w.signin, Decide: updates, Roster: people, Audit: read, Changes: w.index, Feeds: feeds, Packages: kits, Trends: w.trend, Views: saved, Tasks: installs, Rollouts: w.conductor, Channels: w.channels,
		Violation: func() { w.violations.Add(1) }, Version: "test"})
	w.must(err)
	mux := http.NewServeMux()
	mux.Handle("/api/", face)
	mux.Handle("/", console)
	return mux
}

// Sample takes the figures of today, as the server does in the background.
func (w *World) Sample() {
	w.t.Helper()
	w.must(w.trend.Take(w.t.Context()))
}

// Conduct takes every rollout as far as it goes now, as the server does in the background.
func (w *World) Conduct() {
	w.t.Helper()
	for {
		before := w.Entries()
		w.must(w.conductor.Look(w.t.Context()))
		if w.Entries() == before {
			return
		}
	}
}

// Violations is how often browsers reported that a page of the console broke its Content-Security-Policy.
func (w *World) Violations() int64 { return w.violations.Load() }

func (w *World) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// Act puts an act into the ledger, past all permission checks.
func (w *World) Act(by string, body ledger.Body) ledger.Entry {
	w.t.Helper()
	e, err := w.index.Act(w.t.Context(), by, func(*index.View) (ledger.Body, error) { return body, nil })
	w.must(err)
	return e
}

// Entries is how many entries the ledger has.
func (w *World) Entries() (n int64) {
	w.index.View(func(v *index.View) { n = v.State().Seq })
	return n
}

// LastEntry is the newest entry of the ledger.
func (w *World) LastEntry() ledger.Entry {
	w.t.Helper()
	raw, err := w.db.Entries(w.t.Context(), w.Entries(), 1)
	w.must(err)
	e, err := ledger.Decode(raw[0].Data)
	w.must(err)
	return e
}

// Group adds a group.
func (w *World) Group(id fleet.GroupID, name string, parent fleet.GroupID) {
	w.t.Helper()
	w.Act("server", ledger.GroupCreate{Group: fleet.Group{ID: id, Name: name, Parent: parent}})
}

// Operator adds an operator and returns the text of an access token for it.
func (w *World) Operator(name string, role ledger.Role, scope fleet.GroupID) string {
	w.t.Helper()
	w.Act("server", ledger.OperatorSet{Operator: ledger.Operator{Name: name, Role: role, Scope: scope}})
	return w.Access(name, time.Hour, false)
}

// Access makes an access token, or a one-time sign-in token, and returns its text.
func (w *World) Access(operator string, life time.Duration, oneTime bool) string {
	w.t.Helper()
	access, text := auth.NewAccess(operator, "", time.Now().Add(life), oneTime)
	w.Act("server", ledger.AccessCreate{Access: access})
	return text
}

// AwaitDecision waits until somebody decided on the update.
func (w *World) AwaitDecision(id catalog.UpdateID) {
	w.t.Helper()
	for {
		seq, found := w.index.Seq(), false
		w.index.View(func(v *index.View) {
			for key := range v.State().Decisions {
				found = found || key.Update == id
			}
		})
		if found {
			return
		}
		_, err := w.index.WaitChange(w.t.Context(), seq)
		w.must(err)
	}
}
