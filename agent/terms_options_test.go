package agent

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"assent/agent/internal/journal"
	"assent/catalog"
	"assent/fault"
	"assent/installation"
	"assent/wire"
)

func TestT3_NothingNewBeginsAfterTheStopAndTheRestGoesOnInTheNextWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var files []simFile
		var names []string
		for i := range 4 {
			f := file(fmt.Sprintf("pkg%d", i), "2")
			files, names = append(files, f), append(names, f.Name)
		}
		b := newBench(t, files, names...)
		at0 := b.starts()
		b.m.duringApply = func() { time.Sleep(20 * time.Minute) }
		b.s.expires = 30 * 24 * time.Hour
		p := on(installs(files...), wire.PlanTerms{StopAfter: 30 * 60}, schedule(t, nightly(5*time.Hour)))
		for i := range p.Install {
			p.Install[i].Exclusive = true
		}
		b.s.set(p)
		b.start(t)
		b.pass(4 * time.Hour)
		if len(*at0) != 2 {
			t.Errorf("began at %v", *at0)
		}
		r := b.s.last(files[3].install())
		if want := "This run began on Sat 2000-01-01 02:00 UTC, and nothing new begins 30 min after that. The rest goes on on Sun 2000-01-02 02:00 UTC."; r.Cause != installation.WindowClosed || r.Detail != want {
			t.Errorf("%s %q", r.Cause, r.Detail)
		}
		b.stop() // a restart does not begin the run anew
		b.start(t)
		b.pass(24 * time.Hour)
		if len(*at0) != 4 || !soonAfter((*at0)[2], at("2000-01-02T02:00")) {
			t.Errorf("began at %v", *at0)
		}
		legal(t, b)
	})
}

func TestT3_WithoutWindowsTheRestGoesOnADayAfterTheFirstInstall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app, lib := file("app", "2"), file("lib", "2")
		b := newBench(t, []simFile{app, lib}, "app", "lib")
		at0 := b.starts()
		b.m.duringApply = func() { time.Sleep(20 * time.Minute) }
		b.s.expires = 30 * 24 * time.Hour
		p := on(installs(app, lib), wire.PlanTerms{StopAfter: 600})
		p.Install[0].Exclusive = true
		b.s.set(p)
		b.start(t)
		b.pass(26 * time.Hour)
		if len(*at0) != 2 || !soonAfter((*at0)[1], (*at0)[0].Add(24*time.Hour)) {
			t.Errorf("began at %v", *at0)
		}
	})
}

func TestT3_RetriesFollowTheTermsAndTheirPausesDouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad := file("bad", "2")
		bad.Fails = true
		b := newBench(t, []simFile{bad}, "bad")
		at0 := b.starts()
		b.s.expires = 30 * 24 * time.Hour
		b.s.set(on(installs(bad), wire.PlanTerms{Retries: wire.PlanRetries{Attempts: 4, First: 600, Longest: 1800}}))
		b.start(t)
		b.pass(4 * time.Hour)
		var pauses []time.Duration
		for i := 1; i < len(*at0); i++ {
			pauses = append(pauses, (*at0)[i].Sub((*at0)[i-1]).Truncate(time.Minute))
		}
		if want := []time.Duration{10 * time.Minute, 20 * time.Minute, 30 * time.Minute, 30 * time.Minute}; !slices.Equal(pauses, want) {
			t.Errorf("paused %v, want %v", pauses, want)
		}
		if r := b.s.last(bad.install()); r.State != installation.Failed || !strings.Contains(r.Detail, "attempt 5, the last") {
			t.Errorf("%+v", r)
		}
	})
}

func TestT3_DownloadOnlyFetchesAndNeverInstalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := file("app", "2")
		b := newBench(t, []simFile{app}, "app")
		b.s.expires = 30 * 24 * time.Hour
		p := on(installs(app), wire.PlanTerms{DownloadOnly: true})
		b.s.set(p)
		b.start(t)
		b.pass(5 * time.Hour)
		p.Verdicts = []wire.PlanVerdict{{Update: app.release().ID()}} // another plan with the same order
		b.s.set(p)
		b.pass(5 * time.Hour)
		want := []installation.State{installation.Assigned, installation.Downloading, installation.Downloaded}
		if diff := cmp.Diff(want, b.s.history(app.install())); diff != "" || len(b.executed()) > 0 || !b.m.world().Cached[app.SHA256] {
			t.Errorf("executed %v; states (-want +got):\n%s", b.executed(), diff)
		}
		b.s.set(installs(app))
		b.pass(time.Minute)
		if s := b.state(app.install()); s != installation.Installed {
			t.Error(s)
		}
		legal(t, b)
	})
}

func TestT3_WhatInstallsAtShutdownWaitsForThat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := file("app", "2")
		b := newBench(t, []simFile{app}, "app")
		b.s.expires = 30 * 24 * time.Hour
		b.s.set(on(installs(app), wire.PlanTerms{AtShutdown: true}))
		b.start(t)
		b.pass(26 * time.Hour)
		if r := b.s.last(app.install()); r.State != installation.Blocked || r.Cause != installation.WindowClosed || r.Detail != "It installs when the device shuts down." || len(b.executed()) > 0 {
			t.Errorf("%+v, executed %v", r, b.executed())
		}
	})
}

func TestT3_TheProbesOfTheTermsHaveToPassBesideThePublishers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := file("app", "2")
		b := newBench(t, []simFile{app}, "app")
		b.opt.Probe = b.m.probe
		b.m.change(func(w *simWorld) { w.Sick = map[string]string{"app": "nothing listens on port 80"} })
		b.s.set(on(installs(app), wire.PlanTerms{Probes: []catalog.Probe{{Type: catalog.ProbeTCP, Port: 80}}}))
		b.start(t)
		b.pass(30 * time.Second)
		if r := b.s.last(app.install()); r.State != installation.Failed || r.Cause != installation.ProbeFailed {
			t.Errorf("%+v", r)
		}
		b.m.change(func(w *simWorld) { w.Sick = nil })
		b.pass(2 * time.Minute)
		if r := b.s.last(app.install()); r.State != installation.Installed || r.Proof.Probe != passed {
			t.Errorf("%+v", r)
		}
	})
}

func TestT6_TheCauseOfARollbackIsCarriedOnByAllReportsOfIt(t *testing.T) {
	for name, tc := range map[string]struct {
		sticks, missing bool
		want            installation.State
	}{"removed": {want: installation.Removed}, "fails": {sticks: true, want: installation.RemoveFailed}, "cannot be had": {missing: true, want: installation.RemoveFailed}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				old, app := file("app", "1"), file("app", "2")
				old.Fails, old.Missing = tc.sticks, tc.missing
				b := newBench(t, []simFile{old, app})
				b.m.installed(app)
				rb := app.stepBack(7, old)
				rb.Cause = string(installation.ProbeFailed)
				b.s.set(wire.Plan{Rollback: []wire.PlanRollback{rb}})
				b.start(t)
				b.pass(30 * time.Second)
				if s := b.state(app.install()); s != tc.want {
					t.Errorf("%s\n%s", s, b.s.story())
				}
				b.s.mu.Lock()
				defer b.s.mu.Unlock()
				for _, r := range b.s.reports {
					if back := r.State == installation.Removing || r.State == installation.Removed || r.State == installation.RemoveFailed; back && r.Cause != installation.ProbeFailed {
						t.Errorf("%s because of %q", r.State, r.Cause)
					}
				}
			})
		})
	}
}

func TestT4_PlansWhoseTermsMakeNoSenseAreRefused(t *testing.T) {
	in := file("app", "2").install()
	with := func(number int, terms ...wire.PlanTerms) wire.Plan {
		p := wire.Plan{Format: 2, Guard: "block_declined", Install: []wire.PlanInstall{in}, Terms: terms}
		p.Install[0].Terms = number
		return p
	}
	long := json.RawMessage(`"` + strings.Repeat("x", maxSchedule) + `"`)
	for name, p := range map[string]wire.Plan{
		"terms that are not there":  with(2, wire.PlanTerms{}),
		"a negative number":         with(-1, wire.PlanTerms{}),
		"too many terms":            with(1, make([]wire.PlanTerms, maxTerms+1)...),
		"too many schedules":        with(1, wire.PlanTerms{Schedules: make([]json.RawMessage, maxSchedules+1)}),
		"too long a schedule":       with(1, wire.PlanTerms{Schedules: []json.RawMessage{long}}),
		"too many probes":           with(1, wire.PlanTerms{Probes: make([]catalog.Probe, maxTermProbes+1)}),
		"a stop before the start":   with(1, wire.PlanTerms{StopAfter: -1}),
		"retries without end":       with(1, wire.PlanTerms{Retries: wire.PlanRetries{Attempts: 1 << 40}}),
		"a pause that is no number": with(1, wire.PlanTerms{Retries: wire.PlanRetries{Attempts: 1, First: -5}}),
	} {
		if err := sound(p); fault.From(err).Code != wire.ErrPlanFormat.Code {
			t.Errorf("%s: %v", name, err)
		}
	}
	for number, terms := range map[int][]wire.PlanTerms{0: nil, 1: {{}}, 2: {{}, {StopAfter: 600}}} {
		if err := sound(with(number, terms...)); err != nil {
			t.Errorf("%d terms: %v", number, err)
		}
	}
}

func TestT4_APlanOfAFormatThatIsNotKnownIsRefusedAndTheOldOneStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app, lib := file("app", "2"), file("lib", "2")
		b := newBench(t, []simFile{app, lib}, "app", "lib")
		b.s.set(on(installs(app), wire.PlanTerms{}, schedule(t, nightly(time.Hour))))
		b.start(t)
		b.pass(time.Minute)
		p := installs(lib)
		p.Format, p.Guard = 3, "block_declined"
		raw, _, err := wire.Encode(p)
		if err != nil {
			t.Fatal(err)
		}
		b.s.setRaw(t, raw)
		b.pass(3 * time.Hour)
		if len(b.events("plan_refused")) == 0 || slices.Contains(b.executed(), "lib:amd64=2") {
			t.Errorf("executed %v\n%s", b.executed(), b.s.story())
		}
	})
}

func TestPromise3_WhyAndStatusSayWhichWindowAnUpdateWaitsFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := file("app", "2")
		b := newBench(t, []simFile{app}, "app")
		p := on(installs(app), wire.PlanTerms{Task: "nights", StopAfter: 1800}, schedule(t, nightly(time.Hour)))
		b.s.set(p)
		b.start(t)
		b.pass(time.Minute)
		state, err := journal.Read(b.opt.Dir)
		if err != nil {
			t.Fatal(err)
		}
		answers, err := Why(p, state.Updates, "app")
		if err != nil || len(answers) != 1 {
			t.Fatalf("%v, %v", answers, err)
		}
		var out strings.Builder
		answers[0].Print(&out)
		var s Status
		s.Enrolled, s.States = true, map[installation.State]int{}
		if err := s.readJournal(b.opt.Dir, nil); err != nil {
			t.Fatal(err)
		}
		s.Print(&out)
		opens := at("2000-01-01T02:00").Local().Format("Mon 2006-01-02 15:04 MST")
		for _, want := range []string{"task: nights\n", "terms: begins every day at 02:00", "nothing new begins 30 min after the first install of a run", "it waits for its window, which opens " + opens,
			"(window_closed): waits for its window, which opens " + opens} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%q is not in\n%s", want, &out)
			}
		}
	})
}
