package rollout_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"assent/fault"
	"assent/fleet"
	"assent/installation"
	"assent/rollout"
)

var start = time.Date(2026, 11, 23, 18, 0, 0, 0, time.UTC)

// story is a rollout as a test tells it: devices with outcomes, a clock, and everything that happened.
type story struct {
	t        *testing.T
	rings    []rollout.Ring
	state    rollout.State
	now      time.Time
	outcomes map[fleet.DeviceID]rollout.Outcome
	log      []rollout.Transition
}

// test, pilot and production are the rings most stories play in.
func threeRings() []rollout.Ring {
	return []rollout.Ring{
		{Name: "Test", Groups: []fleet.GroupID{"test"}, SuccessRate: 1000, Soak: rollout.Span(time.Hour)},
		{Name: "Pilot", Groups: []fleet.GroupID{"pilot"}, SuccessRate: 500, MinSample: 5, Failures: 3, Soak: rollout.Span(2 * time.Hour)},
		{Name: "Production", Groups: []fleet.GroupID{fleet.Root}, SuccessRate: 900, MinSample: 10},
	}
}

// tell starts a story in which each ring has so many devices, named test0, pilot3, root7 after their group.
func tell(t *testing.T, rings []rollout.Ring, devices ...int) *story {
	s := &story{t: t, rings: rings, now: start, outcomes: map[fleet.DeviceID]rollout.Outcome{}}
	for i, n := range devices {
		for d := range n {
			s.device(fmt.Sprintf("%s%d", rings[i].Groups[0], d), rings[i].Groups[0])
		}
	}
	s.state = rollout.Start("patch", "u123", rings, s.now)
	s.advance()
	return s
}

func (s *story) device(name string, group fleet.GroupID) {
	path := []fleet.GroupID{group}
	if group != fleet.Root {
		path = append(path, fleet.Root)
	}
	s.outcomes[fleet.DeviceID(name)] = rollout.Outcome{Device: fleet.DeviceID(name), Path: path, State: installation.Applicable, Since: s.now, LastSeen: s.now}
}

func (s *story) advance() []rollout.Transition {
	s.t.Helper()
	var all []rollout.Outcome
	for _, o := range s.outcomes {
		all = append(all, o)
	}
	var ts []rollout.Transition
	s.state, ts = rollout.Advance(s.state, s.rings, all, s.now)
	if _, err := rollout.Encode(s.state); err != nil {
		s.t.Fatalf("a state that cannot be stored: %v", err)
	}
	s.log = append(s.log, ts...)
	return ts
}

// pass lets time go by in steps in which every device that is not mute is heard of.
func (s *story) pass(d time.Duration, mute ...fleet.DeviceID) {
	s.t.Helper()
	for end := s.now.Add(d); s.now.Before(end); {
		s.now = s.now.Add(min(rollout.Gap, end.Sub(s.now)))
		for id, o := range s.outcomes {
			if !slices.Contains(mute, id) {
				o.LastSeen = s.now
				s.outcomes[id] = o
			}
		}
		s.advance()
	}
}

// report says where devices stand, given as "test0 test1" or "pilot*".
func (s *story) report(who string, state installation.State, change ...func(*rollout.Outcome)) {
	s.t.Helper()
	said := false
	for id, o := range s.outcomes {
		for w := range strings.FieldsSeq(who) {
			if string(id) != w && !(strings.HasSuffix(w, "*") && strings.HasPrefix(string(id), strings.TrimSuffix(w, "*"))) {
				continue
			}
			o.State, o.Since, o.LastSeen, o.Ours, o.Cause, o.Probe = state, s.now, s.now, state != installation.Applicable, "", ""
			for _, c := range change {
				c(&o)
			}
			s.outcomes[id], said = o, true
		}
	}
	if !said {
		s.t.Fatalf("no device is %q", who)
	}
	s.advance()
}

func (s *story) did(state rollout.State, ts []rollout.Transition, err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
	s.state = state
	s.log = append(s.log, ts...)
}

// at checks the phases of all rings.
func (s *story) at(phases ...rollout.Phase) {
	s.t.Helper()
	var got []rollout.Phase
	for _, r := range s.state.Rings {
		got = append(got, r.Phase)
	}
	if !slices.Equal(got, phases) {
		s.t.Fatalf("at %s rings are %v, want %v: %v", s.now.Format("15:04"), got, phases, s.reasons())
	}
}

func (s *story) reasons() (out []string) {
	for _, r := range s.state.Rings {
		out = append(out, fmt.Sprintf("%s: %s", r.Reason.Code, r.Reason.Text))
	}
	return out
}

// because checks the reason of a ring.
func (s *story) because(ring string, code rollout.Code, words string) {
	s.t.Helper()
	r, _ := s.state.Ring(ring)
	if r.Reason.Code != code || !strings.Contains(r.Reason.Text, words) {
		s.t.Errorf("ring %s: %q %q, want %q with %q", ring, r.Reason.Code, r.Reason.Text, code, words)
	}
}

func (s *story) opens(ring string, want bool) rollout.Reason {
	s.t.Helper()
	got, why := rollout.Opens(s.state, ring)
	if got != want || why.Text == "" || why.Code == "" {
		s.t.Errorf("ring %q opens: %v (%s %q), want %v", ring, got, why.Code, why.Text, want)
	}
	return why
}

func (s *story) progress(ring string) rollout.Progress {
	r, _ := s.state.Ring(ring)
	return r.Progress
}

func refused(t *testing.T, err error, kind fault.Kind, code string) {
	t.Helper()
	if !errors.Is(err, kind) || fault.From(err).Code != code {
		t.Errorf("got %v, want %s %s", err, kind, code)
	}
}

const (
	waiting = rollout.Waiting
	running = rollout.Running
	soaking = rollout.Soaking
	passed  = rollout.Passed
	halted  = rollout.Halted
	skipped = rollout.Skipped
)

func TestT6_RingsOpenOneAfterAnotherByOutcome(t *testing.T) {
	s := tell(t, threeRings(), 2, 6, 12)
	s.at(running, waiting, waiting)
	s.because("Test", rollout.SampleWanting, "0 of the 2 devices")
	s.because("Pilot", rollout.InnerRing, `ring "Test"`)
	s.opens("Test", true)
	s.opens("Production", false)
	s.pass(5 * 24 * time.Hour)
	s.at(running, waiting, waiting) // the calendar alone opens nothing
	s.report("test*", installation.Installed)
	s.at(soaking, waiting, waiting)
	s.because("Test", rollout.Soak, "2 of 2 succeeded; it soaks until 2026-11-28 19:00 UTC")
	s.pass(55 * time.Minute)
	s.at(soaking, waiting, waiting)
	s.pass(5 * time.Minute)
	s.at(passed, running, waiting)
	s.report("pilot0 pilot1 pilot2 pilot3", installation.Installed)
	s.at(passed, running, waiting)
	s.because("Pilot", rollout.SampleWanting, "4 of the 5 devices")
	s.report("pilot4", installation.Installed)
	s.pass(2 * time.Hour)
	s.at(passed, passed, running)
	s.report("root*", installation.Installed)
	s.at(passed, passed, passed)
	if !s.state.Finished() || s.progress("Production").Rate() != "12 of 12" {
		t.Errorf("finished %v, %s", s.state.Finished(), s.progress("Production"))
	}
}

func TestT6_AFailingRingHaltsTheTaskAndOuterRingsStayShut(t *testing.T) {
	s := tell(t, threeRings(), 2, 6, 12)
	s.report("test*", installation.Installed)
	s.pass(time.Hour)
	s.report("pilot0 pilot1", installation.Failed)
	s.at(passed, running, waiting)
	s.report("pilot2", installation.Installed, func(o *rollout.Outcome) { o.Probe = rollout.ProbeFailed })
	s.at(passed, halted, waiting)
	s.because("Pilot", rollout.FailureLimit, "3 devices failed; the limit of the ring is 3")
	s.because("Production", rollout.InnerHalted, `halted at ring "Pilot"`)
	for _, ring := range []string{"Test", "Pilot", "Production", ""} {
		if why := s.opens(ring, false); !strings.Contains(why.Text, "3 devices failed") {
			t.Errorf("ring %q: the reason does not say what happened: %q", ring, why.Text)
		}
	}
	s.report("pilot*", installation.Installed)
	s.pass(48 * time.Hour)
	s.at(passed, halted, waiting) // sticky, whatever comes later
}

func TestT6_TheSuccessRateIsAskedForFromTheMinimumSampleOn(t *testing.T) {
	rings := []rollout.Ring{{Name: "A", Groups: []fleet.GroupID{"a"}, SuccessRate: 800, MinSample: 5}, {Name: "B", Groups: []fleet.GroupID{"b"}, SuccessRate: 1000}}
	s := tell(t, rings, 20, 1)
	s.report("a0", installation.Failed)
	s.report("a1 a2 a3", installation.Installed)
	s.at(running, waiting)
	s.report("a4", installation.Installed)
	s.at(passed, running) // 4 of 5 are exactly 800 of 1000
	s = tell(t, rings, 20, 1)
	s.report("a0 a1", installation.Failed)
	s.report("a2 a3", installation.Installed)
	s.at(running, waiting)
	s.report("a4", installation.Installed)
	s.at(halted, waiting)
	s.because("A", rollout.RateMissed, "Only 3 of 5 succeeded")
}

func TestT6_ARateThatCannotBeReachedAnyMoreHaltsAtOnce(t *testing.T) {
	s := tell(t, []rollout.Ring{{Name: "A", Groups: []fleet.GroupID{"a"}, SuccessRate: 900}}, 10)
	s.report("a0", installation.Failed)
	s.at(running)
	s.report("a1", installation.Failed)
	s.at(halted)
}

func TestT6_TheFailureRateIsOfTheWholeRing(t *testing.T) {
	rings := []rollout.Ring{{Name: "A", Groups: []fleet.GroupID{"a"}, SuccessRate: 500, MinSample: 20, FailureRate: 100}}
	s := tell(t, rings, 20)
	s.report("a0 a1", installation.Failed)
	s.at(running) // 2 of 20 are 100 of 1000
	s.report("a2", installation.Failed)
	s.at(halted)
	s.because("A", rollout.FailureRate, "3 of the ring's 20 devices")
}

func TestT6_ASampleLargerThanTheRingIsTheWholeRing(t *testing.T) {
	s := tell(t, []rollout.Ring{{Name: "A", Groups: []fleet.GroupID{"a"}, SuccessRate: 1000, MinSample: 100}}, 3)
	s.report("a0 a1", installation.Installed)
	s.at(running)
	s.report("a2", installation.Installed)
	s.at(passed)
}

func TestT6_SilencePastTheDeadlineCountsAsFailure(t *testing.T) {
	rings := []rollout.Ring{{Name: "A", Groups: []fleet.GroupID{"a"}, SuccessRate: 1000, Silence: rollout.Span(3 * time.Hour), Soak: rollout.Span(4 * time.Hour)}}
	for name, before := range map[string]installation.State{"before it began": installation.Applicable, "while downloading": installation.Downloading, "after it installed": installation.Installed} {
		t.Run(name, func(t *testing.T) {
			s := tell(t, rings, 3)
			s.report("a1 a2", installation.Installed)
			s.report("a0", before)
			s.pass(3*time.Hour, "a0")
			if s.state.Stop != nil {
				t.Fatal("halted before the deadline")
			}
			s.pass(5*time.Minute, "a0")
			s.at(halted)
			s.because("A", rollout.RateMissed, "1 of them silent")
		})
	}
}

func TestT6_SilenceInARingThatPassedIsNoFailure(t *testing.T) {
	s := tell(t, threeRings(), 2, 6, 12)
	s.report("test*", installation.Installed)
	s.pass(time.Hour)
	s.pass(10*24*time.Hour, "test0", "test1")
	s.at(passed, running, waiting)
	if p := s.progress("Test"); p.Rate() != "2 of 2" {
		t.Errorf("%s", p)
	}
}

func TestT6_AFailureInARingThatPassedHaltsTheOuterRingsToo(t *testing.T) {
	s := tell(t, threeRings(), 2, 6, 12)
	s.report("test*", installation.Installed)
	s.pass(time.Hour)
	s.report("pilot*", installation.Installed)
	s.pass(2 * time.Hour)
	s.at(passed, passed, running)
	s.report("test1", installation.Removed) // its probe took it back
	s.at(halted, halted, halted)
	s.because("Production", rollout.InnerHalted, `halted at ring "Test"`)
	s.did(s.state.Resume("ann", "one bad disk", s.now))
	s.advance()
	s.at(soaking, waiting, waiting)
	s.pass(time.Hour)
	s.at(passed, soaking, waiting)
}

func TestT6_ADeviceStuckInAStateForLongerThanItMayLastFailed(t *testing.T) {
	s := tell(t, []rollout.Ring{{Name: "A", Groups: []fleet.GroupID{"a"}, SuccessRate: 1000}}, 2)
	s.report("a0", installation.Installing)
	s.pass(installation.Installing.Deadline())
	s.at(running)
	s.pass(5 * time.Minute)
	s.at(halted)
}

func TestT6_ZeroDevicesNeverPass(t *testing.T) {
	rings := threeRings()
	for name, tc := range map[string]struct {
		devices []int
		state   installation.State
		change  func(*rollout.Outcome)
	}{
		"no device":                   {[]int{0, 6, 12}, "", nil},
		"none it applies to":          {[]int{2, 6, 12}, installation.NotApplicable, nil},
		"all by other means (V4)":     {[]int{2, 6, 12}, installation.Installed, func(o *rollout.Outcome) { o.Ours = false }},
		"all retired before they had": {[]int{2, 6, 12}, installation.Assigned, func(o *rollout.Outcome) { o.Gone = true }},
	} {
		t.Run(name, func(t *testing.T) {
			s := tell(t, rings, tc.devices...)
			if tc.state != "" {
				s.report("test*", tc.state, func(o *rollout.Outcome) {
					if tc.change != nil {
						tc.change(o)
					}
				})
			}
			s.pass(20 * 24 * time.Hour)
			s.at(running, waiting, waiting)
			s.because("Test", rollout.NothingToTry, "skip the ring")
			if p := s.progress("Test"); !s.state.Rings[0].Reason.Code.NeedsPerson() || p.Rate() != "no outcome yet" || strings.Contains(p.String(), "%") {
				t.Errorf("%s", p)
			}
		})
	}
}

func TestT6_AnEmptyRingIsSkippedWhereItSaysSoAfterItsSoakTime(t *testing.T) {
	rings := threeRings()
	rings[0].IfEmpty = rollout.EmptySkip
	s := tell(t, rings, 0, 6, 12)
	s.pass(55 * time.Minute)
	s.at(running, waiting, waiting)
	s.pass(5 * time.Minute)
	s.at(skipped, running, waiting)
	s = tell(t, rings, 2, 6, 12) // with devices it is a ring like any other
	s.pass(7 * 24 * time.Hour)
	s.at(running, waiting, waiting)
}

func TestT6_BlockedDevicesAreShownAndNeverMakeTheSampleSmaller(t *testing.T) {
	s := tell(t, []rollout.Ring{{Name: "A", Groups: []fleet.GroupID{"a"}, SuccessRate: 1000, MinSample: 3}}, 4)
	s.report("a0 a1", installation.Blocked, func(o *rollout.Outcome) { o.Cause = installation.HeldPackage })
	s.report("a2 a3", installation.Installed)
	s.pass(5 * 24 * time.Hour)
	s.at(running)
	s.because("A", rollout.SampleBlocked, "2 of the 3 devices")
	if p := s.progress("A"); p.Blocked != 2 || p.Failures() != 0 || p.Rate() != "2 of 2" {
		t.Errorf("%s", p)
	}
	s.report("a0", installation.Installed)
	s.at(passed)
}

func TestT6_RequiredProbesAreAwaited(t *testing.T) {
	s := tell(t, []rollout.Ring{{Name: "A", Groups: []fleet.GroupID{"a"}, SuccessRate: 1000, Probes: true}}, 1)
	s.report("a0", installation.Installed)
	s.at(running)
	s.report("a0", installation.Installed, func(o *rollout.Outcome) { o.Probe = rollout.ProbePassed })
	s.at(passed)
	s.report("a0", installation.Blocked, func(o *rollout.Outcome) { o.Cause = installation.ProbeFailed })
	s.at(halted)
}

func TestT6_AProbeThatNeverAnswersIsAFailure(t *testing.T) {
	s := tell(t, []rollout.Ring{{Name: "A", Groups: []fleet.GroupID{"a"}, SuccessRate: 1000, Probes: true, Silence: rollout.Span(time.Hour)}}, 1)
	s.report("a0", installation.Installed)
	s.pass(time.Hour)
	s.at(running)
	s.pass(5 * time.Minute)
	s.at(halted)
}

func TestT6_DevicesThatNeverBeginAreNamedAfterADay(t *testing.T) {
	s := tell(t, []rollout.Ring{{Name: "A", Groups: []fleet.GroupID{"a"}, SuccessRate: 1000}}, 3)
	s.report("a0", installation.Installed)
	s.report("a1", installation.Assigned)
	s.pass(24 * time.Hour)
	s.because("A", rollout.SampleWanting, "1 of the 3")
	s.pass(5 * time.Minute)
	s.because("A", rollout.SampleOverdue, "1 of the 3")
	s.report("a2", installation.Blocked, func(o *rollout.Outcome) { o.Cause = installation.WindowClosed })
	s.because("A", rollout.SampleWanting, "1 of the 3") // it waits lawfully
	s.at(running)
}

func TestT6_TakingAFailedInstallBackIsNoSecondFailure(t *testing.T) {
	s := tell(t, []rollout.Ring{{Name: "A", Groups: []fleet.GroupID{"a"}, SuccessRate: 1000}}, 2)
	s.report("a0", installation.Failed)
	s.did(s.state.Resume("ann", "known", s.now))
	s.now = s.now.Add(time.Minute)
	s.report("a0", installation.Removing)
	s.now = s.now.Add(time.Minute)
	s.report("a0", installation.Removed)
	s.at(running)
	s.now = s.now.Add(time.Minute)
	s.report("a0", installation.Failed) // tried again
	s.at(halted)
}

func TestT6_ARestartIsJudgedApartUnlessTheRingAsksForIt(t *testing.T) {
	ring := rollout.Ring{Name: "A", Groups: []fleet.GroupID{"a"}, SuccessRate: 1000}
	s := tell(t, []rollout.Ring{ring}, 1)
	s.report("a0", installation.RestartRequired)
	s.at(passed)
	ring.Restarted = true
	s = tell(t, []rollout.Ring{ring}, 1)
	s.report("a0", installation.RestartRequired)
	s.at(running)
	s.pass(installation.RestartRequired.Deadline() + 5*time.Minute)
	s.at(halted) // it never restarted
}

func TestT6_ADeviceCountsInTheFirstRingThatNamesItAndKeepsItsOutcomeWhenItMoves(t *testing.T) {
	s := tell(t, threeRings(), 2, 6, 12)
	s.report("test0", installation.Installing)
	o := s.outcomes["test0"]
	o.Path = []fleet.GroupID{fleet.Root} // moved to Production in the middle
	s.outcomes["test0"] = o
	s.report("test0", installation.Failed)
	s.at(halted, waiting, waiting)
	if test, prod := s.progress("Test"), s.progress("Production"); test.Failed != 1 || test.Devices != 2 || prod.Devices != 12 {
		t.Errorf("Test: %+v, Production: %+v", test, prod)
	}
	s = tell(t, threeRings(), 2, 6, 12)
	s.report("test0", installation.Assigned)
	o = s.outcomes["test0"]
	o.Path = []fleet.GroupID{fleet.Root}
	s.outcomes["test0"] = o
	s.report("test0", installation.Blocked) // it had not begun: it counts where it is now
	if test, prod := s.progress("Test"), s.progress("Production"); test.Devices != 1 || prod.Devices != 13 {
		t.Errorf("Test: %+v, Production: %+v", test, prod)
	}
}

func TestT6_AFailureIsNotHiddenByRetriesRetirementsOrRepairsByHand(t *testing.T) {
	ring := []rollout.Ring{{Name: "A", Groups: []fleet.GroupID{"a"}, SuccessRate: 100}}
	for name, later := range map[string]func(*story){
		"a retry":        func(s *story) { s.report("a0", installation.Installing) },
		"a retirement":   func(s *story) { s.report("a0", installation.Failed, func(o *rollout.Outcome) { o.Gone = true }) },
		"forgotten":      func(s *story) { delete(s.outcomes, "a0"); s.advance() },
		"by other means": func(s *story) { s.report("a0", installation.Installed, func(o *rollout.Outcome) { o.Ours = false }) },
		"an older success": func(s *story) {
			s.report("a0", installation.Installed, func(o *rollout.Outcome) { o.Since = s.now.Add(-time.Hour) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := tell(t, ring, 10)
			s.report("a0", installation.Failed)
			later(s)
			if p := s.progress("A"); p.Failed != 1 || p.Devices != 10 {
				t.Errorf("%s", p)
			}
			s.now = s.now.Add(time.Minute)
			s.device("a0", "a")
			s.report("a0", installation.Installed)
			if p := s.progress("A"); p.Failed != 0 || p.Succeeded != 1 {
				t.Errorf("a later success: %s", p)
			}
		})
	}
}
