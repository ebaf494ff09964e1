package servertest_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"assent/approval"
	"assent/client"
	"assent/fault"
	"assent/fleet"
	"assent/ledger"
	"assent/server/servertest"
)

// site is a server with two teams that must not reach into each other's groups.
type site struct {
	*servertest.World
	mine, other *servertest.Device
	update      string // offered to both
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{World: servertest.New(t)}
	s.Group("g-mine", "Mine", fleet.Root)
	s.Group("g-other", "Other", fleet.Root)
	s.mine, s.other = s.Device("web1", "g-mine"), s.Device("db1", "g-other")
	for _, d := range []*servertest.Device{s.mine, s.other} {
		d.Has("openssl", "3.0.1")
		s.update = string(d.Offer("openssl", "3.0.2", nil))
		d.CheckIn()
	}
	return s
}

func (s *site) as(t *testing.T, name string, role ledger.Role, scope fleet.GroupID) *client.Client {
	t.Helper()
	c, err := client.New(client.Config{Server: s.URL, Token: s.Operator(name, role, scope)})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (s *site) seq(t *testing.T, c *client.Client) int64 {
	t.Helper()
	cp, err := c.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return cp.Size
}

func first[T any](_ T, err error) error { return err }

// TestN25_ARoleInOneGroupReachesNothingOutsideIt tries every way to name something of another group: by id, by
// name, in a path, a query, a body and a filter, reading and acting, as an administrator of one group.
func TestN25_ARoleInOneGroupReachesNothingOutsideIt(t *testing.T) {
	s := newSite(t)
	boss := s.as(t, "boss", ledger.Administrator, fleet.Root)
	c := s.as(t, "eve", ledger.Administrator, "g-mine")
	ctx := t.Context()
	other, later := string(s.other.ID), time.Now().Add(time.Hour)
	declined, err := boss.Decide(ctx, client.Decide{Updates: []string{s.update}, Scope: "Other", Status: approval.Declined})
	if err != nil {
		t.Fatal(err)
	}
	except, err := boss.Except(ctx, client.ExceptionRequest{Update: s.update, Scope: "Other", Reason: "r", Expires: later})
	if err != nil {
		t.Fatal(err)
	}
	token, err := boss.CreateToken(ctx, client.TokenRequest{Group: "Other"})
	if err != nil {
		t.Fatal(err)
	}
	access, err := boss.CreateAccess(ctx, client.AccessRequest{})
	if err != nil {
		t.Fatal(err)
	}
	mode := fleet.Observe
	before := s.seq(t, boss)
	attempts := map[string]error{
		"updates of the other group":    first(c.Updates(ctx, client.Filter{Group: "Other"}, client.Page{})),
		"updates of the root":           first(c.Updates(ctx, client.Filter{Group: "All devices"}, client.Page{})),
		"updates of the other device":   first(c.Updates(ctx, client.Filter{Device: other}, client.Page{})),
		"update as the other group":     first(c.Update(ctx, s.update, "g-other")),
		"why, by id":                    first(c.Why(ctx, other, s.update)),
		"why, by name":                  first(c.Why(ctx, "db1", s.update)),
		"device, by id":                 first(c.Device(ctx, other)),
		"device, by beginning":          first(c.Device(ctx, other[:6])),
		"device, by name":               first(c.Device(ctx, "db1")),
		"devices of the other group":    first(c.Devices(ctx, client.DeviceQuery{Group: "Other"}, client.Page{})),
		"queue of the other group":      first(c.Queue(ctx, client.QueueQuery{Group: "Other"}, client.Page{})),
		"queue of the other device":     first(c.Queue(ctx, client.QueueQuery{Device: other}, client.Page{})),
		"events of the other device":    first(c.Events(ctx, client.EventQuery{Device: other})),
		"approve in the other group":    first(c.Decide(ctx, client.Decide{Updates: []string{s.update}, Scope: "Other", Status: approval.Approved, Lift: true})),
		"approve in the root":           first(c.Decide(ctx, client.Decide{Updates: []string{s.update}, Scope: "root", Status: approval.Approved})),
		"bulk in the other group":       first(c.Decide(ctx, client.Decide{Matching: &client.Filter{Group: "Mine"}, Scope: "Other", Status: approval.Approved})),
		"bulk, seen from the other":     first(c.Decide(ctx, client.Decide{Matching: &client.Filter{Group: "Other"}, Scope: "Mine", Status: approval.Approved})),
		"undefine in the other group":   first(c.Decide(ctx, client.Decide{Updates: []string{s.update}, Scope: "Other", Status: approval.Undefined})),
		"dry run in the other group":    first(c.Decide(ctx, client.Decide{Updates: []string{s.update}, Scope: "Other", Status: approval.Approved, DryRun: true})),
		"roll back the other group":     first(c.Rollback(ctx, client.RollbackRequest{Update: s.update, Scope: "Other", Decline: true})),
		"roll back the other device":    first(c.Rollback(ctx, client.RollbackRequest{Update: s.update, Devices: []string{other}, Decline: true})),
		"except in the other group":     first(c.Except(ctx, client.ExceptionRequest{Update: s.update, Decline: declined.Act, Scope: "Other", Reason: "r", Expires: later})),
		"end the other's exception":     first(c.Unexcept(ctx, except.Act)),
		"move the other device here":    first(c.ChangeDevices(ctx, client.DeviceChange{Devices: []string{other}, Group: "Mine"})),
		"move my device there":          first(c.ChangeDevices(ctx, client.DeviceChange{Devices: []string{string(s.mine.ID)}, Group: "Other"})),
		"retire the other device":       first(c.ChangeDevices(ctx, client.DeviceChange{Devices: []string{"db1"}, State: fleet.Retired})),
		"retire mine and the other":     first(c.ChangeDevices(ctx, client.DeviceChange{Devices: []string{"web1", other}, State: fleet.Retired})),
		"create a group there":          first(c.CreateGroup(ctx, client.GroupRequest{Name: "New", Parent: "Other"})),
		"create a group in the root":    first(c.CreateGroup(ctx, client.GroupRequest{Name: "New"})),
		"rename the other group":        first(c.ChangeGroup(ctx, "Other", client.GroupRequest{Name: "Gone"})),
		"guard the other group":         first(c.ChangeGroup(ctx, "g-other", client.GroupRequest{Guard: &mode})),
		"move the other group here":     first(c.ChangeGroup(ctx, "Other", client.GroupRequest{Parent: "Mine"})),
		"move my group there":           first(c.ChangeGroup(ctx, "Mine", client.GroupRequest{Parent: "Other"})),
		"delete the other group":        first(c.DeleteGroup(ctx, "Other")),
		"enrol into the other group":    first(c.CreateToken(ctx, client.TokenRequest{Group: "Other"})),
		"enrol into the root":           first(c.CreateToken(ctx, client.TokenRequest{Group: "root"})),
		"revoke the other's token":      first(c.RevokeToken(ctx, token.ID)),
		"revoke the boss's access":      first(c.RevokeAccess(ctx, access.ID)),
		"access as the boss":            first(c.CreateAccess(ctx, client.AccessRequest{Operator: "boss"})),
		"make myself boss":              first(c.SetOperator(ctx, client.OperatorRequest{Name: "eve", Role: ledger.Administrator})),
		"remove the boss":               first(c.RemoveOperator(ctx, "boss")),
		"operators":                     first(c.Operators(ctx)),
		"ledger":                        first(c.Ledger(ctx, client.LedgerQuery{})),
		"ask the other device to look":  first(c.RefreshDevices(ctx, client.RefreshRequest{Devices: []string{other}})),
		"ask the other group's devices": first(c.RefreshDevices(ctx, client.RefreshRequest{Group: "Other"})),
	}
	for what, err := range attempts {
		if !errors.Is(err, fault.Forbidden) && !errors.Is(err, fault.NotFound) {
			t.Errorf("%s: got %v, want a refusal", what, err)
		}
	}
	if after := s.seq(t, boss); after != before {
		t.Errorf("the refused attempts left %d entries", after-before)
	}
}

// TestN25_ListsShowARoleInOneGroupOnlyThatGroup: what the other team has must not show in rows, counts,
// names or sentences.
func TestN25_ListsShowARoleInOneGroupOnlyThatGroup(t *testing.T) {
	s := newSite(t)
	s.other.Event("guard_refused", "secret-of-the-other-team")
	s.other.Offer("nethack", "2.0", nil)
	s.other.CheckIn()
	boss := s.as(t, "boss", ledger.Administrator, fleet.Root)
	ctx := t.Context()
	for _, d := range []client.Decide{{Updates: []string{s.update}, Scope: "Other", Status: approval.Approved, Reason: "secret-of-the-other-team"}, {Updates: []string{s.update}, Scope: "Mine", Status: approval.Approved}} {
		if _, err := boss.Decide(ctx, d); err != nil {
			t.Fatal(err)
		}
	}
	c := s.as(t, "eve", ledger.Viewer, "g-mine")
	answers := map[string]any{}
	keep := func(what string, v any, err error) {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
		answers[what] = v
	}
	updates, err := c.Updates(ctx, client.Filter{Needed: new(bool)}, client.Page{})
	keep("updates that nobody of mine needs", updates, err)
	updates, err = c.Updates(ctx, client.Filter{}, client.Page{})
	keep("updates", updates, err)
	for _, u := range updates.Items {
		if u.ID == "" || u.Needed > 1 {
			t.Errorf("%s counts devices of the other team: %d", u.Name, u.Needed)
		}
	}
	update, err := c.Update(ctx, s.update, "")
	keep("update", update, err)
	devices, err := c.Devices(ctx, client.DeviceQuery{}, client.Page{})
	keep("devices", devices, err)
	queue, err := c.Queue(ctx, client.QueueQuery{}, client.Page{})
	keep("queue", queue, err)
	groups, err := c.Groups(ctx)
	keep("groups", groups, err)
	events, err := c.Events(ctx, client.EventQuery{})
	keep("events", events, err)
	status, err := c.Status(ctx)
	keep("status", status, err)
	for what, v := range answers {
		text := fmt.Sprintf("%+v", v)
		for _, secret := range []string{string(s.other.ID), "db1", "secret-of-the-other-team"} {
			if strings.Contains(text, secret) {
				t.Errorf("%s shows %q: %s", what, secret, text)
			}
		}
	}
	if devices.Total != 1 || queue.Total != 1 || status.Devices["active"] != 1 {
		t.Errorf("totals count the other team: %d devices, %d in the queue, %v", devices.Total, queue.Total, status.Devices)
	}
}

// TestN23_EveryActLeavesExactlyOneEntryWithWhoDidIt makes each act of the API once.
func TestN23_EveryActLeavesExactlyOneEntryWithWhoDidIt(t *testing.T) {
	s := newSite(t)
	c := s.as(t, "boss", ledger.Administrator, fleet.Root)
	ctx, later := t.Context(), time.Now().Add(time.Hour)
	var group client.GroupRow
	var token client.TokenRow
	var access client.AccessRow
	var except client.Act
	var err error
	acts := []struct {
		kind ledger.Kind
		do   func() error
	}{
		{"update.decide", func() error {
			return first(c.Decide(ctx, client.Decide{Updates: []string{s.update}, Status: approval.Declined}))
		}},
		{"exception.add", func() error {
			except, err = c.Except(ctx, client.ExceptionRequest{Update: s.update, Scope: "Mine", Reason: "r", Expires: later})
			return err
		}},
		{"exception.remove", func() error { return first(c.Unexcept(ctx, except.Act)) }},
		{"update.decide", func() error {
			return first(c.Decide(ctx, client.Decide{Matching: &client.Filter{Search: "openssl"}, Status: approval.Declined, Scope: "Mine"}))
		}},
		{"group.create", func() error { group, err = c.CreateGroup(ctx, client.GroupRequest{Name: "New"}); return err }},
		{"group.change", func() error { return first(c.ChangeGroup(ctx, string(group.ID), client.GroupRequest{Name: "Newer"})) }},
		{"device.move", func() error {
			return first(c.ChangeDevices(ctx, client.DeviceChange{Devices: []string{"web1", "db1"}, Group: "Newer"}))
		}},
		{"device.state", func() error {
			return first(c.ChangeDevices(ctx, client.DeviceChange{Devices: []string{"db1"}, State: fleet.Quarantined, Reason: "r"}))
		}},
		{"device.move", func() error {
			return first(c.ChangeDevices(ctx, client.DeviceChange{Devices: []string{"web1", "db1"}, Group: "Mine"}))
		}},
		{"group.delete", func() error { return first(c.DeleteGroup(ctx, "Newer")) }},
		{"token.create", func() error { token, err = c.CreateToken(ctx, client.TokenRequest{}); return err }},
		{"token.revoke", func() error { return first(c.RevokeToken(ctx, token.ID)) }},
		{"operator.set", func() error {
			return first(c.SetOperator(ctx, client.OperatorRequest{Name: "ada", Role: ledger.Viewer}))
		}},
		{"access.create", func() error { access, err = c.CreateAccess(ctx, client.AccessRequest{Operator: "ada"}); return err }},
		{"access.revoke", func() error { return first(c.RevokeAccess(ctx, access.ID)) }},
		{"operator.remove", func() error { return first(c.RemoveOperator(ctx, "ada")) }},
	}
	for i, act := range acts {
		before := s.seq(t, c)
		if err := act.do(); err != nil {
			t.Fatalf("act %d, %s: %v", i, act.kind, err)
		}
		list, err := c.Ledger(ctx, client.LedgerQuery{Limit: 2})
		if err != nil {
			t.Fatal(err)
		}
		if e := list.Items[0]; e.Seq != before+1 || e.By != "boss" || e.Kind != act.kind {
			t.Errorf("act %d: the newest entry is %d %s by %s after %d, want one %s by boss", i, e.Seq, e.Kind, e.By, before, act.kind)
		}
	}
}

// TestA2_TenThousandUpdatesAreOneActWithinTheBodyCap: the longest list of ids that anybody will send.
func TestA2_TenThousandUpdatesAreOneActWithinTheBodyCap(t *testing.T) {
	s := newSite(t)
	var ids []string
	for i := range 10_000 {
		ids = append(ids, string(s.mine.Offer(fmt.Sprintf("app-%05d", i), "1.0", nil)))
	}
	s.mine.CheckIn()
	c := s.as(t, "boss", ledger.Administrator, fleet.Root)
	before := s.seq(t, c)
	o, err := c.Decide(t.Context(), client.Decide{Updates: ids, Status: approval.Approved, Reason: "all"})
	if err != nil || len(o.Changed) != len(ids) {
		t.Fatalf("changed %d of %d: %v", len(o.Changed), len(ids), err)
	}
	if after := s.seq(t, c); after != before+1 {
		t.Errorf("it left %d entries, want 1", after-before)
	}
}
