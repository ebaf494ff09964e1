package roster

import (
	"context"

	"assent/client"
	"assent/fault"
	"assent/fleet"
	"assent/ledger"
	"assent/server/internal/auth"
	"assent/server/internal/index"
)

// Groups lists the actor's part of the tree, parents before children.
func (s *Service) Groups(_ context.Context, who auth.Actor) (client.List[client.GroupRow], error) {
	out := client.List[client.GroupRow]{Items: []client.GroupRow{}}
	var err error
	s.index.View(func(v *index.View) {
		if _, err = scope(v, who, ledger.Viewer, "", who.Scope); err != nil {
			return
		}
		var walk func(id fleet.GroupID)
		walk = func(id fleet.GroupID) {
			out.Items = append(out.Items, groupRow(v, id, who.Scope))
			for _, child := range v.Tree().Children(id) {
				walk(child)
			}
		}
		walk(who.Scope)
	})
	out.Total = len(out.Items)
	return out, err
}

func groupRow(v *index.View, id, top fleet.GroupID) client.GroupRow {
	g, _ := v.Tree().Get(id)
	row := client.GroupRow{Group: g, Depth: len(v.Tree().Path(id)) - len(v.Tree().Path(top)), GuardHere: v.Tree().Guard(id), Below: int(v.In(id).GetCardinality())}
	if own := v.Own(id); own != nil {
		row.Devices = int(own.GetCardinality())
	}
	for key := range v.State().Decisions {
		if key.Scope == id {
			row.Decisions++
		}
	}
	return row
}

// CreateGroup adds a group below another (the root by default).
func (s *Service) CreateGroup(ctx context.Context, who auth.Actor, r client.GroupRequest) (client.GroupRow, error) {
	if err := checkName(r.Name, "name"); err != nil {
		return client.GroupRow{}, err
	}
	g := fleet.Group{ID: fleet.GroupID(newID("g")), Name: r.Name}
	if r.Guard != nil {
		g.Guard = *r.Guard
	}
	g.Test = r.Test != nil && *r.Test
	_, err := s.act(ctx, who, func(v *index.View) (ledger.Body, error) {
		parent, err := scope(v, who, ledger.Administrator, r.Parent, fleet.Root)
		if err != nil {
			return nil, err
		}
		if err := free(v, r.Name, ""); err != nil {
			return nil, err
		}
		g.Parent = parent.ID
		return ledger.GroupCreate{Group: g}, checkGuard(g.Guard)
	})
	if err != nil {
		return client.GroupRow{}, err
	}
	return s.group(g.ID), nil
}

// group reads one group.
func (s *Service) group(id fleet.GroupID) (row client.GroupRow) {
	s.index.View(func(v *index.View) { row = groupRow(v, id, fleet.Root) })
	return row
}

func checkGuard(m fleet.GuardMode) error {
	if m.Valid() {
		return nil
	}
	return fault.New(fault.Invalid, "guard_unknown", "There is no guard mode %.80q; there are: observe, block_declined, approved_only, and none for the parent's.", string(m)).On("guard")
}

// free refuses a name that another group has. An id of a group is taken as well: references look for both.
func free(v *index.View, name string, own fleet.GroupID) error {
	if g, ok := v.Tree().Find(name); ok && g.ID != own {
		return fault.New(fault.Conflict, "name_taken", "There is a group %q already.", g.Name).On("name")
	}
	return nil
}

// ChangeGroup renames, moves or re-guards a group. Moving it needs an administrator at both ends: what is
// inherited changes for every device below.
func (s *Service) ChangeGroup(ctx context.Context, who auth.Actor, ref string, r client.GroupRequest) (client.GroupRow, error) {
	if r.Name != "" {
		if err := checkName(r.Name, "name"); err != nil {
			return client.GroupRow{}, err
		}
	}
	var id fleet.GroupID
	_, err := s.act(ctx, who, func(v *index.View) (ledger.Body, error) {
		g, err := scope(v, who, ledger.Administrator, ref, "")
		if err != nil {
			return nil, err
		}
		id = g.ID
		changed, err := changedGroup(v, who, g, r)
		if err != nil || changed == g {
			return nil, err
		}
		return ledger.GroupChange{Group: changed}, nil
	})
	if err != nil {
		return client.GroupRow{}, err
	}
	return s.group(id), nil
}

// changedGroup is the group as it is asked for.
func changedGroup(v *index.View, who auth.Actor, g fleet.Group, r client.GroupRequest) (fleet.Group, error) {
	if r.Name != "" && r.Name != g.Name {
		if err := free(v, r.Name, g.ID); err != nil {
			return g, err
		}
		g.Name = r.Name
	}
	if r.Guard != nil {
		if err := checkGuard(*r.Guard); err != nil {
			return g, err
		}
		g.Guard = *r.Guard
	}
	if r.Test != nil {
		g.Test = *r.Test
	}
	if r.Parent == "" {
		return g, nil
	}
	parent, err := scope(v, who, ledger.Administrator, r.Parent, "")
	if err != nil || parent.ID == g.Parent {
		return g, err
	}
	switch {
	case g.ID == fleet.Root:
		return g, fault.New(fault.Conflict, "group_root", "The root group stays where it is.").On("parent")
	case g.ID == who.Scope:
		return g, fault.New(fault.Forbidden, "out_of_scope", "You cannot move the group that your own role counts in.").On("parent")
	case v.Tree().Contains(g.ID, parent.ID):
		return g, fault.New(fault.Conflict, "group_cycle", "%q cannot go below itself.", g.Name).On("parent")
	}
	g.Parent = parent.ID
	return g, nil
}

// DeleteGroup removes an empty group.
func (s *Service) DeleteGroup(ctx context.Context, who auth.Actor, ref string) (client.Act, error) {
	return s.act(ctx, who, func(v *index.View) (ledger.Body, error) {
		g, err := scope(v, who, ledger.Administrator, ref, "")
		if err != nil {
			return nil, err
		}
		return ledger.GroupDelete{ID: g.ID}, nil
	})
}
