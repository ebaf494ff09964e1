package servertest_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"assent/approval"
	"assent/catalog"
	"assent/client"
	"assent/fleet"
	"assent/installation"
	"assent/ledger"
	"assent/wire"
)

// rehearsedSite is a site where an update is approved that rings or windows hold back, and devices told what would become of it.
func rehearsedSite(t *testing.T) (*site, *client.Client) {
	s := newSite(t)
	boss := s.as(t, "boss", ledger.Administrator, fleet.Root)
	if _, err := boss.Decide(t.Context(), client.Decide{Updates: []string{s.update}, Status: approval.Approved}); err != nil {
		t.Fatal(err)
	}
	id := catalog.UpdateID(s.update)
	s.mine.Rehearse(wire.Rehearsed{Update: id, Cause: installation.NoSpace, Detail: "The file system of /usr is too small."})
	s.other.Rehearse(wire.Rehearsed{Update: id, Kept: []string{"/etc/ssl/openssl.cnf"}, Opens: time.Now().Add(time.Hour).UTC()})
	return s, boss
}

func TestRehearsals_AreListedCountedAndShownWhereTheUpdateIs(t *testing.T) {
	s, boss := rehearsedSite(t)
	names := func(q client.RehearsalQuery) (out []string) {
		list, err := boss.Rehearsals(t.Context(), q, client.Page{})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range list.Items {
			out = append(out, r.DeviceName+" "+string(r.Cause))
		}
		return out
	}
	for _, c := range []struct {
		q    client.RehearsalQuery
		want []string
	}{
		{client.RehearsalQuery{}, []string{"web1 no_space"}}, {client.RehearsalQuery{Only: client.RehearsalAll}, []string{"db1 ", "web1 no_space"}},
		{client.RehearsalQuery{Only: client.RehearsalKept}, []string{"db1 "}}, {client.RehearsalQuery{Cause: installation.HeldPackage}, nil},
		{client.RehearsalQuery{Group: "Other"}, nil}, {client.RehearsalQuery{Device: "web1", Update: s.update}, []string{"web1 no_space"}},
	} {
		if got := names(c.q); !slices.Equal(got, c.want) {
			t.Errorf("%+v: %q, want %q", c.q, got, c.want)
		}
	}
	status, err := boss.Status(t.Context())
	want := client.RehearsalFigures{Updates: 1, Devices: 1, Failures: 1, Kept: 1, Rehearsed: 2}
	if err != nil || status.Rehearsal != want || !slices.ContainsFunc(status.Attention, func(a string) bool { return strings.Contains(a, "1 update would fail on 1 device") }) {
		t.Errorf("%+v, %q, %v", status.Rehearsal, status.Attention, err)
	}
	d, err := boss.Device(t.Context(), "web1")
	if err != nil || d.Rehearsal == nil || d.Rehearsal.Fail != 1 || d.Rehearsal.Pass != 0 || d.Rehearsal.Stale {
		t.Errorf("%+v, %v", d.Rehearsal, err)
	}
	why, err := boss.Why(t.Context(), "web1", s.update)
	if err != nil || why.State.Rehearsed == nil || why.State.Rehearsed.Cause != installation.NoSpace {
		t.Errorf("%+v, %v", why.State.Rehearsed, err)
	}
}

func TestRehearsals_BecomeStaleWithThePlanAndTheInventoryAndGoWithTheUpdate(t *testing.T) {
	s, boss := rehearsedSite(t)
	stale := func(device string) bool {
		list, err := boss.Rehearsals(t.Context(), client.RehearsalQuery{Device: device, Only: client.RehearsalAll}, client.Page{})
		if err != nil || len(list.Items) != 1 {
			t.Fatalf("%+v, %v", list, err)
		}
		return list.Items[0].Stale
	}
	s.mine.Has("vim", "9")
	s.mine.CheckIn()
	if !stale("web1") || stale("db1") {
		t.Error("what is installed on web1 changed, and on db1 nothing did")
	}
	other := s.other.Offer("curl", "8.1", nil)
	s.other.CheckIn()
	if _, err := boss.Decide(t.Context(), client.Decide{Updates: []string{string(other)}, Status: approval.Declined, Reason: "r"}); err != nil {
		t.Fatal(err)
	}
	if !stale("db1") {
		t.Error("the plan of db1 changed")
	}
	if status, err := boss.Status(t.Context()); err != nil || status.Rehearsal.Rehearsed != 0 || status.Rehearsal.Stale != 2 {
		t.Errorf("%+v, %v", status.Rehearsal, err)
	}
	s.mine.Install("openssl")
	list, err := boss.Rehearsals(t.Context(), client.RehearsalQuery{Only: client.RehearsalAll, Device: "web1"}, client.Page{})
	if err != nil || len(list.Items) != 0 {
		t.Errorf("it is installed, and still %+v, %v", list.Items, err)
	}
}

func TestN25_RehearsalsOfAnotherGroupAreNobodysBusiness(t *testing.T) {
	s, _ := rehearsedSite(t)
	eve := s.as(t, "eve", ledger.Approver, "g-other")
	list, err := eve.Rehearsals(t.Context(), client.RehearsalQuery{Only: client.RehearsalAll}, client.Page{})
	if err != nil || len(list.Items) != 1 || list.Items[0].DeviceName != "db1" {
		t.Errorf("%+v, %v", list.Items, err)
	}
	for what, err := range map[string]error{
		"another group":  first(eve.Rehearsals(t.Context(), client.RehearsalQuery{Group: "Mine"}, client.Page{})),
		"another device": first(eve.Rehearsals(t.Context(), client.RehearsalQuery{Device: "web1"}, client.Page{})),
		"asking one":     first(eve.RehearseDevices(t.Context(), client.RefreshRequest{Devices: []string{"web1"}})),
		"asking a group": first(eve.RehearseDevices(t.Context(), client.RefreshRequest{Group: "Mine"})),
	} {
		if err == nil {
			t.Errorf("%s is seen or asked", what)
		}
	}
	if done, err := eve.RehearseDevices(t.Context(), client.RefreshRequest{}); err != nil || done.Devices != 1 || done.Connected != 1 {
		t.Errorf("%+v, %v", done, err)
	}
}
