package server

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"assent/client"
	"assent/server/pgtest"
	"assent/wire"
)

// database starts a PostgreSQL server that ends with the test.
func database(t *testing.T) *pgtest.Server {
	t.Helper()
	s, err := pgtest.Start(pgtest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// address writes the address of a database into a file, as administrators do.
func address(t *testing.T, url string) Database {
	t.Helper()
	file := filepath.Join(t.TempDir(), "url")
	if err := os.WriteFile(file, []byte(url), 0o600); err != nil {
		t.Fatal(err)
	}
	return Database{URLFile: file}
}

func TestADatabaseThatIsAwayAtTheStartIsWaitedForAndThenNamedWithAdvice(t *testing.T) {
	pg := database(t)
	where, data := address(t, pg.Named("postgres")), t.TempDir()
	pg.Halt()
	why := fails(t, Config{Data: data, Database: where, wait: 300 * time.Millisecond})
	for _, says := range []string{"did not answer for 300ms", "start PostgreSQL", "database.url_file"} {
		if !strings.Contains(why, says) {
			t.Errorf("the start fails with %q, without %q", why, says)
		}
	}
	waits := &telling{told: make(chan struct{})}
	go func() {
		<-waits.told
		if err := pg.Resume(); err != nil {
			t.Error(err)
		}
	}()
	l := start(t, data, func(c *Config) { c.Database, c.Log = where, slog.New(waits) })
	if code := l.call(http.MethodGet, "/readyz", "", nil, nil); code != 200 {
		t.Errorf("ready: %d", code)
	}
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
}

// telling is a log that says when the server says that it waits.
type telling struct {
	slog.Handler
	told chan struct{}
	over bool
}

func (w *telling) Enabled(context.Context, slog.Level) bool { return true }

func (w *telling) Handle(_ context.Context, r slog.Record) error {
	if strings.HasPrefix(r.Message, "waiting for the database") && !w.over {
		w.over = true
		close(w.told)
	}
	return nil
}

func TestASlowDatabaseRefusesActsWholeWhileCheckInsGoOnAndHealthSaysSo(t *testing.T) {
	pg := database(t)
	proxy := pg.Proxy(t)
	l := start(t, t.TempDir(), func(c *Config) {
		c.Database, c.patience = address(t, proxy.URL(pg.Database(t))), 1500*time.Millisecond
	})
	admin := l.admin()
	_, dev, _ := l.enrol(admin)
	s := &swarm{agents: l.agents}
	s.docs, s.digests, _ = documents()
	d := &drone{http: dev}
	checkIn := func() {
		t.Helper()
		began := time.Now()
		if _, err := s.checkIn(t.Context(), d, 0); err != nil {
			t.Errorf("check in: %v", err)
		}
		if took := time.Since(began); took > 1500*time.Millisecond {
			t.Errorf("a check-in waited for the database: %v", took)
		}
	}
	for d.plan == "" {
		checkIn()
	}
	create := func(name string) refusal {
		return ask(t, http.DefaultClient, http.MethodPost, "http://"+l.api+"/api/v1/groups", admin, []byte(`{"name":"`+name+`"}`))
	}
	if r := create("before"); r.status/100 != 2 {
		t.Fatalf("before: %+v", r)
	}

	proxy.Delay(2 * time.Second)
	refused := make(chan refusal, 1)
	go func() { refused <- create("slow") }()
	for range 5 {
		checkIn()
	}
	report := wire.Reports{Reports: []wire.Report{{ID: "r1", Event: "e", At: time.Now()}}}
	if code := l.send(dev, wire.PathReports, report, nil); code != http.StatusServiceUnavailable {
		t.Errorf("a report while the database is slow: %d", code)
	}
	if r := <-refused; r.status != 503 || r.code != "storage_unavailable" || r.retryAfter == "" {
		t.Errorf("an act while the database is slow: %+v", r)
	}
	if code := l.call(http.MethodGet, "/readyz", "", nil, nil); code != http.StatusServiceUnavailable {
		t.Errorf("ready while the database is slow: %d", code)
	}
	if code := l.call(http.MethodGet, "/healthz", "", nil, nil); code != 200 {
		t.Errorf("healthy while the database is slow: %d", code)
	}
	if up := l.metric("assent_database_up"); up != 0 {
		t.Errorf("assent_database_up %v while the database is slow", up)
	}
	proxy.Delay(0)
	if code := l.send(dev, wire.PathReports, report, nil); code != 200 {
		t.Errorf("the report, again: %d", code)
	}

	release := proxy.HoldCommit("open-act") // it is made, and the answer does not come: the server looks for it in the ledger
	r := create("open-act")
	release()
	if r.status/100 != 2 {
		t.Errorf("an act whose commit was not answered: %+v", r)
	}
	known := func() map[string]bool {
		var groups client.List[client.GroupRow]
		if code := l.call(http.MethodGet, "/api/v1/groups", admin, nil, &groups); code != 200 {
			t.Fatalf("groups: %d", code)
		}
		out := map[string]bool{}
		for _, g := range groups.Items {
			out[g.Name] = true
		}
		return out
	}
	if r := create("after"); r.status/100 != 2 {
		t.Errorf("after: %+v", r)
	}
	if now := known(); !now["before"] || !now["open-act"] || !now["after"] || now["slow"] {
		t.Errorf("groups: %v; want those that were made, and not the one that was refused", now)
	}
	if up := l.metric("assent_database_up"); up != 1 {
		t.Errorf("assent_database_up %v when it is well", up)
	}
}
