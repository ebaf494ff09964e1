package agent

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"assent/installation"
	"assent/wire"
)

// goDown tells the agent that the device shuts down, as of a moment, and reports whether it lets the shutdown go on within a time.
func (b *bench) goDown(t *testing.T, at time.Time, left func(), limit time.Duration) bool {
	t.Helper()
	if err := sendAsked(b.opt.Dir, shutdownFile, restartOrder{Act: "shutdown", At: at}); err != nil {
		t.Fatal(err)
	}
	left()
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(time.Second) {
		if _, err := b.opt.Dir.Root().Stat(shutdownFile); errors.Is(err, fs.ErrNotExist) {
			return true
		}
	}
	return false
}

// watched hears what is left for the agent.
func (b *bench) watched() (left func()) {
	var mu sync.Mutex
	var all []func()
	b.opt.Watch = func(ctx context.Context, _ string, left func()) error {
		mu.Lock()
		all = append(all, left)
		mu.Unlock()
		<-ctx.Done()
		return nil
	}
	return func() {
		mu.Lock()
		defer mu.Unlock()
		for _, f := range all {
			f()
		}
	}
}

func TestT3_AtShutdownWhatWaitsForItIsInstalledAndTheShutdownWaitsUntilThatIsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app, bad, night := file("app", "2"), file("bad", "2"), file("night", "2")
		bad.Fails = true
		b := newBench(t, []simFile{app, bad, night}, "app", "bad", "night")
		left := b.watched()
		b.s.expires = 30 * 24 * time.Hour
		b.m.duringApply = func() { time.Sleep(10 * time.Minute) }
		p := on(installs(app, bad), wire.PlanTerms{AtShutdown: true})
		p = wire.Plan{Install: append(p.Install, night.install()), Terms: append(p.Terms, wire.PlanTerms{AtShutdown: true})}
		p.Install[2].Terms = 2
		p.Terms[1].Schedules = append(p.Terms[1].Schedules, schedule(t, nightly(time.Hour)))
		b.s.set(p)
		b.start(t)
		b.pass(time.Hour)
		if len(b.executed()) > 0 {
			t.Fatalf("executed %v before the shutdown", b.executed())
		}
		if b.goDown(t, time.Now().Add(-time.Hour), left, time.Minute) || len(b.executed()) > 0 {
			t.Fatalf("an old order counts: executed %v", b.executed())
		}
		begin := time.Now()
		if !b.goDown(t, time.Now(), left, time.Hour) {
			t.Fatal("the shutdown is held up for ever")
		}
		if d := time.Since(begin); d < 10*time.Minute || d > 15*time.Minute {
			t.Errorf("the shutdown waited for %v; the transaction took 10 minutes", d)
		}
		if got := b.executed(); !slices.Equal(got, []string{"app:amd64=2", "bad:amd64=2"}) {
			t.Errorf("executed %v; the third one's window is closed", got)
		}
		b.pass(time.Hour)
		if got := b.executed(); len(got) != 2 {
			t.Errorf("after the shutdown was let go: executed %v", got)
		}
		if r := b.s.last(night.install()); r.Cause != installation.WindowClosed || !strings.Contains(r.Detail, "02:00") || !strings.Contains(r.Detail, "when the device shuts down") {
			t.Errorf("%+v", r)
		}
		legal(t, b)
	})
}

func TestT3_AnAgentThatHasNothingForTheShutdownLetsItGoOnAtOnceAndForgetsAnOldOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil, "app")
		left := b.watched()
		if err := sendAsked(b.opt.Dir, shutdownFile, restartOrder{At: time.Now()}); err != nil { // of before the boot
			t.Fatal(err)
		}
		b.start(t)
		b.pass(time.Second)
		if _, err := b.opt.Dir.Root().Stat(shutdownFile); !errors.Is(err, fs.ErrNotExist) || b.a.shutsDown() {
			t.Errorf("an order of before the boot stays: %v", err)
		}
		b.pass(time.Minute)
		if !b.goDown(t, time.Now(), left, 10*time.Second) {
			t.Error("the shutdown waits for nothing")
		}
	})
}

func TestT3_TheCommandWaitsForNobodyWhereNoAgentRuns(t *testing.T) {
	b := newBench(t, nil)
	if err := holdShutdown(t.Context(), b.opt.Dir); err != nil {
		t.Error(err)
	}
	release, err := b.opt.Dir.Lock()
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(300*time.Millisecond, release) // the agent dies meanwhile
	if err := holdShutdown(t.Context(), b.opt.Dir); err != nil {
		t.Error(err)
	}
}
