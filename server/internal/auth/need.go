package auth

import "assent/ledger"

// Need says what a caller must hold for a route of a face. Whether the role counts for the objects at hand is then
// checked by the service. The zero value is no policy: faces refuse to start with one.
type Need uint8

// The policies.
const (
	Public Need = iota + 1
	Viewer
	Approver
	Administrator
	ViewerOfAll        // a viewer whose role counts in the root group: what shows the whole installation
	AdministratorOfAll // an administrator whose role counts in the root group
)

// meaning is what a policy asks for: a role, whether it must count in the root group, and for whom that is.
type meaning struct {
	role ledger.Role
	all  bool
	text string
}

func (n Need) meaning() (meaning, bool) {
	switch n {
	case Public:
		return meaning{text: "anybody"}, true
	case Viewer:
		return meaning{role: ledger.Viewer, text: "viewers"}, true
	case Approver:
		return meaning{role: ledger.Approver, text: "approvers"}, true
	case Administrator:
		return meaning{role: ledger.Administrator, text: "administrators"}, true
	case ViewerOfAll:
		return meaning{role: ledger.Viewer, all: true, text: "viewers of the root group"}, true
	case AdministratorOfAll:
		return meaning{role: ledger.Administrator, all: true, text: "administrators of the root group"}, true
	}
	return meaning{}, false
}

// Valid reports whether n is one of the policies.
func (n Need) Valid() bool { _, ok := n.meaning(); return ok }

// Whom says for whom the route is, in words; empty for what is no policy.
func (n Need) Whom() string { m, _ := n.meaning(); return m.text }

// Admits refuses an actor who may not use the route. What is no policy admits only who may do everything.
func (n Need) Admits(a Actor) error {
	m, ok := n.meaning()
	switch {
	case ok && n == Public:
		return nil
	case !ok:
		return a.CanAll(ledger.Administrator)
	case !m.all && a.Has(m.role):
		return nil
	}
	return a.CanAll(m.role)
}
