package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"assent/agent/internal/journal"
	"assent/catalog"
	"assent/installation"
	"assent/wire"
)

// bench is a device, its agent and its server in virtual time.
type bench struct {
	m    *simManager
	s    *simServer
	opt  Options
	a    *Agent
	stop func()
}

// newBench sets up a device with packages at version 1 and files in its repository; the agent is not started yet.
func newBench(t *testing.T, files []simFile, names ...string) *bench {
	t.Helper()
	w := deviceWith("1", names...)
	w.Pool = files
	b := &bench{m: newSim(t, w), s: newServer(t)}
	b.opt = options(t, b.s, b.m)
	return b
}

func (b *bench) start(t *testing.T) {
	t.Helper()
	b.a, b.stop = start(t, b.opt)
}

// pass lets virtual time go by.
func (b *bench) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (b *bench) executed() []string {
	e := b.m.world().Executions
	slices.Sort(e)
	return e
}

func (b *bench) state(in wire.PlanInstall) installation.State {
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	return b.s.states[string(in.Update)]
}

func (b *bench) progress() wire.Progress {
	b.a.mu.Lock()
	defer b.a.mu.Unlock()
	return b.a.progress
}

func installs(files ...simFile) wire.Plan {
	var p wire.Plan
	for _, f := range files {
		p.Install = append(p.Install, f.install())
	}
	return p
}

func TestV2_OneUpdateAtFaultDoesNotKeepTheOthersBackAndSaysWhatItNeeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var files []simFile
		var names []string
		for i := range 20 {
			f := file(fmt.Sprintf("pkg%02d", i), "2")
			files, names = append(files, f), append(names, f.Name)
		}
		outside := file("newlib", "7")
		files[3].Needs = []string{"newlib=7"}
		swapped := files[11] // the repository now has another content under the approved name
		swapped.SHA256 = wire.Digest([]byte("swapped"))
		files[17].Removes = "pkg00"
		pool := append(slices.Clone(files), outside)
		pool[11] = swapped
		b := newBench(t, pool, names...)
		b.s.set(installs(files...))
		b.start(t)
		b.pass(time.Minute)

		if n := len(b.executed()); n != 17 {
			t.Errorf("%d installs; want 17 of 20", n)
		}
		for i, cause := range map[int]installation.Cause{3: installation.UnapprovedDependency, 11: installation.DigestMismatch, 17: installation.RemovalNeeded} {
			r := b.s.last(files[i].install())
			if r.State != installation.Blocked || r.Cause != cause || r.Detail == "" {
				t.Errorf("%s: %s because of %s (%s); want blocked because of %s", files[i].Name, r.State, r.Cause, r.Detail, cause)
			}
		}
		if got, want := b.s.last(files[3].install()).Needs, []string{outside.release().PURL()}; !slices.Equal(got, want) {
			t.Errorf("needs %v; want %v", got, want)
		}
		if n := b.m.simulations; n > 40 {
			t.Errorf("%d simulations to find 3 of 20", n)
		}
		before := b.m.simulations
		b.pass(30 * time.Minute)
		if b.m.simulations != before {
			t.Errorf("%d more simulations although nothing changed", b.m.simulations-before)
		}
		b.s.set(installs(append(files, outside)...)) // it is approved
		b.pass(time.Minute)
		if b.state(files[3].install()) != installation.Installed {
			t.Errorf("with its dependency approved it is %s", b.state(files[3].install()))
		}
	})
}

func TestV2_DependencyThatIsDeclinedIsItsOwnCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app, lib := file("app", "2"), file("lib", "2")
		app.Needs = []string{"lib=2"}
		b := newBench(t, []simFile{app, lib}, "app", "lib")
		p := installs(app)
		p.Deny = []wire.PlanDeny{{Update: lib.release().ID(), Software: lib.release().Software, Version: "2", Items: []catalog.Item{lib.Item}, Reason: "broken", By: "ann"}}
		b.s.set(p)
		b.start(t)
		b.pass(time.Minute)
		if r := b.s.last(app.install()); r.State != installation.Blocked || r.Cause != installation.DeclinedDependency {
			t.Errorf("%s because of %s", r.State, r.Cause)
		}
		if len(b.executed()) != 0 {
			t.Errorf("executed %v", b.executed())
		}
	})
}

func TestApprovedNewDependencyComesInAsAnExtraAndIsInTheProof(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app, dep := file("app", "2"), file("dep", "5")
		app.Needs = []string{"dep=5"}
		b := newBench(t, []simFile{app, dep}, "app")
		in := app.install()
		in.Extras = []catalog.Item{dep.Item}
		b.s.set(wire.Plan{Install: []wire.PlanInstall{in}})
		b.start(t)
		b.pass(time.Minute)
		want := []wire.ProofItem{{Name: "app", Arch: "amd64", Version: "2", Status: "ii", Previous: "1", SHA256: app.SHA256},
			{Name: "dep", Arch: "amd64", Version: "5", Status: "ii", SHA256: dep.SHA256, Extra: true}}
		if diff := cmp.Diff(want, b.s.last(in).Proof.Items); diff != "" {
			t.Errorf("proof (-want +got):\n%s", diff)
		}
	})
}

func TestV3_FailedInstallIsRetriedAtItsTimesAndThenNoMoreUntilThePlanChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad, good := file("bad", "2"), file("good", "2")
		bad.Fails = true
		b := newBench(t, []simFile{bad, good}, "bad", "good")
		b.s.set(installs(bad, good))
		b.start(t)
		attempts := func() int {
			n := 0
			for _, e := range b.m.world().Executions {
				if strings.HasPrefix(e, "bad:") {
					n++
				}
			}
			return n
		}
		// A broken package stays broken here; put it back so that each attempt starts afresh.
		heal := func() {
			b.m.change(func(w *simWorld) {
				w.Installed["bad:amd64"] = simPackage{Version: "1", Status: "ii", Source: "bad", SrcVer: "1"}
			})
		}
		for i, after := range []time.Duration{50 * time.Second, time.Minute, 10 * time.Minute, time.Hour} {
			b.pass(after)
			if attempts() != i+1 {
				t.Fatalf("%d attempts after %d waits; want %d", attempts(), i, i+1)
			}
			heal()
		}
		if r := b.s.last(bad.install()); r.State != installation.Failed || r.Cause != installation.InstallFailed || !strings.Contains(r.Detail, "the last") || !strings.Contains(r.Detail, "post-installation script") {
			t.Errorf("%s %s %q", r.State, r.Cause, r.Detail)
		}
		b.pass(48 * time.Hour)
		if attempts() != 4 {
			t.Errorf("%d attempts; want no more than 4 under one plan", attempts())
		}
		if b.state(good.install()) != installation.Installed {
			t.Errorf("the other update of the transaction is %s", b.state(good.install()))
		}
		p := installs(bad, good)
		p.Verdicts = []wire.PlanVerdict{{Update: "x"}}
		b.s.set(p)
		b.pass(time.Minute)
		if attempts() != 5 {
			t.Errorf("%d attempts after a new plan; want 5", attempts())
		}
		if len(b.s.illegal) > 0 {
			t.Errorf("transitions outside the table: %v", b.s.illegal)
		}
	})
}

func TestUpdateThatCannotBeFetchedFailsAloneAndIsRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone, good := file("gone", "2"), file("good", "2")
		gone.Missing = true
		b := newBench(t, []simFile{gone, good}, "gone", "good")
		b.s.set(installs(gone, good))
		b.start(t)
		b.pass(30 * time.Second)
		if r := b.s.last(gone.install()); r.State != installation.Failed || r.Cause != installation.ContentUnavailable {
			t.Errorf("%s %s", r.State, r.Cause)
		}
		if b.state(good.install()) != installation.Installed {
			t.Errorf("the other one is %s", b.state(good.install()))
		}
		b.m.change(func(w *simWorld) { w.Pool[0].Missing = false })
		b.pass(2 * time.Minute)
		if b.state(gone.install()) != installation.Installed {
			t.Errorf("after the repository healed it is %s", b.state(gone.install()))
		}
	})
}

func TestV4_UpdateThatSomebodyElseInstalledIsReportedAsSuchAndNotInstalledAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := file("app", "2")
		b := newBench(t, []simFile{app}, "app")
		b.m.change(func(w *simWorld) {
			w.Installed["app:amd64"] = simPackage{Version: "2", Status: "ii", Source: "app", SrcVer: "2", How: "unattended-upgrades"}
		})
		b.s.set(installs(app))
		b.start(t)
		b.pass(time.Minute)
		r := b.s.last(app.install())
		if r.State != installation.Installed || r.Detail != "already there: unattended-upgrades" || r.Proof == nil || r.Proof.Transaction != "" {
			t.Errorf("%s %q %+v", r.State, r.Detail, r.Proof)
		}
		if len(b.executed()) != 0 {
			t.Errorf("executed %v", b.executed())
		}
		b.pass(24 * time.Hour)
		if n := len(b.s.history(app.install())); n != 1 {
			t.Errorf("reported %d times", n)
		}
	})
}

func TestC7_DeclineWhileTheTransactionRunsLetsItFinishAndThenApplies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := file("app", "2")
		b := newBench(t, []simFile{app}, "app")
		running, finish := make(chan struct{}), make(chan struct{})
		b.m.duringApply = func() { close(running); <-finish }
		b.s.set(installs(app))
		b.start(t)
		<-running
		b.s.set(wire.Plan{Deny: []wire.PlanDeny{{Update: app.release().ID(), Software: app.release().Software, Version: "2", Items: []catalog.Item{app.Item}}}})
		b.pass(3 * time.Minute)
		if f := b.m.world().Fenced; f == nil || len(f.Deny) != 1 {
			t.Error("the wall did not wait for nothing: it has to stand at once")
		}
		close(finish)
		b.pass(time.Minute)
		if got := b.executed(); !slices.Equal(got, []string{"app:amd64=2"}) {
			t.Errorf("executed %v; a running transaction must be let finish", got)
		}
		if !slices.Contains(b.s.history(app.install()), installation.Installed) {
			t.Errorf("history %v; what happened has to be said", b.s.history(app.install()))
		}
	})
}

func TestN58_DeclineWhileDownloadingCancelsAtOnceAndNothingIsInstalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app, other := file("app", "2"), file("other", "2")
		b := newBench(t, []simFile{app, other}, "app", "other")
		hangs := true
		b.m.beforeFetch = func(ctx context.Context) error {
			if !hangs {
				return nil
			}
			<-ctx.Done()
			hangs = false
			return ctx.Err()
		}
		b.s.set(installs(app, other))
		b.start(t)
		b.pass(30 * time.Second)
		if b.state(app.install()) != installation.Downloading {
			t.Fatalf("app is %s; want downloading", b.state(app.install()))
		}
		b.s.set(installs(other))
		b.pass(10 * time.Second)
		if got := b.executed(); !slices.Equal(got, []string{"other:amd64=2"}) {
			t.Errorf("executed %v", got)
		}
		if r := b.s.last(app.install()); r.State != installation.Applicable {
			t.Errorf("the declined one is %s", r.State)
		}
	})
}

func TestI2_DeclineBetweenDownloadAndInstallStopsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := file("app", "2")
		b := newBench(t, []simFile{app}, "app")
		fetched, goOn := make(chan struct{}), make(chan struct{})
		b.m.beforeFetch = func(context.Context) error {
			close(fetched)
			<-goOn
			return nil // a download that does not listen to its cancelling
		}
		b.s.set(installs(app))
		b.start(t)
		<-fetched
		b.s.set(wire.Plan{})
		b.pass(3 * time.Minute)
		close(goOn)
		b.pass(time.Minute)
		if got := b.executed(); len(got) != 0 {
			t.Errorf("executed %v after the decline was acknowledged", got)
		}
	})
}

// pausing stops before the previous versions are noted: after the download, before the transaction.
type pausing struct {
	*simManager
	here, goOn chan struct{}
}

func (p pausing) Remember(ctx context.Context, update catalog.UpdateID, changes []wire.Change) error {
	close(p.here)
	<-p.goOn
	return p.simManager.Remember(ctx, update, changes)
}

func TestI2_DeclineAtTheLastMomentBeforeTheTransactionStopsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := file("app", "2")
		b := newBench(t, []simFile{app}, "app")
		p := pausing{b.m, make(chan struct{}), make(chan struct{})}
		b.opt.Manager = p
		b.s.set(installs(app))
		b.start(t)
		<-p.here
		b.s.set(wire.Plan{})
		b.pass(3 * time.Minute)
		close(p.goOn)
		b.pass(time.Minute)
		if got := b.executed(); len(got) != 0 {
			t.Errorf("executed %v after the decline was acknowledged", got)
		}
		if b.state(app.install()) != installation.Applicable {
			t.Errorf("it is %s", b.state(app.install()))
		}
	})
}

func TestTransactionThatWasFiledButNotStartedCountsAsNoAttempt(t *testing.T) {
	b := newBench(t, nil, "app")
	a, err := New(b.opt)
	if err != nil {
		t.Fatal(err)
	}
	in := file("app", "2").install()
	f := journal.Flight{ID: "f", Parts: []journal.Part{{Update: in.Update, Items: in.Items}}}
	rec := journal.Record{Flight: &f, Reports: []wire.Report{a.report(in.Update, installation.Installing, "", "")}, Tries: map[catalog.UpdateID]journal.Try{in.Update: {Plan: "p", Count: 2, Next: time.Now()}}}
	if err := errors.Join(a.journal.Write(rec), a.abandon(f)); err != nil {
		t.Fatal(err)
	}
	if e := a.journal.Entry(in.Update); a.journal.Flight() != nil || e.State != installation.Applicable || e.Try.Count != 1 || !e.Try.Next.IsZero() {
		t.Errorf("flight %v, entry %+v", a.journal.Flight(), e)
	}
}

func TestI2_NewerStatementWhosePlanCannotBeFetchedHoldsTheOldPlan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad := file("bad", "2")
		bad.Missing = true
		b := newBench(t, []simFile{bad}, "bad")
		b.s.set(installs(bad))
		b.start(t)
		b.pass(30 * time.Second) // failed; its retry is due in a minute
		b.s.mu.Lock()
		b.s.raw = []byte("not the plan that was signed")
		b.s.mu.Unlock()
		b.m.change(func(w *simWorld) { w.Pool[0].Missing = false })
		b.s.set(wire.Plan{})
		b.pass(time.Hour)
		if got := b.executed(); len(got) != 0 {
			t.Errorf("executed %v although a newer decision was known", got)
		}
		if e := b.progress().Error; !strings.Contains(e, "plan_digest") {
			t.Errorf("error %q", e)
		}
	})
}

func TestC3_RollbackBringsTheRecordedVersionsBackOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, now := file("app", "1"), file("app", "2")
		b := newBench(t, []simFile{old, now}, "app")
		b.m.change(func(w *simWorld) {
			w.Installed["app:amd64"] = simPackage{Version: "2", Status: "ii", Source: "app", SrcVer: "2", How: "assent"}
		})
		rb := wire.PlanRollback{Act: 9, Update: now.release().ID(), Items: []wire.RestoreItem{{Update: now.release().ID(), Name: "app", Arch: "amd64", Version: "1", Current: "2", SHA256: old.SHA256, Size: old.Size, From: "repository"}}}
		b.s.set(wire.Plan{Rollback: []wire.PlanRollback{rb}})
		b.start(t)
		b.pass(time.Minute)
		if got := b.executed(); !slices.Equal(got, []string{"app:amd64=1"}) {
			t.Errorf("executed %v", got)
		}
		want := []installation.State{installation.Removing, installation.Removed}
		if diff := cmp.Diff(want, b.s.history(now.install())); diff != "" {
			t.Errorf("states (-want +got):\n%s", diff)
		}
		// Somebody installs it by hand again: the act was carried out, it is not a standing order.
		b.m.change(func(w *simWorld) {
			w.Installed["app:amd64"] = simPackage{Version: "2", Status: "ii", Source: "app", SrcVer: "2", How: "by hand"}
		})
		b.pass(3 * time.Hour)
		if n := len(b.executed()); n != 1 {
			t.Errorf("%d executions of one act", n)
		}
		if len(b.s.illegal) > 0 {
			t.Errorf("transitions outside the table: %v", b.s.illegal)
		}
	})
}

func TestRollbackThatFailsSaysSoAndIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, now := file("app", "1"), file("app", "2")
		old.Missing = true
		b := newBench(t, []simFile{old, now}, "app")
		b.m.change(func(w *simWorld) {
			w.Installed["app:amd64"] = simPackage{Version: "2", Status: "ii", Source: "app", SrcVer: "2"}
		})
		b.s.set(wire.Plan{Rollback: []wire.PlanRollback{{Act: 9, Update: now.release().ID(), Items: []wire.RestoreItem{{Name: "app", Arch: "amd64", Version: "1", SHA256: old.SHA256}}}}})
		b.start(t)
		b.pass(20 * time.Hour)
		failed := 0
		for _, s := range b.s.history(now.install()) {
			if s == installation.RemoveFailed {
				failed++
			}
		}
		if failed != 4 || b.state(now.install()) != installation.RemoveFailed {
			t.Errorf("failed %d times, is %s; want 4 and remove_failed", failed, b.state(now.install()))
		}
	})
}

func TestT5_RestartThatIsAskedForIsReportedAndEndsWithTheNextBoot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		libc := file("libc6", "2")
		libc.Restart = true
		b := newBench(t, []simFile{libc}, "libc6")
		b.s.set(installs(libc))
		b.start(t)
		b.pass(time.Minute)
		if r := b.s.last(libc.install()); r.State != installation.RestartRequired || !slices.Equal(r.Proof.Restart, []string{"libc6"}) {
			t.Fatalf("%s %+v", r.State, r.Proof)
		}
		b.pass(2 * time.Hour)
		if b.state(libc.install()) != installation.RestartRequired {
			t.Fatalf("without a restart it became %s", b.state(libc.install()))
		}
		b.stop()
		b.opt.Device = simDevice{"boot-2"}
		b.start(t)
		b.pass(time.Minute)
		if b.state(libc.install()) != installation.Installed {
			t.Errorf("after the restart it is %s", b.state(libc.install()))
		}
		if len(b.executed()) != 1 || len(b.s.illegal) > 0 {
			t.Errorf("executed %v, illegal %v", b.executed(), b.s.illegal)
		}
	})
}

func TestN52_BusyPackageManagerIsWaitedForAndReportedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := file("app", "2")
		b := newBench(t, []simFile{app}, "app")
		b.m.busy = "apt-get (pid 7)"
		b.s.set(installs(app))
		b.start(t)
		b.pass(time.Hour)
		if got, want := b.s.history(app.install()), []installation.State{installation.Assigned, installation.Blocked}; !slices.Equal(got, want) {
			t.Errorf("history %v; want %v", got, want)
		}
		if n := b.m.simulations; n > 60 {
			t.Errorf("%d simulations in an hour of waiting", n)
		}
		b.m.set(func() { b.m.busy = "" })
		b.pass(6 * time.Minute)
		if b.state(app.install()) != installation.Installed {
			t.Errorf("after the lock was free it is %s", b.state(app.install()))
		}
	})
}

func TestWithoutItsWallsAPlanIsNotActedUpon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := file("app", "2")
		b := newBench(t, []simFile{app}, "app")
		b.m.fenceErr = errors.New("read-only file system")
		b.s.set(installs(app))
		b.start(t)
		b.pass(10 * time.Minute)
		if len(b.executed()) != 0 || !strings.Contains(b.progress().Error, "read-only") {
			t.Errorf("executed %v, error %q", b.executed(), b.progress().Error)
		}
		b.m.set(func() { b.m.fenceErr = nil })
		b.pass(10 * time.Minute)
		if len(b.executed()) != 1 || b.progress().Error != "" {
			t.Errorf("executed %v, error %q", b.executed(), b.progress().Error)
		}
	})
}

func TestConffileThatWasKeptIsInTheProofAndAnEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := file("app", "2")
		app.Conffile = "/etc/app.conf"
		b := newBench(t, []simFile{app}, "app")
		b.s.set(installs(app))
		b.start(t)
		b.pass(time.Minute)
		if p := b.s.last(app.install()).Proof; !slices.Equal(p.Conffiles, []string{"/etc/app.conf"}) {
			t.Errorf("proof %+v", p)
		}
		if !strings.Contains(b.s.story(), "conffile_kept") {
			t.Errorf("no event in\n%s", b.s.story())
		}
	})
}
