package rollout_test

import (
	"slices"
	"testing"
	"time"

	"assent/fault"
	"assent/fleet"
	"assent/installation"
	"assent/rollout"
)

func TestT6_ClockJumpsOpenNothing(t *testing.T) {
	s := tell(t, threeRings(), 2, 6, 12)
	s.report("test*", installation.Installed)
	s.now = s.now.Add(10 * 365 * 24 * time.Hour)
	s.advance()
	s.at(soaking, waiting, waiting)
	s.because("Test", rollout.Unsettled, "jumped")
	s.now = s.now.Add(-11 * 365 * 24 * time.Hour)
	s.advance()
	s.at(soaking, waiting, waiting)
	for range 100 {
		s.now = s.now.Add(time.Hour)
		s.advance()
		s.now = s.now.Add(-2 * time.Hour)
		s.advance()
	}
	s.at(soaking, waiting, waiting)
	s.pass(time.Hour + rollout.Gap)
	s.at(passed, running, waiting) // and it is not stuck
}

func TestT6_AServerThatWasAwayCountsNeitherSoakNorSilence(t *testing.T) {
	s := tell(t, threeRings(), 2, 6, 12)
	s.report("test0", installation.Installed)
	s.now = s.now.Add(7 * 24 * time.Hour)
	s.advance() // nobody could report
	s.at(running, waiting, waiting)
	s.report("test1", installation.Installed)
	s.now = s.now.Add(7 * 24 * time.Hour)
	s.advance()
	s.at(soaking, waiting, waiting)
}

func TestT6_ARingDoesNotOpenBeforeItsTimeNorWithoutItsPerson(t *testing.T) {
	rings := []rollout.Ring{{Name: "A", Groups: []fleet.GroupID{"a"}, SuccessRate: 1000},
		{Name: "B", Groups: []fleet.GroupID{"b"}, SuccessRate: 1000, Person: true, NotBefore: start.Add(time.Hour)}}
	s := tell(t, rings, 1, 1)
	_, _, err := s.state.Open("B", "ann", "now", s.now)
	refused(t, err, fault.Conflict, "rollout_ring_not_current")
	s.report("a0", installation.Installed)
	s.because("B", rollout.AwaitsPerson, "person")
	s.did(s.state.Open("B", "ann", "change 4711", s.now))
	s.advance()
	s.because("B", rollout.NotBefore, "2026-11-23 19:00 UTC")
	_, _, err = s.state.Open("B", "ann", "again", s.now)
	refused(t, err, fault.Conflict, "rollout_ring_needs_no_person")
	s.pass(55 * time.Minute)
	s.at(passed, waiting)
	s.pass(5 * time.Minute)
	s.at(passed, running)
	if s.state.Rings[1].OpenedBy != "ann" {
		t.Error("who opened it is not kept")
	}
}

func TestT6_ASupersededReleaseOpensNoFurtherRingAndStaysShown(t *testing.T) {
	s := tell(t, threeRings(), 2, 6, 12)
	s.report("test*", installation.Installed)
	s.state = s.state.Supersede("u456")
	s.pass(2 * time.Hour)
	s.at(passed, waiting, waiting)
	s.because("Pilot", rollout.Superseded, "u456")
	s.opens("Test", true)
	_, _, err := s.state.Skip("Pilot", "ann", "why not", s.now)
	refused(t, err, fault.Conflict, "rollout_superseded")
	s.report("test0", installation.Removed)
	s.at(halted, waiting, waiting) // it can still fail
}

func TestT6_ATaskWithoutRingsIsOpenToAllUntilHalted(t *testing.T) {
	s := tell(t, nil)
	s.opens("", true)
	s.did(s.state.Halt("ann", "", s.now))
	s.advance()
	s.opens("", false)
	s.did(s.state.Resume("ann", "fixed", s.now))
	s.opens("", true)
	if len(s.log) != 2 || s.log[0].To != halted || s.log[1].To != running {
		t.Errorf("%+v", s.log)
	}
}

func TestT6_NothingIsOpenBeforeItBeganNorForStrangers(t *testing.T) {
	if ok, why := rollout.Opens(rollout.State{}, "Test"); ok || why.Code != rollout.NotStarted {
		t.Errorf("%v %v", ok, why)
	}
	s := tell(t, threeRings(), 2, 6, 12)
	s.opens("", false)
	s.opens("Nirvana", false)
	if st, ts := rollout.Advance(rollout.State{}, s.rings, nil, s.now); !st.Started.IsZero() || ts != nil {
		t.Error("a rollout that nobody started advanced")
	}
}

func TestT6_ARingPutBeforeAnOpenOneShutsIt(t *testing.T) {
	s := tell(t, threeRings(), 2, 6, 12)
	s.report("test*", installation.Installed)
	s.pass(time.Hour)
	s.at(passed, running, waiting)
	s.rings = slices.Insert(s.rings, 1, rollout.Ring{Name: "Labs", Groups: []fleet.GroupID{"labs"}, SuccessRate: 1000})
	s.device("labs0", "labs")
	s.advance()
	s.at(passed, running, waiting, waiting)
	s.opens("Pilot", false)
	s.rings = slices.Delete(s.rings, 1, 2)
	s.advance()
	s.at(passed, running, waiting)
}
