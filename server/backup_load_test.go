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
	stop := make(chan struct{})
	var group sync.WaitGroup
	var acts atomic.Int64
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
	close(stop)
	group.Wait()
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
	var groups client.List[client.GroupRow]
	if code := l.call(http.MethodGet, "/api/v1/groups", admin, nil, &groups); code != 200 {
		t.Fatalf("groups: %d", code)
	}
	have := map[string]bool{}
	for _, g := range groups.Items {
		have[g.Name] = true
	}
	for i := range before {
		if !have[fmt.Sprint("g", i)] {
			t.Errorf("g%d was acknowledged before the backup began and is not in it", i)
		}
	}
}
