package notify_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"assent/approval"
	"assent/catalog"
	"assent/client"
	"assent/fleet"
	"assent/ledger"
	"assent/server/internal/auth"
	"assent/server/internal/index"
	"assent/server/internal/mirror"
	"assent/server/internal/notify"
	"assent/server/internal/store"
)

func sealKey() []byte { return bytes.Repeat([]byte{9}, notify.KeySize) }

// admin may do everything.
func admin() auth.Actor {
	return auth.Actor{Name: "ada", Role: ledger.Administrator, Scope: fleet.Root}
}

// world is a real store and index with a Service over them.
type world struct {
	t      testing.TB
	db     *store.DB
	index  *index.Index
	notify *notify.Service
	ahead  atomic.Int64 // of the real clock
	status client.Status
	alarms []mirror.Alarm
	roots  *x509.CertPool
}

// Status makes a world the figures of the digest.
func (w *world) Status(context.Context, auth.Actor) (client.Status, error) { return w.status, nil }

func (w *world) now() time.Time { return time.Now().Add(time.Duration(w.ahead.Load())) }

func newWorld(t testing.TB, change func(*world)) *world {
	t.Helper()
	return openWorld(t, filepath.Join(t.TempDir(), "assent.db"), change)
}

func openWorld(t testing.TB, path string, change func(*world)) *world {
	t.Helper()
	return openWorldWith(t, path, nil, change)
}

// openWorldWith is openWorld with another outbox.
func openWorldWith(t testing.TB, path string, wrap func(notify.Outbox) notify.Outbox, change ...func(*world)) *world {
	t.Helper()
	w := &world{t: t}
	for _, c := range change {
		if c != nil {
			c(w)
		}
	}
	var err error
	w.db, err = store.Open(context.Background(), store.Config{DSN: path})
	w.must(err)
	t.Cleanup(func() { _ = w.db.Close() })
	w.index, err = index.Open(context.Background(), w.db, index.Config{Now: w.now})
	w.must(err)
	if w.seq() == 0 {
		w.act(ledger.ServerInit{Org: "acme"})
		w.act(ledger.GroupCreate{Group: fleet.Group{ID: "g-web", Name: "Web", Parent: fleet.Root}})
		w.act(ledger.GroupCreate{Group: fleet.Group{ID: "g-db", Name: "Databases", Parent: fleet.Root}})
		w.act(ledger.TokenCreate{ID: "t", Group: fleet.Root, Uses: 1000, Expires: time.Now().Add(time.Hour)})
	}
	var outbox notify.Outbox = w.db
	if wrap != nil {
		outbox = wrap(w.db)
	}
	w.notify, err = notify.New(notify.Config{Index: w.index, Outbox: outbox, Figures: w, Alarms: func() []mirror.Alarm { return w.alarms }, Key: sealKey(), Holder: "test", Public: "https://assent.test/",
		Roots: w.roots, Now: w.now, Log: slog.New(slog.DiscardHandler)})
	w.must(err)
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) seq() (n int64) {
	w.index.View(func(v *index.View) { n = v.State().Seq })
	return n
}

func (w *world) act(b ledger.Body) ledger.Entry {
	w.t.Helper()
	e, err := w.index.Act(context.Background(), "ada", func(*index.View) (ledger.Body, error) { return b, nil })
	w.must(err)
	return e
}

// run runs the service until the test ends, or until what it returns is called.
func (w *world) run() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = w.notify.Run(ctx)
	}()
	stop = func() { cancel(); <-done }
	w.t.Cleanup(stop)
	return stop
}

func (w *world) device(id, group string) {
	w.t.Helper()
	w.act(ledger.DeviceEnrol{Device: fleet.Device{ID: fleet.DeviceID(id), Name: "name-" + id, Group: fleet.GroupID(group), State: fleet.Active, EnrolledAt: w.now()}, Token: "t"})
}

func (w *world) decline(name, scope, reason string) ledger.Entry {
	w.t.Helper()
	r := catalog.Release{Software: catalog.Software{Ecosystem: "deb", Namespace: "debian", Name: name}, Version: "1.0"}
	return w.act(ledger.UpdateDecide{Scope: fleet.GroupID(scope), Status: approval.Declined, Reason: reason, Updates: []ledger.Decided{{Update: r.ID(), Release: r, Rev: 1}}})
}

// hook makes a channel to a receiver.
func (w *world) hook(r *receiver, change func(*client.ChannelRequest)) client.ChannelRow {
	w.t.Helper()
	q := client.ChannelRequest{Name: "ops", Kind: ledger.Webhook, Address: r.URL + "/hook", Events: client.NoticeEvents()}
	if change != nil {
		change(&q)
	}
	made, err := w.notify.CreateChannel(context.Background(), admin(), q)
	w.must(err)
	r.now = w.now
	if q.Secret == "" {
		r.secret = made.Secret
	}
	return made.Channel
}

// eventually waits until something is so.
func (w *world) eventually(what string, so func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !so(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("it is not so: %s", what)
		}
	}
}

func (w *world) deliveries(ref string) []client.Delivery {
	w.t.Helper()
	d, err := w.notify.Channel(context.Background(), admin(), ref)
	w.must(err)
	return d.Deliveries
}

func nilBody(*index.View) (ledger.Body, error) { return nil, nil }

// notifyTold is what an entry gives a channel to tell.
func notifyTold(c client.ChannelRow, e ledger.Entry) (notify.Notice, bool) {
	tree, err := fleet.NewTree([]fleet.Group{{ID: fleet.Root, Name: fleet.RootName}})
	if err != nil {
		return notify.Notice{}, false
	}
	return notify.ToldOf(e, ledger.Channel{ID: c.ID, Events: []string{"halt"}, Group: fleet.Root}, tree)
}
