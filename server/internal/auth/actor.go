package auth

import (
	"fmt"
	"slices"

	"assent/fault"
	"assent/fleet"
	"assent/ledger"
)

// Actor is an operator at the moment of an act: who, with which role, and in which part of the tree it counts.
type Actor struct {
	Name  string        // as in the ledger
	Role  ledger.Role   // each role may do what those before it may
	Scope fleet.GroupID // the group, with all below, in which the role counts
}

// rank orders roles; 0 for what is not a role, so an unknown role may do nothing.
func rank(r ledger.Role) int {
	return slices.Index([]ledger.Role{ledger.Viewer, ledger.Approver, ledger.Administrator}, r) + 1
}

// Has reports whether the actor holds at least this role, somewhere.
func (a Actor) Has(role ledger.Role) bool {
	return rank(role) > 0 && rank(a.Role) >= rank(role)
}

// Can refuses (fault.Forbidden) an actor who does not hold at least this role in the scope. An unknown role
// and an unknown scope are refused too.
func (a Actor) Can(role ledger.Role, tree fleet.Tree, scope fleet.GroupID) error {
	if !a.Has(role) {
		return fault.New(fault.Forbidden, "role_missing", "This needs the role %s; %s is %s.", role, name(a), article(a.Role))
	}
	if _, known := tree.Get(scope); !known || !tree.Contains(a.Scope, scope) {
		return fault.New(fault.Forbidden, "out_of_scope", "The role of %s counts only in %s.", name(a), where(tree, a.Scope))
	}
	return nil
}

// CanAll is Can for the whole installation: the actor's role must count in the root group.
func (a Actor) CanAll(role ledger.Role) error {
	if !a.Has(role) {
		return a.Can(role, fleet.Tree{}, fleet.Root)
	}
	if a.Scope != fleet.Root {
		return fault.New(fault.Forbidden, "out_of_scope", "This concerns the whole installation; the role of %s counts only in one group.", name(a))
	}
	return nil
}

func name(a Actor) string { return fmt.Sprintf("%q", a.Name) }

func article(r ledger.Role) string {
	switch r {
	case ledger.Viewer:
		return "a viewer"
	case ledger.Approver:
		return "an approver"
	case ledger.Administrator:
		return "an administrator"
	}
	return fmt.Sprintf("of the unknown role %q", r)
}

func where(t fleet.Tree, id fleet.GroupID) string {
	if g, ok := t.Get(id); ok {
		return fmt.Sprintf("the group %q", g.Name)
	}
	return fmt.Sprintf("the group %q, which is not there any more", id)
}
