package ledger

import (
	"fmt"
	"maps"
	"slices"

	"assent/approval"
	"assent/fault"
	"assent/fleet"
)

// initServer starts the ledger; a ledger is started once.
func (s *State) initServer(b ServerInit) error {
	if s.Server != (ServerInit{}) {
		return fault.New(fault.Conflict, "server_started", "The ledger of %q is started already.", s.Server.Org)
	}
	s.Server = b
	return nil
}

// putGroup stores a group if the tree stays a tree.
func (s *State) putGroup(g fleet.Group) error {
	groups := maps.Clone(s.Groups)
	groups[g.ID] = g
	if _, err := fleet.NewTree(slices.Collect(maps.Values(groups))); err != nil {
		return fault.New(fault.Invalid, "group_invalid", "The group cannot stand like this: %v.", err).On("group")
	}
	s.Groups = groups
	return nil
}

func (s *State) createGroup(b GroupCreate) error {
	if _, dup := s.Groups[b.Group.ID]; dup {
		return fault.New(fault.Conflict, "group_exists", "There is a group %q already.", b.Group.ID).On("group")
	}
	return s.putGroup(b.Group)
}

func (s *State) changeGroup(b GroupChange) error {
	if _, ok := s.Groups[b.Group.ID]; !ok {
		return unknownGroup(b.Group.ID)
	}
	return s.putGroup(b.Group)
}

// deleteGroup removes a group that nothing refers to, so that no decision ever dangles.
func (s *State) deleteGroup(b GroupDelete) error {
	inUse := func(what string) error {
		return fault.New(fault.Conflict, "group_in_use", "The group still has %s; move or remove them first.", what).On("group")
	}
	g, ok := s.Groups[b.ID]
	switch {
	case !ok:
		return unknownGroup(b.ID)
	case g.ID == fleet.Root:
		return fault.New(fault.Conflict, "group_root", "The root group stays.").On("group")
	}
	for _, c := range s.Groups {
		if c.Parent == b.ID {
			return inUse("groups below it")
		}
	}
	for _, d := range s.Devices {
		if d.Group == b.ID {
			return inUse("devices")
		}
	}
	for k := range s.Decisions {
		if k.Scope == b.ID {
			return inUse("decisions made for it")
		}
	}
	for _, x := range s.Exceptions {
		if x.Scope == b.ID {
			return inUse("exceptions made for it")
		}
	}
	for _, o := range s.Operators {
		if o.Scope == b.ID {
			return inUse("operators whose role counts in it")
		}
	}
	if c, ok := s.channelFor(b.ID); ok {
		return inUse(fmt.Sprintf("the channel %q, which tells of it", c.Name))
	}
	for _, d := range s.Deploys {
		if d.Scope == b.ID {
			return inUse("deployments to it")
		}
	}
	for _, p := range s.Packages {
		if p.Group == b.ID {
			return inUse("installation packages that enrol into it")
		}
	}
	if t, ok := s.taskFor(b.ID); ok {
		return inUse(fmt.Sprintf("the task %q, which names it", t.Name))
	}
	delete(s.Groups, b.ID)
	return nil
}

// enrol admits a device and spends one use of its token.
func (s *State) enrol(e Entry, b DeviceEnrol) error {
	t, ok := s.Tokens[b.Token]
	switch {
	case !ok:
		return fault.New(fault.Unauthenticated, "token_unknown", "The enrolment token is not known.").On("token")
	case t.Revoked || t.Used >= t.Uses:
		return fault.New(fault.Gone, "token_spent", "The enrolment token has been used up or revoked; make a new one.").On("token")
	case !e.At.Before(t.Expires):
		return fault.New(fault.Gone, "token_expired", "The enrolment token expired on %s; make a new one.", t.Expires.UTC().Format("2006-01-02 15:04 MST")).On("token")
	}
	if _, dup := s.Devices[b.Device.ID]; dup {
		return fault.New(fault.Conflict, "device_exists", "The device %q is enrolled already.", b.Device.ID)
	}
	if _, ok := s.Groups[b.Device.Group]; !ok {
		return unknownGroup(b.Device.Group)
	}
	t.Used++
	s.Tokens[b.Token] = t
	s.Devices[b.Device.ID] = b.Device
	return nil
}

// changeDevices changes all named devices or none.
func (s *State) changeDevices(ids []fleet.DeviceID, change func(*fleet.Device)) error {
	for _, id := range ids {
		if _, ok := s.Devices[id]; !ok {
			return fault.New(fault.NotFound, "device_unknown", "There is no device %q.", id).On("device")
		}
	}
	for _, id := range ids {
		d := s.Devices[id]
		change(&d)
		s.Devices[id] = d
	}
	return nil
}

func (s *State) setDeviceState(b DeviceState) error {
	switch b.State {
	case fleet.Active, fleet.Quarantined, fleet.Retired:
		return s.changeDevices(b.IDs, func(d *fleet.Device) { d.State, d.Reason = b.State, b.Reason })
	}
	return fault.New(fault.Invalid, "device_state_unknown", "%q is not a state of a device.", b.State).On("state")
}

func (s *State) decide(e Entry, b UpdateDecide) error {
	if _, ok := s.Groups[b.Scope]; !ok {
		return unknownGroup(b.Scope)
	}
	if !b.Status.Valid() {
		return fault.New(fault.Invalid, "status_unknown", "%q is not an approval status.", b.Status).On("status")
	}
	if len(b.Updates) > 0 {
		s.accept(e, b.Updates[0].Update, b.Accepts)
	}
	for _, u := range b.Updates {
		key := DecisionKey{Update: u.Update, Scope: b.Scope}
		if b.Status == approval.Undefined {
			delete(s.Decisions, key)
			continue
		}
		s.Decisions[key] = approval.Decision{Act: e.Seq, Update: u.Update, Release: u.Release, Scope: b.Scope, Status: b.Status,
			Rev: u.Rev, Digest: u.Digest, Reason: b.Reason, By: e.By, At: e.At, Expires: b.Expires, Reach: b.Reach}
	}
	return nil
}

func (s *State) except(e Entry, b ExceptionAdd) error {
	if _, ok := s.Groups[b.Scope]; !ok {
		return unknownGroup(b.Scope)
	}
	s.Exceptions[e.Seq] = approval.Exception{Act: e.Seq, Decline: b.Decline, Update: b.Update, Scope: b.Scope,
		Reason: b.Reason, By: e.By, At: e.At, Expires: b.Expires}
	return nil
}

func (s *State) rollback(e Entry, b UpdateRollback) error {
	if _, ok := s.Groups[b.Scope]; !ok {
		return unknownGroup(b.Scope)
	}
	s.Rollbacks[e.Seq] = Rollback{Act: e.Seq, By: e.By, UpdateRollback: b}
	return nil
}

// createToken adds an enrolment token; an id is never used twice, or the uses would count anew.
func (s *State) createToken(e Entry, b TokenCreate) error {
	if _, dup := s.Tokens[b.ID]; dup {
		return fault.New(fault.Conflict, "token_exists", "There is an enrolment token %q already.", b.ID).On("token")
	}
	s.Tokens[b.ID] = Token{TokenCreate: b, By: e.By}
	return nil
}

func (s *State) revokeToken(b TokenRevoke) error {
	t, ok := s.Tokens[b.ID]
	if !ok {
		return fault.New(fault.NotFound, "token_unknown", "There is no enrolment token %q.", b.ID).On("token")
	}
	t.Revoked = true
	s.Tokens[b.ID] = t
	return nil
}

// keepsAdministrator refuses an act on an operator that would leave nobody who can let anybody in again.
func (s *State) keepsAdministrator(name string) error {
	for _, o := range s.Operators {
		if o.Name != name && o.administersAll() {
			return nil
		}
	}
	return fault.New(fault.Conflict, "last_administrator", "This is the last administrator; make another one first.").On("operator")
}

func (o Operator) administersAll() bool { return o.Role == Administrator && o.Scope == fleet.Root }

func (s *State) setOperator(b OperatorSet) error {
	if _, ok := s.Groups[b.Operator.Scope]; !ok {
		return unknownGroup(b.Operator.Scope)
	}
	if !b.Operator.Role.Valid() {
		return fault.New(fault.Invalid, "role_unknown", "%q is not a role.", b.Operator.Role).On("role")
	}
	if !b.Operator.administersAll() && s.Operators[b.Operator.Name].administersAll() {
		if err := s.keepsAdministrator(b.Operator.Name); err != nil {
			return err
		}
	}
	s.Operators[b.Operator.Name] = b.Operator
	return nil
}

// removeOperator removes an operator with all access.
func (s *State) removeOperator(b OperatorRemove) error {
	o, ok := s.Operators[b.Name]
	if !ok {
		return fault.New(fault.NotFound, "operator_unknown", "There is no operator %q.", b.Name).On("operator")
	}
	if o.administersAll() {
		if err := s.keepsAdministrator(b.Name); err != nil {
			return err
		}
	}
	delete(s.Operators, b.Name)
	maps.DeleteFunc(s.Accesses, func(_ string, a Access) bool { return a.Operator == b.Name })
	return nil
}

func (s *State) createAccess(b AccessCreate) error {
	if _, ok := s.Operators[b.Access.Operator]; !ok {
		return fault.New(fault.NotFound, "operator_unknown", "There is no operator %q.", b.Access.Operator).On("operator")
	}
	if _, dup := s.Accesses[b.Access.ID]; dup {
		return fault.New(fault.Conflict, "access_exists", "There is an access token %q already.", b.Access.ID).On("access")
	}
	s.Accesses[b.Access.ID] = b.Access
	return nil
}
