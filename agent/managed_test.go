package agent

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"assent/agent/internal/pkgmgr"
	"assent/agent/internal/pkgmgr/multi"
	"assent/catalog"
	"assent/installation"
	"assent/wire"
)

// withSide gives the device of a bench a manager of what is installed beside the packages.
func (b *bench) withSide(t *testing.T, files []simFile, names ...string) (side *simManager) {
	t.Helper()
	w := deviceWith("1", names...)
	w.Pool = files
	side = newSim(t, w)
	side.side = true
	b.opt.Manager = multi.New(b.m, side, nil)
	return side
}

// installed puts a file onto the device without anybody's doing.
func (m *simManager) installed(files ...simFile) {
	m.change(func(w *simWorld) {
		for _, f := range files {
			w.Installed[f.Name+":"+f.Arch] = simPackage{Version: f.Version, Status: "ii", Source: f.Source, SrcVer: f.SrcVer, How: "assent"}
		}
	})
}

func (m *simManager) has(name string) string { return m.world().Installed[name+":amd64"].Version }

func wall(f simFile) wire.PlanDeny {
	return wire.PlanDeny{Update: f.release().ID(), Software: f.release().Software, Version: f.SrcVer, Items: []catalog.Item{f.Item}, Reason: "bad", By: "ann", Act: 7}
}

func legal(t *testing.T, b *bench) {
	t.Helper()
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	if len(b.s.illegal) > 0 {
		t.Errorf("transitions outside the table: %v", b.s.illegal)
	}
}

func TestC1_ADeclinedApplicationThatHadNoEarlierVersionIsTakenOffOnceAndSaysSo(t *testing.T) {
	for name, app := range map[string]simFile{"package": file("app", "2"), "tree": treeFile("app", "2")} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, nil)
				m := b.m
				if app.Format.Side() {
					m = b.withSide(t, nil)
				}
				m.change(func(w *simWorld) { w.Pool = []simFile{app} })
				m.installed(app)
				b.s.set(wire.Plan{Remove: []wire.PlanRemove{app.removal(7)}, Deny: []wire.PlanDeny{wall(app)}})
				b.start(t)
				b.pass(time.Minute)
				if diff := cmp.Diff([]installation.State{installation.Removing, installation.Removed}, b.s.history(app.install())); diff != "" {
					t.Errorf("states (-want +got):\n%s", diff)
				}
				p := b.s.last(app.install()).Proof
				if p == nil || p.Transaction == "" || len(p.Items) != 1 || p.Items[0].Version != "" || p.Items[0].Previous != "2" {
					t.Errorf("proof %+v", p)
				}
				b.pass(10 * time.Hour)
				if got := m.world().Executions; !slices.Equal(got, []string{"-app:amd64=2"}) || len(m.world().Remembered) != 0 {
					t.Errorf("executed %v, remembered %v", got, m.world().Remembered)
				}
				m.installed(app) // somebody brings it back; the decline still stands
				b.pass(2 * time.Hour)
				if m.has("app") != "" {
					t.Error("what is declined came back and stayed")
				}
				legal(t, b)
			})
		})
	}
}

func TestC1_ARemovalThatFailsSaysWhyAndIsTriedAgainAtItsTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := file("app", "2")
		app.Sticks = true
		b := newBench(t, []simFile{app})
		b.m.installed(app)
		b.s.set(wire.Plan{Remove: []wire.PlanRemove{app.removal(7)}})
		b.start(t)
		b.pass(30 * time.Second)
		r := b.s.last(app.install())
		if r.State != installation.RemoveFailed || r.Cause != installation.InstallFailed || !strings.Contains(r.Detail, "pre-removal script of app failed") || !strings.Contains(r.Detail, "attempt 1, next after") {
			t.Errorf("%s %s %q", r.State, r.Cause, r.Detail)
		}
		b.m.change(func(w *simWorld) { w.Pool[0].Sticks = false })
		b.pass(2 * time.Minute)
		if b.state(app.install()) != installation.Removed || len(b.executed()) != 2 {
			t.Errorf("%s after %v", b.state(app.install()), b.executed())
		}
		legal(t, b)
	})
}

func TestC1_ARemovalThatOthersDependOnIsBlockedAndNamesThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app, lib, other := file("app", "2"), file("lib", "2"), file("other", "2")
		app.Needs = []string{"lib=2"}
		b := newBench(t, []simFile{app, lib, other})
		b.m.installed(app, lib, other)
		b.s.set(wire.Plan{Remove: []wire.PlanRemove{lib.removal(7), other.removal(8)}})
		b.start(t)
		b.pass(time.Minute)
		if r := b.s.last(lib.install()); r.State != installation.Blocked || r.Cause != installation.RemovalNeeded {
			t.Errorf("%s %s", r.State, r.Cause)
		}
		if got := b.executed(); !slices.Equal(got, []string{"-other:amd64=2"}) {
			t.Errorf("executed %v", got)
		}
		b.s.set(wire.Plan{Remove: []wire.PlanRemove{app.removal(9), lib.removal(7)}})
		b.pass(time.Minute)
		if b.m.has("app")+b.m.has("lib") != "" {
			t.Errorf("executed %v", b.executed())
		}
		legal(t, b)
	})
}

func TestC1_OnlyTheDeclinedVersionIsTakenOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := file("app", "2")
		b := newBench(t, []simFile{app}, "app")
		b.s.set(installs(app))
		b.start(t)
		b.pass(time.Minute)
		b.m.installed(file("app", "3"))
		b.s.set(wire.Plan{Remove: []wire.PlanRemove{app.removal(7)}})
		b.pass(time.Minute)
		if b.m.has("app") != "3" || b.state(app.install()) != installation.Removed {
			t.Errorf("version %q, state %s", b.m.has("app"), b.state(app.install()))
		}
		legal(t, b)
	})
}

func TestC1_ADeclinedTreeGoesBackToTheVersionBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, app := treeFile("app", "1"), treeFile("app", "2")
		b := newBench(t, nil)
		side := b.withSide(t, []simFile{old, app}, "app")
		b.s.set(installs(app))
		b.start(t)
		b.pass(time.Minute)
		if side.has("app") != "2" {
			t.Fatal(b.s.story())
		}
		b.s.set(wire.Plan{Rollback: []wire.PlanRollback{app.stepBack(7, old)}, Deny: []wire.PlanDeny{wall(app)}})
		b.pass(time.Minute)
		if side.has("app") != "1" || b.state(app.install()) != installation.Removed || len(b.executed()) != 0 {
			t.Errorf("version %q, %s, apt did %v", side.has("app"), b.state(app.install()), b.executed())
		}
		legal(t, b)
	})
}

func TestEachTransactionIsOfOneKindAndOneManagerAndWhatIsExclusiveIsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, back, gone, deb, alone := file("back", "1"), file("back", "2"), file("gone", "2"), file("deb", "2"), file("alone", "2")
		treeGone, treeNew, other := treeFile("treegone", "2"), treeFile("treenew", "2"), file("other", "2")
		b := newBench(t, []simFile{old, back, gone, deb, alone, other}, "deb", "alone", "other")
		side := b.withSide(t, []simFile{treeGone, treeNew}, "treenew")
		var order []string
		note := func(changes []wire.Change) {
			var names []string
			for _, c := range changes {
				names = append(names, string(c.Op)+" "+c.Name)
			}
			order = append(order, strings.Join(names, ", "))
		}
		b.m.applied, side.applied = note, note
		b.m.installed(back, gone)
		side.installed(treeGone)
		p := installs(alone, deb, treeNew, other)
		p.Install[0].Exclusive = true
		p.Install[1].Closure = []string{string(treeNew.release().ID())}
		p.Remove = []wire.PlanRemove{gone.removal(7), treeGone.removal(8)}
		p.Rollback = []wire.PlanRollback{back.stepBack(6, old)}
		b.s.set(p)
		b.start(t)
		b.pass(time.Minute)
		want := []string{"upgrade back", "remove gone", "remove treegone", "upgrade alone", "upgrade treenew", "upgrade deb, upgrade other"}
		if diff := cmp.Diff(want, order); diff != "" {
			t.Errorf("transactions (-want +got):\n%s", diff)
		}
		legal(t, b)
	})
}

func TestV2_AnUpdateWaitsForWhatItNeedsOfTheOtherManagerAndSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lib, app := file("lib", "2"), treeFile("app", "2")
		lib.Fails = true
		b := newBench(t, []simFile{lib}, "lib")
		side := b.withSide(t, []simFile{app}, "app")
		p := installs(app, lib)
		p.Install[0].Closure = []string{string(lib.release().ID())}
		b.s.set(p)
		b.start(t)
		b.pass(30 * time.Second)
		if r := b.s.last(app.install()); r.State != installation.Assigned || r.Detail != "waits for lib 2, which has to be installed first" || side.has("app") != "1" {
			t.Errorf("%s %q, version %s", r.State, r.Detail, side.has("app"))
		}
		n := len(b.s.history(app.install()))
		b.m.change(func(w *simWorld) {
			w.Pool[0].Fails = false
			w.Installed["lib:amd64"] = simPackage{Version: "1", Status: "ii", Source: "lib", SrcVer: "1"}
		})
		b.pass(5 * time.Minute)
		if side.has("app") != "2" || b.state(app.install()) != installation.Installed || b.state(lib.install()) != installation.Installed {
			t.Errorf("lib %s, app %s", b.state(lib.install()), b.state(app.install()))
		}
		if n != 1 {
			t.Errorf("it said %d times that it waits", n)
		}
		legal(t, b)
	})
}

func TestV2_UpdatesThatNeedEachOtherFirstAreBlockedAndNotSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lib, app := file("lib", "2"), treeFile("app", "2")
		b := newBench(t, []simFile{lib}, "lib")
		b.withSide(t, []simFile{app}, "app")
		p := installs(app, lib)
		p.Install[0].Closure = []string{string(lib.release().ID())}
		p.Install[1].Closure = []string{string(app.release().ID())}
		b.s.set(p)
		b.start(t)
		b.pass(3 * time.Hour)
		for _, f := range []simFile{lib, app} {
			if r := b.s.last(f.install()); r.State != installation.Blocked || r.Cause != installation.Unresolvable || !strings.Contains(r.Detail, "need each other first") {
				t.Errorf("%s: %s %s %q", f.Name, r.State, r.Cause, r.Detail)
			}
			if n := len(b.s.history(f.install())); n > 2 {
				t.Errorf("%s was reported %d times", f.Name, n)
			}
		}
		legal(t, b)
	})
}

func TestAManagerThatDoesNotWorkDoesNotKeepTheOtherBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		deb, app := file("deb", "2"), treeFile("app", "2")
		for _, sideBusy := range []bool{false, true} {
			b := newBench(t, []simFile{deb}, "deb")
			side := b.withSide(t, []simFile{app}, "app")
			ill, well := b.m, side
			if sideBusy {
				ill, well = side, b.m
			}
			ill.busy = "somebody"
			b.s.set(installs(deb, app))
			b.start(t)
			b.pass(time.Minute)
			if len(well.world().Executions) != 1 || len(ill.world().Executions) != 0 {
				t.Errorf("side busy %v: %v and %v", sideBusy, well.world().Executions, ill.world().Executions)
			}
			ill.set(func() { ill.busy = "" })
			b.pass(10 * time.Minute)
			if len(ill.world().Executions) != 1 {
				t.Errorf("side busy %v: afterwards %v", sideBusy, ill.world().Executions)
			}
			legal(t, b)
			b.stop()
		}
	})
}

func TestV2_WhatThisAgentDoesNotUnderstandIsBlockedAloneAndTheRestGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		deb, odd, mixed := file("deb", "2"), file("odd", "2"), treeFile("mixed", "2")
		odd.Format = "flatpak"
		b := newBench(t, []simFile{deb}, "deb")
		b.withSide(t, []simFile{mixed}, "mixed")
		p := installs(deb, odd, mixed)
		p.Install[2].Items = append(p.Install[2].Items, file("mixed-lib", "2").Item)
		b.s.set(p)
		b.start(t)
		b.pass(6 * time.Hour)
		if b.state(deb.install()) != installation.Installed {
			t.Errorf("the one it understands is %s", b.state(deb.install()))
		}
		for f, cause := range map[string]installation.Cause{string(odd.release().ID()): installation.AgentTooOld, string(mixed.release().ID()): installation.UnknownData} {
			r := b.s.last(wire.PlanInstall{Update: catalog.UpdateID(f)})
			if r.State != installation.Blocked || r.Cause != cause {
				t.Errorf("%s %s; want blocked because of %s", r.State, r.Cause, cause)
			}
		}
		legal(t, b)
	})
}

func TestV2_ATreeThatNeedsAnotherNamesItWithItsOwnEcosystem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app, base := treeFile("app", "2"), treeFile("base", "3")
		app.Needs = []string{"base=3"}
		b := newBench(t, nil)
		b.withSide(t, []simFile{app, base}, "app")
		p := installs(app)
		p.Deny = []wire.PlanDeny{wall(base)}
		b.s.set(p)
		b.start(t)
		b.pass(time.Minute)
		r := b.s.last(app.install())
		if r.Cause != installation.DeclinedDependency || !slices.Equal(r.Needs, []string{"pkg:generic/feed.acme/base@3"}) {
			t.Errorf("%s needs %v", r.Cause, r.Needs)
		}
	})
}

func TestC7_ADeclineDuringTheInstallLetsItFinishAndThenTakesItOff(t *testing.T) {
	for name, back := range map[string]bool{"removal": false, "step back": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				old, app := file("app", "1"), file("app", "2")
				b := newBench(t, []simFile{old, app}, "app")
				running, finish := make(chan struct{}), make(chan struct{})
				b.m.duringApply = func() { close(running); <-finish }
				b.s.set(installs(app))
				b.start(t)
				<-running
				b.m.set(func() { b.m.duringApply = nil })
				p := wire.Plan{Deny: []wire.PlanDeny{wall(app)}, Remove: []wire.PlanRemove{app.removal(7)}}
				if back {
					p.Remove, p.Rollback = nil, []wire.PlanRollback{app.stepBack(7, old)}
				}
				b.s.set(p)
				b.pass(3 * time.Minute)
				if got := b.m.world().Executions; len(got) != 0 || b.m.world().Fenced == nil || len(b.m.world().Fenced.Deny) != 1 {
					t.Errorf("executed %v while the transaction was in the air, walls %v", got, b.m.world().Fenced)
				}
				close(finish)
				b.pass(time.Minute)
				want := []string{"app:amd64=2", "-app:amd64=2"}
				if back {
					want[1] = "app:amd64=1"
				}
				if diff := cmp.Diff(want, b.m.world().Executions); diff != "" {
					t.Errorf("executed (-want +got):\n%s", diff)
				}
				h := b.s.history(app.install())
				if i := slices.Index(h, installation.Installed); i < 0 || !slices.Equal(h[i:], []installation.State{installation.Installed, installation.Removing, installation.Removed}) {
					t.Errorf("history %v", h)
				}
				legal(t, b)
			})
		})
	}
}

func TestC7_ALiftedDeclineDuringTheRemovalLetsItFinishAndThenInstallsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app, other := treeFile("app", "2"), treeFile("other", "2")
		b := newBench(t, nil)
		side := b.withSide(t, []simFile{app, other})
		side.installed(app, other)
		running, finish := make(chan struct{}), make(chan struct{})
		side.duringApply = func() { close(running); <-finish }
		b.s.set(wire.Plan{Remove: []wire.PlanRemove{app.removal(7)}})
		b.start(t)
		<-running
		side.set(func() { side.duringApply = nil })
		p := installs(app)
		p.Remove = []wire.PlanRemove{other.removal(9)} // and another one is declined meanwhile
		b.s.set(p)
		b.pass(time.Minute)
		close(finish)
		b.pass(time.Minute)
		if diff := cmp.Diff([]string{"-app:amd64=2", "-other:amd64=2", "app:amd64=2"}, side.world().Executions); diff != "" {
			t.Errorf("executed (-want +got):\n%s", diff)
		}
		if b.state(app.install()) != installation.Installed || b.state(other.install()) != installation.Removed {
			t.Errorf("app %s, other %s", b.state(app.install()), b.state(other.install()))
		}
		legal(t, b)
	})
}

func TestC7_ADeclineThatReachesADeviceAfterAWeekIsCarriedOutAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, app, gone := file("app", "1"), file("app", "2"), treeFile("gone", "2")
		late := file("late", "2")
		late.Missing = true
		b := newBench(t, []simFile{old, app, late}, "app", "late")
		side := b.withSide(t, []simFile{gone}, "gone")
		b.s.expires = 7 * 24 * time.Hour
		b.s.set(installs(app, gone, late))
		b.start(t)
		b.pass(time.Minute)
		if b.m.has("app") != "2" || side.has("gone") != "2" {
			t.Fatal(b.s.story())
		}
		b.s.with(func() { b.s.fail = errors.New("no route to host") })
		b.pass(time.Hour)
		b.stop() // it is off for a week
		b.s.set(wire.Plan{Rollback: []wire.PlanRollback{app.stepBack(7, old)}, Remove: []wire.PlanRemove{gone.removal(8)}, Deny: []wire.PlanDeny{wall(app), wall(gone), wall(late)}})
		b.m.change(func(w *simWorld) { w.Pool[2].Missing = false })
		b.pass(7*24*time.Hour - 2*time.Hour)
		b.start(t) // the old plan holds for some minutes yet, and the server is not there
		b.pass(20 * time.Minute)
		if b.m.has("app") != "2" {
			t.Error("the device went back before it could know")
		}
		b.s.with(func() { b.s.fail = nil })
		b.pass(10 * time.Minute)
		if b.m.has("app") != "1" || side.has("gone") != "" || b.state(app.install()) != installation.Removed || b.state(gone.install()) != installation.Removed {
			t.Errorf("app %q %s, gone %q %s", b.m.has("app"), b.state(app.install()), side.has("gone"), b.state(gone.install()))
		}
		if f := b.m.world().Fenced; f == nil || len(f.Deny) != 2 {
			t.Errorf("walls of packages: %+v", f)
		}
		legal(t, b)
	})
}

// guarded refuses, as the guard does inside the package manager, what the walls keep out when a transaction begins.
type guarded struct{ *simManager }

func (g guarded) Apply(ctx context.Context, tx pkgmgr.Transaction, p func(pkgmgr.Progress)) (pkgmgr.Outcome, error) {
	if g.beforeApply != nil {
		g.beforeApply()
	}
	for _, d := range g.world().Fenced.Deny {
		for _, c := range tx.Changes {
			if slices.ContainsFunc(d.Items, func(it catalog.Item) bool {
				return c.Op != wire.OpRemove && it.Name == c.Name && it.Version == c.Version
			}) {
				return pkgmgr.Outcome{}, &pkgmgr.Refusal{Cause: installation.Declined, Detail: c.Name + " " + c.Version + " is declined"}
			}
		}
	}
	return g.simManager.Apply(ctx, tx, p)
}

// TestC1_AWayBackThatADeclineShutAtTheLastMomentDoesNotKeepTheNextOneShut: the version to go back to is declined while the
// transaction begins, so the guard refuses it; the same decline as before then asks for a removal, or for a step back after all.
func TestC1_AWayBackThatADeclineShutAtTheLastMomentDoesNotKeepTheNextOneShut(t *testing.T) {
	old, app := file("app", "1"), file("app", "2")
	back := []wire.PlanRollback{app.stepBack(7, old)}
	both := []wire.PlanDeny{wall(app), wall(old)}
	for name, c := range map[string]struct {
		meanwhile, next wire.Plan
		want            []string
	}{
		"it is removed":             {wire.Plan{Deny: both, Remove: []wire.PlanRemove{app.removal(7)}}, wire.Plan{Deny: both, Remove: []wire.PlanRemove{app.removal(7)}}, []string{"-app:amd64=2"}},
		"the decline is taken back": {wire.Plan{Deny: both, Rollback: back}, wire.Plan{Deny: both[:1], Rollback: back}, []string{"app:amd64=1"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, []simFile{old, app})
				b.m.installed(app)
				b.opt.Manager = guarded{b.m}
				refused := make(chan struct{})
				b.m.beforeApply = func() {
					b.m.set(func() { b.m.beforeApply = nil })
					b.s.set(c.meanwhile)
					time.Sleep(10 * time.Second) // the walls of the new plan are put up meanwhile
					close(refused)
				}
				b.s.set(wire.Plan{Deny: both[:1], Rollback: back})
				b.start(t)
				<-refused
				b.pass(time.Minute)
				b.s.set(c.next)
				b.pass(time.Minute)
				if diff := cmp.Diff(c.want, b.m.world().Executions); diff != "" {
					t.Errorf("executed (-want +got):\n%s\n%s", diff, b.s.story())
				}
				legal(t, b)
			})
		})
	}
}

func TestARemovalThatIsWithdrawnBeforeItCouldBeDoneLeavesItInstalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := file("app", "2")
		b := newBench(t, []simFile{app})
		b.m.installed(app)
		p := pausing{b.m, make(chan struct{}), make(chan struct{})}
		b.opt.Manager = removing{p}
		b.s.set(wire.Plan{Remove: []wire.PlanRemove{app.removal(7)}})
		b.start(t)
		<-p.here
		b.s.set(wire.Plan{})
		b.pass(time.Minute)
		close(p.goOn)
		b.pass(time.Minute)
		if b.m.has("app") != "2" || b.state(app.install()) != installation.Installed {
			t.Errorf("version %q, %s\n%s", b.m.has("app"), b.state(app.install()), b.s.story())
		}
		legal(t, b)
	})
}

// removing stops after a removal was found possible, before it is begun.
type removing struct{ pausing }

func (p removing) Simulate(ctx context.Context, want pkgmgr.Want) (pkgmgr.Transaction, error) {
	tx, err := p.simManager.Simulate(ctx, want)
	close(p.here)
	<-p.goOn
	return tx, err
}
