package rollout_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"assent/fault"
	"assent/installation"
	"assent/rollout"
)

func TestT6_AHaltCountsAtOnceAndOnlyAnActEndsIt(t *testing.T) {
	s := tell(t, threeRings(), 2, 6, 12)
	s.did(s.state.Halt("bob", "the phones are ringing", s.now))
	s.opens("Test", false)
	s.report("test*", installation.Installed)
	s.pass(24 * time.Hour)
	s.at(halted, waiting, waiting)
	s.because("Test", rollout.HaltedByPerson, "the phones are ringing")
	if p := s.progress("Test"); p.Succeeded != 2 {
		t.Errorf("what finished is not counted: %s", p)
	}
	_, _, err := s.state.Halt("ann", "me too", s.now)
	refused(t, err, fault.Conflict, "rollout_already_halted")
	_, _, err = s.state.Skip("Test", "ann", "x", s.now)
	refused(t, err, fault.Conflict, "rollout_halted")
	s.did(s.state.Resume("ann", "it was the weather", s.now))
	s.advance()
	s.at(soaking, waiting, waiting)
	_, _, err = s.state.Resume("ann", "again", s.now)
	refused(t, err, fault.Conflict, "rollout_not_halted")
}

func TestT6_AHaltBeforeTheFirstRingOpensIsLegal(t *testing.T) {
	s := tell(t, threeRings(), 2, 6, 12)
	s.state = rollout.Start("patch", "u123", s.rings, s.now)
	s.did(s.state.Halt("bob", "", s.now))
	s.advance()
	s.at(halted, waiting, waiting)
	s.did(s.state.Resume("bob", "ok", s.now))
	s.at(waiting, waiting, waiting)
	s.advance()
	s.at(running, waiting, waiting)
}

func TestT6_AFinishedRolloutCanBeHalted(t *testing.T) {
	s := tell(t, threeRings()[:1], 1)
	s.report("test0", installation.Installed)
	s.pass(time.Hour)
	s.at(passed)
	s.did(s.state.Halt("bob", "", s.now))
	s.at(halted)
	s.opens("Test", false)
}

func TestT6_ResumeForgivesWhatHaltedItAndCountsWhatComesAfter(t *testing.T) {
	s := tell(t, threeRings(), 2, 6, 12)
	s.report("test*", installation.Installed)
	s.pass(time.Hour)
	s.report("pilot0 pilot1 pilot2", installation.Failed)
	s.at(passed, halted, waiting)
	s.did(s.state.Resume("ann", "disk full on three", s.now))
	s.advance()
	s.at(passed, running, waiting)
	if p := s.progress("Pilot"); p.Forgiven != 3 || p.Counted() != 0 || p.Sample != 3 {
		t.Errorf("%+v", p)
	}
	s.now = s.now.Add(time.Minute)
	s.report("pilot0", installation.Installed)
	s.report("pilot1 pilot2 pilot3", installation.Failed) // anew
	s.at(passed, halted, waiting)
}

func TestT6_AHaltByAPersonForgivesNothing(t *testing.T) {
	s := tell(t, threeRings()[1:], 6, 12)
	s.report("pilot0 pilot1", installation.Failed)
	s.did(s.state.Halt("ann", "", s.now))
	s.did(s.state.Resume("ann", "ok", s.now))
	s.advance()
	if p := s.progress("Pilot"); p.Failed != 2 {
		t.Errorf("%+v", p)
	}
}

func TestT6_ASkipIsANamedOverrideOfTheRingAtHand(t *testing.T) {
	s := tell(t, threeRings(), 2, 6, 12)
	_, _, err := s.state.Skip("Production", "ann", "hurry", s.now)
	refused(t, err, fault.Conflict, "rollout_ring_not_current")
	_, _, err = s.state.Skip("Moon", "ann", "hurry", s.now)
	refused(t, err, fault.NotFound, "ring_unknown")
	_, _, err = s.state.Skip("Test", " ", "hurry", s.now)
	refused(t, err, fault.Invalid, "name_missing")
	_, _, err = s.state.Skip("Test", "ann", " ", s.now)
	refused(t, err, fault.Invalid, "reason_missing")
	_, _, err = s.state.Skip("Test", "ann", strings.Repeat("x", 1001), s.now)
	refused(t, err, fault.Invalid, "reason_too_long")
	s.did(s.state.Skip("Test", "ann", "exploited in the wild", s.now))
	s.did(s.state.Skip("Pilot", "ann", "exploited in the wild", s.now))
	s.advance()
	s.at(skipped, skipped, running)
	s.because("Test", rollout.SkippedByName, `ann skipped it: "exploited in the wild"`)
	s.opens("Test", true)
	if a := s.state.Acts; len(a) != 2 || a[1].Verb != rollout.VerbSkip || a[1].By != "ann" || a[1].Ring != "Pilot" {
		t.Errorf("%+v", a)
	}
	s.report("test*", installation.Failed)
	s.at(halted, halted, halted) // what comes after the skip counts
}

func TestT6_ARestartBeginsWithTheFirstRing(t *testing.T) {
	s := tell(t, threeRings(), 2, 6, 12)
	s.report("test*", installation.Installed)
	s.pass(time.Hour)
	s.report("pilot0 pilot1 pilot2", installation.Failed)
	s.did(s.state.Restart("ann", "new build of the driver", s.now))
	s.at(waiting, waiting, waiting)
	s.advance()
	s.at(soaking, waiting, waiting)
	s.pass(time.Hour)
	s.at(passed, running, waiting)
	if p := s.progress("Pilot"); p.Forgiven != 3 || s.state.Run != 2 {
		t.Errorf("%+v", p)
	}
	fresh := rollout.Start("patch", "u1", s.rings, s.now)
	_, _, err := fresh.Restart("ann", "why", s.now)
	refused(t, err, fault.Conflict, "rollout_not_begun")
	_, _, err = rollout.State{}.Halt("ann", "why", s.now)
	refused(t, err, fault.Conflict, "rollout_not_started")
}

func TestT6_ActsLeaveTheStateTheyStartFromAsItWas(t *testing.T) {
	s := tell(t, threeRings(), 2, 6, 12)
	s.report("test0", installation.Failed)
	s.at(halted, waiting, waiting)
	before, err := rollout.Encode(s.state)
	if err != nil {
		t.Fatal(err)
	}
	old := s.state
	s.did(s.state.Resume("ann", "x", s.now))
	s.report("test*", installation.Installed)
	s.did(s.state.Restart("ann", "x", s.now))
	after, err := rollout.Encode(old)
	if err != nil || !reflect.DeepEqual(before, after) {
		t.Errorf("a state changed under its owner: %v\n%s\n%s", err, before, after)
	}
}
