package plan_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"assent/approval"
	"assent/catalog"
	"assent/fleet"
	"assent/installation"
	"assent/plan"
	"assent/rollout"
	"assent/task"
	"assent/window"
	"assent/wire"
)

// custom is a task for all devices that admits approved updates, with a change.
func custom(id string, change func(*task.Task)) task.Task {
	t := task.Task{ID: id, Name: "Task " + id, Enabled: true, Targets: task.Targets{Groups: []fleet.GroupID{fleet.Root}},
		Rules: []task.Rule{{Admits: task.Approved}}, Options: task.Options{NewDependencies: true}}
	if change != nil {
		change(&t)
	}
	return t
}

func TestT3_TheTermsOfTheTasksThatAdmitAnUpdateGoWithIt(t *testing.T) {
	w := newWorld()
	a, b := w.offer("openssl", "3.0.2", "3.0.1"), w.offer("tar", "2.0", "1.0")
	w.decide(a, fleet.Root, approval.Approved)
	w.decide(b, fleet.Root, approval.Approved)
	if res := w.compute(); res.Plan.Format != 1 || len(res.Plan.Terms) != 0 || res.Plan.Install[0].Terms != 0 {
		t.Errorf("the default task alone asks for nothing, and an agent of the first format must read it: %+v", res.Plan)
	}
	w.tasks = []task.Task{task.Default(), custom("night", func(t *task.Task) {
		t.Rules[0].Criteria = `name == "openssl"`
		t.Schedule = window.Schedule{Rule: "FREQ=DAILY", Start: "2026-01-01T02:00", Length: window.Duration(2 * time.Hour)}
		t.Options.StopAfter, t.Options.DownloadOnly = rollout.Span(time.Hour), true
		t.Options.Retries = task.Retries{Attempts: 2, First: rollout.Span(time.Minute)}
	})}
	res := w.compute()
	if res.Plan.Format != wire.PlanFormat || len(res.Plan.Terms) != 1 {
		t.Fatalf("format %d, terms %+v", res.Plan.Format, res.Plan.Terms)
	}
	for _, in := range res.Plan.Install {
		if got := in.Terms != 0; got != (in.Release == a) {
			t.Errorf("%s has terms %d", in.Release.Name, in.Terms)
		}
	}
	got := res.Plan.Terms[0]
	if len(got.Schedules) != 1 || got.StopAfter != 3600 || !got.DownloadOnly || got.Retries.Attempts != 2 || got.Retries.First != 60 {
		t.Errorf("%+v", got)
	}
	if s, err := window.Decode(got.Schedules[0]); err != nil || s.Rule != "FREQ=DAILY" {
		t.Errorf("the schedule arrives as %s: %v", got.Schedules[0], err)
	}
}

func TestT6_ADeviceInstallsOnlyWhenItsRingIsOpenInEveryTask(t *testing.T) {
	w := newWorld()
	r := w.offer("openssl", "3.0.2", "3.0.1")
	w.decide(r, fleet.Root, approval.Approved)
	rings := []rollout.Ring{{Name: "Test", Groups: []fleet.GroupID{"test"}, SuccessRate: 1000}, {Name: "All", Groups: []fleet.GroupID{fleet.Root}, SuccessRate: 1000}}
	ringed := custom("rings", func(t *task.Task) { t.Rings = rings })
	w.tasks = []task.Task{task.Default(), ringed}
	w.rollouts = map[rolloutKey]rollout.State{}
	v := verdict(t, w.compute(), r)
	want(t, v, plan.Hold, installation.RingNotOpen)
	because(t, v, "V2", "have not begun")

	begun, _ := rollout.Advance(rollout.Start("rings", r.ID(), rings, now), rings, []rollout.Outcome{{Device: "d1", Path: w.path, State: installation.Assigned, LastSeen: now, Since: now}}, now)
	w.rollouts[rolloutKey{"rings", r.ID()}] = begun
	want(t, verdict(t, w.compute(), r), plan.Install, "")

	w.path = []fleet.GroupID{"elsewhere", fleet.Root}
	v = verdict(t, w.compute(), r)
	want(t, v, plan.Hold, installation.RingNotOpen)
	because(t, v, "T6", `"Task rings"`)

	w.path = []fleet.GroupID{"test", fleet.Root}
	halted, _, err := begun.Halt("ada", "it breaks", now)
	if err != nil {
		t.Fatal(err)
	}
	w.rollouts[rolloutKey{"rings", r.ID()}] = halted
	want(t, verdict(t, w.compute(), r), plan.Hold, installation.RingNotOpen)
}

func TestT1_DeclinedUpdatesAreTriedOnTestDevicesOnlyWhereARuleSaysSo(t *testing.T) {
	w := newWorld()
	r := w.offer("openssl", "3.0.2", "3.0.1")
	other := w.offer("tar", "2.0", "1.0")
	w.decide(r, fleet.Root, approval.Declined)
	w.decide(other, fleet.Root, approval.Declined)
	w.tasks = []task.Task{custom("lab", func(t *task.Task) {
		t.Targets.Groups = []fleet.GroupID{"test"}
		t.Rules = []task.Rule{{Admits: task.AnyIncludingDeclined, Criteria: `name == "openssl"`}}
	})}
	want(t, verdict(t, w.compute(), r), plan.None, installation.Declined) // the group is not marked as one for tests
	w.test = true
	res := w.compute()
	v := verdict(t, res, r)
	want(t, v, plan.Install, "")
	because(t, v, "T1", "test device")
	want(t, verdict(t, res, other), plan.None, installation.Declined)
	for _, d := range res.Plan.Deny {
		if d.Update == r.ID() && len(d.Items) > 0 {
			t.Errorf("the wall against it still stands on the test device: %+v", d)
		}
		if d.Update == other.ID() && len(d.Items) == 0 {
			t.Error("the wall against the other one is gone")
		}
	}
}

func TestV3_AnApplicationWhoseProbesFailGoesBackWhereATaskSaysSoAndComesAgainOnlyByAnotherApproval(t *testing.T) {
	w := newWorld()
	r := w.publish("ledger", "2.0", nil)
	w.has(r)
	w.before(r, "cache", "1.0")
	d := w.decide(r, fleet.Root, approval.Approved)
	w.unfit = map[catalog.UpdateID]time.Time{r.ID(): now.Add(-time.Minute)}
	want(t, verdict(t, w.compute(), r), plan.None, "") // no task asks for it
	w.tasks = []task.Task{custom("careful", func(t *task.Task) { t.OnFailure = task.Restore })}
	res := w.compute()
	want(t, verdict(t, res, r), plan.Remove, "")
	if len(res.Plan.Rollback) != 1 || res.Plan.Rollback[0].Cause != string(installation.ProbeFailed) || res.Plan.Rollback[0].Items[0].Version != "1.0" {
		t.Errorf("%+v", res.Plan.Rollback)
	}
	// Once it is back, the approval that failed does not bring it again; a later one does.
	w.installed, w.restore = nil, nil
	w.has(managedRelease("ledger", "1.0"))
	w.offered(r, "1.0")
	v := verdict(t, w.compute(), r)
	want(t, v, plan.Hold, installation.ProbeFailed)
	because(t, v, "V3", "approve it again")
	w.decisions[len(w.decisions)-1].At = now
	_ = d
	want(t, verdict(t, w.compute(), r), plan.Install, "")
}

func TestT5_TheRestartPolicyOfTheDeviceGoesWithItsPlan(t *testing.T) {
	w := newWorld()
	w.tasks = []task.Task{task.Default(), custom("night", func(t *task.Task) {
		t.Restart = task.Restart{When: wire.RestartIfRequired}
		t.Schedule = window.Schedule{Rule: "FREQ=DAILY", Start: "2026-01-01T02:00", Length: window.Duration(2 * time.Hour)}
	})}
	p := w.compute().Plan.Restart
	if p == nil || p.When != wire.RestartIfRequired || !strings.Contains(string(p.Schedule), "FREQ=DAILY") {
		t.Errorf("%+v", p)
	}
	w.tasks = w.tasks[:1]
	if p := w.compute().Plan.Restart; p != nil {
		t.Errorf("the default task restarts: %+v", p)
	}
}

func TestT2_AResultSaysWhenAnAgeChangesIt(t *testing.T) {
	w := newWorld()
	r := w.offer("openssl", "3.0.2", "3.0.1")
	u := w.updates[r.ID()]
	u.FirstSeen = now.Add(-time.Hour)
	w.updates[r.ID()] = u
	w.tasks = []task.Task{custom("old", func(t *task.Task) {
		t.Rules = []task.Rule{{Admits: task.ApprovedOrUndefined, Criteria: `age_seen >= duration("48h")`}}
	})}
	res := w.compute()
	want(t, verdict(t, res, r), plan.None, "")
	if due := now.Add(47 * time.Hour); res.Turns.Before(due) || res.Turns.After(due.Add(time.Second)) {
		t.Errorf("turns at %s, want %s", res.Turns, due)
	}
}

// TestPromise2_NoTaskBringsADeclinedUpdateOntoADeviceThatIsNoTestDevice: whatever tasks say.
func TestPromise2_NoTaskBringsADeclinedUpdateOntoADeviceThatIsNoTestDevice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawManaged(t)
		w.test = rapid.Bool().Draw(t, "test device")
		any := false
		for i := range rapid.IntRange(1, 3).Draw(t, "tasks") {
			w.tasks = append(w.tasks, custom(string(rune('a'+i)), func(k *task.Task) {
				admits := rapid.SampledFrom([]task.Admits{task.Approved, task.ApprovedOrUndefined, task.AnyIncludingDeclined}).Draw(t, "admits")
				any = any || admits == task.AnyIncludingDeclined
				k.Rules = []task.Rule{{Admits: admits, Criteria: rapid.SampledFrom([]string{"", `name == "aa"`}).Draw(t, "criteria")}}
				k.OnFailure = rapid.SampledFrom([]task.OnFailure{"", task.Restore}).Draw(t, "failure")
			}))
		}
		for _, in := range w.compute().Plan.Install {
			if v := w.statusOf(in.Release); v == approval.Declined && !(w.test && any) {
				t.Fatalf("%s %s is declined and would be installed", in.Release.Name, in.Release.Version)
			}
		}
	})
}

func (w *world) statusOf(r catalog.Release) approval.Status {
	return approval.Evaluate(approval.Input{Release: r, Path: w.path, Decisions: w.Decisions(r.Software), Exceptions: slices.Clone(w.Exceptions(r.ID())), Now: now}).Status
}

func TestT3_EarlierReleasesComeFirstWhereATaskAsksForIt(t *testing.T) {
	w := newWorld()
	w.has(managedRelease("ledger", "1.0"))
	var all []catalog.Release
	for _, version := range []string{"1.2", "1.1", "1.3"} {
		all = append(all, w.offered(w.publish("ledger", version, nil), "1.0"))
	}
	for _, r := range all {
		w.decide(r, fleet.Root, approval.Approved)
	}
	want(t, verdict(t, w.compute(), all[2]), plan.Install, "")
	w.tasks = []task.Task{custom("steps", func(t *task.Task) { t.Options.EarlierFirst = true })}
	res := w.compute()
	want(t, verdict(t, res, all[1]), plan.Install, "")
	for _, r := range []catalog.Release{all[0], all[2]} {
		v := verdict(t, res, r)
		want(t, v, plan.None, "")
		because(t, v, "T3", "it comes after 1.1")
		if v.Superseded != "" {
			t.Errorf("%s reads as superseded", r.Version)
		}
	}
}

func TestT3_PrerequisitesAreWaitedForWhereATaskAsksForIt(t *testing.T) {
	w := newWorld()
	r := w.offered(w.publish("ledger", "2.0", func(u *catalog.Update) {
		u.Published.Requires = []catalog.Requirement{{Application: "runtime", Version: "3.0"}}
	}), "1.0")
	pre := w.offered(w.publish("runtime", "3.1", nil), "")
	w.decide(r, fleet.Root, approval.Approved)
	w.decide(pre, fleet.Root, approval.Approved)
	w.tasks = []task.Task{custom("patient", func(t *task.Task) { t.Options.HoldPrerequisites = true })}
	res := w.compute()
	want(t, verdict(t, res, pre), plan.None, "")
	v := verdict(t, res, r)
	want(t, v, plan.Hold, installation.Unresolvable)
	because(t, v, "V2", "waits until its prerequisite runtime 3.1")
	w.has(pre)
	want(t, verdict(t, w.compute(), r), plan.Install, "")
}
