package plan_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"assent/approval"
	"assent/catalog"
	"assent/fleet"
	"assent/installation"
	"assent/ledger"
	"assent/plan"
	"assent/rollout"
	"assent/task"
	"assent/wire"
)

var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// world is a small fleet's knowledge for tests: a real implementation of plan.Known over maps.
type world struct {
	updates    map[catalog.UpdateID]catalog.Update
	decisions  []approval.Decision
	exceptions []approval.Exception
	offers     []wire.Offer
	installed  []wire.Package
	restore    []wire.RestoreItem
	rollbacks  []ledger.Rollback
	path       []fleet.GroupID
	guard      fleet.GuardMode
	state      fleet.DeviceState
	accepted   map[string]bool
	contents   map[catalog.UpdateID]ledger.Content
	deploys    []ledger.Deploy
	test       bool
	server     string
	agent      string
	rollouts   map[rolloutKey]rollout.State
	tasks      []task.Task // instead of the default one
	unfit      map[catalog.UpdateID]time.Time
	facts      *wire.Facts
	slots      map[string]time.Time
	foresee    bool
}

type rolloutKey struct {
	task   string
	update catalog.UpdateID
}

func newWorld() *world {
	return &world{updates: map[catalog.UpdateID]catalog.Update{}, path: []fleet.GroupID{"test", fleet.Root}, guard: fleet.BlockDeclined, state: fleet.Active,
		accepted: map[string]bool{}, contents: map[catalog.UpdateID]ledger.Content{}, server: "1.4.0", agent: "1.4.0"}
}

func (w *world) Update(id catalog.UpdateID) (catalog.Update, bool) {
	u, ok := w.updates[id]
	return u, ok
}

func (w *world) Decisions(s catalog.Software) []approval.Decision {
	return w.filter(func(d approval.Decision) bool { return d.Release.Software == s })
}

func (w *world) Exceptions(id catalog.UpdateID) []approval.Exception {
	return slices.DeleteFunc(slices.Clone(w.exceptions), func(e approval.Exception) bool { return e.Update != id })
}

func (w *world) Declines() []approval.Decision {
	return w.filter(func(d approval.Decision) bool { return d.Status == approval.Declined })
}

func (w *world) Approvals() []approval.Decision {
	return w.filter(func(d approval.Decision) bool { return d.Status == approval.Approved })
}

func (w *world) filter(keep func(approval.Decision) bool) []approval.Decision {
	return slices.DeleteFunc(slices.Clone(w.decisions), func(d approval.Decision) bool { return !keep(d) })
}

func (w *world) Rollout(task string, id catalog.UpdateID) (rollout.State, bool) {
	s, ok := w.rollouts[rolloutKey{task, id}]
	return s, ok
}
func (w *world) Accepted(digest string) bool { return w.accepted[digest] }

func (w *world) Content(id catalog.UpdateID) (ledger.Content, bool) {
	c, ok := w.contents[id]
	return c, ok
}

func (w *world) Releases(s catalog.Software) []catalog.Update {
	var out []catalog.Update
	for _, u := range w.updates {
		if u.Name == s.Name && u.Ecosystem == s.Ecosystem && (s.Namespace == "" || s.Namespace == u.Namespace) {
			out = append(out, u)
		}
	}
	return out
}

func release(name, version string) catalog.Release {
	return catalog.Release{Software: catalog.Software{Ecosystem: "deb", Namespace: "acme", Name: name}, Version: version}
}

func item(name, version string) catalog.Item {
	return catalog.Item{Name: name, Arch: "amd64", Version: version, Size: 1000, SHA256: strings.Repeat("a", 60) + fmt.Sprintf("%04x", len(name)*31+len(version))}
}

// offer makes a release known and offers it to the device, which has version from.
func (w *world) offer(name, version, from string, closure ...wire.Change) catalog.Release {
	r := release(name, version)
	w.updates[r.ID()] = catalog.Update{ID: r.ID(), Release: r, Class: catalog.ThirdParty, Severity: catalog.Unrated,
		Items: []catalog.Bound{{Item: item(name, version), Role: catalog.Own, Rev: 1}}}
	w.offers = append(w.offers, wire.Offer{Namespace: "acme", Name: name, Version: version, New: from == "",
		Items: []wire.OfferItem{{Item: item(name, version), Installed: from}}, Closure: closure})
	return r
}

func (w *world) decide(r catalog.Release, scope fleet.GroupID, s approval.Status) *approval.Decision {
	w.decisions = append(w.decisions, approval.Decision{Act: int64(len(w.decisions) + 1), Update: r.ID(), Release: r, Scope: scope, Status: s, Rev: 1, By: "ada", At: now.Add(-time.Hour)})
	return &w.decisions[len(w.decisions)-1]
}

func (w *world) compute() plan.Result {
	return plan.Compute(plan.Input{
		Device: fleet.Device{ID: "d1", Group: w.path[0], State: w.state}, Path: w.path, Guard: w.guard,
		Inventory: &wire.Inventory{Ecosystem: "deb", Packages: w.installed},
		Available: &wire.Available{Closed: true, Ecosystem: "deb", Agent: w.agent, Updates: w.offers, Restore: w.restore},
		Tasks:     tasks(w.allTasks()...), Unfit: w.unfit, Facts: w.facts, Rollbacks: w.rollbacks, Now: now, Known: w,
		Deploys: w.deploys, Test: w.test, Server: w.server, Slots: w.slots, Foresee: w.foresee,
	})
}

func (w *world) allTasks() []task.Task {
	if w.tasks != nil {
		return w.tasks
	}
	return []task.Task{task.Default()}
}

// tasks compiles tasks that are known to compile.
func tasks(list ...task.Task) task.Set {
	set, err := task.NewSet(list...)
	if err != nil {
		panic(err)
	}
	return set
}

func verdict(t *testing.T, res plan.Result, r catalog.Release) plan.Verdict {
	t.Helper()
	for _, v := range res.Verdicts {
		if v.Release == r {
			return v
		}
	}
	t.Fatalf("no verdict on %s %s", r.Name, r.Version)
	return plan.Verdict{}
}

func upgrade(name, version string) wire.Change {
	it := item(name, version)
	return wire.Change{Op: wire.OpUpgrade, Name: name, Arch: it.Arch, Version: version, SHA256: it.SHA256, Size: it.Size, Source: name, SrcVer: version, Space: "acme"}
}

func install(name, version string) wire.Change {
	ch := upgrade(name, version)
	ch.Op = wire.OpInstall
	return ch
}

func want(t *testing.T, v plan.Verdict, action plan.Action, cause installation.Cause) {
	t.Helper()
	if v.Action != action || v.Cause != cause {
		t.Errorf("%s %s: verdict %s/%s, want %s/%s; reasons: %v", v.Release.Name, v.Release.Version, v.Action, v.Cause, action, cause, v.Reasons)
	}
	if len(v.Reasons) == 0 {
		t.Errorf("%s %s: a verdict without a reason", v.Release.Name, v.Release.Version)
	}
}

func TestA1_NewlySeenUpdateIsUndefinedAndNotInstalled(t *testing.T) {
	w := newWorld()
	r := w.offer("app", "2.0", "1.0")
	v := verdict(t, w.compute(), r)
	want(t, v, plan.None, "")
	if v.Status != approval.Undefined {
		t.Errorf("status %s", v.Status)
	}
}

func TestT7_ApprovingIsEnoughWithTheDefaultTask(t *testing.T) {
	w := newWorld()
	r := w.offer("app", "2.0", "1.0")
	w.decide(r, fleet.Root, approval.Approved)
	res := w.compute()
	want(t, verdict(t, res, r), plan.Install, "")
	wantPlan := []wire.PlanInstall{{Update: r.ID(), Release: r, Items: []catalog.Item{item("app", "2.0")}}}
	if diff := cmp.Diff(wantPlan, res.Plan.Install); diff != "" {
		t.Error(diff)
	}
}

func TestC3_DeclinedIsNotInstalledAndIsAWallInThePlan(t *testing.T) {
	w := newWorld()
	r := w.offer("app", "2.0", "1.0")
	w.decide(r, "test", approval.Approved)
	w.decide(r, fleet.Root, approval.Declined)
	res := w.compute()
	want(t, verdict(t, res, r), plan.None, installation.Declined)
	if len(res.Plan.Install) != 0 || len(res.Plan.Deny) != 1 || res.Plan.Deny[0].Items[0] != item("app", "2.0") {
		t.Errorf("plan: %+v", res.Plan)
	}
}

func TestC3_InstalledThoughDeclinedStaysAndSaysHowItCame(t *testing.T) {
	w := newWorld()
	r := w.offer("app", "2.0", "1.0")
	w.offers = nil
	w.installed = []wire.Package{{Name: "app", Arch: "amd64", Version: "2.0", Status: "ii", Source: "app", SourceVersion: "2.0", How: "by hand: apt install app"}}
	w.decide(r, fleet.Root, approval.Declined)
	v := verdict(t, w.compute(), r)
	want(t, v, plan.None, installation.Declined)
	if !v.Installed || !strings.Contains(v.Reasons[len(v.Reasons)-1].Text, "by hand: apt install app") {
		t.Errorf("%+v", v)
	}
}

func TestC3_RollbackIsAnExplicitActAndNeedsTheFile(t *testing.T) {
	w := newWorld()
	r := w.offer("app", "2.0", "1.0")
	w.offers = nil
	w.installed = []wire.Package{{Name: "app", Arch: "amd64", Version: "2.0", Status: "ii", Source: "app", SourceVersion: "2.0"}}
	w.decide(r, fleet.Root, approval.Declined)
	w.rollbacks = []ledger.Rollback{{Act: 9, By: "ada", UpdateRollback: ledger.UpdateRollback{Update: r.ID(), Scope: fleet.Root, Devices: []fleet.DeviceID{"d1"}}}}
	w.restore = []wire.RestoreItem{{Update: r.ID(), Name: "app", Arch: "amd64", Version: "1.0", Current: "2.0"}}
	want(t, verdict(t, w.compute(), r), plan.Hold, installation.ContentUnavailable)
	w.restore[0].From, w.restore[0].SHA256 = "repository", item("app", "1.0").SHA256
	res := w.compute()
	want(t, verdict(t, res, r), plan.Remove, "")
	if len(res.Plan.Rollback) != 1 || res.Plan.Rollback[0].Items[0].Version != "1.0" {
		t.Errorf("%+v", res.Plan.Rollback)
	}
	old := w.offer("app", "1.0", "")
	w.offers = nil
	w.decide(old, fleet.Root, approval.Declined)
	want(t, verdict(t, w.compute(), r), plan.Hold, installation.Declined)
}

func TestC4_ThirdPartyUndefinedFollowsTheTasksRules(t *testing.T) {
	w := newWorld()
	r := w.offer("app", "2.0", "1.0")
	tsk := task.Default()
	tsk.Rules = []task.Rule{{Admits: task.ApprovedOrUndefined}}
	in := plan.Input{Device: fleet.Device{ID: "d1", State: fleet.Active}, Path: w.path, Guard: w.guard, Inventory: &wire.Inventory{Ecosystem: "deb"},
		Available: &wire.Available{Ecosystem: "deb", Updates: w.offers}, Tasks: tasks(tsk), Now: now, Known: w}
	want(t, verdict(t, plan.Compute(in), r), plan.Install, "")
	tsk.Rules = nil
	in.Tasks = tasks(tsk)
	w.decide(r, fleet.Root, approval.Approved)
	want(t, verdict(t, plan.Compute(in), r), plan.None, "") // T1: a task without rules does nothing
}

// ruled is a world with one offer, and the plan of it under these tasks.
func ruled(status approval.Status, list ...task.Task) (plan.Input, catalog.Release) {
	w := newWorld()
	r := w.offer("app", "2.0", "1.0")
	if status != approval.Undefined {
		w.decide(r, fleet.Root, status)
	}
	return plan.Input{Device: fleet.Device{ID: "d1", State: fleet.Active}, Path: w.path, Guard: w.guard, Inventory: &wire.Inventory{Ecosystem: "deb", Packages: []wire.Package{{Name: "app", Arch: "amd64", Version: "1.0", Source: "app", SourceVersion: "1.0"}}},
		Available: &wire.Available{Ecosystem: "deb", Updates: w.offers}, Tasks: tasks(list...), Now: now, Known: w}, r
}

func withRule(id string, r task.Rule) task.Task {
	tk := task.Default()
	tk.ID, tk.Name, tk.Rules = id, id, []task.Rule{r}
	return tk
}

func TestT2_WhatARuleCannotJudgeHoldsAndSaysWhy(t *testing.T) {
	in, r := ruled(approval.Undefined, withRule("exploited", task.Rule{Admits: task.ApprovedOrUndefined, Criteria: "kev"}))
	v := verdict(t, plan.Compute(in), r)
	want(t, v, plan.Hold, installation.UnknownData)
	if last := v.Reasons[len(v.Reasons)-1].Text; !strings.Contains(last, "kev is not known") {
		t.Errorf("%q", last)
	}
}

func TestT2_CriteriaDecideAndTheTraceNamesEachRule(t *testing.T) {
	in, r := ruled(approval.Undefined, withRule("majors", task.Rule{Name: "big", Admits: task.ApprovedOrUndefined, Criteria: `new_major && class == "third_party"`}))
	v := verdict(t, plan.Compute(in), r)
	want(t, v, plan.Install, "")
	if v.Task != "majors" {
		t.Errorf("task %q", v.Task)
	}
	in, r = ruled(approval.Undefined, withRule("minors", task.Rule{Name: "small", Admits: task.ApprovedOrUndefined, Criteria: `!new_major`}), task.Default())
	v = verdict(t, plan.Compute(in), r)
	want(t, v, plan.None, "")
	var texts []string
	for _, s := range v.Reasons {
		texts = append(texts, s.Text)
	}
	for _, text := range []string{`the task "minors" does not admit it: it does not meet the criteria of rule "small"`, `the task "Install approved updates" does not admit it: rule 1 admits only approved updates`} {
		if !slices.Contains(texts, text) {
			t.Errorf("%q is not among %q", text, texts)
		}
	}
}

func TestT1_TwoTasksThatAdmitInstallOnceAndTheFirstInTheOrderLeads(t *testing.T) {
	first := withRule("zz", task.Rule{Admits: task.Approved})
	first.Order = -1
	in, r := ruled(approval.Approved, task.Default(), withRule("aa", task.Rule{Admits: task.Approved}), first)
	res := plan.Compute(in)
	if v := verdict(t, res, r); len(res.Plan.Install) != 1 || v.Task != "zz" {
		t.Errorf("%d installs, led by %q", len(res.Plan.Install), v.Task)
	}
}

func TestT3_OneTaskThatAllowsNoNewDependenciesIsEnough(t *testing.T) {
	strict := withRule("strict", task.Rule{Admits: task.Approved})
	strict.Options.NewDependencies = false
	w := newWorld()
	r := w.offer("app", "2.0", "1.0", install("lib", "1.0"))
	u := w.updates[r.ID()]
	u.Items = append(u.Items, catalog.Bound{Item: item("lib", "1.0"), Role: catalog.Dependency, Rev: 1})
	w.updates[r.ID()] = u
	w.decide(r, fleet.Root, approval.Approved)
	want(t, verdict(t, w.compute(), r), plan.Install, "")
	in := plan.Input{Device: fleet.Device{ID: "d1", State: fleet.Active}, Path: w.path, Guard: w.guard, Inventory: &wire.Inventory{Ecosystem: "deb"},
		Available: &wire.Available{Ecosystem: "deb", Updates: w.offers}, Tasks: tasks(task.Default(), strict), Now: now, Known: w}
	want(t, verdict(t, plan.Compute(in), r), plan.Hold, installation.UnapprovedDependency)
}

func TestA5_ApprovalDoesNotCarryOverToANewerVersion(t *testing.T) {
	w := newWorld()
	old, newer := w.offer("app", "1.1", "1.0"), w.offer("app", "2.0", "1.0")
	w.decide(old, fleet.Root, approval.Approved)
	res := w.compute()
	want(t, verdict(t, res, old), plan.Install, "")
	want(t, verdict(t, res, newer), plan.None, "")
	w.decide(newer, fleet.Root, approval.Approved)
	res = w.compute()
	want(t, verdict(t, res, newer), plan.Install, "")
	v := verdict(t, res, old)
	want(t, v, plan.None, "")
	if v.Superseded != newer.ID() {
		t.Errorf("superseded by %q", v.Superseded)
	}
}

func TestPromise1_ApprovalBindsTheContentThatWasOnScreen(t *testing.T) {
	w := newWorld()
	r := w.offer("app", "2.0", "1.0")
	w.decide(r, fleet.Root, approval.Approved)
	other := strings.Repeat("b", 64)
	w.offers[0].Items[0].SHA256 = other
	v := verdict(t, w.compute(), r)
	want(t, v, plan.Hold, installation.DigestMismatch)
	if text := v.Reasons[len(v.Reasons)-1].Text; !strings.Contains(text, other) || !strings.Contains(text, item("app", "2.0").SHA256) {
		t.Errorf("the reason does not name both digests: %s", text)
	}
	w.offers[0].Items[0].Item = catalog.Item{Name: "app-extra", Arch: "amd64", Version: "2.0", SHA256: other}
	want(t, verdict(t, w.compute(), r), plan.Hold, installation.NotCovered)
	w.offers[0].Items[0].SHA256 = ""
	want(t, verdict(t, w.compute(), r), plan.Hold, installation.UnknownData)
}

func TestV2_UnapprovedDependencyNamesTheSmallestSetToApprove(t *testing.T) {
	w := newWorld()
	lib, deep := w.offer("lib", "2.0", "1.0", upgrade("deep", "2.0")), w.offer("deep", "2.0", "1.0")
	app := w.offer("app", "2.0", "1.0", upgrade("lib", "2.0"), upgrade("deep", "2.0"))
	w.decide(app, fleet.Root, approval.Approved)
	v := verdict(t, w.compute(), app)
	want(t, v, plan.Hold, installation.UnapprovedDependency)
	if diff := cmp.Diff([]catalog.Release{lib, deep}, v.Needs); diff != "" {
		t.Error(diff)
	}
	w.decide(lib, fleet.Root, approval.Approved)
	v = verdict(t, w.compute(), app)
	want(t, v, plan.Hold, installation.UnapprovedDependency)
	w.decide(deep, fleet.Root, approval.Approved)
	v = verdict(t, w.compute(), app)
	want(t, v, plan.Install, "")
	if len(v.With) != 2 {
		t.Errorf("with: %v", v.With)
	}
}

func TestV2_ADeclinedDependencyBlocksOnlyThatUpdate(t *testing.T) {
	w := newWorld()
	lib := w.offer("lib", "2.0", "1.0")
	app, tool := w.offer("app", "2.0", "1.0", upgrade("lib", "2.0")), w.offer("tool", "2.0", "1.0")
	for _, r := range []catalog.Release{app, tool} {
		w.decide(r, fleet.Root, approval.Approved)
	}
	w.decide(lib, fleet.Root, approval.Declined)
	res := w.compute()
	want(t, verdict(t, res, app), plan.Hold, installation.DeclinedDependency)
	want(t, verdict(t, res, tool), plan.Install, "")
}

func TestV2_RemovalDowngradeHoldAndUnknownChangeHold(t *testing.T) {
	for name, tc := range map[string]struct {
		change wire.Change
		cause  installation.Cause
	}{
		"removal":   {wire.Change{Op: wire.OpRemove, Name: "old", From: "1.0"}, installation.RemovalNeeded},
		"downgrade": {wire.Change{Op: wire.OpDowngrade, Name: "old", From: "2.0", Version: "1.0"}, installation.DowngradeNeeded},
		"unknown":   {wire.Change{Op: "transmogrify", Name: "old"}, installation.UnknownData},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			app := w.offer("app", "2.0", "1.0", tc.change)
			w.decide(app, fleet.Root, approval.Approved)
			want(t, verdict(t, w.compute(), app), plan.Hold, tc.cause)
		})
	}
	w := newWorld()
	app := w.offer("app", "2.0", "1.0")
	w.offers[0].Items[0].Hold = true
	w.decide(app, fleet.Root, approval.Approved)
	want(t, verdict(t, w.compute(), app), plan.Hold, installation.HeldPackage)
}

func TestT3_NewDependencyComesInOnlyAsTheApprovalBoundIt(t *testing.T) {
	w := newWorld()
	dep := w.offer("newdep", "1.0", "")
	app := w.offer("app", "2.0", "1.0", install("newdep", "1.0"))
	w.decide(app, fleet.Root, approval.Approved)
	v := verdict(t, w.compute(), app)
	want(t, v, plan.Hold, installation.UnapprovedDependency) // seen after the approval: not bound
	u := w.updates[app.ID()]
	u.Items = append(u.Items, catalog.Bound{Item: item("newdep", "1.0"), Role: catalog.Dependency, Rev: 2})
	w.updates[app.ID()] = u
	want(t, verdict(t, w.compute(), app), plan.Hold, installation.UnapprovedDependency) // known now, but approved before
	w.decisions[0].Rev = 2
	v = verdict(t, w.compute(), app)
	want(t, v, plan.Install, "")
	if diff := cmp.Diff([]catalog.Item{item("newdep", "1.0")}, v.Extras); diff != "" {
		t.Error(diff)
	}
	w.decide(dep, fleet.Root, approval.Declined)
	want(t, verdict(t, w.compute(), app), plan.Hold, installation.DeclinedDependency)
}

func TestV2_AnUpdateThatNeedsAHeldOneIsHeldForTheSameCause(t *testing.T) {
	w := newWorld()
	lib := w.offer("lib", "2.0", "1.0", wire.Change{Op: wire.OpRemove, Name: "old", From: "1.0"})
	app := w.offer("app", "2.0", "1.0", upgrade("lib", "2.0"))
	w.decide(lib, fleet.Root, approval.Approved)
	w.decide(app, fleet.Root, approval.Approved)
	want(t, verdict(t, w.compute(), app), plan.Hold, installation.RemovalNeeded)
}

func TestUnknownHolds_QuarantinedDeviceAndMissingInventory(t *testing.T) {
	w := newWorld()
	r := w.offer("app", "2.0", "1.0")
	w.decide(r, fleet.Root, approval.Approved)
	w.state = fleet.Quarantined
	want(t, verdict(t, w.compute(), r), plan.Hold, installation.UnknownData)
	in := plan.Input{Device: fleet.Device{ID: "d1", State: fleet.Active}, Path: w.path, Available: &wire.Available{Ecosystem: "deb", Updates: w.offers},
		Tasks: tasks(task.Default()), Now: now, Known: w}
	want(t, verdict(t, plan.Compute(in), r), plan.Hold, installation.UnknownData)
}

func TestA3_ExceptionOpensTheWallForItsScopeOnly(t *testing.T) {
	w := newWorld()
	r := w.offer("app", "2.0", "1.0")
	w.decide(r, fleet.Root, approval.Approved)
	d := w.decide(r, fleet.Root, approval.Declined)
	w.decide(r, "test", approval.Approved)
	w.exceptions = []approval.Exception{{Act: 99, Decline: d.Act, Update: r.ID(), Scope: "test", Reason: "trial", By: "bob", Expires: now.Add(time.Hour)}}
	res := w.compute()
	want(t, verdict(t, res, r), plan.Install, "")
	if len(res.Plan.Deny) != 0 {
		t.Errorf("the wall still stands: %+v", res.Plan.Deny)
	}
	w.path = []fleet.GroupID{"prod", fleet.Root}
	res = w.compute()
	want(t, verdict(t, res, r), plan.None, installation.Declined)
	if len(res.Plan.Deny) != 1 {
		t.Error("the wall is gone elsewhere")
	}
}

func TestGuard_ApprovedOnlyPlanListsAllApprovedContent(t *testing.T) {
	w := newWorld()
	w.guard = fleet.ApprovedOnly
	elsewhere := w.offer("elsewhere", "1.0", "")
	w.offers = nil
	w.decide(elsewhere, fleet.Root, approval.Approved)
	res := w.compute()
	if len(res.Plan.Allow) != 1 || res.Plan.Allow[0].Items[0] != item("elsewhere", "1.0") {
		t.Errorf("%+v", res.Plan.Allow)
	}
}

func TestV3_HalfConfiguredIsNeitherInstalledNorGoneAndCanBeRolledBack(t *testing.T) {
	w := newWorld()
	r := w.offer("app", "2.0", "1.0")
	w.offers = nil
	u := w.updates[r.ID()]
	u.Items = append(u.Items, catalog.Bound{Item: item("app-doc", "2.0"), Role: catalog.Own, Rev: 1})
	w.updates[r.ID()] = u
	w.installed = []wire.Package{{Name: "app", Arch: "amd64", Version: "2.0", Status: "ii", Source: "app", SourceVersion: "2.0"},
		{Name: "app-doc", Arch: "amd64", Version: "2.0", Status: "iF", Source: "app", SourceVersion: "2.0"}}
	v := verdict(t, w.compute(), r)
	want(t, v, plan.Hold, installation.InstallFailed)
	w.rollbacks = []ledger.Rollback{{Act: 9, By: "ada", UpdateRollback: ledger.UpdateRollback{Update: r.ID(), Scope: fleet.Root, Devices: []fleet.DeviceID{"d1"}}}}
	w.restore = []wire.RestoreItem{{Update: r.ID(), Name: "app", Arch: "amd64", Version: "1.0", Current: "2.0", From: "cache", SHA256: item("app", "1.0").SHA256}}
	want(t, verdict(t, w.compute(), r), plan.Remove, "")
}
