package conductor_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"assent/approval"
	"assent/client"
	"assent/fault"
	"assent/fleet"
	"assent/installation"
	"assent/ledger"
	"assent/plan"
	"assent/rollout"
	"assent/server/internal/auth"
	"assent/task"
)

// TestT6_AHaltReachesDevicesThatWaitAtOnce: two devices of an open ring wait for a new plan; the failure of one ends the other's
// wait, and its new plan has nothing of the update.
func TestT6_AHaltReachesDevicesThatWaitAtOnce(t *testing.T) {
	for name, stop := range map[string]func(*world){
		"a device fails": func(w *world) { w.fails("test", tool) },
		"a person halts": func(w *world) { w.act(rollout.VerbHalt, "", "") },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.task(rings())
			w.one()
			w.device("test2", "test")
			w.decide(tool, approval.Approved)
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- w.c.Run(ctx) }()
			defer func() { cancel(); <-ended }()
			for w.verdict("test2", tool).Action != plan.Install {
				seq := w.Index.Seq()
				if w.verdict("test2", tool).Action != plan.Install {
					_, err := w.Index.WaitChange(t.Context(), seq)
					w.must(err)
				}
			}
			stmt, _, err := w.planner.For("test2")
			w.must(err)
			woken := make(chan struct{})
			go func() { w.planner.Wait(t.Context(), "test2", stmt); close(woken) }()
			stop(w)
			<-woken
			if v := w.verdict("test2", tool); v.Action != plan.Hold || v.Cause != installation.RingNotOpen {
				t.Errorf("the device that waited: %s %s", v.Action, v.Cause)
			}
		})
	}
}

func TestT6_OnlyThoseWhoseRoleCountsInAllGroupsOfTheTaskActOnItsRollouts(t *testing.T) {
	w := newWorld(t)
	w.Group("elsewhere", fleet.Root)
	w.task(rings(), func(t *task.Task) { t.Targets.Groups = []fleet.GroupID{"test", "pilot", "production"} })
	w.one()
	w.decide(tool, approval.Approved)
	w.look()
	who := func(role ledger.Role, scope fleet.GroupID) auth.Actor {
		return auth.Actor{Name: "eve", Role: role, Scope: scope}
	}
	for _, c := range []struct {
		who  auth.Actor
		verb rollout.Verb
		kind fault.Kind // empty: it is done
	}{
		{who(ledger.Viewer, fleet.Root), rollout.VerbHalt, fault.Forbidden},
		{who(ledger.Administrator, "test"), rollout.VerbHalt, fault.Forbidden},
		{who(ledger.Administrator, "elsewhere"), rollout.VerbHalt, fault.NotFound},
		{who(ledger.Approver, fleet.Root), rollout.VerbSkip, fault.Forbidden},
		{who(ledger.Approver, fleet.Root), rollout.VerbHalt, ""},
		{who(ledger.Approver, fleet.Root), rollout.VerbResume, ""},
		{who(ledger.Administrator, fleet.Root), rollout.VerbSkip, ""},
		{who(ledger.Approver, fleet.Root), "explode", fault.Invalid},
	} {
		before := w.entries()
		_, err := w.c.Act(t.Context(), c.who, client.RolloutAct{Task: ringed, Update: string(tool.ID()), Verb: c.verb, Reason: "because"})
		if c.kind == "" && err != nil || c.kind != "" && !errors.Is(err, c.kind) {
			t.Errorf("%s in %s, %s: %v, want %q", c.who.Role, c.who.Scope, c.verb, err, c.kind)
		}
		if entries := len(before.since(t, w)); (entries == 1) != (c.kind == "") {
			t.Errorf("%s in %s, %s: %d entries", c.who.Role, c.who.Scope, c.verb, entries)
		}
	}
	if _, err := w.c.Act(t.Context(), admin("ada"), client.RolloutAct{Task: ringed, Update: string(tool.ID()), Verb: rollout.VerbRestart, Reason: "a\x1b[2J"}); !errors.Is(err, fault.Invalid) {
		t.Errorf("a reason with control characters: %v", err)
	}
}

func TestT6_ARingThatAPersonOpensWaitsForOne(t *testing.T) {
	w := newWorld(t)
	w.task(rings(func(r []rollout.Ring) { r[1].Person = true }))
	w.one()
	w.decide(tool, approval.Approved)
	w.look()
	w.obey("test")
	w.pass(3 * time.Hour)
	w.want(tool, "passed waiting waiting")
	list, err := w.c.Rollouts(t.Context(), admin("ada"), client.RolloutQuery{Only: client.RolloutsWaiting})
	if err != nil || len(list.Items) != 1 || list.Items[0].Ring != "Pilot" || list.Items[0].Reason.Code != rollout.AwaitsPerson {
		t.Errorf("what waits for a person: %+v, %v", list.Items, err)
	}
	w.act(rollout.VerbOpen, "", "the pilots were told")
	w.look()
	w.want(tool, "passed running waiting")
}

func TestT6_ListsShowWhatNeedsAPersonFirstAndNeverAPercentage(t *testing.T) {
	w := newWorld(t)
	w.task(rings())
	w.one()
	w.through()
	d, err := w.c.Rollout(t.Context(), admin("ada"), "Ringed", "tool@1.1")
	if err != nil || len(d.Rings) != 3 || d.Rings[0].Rate != "1 of 1" || d.Rings[2].Rate != "no outcome yet" || d.Phase != client.RolloutRunning || d.Ring != "Pilot" {
		t.Errorf("%+v, %v", d, err)
	}
	if d.Rings[0].Groups[0] != "test" || d.Rings[0].Soak != "1h" {
		t.Errorf("ring Test: %+v", d.Rings[0])
	}
	w.fails("pilot", tool)
	w.look()
	d, err = w.c.Rollout(t.Context(), auth.Actor{Name: "eve", Role: ledger.Viewer, Scope: "production"}, ringed, string(tool.ID()))
	if err != nil || d.Phase != client.RolloutHalted || !d.NeedsPerson || len(d.Rings[1].Failures) != 0 {
		t.Errorf("what a reader of Production sees: %+v, %v", d, err)
	}
	d, err = w.c.Rollout(t.Context(), admin("ada"), ringed, string(tool.ID()))
	if err != nil || len(d.Rings[1].Failures) != 1 || d.Rings[1].Failures[0].Detail != "health probe failed; nobody listens on port 80" {
		t.Errorf("the device that failed: %+v, %v", d.Rings[1].Failures, err)
	}
	if _, err := w.c.Rollout(t.Context(), admin("ada"), ringed, "tool@9"); !errors.Is(err, fault.NotFound) {
		t.Errorf("an update that nobody knows: %v", err)
	}
}
