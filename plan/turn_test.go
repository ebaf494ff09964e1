package plan_test

import (
	"strings"
	"testing"
	"time"

	"assent/approval"
	"assent/fleet"
	"assent/installation"
	"assent/plan"
	"assent/slot"
	"assent/task"
	"assent/wire"
)

// onlyOne is a task that lets one device install at the same time, and restart if that is required.
func onlyOne(id string) task.Task {
	return custom(id, func(t *task.Task) {
		t.MaxConcurrent = slot.Cap{Devices: 1}
		t.Restart = task.Restart{When: wire.RestartIfRequired, Services: true}
	})
}

func TestI6_ADeviceInstallsAndRestartsOnlyInItsTurnInEveryTaskWithACap(t *testing.T) {
	w := newWorld()
	app := w.offer("app", "2.0", "1.0")
	w.decide(app, fleet.Root, approval.Approved)
	w.tasks = []task.Task{task.Default(), onlyOne("a"), onlyOne("b")}
	soon, later := now.Add(time.Minute), now.Add(time.Hour)
	for name, tc := range map[string]struct {
		slots   map[string]time.Time
		foresee bool
		want    bool
		ends    time.Time
	}{
		"no turn":             {},
		"in one of two":       {slots: map[string]time.Time{"a": later}, ends: later},
		"in both":             {slots: map[string]time.Time{"a": later, "b": soon}, want: true, ends: soon},
		"one is over":         {slots: map[string]time.Time{"a": now, "b": later}},
		"as if it had turns":  {foresee: true, want: true},
		"in a task without a": {slots: map[string]time.Time{"default": later}},
	} {
		t.Run(name, func(t *testing.T) {
			w.slots, w.foresee = tc.slots, tc.foresee
			res := w.compute()
			v := verdict(t, res, app)
			if !tc.want {
				want(t, v, plan.Hold, installation.TooManyAtOnce)
				if last := v.Reasons[len(v.Reasons)-1].Text; !strings.Contains(last, "at most 1 device at the same time") {
					t.Errorf("it says %q", last)
				}
			} else {
				want(t, v, plan.Install, "")
			}
			if got := res.Plan.Restart.When != wire.RestartNever; got != tc.want || !res.Plan.Restart.Services {
				t.Errorf("restarts %+v", res.Plan.Restart)
			}
			if !res.Ends.Equal(tc.ends) {
				t.Errorf("the plan ends %s, want %s", res.Ends, tc.ends)
			}
		})
	}
}

func TestI6_WhatSomethingElseHoldsDoesNotWaitForATurn(t *testing.T) {
	w := newWorld()
	app := w.offer("app", "2.0", "1.0", wire.Change{Op: wire.OpRemove, Name: "old", From: "1.0"})
	lib := w.offer("lib", "2.0", "1.0")
	user := w.offer("user", "2.0", "1.0", upgrade("lib", "2.0"))
	for _, r := range []string{"app", "lib", "user"} {
		w.decide(release(r, "2.0"), fleet.Root, approval.Approved)
	}
	capped := onlyOne("a")
	capped.Rules[0].Criteria = `name != "user"`
	w.tasks = []task.Task{task.Default(), capped}
	res := w.compute()
	want(t, verdict(t, res, app), plan.Hold, installation.RemovalNeeded)
	want(t, verdict(t, res, lib), plan.Hold, installation.TooManyAtOnce)
	want(t, verdict(t, res, user), plan.Hold, installation.TooManyAtOnce) // it needs lib
}
