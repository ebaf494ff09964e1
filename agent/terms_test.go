package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"assent/agent/internal/journal"
	"assent/catalog"
	"assent/installation"
	"assent/window"
	"assent/wire"
)

// nightly is open every night from 02:00 for so long.
func nightly(length time.Duration) window.Schedule {
	return window.Schedule{Rule: "FREQ=DAILY", Start: "2000-01-01T02:00", Length: window.Duration(length)}
}

// on puts all installs of a plan on terms.
func on(p wire.Plan, t wire.PlanTerms, schedules ...json.RawMessage) wire.Plan {
	t.Schedules = append(t.Schedules, schedules...)
	p.Terms = append(p.Terms, t)
	for i := range p.Install {
		p.Install[i].Terms = len(p.Terms)
	}
	return p
}

// starts notes when transactions begin.
func (b *bench) starts() *[]time.Time {
	var at []time.Time
	b.m.applied = func([]wire.Change) { at = append(at, b.opt.Now()) }
	return &at
}

// offset lets the device's clock run beside the true time.
func (b *bench) offset() *atomic.Int64 {
	var by atomic.Int64
	b.opt.Now = func() time.Time { return time.Now().Add(time.Duration(by.Load())) }
	return &by
}

// zoned is a device in a time zone.
type zoned struct {
	simDevice
	zone *atomic.Value
}

func (d zoned) Facts() wire.Facts {
	f := d.simDevice.Facts()
	f.TimeZone = d.zone.Load().(string)
	return f
}

func inZone(name string) zoned {
	d := zoned{simDevice{"boot-1"}, new(atomic.Value)}
	d.zone.Store(name)
	return d
}

func at(text string) time.Time {
	t, err := time.Parse("2006-01-02T15:04", text)
	if err != nil {
		panic(err)
	}
	return t
}

// soonAfter reports whether a moment is at most a second after another.
func soonAfter(got, want time.Time) bool { return !got.Before(want) && got.Sub(want) <= time.Second }

func TestT4_AnInstallIsDownloadedAtOnceAndBeginsExactlyWhenItsWindowOpensWithoutTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := file("app", "2")
		b := newBench(t, []simFile{app}, "app")
		at0 := b.starts()
		b.s.set(on(installs(app), wire.PlanTerms{Task: "nights"}, schedule(t, nightly(time.Hour))))
		b.start(t)
		b.pass(time.Minute)
		want := []installation.State{installation.Assigned, installation.Downloading, installation.Downloaded, installation.Blocked}
		if diff := cmp.Diff(want, b.s.history(app.install())); diff != "" {
			t.Errorf("before the window (-want +got):\n%s", diff)
		}
		r := b.s.last(app.install())
		if r.Cause != installation.WindowClosed || r.Detail != "The window is closed; it opens for this device on Sat 2000-01-01 02:00 UTC." {
			t.Errorf("%s %q", r.Cause, r.Detail)
		}
		if !b.m.world().Cached[app.SHA256] {
			t.Error("it was not downloaded ahead of the window")
		}
		b.s.with(func() { b.s.fail = errors.New("the server is away") })
		before := b.m.simulations
		b.pass(90 * time.Minute)
		if b.m.simulations != before || len(b.executed()) > 0 {
			t.Errorf("before the window: %d simulations, executed %v", b.m.simulations-before, b.executed())
		}
		b.pass(31 * time.Minute)
		if len(*at0) != 1 || !soonAfter((*at0)[0], at("2000-01-01T02:00")) {
			t.Errorf("began at %v", *at0)
		}
		b.s.with(func() { b.s.fail = nil })
		b.pass(10 * time.Minute)
		if s := b.state(app.install()); s != installation.Installed {
			t.Error(s)
		}
		legal(t, b)
	})
}

func TestT4_AnApprovalInsideTheWindowInstallsAtOnceAndOneAfterItWaitsForTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app, lib := file("app", "2"), file("lib", "2")
		b := newBench(t, []simFile{app, lib}, "app", "lib")
		at0 := b.starts()
		b.start(t)
		b.pass(2*time.Hour + 30*time.Minute)
		night := wire.PlanTerms{Schedules: []json.RawMessage{schedule(t, nightly(time.Hour))}}
		b.s.set(on(installs(app), night))
		b.pass(time.Hour)
		b.s.set(on(installs(lib), night))
		b.pass(23 * time.Hour)
		if len(*at0) != 2 || !soonAfter((*at0)[0], at("2000-01-01T02:30")) || !soonAfter((*at0)[1], at("2000-01-02T02:00")) {
			t.Errorf("began at %v", *at0)
		}
		legal(t, b)
	})
}

func TestT4_WhatHasNoTermsDoesNotWaitForWhatHasAndWhatNeedsSuchAOneDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		free, lib, app := file("free", "2"), file("lib", "2"), file("app", "2")
		app.Needs = []string{"lib=2"}
		b := newBench(t, []simFile{free, lib, app}, "free", "lib", "app")
		p := on(installs(lib), wire.PlanTerms{}, schedule(t, nightly(time.Hour)))
		p.Install = append(p.Install, free.install(), app.install())
		p.Install[2].Closure = []string{string(lib.release().ID())}
		b.s.set(p)
		b.start(t)
		b.pass(time.Minute)
		if got := b.executed(); !slices.Equal(got, []string{"free:amd64=2"}) {
			t.Errorf("executed %v", got)
		}
		if r := b.s.last(app.install()); r.State != installation.Blocked || r.Cause != installation.WindowClosed || !strings.HasPrefix(r.Detail, "It needs lib 2 and waits for that. The window is closed") {
			t.Errorf("%+v", r)
		}
		b.pass(3 * time.Hour)
		if n := len(b.executed()); n != 3 {
			t.Errorf("executed %v", b.executed())
		}
		legal(t, b)
	})
}

func TestT4_AllSchedulesOfTheTermsHaveToBeOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := file("app", "2")
		b := newBench(t, []simFile{app}, "app")
		at0 := b.starts()
		others := window.Schedule{Rule: "FREQ=DAILY;INTERVAL=2", Start: "2000-01-01T02:30", Length: window.Duration(time.Hour)}
		frozen := window.Schedule{Freezes: []window.Freeze{{Name: "turn of the year", From: "2000-01-01", To: "2000-01-01"}}}
		b.s.expires = 60 * 24 * time.Hour
		b.s.set(on(installs(app), wire.PlanTerms{}, schedule(t, nightly(time.Hour)), schedule(t, others), schedule(t, frozen)))
		b.start(t)
		b.pass(time.Minute)
		if r := b.s.last(app.install()); !strings.Contains(r.Detail, "Mon 2000-01-03 02:30") {
			t.Errorf("%q", r.Detail)
		}
		b.pass(51 * time.Hour)
		if len(*at0) != 1 || !soonAfter((*at0)[0], at("2000-01-03T02:30")) { // the 1st is frozen
			t.Errorf("began at %v", *at0)
		}
	})
}

func TestT4_WhatCannotBeReadAndAZoneThatIsNotKnownNeverOpen(t *testing.T) {
	for name, tc := range map[string]struct{ zone, raw, says string }{
		"rubbish":            {"UTC", `"x"`, "cannot be read"},
		"a later field":      {"UTC", `{"moon":1}`, "cannot be read"},
		"a rule that is not": {"UTC", `{"rule":"FREQ=NEVER"}`, "cannot be read"},
		"no zone":            {"", `{"rule":"FREQ=DAILY","start":"2000-01-01T00:00","length":"23h"}`, "time zone is not known"},
		"an unknown zone":    {"Mars/Base", `{"rule":"FREQ=DAILY","start":"2000-01-01T00:00","length":"23h"}`, `"Mars/Base" is not known`},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				app := file("app", "2")
				b := newBench(t, []simFile{app}, "app")
				b.opt.Device = inZone(tc.zone)
				b.s.expires = 90 * 24 * time.Hour
				b.s.set(on(installs(app), wire.PlanTerms{Task: "nights"}, json.RawMessage(tc.raw)))
				b.start(t)
				b.pass(26 * time.Hour)
				r := b.s.last(app.install())
				if len(b.executed()) > 0 || r.State != installation.Blocked || r.Cause != installation.WindowClosed || !strings.Contains(r.Detail, tc.says) {
					t.Errorf("executed %v; %s %s %q", b.executed(), r.State, r.Cause, r.Detail)
				}
			})
		})
	}
}

func TestT4_ADeviceThatMovesToAnotherZoneFollowsItsNewOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := file("app", "2")
		b := newBench(t, []simFile{app}, "app")
		at0 := b.starts()
		d := inZone("America/New_York") // 02:00 there is 07:00 UTC
		b.opt.Device = d
		b.s.set(on(installs(app), wire.PlanTerms{}, schedule(t, nightly(time.Hour))))
		b.start(t)
		b.pass(30 * time.Minute)
		d.zone.Store("Europe/Berlin") // 01:00 UTC
		b.pass(2 * time.Hour)
		if len(*at0) != 1 || !soonAfter((*at0)[0], at("2000-01-01T01:00")) {
			t.Errorf("began at %v", *at0)
		}
	})
}

func TestT4_AClockThatJumpsOpensAndClosesWindowsByWhatItShows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := file("app", "2")
		b := newBench(t, []simFile{app}, "app")
		at0, by := b.starts(), b.offset()
		b.s.set(on(installs(app), wire.PlanTerms{}, schedule(t, nightly(time.Hour))))
		b.start(t)
		b.pass(10 * time.Minute)
		by.Store(int64(2*time.Hour - 5*time.Minute)) // 02:05
		b.pass(6 * time.Minute)
		if len(*at0) != 1 || (*at0)[0].Before(at("2000-01-01T02:05")) || (*at0)[0].After(at("2000-01-01T02:12")) {
			t.Errorf("began at %v", *at0)
		}
	})
	synctest.Test(t, func(t *testing.T) { // behind what the server signed nothing is known
		app := file("app", "2")
		b := newBench(t, []simFile{app}, "app")
		by := b.offset()
		b.start(t)
		b.pass(10 * time.Hour)
		b.s.set(on(installs(app), wire.PlanTerms{}, schedule(t, nightly(time.Hour))))
		b.pass(time.Minute)
		by.Store(int64(-8*time.Hour + 5*time.Minute)) // it shows 02:06
		b.pass(30 * time.Minute)
		if r := b.s.last(app.install()); r.State != installation.Blocked || r.Cause != installation.UntrustedClock || len(b.executed()) > 0 {
			t.Errorf("%+v, executed %v", r, b.executed())
		}
	})
}

func TestT4_AnInstallThatDoesNotFitWaitsAndOneThatNeverFitsBeginsAtTheBeginningAndIsNotEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, app, long := file("first", "2"), file("app", "2"), file("long", "2")
		b := newBench(t, []simFile{first, app, long}, "first", "app", "long")
		at0 := b.starts()
		takes := 40 * time.Minute
		b.m.duringApply = func() { time.Sleep(takes) }
		night := wire.PlanTerms{Schedules: []json.RawMessage{schedule(t, nightly(time.Hour))}}
		b.s.expires = 30 * 24 * time.Hour
		b.s.set(on(installs(first), night))
		b.start(t)
		b.pass(25 * time.Hour) // measured: 40 minutes
		b.s.set(wire.Plan{})
		b.pass(time.Hour + 30*time.Minute) // 02:30 of the second night
		b.s.set(on(installs(app), night))
		b.pass(10 * time.Minute)
		r := b.s.last(app.install())
		if want := "It takes 40 min, and the window ends on Sun 2000-01-02 03:00 UTC: too short. It fits on Mon 2000-01-03 02:00 UTC."; r.Cause != installation.WindowClosed || r.Detail != want {
			t.Errorf("%s %q", r.Cause, r.Detail)
		}
		n := len(b.s.history(app.install()))
		b.pass(20 * time.Minute)
		if got := b.s.history(app.install()); len(got) != n {
			t.Errorf("it is told again and again: %v", got)
		}
		b.pass(24 * time.Hour)
		takes = 90 * time.Minute // longer than it was: it goes on after the window's end (C7)
		b.s.set(on(installs(long), wire.PlanTerms{Schedules: []json.RawMessage{schedule(t, nightly(30*time.Minute))}}))
		b.pass(25 * time.Hour)
		if len(*at0) != 3 || !soonAfter((*at0)[1], at("2000-01-03T02:00")) || !soonAfter((*at0)[2], at("2000-01-04T02:00")) {
			t.Fatalf("began at %v\n%s", *at0, b.s.story())
		}
		if s := b.state(long.install()); s != installation.Installed {
			t.Error(s)
		}
		legal(t, b)
	})
}

func TestT4_AsMuchAsFitsBeginsAndTheRestWaitsForTheNextWindowWithWhatItNeeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var files []simFile
		var names []string
		for i := range 6 {
			f := file(fmt.Sprintf("pkg%d", i), "2")
			files, names = append(files, f), append(names, f.Name)
		}
		files[2].Needs = []string{"pkg5=2"}
		b := newBench(t, files, names...)
		at0 := b.starts()
		n := 0
		b.m.applied = func(c []wire.Change) { *at0, n = append(*at0, time.Now()), len(c) }
		b.m.duringApply = func() { time.Sleep(time.Duration(n) * 20 * time.Minute) }
		b.s.expires = 30 * 24 * time.Hour
		night := wire.PlanTerms{Schedules: []json.RawMessage{schedule(t, nightly(time.Hour))}}
		b.s.set(on(installs(files[0]), night))
		b.start(t)
		b.pass(4 * time.Hour) // one package takes 20 minutes
		p := on(installs(files...), night)
		p.Install[2].Closure = []string{string(files[5].release().ID())}
		b.s.set(p)
		b.pass(23*time.Hour + 30*time.Minute) // 03:30 of the second night: three of five
		if got, want := b.executed(), []string{"pkg0:amd64=2", "pkg1:amd64=2", "pkg2:amd64=2", "pkg5:amd64=2"}; !slices.Equal(got, want) {
			t.Errorf("executed %v, want %v\n%s", got, want, b.s.story())
		}
		if r := b.s.last(files[3].install()); r.State != installation.Blocked || r.Cause != installation.WindowClosed {
			t.Errorf("%+v", r)
		}
		b.pass(24 * time.Hour)
		if len(*at0) != 3 || !soonAfter((*at0)[1], at("2000-01-02T02:00")) || !soonAfter((*at0)[2], at("2000-01-03T02:00")) || len(b.executed()) != 6 {
			t.Errorf("began at %v, executed %v", *at0, b.executed())
		}
		legal(t, b)
	})
}

func TestT4_ARunThatWasMissedIsCaughtUpOnceAtOnceAndNotInAFreezeAndElseInTheNextWindow(t *testing.T) {
	for name, tc := range map[string]struct {
		missed  window.Missing
		freezes []window.Freeze
		want    string
	}{
		"at once":             {window.AtOnce, nil, "2000-01-02T12:00"},
		"at once, but frozen": {window.AtOnce, []window.Freeze{{Name: "noon", From: "2000-01-02T11:00", To: "2000-01-02T14:00"}}, "2000-01-02T14:00"},
		"in the next window":  {window.NextWindow, nil, "2000-01-03T02:00"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				app, next := file("app", "2"), file("next", "2")
				b := newBench(t, []simFile{app, next}, "app", "next")
				at0 := b.starts()
				s := nightly(time.Hour)
				s.Start, s.Missed, s.Freezes = "2000-01-01T02:00", tc.missed, tc.freezes
				terms := wire.PlanTerms{Schedules: []json.RawMessage{schedule(t, s)}}
				b.s.expires = 30 * 24 * time.Hour
				b.pass(4 * time.Hour) // the device gets the plan after the first window: it missed nothing
				b.s.set(on(installs(app), terms))
				b.start(t)
				b.pass(8 * time.Hour)
				if len(*at0) != 0 {
					t.Fatalf("a device that is new to the task ran at %v", *at0)
				}
				b.stop() // and sleeps through the second one
				b.pass(24 * time.Hour)
				b.start(t)
				b.pass(2*time.Hour + time.Minute)
				b.s.set(on(installs(app, next), terms)) // what comes afterwards waits for its window
				b.pass(24 * time.Hour)
				if n := len(*at0); n == 0 || (*at0)[0].Before(at(tc.want)) || (*at0)[0].Sub(at(tc.want)) > time.Minute || !soonAfter((*at0)[n-1], at("2000-01-03T02:00")) || n > 2 {
					t.Errorf("began at %v\n%s", *at0, b.s.story())
				}
				if got := b.executed(); len(got) != 2 {
					t.Errorf("executed %v", got)
				}
			})
		})
	}
}

func TestT4_ACatchUpThatTheAgentDiedInGoesOnAndIsNotBegunTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app, bad := file("app", "2"), file("bad", "2")
		bad.Fails = true
		b := newBench(t, []simFile{app, bad}, "app", "bad")
		at0 := b.starts()
		s := nightly(time.Hour)
		s.Missed = window.AtOnce
		b.s.expires = 30 * 24 * time.Hour
		p := on(installs(app, bad), wire.PlanTerms{Retries: wire.PlanRetries{Attempts: 5, First: 60, Longest: 60}}, schedule(t, s))
		p.Install[0].Exclusive = true
		b.s.set(p)
		b.start(t)
		b.pass(time.Hour)
		b.stop()
		b.pass(11 * time.Hour)
		b.start(t)
		b.pass(6 * time.Hour) // the retries of what failed wait for a window: the run was caught up
		if len(*at0) != 2 {
			t.Errorf("began at %v\n%s", *at0, b.s.story())
		}
		if r := b.s.last(bad.install()); r.State != installation.Failed {
			t.Errorf("%+v", r)
		}
		b.pass(9 * time.Hour)
		if len(*at0) < 3 || !soonAfter((*at0)[2], at("2000-01-02T02:00")) {
			t.Errorf("began at %v\n%s", *at0, b.s.story())
		}
	})
}

func TestT4_AFlightThatWasFiledInTheWindowIsNotBegunAfterIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := file("app", "2")
		b := newBench(t, []simFile{app}, "app")
		at0 := b.starts()
		b.s.expires = 30 * 24 * time.Hour
		p := on(installs(app), wire.PlanTerms{}, schedule(t, nightly(time.Hour)))
		b.s.set(p)
		b.start(t)
		b.pass(time.Hour)
		f := journal.Flight{ID: "f1", Started: time.Now(), Parts: []journal.Part{{Update: app.release().ID(), Release: app.release(), Items: []catalog.Item{app.Item}}}}
		rec := journal.Record{Flight: &f, Reports: []wire.Report{b.a.report(app.release().ID(), installation.Installing, "", "")}}
		if err := b.a.journal.Write(rec); err != nil { // as if it had died right then
			t.Fatal(err)
		}
		b.stop()
		b.pass(4 * time.Hour)
		b.start(t)
		b.pass(6 * time.Hour)
		if len(*at0) > 0 {
			t.Errorf("began at %v", *at0)
		}
		b.pass(18 * time.Hour)
		if len(*at0) != 1 || !soonAfter((*at0)[0], at("2000-01-02T02:00")) {
			t.Errorf("began at %v\n%s", *at0, b.s.story())
		}
		legal(t, b)
	})
}

func TestT4_AWindowThatClosesAtTheLastMomentIsHeeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := file("app", "2")
		b := newBench(t, []simFile{app}, "app")
		at0 := b.starts()
		slow := 2 * time.Hour
		b.m.remembering = func() { time.Sleep(slow) } // the disk hangs
		b.s.expires = 30 * 24 * time.Hour
		b.s.set(on(installs(app), wire.PlanTerms{}, schedule(t, nightly(time.Hour))))
		b.start(t)
		b.pass(6 * time.Hour)
		if r := b.s.last(app.install()); len(*at0) > 0 || r.State != installation.Blocked || r.Cause != installation.WindowClosed {
			t.Errorf("began at %v, %+v", *at0, r)
		}
		slow = 0
		b.pass(21 * time.Hour)
		if len(*at0) != 1 || !soonAfter((*at0)[0], at("2000-01-02T02:00")) {
			t.Errorf("began at %v", *at0)
		}
		legal(t, b)
	})
}
