package decide_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"assent/approval"
	"assent/catalog"
	"assent/client"
	"assent/fault"
	"assent/fleet"
	"assent/installation"
	"assent/ledger"
	"assent/server/internal/auth"
	"assent/server/internal/index/indextest"
	"assent/wire"
)

func TestPromise1_ItemsThatAppearAfterTheApprovalAreNotCoveredUntilItIsApprovedAgain(t *testing.T) {
	o := oneTool(t)
	o.approve("tool@1.1")
	offer := indextest.Offer("tool", "1.1", "1.0")
	offer.Items = append(offer.Items, wire.OfferItem{Item: indextest.Item("tool-extra", "1.1"), Installed: "1.0", Origin: "Acme:stable"})
	o.Has("d1", "tool-extra 1.0")
	o.Offered("d1", offer)
	row := o.row("tool@1.1")
	if !row.Changed || row.Blocked != 1 || len(o.installs("d1")) != 0 {
		t.Fatalf("grown after its approval: %+v, ordered %v", row, o.installs("d1"))
	}
	if why := o.why("d1", "tool@1.1"); why.Verdict.Cause != installation.NotCovered || !strings.Contains(why.Sentence, "approve it again") {
		t.Errorf("why: %s (%s)", why.Sentence, why.Verdict.Cause)
	}
	if out := o.approve("tool@1.1"); out.Preview.Installs != 1 {
		t.Errorf("approving again: %+v", out.Preview)
	}
	if o.row("tool@1.1").Changed || len(o.installs("d1")) != 1 {
		t.Errorf("approved again, but ordered %v", o.installs("d1"))
	}
}

func TestPromise1_OneNameWithTwoContentsCannotBeApproved(t *testing.T) {
	o := oneTool(t)
	o.Device("d2", fleet.Root)
	o.Has("d2", "tool 1.0")
	swapped := indextest.Offer("tool", "1.1", "1.0")
	swapped.Items[0].SHA256 = indextest.Digest("something else")
	o.Offered("d2", swapped)
	got := o.refused(client.Decide{Updates: []string{"tool@1.1"}, Status: approval.Approved})
	if got.Code != "content_conflict" || !strings.Contains(got.Message, indextest.Digest("something else")) || !strings.Contains(got.Message, indextest.Digest("tool=1.1")) {
		t.Errorf("refusal: %v", got)
	}
	bulk := o.act(client.Decide{Matching: &client.Filter{}, Status: approval.Approved})
	if len(bulk.Changed) != 0 || bulk.Skipped[0].Code != "content_conflict" {
		t.Errorf("in bulk: %+v", bulk)
	}
	o.decline("tool@1.1") // declining is always easier
}

func TestPromise1_ASwapAfterTheApprovalIsHeldAndSaid(t *testing.T) {
	o := oneTool(t)
	o.approve("tool@1.1")
	swapped := indextest.Offer("tool", "1.1", "1.0")
	swapped.Items[0].SHA256 = indextest.Digest("something else")
	o.Offered("d1", swapped)
	if got := o.installs("d1"); len(got) != 0 {
		t.Fatalf("ordered: %v", got)
	}
	if why := o.why("d1", "tool@1.1"); why.Verdict.Cause != installation.DigestMismatch {
		t.Errorf("cause %s: %s", why.Verdict.Cause, why.Sentence)
	}
}

func TestT3_AnApprovalCoversTheNewPackagesThatCameWithIt(t *testing.T) {
	o := newOffice(t)
	o.Device("d1", fleet.Root)
	o.Has("d1", "tool 1.0")
	o.Offered("d1", indextest.Brings(indextest.Offer("tool", "1.1", "1.0"), "libtool", "7"))
	out := o.act(client.Decide{Updates: []string{"tool"}, Status: approval.Approved, DryRun: true})
	if len(out.Preview.Updates) != 1 || !slices.Equal(out.Preview.Updates[0].Extras, []catalog.Item{indextest.Item("libtool", "7")}) || out.Preview.Download != 2000 {
		t.Fatalf("dry run: %+v", out.Preview)
	}
	o.approve("tool")
	if p := o.plan("d1"); len(p.Install) != 1 || len(p.Install[0].Extras) != 1 {
		t.Errorf("plan: %+v", p.Install)
	}
}

func TestV2_ADryRunSaysWhatIsMissingAndOnWhichDevices(t *testing.T) {
	o := newOffice(t)
	for _, id := range []fleet.DeviceID{"d1", "d2"} {
		o.Device(id, fleet.Root)
		o.Has(id, "tool 1.0", "lib 1")
	}
	o.Offered("d1", indextest.Upgrades(indextest.Offer("tool", "1.1", "1.0"), "lib", "1", "2"), indextest.Offer("lib", "2", "1"))
	o.Offered("d2", indextest.Offer("tool", "1.1", "1.0"))
	out := o.act(client.Decide{Updates: []string{"tool"}, Status: approval.Approved, DryRun: true})
	u := out.Preview.Updates[0]
	if u.Install != 1 || len(u.Blocked) != 1 || !slices.Equal(u.Blocked[0].Devices, []string{"d1"}) ||
		u.Blocked[0].Cause != installation.UnapprovedDependency || u.Blocked[0].Needs[0].ID != indextest.ID("lib", "2") {
		t.Fatalf("dry run: %+v", u)
	}
	o.approve("tool")
	if row := o.row("tool@1.1"); row.Blocked != 1 {
		t.Errorf("blocked on %d devices", row.Blocked)
	}
	if why := o.why("d1", "tool"); !strings.Contains(why.Sentence, string(indextest.ID("lib", "2"))) {
		t.Errorf("why does not name what to approve: %s", why.Sentence)
	}
	freed := o.approve("lib@2")
	if freed.Preview.Installs != 2 || len(freed.Preview.Updates) != 2 {
		t.Errorf("approving what was needed frees the other: %+v", freed.Preview)
	}
}

func TestA4_DecliningWithdrawsPlannedInstalls(t *testing.T) {
	o := oneTool(t)
	o.approve("tool@1.1")
	out := o.decline("tool@1.1")
	if out.Preview.Withdrawn != 1 || out.Preview.Devices != 1 || out.Preview.Installs != 0 {
		t.Errorf("preview: %+v", out.Preview)
	}
	if got := o.installs("d1"); len(got) != 0 {
		t.Errorf("ordered: %v", got)
	}
}

func TestV4_WhatCameByOtherMeansIsInstalledAndSaysHow(t *testing.T) {
	o := oneTool(t)
	o.Machine("d1", func(says *indextest.Said) {
		byHand := indextest.Package("tool", "1.1")
		byHand.How = "by hand: apt install tool"
		says.Packages["tool"], says.Offers = byHand, nil
	})
	o.Scan("d1")
	why := o.why("d1", "tool")
	if why.State.State != installation.Installed || why.State.How != "by hand: apt install tool" || !strings.Contains(why.Sentence, "by hand") {
		t.Errorf("why: %+v", why.State)
	}
}

func TestPromise3_WhyAnswersInEverySituationWithWhatToDoNext(t *testing.T) {
	o := oneTool(t)
	o.Device("d2", fleet.Root)
	o.Device("d3", fleet.Root)
	o.Offered("d3")
	check := func(device, want string) {
		t.Helper()
		why := o.why(device, "tool@1.1")
		if !strings.Contains(why.Sentence, want) || !strings.HasSuffix(why.Sentence, ".") || len(why.Verdict.Reasons) == 0 {
			t.Errorf("%s: %q with %d reasons", device, why.Sentence, len(why.Verdict.Reasons))
		}
	}
	check("d1", "nobody has decided on it. Approve it")
	check("d2", "has not reported")
	check("d3", "nothing of tool is installed")
	o.approve("tool@1.1")
	check("d1", "will install on d1: ada approved it")
	o.decline("tool@1.1")
	check("d1", "stays out of d1: ada declined it")
	o.Act("ada", ledger.DeviceState{IDs: []fleet.DeviceID{"d1"}, State: fleet.Quarantined, Reason: "cloned"})
	check("d1", "quarantined (cloned)")
	if _, _, err := o.planner.For("d1"); !errors.Is(err, fault.Forbidden) {
		t.Errorf("a quarantined device's plan: %v", err)
	}
	if _, err := o.decide.Why(t.Context(), auth.Actor{Name: "x", Role: ledger.Viewer, Scope: "nowhere"}, "d1", "tool"); !errors.Is(err, fault.Forbidden) && !errors.Is(err, fault.NotFound) {
		t.Errorf("who has no part of the tree sees a device: %v", err)
	}
}

func TestA3_TheListShowsTheStatusAsSeenFromTheGroup(t *testing.T) {
	o := newOffice(t)
	o.Group("test", fleet.Root)
	o.Group("lab", "test")
	o.Device("d1", "lab")
	o.Has("d1", "tool 1.0")
	o.Offered("d1", indextest.Offer("tool", "1.1", "1.0"))
	o.act(client.Decide{Updates: []string{"tool"}, Status: approval.Approved, Scope: "test"})
	for group, want := range map[string]client.UpdateRow{
		"": {Status: approval.Undefined}, "test": {Status: approval.Approved}, "lab": {Status: approval.Approved, Inherited: true},
	} {
		row := o.list(client.Filter{Group: group}, client.Page{}).Items[0]
		if row.Status != want.Status || row.Inherited != want.Inherited || row.Needed != 1 {
			t.Errorf("from %q: %s, inherited %v, needed %d", group, row.Status, row.Inherited, row.Needed)
		}
	}
	if _, err := o.decide.List(t.Context(), auth.Actor{Name: "ben", Role: ledger.Viewer, Scope: "lab"}, client.Filter{Group: "root"}, client.Page{}); !errors.Is(err, fault.Forbidden) {
		t.Errorf("a viewer of the lab lists the root: %v", err)
	}
}
