package decide

import (
	"context"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"

	"assent/client"
	"assent/fault"
	"assent/fleet"
	"assent/installation"
	"assent/ledger"
	"assent/server/internal/auth"
	"assent/server/internal/index"
)

// Deployments lists the deployments that concern the actor's part of the tree, the newest first, with where they stand
// there.
func (s *Service) Deployments(_ context.Context, who auth.Actor) (client.List[client.DeployRow], error) {
	out := client.List[client.DeployRow]{Items: []client.DeployRow{}}
	err := s.look(func(m *moment) error {
		if _, err := scope(m.View, who, ledger.Viewer, "", who.Scope); err != nil {
			return err
		}
		for _, d := range m.Deploys() {
			if groups := concern(m.View, who, d); len(groups) > 0 {
				out.Items = append(out.Items, m.deployRow(who, d))
			}
		}
		return nil
	})
	slices.Reverse(out.Items)
	out.Total = len(out.Items)
	return out, err
}

// groupsOf are the groups that a deployment goes to.
func groupsOf(v *index.View, d ledger.Deploy) []fleet.GroupID {
	if d.Scope != "" {
		return []fleet.GroupID{d.Scope}
	}
	var out []fleet.GroupID
	for _, id := range d.Devices {
		if g := v.State().Devices[id].Group; !slices.Contains(out, g) {
			out = append(out, g)
		}
	}
	return out
}

// concern are the groups of a deployment that lie in the actor's part of the tree, or around it.
func concern(v *index.View, who auth.Actor, d ledger.Deploy) []fleet.GroupID {
	return slices.DeleteFunc(groupsOf(v, d), func(g fleet.GroupID) bool {
		return !v.Tree().Contains(who.Scope, g) && !v.Tree().Contains(g, who.Scope)
	})
}

// deployRow says where a deployment stands.
func (m *moment) deployRow(who auth.Actor, d ledger.Deploy) client.DeployRow {
	row := client.DeployRow{Act: client.Act{Act: d.Act, At: d.At}, By: d.By, Scope: d.Scope, Reason: d.Reason,
		Update: client.UpdateRef{ID: d.Update, PURL: d.Release.PURL(), Name: d.Release.Name, Version: d.Release.Version}}
	targets := m.targetsOf(who, d, &row)
	row.Total = int(targets.GetCardinality())
	if p, ok := m.State().Packages[d.Package]; ok {
		row.Package = p.Name
	}
	u, ok := m.Update(d.Update)
	if !ok {
		row.Waiting = row.Total
		return row
	}
	m.progressOf(u, targets, &row)
	refusal := ungiven(m.View, u)
	if refusal == nil && d.Scope != "" {
		refusal = kept(m.View, u, d.Scope, m.now)
	}
	if refusal == nil {
		refusal = unagreed(m.View, u)
	}
	row.Refused = refused(refusal)
	return row
}

func refused(f *fault.Error) *client.Refusal {
	if f == nil {
		return nil
	}
	return &client.Refusal{Code: f.Code, Message: f.Message}
}

// targetsOf are the devices of a deployment that the actor sees, by number.
func (m *moment) targetsOf(who auth.Actor, d ledger.Deploy, row *client.DeployRow) *roaring.Bitmap {
	seen := m.In(who.Scope)
	if d.Scope != "" {
		g, _ := m.Tree().Get(d.Scope)
		row.Group = g.Name
		seen.And(m.In(d.Scope))
		return seen
	}
	named := roaring.New()
	for _, id := range d.Devices {
		if dev, ok := m.Device(id); ok && seen.Contains(dev.Number) {
			named.Add(dev.Number)
			row.Named, row.Names = append(row.Named, id), append(row.Names, dev.Name)
		}
	}
	return named
}

// progressOf counts how far a deployment of an update is.
func (m *moment) progressOf(u index.Update, targets *roaring.Bitmap, row *client.DeployRow) {
	tally := m.board.Tally(u.Number)
	in := func(rest *roaring.Bitmap, sets ...*roaring.Bitmap) int {
		n := 0
		for _, set := range sets {
			if set == nil {
				continue
			}
			both := roaring.And(rest, set)
			n += int(both.GetCardinality())
			rest.AndNot(both)
		}
		return n
	}
	rest := targets.Clone()
	row.Done = in(rest, u.Has)
	for _, other := range m.Releases(u.Software) {
		row.Done += in(rest, other.Has)
	}
	states := tally.States
	row.Blocked = in(rest, states[installation.Blocked], states[installation.Failed], states[installation.RemoveFailed], states[installation.ResultUnknown])
	row.Pending = in(rest, tally.Planned, states[installation.Installing], states[installation.RestartRequired])
	row.Waiting = int(rest.GetCardinality())
}
