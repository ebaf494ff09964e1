package decide_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"assent/approval"
	"assent/catalog"
	"assent/client"
	"assent/fault"
	"assent/fleet"
	"assent/ledger"
	"assent/server/internal/auth"
	"assent/server/internal/index/indextest"
	"assent/wire"
)

func TestA2_TenThousandUpdatesInOneActAreOneEntry(t *testing.T) {
	o := newOffice(t)
	o.Device("d1", fleet.Root)
	const n = 10_000
	var offers []wire.Offer
	for i := range n {
		name := fmt.Sprintf("tool%05d", i)
		o.Has("d1", name+" 1.0")
		offers = append(offers, indextest.Offer(name, "1.1", "1.0"))
	}
	o.Offered("d1", offers...)
	before := o.seq()
	out := o.act(client.Decide{Matching: &client.Filter{Status: []approval.Status{approval.Undefined}}, Status: approval.Approved})
	if len(out.Changed) != n || o.seq() != before+1 {
		t.Fatalf("%d changed in %d entries", len(out.Changed), o.seq()-before)
	}
	if out.Preview.Installs != n || out.Preview.Devices != 1 {
		t.Errorf("preview: %d installs on %d devices", out.Preview.Installs, out.Preview.Devices)
	}
	list := o.list(client.Filter{Status: []approval.Status{approval.Approved}}, client.Page{})
	if list.Total != n {
		t.Errorf("the next read counts %d approved", list.Total)
	}
	if got := len(o.installs("d1")); got != n {
		t.Errorf("%d installs are ordered", got)
	}
	again := o.act(client.Decide{Matching: &client.Filter{}, Status: approval.Approved})
	if again.Act != 0 || len(again.Skipped) != n || o.seq() != before+1 {
		t.Errorf("doing it again: act %d, %d skipped, %d entries", again.Act, len(again.Skipped), o.seq()-before)
	}
}

func TestA2_NothingChangedWritesNoEntry(t *testing.T) {
	o := oneTool(t)
	o.approve("tool@1.1")
	before := o.seq()
	for _, d := range []client.Decide{
		{Updates: []string{"tool@1.1"}, Status: approval.Approved},
		{Updates: []string{"tool@1.1"}, Status: approval.Declined, DryRun: true},
		{Matching: &client.Filter{Search: "nothing like it"}, Status: approval.Declined},
	} {
		if out := o.act(d); out.Act != 0 || o.seq() != before {
			t.Errorf("%+v: act %d, %d entries", d, out.Act, o.seq()-before)
		}
	}
}

// oneTool is an office with a device that could take tool 1.1.
func oneTool(t testing.TB) *office {
	o := newOffice(t)
	o.Device("d1", fleet.Root)
	o.Has("d1", "tool 1.0")
	o.Offered("d1", indextest.Offer("tool", "1.1", "1.0"))
	return o
}

func TestA2_ASingleBadInputIsAnErrorThatSaysWhatIsWrong(t *testing.T) {
	o := oneTool(t)
	o.Device("d2", fleet.Root)
	o.Has("d2", "tool 1.0", "other 1.0")
	o.Offered("d2", indextest.Offer("tool", "1.1", "1.0"), indextest.Offer("other", "2", "1.0"), indextest.Offer("other", "3", "1.0"))
	past := o.Now().Add(-time.Hour)
	for _, tc := range []struct {
		name string
		d    client.Decide
		kind fault.Kind
		code string
	}{
		{"unknown update", client.Decide{Updates: []string{"nothing"}, Status: approval.Approved}, fault.NotFound, "update_unknown"},
		{"a name with two releases", client.Decide{Updates: []string{"other"}, Status: approval.Approved}, fault.Invalid, "update_ambiguous"},
		{"unknown status", client.Decide{Updates: []string{"tool"}, Status: "maybe"}, fault.Invalid, "status_unknown"},
		{"nothing named", client.Decide{Status: approval.Approved}, fault.Invalid, "updates_missing"},
		{"named and matched", client.Decide{Updates: []string{"tool"}, Matching: &client.Filter{}, Status: approval.Approved}, fault.Invalid, "updates_twice"},
		{"unknown group", client.Decide{Updates: []string{"tool"}, Status: approval.Approved, Scope: "nowhere"}, fault.NotFound, "group_unknown"},
		{"expiry in the past", client.Decide{Updates: []string{"tool"}, Status: approval.Approved, Expires: past}, fault.Invalid, "expires_past"},
		{"expiry of nothing", client.Decide{Updates: []string{"tool"}, Status: approval.Undefined, Expires: o.Now().Add(time.Hour)}, fault.Invalid, "expires_useless"},
		{"reach of an approval", client.Decide{Updates: []string{"tool"}, Status: approval.Approved, Reach: approval.Reach{Later: true}}, fault.Invalid, "reach_useless"},
		{"reach below the version", client.Decide{Updates: []string{"tool"}, Status: approval.Declined, Reach: approval.Reach{Later: true, Through: "1.0"}}, fault.Invalid, "reach_below"},
		{"reach that is no version", client.Decide{Updates: []string{"tool"}, Status: approval.Declined, Reach: approval.Reach{Later: true, Through: "!"}}, fault.Invalid, "reach_below"},
		{"lift in bulk", client.Decide{Matching: &client.Filter{}, Status: approval.Approved, Lift: true}, fault.Invalid, "lift_bulk"},
		{"reason with a control character", client.Decide{Updates: []string{"tool"}, Status: approval.Approved, Reason: "a\nb"}, fault.Invalid, "reason_invalid"},
		{"reason with a direction character", client.Decide{Updates: []string{"tool"}, Status: approval.Approved, Reason: "a\u202eb"}, fault.Invalid, "reason_invalid"},
		{"endless reason", client.Decide{Updates: []string{"tool"}, Status: approval.Approved, Reason: strings.Repeat("x", 2001)}, fault.Invalid, "reason_too_long"},
		{"unknown filter value", client.Decide{Matching: &client.Filter{Status: []approval.Status{"maybe"}}, Status: approval.Approved}, fault.Invalid, "status_unknown"},
		{"superseded", client.Decide{Updates: []string{"other@2"}, Status: approval.Approved}, fault.Conflict, "superseded"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := o.seq()
			got := o.refused(tc.d)
			if !errors.Is(got, tc.kind) || got.Code != tc.code || got.Message == "" {
				t.Errorf("refused with %v", got)
			}
			if o.seq() != before {
				t.Error("a refusal was recorded")
			}
		})
	}
}

func TestA2_OnlyWhoHoldsTheRoleInTheScopeDecides(t *testing.T) {
	o := oneTool(t)
	o.Group("lab", fleet.Root)
	approver := auth.Actor{Name: "ben", Role: ledger.Approver, Scope: "lab"}
	for _, tc := range []struct {
		who   auth.Actor
		scope string
		ok    bool
	}{
		{o.viewer, "", false}, {approver, "", false}, {approver, "lab", true}, {o.admin, "lab", true},
		{auth.Actor{Name: "eve", Role: "owner", Scope: fleet.Root}, "", false}, {auth.Actor{}, "", false},
	} {
		_, err := o.decide.Decide(t.Context(), tc.who, client.Decide{Updates: []string{"tool"}, Status: approval.Approved, Scope: tc.scope, DryRun: true})
		if tc.ok != (err == nil) || err != nil && !errors.Is(err, fault.Forbidden) {
			t.Errorf("%+v in %q: %v", tc.who, tc.scope, err)
		}
	}
}

func TestA3_ADeclineAboveIsNamedWhenAChildIsApprovedAndAnExceptionLetsItPass(t *testing.T) {
	o := newOffice(t)
	o.Group("test", fleet.Root)
	o.Device("d1", "test")
	o.Device("d2", fleet.Root)
	for _, d := range []fleet.DeviceID{"d1", "d2"} {
		o.Has(d, "tool 1.0")
		o.Offered(d, indextest.Offer("tool", "1.1", "1.0"))
	}
	declined := o.decline("tool@1.1")
	refusal := o.refused(client.Decide{Updates: []string{"tool@1.1"}, Status: approval.Approved, Scope: "test"})
	if refusal.Code != "declined_above" || !strings.Contains(refusal.Message, "All devices") || !strings.Contains(refusal.Message, fmt.Sprint(declined.Act)) || !strings.Contains(refusal.Message, "except") {
		t.Fatalf("refusal: %v", refusal)
	}
	bulk := o.act(client.Decide{Matching: &client.Filter{}, Status: approval.Approved, Scope: "test"})
	if len(bulk.Changed) > 0 || bulk.Skipped[0].Code != "outranked" {
		t.Fatalf("in bulk: %+v", bulk)
	}
	for _, bad := range []client.ExceptionRequest{
		{Update: "tool@1.1", Scope: "test", Expires: o.Now().Add(time.Hour)},
		{Update: "tool@1.1", Scope: "test", Reason: "trial"},
		{Update: "tool@1.1", Scope: "test", Reason: "trial", Expires: o.Now()},
		{Update: "tool@1.1", Scope: "test", Reason: "trial", Expires: o.Now().Add(time.Hour), Decline: 99},
	} {
		if _, err := o.decide.Except(t.Context(), o.admin, bad); err == nil {
			t.Errorf("an exception without reason, end or decline was made: %+v", bad)
		}
	}
	made, err := o.decide.Except(t.Context(), o.admin, client.ExceptionRequest{Update: "tool@1.1", Scope: "test", Reason: "trial", Expires: o.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	o.act(client.Decide{Updates: []string{"tool@1.1"}, Status: approval.Approved, Scope: "test"})
	if got := o.installs("d1"); len(got) != 1 {
		t.Errorf("in the group of the exception: %v", got)
	}
	if got := o.installs("d2"); len(got) != 0 {
		t.Errorf("outside the exception: %v", got)
	}
	if o.row("tool@1.1").Exceptions != 1 {
		t.Error("the exception is not listed where the decline is")
	}
	list, err := o.decide.Exceptions(t.Context(), o.viewer)
	if err != nil || len(list.Items) != 1 || list.Items[0].ScopeName != "test" {
		t.Errorf("exceptions: %+v, %v", list, err)
	}

	// Time alone ends it: the statement does not outlive it, and the next plan is without.
	stmt, _, err := o.planner.For("d1")
	if err != nil {
		t.Fatal(err)
	}
	o.Advance(time.Hour)
	again, _, err := o.planner.For("d1")
	if err != nil || string(again.Sig) == string(stmt.Sig) || len(o.installs("d1")) != 0 {
		t.Errorf("after its end: %v, %v", o.installs("d1"), err)
	}
	if o.row("tool@1.1").Exceptions != 0 {
		t.Error("an ended exception counts")
	}
	if _, err := o.decide.Unexcept(t.Context(), o.admin, made.Act); err != nil {
		t.Error(err)
	}
}

func TestA3_WhoDecidesOnlyBelowAWallMakesNoHoleInIt(t *testing.T) {
	o := oneTool(t)
	o.Group("lab", fleet.Root)
	o.decline("tool@1.1")
	_, err := o.decide.Except(t.Context(), auth.Actor{Name: "ben", Role: ledger.Approver, Scope: "lab"},
		client.ExceptionRequest{Update: "tool@1.1", Scope: "lab", Reason: "please", Expires: o.Now().Add(time.Hour)})
	if !errors.Is(err, fault.Forbidden) {
		t.Errorf("an approver of the lab excepted from a decline of the root: %v", err)
	}
}

func TestA4_ADeclineIsLiftedByNameOnly(t *testing.T) {
	o := oneTool(t)
	o.decline("tool@1.1")
	if got := o.refused(client.Decide{Updates: []string{"tool@1.1"}, Status: approval.Approved}); got.Code != "declined" {
		t.Errorf("approving the declined: %v", got)
	}
	for _, status := range []approval.Status{approval.Approved, approval.Undefined} {
		out := o.act(client.Decide{Matching: &client.Filter{}, Status: status})
		if len(out.Changed) > 0 || out.Skipped[0].Code != "declined" {
			t.Errorf("a bulk act to %s: %+v", status, out)
		}
	}
	if out := o.act(client.Decide{Updates: []string{"tool@1.1"}, Status: approval.Approved, Lift: true}); len(out.Changed) != 1 {
		t.Errorf("lifting by name: %+v", out)
	}
	o.decline("tool@1.1")
	if out := o.act(client.Decide{Updates: []string{"tool@1.1"}, Status: approval.Undefined}); len(out.Changed) != 1 {
		t.Errorf("setting back by name: %+v", out)
	}
}

func TestA4_NoBulkActNarrowsADecline(t *testing.T) {
	o := oneTool(t)
	o.act(client.Decide{Updates: []string{"tool@1.1"}, Status: approval.Declined, Reach: approval.Reach{Later: true}})
	for name, d := range map[string]client.Decide{
		"no reach":  {Status: approval.Declined},
		"an end":    {Status: approval.Declined, Reach: approval.Reach{Later: true}, Expires: o.Now().Add(time.Hour)},
		"a version": {Status: approval.Declined, Reach: approval.Reach{Later: true, Through: "2"}},
	} {
		d.Matching = &client.Filter{}
		if out := o.act(d); len(out.Changed) > 0 || out.Skipped[0].Code != "declined" {
			t.Errorf("%s: %+v", name, out)
		}
	}
}

func TestA4_ADeclineWithAReachCoversLaterReleases(t *testing.T) {
	o := oneTool(t)
	o.act(client.Decide{Updates: []string{"tool@1.1"}, Status: approval.Declined, Reach: approval.Reach{Later: true, Through: "2"}, Reason: "breaks"})
	o.Offered("d1", indextest.Offer("tool", "1.1", "1.0"), indextest.Offer("tool", "1.5", "1.0"), indextest.Offer("tool", "2.1", "1.0"))
	if got := o.row("tool@1.5"); got.Status != approval.Declined {
		t.Errorf("1.5 is %s", got.Status)
	}
	if got := o.row("tool@2.1"); got.Status != approval.Undefined {
		t.Errorf("2.1 is %s", got.Status)
	}
	if got := o.refused(client.Decide{Updates: []string{"tool@1.5"}, Status: approval.Approved, AllowSuperseded: true}); got.Code != "declined_above" || !strings.Contains(got.Message, "1.1") {
		t.Errorf("approving 1.5: %v", got)
	}
}

func TestA4_ADeclineExpiresByItselfAndWaitingDevicesLearnIt(t *testing.T) {
	o := oneTool(t)
	o.act(client.Decide{Updates: []string{"tool@1.1"}, Status: approval.Declined, Expires: o.Now().Add(time.Hour)})
	if len(o.plan("d1").Deny) != 1 {
		t.Fatal("no wall")
	}
	o.Advance(time.Hour)
	if len(o.plan("d1").Deny) != 0 || o.row("tool@1.1").Status != approval.Undefined {
		t.Error("the wall stands after its end")
	}
}

func TestA4_DeclineNeverImprovesCompliance(t *testing.T) {
	o := newOffice(t)
	names := []string{"a", "b", "c", "d"}
	for i := range 3 {
		id := fleet.DeviceID(fmt.Sprintf("d%d", i))
		o.Device(id, fleet.Root)
		var offers []wire.Offer
		for _, n := range names {
			o.Has(id, n+" 1")
			offers = append(offers, indextest.Offer(n, "2", "1"))
		}
		o.Offered(id, offers...)
	}
	figure := func() client.Compliance {
		st, err := o.decide.Status(t.Context(), o.viewer)
		if err != nil {
			t.Fatal(err)
		}
		if all, err := o.decide.Coverage(t.Context(), o.viewer, []fleet.GroupID{fleet.Root}); err != nil || len(all) != 1 || all[0] != st.Compliance {
			t.Fatalf("the coverage %+v is not the status's %+v: %v", all, st.Compliance, err)
		}
		return st.Compliance
	}
	if share, ok := figure().Share(); ok {
		t.Fatalf("zero of zero is %v", share)
	}
	o.approve("a@2", "b@2")
	o.Obey("d0", o.plan("d0"))
	if got := figure(); got != (client.Compliance{Installed: 2, Approved: 6}) {
		t.Fatalf("one of three devices has both: %+v", got)
	}
	for _, update := range []string{"b@2", "c@2", "a@2", "d@2"} { // approved and partly there, undecided, …
		before, _ := figure().Share()
		o.decline(update)
		after, ok := figure().Share()
		if !ok || after > before {
			t.Errorf("declining %s took compliance from %v to %v", update, before, after)
		}
	}
	if got := figure(); got.Risk != 12 || got.Approved != 0 {
		t.Errorf("in the end: %+v", got)
	}
}

func TestA5_AnApprovalDoesNotCarryOverAndTheOldSaysWhatSupersedesIt(t *testing.T) {
	o := oneTool(t)
	o.approve("tool@1.1")
	o.Offered("d1", indextest.Offer("tool", "1.1", "1.0"), indextest.Offer("tool", "1.2", "1.0"))
	if got := o.row("tool@1.2"); got.Status != approval.Undefined {
		t.Errorf("the newer one is %s", got.Status)
	}
	row := o.row("tool@1.1")
	if row.Status != approval.Approved || row.SupersededBy != indextest.ID("tool", "1.2") {
		t.Errorf("the older one: %+v", row)
	}
	if got := o.installs("d1"); !slices.Equal(got, []string{"tool 1.1"}) {
		t.Errorf("ordered: %v", got)
	}
}

func TestA5_ASupersededUpdateIsApprovedOnPurposeOnly(t *testing.T) {
	o := oneTool(t)
	o.Offered("d1", indextest.Offer("tool", "1.1", "1.0"), indextest.Offer("tool", "1.2", "1.0"))
	got := o.refused(client.Decide{Updates: []string{"tool@1.1"}, Status: approval.Approved})
	if got.Code != "superseded" || !strings.Contains(got.Message, "1.2") || !strings.Contains(got.Message, "--allow-superseded") {
		t.Fatalf("refusal: %v", got)
	}
	bulk := o.act(client.Decide{Matching: &client.Filter{}, Status: approval.Approved, DryRun: true})
	if len(bulk.Changed) != 1 || bulk.Changed[0].Version != "1.2" || bulk.Skipped[0].Code != "superseded" {
		t.Errorf("in bulk: %+v", bulk)
	}
	o.act(client.Decide{Updates: []string{"tool@1.1"}, Status: approval.Approved, AllowSuperseded: true, DryRun: true})
	o.decline("tool@1.2")
	o.act(client.Decide{Updates: []string{"tool@1.1"}, Status: approval.Approved})
}

func TestA5_APublisherSaysWhichReleaseTakesThePlaceOfAnother(t *testing.T) {
	o := newOffice(t)
	withdrawn := vended("ledger", "3.0", nil)
	fixed := vended("ledger", "2.9", func(u *catalog.Update) { u.Published.Supersedes = []string{"3.0"} })
	o.publish(withdrawn, fixed)
	o.Device("d1", fleet.Root)
	o.Has("d1", "ledger 1.0")
	o.lacks("d1", withdrawn, fixed)
	if got := o.row(string(withdrawn.ID)); got.SupersededBy != fixed.ID {
		t.Errorf("3.0 is superseded by %q", got.SupersededBy)
	}
	if got := o.row(string(fixed.ID)); got.SupersededBy != "" {
		t.Errorf("2.9 is superseded by %q, which it replaces itself", got.SupersededBy)
	}
	if got := o.refused(client.Decide{Updates: []string{string(withdrawn.ID)}, Status: approval.Approved}); got.Code != "superseded" || !strings.Contains(got.Message, "2.9") {
		t.Errorf("approving what was replaced: %v", got)
	}
	// What was recalled takes nobody's place (A8).
	recalled := *fixed.Published
	recalled.Revoked = &catalog.Revocation{Reason: "loses data"}
	fixed.Published = &recalled
	o.publish(fixed)
	if got := o.row(string(withdrawn.ID)); got.SupersededBy != "" {
		t.Errorf("superseded by %q, which was recalled", got.SupersededBy)
	}
	o.approve(string(withdrawn.ID))
}

func TestWhatItsPublisherKnowsToBeExploitedIsFoundAndCounted(t *testing.T) {
	o := newOffice(t)
	urgent := vended("ledger", "3.0", func(u *catalog.Update) {
		u.Published.CVEs = []string{"CVE-2026-1", "CVE-2026-2"}
		u.Published.Exploited = []string{"CVE-2026-2"}
	})
	other := vended("books", "2.0", nil)
	o.publish(urgent, other)
	o.Device("d1", fleet.Root)
	o.Has("d1", "ledger 1.0", "books 1.0")
	offer := func(u catalog.Update) wire.Offer {
		return wire.Offer{Namespace: u.Namespace, Name: u.Name, Version: u.Version,
			Items: []wire.OfferItem{{Item: u.Items[0].Item, Origin: "feed:acme", Candidate: true, Installed: "1.0"}}}
	}
	o.Offered("d1", offer(urgent), offer(other))
	yes := true
	list := o.list(client.Filter{Exploited: &yes}, client.Page{}).Items
	if len(list) != 1 || list[0].ID != urgent.ID || !list[0].Exploited {
		t.Errorf("%+v", list)
	}
	status := func() int {
		s, err := o.decide.Status(t.Context(), o.viewer)
		if err != nil {
			t.Fatal(err)
		}
		return s.Updates["exploited_undecided"]
	}
	if n := status(); n != 1 {
		t.Errorf("%d are counted", n)
	}
	o.approve(string(urgent.ID))
	if n := status(); n != 0 {
		t.Errorf("%d are counted after the decision", n)
	}
}

func TestA5_AReleaseOnlyOtherDevicesCouldTakeSupersedesNothing(t *testing.T) {
	o := oneTool(t) // like Debian 12
	o.Device("d2", fleet.Root)
	o.Has("d2", "tool 3.0") // like Debian 13
	o.Offered("d2", indextest.Offer("tool", "3.1", "3.0"))
	if got := o.row("tool@1.1"); got.SupersededBy != "" {
		t.Errorf("superseded by %s, which no device that needs it could take", got.SupersededBy)
	}
	o.approve("tool@1.1")
}
