package decide_test

import (
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
	"assent/installation"
	"assent/ledger"
	"assent/server/internal/auth"
	"assent/server/internal/index/indextest"
	"assent/wire"
)

// shop is an office with many different updates on two devices in two groups.
func shop(t testing.TB, n int) *office {
	o := newOffice(t)
	o.Group("test", fleet.Root)
	o.Device("d1", "test")
	o.Device("d2", fleet.Root)
	var offers []wire.Offer
	for i := range n {
		name := fmt.Sprintf("tool%03d", i)
		o.Has("d1", name+" 1.0")
		offer := indextest.Offer(name, fmt.Sprintf("1.%d", 1+i%17), "1.0")
		offer.Items[0].Security = i%3 == 0
		offer.Items[0].Severity = []catalog.Severity{"", catalog.Low, catalog.Critical}[i%3]
		offer.Items[0].Size = int64(1000 + i%7)
		offer.Items[0].Origin = []string{"Acme:stable", "Acme:security"}[i%2]
		offers = append(offers, offer)
	}
	o.Offered("d1", offers...)
	o.Has("d2", "tool000 1.0")
	o.Offered("d2", offers[0])
	return o
}

func TestT2_FiltersAreAnded(t *testing.T) {
	o := shop(t, 30)
	o.approve("tool001")
	o.decline("tool002")
	yes, no := true, false
	for _, tc := range []struct {
		name string
		f    client.Filter
		want int
	}{
		{"everything", client.Filter{}, 30},
		{"a word of the name", client.Filter{Search: "TOOL00"}, 10},
		{"two words", client.Filter{Search: "tool00 1.3"}, 1},
		{"the package URL", client.Filter{Search: "pkg:deb/acme/tool007"}, 1},
		{"approved", client.Filter{Status: []approval.Status{approval.Approved}}, 1},
		{"approved or declined", client.Filter{Status: []approval.Status{approval.Approved, approval.Declined}}, 2},
		{"unrated", client.Filter{Severity: []catalog.Severity{catalog.Unrated}}, 10},
		{"security", client.Filter{Security: &yes}, 10},
		{"not security", client.Filter{Security: &no}, 20},
		{"an origin", client.Filter{Origin: []string{"acme:SECURITY"}}, 15},
		{"needed", client.Filter{Needed: &yes}, 30},
		{"not needed in the group", client.Filter{Needed: &no, Group: "test"}, 0},
		{"of a device", client.Filter{Device: "d2"}, 1},
		{"assigned somewhere", client.Filter{State: []installation.State{installation.Assigned}}, 1},
		{"applicable somewhere", client.Filter{State: []installation.State{installation.Applicable}}, 29},
		{"superseded", client.Filter{Superseded: &yes}, 0},
		{"a class nobody has", client.Filter{Class: []catalog.Class{catalog.Managed}}, 0},
		{"security and low", client.Filter{Security: &yes, Severity: []catalog.Severity{catalog.Low}}, 0},
	} {
		if got := o.list(tc.f, client.Page{}); got.Total != tc.want {
			t.Errorf("%s: %d updates, want %d", tc.name, got.Total, tc.want)
		}
	}
}

func TestListEverySortAndDirectionVisitsEachUpdateOnce(t *testing.T) {
	o := shop(t, 53)
	o.approve("tool001", "tool005")
	o.decline("tool002")
	columns := []string{"id", "name", "version", "class", "severity", "security", "origin", "summary", "phased", "size", "first_seen", "status", "changed",
		"inherited", "exceptions", "superseded", "needed", "installed", "failed", "blocked", "installed_though_declined"}
	for _, column := range columns {
		var forward []string
		for _, sort := range []string{column, "-" + column} {
			var seen []string
			page := client.Page{Sort: sort, Limit: 7}
			for {
				got := o.list(client.Filter{}, page)
				if got.Total != 53 || len(got.Items) > 7 {
					t.Fatalf("%s: total %d, page of %d", sort, got.Total, len(got.Items))
				}
				for _, row := range got.Items {
					seen = append(seen, string(row.ID))
				}
				if page.Cursor = got.Next; page.Cursor == "" {
					break
				}
			}
			if len(seen) != 53 || len(slices.Compact(slices.Sorted(slices.Values(seen)))) != 53 {
				t.Errorf("%s visited %d rows", sort, len(seen))
			}
			if sort == column {
				forward = seen
			} else if column == "name" && !slices.Equal(forward, reversed(seen)) {
				t.Errorf("%s is not the reverse", sort)
			}
		}
	}
	if _, err := o.decide.List(t.Context(), o.admin, client.Filter{}, client.Page{Sort: "colour"}); fault.From(err).Code != "sort_unknown" {
		t.Errorf("an unknown column: %v", err)
	}
}

func reversed(list []string) []string {
	out := slices.Clone(list)
	slices.Reverse(out)
	return out
}

func TestListPagesStayWholeWhileRowsComeAndGo(t *testing.T) {
	o := shop(t, 20)
	undefined := client.Filter{Status: []approval.Status{approval.Undefined}}
	first := o.list(undefined, client.Page{Sort: "name", Limit: 5})
	// The whole first page, and one row of the second, leave the list.
	o.approve("tool000", "tool001", "tool002", "tool003", "tool004", "tool006")
	second := o.list(undefined, client.Page{Sort: "name", Limit: 5, Cursor: first.Next})
	if second.Items[0].Name != "tool005" || second.Items[1].Name != "tool007" {
		t.Errorf("the second page starts with %s, %s", second.Items[0].Name, second.Items[1].Name)
	}
	for _, bad := range []client.Page{{Cursor: "garbage"}, {Cursor: first.Next, Sort: "-name"}, {Limit: -1}, {Limit: 1001}} {
		if _, err := o.decide.List(t.Context(), o.admin, undefined, bad); err == nil {
			t.Errorf("%+v was accepted", bad)
		}
	}
}

func TestListVersionsAreOrderedAsTheirPackageManagerDoes(t *testing.T) {
	o := newOffice(t)
	o.Device("d1", fleet.Root)
	o.Has("d1", "tool 1")
	o.Offered("d1", indextest.Offer("tool", "1.10", "1"), indextest.Offer("tool", "1.9", "1"), indextest.Offer("tool", "2~rc1", "1"), indextest.Offer("tool", "2", "1"))
	var got []string
	for _, row := range o.list(client.Filter{}, client.Page{Sort: "version"}).Items {
		got = append(got, row.Version)
	}
	if !slices.Equal(got, []string{"1.9", "1.10", "2~rc1", "2"}) {
		t.Errorf("order: %v", got)
	}
}

func TestV1_AStateThatLastsTooLongIsOverdueAndNotInProgressForEver(t *testing.T) {
	o := oneTool(t)
	o.approve("tool")
	o.Report("d1", wire.Report{Update: indextest.ID("tool", "1.1"), State: installation.Downloading})
	queue := func() client.QueueRow {
		t.Helper()
		out, err := o.decide.Queue(t.Context(), o.viewer, client.QueueQuery{}, client.Page{})
		if err != nil || len(out.Items) != 1 {
			t.Fatalf("queue: %+v, %v", out.Items, err)
		}
		return out.Items[0]
	}
	if row := queue(); row.State != installation.Downloading || row.Overdue || row.Deadline.IsZero() || row.Download != 1000 {
		t.Errorf("at first: %+v", row)
	}
	o.Advance(installation.Downloading.Deadline())
	if row := queue(); !row.Overdue {
		t.Errorf("after its deadline: %+v", row)
	}
	st, err := o.decide.Status(t.Context(), o.viewer)
	if err != nil || st.Queue["downloading"] != 0 || st.Queue["overdue"] != 1 {
		t.Errorf("queue in the status: %v, %v", st.Queue, err)
	}
}

func TestV1_FailedAndBlockedReportsAreCountedUntilNobodyWantsThem(t *testing.T) {
	o := oneTool(t)
	o.approve("tool")
	id := indextest.ID("tool", "1.1")
	o.Report("d1", wire.Report{Update: id, State: installation.Installing}, wire.Report{Update: id, State: installation.Failed, Cause: installation.InstallFailed, Detail: "postinst exited 1"})
	if row := o.row("tool"); row.Failed != 1 {
		t.Errorf("failed on %d devices", row.Failed)
	}
	if why := o.why("d1", "tool"); !strings.Contains(why.Sentence, "postinst exited 1") {
		t.Errorf("why: %s", why.Sentence)
	}
	o.act(client.Decide{Updates: []string{"tool"}, Status: approval.Undefined})
	if row := o.row("tool"); row.Failed != 0 {
		t.Errorf("nobody wants it, but it failed on %d devices", row.Failed)
	}
}

func TestV4_ASilentDeviceWaitsForeverNeitherInTheStatusNorInTheQueue(t *testing.T) {
	o := oneTool(t)
	o.approve("tool")
	o.Advance(25 * time.Hour)
	st, err := o.decide.Status(t.Context(), o.viewer)
	if err != nil {
		t.Fatal(err)
	}
	if st.Devices["silent"] != 1 || st.Queue["overdue"] != 1 || !slices.ContainsFunc(st.Attention, func(s string) bool { return strings.Contains(s, "silent") }) {
		t.Errorf("devices %v, queue %v, attention %v", st.Devices, st.Queue, st.Attention)
	}
}

func TestStatusSaysWhatNeedsTheAdministrator(t *testing.T) {
	o := shop(t, 6)
	o.Machine("d1", func(says *indextest.Said) {
		says.Facts.Restart = []string{"kernel"}
		says.Facts.Origins = []wire.OriginHealth{{Site: "repo", Suite: "stable", Problem: "rolled_back"}}
	})
	o.Scan("d1")
	o.Report("d1", wire.Report{Update: indextest.ID("tool001", "1.2"), State: installation.Installed}, wire.Report{Update: indextest.ID("tool001", "1.2"), State: installation.Downloading})
	o.Act("ada", ledger.DeviceState{IDs: []fleet.DeviceID{"d2"}, State: fleet.Quarantined, Reason: "cloned"})
	st, err := o.decide.Status(t.Context(), o.viewer)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"d2 is quarantined", "went back in time", "2 security updates wait", "d1 needs a restart", "a step that cannot be"} {
		if !slices.ContainsFunc(st.Attention, func(s string) bool { return strings.Contains(s, want) }) {
			t.Errorf("nothing about %q in %q", want, st.Attention)
		}
	}
	if st.Updates["total"] != 6 || st.Updates["security_undecided"] != 2 || st.Devices["quarantined"] != 1 || st.Devices["restart"] != 1 || st.Org != "test" {
		t.Errorf("status: %+v", st)
	}
	if _, err := o.decide.Status(t.Context(), auth.Actor{}); err == nil {
		t.Error("nobody may see the status")
	}
}

func TestDevicesAreListedFilteredAndScoped(t *testing.T) {
	o := shop(t, 5)
	o.approve("tool000")
	all, err := o.decide.Devices(t.Context(), o.viewer, client.DeviceQuery{}, client.Page{})
	if err != nil || all.Total != 2 || all.Items[0].Pending != 4 || all.Items[0].Planned != 1 || all.Items[1].Planned != 1 {
		t.Fatalf("devices: %+v, %v", all, err)
	}
	tester := auth.Actor{Name: "tess", Role: ledger.Viewer, Scope: "test"}
	part, err := o.decide.Devices(t.Context(), tester, client.DeviceQuery{Search: "debian AMD64"}, client.Page{})
	if err != nil || part.Total != 1 || part.Items[0].ID != "d1" {
		t.Errorf("as seen from the test group: %+v, %v", part, err)
	}
	if _, err := o.decide.Device(t.Context(), tester, "d2"); fault.From(err).Code != "device_unknown" {
		t.Errorf("a device of another group: %v", err)
	}
	one, err := o.decide.Device(t.Context(), tester, "d1")
	if err != nil || len(one.Updates) != 5 || one.Packages != 5 {
		t.Errorf("one device: %d updates, %d packages, %v", len(one.Updates), one.Packages, err)
	}
	for _, sort := range []string{"id", "-name", "group", "state", "last_seen", "last_useful", "connected", "os", "arch", "agent", "problem", "pending", "planned", "blocked", "failed", "restart"} {
		if got, err := o.decide.Devices(t.Context(), o.viewer, client.DeviceQuery{}, client.Page{Sort: sort}); err != nil || len(got.Items) != 2 {
			t.Errorf("sorted by %s: %d, %v", sort, len(got.Items), err)
		}
	}
}
