package conductor_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"assent/approval"
	"assent/fleet"
	"assent/installation"
	"assent/ledger"
	"assent/plan"
	"assent/rollout"
	"assent/server/internal/index"
	"assent/server/internal/planner"
	"assent/task"
	"assent/wire"
)

func TestT6_ABadUpdateIsHaltedInPilotAndProductionNeverGetsIt(t *testing.T) {
	w := newWorld(t)
	w.task(rings())
	w.one()
	if v := w.verdict("test", tool); v.Action != plan.None {
		t.Fatalf("before anybody approved it: %s %s", v.Action, v.Cause)
	}
	w.through()
	for id, held := range map[fleet.DeviceID]bool{"pilot": false, "production": true} {
		v := w.verdict(id, tool)
		if (v.Cause == installation.RingNotOpen) != held || (v.Action == plan.Install) == held {
			t.Errorf("%s: %s %s (%v)", id, v.Action, v.Cause, v.Reasons)
		}
	}
	w.fails("pilot", tool)
	w.look()
	w.want(tool, "passed halted waiting")
	v := w.verdict("production", tool)
	reason := v.Reasons[len(v.Reasons)-1].Text
	if v.Action != plan.Hold || v.Cause != installation.RingNotOpen || !strings.Contains(reason, `halted at ring "Pilot"`) || !strings.Contains(reason, "1 device failed") {
		t.Errorf("Production: %s %s: %s", v.Action, v.Cause, reason)
	}
	w.pass(4 * time.Hour)
	w.want(tool, "passed halted waiting")
}

func TestT6_EveryChangeOfPhaseIsAnEntryByTheServerThatNamesTheRingAndTheReason(t *testing.T) {
	w := newWorld(t)
	w.task(rings())
	w.one()
	before := w.entries()
	w.through()
	var got []rollout.Transition
	for _, e := range before.since(t, w) {
		body, err := e.Decode()
		w.must(err)
		if step, ok := body.(ledger.RolloutStep); ok {
			if e.By != "assentd" || step.Verb != "" || step.Release != tool || len(step.Transitions) == 0 {
				t.Errorf("entry %d by %q: %+v", e.Seq, e.By, step)
			}
			got = append(got, step.Transitions...)
		}
	}
	if len(got) != len(w.moved) || len(got) != 4 { // Test runs, soaks, passed; Pilot runs
		t.Errorf("%d changes in the ledger, %d told: %+v", len(got), len(w.moved), got)
	}
	for _, tr := range got {
		if tr.Ring == "" || tr.Reason.Text == "" || tr.By != "" {
			t.Errorf("a change without ring or reason, or by somebody: %+v", tr)
		}
	}
}

func TestT6_ResumeForgivesTheFailureAndTheDeviceGetsAnotherTry(t *testing.T) {
	w := newWorld(t)
	w.task(rings())
	w.one()
	w.through()
	w.fails("pilot", tool)
	w.look()
	w.act(rollout.VerbResume, "", "the port was blocked by a rule")
	w.look()
	w.want(tool, "passed running waiting")
	if !w.obey("pilot") {
		t.Fatal("after resuming the device is ordered nothing")
	}
	w.pass(90 * time.Minute)
	w.want(tool, "passed passed running")
	if acts := w.state(tool).Acts; len(acts) != 1 || acts[0].By != "ada" || acts[0].Why == "" {
		t.Errorf("acts: %+v", acts)
	}
}

func TestT6_ASkippedRingLetsTheNextOneOpenByNameAndReasonOnly(t *testing.T) {
	w := newWorld(t)
	w.task(rings())
	w.one()
	w.through()
	w.act(rollout.VerbSkip, "Pilot", "its only device is on loan")
	w.look()
	w.want(tool, "passed skipped running")
	if v := w.verdict("production", tool); v.Action != plan.Install {
		t.Errorf("Production: %s %s", v.Action, v.Cause)
	}
	ring, _ := w.state(tool).Ring("Pilot")
	if !strings.Contains(ring.Reason.Text, "ada") || !strings.Contains(ring.Reason.Text, "on loan") {
		t.Errorf("the reason is %q", ring.Reason.Text)
	}
}

func TestT6_ZeroDevicesNeverPassARing(t *testing.T) {
	w := newWorld(t)
	w.task(rings())
	w.device("production", "production")
	w.decide(tool, approval.Approved)
	w.pass(26 * time.Hour)
	w.want(tool, "running waiting waiting")
	ring, _ := w.state(tool).Ring("Test")
	if ring.Reason.Code != rollout.NothingToTry || !ring.Reason.Code.NeedsPerson() {
		t.Errorf("ring Test: %s %s", ring.Reason.Code, ring.Reason.Text)
	}
	if v := w.verdict("production", tool); v.Action != plan.Hold || v.Cause != installation.RingNotOpen {
		t.Errorf("Production: %s %s", v.Action, v.Cause)
	}
}

func TestT6_ADeviceThatSaysNothingCountsAsAFailure(t *testing.T) {
	w := newWorld(t)
	w.task(rings())
	w.one()
	w.decide(tool, approval.Approved)
	w.look()
	w.pass(23*time.Hour, "test")
	w.want(tool, "running waiting waiting")
	w.pass(2*time.Hour, "test")
	w.want(tool, "halted waiting waiting")
	if stop := w.state(tool).Stop; stop == nil || !strings.Contains(stop.Reason.Text, "silent") {
		t.Errorf("halted: %+v", stop)
	}
}

func TestV4_WhatCameByOtherMeansProvesNothingAboutARing(t *testing.T) {
	w := newWorld(t)
	w.task(rings())
	w.one()
	w.decide(tool, approval.Approved)
	w.look()
	p := wire.Package{Name: "tool", Arch: "amd64", Version: "1.1", Status: "ii", Source: "tool", SourceVersion: "1.1", How: "by hand: apt install tool"}
	w.put("test", p)
	w.pass(3 * time.Hour)
	w.want(tool, "running waiting waiting")
	ring, _ := w.state(tool).Ring("Test")
	if ring.Progress.Elsewise != 1 || ring.Progress.Counted() != 0 || ring.Reason.Code != rollout.NothingToTry {
		t.Errorf("ring Test: %s (%s %s)", ring.Progress, ring.Reason.Code, ring.Reason.Text)
	}
}

func TestT6_ADeviceThatMovesInTheMiddleIsCountedOnceWhereItBegan(t *testing.T) {
	w := newWorld(t)
	w.task(rings())
	w.one()
	w.device("test2", "test")
	w.decide(tool, approval.Approved)
	w.look()
	w.Report("test", wire.Report{Update: tool.ID(), State: installation.Assigned}, wire.Report{Update: tool.ID(), State: installation.Downloading},
		wire.Report{Update: tool.ID(), State: installation.Downloaded}, wire.Report{Update: tool.ID(), State: installation.Installing})
	w.look()
	w.Act("ada", ledger.DeviceMove{IDs: []fleet.DeviceID{"test"}, Group: "production"})
	w.look()
	w.want(tool, "running waiting waiting")
	w.Report("test", wire.Report{Update: tool.ID(), State: installation.Installed, Proof: &wire.Proof{Transaction: "t1"}})
	p := wire.Package{Name: "tool", Arch: "amd64", Version: "1.1", Status: "ii", Source: "tool", SourceVersion: "1.1", How: "assent"}
	w.put("test", p)
	w.look()
	test, _ := w.state(tool).Ring("Test")
	production, _ := w.state(tool).Ring("Production")
	if test.Progress.Succeeded != 1 || test.Progress.Devices != 2 || production.Progress.Devices != 1 {
		t.Errorf("Test: %s of %d devices, Production: %d devices", test.Progress, test.Progress.Devices, production.Progress.Devices)
	}
	w.Act("ada", ledger.DeviceMove{IDs: []fleet.DeviceID{"test2"}, Group: "production"}) // it had not begun: it is one of Production now
	w.look()
	test, _ = w.state(tool).Ring("Test")
	production, _ = w.state(tool).Ring("Production")
	if test.Progress.Devices != 1 || production.Progress.Devices != 2 {
		t.Errorf("after the second move: Test has %d devices, Production %d", test.Progress.Devices, production.Progress.Devices)
	}
}

func TestC7_ATaskThatIsDeletedWhileItsInstallsRunTakesItsRolloutsAlong(t *testing.T) {
	w := newWorld(t)
	w.task(rings())
	w.one()
	w.decide(tool, approval.Approved)
	w.look()
	w.Report("test", wire.Report{Update: tool.ID(), State: installation.Assigned}, wire.Report{Update: tool.ID(), State: installation.Downloading},
		wire.Report{Update: tool.ID(), State: installation.Downloaded}, wire.Report{Update: tool.ID(), State: installation.Installing})
	w.look()
	w.Act("ada", ledger.TaskRemove{ID: ringed})
	w.look()
	w.Report("test", wire.Report{Update: tool.ID(), State: installation.Installed, Proof: &wire.Proof{Transaction: "t1"}}) // what runs is finished
	w.look()
	if s := w.state(tool); !s.Started.IsZero() {
		t.Errorf("the rollout of a task that is gone stands: %+v", s)
	}
	w.restart()
	w.look()
	if s := w.state(tool); !s.Started.IsZero() {
		t.Errorf("it came back with a restart: %+v", s)
	}
	if v := w.verdict("pilot", tool); v.Action != plan.None {
		t.Errorf("without the task: %s", v.Action)
	}
}

func TestT6_ADeclinedUpdateStandsStillAndGoesOnWhenItIsApprovedAgain(t *testing.T) {
	w := newWorld(t)
	w.task(rings())
	w.one()
	w.decide(tool, approval.Approved)
	w.look()
	w.obey("test")
	w.pass(30 * time.Minute)
	w.want(tool, "soaking waiting waiting")
	w.decide(tool, approval.Declined)
	w.pass(5 * time.Hour)
	w.want(tool, "soaking waiting waiting")
	w.decide(tool, approval.Approved)
	w.look()
	w.want(tool, "soaking waiting waiting") // the time in which it was declined did not soak
	w.pass(50 * time.Minute)
	w.want(tool, "passed running waiting")
}

func TestA5_ANewerReleaseThatIsRolledOutKeepsTheOlderOneFromOpeningFurtherRings(t *testing.T) {
	w := newWorld(t)
	w.task(rings())
	w.one()
	w.through()
	for _, id := range []fleet.DeviceID{"test", "pilot", "production"} {
		w.offer(id, "1.2")
	}
	w.decide(newer, approval.Approved)
	w.look()
	w.want(newer, "running waiting waiting")
	if s := w.state(tool); s.Superseded != newer.ID() {
		t.Fatalf("1.1 is superseded by %q", s.Superseded)
	}
	w.obey("pilot") // half a ring is not left without either
	w.pass(3 * time.Hour)
	w.want(tool, "passed passed waiting")
	w.decide(newer, approval.Declined)
	w.look()
	if s := w.state(tool); s.Superseded != "" {
		t.Errorf("1.2 is declined, and 1.1 is still superseded by %q", s.Superseded)
	}
	w.want(tool, "passed passed running")
}

func TestT6_ATaskThatLosesItsRingsLetsEverybodyInstall(t *testing.T) {
	w := newWorld(t)
	w.task(rings())
	w.one()
	w.through()
	w.task(nil)
	w.look()
	if v := w.verdict("production", tool); v.Action != plan.Install {
		t.Errorf("without rings: %s %s (%v)", v.Action, v.Cause, v.Reasons)
	}
	if !w.obey("production") {
		t.Error("the device's own plan does not have it")
	}
}

func TestT6_ATaskThatGainsARingHoldsWhatCameAfterIt(t *testing.T) {
	w := newWorld(t)
	w.task(rings()[1:])
	w.one()
	w.decide(tool, approval.Approved)
	w.look()
	w.want(tool, "running waiting")
	w.task(rings())
	w.look()
	w.want(tool, "running waiting waiting")
	if v := w.verdict("pilot", tool); v.Cause != installation.RingNotOpen {
		t.Errorf("Pilot: %s %s", v.Action, v.Cause)
	}
}

func TestT6_AClockThatJumpsOpensNothing(t *testing.T) {
	for name, jump := range map[string]time.Duration{"forward": 30 * 24 * time.Hour, "back": -5 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.task(rings())
			w.one()
			w.decide(tool, approval.Approved)
			w.look()
			w.obey("test")
			w.look()
			w.want(tool, "soaking waiting waiting")
			w.Advance(jump)
			w.look()
			w.want(tool, "soaking waiting waiting")
			ring, _ := w.state(tool).Ring("Test")
			if ring.Reason.Code != rollout.Unsettled {
				t.Errorf("the reason is %s: %s", ring.Reason.Code, ring.Reason.Text)
			}
			w.pass(2 * time.Hour)
			w.want(tool, "passed running waiting")
		})
	}
}

func TestT6_TwoTasksOnOneDeviceBothHaveToBeOpen(t *testing.T) {
	w := newWorld(t)
	w.task(rings())
	w.Act("ada", ledger.TaskSet{Task: task.Task{ID: "other", Name: "Other", Enabled: true, Targets: task.Targets{Groups: []fleet.GroupID{fleet.Root}},
		Rules: []task.Rule{{Admits: task.Approved}}, Rings: []rollout.Ring{{Name: "First", Groups: []fleet.GroupID{"pilot"}, SuccessRate: 1000}, {Name: "All", Groups: []fleet.GroupID{fleet.Root}, SuccessRate: 1000}}}})
	w.one()
	w.decide(tool, approval.Approved)
	w.look()
	for _, id := range []fleet.DeviceID{"test", "pilot"} {
		if v := w.verdict(id, tool); v.Cause != installation.RingNotOpen {
			t.Errorf("%s: %s %s", id, v.Action, v.Cause)
		}
	}
}

func TestT6_AnApprovalThatIsTakenBackStopsARolloutWhereItIs(t *testing.T) {
	w := newWorld(t)
	w.task(rings())
	w.one()
	w.decide(tool, approval.Approved)
	w.look()
	w.obey("test")
	w.look()
	w.decide(tool, approval.Undefined)
	w.pass(3 * time.Hour)
	w.want(tool, "soaking waiting waiting")
}

// TestT6_AStepThatCannotBeWrittenIsTakenAgain: nothing is shown that is not durable, and nothing is lost.
func TestT6_AStepThatCannotBeWrittenIsTakenAgain(t *testing.T) {
	w := newWorld(t)
	w.task(rings())
	w.one()
	w.through()
	w.fails("pilot", tool)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	before := w.entries()
	if err := w.c.Look(gone); err == nil {
		t.Fatal("nothing was written, and nobody says so")
	}
	w.want(tool, "passed running waiting")
	w.look()
	w.want(tool, "passed halted waiting")
	if n := len(before.since(t, w)); n != 1 {
		t.Errorf("%d entries", n)
	}
}

// TestV3_AScanDoesNotMakeAnInstallWellWhoseProbeFailed: it is there, fully installed, and it goes back by itself all the same.
func TestV3_AScanDoesNotMakeAnInstallWellWhoseProbeFailed(t *testing.T) {
	w := newWorld(t)
	w.task(rings(func(r []rollout.Ring) { r[0].Failures = 2; r[0].SuccessRate = 1 }), func(t *task.Task) { t.OnFailure = task.Restore })
	w.one()
	w.device("test2", "test")
	w.decide(tool, approval.Approved)
	w.look()
	w.fails("test", tool)
	w.put("test", wire.Package{Name: "tool", Arch: "amd64", Version: "1.1", Status: "ii", Source: "tool", SourceVersion: "1.1", How: "assent"})
	w.look()
	ring, _ := w.state(tool).Ring("Test")
	if ring.Progress.Failed != 1 || ring.Progress.Succeeded != 0 {
		t.Errorf("after the scan: %s", ring.Progress)
	}
	w.Index.View(func(v *index.View) {
		d, _ := v.Device("test")
		if row, _ := d.Install(tool.ID()); row.State != installation.Failed || row.Cause != installation.ProbeFailed {
			t.Errorf("the device is said to be %s (%s)", row.State, row.Cause)
		}
		u, _ := v.Update(tool.ID())
		if at := planner.Standing(d, u, plan.Verdict{Action: plan.None}); at.State != installation.Failed {
			t.Errorf("lists say that it is %s", at.State)
		}
	})
}
