package approval_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"assent/approval"
	"assent/catalog"
	"assent/fleet"
)

var (
	now  = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	path = []fleet.GroupID{"leaf", "mid", fleet.Root}
	app  = catalog.Software{Ecosystem: "deb", Namespace: "debian", Name: "app"}
)

func release(version string) catalog.Release { return catalog.Release{Software: app, Version: version} }

func decision(act int64, version string, scope fleet.GroupID, s approval.Status) approval.Decision {
	r := release(version)
	return approval.Decision{Act: act, Update: r.ID(), Release: r, Scope: scope, Status: s, By: "ada", At: now.Add(-time.Hour)}
}

func evaluate(version string, ds ...approval.Decision) approval.Result {
	return approval.Evaluate(approval.Input{Release: release(version), Path: path, Decisions: ds, Now: now})
}

func TestA1_ThreeStatusesAndUndefinedByDefault(t *testing.T) {
	if r := evaluate("2.0"); r.Status != approval.Undefined || len(r.Trace) == 0 {
		t.Errorf("%+v", r)
	}
	if approval.Status("maybe").Valid() || !approval.Undefined.Valid() {
		t.Error("there are exactly three statuses")
	}
}

func TestA3_ParentDeclineBeatsChildApproval(t *testing.T) {
	r := evaluate("2.0", decision(1, "2.0", fleet.Root, approval.Declined), decision(2, "2.0", "leaf", approval.Approved))
	if r.Status != approval.Declined || r.Decision.Act != 1 {
		t.Errorf("%+v", r)
	}
}

func TestA3_ChildDeclineBeatsParentApproval(t *testing.T) {
	r := evaluate("2.0", decision(1, "2.0", fleet.Root, approval.Approved), decision(2, "2.0", "leaf", approval.Declined))
	if r.Status != approval.Declined || r.Decision.Act != 2 {
		t.Errorf("%+v", r)
	}
}

func TestA3_NearestApprovalCounts(t *testing.T) {
	r := evaluate("2.0", decision(1, "2.0", fleet.Root, approval.Approved), decision(2, "2.0", "mid", approval.Approved), decision(3, "2.0", "elsewhere", approval.Declined))
	if r.Status != approval.Approved || r.Decision.Act != 2 {
		t.Errorf("%+v", r)
	}
}

func TestA3_OnlyAnExceptionThatNamesTheDeclinePassesIt(t *testing.T) {
	ds := []approval.Decision{decision(1, "2.0", fleet.Root, approval.Declined), decision(2, "2.0", "leaf", approval.Approved)}
	exception := approval.Exception{Act: 3, Decline: 1, Update: release("2.0").ID(), Scope: "mid", Reason: "trial", By: "bob", Expires: now.Add(time.Hour)}
	for name, tc := range map[string]struct {
		change func(*approval.Exception)
		want   approval.Status
	}{
		"names it":       {func(*approval.Exception) {}, approval.Approved},
		"another act":    {func(e *approval.Exception) { e.Decline = 7 }, approval.Declined},
		"another update": {func(e *approval.Exception) { e.Update = "u0" }, approval.Declined},
		"another scope":  {func(e *approval.Exception) { e.Scope = "elsewhere" }, approval.Declined},
		"expired":        {func(e *approval.Exception) { e.Expires = now }, approval.Declined},
	} {
		t.Run(name, func(t *testing.T) {
			e := exception
			tc.change(&e)
			r := approval.Evaluate(approval.Input{Release: release("2.0"), Path: path, Decisions: ds, Exceptions: []approval.Exception{e}, Now: now})
			if r.Status != tc.want {
				t.Errorf("%s, want %s: %+v", r.Status, tc.want, r.Trace)
			}
			if len(r.Declines) != 1 {
				t.Error("the decline is not listed beside the exception")
			}
		})
	}
	both := append(slices.Clone(ds), decision(4, "2.0", "mid", approval.Declined))
	if r := approval.Evaluate(approval.Input{Release: release("2.0"), Path: path, Decisions: both, Exceptions: []approval.Exception{exception}, Now: now}); r.Status != approval.Declined || r.Decision.Act != 4 {
		t.Errorf("an exception from one decline passed another: %+v", r)
	}
}

func TestA4_DeclineReachesLaterVersionsAndEndsWithItsExpiry(t *testing.T) {
	later := decision(1, "2.0", fleet.Root, approval.Declined)
	later.Reach = approval.Reach{Later: true, Through: "2.5"}
	endless := later
	endless.Reach.Through = ""
	this := decision(1, "2.0", fleet.Root, approval.Declined)
	for name, tc := range map[string]struct {
		d       approval.Decision
		version string
		want    approval.Status
	}{
		"this, same":        {this, "2.0", approval.Declined},
		"this, later":       {this, "2.1", approval.Undefined},
		"later, earlier":    {later, "1.9", approval.Undefined},
		"later, pre":        {later, "2.0~rc1", approval.Undefined},
		"later, inside":     {later, "2.1", approval.Declined},
		"later, at end":     {later, "2.5", approval.Declined},
		"later, past end":   {later, "2.5.1", approval.Undefined},
		"endless, epoch":    {endless, "9:0.1", approval.Declined},
		"unparsable: holds": {endless, "not a version!", approval.Declined},
	} {
		t.Run(name, func(t *testing.T) {
			if r := evaluate(tc.version, tc.d); r.Status != tc.want {
				t.Errorf("%s, want %s", r.Status, tc.want)
			}
		})
	}
	this.Expires = now
	r := evaluate("2.0", this)
	if r.Status != approval.Undefined || !strings.Contains(r.Trace[0].Text, "expired") {
		t.Errorf("expired: %+v", r)
	}
}

func TestA5_ApprovalDoesNotCarryOver(t *testing.T) {
	if r := evaluate("2.1", decision(1, "2.0", fleet.Root, approval.Approved)); r.Status != approval.Undefined {
		t.Errorf("%+v", r)
	}
}

// reference is A3 written again without reaches and exceptions, for any tree path and any order of acts.
func reference(ds []approval.Decision) approval.Status {
	status := approval.Undefined
	for _, scope := range path {
		for _, d := range ds {
			if d.Scope == scope && d.Status == approval.Declined {
				return approval.Declined
			}
			if d.Scope == scope && d.Status == approval.Approved {
				status = approval.Approved
			}
		}
	}
	return status
}

func TestA3_PrecedenceHoldsForAnyDecisionsInAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var ds []approval.Decision
		for i := range rapid.IntRange(0, 6).Draw(t, "n") {
			scope := rapid.SampledFrom([]fleet.GroupID{"leaf", "mid", fleet.Root, "other"}).Draw(t, "scope")
			if slices.ContainsFunc(ds, func(d approval.Decision) bool { return d.Scope == scope }) {
				continue
			}
			ds = append(ds, decision(int64(i+1), "2.0", scope, rapid.SampledFrom([]approval.Status{approval.Approved, approval.Declined}).Draw(t, "status")))
		}
		got := evaluate("2.0", ds...).Status
		if want := reference(ds); got != want {
			t.Fatalf("%s, want %s for %+v", got, want, ds)
		}
		if again := evaluate("2.0", rapid.Permutation(ds).Draw(t, "order")...).Status; again != got {
			t.Fatalf("the order of decisions changed %s to %s", got, again)
		}
	})
}
