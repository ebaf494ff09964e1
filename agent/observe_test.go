package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"assent/agent/internal/guard"
	"assent/agent/internal/identity"
	"assent/agent/internal/pkgmgr"
	"assent/agent/internal/statedir"
	"assent/wire"
)

func TestRefreshHappensAtItsTimesAndAFailureIsNoUsefulProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil, "app")
		b.start(t)
		b.pass(time.Minute)
		if n := b.m.world().Refreshes; n != 1 {
			t.Errorf("%d refreshes of lists of unknown age at the start", n)
		}
		b.pass(24 * time.Hour)
		if n := b.m.world().Refreshes; n < 6 || n > 7 {
			t.Errorf("%d refreshes in a day; want one every 4 to 4.4 hours", n)
		}
		useful := b.progress().LastRefresh
		b.m.set(func() { b.m.refreshErr = errors.New("hung repository") })
		b.s.with(func() { b.s.refresh = true }) // an administrator asks
		b.pass(10 * time.Minute)
		p := b.progress()
		if !p.LastRefresh.Equal(useful) || !strings.Contains(p.Error, "hung repository") || time.Since(p.LastScan) > 2*time.Minute {
			t.Errorf("progress %+v", p)
		}
		b.m.set(func() { b.m.refreshErr = nil })
		b.pass(time.Hour)
		if p := b.progress(); !p.LastRefresh.After(useful) || p.Error != "" {
			t.Errorf("progress after the repository healed %+v", p)
		}
	})
}

func TestF19_FreshListsAreNotRefreshedInTheBustleAfterABoot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil, "app")
		b.opt.Timing.Quiet = 10 * time.Minute
		b.start(t)
		b.pass(time.Minute)
		b.stop()
		b.pass(5 * time.Hour) // the device is off
		b.opt.Device = booting{}
		b.start(t)
		b.pass(9 * time.Minute)
		if n := b.m.world().Refreshes; n != 1 {
			t.Errorf("%d refreshes; the boot is not over", n)
		}
		b.pass(2 * time.Minute)
		if n := b.m.world().Refreshes; n != 2 {
			t.Errorf("%d refreshes after the quiet period", n)
		}
	})
}

// booting is a device that has just been switched on.
type booting struct{ simDevice }

func (booting) Uptime() time.Duration { return 0 }

func TestN01_RolledBackSourceIsReportedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil, "app")
		b.m.origins = []wire.OriginHealth{{Site: "repo.test", Suite: "stable", Problem: "rolled_back", Date: time.Unix(1, 0), Highest: time.Unix(2, 0)}}
		b.start(t)
		b.pass(24 * time.Hour)
		if n := strings.Count(b.s.story(), "origin_rollback"); n != 1 {
			t.Errorf("%d events\n%s", n, b.s.story())
		}
		var facts wire.Facts
		if err := json.Unmarshal(b.s.document(wire.KindFacts), &facts); err != nil || len(facts.Origins) != 1 || facts.Origins[0].Problem != "rolled_back" {
			t.Errorf("facts %+v, %v", facts, err)
		}
	})
}

func TestEachFeedSaysHowItIsForItself(t *testing.T) {
	both := []wire.OriginHealth{{Origin: "feed:acme", Problem: "expired"}, {Origin: "feed:best", Problem: "tampered"}}
	got := mergeOrigins([]wire.OriginHealth{{Site: "repo.test", Suite: "stable"}}, both)
	if len(got) != 3 || got[1] != both[0] || got[2] != both[1] {
		t.Errorf("%+v", got)
	}
}

// slowCloser needs a while for its closures.
type slowCloser struct {
	*simManager
	takes time.Duration
}

func (c slowCloser) Close(ctx context.Context, s *pkgmgr.Snapshot) (wire.Available, error) {
	select {
	case <-time.After(c.takes):
	case <-ctx.Done():
		return wire.Available{}, ctx.Err()
	}
	av := s.Available
	av.Updates = slices.Clone(av.Updates)
	for i := range av.Updates {
		av.Updates[i].Closure = []wire.Change{{Op: wire.OpInstall, Name: "extra"}}
	}
	return av, nil
}

func TestScanIsSentAtOnceAndAgainWithItsClosures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, []simFile{file("app", "2")}, "app")
		b.opt.Manager = slowCloser{b.m, 40 * time.Second}
		b.start(t)
		b.pass(10 * time.Second)
		closures := func() int {
			var av wire.Available
			if err := json.Unmarshal(b.s.document(wire.KindAvailable), &av); err != nil || len(av.Updates) != 1 {
				t.Fatalf("%+v, %v", av, err)
			}
			return len(av.Updates[0].Closure)
		}
		if closures() != 0 {
			t.Error("closures before they were known")
		}
		b.pass(time.Minute)
		if closures() != 1 {
			t.Error("the closures never came")
		}
	})
}

// TestClosuresThatComeJustWhenTheScanIsSentWithoutThemStand: the two meet in every order.
func TestClosuresThatComeJustWhenTheScanIsSentWithoutThemStand(t *testing.T) {
	for range 100 {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, []simFile{file("app", "2")}, "app")
			b.opt.Manager = slowCloser{b.m, b.opt.Timing.HeadStart}
			b.start(t)
			b.pass(time.Minute)
			var av wire.Available
			if err := json.Unmarshal(b.s.document(wire.KindAvailable), &av); err != nil || len(av.Updates) != 1 || len(av.Updates[0].Closure) != 1 {
				t.Fatalf("the closures were forgotten: %+v, %v", av, err)
			}
		})
	}
}

// brokenOnce does not find the closures at first.
type brokenOnce struct {
	slowCloser
	asked atomic.Int32
}

func (c *brokenOnce) Close(ctx context.Context, s *pkgmgr.Snapshot) (wire.Available, error) {
	if c.asked.Add(1) == 1 {
		return wire.Available{}, errors.New("the package manager is busy")
	}
	return c.slowCloser.Close(ctx, s)
}

func TestClosuresThatCouldNotBeFoundAreLookedForAgainThoughNothingChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, []simFile{file("app", "2")}, "app")
		b.opt.Manager = &brokenOnce{slowCloser: slowCloser{b.m, 0}}
		b.start(t)
		b.pass(2 * time.Minute)
		var av wire.Available
		if err := json.Unmarshal(b.s.document(wire.KindAvailable), &av); err != nil || len(av.Updates) != 1 || len(av.Updates[0].Closure) != 1 {
			t.Errorf("the closures never came: %+v, %v", av, err)
		}
	})
}

func TestCertificateIsRenewedAtHalfLifeWithANewKeyAndTheOldOneIsKeptUntilThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil, "app")
		if err := b.opt.Identity.Save(b.opt.Dir); err != nil {
			t.Fatal(err)
		}
		b.start(t)
		b.pass(14 * 24 * time.Hour)
		if b.s.renewals != 0 {
			t.Errorf("%d renewals before half life", b.s.renewals)
		}
		b.s.with(func() { b.s.fail = errors.New("away") })
		b.pass(2 * 24 * time.Hour)
		if id, err := identity.Load(b.opt.Dir); err != nil || !bytes.Equal(id.Key, b.opt.Identity.Key) {
			t.Errorf("the old key is gone before the new one is granted: %v", err)
		}
		b.s.with(func() { b.s.fail = nil })
		b.pass(time.Hour)
		id, err := identity.Load(b.opt.Dir)
		if err != nil || bytes.Equal(id.Key, b.opt.Identity.Key) || id.Device != b.opt.Identity.Device {
			t.Errorf("renewed identity: same key %v, device %s, %v", bytes.Equal(id.Key, b.opt.Identity.Key), id.Device, err)
		}
		if b.s.renewals != 1 {
			t.Errorf("%d renewals", b.s.renewals)
		}
	})
}

func TestGuardEventsAreReportedOnceAndTheirFilesGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil, "app")
		b.opt.EventDir = filepath.Join(t.TempDir(), "events")
		if err := os.Mkdir(b.opt.EventDir, 0o700); err != nil {
			t.Fatal(err)
		}
		body, err := json.Marshal(guard.Event{ID: "e1", Event: guard.EventRefused, Command: "apt upgrade", Findings: []guard.Finding{{Code: guard.Digest, Name: "app", Arch: "amd64", Version: "2", Found: "aaa", Known: []string{"bbb"}}}})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // also if the file comes back, as after a crash before it was removed
			if err := os.WriteFile(filepath.Join(b.opt.EventDir, "e1.json"), body, 0o600); err != nil {
				t.Fatal(err)
			}
			b.start(t)
			b.pass(2 * time.Minute)
			b.stop()
		}
		if n := strings.Count(b.s.story(), "guard_refused"); n != 1 || !strings.Contains(b.s.story(), "found aaa, known bbb") {
			t.Errorf("%d events\n%s", n, b.s.story())
		}
		if left, err := os.ReadDir(b.opt.EventDir); err != nil || len(left) != 0 {
			t.Errorf("left %v, %v", left, err)
		}
	})
}

func TestN49_FullDiskActsOnNothingSaysSoAndHealsByItself(t *testing.T) {
	path := filepath.Join(t.TempDir(), "small")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", path, "tmpfs", 0, "size=512k,mode=700"); err != nil {
		t.Fatal("needs root: ", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(path, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		app := file("app", "2")
		b := newBench(t, []simFile{app}, "app")
		var err error
		if b.opt.Dir, err = statedir.Open(path); err != nil {
			t.Fatal(err)
		}
		defer b.opt.Dir.Close()
		b.start(t)
		b.pass(time.Minute)
		ballast, err := os.Create(filepath.Join(path, "ballast"))
		if err != nil {
			t.Fatal(err)
		}
		for size := 64 << 10; size > 0; size /= 2 {
			for err := error(nil); err == nil; {
				_, err = ballast.Write(make([]byte, size))
			}
		}
		b.s.set(installs(app))
		b.pass(time.Hour)
		if len(b.executed()) != 0 {
			t.Errorf("executed %v without a journal", b.executed())
		}
		b.s.mu.Lock()
		last := b.s.checkIns[len(b.s.checkIns)-1]
		b.s.mu.Unlock()
		if !strings.Contains(last.Progress.Error, "no space left") {
			t.Errorf("the server was told %q", last.Progress.Error)
		}
		ballast.Close()
		if err := os.Remove(ballast.Name()); err != nil {
			t.Fatal(err)
		}
		b.pass(10 * time.Minute)
		if len(b.executed()) != 1 || b.progress().Error != "" {
			t.Errorf("with room again: executed %v, error %q", b.executed(), b.progress().Error)
		}
	})
}

func TestF18_LoopThatHangsLetsTheWatchdogBite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil, "app")
		b.start(t)
		b.pass(3 * time.Hour)
		if !b.a.moving() {
			t.Error("a healthy agent would be killed by its watchdog")
		}
		b.a.mu.Lock()
		b.a.beats["observe"] = time.Now().Add(-hung - time.Second)
		b.a.mu.Unlock()
		if b.a.moving() {
			t.Error("a hung loop goes unnoticed")
		}
	})
}

// hangingSource is a package manager one of whose repositories never answers.
type hangingSource struct {
	*simManager
	asked chan struct{}
}

func (m *hangingSource) Refresh(ctx context.Context) ([]wire.OriginHealth, error) {
	select {
	case m.asked <- struct{}{}:
	default:
	}
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestF18_ARepositoryThatHangsDoesNotHoldUpWhatWasApproved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := file("app", "2")
		b := newBench(t, []simFile{app}, "app")
		m := &hangingSource{b.m, make(chan struct{}, 1)}
		b.opt.Manager = m
		b.start(t)
		<-m.asked
		b.s.set(installs(app))
		b.pass(10 * time.Second)
		if got := b.m.world().Executions; len(got) != 1 {
			t.Errorf("executions while the refresh hangs: %v", got)
		}
	})
}
