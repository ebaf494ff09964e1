package slot

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"assent/fleet"
)

// ready is a device that could begin and was just heard of.
func ready(id fleet.DeviceID, at time.Time) Demand {
	return Demand{Device: id, Ready: true, Seen: at}
}

func held(s State) []fleet.DeviceID {
	var out []fleet.DeviceID
	for _, id := range []fleet.DeviceID{"a", "b", "c", "d"} {
		if _, ok := s.Held[id]; ok {
			out = append(out, id)
		}
	}
	return out
}

func TestI6_SilenceHoldsASlotOnlyUntilWhatMayHaveBegunIsOver(t *testing.T) {
	s := Give(State{Task: "t"}, []Demand{ready("a", start), ready("b", start)}, 1, start)
	silent := ready("a", start)
	for now := start; now.Before(start.Add(Lease + Grace)); now = now.Add(time.Minute) {
		s = Give(s, []Demand{silent, ready("b", now)}, 1, now)
		if diff := cmp.Diff([]fleet.DeviceID{"a"}, held(s)); diff != "" {
			t.Fatalf("after %s: %s", now.Sub(start), diff)
		}
	}
	at := start.Add(Lease + Grace)
	if s = Give(s, []Demand{silent, ready("b", at)}, 1, at); held(s)[0] != "b" {
		t.Errorf("held by %v", held(s))
	}
}

func TestI6_WhoCouldNotBeginComesAfterThoseWhoWaited(t *testing.T) {
	blocked := func(now time.Time) []Demand {
		return []Demand{{Device: "a", Seen: now}, ready("b", now)}
	}
	s := Give(State{Task: "t"}, []Demand{ready("a", start), ready("b", start)}, 1, start)
	now := start
	for ; len(held(s)) == 1 && held(s)[0] == "a"; now = now.Add(time.Minute) {
		s = Give(s, blocked(now), 1, now)
	}
	if held(s)[0] != "b" || now.Sub(start) > Lease+5*time.Minute {
		t.Errorf("after %s held by %v", now.Sub(start), held(s))
	}
}

func TestI6_ADeviceKeepsItsSlotWhileItIsAtItAndGivesItBackWhenItIsThrough(t *testing.T) {
	s := Give(State{Task: "t"}, []Demand{ready("a", start), ready("b", start)}, 1, start)
	now := start
	for range 60 {
		now = now.Add(time.Minute)
		s = Give(s, []Demand{{Device: "a", Busy: true, Seen: now}, ready("b", now)}, 1, now)
		if held(s)[0] != "a" {
			t.Fatalf("after %s held by %v", now.Sub(start), held(s))
		}
	}
	through := func() []Demand { return []Demand{{Device: "a", Idle: true, Seen: now}, ready("b", now)} }
	s = Give(s, through(), 1, now)
	if due := s.Due(now); !due.Equal(now.Add(Settle)) {
		t.Errorf("it is looked at again at %s", due)
	}
	now = now.Add(Settle)
	if s = Give(s, through(), 1, now); len(held(s)) != 1 || held(s)[0] != "b" {
		t.Errorf("held by %v", held(s))
	}
}

func TestI6_WhatIsAtItWithoutASlotCountsToo(t *testing.T) {
	s := Give(State{Task: "t"}, []Demand{{Device: "a", Busy: true, Seen: start}, ready("b", start), ready("c", start)}, 2, start)
	if diff := cmp.Diff([]fleet.DeviceID{"b"}, held(s)); diff != "" {
		t.Error(diff)
	}
}

func TestI6_ASmallerCapTakesNothingAwayAndGivesNothingMore(t *testing.T) {
	all := []Demand{ready("a", start), ready("b", start), ready("c", start)}
	s := Give(State{Task: "t"}, all, 2, start)
	if s = Give(s, all, 1, start.Add(time.Second)); len(held(s)) != 2 {
		t.Errorf("held by %v", held(s))
	}
}

func TestCap_OfTwoFiguresTheSmallerCountsAndNoneIsLessThanOne(t *testing.T) {
	for text, want := range map[string]int{"10": 10, "5%": 10, "0.1%": 1, "10 or 1%": 2, "1 or 100%": 1, "300": 300} {
		c, err := Parse(text)
		if err != nil || c.Of(200) != want || c.String() != text {
			t.Errorf("%q: %+v, %d, %q, %v", text, c, c.Of(200), c, err)
		}
	}
	for _, text := range []string{"0", "-1", "many", "101%", "0%", "5 or", "1000001"} {
		if c, err := Parse(text); err == nil {
			t.Errorf("%q is read as %+v", text, c)
		}
	}
	if c, err := Parse(""); err != nil || !c.None() {
		t.Errorf("%+v, %v", c, err)
	}
}
