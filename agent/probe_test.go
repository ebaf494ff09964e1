package agent

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"assent/catalog"
	"assent/installation"
	"assent/wire"
)

// healthy is a plan that orders f with a health probe.
func healthy(f simFile) wire.Plan {
	p := installs(f)
	p.Install[0].Probe = &catalog.Probe{Type: catalog.ProbeTCP, Port: 80, Timeout: 20}
	return p
}

func TestV3_WhatDoesNotPassItsProbeIsNotInstalledAndIsLookedAtAgainWithoutInstallingItAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := treeFile("app", "2")
		b := newBench(t, nil)
		side := b.withSide(t, []simFile{app}, "app")
		b.opt.Probe = side.probe
		side.change(func(w *simWorld) { w.Sick = map[string]string{"app": "nothing listens on port 80"} })
		b.s.set(healthy(app))
		b.start(t)
		b.pass(30 * time.Second)
		r := b.s.last(app.install())
		if r.State != installation.Failed || r.Cause != installation.ProbeFailed || !strings.Contains(r.Detail, "nothing listens on port 80") || r.Proof.Probe != "nothing listens on port 80" {
			t.Errorf("%s %s %q %+v", r.State, r.Cause, r.Detail, r.Proof)
		}
		b.pass(24 * time.Hour)
		if n := side.world().Probes; n < 20 || n > 30 {
			t.Errorf("%d probes in a day; want one an hour in the end, and no end", n)
		}
		side.change(func(w *simWorld) { w.Sick = nil })
		b.pass(2 * time.Hour)
		r = b.s.last(app.install())
		if r.State != installation.Installed || r.Detail != "its health probe passes now" || r.Proof.Probe != "passed" {
			t.Errorf("%s %q %+v", r.State, r.Detail, r.Proof)
		}
		if got := side.world().Executions; len(got) != 1 {
			t.Errorf("executed %v", got)
		}
		before := side.world().Probes
		b.pass(24 * time.Hour)
		if side.world().Probes != before {
			t.Error("what is installed is probed on and on")
		}
		legal(t, b)
	})
}

func TestV3_WhatPassesItsProbeIsInstalledWithTheProof(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app, there := file("app", "2"), file("there", "2")
		b := newBench(t, []simFile{app, there}, "app")
		b.opt.Probe = b.m.probe
		b.m.installed(there)
		p := healthy(app)
		p.Install = append(p.Install, healthy(there).Install...)
		b.s.set(p)
		b.start(t)
		b.pass(time.Minute)
		for _, f := range []simFile{app, there} {
			if r := b.s.last(f.install()); r.State != installation.Installed || r.Proof.Probe != "passed" {
				t.Errorf("%s: %s %+v", f.Name, r.State, r.Proof)
			}
		}
		if b.m.world().Probes != 2 {
			t.Errorf("%d probes", b.m.world().Probes)
		}
		legal(t, b)
	})
}

func TestV3_AProbeThatHangsIsEndedAndAnAgentThatStopsMeanwhileProbesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := file("app", "2")
		b := newBench(t, []simFile{app}, "app")
		b.opt.Probe = func(ctx context.Context, _ catalog.Release, _ catalog.Format, _ catalog.Probe) error {
			<-ctx.Done()
			return ctx.Err()
		}
		b.s.set(healthy(app))
		b.start(t)
		b.pass(10 * time.Second)
		b.stop() // in the middle of the probe: nothing is known yet
		if s := b.state(app.install()); s != installation.Installing {
			t.Fatalf("%s", s)
		}
		b.start(t)
		b.pass(40 * time.Second)
		if r := b.s.last(app.install()); r.State != installation.Failed || r.Cause != installation.ProbeFailed || r.Proof.Probe != "no answer within 20s" {
			t.Errorf("%s %s %+v", r.State, r.Cause, r.Proof)
		}
		if len(b.executed()) != 1 {
			t.Errorf("executed %v", b.executed())
		}
		legal(t, b)
	})
}

func TestWhatNeedsAnUpdateWaitsUntilThatPassesItsProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, app := file("db", "2"), treeFile("app", "2")
		b := newBench(t, []simFile{db}, "db")
		side := b.withSide(t, []simFile{app}, "app")
		b.opt.Probe = b.m.probe
		b.m.change(func(w *simWorld) { w.Sick = map[string]string{"db": "it does not answer"} })
		p := healthy(db)
		p.Install = append(p.Install, app.install())
		p.Install[1].Closure = []string{string(db.release().ID())}
		b.s.set(p)
		b.start(t)
		b.pass(5 * time.Minute)
		if side.has("app") != "1" {
			t.Error("it was installed though what it needs does not work")
		}
		b.m.change(func(w *simWorld) { w.Sick = nil })
		b.pass(15 * time.Minute)
		if side.has("app") != "2" {
			t.Error(b.s.story())
		}
	})
}
