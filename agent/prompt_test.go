package agent

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"assent/agent/internal/guard"
	"assent/agent/internal/pkgmgr"
	"assent/wire"
)

// slowly is a package manager that takes its time over downloads.
type slowly struct {
	Manager
	fetch time.Duration
}

func (m slowly) Fetch(ctx context.Context, tx pkgmgr.Transaction, progress func(pkgmgr.Progress)) error {
	time.Sleep(m.fetch)
	return m.Manager.Fetch(ctx, tx, progress)
}

// said lists what the device said that it is at, without repetitions, and counts its check-ins.
func (s *simServer) said() (steps []string, checkIns int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.checkIns {
		if n := len(steps); n == 0 || steps[n-1] != m.Progress.Doing {
			steps = append(steps, m.Progress.Doing)
		}
	}
	return steps, len(s.checkIns)
}

func TestWhatTheAgentIsAtReachesTheServerWhileItLasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := file("app", "2")
		b := newBench(t, []simFile{app}, "app")
		b.opt.Manager = slowly{b.m, 20 * time.Second}
		b.start(t)
		b.pass(10 * time.Minute) // one long poll after the other
		b.s.set(installs(app))
		b.pass(3 * time.Second)
		if steps, _ := b.s.said(); steps[len(steps)-1] != "downloading 1 updates" {
			t.Errorf("3 seconds into the download the server knows of %q", steps)
		}
		b.pass(20 * time.Second)
		if steps, _ := b.s.said(); steps[len(steps)-1] != "" {
			t.Errorf("3 seconds after the end the server knows of %q", steps)
		}
	})
}

func TestManyStepsInARowCostFewCheckIns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil, "app")
		b.start(t)
		b.pass(10 * time.Minute)
		_, before := b.s.said()
		for range 600 { // a minute of steps
			b.a.doing("one of many steps")()
			b.pass(100 * time.Millisecond)
		}
		_, after := b.s.said()
		if n := after - before; n > 60 {
			t.Errorf("%d check-ins in a minute of changing steps", n)
		}
		seen := map[int64]bool{}
		for _, m := range b.s.checkIns {
			if seen[m.Sequence] {
				t.Fatalf("sequence %d came twice", m.Sequence)
			}
			seen[m.Sequence] = true
		}
	})
}

func TestWhatTheGuardRefusesIsReportedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil, "app")
		b.opt.EventDir = filepath.Join(t.TempDir(), "events")
		if err := os.Mkdir(b.opt.EventDir, 0o700); err != nil {
			t.Fatal(err)
		}
		tell := make(chan struct{})
		b.opt.Watch = func(ctx context.Context, dir string, left func()) error {
			if dir == b.opt.Dir.Path(askedDir) { // what somebody at the device says
				<-ctx.Done()
				return nil
			}
			if dir != b.opt.EventDir {
				t.Errorf("%s is watched", dir)
			}
			for {
				select {
				case <-tell:
					left()
				case <-ctx.Done():
					return nil
				}
			}
		}
		b.start(t)
		b.pass(10*time.Minute + 5*time.Second) // in between two scans
		writeEvent(t, b.opt.EventDir, "e1")
		tell <- struct{}{}
		b.pass(time.Second / 2)
		if !strings.Contains(b.s.story(), "guard_refused") {
			t.Errorf("half a second later the server knows of\n%s", b.s.story())
		}
		if left, err := os.ReadDir(b.opt.EventDir); err != nil || len(left) != 0 {
			t.Errorf("left %v, %v", left, err)
		}
	})
}

func writeEvent(t *testing.T, dir, id string) {
	t.Helper()
	body, _, err := wire.Encode(guard.Event{ID: id, Event: guard.EventRefused, Command: "apt install app", Text: "no"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, id+".json"), body, 0o600); err != nil {
		t.Fatal(err)
	}
}
