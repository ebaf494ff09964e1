package plan_test

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"assent/approval"
	"assent/catalog"
	"assent/fleet"
	"assent/installation"
	"assent/plan"
	"assent/task"
	"assent/wire"
)

// goes is that apt would remove a package along with something.
func goes(name string) wire.Change {
	return wire.Change{Op: wire.OpRemove, Name: name, Arch: "amd64", From: "1.0", Source: name, SrcVer: "1.0"}
}

// naming is a task that names packages that may go.
func naming(id string, names ...string) task.Task {
	return custom(id, func(t *task.Task) { t.Options.Removals, t.Options.Removable = len(names) > 0, names })
}

func TestT3_APackageGoesAlongOnlyWhereEveryTaskThatAdmitsTheUpdateNamesIt(t *testing.T) {
	essential := goes("old")
	essential.Essent = true
	for name, tc := range map[string]struct {
		tasks   []task.Task
		closure []wire.Change
		change  func(*world)
		want    installation.Cause // empty: it installs
		says    string
	}{
		"nobody names it":      {tasks: []task.Task{naming("a")}, closure: []wire.Change{goes("old")}, want: installation.RemovalNeeded, says: `"Task a" (assent task edit a --may-remove old)`},
		"the task names it":    {tasks: []task.Task{naming("a", "old")}, closure: []wire.Change{goes("old")}, says: "it removes old 1.0"},
		"one of two names it":  {tasks: []task.Task{naming("a", "old"), naming("b", "older")}, closure: []wire.Change{goes("old")}, want: installation.RemovalNeeded, says: `"Task b" (assent task edit b`},
		"both name it":         {tasks: []task.Task{naming("a", "old"), naming("b", "x", "old")}, closure: []wire.Change{goes("old")}, says: "it removes old 1.0"},
		"another would go too": {tasks: []task.Task{naming("a", "old")}, closure: []wire.Change{goes("old"), goes("other")}, want: installation.RemovalNeeded, says: "other 1.0"},
		"a name is no pattern": {tasks: []task.Task{naming("a", "ol")}, closure: []wire.Change{goes("old")}, want: installation.RemovalNeeded},
		"it is essential":      {tasks: []task.Task{naming("a", "old")}, closure: []wire.Change{essential}, want: installation.RemovalNeeded, says: "cannot do without"},
		"it is the agent":      {tasks: []task.Task{naming("a", wire.AgentPackage)}, closure: []wire.Change{goes(wire.AgentPackage)}, want: installation.RemovalNeeded, says: "cannot do without"},
		"it is on hold": {tasks: []task.Task{naming("a", "old")}, closure: []wire.Change{goes("old")}, want: installation.HeldPackage,
			change: func(w *world) { w.installed[0].Hold = true }},
		"it is declined": {tasks: []task.Task{naming("a", "old")}, closure: []wire.Change{goes("old")}, want: installation.RemovalNeeded, says: "declined and stays",
			change: func(w *world) { w.decide(w.known("old", "1.0"), fleet.Root, approval.Declined) }},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			w.installed = []wire.Package{{Name: "old", Arch: "amd64", Version: "1.0", Status: "ii", Source: "old", SourceVersion: "1.0"}}
			app := w.offer("app", "2.0", "1.0", tc.closure...)
			w.decide(app, fleet.Root, approval.Approved)
			if tc.change != nil {
				tc.change(w)
			}
			w.tasks = tc.tasks
			res := w.compute()
			v := verdict(t, res, app)
			if tc.want != "" {
				want(t, v, plan.Hold, tc.want)
			} else {
				want(t, v, plan.Install, "")
				if len(v.Removes) != 1 || v.Removes[0].Name != "old" || v.Removes[0].Version != "1.0" {
					t.Errorf("removes %+v", v.Removes)
				}
				if got := res.Plan.Terms[res.Plan.Install[0].Terms-1].Removable; !slices.Equal(got, []string{"old"}) {
					t.Errorf("the device may remove %v", got)
				}
			}
			if last := v.Reasons[len(v.Reasons)-1].Text; !strings.Contains(last, tc.says) {
				t.Errorf("it says %q", last)
			}
		})
	}
}

// known makes a release known that is installed and not offered.
func (w *world) known(name, version string) catalog.Release {
	r := release(name, version)
	w.updates[r.ID()] = catalog.Update{ID: r.ID(), Release: r, Class: catalog.ThirdParty, Items: []catalog.Bound{{Item: item(name, version), Role: catalog.Own, Rev: 1}}}
	return r
}

func TestT3_WhateverTasksNameADeviceMayRemoveOnlyWhatAllOfThemDo(t *testing.T) {
	names := []string{"a", "b", "c"}
	rapid.Check(t, func(t *rapid.T) {
		some := rapid.SliceOfNDistinct(rapid.SampledFrom(names), 0, 3, rapid.ID[string])
		w := newWorld()
		var closure []wire.Change
		for _, n := range some.Draw(t, "go") {
			closure = append(closure, goes(n))
		}
		app := w.offer("app", "2.0", "1.0", closure...)
		w.decide(app, fleet.Root, approval.Approved)
		w.tasks = nil
		for i := range rapid.IntRange(1, 3).Draw(t, "tasks") {
			w.tasks = append(w.tasks, naming(string(rune('a'+i)), some.Draw(t, "named")...))
		}
		all := func(name string) bool {
			return !slices.ContainsFunc(w.tasks, func(x task.Task) bool { return !slices.Contains(x.Options.Removable, name) })
		}
		res := w.compute()
		may := !slices.ContainsFunc(closure, func(c wire.Change) bool { return !all(c.Name) })
		if got := len(res.Plan.Install) == 1; got != may {
			t.Fatalf("installs %v, though all name all of it: %v", got, may)
		}
		for _, terms := range res.Plan.Terms {
			for _, name := range terms.Removable {
				if !all(name) {
					t.Fatalf("%s may go, and not all tasks name it", name)
				}
			}
		}
	})
}
