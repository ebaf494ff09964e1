package decide_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"assent/approval"
	"assent/client"
	"assent/fleet"
	"assent/installation"
	"assent/ledger"
	"assent/server/internal/index"
	"assent/server/internal/index/indextest"
	"assent/server/internal/planner"
	"assent/wire"
)

// TestListsOfUpdatesAreThoseThatLookingAtEachDeviceGives holds filters, counts and orders of lists, as seen from all, most and some
// devices, against counting device by device.
func TestListsOfUpdatesAreThoseThatLookingAtEachDeviceGives(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		o := newOffice(t)
		o.Group("g1", fleet.Root)
		for i := range 17 { // one of them less is still nearly all
			o.offerSome(r, fleet.DeviceID(fmt.Sprintf("d%02d", i)))
		}
		for range rapid.IntRange(0, 4).Draw(r, "decisions") {
			o.decideSome(r)
		}
		for i := range rapid.IntRange(0, 3).Draw(r, "retired") {
			o.Act("ada", ledger.DeviceState{IDs: []fleet.DeviceID{fleet.DeviceID(fmt.Sprintf("d%02d", i))}, State: fleet.Retired})
		}
		for _, group := range []string{"root", "g1"} {
			o.compareLists(r, group)
		}
		if err := o.Store.Close(); err != nil {
			r.Fatal(err)
		}
	})
}

// offerSome enrols a device that has some packages and is offered others.
func (o *office) offerSome(r *rapid.T, id fleet.DeviceID) {
	o.Device(id, rapid.SampledFrom([]fleet.GroupID{fleet.Root, "g1"}).Draw(r, "group"))
	if rapid.IntRange(0, 2).Draw(r, "silent") == 0 {
		return
	}
	var offers []wire.Offer
	for i := range 6 {
		name := fmt.Sprintf("tool%d", i)
		switch rapid.IntRange(0, 2).Draw(r, name) {
		case 1:
			o.Has(id, name+" 1")
			offers = append(offers, indextest.Offer(name, "2", "1"))
		case 2:
			o.Has(id, name+" 2")
		}
	}
	o.Offered(id, offers...)
}

// decideSome approves or declines an update somewhere, or has a device fail at it.
func (o *office) decideSome(r *rapid.T) {
	list := o.list(client.Filter{}, client.Page{})
	if list.Total == 0 {
		return
	}
	u := rapid.SampledFrom(list.Items).Draw(r, "update")
	if rapid.IntRange(0, 2).Draw(r, "report") == 0 {
		o.Report("d05", wire.Report{Update: u.ID, State: installation.Downloading}, wire.Report{Update: u.ID, State: installation.Failed})
		return
	}
	d := client.Decide{Updates: []string{string(u.ID)}, Scope: rapid.SampledFrom([]string{"root", "g1"}).Draw(r, "scope"), Lift: true, Reason: "drawn",
		Status: rapid.SampledFrom([]approval.Status{approval.Approved, approval.Declined}).Draw(r, "status")}
	_, _ = o.decide.Decide(o.T.Context(), o.admin, d) // a refusal changes nothing
}

// plainUpdate is an update counted device by device.
type plainUpdate struct {
	id                string
	status            approval.Status
	needed, installed int
	states            map[installation.State]int
}

// countUpdates counts all updates as a group sees them.
func (o *office) countUpdates(group fleet.GroupID) (out []plainUpdate) {
	if err := o.planner.Refresh(); err != nil {
		o.T.Fatal(err)
	}
	o.Index.View(func(v *index.View) {
		o.planner.Read(func(b planner.Board) {
			for u := range v.Updates() {
				p := plainUpdate{id: string(u.ID), status: v.Status(u.Release, group, o.Now()).Status, states: map[installation.State]int{}}
				for d := range v.Devices(group) {
					p.count(u, d.Number, b.Tally(u.Number))
				}
				out = append(out, p)
			}
		})
	})
	return out
}

func (p *plainUpdate) count(u index.Update, device uint32, t planner.Tally) {
	needs, has := u.Needs.Contains(device), u.Has.Contains(device)
	p.needed += map[bool]int{true: 1}[needs]
	p.installed += map[bool]int{true: 1}[has]
	for st, devices := range t.States {
		if st != installation.Installed && st != installation.Applicable && devices.Contains(device) {
			p.states[st]++
			return
		}
	}
	switch {
	case has:
		p.states[installation.Installed]++
	case needs:
		p.states[installation.Applicable]++
	default:
		p.states[installation.NotApplicable]++
	}
}

// compareLists lists with each filter and compares.
func (o *office) compareLists(r *rapid.T, group string) {
	all := o.countUpdates(fleet.GroupID(group))
	yes, no := true, false
	compare := func(f client.Filter, keep func(plainUpdate) bool) {
		f.Group = group
		var want, got []string
		for _, u := range all {
			if keep(u) {
				want = append(want, fmt.Sprint(u.id, " ", u.status, " ", u.needed, " ", u.installed))
			}
		}
		list := o.list(f, client.Page{Sort: "-needed"})
		for _, u := range list.Items {
			got = append(got, fmt.Sprint(u.ID, " ", u.Status, " ", u.Needed, " ", u.Installed))
		}
		if !slices.IsSortedFunc(list.Items, func(a, b client.UpdateRow) int {
			if a.Needed != b.Needed {
				return b.Needed - a.Needed
			}
			return strings.Compare(string(a.ID), string(b.ID))
		}) {
			r.Fatalf("%+v: not sorted: %v", f, got)
		}
		slices.Sort(want)
		slices.Sort(got)
		if diff := gocmp.Diff(want, got); diff != "" || list.Total != len(got) {
			r.Fatalf("%+v: a total of %d; -plain +listed\n%s", f, list.Total, diff)
		}
	}
	compare(client.Filter{}, func(plainUpdate) bool { return true })
	compare(client.Filter{Needed: &yes}, func(u plainUpdate) bool { return u.needed > 0 })
	compare(client.Filter{Needed: &no}, func(u plainUpdate) bool { return u.needed == 0 })
	compare(client.Filter{Installed: &yes}, func(u plainUpdate) bool { return u.installed > 0 })
	compare(client.Filter{Installed: &no}, func(u plainUpdate) bool { return u.installed == 0 })
	compare(client.Filter{Status: []approval.Status{approval.Approved}}, func(u plainUpdate) bool { return u.status == approval.Approved })
	for _, st := range installation.States() {
		compare(client.Filter{State: []installation.State{st}}, func(u plainUpdate) bool { return u.states[st] > 0 })
	}
}
