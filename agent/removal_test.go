package agent

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"assent/installation"
	"assent/wire"
)

func TestT3_WhatATaskNamesGoesAlongWithItsUpdateAndNothingElseDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app, tool, other := file("app", "2"), file("tool", "2"), file("other", "2")
		app.Removes, tool.Removes = "old", "keep"
		b := newBench(t, []simFile{app, tool, other}, "app", "tool", "other", "old", "keep")
		p := installs(app, tool, other)
		p.Terms = []wire.PlanTerms{{Task: "Nightly", Removable: []string{"old"}}}
		p.Install[0].Terms, p.Install[1].Terms = 1, 1
		b.s.set(p)
		b.start(t)
		b.pass(time.Minute)
		if got := b.executed(); !slices.Contains(got, "-old:amd64=1") || slices.Contains(got, "-keep:amd64=1") || b.state(app.install()) != installation.Installed || b.state(other.install()) != installation.Installed {
			t.Errorf("executed %v", got)
		}
		r := b.s.last(tool.install())
		if r.State != installation.Blocked || r.Cause != installation.RemovalNeeded || !strings.Contains(r.Detail, "keep") || !strings.Contains(r.Detail, "--may-remove") {
			t.Errorf("%s because of %s (%s)", r.State, r.Cause, r.Detail)
		}
		if got := b.events("removed_along"); len(got) != 1 || !strings.Contains(got[0], "old 1") {
			t.Errorf("it tells %v", got)
		}
		legal(t, b)
	})
}

func TestT3_NothingGoesForAnUpdateThatMayRemoveNothingBecauseAnotherOneMay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app, tool := file("app", "2"), file("tool", "2")
		tool.Removes = "old" // app could let it go, and does not need to
		b := newBench(t, []simFile{app, tool}, "app", "tool", "old")
		p := installs(tool, app)
		p.Terms, p.Install[1].Terms = []wire.PlanTerms{{Removable: []string{"old"}}}, 1
		b.s.set(p)
		b.start(t)
		b.pass(time.Minute)
		if got := b.executed(); slices.Contains(got, "-old:amd64=1") || b.state(app.install()) != installation.Installed {
			t.Errorf("executed %v", got)
		}
		if r := b.s.last(tool.install()); r.Cause != installation.RemovalNeeded {
			t.Errorf("%s because of %s", r.State, r.Cause)
		}
	})
}

func TestT3_ATransactionEndsBeforeItBeginsIfThePlanNoLongerLetsItsPackageGo(t *testing.T) {
	app := file("app", "2")
	p := installs(app)
	p.Terms, p.Install[0].Terms = []wire.PlanTerms{{Removable: []string{"old"}}}, 1
	before := &held{plan: p, terms: readTerms(p)}
	orders := ordersOf(before)
	p.Terms = []wire.PlanTerms{{Removable: []string{"other"}}}
	if after := (&held{plan: p, terms: readTerms(p)}); !before.covers(orders) || after.covers(orders) {
		t.Error("what may be removed is no part of what is looked at last")
	}
}
