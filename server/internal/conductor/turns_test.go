package conductor_test

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"assent/approval"
	"assent/fleet"
	"assent/installation"
	"assent/plan"
	"assent/server/internal/index"
	"assent/slot"
	"assent/task"
	"assent/wire"
)

// capped are three devices of a task that lets so many install at the same time.
func capped(t *testing.T, c slot.Cap, change ...func(*task.Task)) *world {
	w := newWorld(t)
	w.task(nil, append(change, func(x *task.Task) { x.MaxConcurrent = c })...)
	w.one()
	w.decide(tool, approval.Approved)
	w.turns()
	return w
}

// turns has the conductor look until turns that are free are given on, with all devices heard of.
func (w *world) turns() {
	w.T.Helper()
	for range 3 {
		w.pass(slot.Settle + time.Second)
	}
}

// ordered are the devices whose plan orders the install now.
func (w *world) ordered() []fleet.DeviceID {
	w.T.Helper()
	var out []fleet.DeviceID
	for _, id := range []fleet.DeviceID{"pilot", "production", "test"} {
		v := w.verdict(id, tool)
		if v.Action == plan.Install {
			out = append(out, id)
		} else if v.Action == plan.Hold && v.Cause != installation.TooManyAtOnce {
			w.T.Errorf("%s is held by %s", id, v.Cause)
		}
	}
	return out
}

func (w *world) wantOrdered(want ...fleet.DeviceID) {
	w.T.Helper()
	if diff := cmp.Diff(want, w.ordered()); diff != "" {
		w.T.Fatalf("ordered (-want +got):\n%s", diff)
	}
}

func TestI6_DevicesInstallInTurnsAndNeverMoreThanTheTaskAllows(t *testing.T) {
	w := capped(t, slot.Cap{Devices: 1})
	var seen []fleet.DeviceID
	for range 3 {
		now := w.ordered()
		if len(now) != 1 || slices.Contains(seen, now[0]) {
			t.Fatalf("ordered on %v after %v", now, seen)
		}
		w.obey(now[0])
		seen = append(seen, now[0])
		w.turns()
	}
	w.wantOrdered()
}

func TestI6_APartOfTheDevicesIsAtLeastOne(t *testing.T) {
	if w := capped(t, slot.Cap{PerMille: 667}); len(w.ordered()) != 2 {
		t.Errorf("two thirds of three: %v", w.ordered())
	}
	if w := capped(t, slot.Cap{PerMille: 1}); len(w.ordered()) != 1 {
		t.Errorf("at least one: %v", w.ordered())
	}
}

func TestI6_WhoseTurnItIsOutlivesTheServer(t *testing.T) {
	w := capped(t, slot.Cap{Devices: 1})
	w.wantOrdered("pilot")
	w.pass(slot.Fresh+time.Minute, "pilot") // it fell silent in its turn: a server that forgot it would let another begin
	w.restart()
	w.pass(time.Minute, "pilot")
	w.wantOrdered("pilot")
}

func TestI6_ADeviceThatIsAtItCountsAlsoWhenTheTaskGetsItsCapOnlyThen(t *testing.T) {
	w := newWorld(t)
	w.task(nil)
	w.one()
	w.decide(tool, approval.Approved)
	for _, s := range []installation.State{installation.Assigned, installation.Downloading, installation.Downloaded, installation.Installing} {
		w.Report("test", wire.Report{Update: tool.ID(), State: s})
	}
	w.task(nil, func(x *task.Task) { x.MaxConcurrent = slot.Cap{Devices: 1} })
	w.turns()
	w.wantOrdered("test")
	w.obey("test")
	w.turns()
	if got := w.ordered(); len(got) != 1 || got[0] == "test" {
		t.Errorf("ordered on %v", got)
	}
}

func TestI6_ADeclineFreesTheTurnOfWhoDidNotBegin(t *testing.T) {
	w := capped(t, slot.Cap{Devices: 1})
	w.decide(tool, approval.Declined)
	w.turns()
	w.wantOrdered()
	w.Index.View(func(v *index.View) {
		if held := v.Slots(ringed).Held; len(held) != 0 {
			t.Errorf("turns of %v", held)
		}
	})
}

func TestI6_ASilentDeviceLosesItsTurnOnlyOnceItsPlanAndWhatItMayHaveBegunAreOver(t *testing.T) {
	w := capped(t, slot.Cap{Devices: 1})
	w.wantOrdered("pilot")
	w.pass(slot.Lease+slot.Grace-30*time.Minute, "pilot")
	w.wantOrdered()
	w.pass(time.Hour, "pilot")
	w.wantOrdered("production")
}

func TestI6_TheStatementOfADeviceEndsWithItsTurn(t *testing.T) {
	w := newWorld(t)
	w.task(nil)
	w.one()
	w.decide(tool, approval.Approved)
	long := w.expires("pilot")
	if left := long.Sub(w.Now()); left < 24*time.Hour {
		t.Fatalf("without a cap the plan counts for %s", left)
	}
	w.task(nil, func(x *task.Task) { x.MaxConcurrent = slot.Cap{Devices: 1} })
	w.turns()
	w.wantOrdered("pilot")
	if left := w.expires("pilot").Sub(w.Now()); left > slot.Lease {
		t.Errorf("in its turn the plan counts for %s, longer than the turn", left)
	}
	if left := w.expires("test").Sub(w.Now()); left < 24*time.Hour {
		t.Errorf("a plan that orders nothing counts for %s", left)
	}
	for range 4 { // heard of all the while: its turn is renewed, and the statement with it
		w.pass(14 * time.Minute)
		w.Report("pilot", wire.Report{Update: tool.ID(), State: installation.Assigned})
	}
	w.wantOrdered("pilot")
	if left := w.expires("pilot").Sub(w.Now()); left <= 0 || left > slot.Lease {
		t.Errorf("renewed, the plan counts for %s", left)
	}
}

func (w *world) expires(id fleet.DeviceID) time.Time {
	w.T.Helper()
	stmt, _, err := w.planner.For(id)
	w.must(err)
	var body wire.StatementBody
	w.must(json.Unmarshal(stmt.Body, &body))
	return body.Expires
}

func TestI6_ADeviceOutsideItsWindowIsNotGivenATurn(t *testing.T) {
	w := newWorld(t)
	w.task(nil, func(x *task.Task) {
		x.MaxConcurrent = slot.Cap{Devices: 1}
		x.Schedule.Rule, x.Schedule.Start, x.Schedule.Zone = "FREQ=DAILY", "2026-01-01T"+w.Now().Add(3*time.Hour).UTC().Format("15:04"), "UTC"
		w.must(x.Schedule.Length.UnmarshalText([]byte("1h")))
	})
	w.one()
	w.decide(tool, approval.Approved)
	w.turns()
	w.wantOrdered()
	w.pass(3*time.Hour + 10*time.Minute)
	w.turns()
	w.wantOrdered("pilot")
}
