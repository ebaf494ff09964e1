package agent

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"assent/agent/internal/pkgmgr"
	"assent/catalog"
	"assent/installation"
	"assent/wire"
)

// ahead looks ahead on a simulated device.
type ahead struct {
	full     func(pkgmgr.Transaction) bool // whether there is no room
	gone     []string                      // packages whose file vanished
	changed  map[string]string             // configuration files that were changed, by package
	seen     int
	meantime func(context.Context) error // while it looks
}

func (f *ahead) Room(tx pkgmgr.Transaction) error {
	if f.full != nil && f.full(tx) {
		return &pkgmgr.Refusal{Cause: installation.NoSpace, Detail: "The file system of /usr is too small."}
	}
	return nil
}

func (f *ahead) Foresee(ctx context.Context, tx pkgmgr.Transaction) (out pkgmgr.Foresight, err error) {
	f.seen++
	if f.meantime != nil {
		if err := f.meantime(ctx); err != nil {
			return out, err
		}
	}
	for _, c := range tx.Changes {
		if slices.Contains(f.gone, c.Name) {
			out.Gone = append(out.Gone, pkgmgr.Refusal{Cause: installation.ContentUnavailable, Detail: c.Name + " is not there any more.", Changes: []wire.Change{c}})
		}
		if path := f.changed[c.Name]; path != "" {
			out.Kept = append(out.Kept, pkgmgr.Kept{Name: c.Name, Arch: c.Arch, Path: path})
		}
	}
	return out, nil
}

// rehearsing sets up a device that rehearses what changed after five minutes and its share.
func rehearsing(t *testing.T, files []simFile, names ...string) (*bench, *ahead) {
	b, f := newBench(t, files, names...), &ahead{}
	b.opt.Timing.Settle, b.opt.Foresee = 5*time.Minute, f
	return b, f
}

// rehearsal is what the server heard last; it must have heard something.
func (b *bench) rehearsal(t *testing.T) wire.Rehearsal {
	t.Helper()
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	if len(b.s.rehearsals) == 0 {
		t.Fatal("the server heard of no rehearsal")
	}
	return b.s.rehearsals[len(b.s.rehearsals)-1]
}

func (b *bench) rehearsals() int {
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	return len(b.s.rehearsals)
}

// causes are why updates would fail, by name; empty: they would install.
func causes(r wire.Rehearsal, of ...simFile) map[string]installation.Cause {
	out := map[string]installation.Cause{}
	for _, f := range of {
		for _, u := range r.Updates {
			if u.Update == f.release().ID() {
				out[f.Name] = u.Cause
			}
		}
	}
	return out
}

func TestRehearsal_FindsBeforeTheWindowWhatWouldFailAndChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		good, big, gone, needy, conf := file("good", "2"), file("big", "2"), file("gone", "2"), file("needy", "2"), file("conf", "2")
		b, f := rehearsing(t, []simFile{good, big, gone, needy, conf, file("extra", "1")}, "good", "big", "gone", "needy", "conf")
		b.s.set(on(installs(good, big, gone, needy, conf), wire.PlanTerms{Task: "nights"}, schedule(t, nightly(time.Hour))))
		b.start(t)
		b.pass(time.Minute)
		f.full = func(tx pkgmgr.Transaction) bool {
			return slices.ContainsFunc(tx.Changes, func(c wire.Change) bool { return c.Name == "big" })
		}
		f.gone, f.changed = []string{"gone"}, map[string]string{"conf": "/etc/conf"}
		b.m.change(func(w *simWorld) { // the archive changed since the plan was made
			i := slices.IndexFunc(w.Pool, func(f simFile) bool { return f.Name == "needy" })
			w.Pool[i].Needs = []string{"extra=1"}
		})
		before, cached := b.m.world().Installed, len(b.m.world().Cached)
		b.pass(45 * time.Minute)
		r := b.rehearsal(t)
		want := map[string]installation.Cause{"good": "", "big": installation.NoSpace, "gone": installation.ContentUnavailable, "needy": installation.UnapprovedDependency, "conf": ""}
		if diff := cmp.Diff(want, causes(r, good, big, gone, needy, conf)); diff != "" {
			t.Errorf("would become of it (-want +got):\n%s", diff)
		}
		for _, u := range r.Updates {
			if !u.Opens.Equal(at("2000-01-01T02:00")) {
				t.Errorf("%s opens at %v", u.Update, u.Opens)
			}
			if u.Update == conf.release().ID() && !slices.Equal(u.Kept, []string{"/etc/conf"}) {
				t.Errorf("keeps %q", u.Kept)
			}
			if u.Update == needy.release().ID() && (len(u.Needs) != 1 || !strings.Contains(u.Needs[0], "extra@1")) {
				t.Errorf("needs %q", u.Needs)
			}
		}
		if w := b.m.world(); !cmp.Equal(before, w.Installed) || len(w.Cached) != cached || len(w.Executions) > 0 || w.Air != nil {
			t.Errorf("the rehearsal changed the device: %v cached %v", cmp.Diff(before, w.Installed), w.Cached)
		}
		if s := b.state(good.install()); s != installation.Blocked {
			t.Errorf("a state changed by it: %s", s)
		}
		legal(t, b)
	})
}

func TestRehearsal_OfARingThatIsNotOpenFindsWhatTheVerdictDoesNotSay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		easy, needy := file("easy", "2"), file("needy", "2")
		needy.Needs = []string{"extra=1"}
		b, _ := rehearsing(t, []simFile{easy, needy, file("extra", "1")}, "easy", "needy")
		var p wire.Plan
		for _, f := range []simFile{easy, needy} {
			p.Verdicts = append(p.Verdicts, wire.PlanVerdict{Update: f.release().ID(), Release: f.release(), Verdict: "hold", Cause: string(installation.RingNotOpen)})
			p.Allow = append(p.Allow, wire.PlanAllow{Update: f.release().ID(), Items: []catalog.Item{f.Item}})
		}
		b.s.set(p)
		b.start(t)
		b.pass(45 * time.Minute)
		r := b.rehearsal(t)
		if diff := cmp.Diff(map[string]installation.Cause{"easy": "", "needy": installation.UnapprovedDependency}, causes(r, easy, needy)); diff != "" {
			t.Error(diff)
		}
		if !r.Updates[0].Ring || !r.Updates[1].Ring || len(b.executed()) > 0 {
			t.Errorf("%+v, executed %v", r.Updates, b.executed())
		}
		p.Allow[0].Items[0].SHA256 = strings.Repeat("f", 64) // not what the archive has
		b.s.set(p)
		b.pass(45 * time.Minute)
		if diff := cmp.Diff(map[string]installation.Cause{"easy": installation.DigestMismatch, "needy": installation.UnapprovedDependency}, causes(b.rehearsal(t), easy, needy)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestRehearsal_IsMadeOnceForEachPlanAndInventoryAndAgainShortlyBeforeTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := file("app", "2")
		b, f := rehearsing(t, []simFile{app}, "app")
		weekly := nightly(time.Hour)
		weekly.Rule = "FREQ=WEEKLY;BYDAY=WE" // 2000-01-05; it begins on Saturday the first
		b.s.set(on(installs(app), wire.PlanTerms{Task: "nights"}, schedule(t, weekly)))
		b.start(t)
		b.pass(40 * time.Minute)
		if f.seen != 1 || b.rehearsals() != 1 {
			t.Fatalf("after the plan came: %d rehearsals, %d told", f.seen, b.rehearsals())
		}
		b.pass(48 * time.Hour)
		if f.seen != 1 {
			t.Errorf("%d rehearsals though nothing changed and the window is far", f.seen)
		}
		time.Sleep(time.Until(at("2000-01-05T02:00")))
		synctest.Wait()
		r := b.rehearsal(t)
		if before := at("2000-01-05T02:00").Sub(r.At); b.rehearsals() != 2 || before < 2*time.Hour-time.Minute || before > 6*time.Hour+10*time.Minute {
			t.Errorf("%d rehearsals, the last %s before the window", b.rehearsals(), before)
		}
		b.pass(26 * time.Hour)
		if b.state(app.install()) != installation.Installed || len(b.rehearsal(t).Updates) != 0 {
			t.Errorf("%s, rehearsed %+v", b.state(app.install()), b.rehearsal(t).Updates)
		}
	})
}

func TestRehearsal_OnDemandIsMadeAtOnceAndToldWhateverItFinds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := rehearsing(t, nil, "app")
		b.s.set(wire.Plan{})
		b.start(t)
		b.pass(time.Hour)
		if n := b.rehearsals(); n != 0 {
			t.Fatalf("%d rehearsals of nothing", n)
		}
		b.s.with(func() { b.s.rehearse = true })
		b.pass(5 * time.Second)
		if r := b.rehearsal(t); len(r.Updates) != 0 || len(r.Plan) != 64 || len(r.Inventory) != 64 {
			t.Errorf("%+v", r)
		}
	})
}

func TestRehearsal_GivesWayToATransactionAndIsMadeAfterIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app, now := file("app", "2"), file("now", "2")
		b, f := rehearsing(t, []simFile{app, now}, "app", "now")
		b.s.set(on(installs(app), wire.PlanTerms{Task: "nights"}, schedule(t, nightly(time.Hour))))
		cut, waited := 0, time.Duration(0)
		f.meantime = func(ctx context.Context) error {
			if cut == 0 {
				cut++
				p := on(installs(app), wire.PlanTerms{Task: "nights"}, schedule(t, nightly(time.Hour)))
				p.Install = append(p.Install, now.install())
				b.s.set(p)
				since := time.Now()
				<-ctx.Done() // it never ends by itself
				waited = time.Since(since)
				return ctx.Err()
			}
			return nil
		}
		b.start(t)
		b.pass(45 * time.Minute)
		if waited > time.Minute {
			t.Errorf("the transaction had begun, and the rehearsal went on for %s", waited)
		}
		if cut != 1 || b.state(now.install()) != installation.Installed {
			t.Fatalf("cut off %d times; the install that came meanwhile is %s", cut, b.state(now.install()))
		}
		b.pass(45 * time.Minute)
		if diff := cmp.Diff(map[string]installation.Cause{"app": ""}, causes(b.rehearsal(t), app, now)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestRehearsal_AServerThatTakesNoneIsLeftAloneForADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := file("app", "2")
		b, f := rehearsing(t, []simFile{app}, "app")
		b.s.deaf = true
		weekly := nightly(time.Hour)
		weekly.Rule = "FREQ=WEEKLY;BYDAY=WE"
		plan := func(task string) wire.Plan {
			return on(installs(app), wire.PlanTerms{Task: task}, schedule(t, weekly))
		}
		b.s.set(plan("one"))
		b.start(t)
		b.pass(time.Hour)
		b.s.set(plan("two"))
		b.pass(time.Hour)
		if f.seen != 1 {
			t.Errorf("%d rehearsals for a server that takes none", f.seen)
		}
		b.s.with(func() { b.s.deaf = false })
		b.pass(24 * time.Hour)
		if f.seen != 2 || b.rehearsals() != 1 {
			t.Errorf("a day later: %d rehearsals, %d told", f.seen, b.rehearsals())
		}
	})
}

func TestRehearsal_SurvivesARestartAndIsNotMadeTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := file("app", "2")
		b, f := rehearsing(t, []simFile{app}, "app")
		weekly := nightly(time.Hour)
		weekly.Rule = "FREQ=WEEKLY;BYDAY=WE"
		b.s.set(on(installs(app), wire.PlanTerms{Task: "nights"}, schedule(t, weekly)))
		b.start(t)
		b.pass(time.Hour)
		b.stop()
		b.start(t)
		b.pass(6 * time.Hour)
		if f.seen != 1 || b.rehearsals() != 1 {
			t.Errorf("%d rehearsals, %d told", f.seen, b.rehearsals())
		}
		if r, err := readRehearsal(b.opt.Dir); err != nil || !r.Sent || tally(r.Last) != "1 would install, 0 would not" {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

func TestRehearsal_WhatIsNotTriedAgainAndWhatNeverOpensWouldNotInstall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad, never := file("bad", "2"), file("never", "2")
		bad.Fails = true
		b, _ := rehearsing(t, []simFile{bad, never}, "bad", "never")
		p := on(installs(never), wire.PlanTerms{Task: "odd"}, json.RawMessage(`{"unreadable":true}`))
		p.Install = append(p.Install, bad.install())
		b.s.set(p)
		b.start(t)
		b.pass(3 * time.Hour) // all attempts
		b.s.with(func() { b.s.rehearse = true })
		b.pass(5 * time.Second)
		got := causes(b.rehearsal(t), bad, never)
		if got["never"] != installation.WindowClosed {
			t.Errorf("what never opens: %q", got["never"])
		}
		if c, listed := got["bad"]; listed && c == "" {
			t.Error("what failed for the last time is said to install")
		}
	})
}

func TestRehearsalDue_IsSpreadOverTheFleetAndAlwaysWithinADayBeforeTheWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		start := at("2000-01-01T00:00")
		draw := func(name string, most time.Duration) time.Duration {
			return time.Duration(rapid.Int64Range(0, int64(most)).Draw(t, name))
		}
		o := occasion{now: start, share: rapid.Float64Range(0, 0.999999).Draw(t, "share"), settle: 5 * time.Minute, changed: start}
		if d := o.due().Sub(start); d < 5*time.Minute || d > 30*time.Minute {
			t.Fatalf("what changed is rehearsed after %s", d)
		}
		o.last = start
		if d := o.due(); d.Sub(start) < rehearsePause || d.Sub(start) > 36*time.Hour+rehearseNight || d.Hour() >= 5 {
			t.Fatalf("without a window: %v", d)
		}
		o.opens = start.Add(draw("opens", 30*24*time.Hour))
		d := o.due()
		if within := o.opens.Sub(start) <= rehearseAge; within && d.Before(o.opens) {
			t.Fatalf("rehearsed %s ago, and again before the window", o.opens.Sub(start))
		} else if !within && (o.opens.Sub(d) > rehearseAge || o.opens.Sub(d) < rehearseLead) {
			t.Fatalf("%s before the window", o.opens.Sub(d))
		}
	})
	var low, high int
	for i := range 1000 {
		if s := shareOf(string(rune('a'+i%26)) + string(rune('0'+i))); s < 0.5 {
			low++
		} else {
			high++
		}
	}
	if low < 400 || high < 400 {
		t.Errorf("devices are not spread: %d and %d", low, high)
	}
}
