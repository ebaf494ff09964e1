package server

import (
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"assent/client"
	"assent/wire"
)

// TestN44_ABackupUnderLoadIsOfOneMomentAndActsGoOnMeanwhile takes backups while people act and devices report, and restores
// the last one: every act that was acknowledged before it began is in it, its ledger and tables verify, and it has no half.
func TestN44_ABackupUnderLoadIsOfOneMomentAndActsGoOnMeanwhile(t *testing.T) {
	data := t.TempDir()
	l := start(t, data, nil)
	admin := l.admin()
	s := newSwarm(l, admin, 20)
	acts, end := busy(t, l, admin, s)
	var before, during int64
	var file string
	for i := range 3 {
		for acts.Load() < int64(i+1)*20 {
			time.Sleep(time.Millisecond)
		}
		before = acts.Load()
		file = filepath.Join(t.TempDir(), "backup.tar")
		if _, err := backup(t.Context(), Config{Data: data, Version: "test"}, file, true, time.Now()); err != nil {
			t.Fatal(err)
		}
		during += acts.Load() - before
	}
	end()
	if during == 0 {
		t.Error("no act was made while the backups were")
	}
	t.Logf("%d acts in all, %d of them during three backups", acts.Load(), during)
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	to := t.TempDir()
	if _, err := restore(t.Context(), Config{Data: to, Version: "test", Log: slog.New(slog.DiscardHandler)}, file, time.Now()); err != nil { // verifies the ledger and the tables
		t.Fatal(err)
	}
	l = start(t, to, nil)
	l.hasGroups(admin, before)
}

// busy lets somebody act and devices report until end is called, and counts the acts that were acknowledged: groups g0, g1, …
func busy(t *testing.T, l *live, admin string, s *swarm) (acts *atomic.Int64, end func()) {
	t.Helper()
	stop := make(chan struct{})
	var group sync.WaitGroup
	acts = new(atomic.Int64)
	group.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if code := l.call(http.MethodPost, "/api/v1/groups", admin, map[string]string{"name": fmt.Sprint("g", acts.Load())}, nil); code/100 != 2 {
				t.Errorf("an act during a backup: %d", code)
				return
			}
			acts.Add(1)
		}
	})
	for i, d := range s.devices {
		group.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				d.mail = []wire.Report{{ID: fmt.Sprint(i, "-", n), Event: "e", At: time.Now()}}
				if err := s.post(t.Context(), d); err != nil {
					t.Errorf("a report during a backup: %v", err)
					return
				}
			}
		})
	}
	return acts, func() { close(stop); group.Wait() }
}

// hasGroups demands the groups of the acts that were acknowledged before a backup began.
func (l *live) hasGroups(admin string, before int64) {
	l.t.Helper()
	var groups client.List[client.GroupRow]
	if code := l.call(http.MethodGet, "/api/v1/groups", admin, nil, &groups); code != 200 {
		l.t.Fatalf("groups: %d", code)
	}
	have := map[string]bool{}
	for _, g := range groups.Items {
		have[g.Name] = true
	}
	for i := range before {
		if !have[fmt.Sprint("g", i)] {
			l.t.Errorf("g%d was acknowledged before the backup began and is not in it", i)
		}
	}
}

// TestN44_ADumpOfPostgreSQLUnderLoadWithABackupOfTheKeysIsTheWholeServer does the same with the database in PostgreSQL, where the
// backup has the keys and pg_dump the rest.
func TestN44_ADumpOfPostgreSQLUnderLoadWithABackupOfTheKeysIsTheWholeServer(t *testing.T) {
	pg := database(t)
	for _, q := range []string{"CREATE DATABASE busy", "CREATE DATABASE restored"} {
		if err := pg.Do(q); err != nil {
			t.Fatal(err)
		}
	}
	data, from := t.TempDir(), address(t, pg.Named("busy"))
	l := start(t, data, func(c *Config) { c.Database = from })
	admin := l.admin()
	acts, end := busy(t, l, admin, newSwarm(l, admin, 10))
	for acts.Load() < 20 {
		time.Sleep(time.Millisecond)
	}
	before, dir := acts.Load(), t.TempDir()
	if err := pg.Dump(pg.Named("busy"), filepath.Join(dir, "dump")); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "backup.tar")
	if _, err := backup(t.Context(), Config{Data: data, Version: "test", Database: from}, file, true, time.Now()); err != nil {
		t.Fatal(err)
	}
	during := acts.Load() - before
	end()
	t.Logf("%d acts in all, %d of them during the dump", acts.Load(), during)
	if during == 0 {
		t.Error("no act was made while the dump was")
	}
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	to, at := t.TempDir(), address(t, pg.Named("restored"))
	if err := pg.Restore(pg.Named("restored"), filepath.Join(dir, "dump")); err != nil {
		t.Fatal(err)
	}
	if _, err := restore(t.Context(), Config{Data: to, Version: "test", Database: at, Log: slog.New(slog.DiscardHandler)}, file, time.Now()); err != nil {
		t.Fatal(err)
	}
	l = start(t, to, func(c *Config) { c.Database = at }) // refuses keys that are not this ledger's
	l.hasGroups(admin, before)
	if code := l.call(http.MethodPost, "/api/v1/groups", admin, map[string]string{"name": "after"}, nil); code/100 != 2 {
		t.Errorf("an act after the restore: %d", code)
	}
}
