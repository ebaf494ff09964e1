package server

import (
	"context"
	"database/sql"
	"net"
	"net/http"
	"testing"
	"time"
)

// TestAServerThatStopsMakesTheActsThatItBegan: an act that waits for the database when the server is told to stop is made and
// answered, and whoever waits for changes is told to ask again at once.
func TestAServerThatStopsMakesTheActsThatItBegan(t *testing.T) {
	pg := database(t)
	url := pg.Database(t)
	l := start(t, t.TempDir(), func(c *Config) { c.Database = address(t, url) })
	admin := l.admin()
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	busy, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := busy.Exec(`SELECT seq FROM ledger_head FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	waited, acted := make(chan refusal, 1), make(chan refusal, 1)
	connected := make(chan struct{}) // before the act is, so it is let in
	go func() {
		c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			defer close(connected)
			return new(net.Dialer).DialContext(ctx, network, addr)
		}}}
		waited <- ask(t, c, http.MethodGet, "http://"+l.api+"/api/v1/changes?after=1000000&wait=60", admin, nil)
	}()
	<-connected
	go func() {
		acted <- ask(t, http.DefaultClient, http.MethodPost, "http://"+l.api+"/api/v1/groups", admin, []byte(`{"name":"last"}`))
	}()
	await(t, "the act waits for the database", func() bool {
		var n int
		return db.QueryRow(`SELECT count(*) FROM pg_locks WHERE NOT granted`).Scan(&n) == nil && n > 0
	})
	stopped := make(chan error, 1)
	go func() { stopped <- l.stop() }()
	await(t, "nobody is let in any more", func() bool {
		c, err := net.Dial("tcp", l.api)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	if r := <-waited; r.status != http.StatusServiceUnavailable || r.code != "server_stopping" {
		t.Errorf("who waits for changes when the server stops: %+v", r)
	}
	if err := busy.Rollback(); err != nil {
		t.Fatal(err)
	}
	if r := <-acted; r.status/100 != 2 {
		t.Errorf("an act that was begun when the server was told to stop: %+v", r)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// await waits for what has no signal.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for limit := time.Now().Add(time.Minute); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("never: %s", what)
		}
	}
}
