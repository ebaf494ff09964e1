package decide

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/RoaringBitmap/roaring/v2"

	"assent/approval"
	"assent/catalog"
	"assent/client"
	"assent/fleet"
	"assent/ledger"
	"assent/plan"
	"assent/server/internal/auth"
	"assent/server/internal/index"
	"assent/server/internal/planner"
)

// maxDevices bounds the devices that one update's page lists; those that need attention come first.
const maxDevices = 1000

// Get returns everything about one update as seen from a group (the actor's own scope by default).
func (s *Service) Get(_ context.Context, who auth.Actor, reference, group string) (client.UpdateDetail, error) {
	var out client.UpdateDetail
	err := s.look(func(m *moment) error {
		view, err := m.from(who, ledger.Viewer, client.Filter{Group: group})
		if err != nil {
			return err
		}
		u, err := m.Resolve(reference)
		if err != nil {
			return err
		}
		out = client.UpdateDetail{UpdateRow: view.row(u), Items: u.Items, Rev: u.Rev(), Digest: u.Digest(u.Rev()), Conflicts: u.Conflicts(), Published: u.Published,
			Decisions: view.decisions(u, who), Exceptions: concerning(m.Tree(), who, m.Exceptions(u.ID), func(e approval.Exception) fleet.GroupID { return e.Scope })}
		out.Devices, err = view.devicesOf(u)
		return err
	})
	return out, err
}

// decisions lists the decisions on the update, and the declines of other releases that reach it.
func (s *sight) decisions(u index.Update, who auth.Actor) []approval.Decision {
	out := []approval.Decision{}
	for _, d := range s.Decisions(u.Software) {
		if d.Update == u.ID || d.Status == approval.Declined && approval.Covers(d, u.Release) {
			out = append(out, d)
		}
	}
	return concerning(s.Tree(), who, out, func(d approval.Decision) fleet.GroupID { return d.Scope })
}

// concerning leaves out what was decided for groups that are neither in the actor's scope nor above it: it
// cannot reach the actor's devices, and its reasons are not for the actor to read (N25).
func concerning[T any](tree fleet.Tree, who auth.Actor, all []T, scope func(T) fleet.GroupID) []T {
	out := []T{}
	for _, x := range all {
		if g := scope(x); tree.Contains(who.Scope, g) || tree.Contains(g, who.Scope) {
			out = append(out, x)
		}
	}
	return out
}

// devicesOf lists where the update stands on the devices of the group that need it or have it.
func (s *sight) devicesOf(u index.Update) ([]client.DeviceUpdate, error) {
	tally := s.board.Tally(u.Number)
	urgent := roaring.New()
	for st, devices := range tally.States {
		if st.Valid() {
			urgent.Or(devices)
		}
	}
	urgent.And(s.devices)
	rest := roaring.Or(u.Needs, u.Has)
	rest.And(s.devices)
	rest.AndNot(urgent)
	out := []client.DeviceUpdate{}
	for _, set := range []*roaring.Bitmap{urgent, rest} {
		for it := set.Iterator(); it.HasNext() && len(out) < maxDevices; {
			d := s.Numbered(it.Next())
			row, err := s.deviceUpdate(d, u)
			if err != nil {
				return nil, err
			}
			out = append(out, row)
		}
	}
	slices.SortStableFunc(out, func(a, b client.DeviceUpdate) int { return strings.Compare(a.DeviceName, b.DeviceName) })
	return out, nil
}

// deviceUpdate says where an update stands on a device.
func (m *moment) deviceUpdate(d index.Device, u index.Update) (client.DeviceUpdate, error) {
	notable, err := m.planner.Notable(m.View, d)
	if err != nil {
		return client.DeviceUpdate{}, err
	}
	verdict := plan.Verdict{Update: u.ID, Action: plan.None}
	if i := slices.IndexFunc(notable, func(v plan.Verdict) bool { return v.Update == u.ID }); i >= 0 {
		verdict = notable[i]
	}
	return m.standing(d, u, verdict), nil
}

// standing puts what the device reported and the verdict into one row.
func (m *moment) standing(d index.Device, u index.Update, verdict plan.Verdict) client.DeviceUpdate {
	st := planner.Standing(d, u, verdict)
	from, how := installedSource(d, u)
	return client.DeviceUpdate{Device: d.ID, DeviceName: d.Name, Group: m.name(d.Group), Update: u.ID, Name: u.Name, Version: u.Version, From: from,
		State: st.State, Cause: st.Cause, Detail: st.Detail, Verdict: verdict.Action, Needs: st.Needs, Since: st.Since, Deadline: st.Deadline,
		Overdue: st.Overdue(m.now), How: how, Against: planner.Against(verdict), Proof: st.Proof, Rehearsed: m.rehearsedAs(d, u)}
}

// name is the name of a group.
func (m *moment) name(id fleet.GroupID) string {
	g, _ := m.Tree().Get(id)
	return cmp.Or(g.Name, string(id))
}

// installedSource is the version of the software that is on the device, and how it came when it is this
// very release (V4).
func installedSource(d index.Device, u index.Update) (version, how string) {
	for p := range d.Packages() {
		if p.Source != u.Name || !slices.ContainsFunc(u.Items, func(it catalog.Bound) bool { return it.Role == catalog.Own && it.Name == p.Name }) {
			continue
		}
		if p.SourceVersion == u.Version {
			return p.SourceVersion, p.How
		}
		version = cmp.Or(version, p.SourceVersion)
	}
	return version, ""
}
