package ledger

import (
	"maps"
	"slices"

	"assent/approval"
	"assent/catalog"
	"assent/fault"
	"assent/fleet"
	"assent/task"
)

// State is what the ledger's entries amount to: everything that people decided. It is what the store's
// tables hold and what plans are computed from. The zero value is not usable; start with NewState.
type State struct {
	Seq        int64 // the last entry applied; the counter of plans
	Server     ServerInit
	Groups     map[fleet.GroupID]fleet.Group
	Devices    map[fleet.DeviceID]fleet.Device
	Decisions  map[DecisionKey]approval.Decision
	Exceptions map[int64]approval.Exception
	Rollbacks  map[int64]Rollback
	Tokens     map[string]Token
	Operators  map[string]Operator
	Accesses   map[string]Access
	Feeds      map[string]Feed
	Agreements map[string]Acceptance // by digest
	Deploys    map[int64]Deploy
	Packages   map[string]Package
	Channels   map[string]Channel
	Contents   map[catalog.UpdateID]Content
	Views      map[string]View      // shared ones
	Tasks      map[string]task.Task // without the default one while nobody changed it: see AllTasks
}

// DecisionKey names a decision: an update has at most one in a scope.
type DecisionKey struct {
	Update catalog.UpdateID
	Scope  fleet.GroupID
}

// Rollback is an ordered rollback.
type Rollback struct {
	Act int64
	By  string
	UpdateRollback
}

// Token is an enrolment token with what is left of it.
type Token struct {
	TokenCreate
	By      string
	Used    int
	Revoked bool
}

// NewState is the state before the first entry: the root group and nothing else.
func NewState() *State {
	return &State{
		Groups:     map[fleet.GroupID]fleet.Group{fleet.Root: {ID: fleet.Root, Name: fleet.RootName}},
		Devices:    map[fleet.DeviceID]fleet.Device{},
		Decisions:  map[DecisionKey]approval.Decision{},
		Exceptions: map[int64]approval.Exception{},
		Rollbacks:  map[int64]Rollback{},
		Tokens:     map[string]Token{},
		Operators:  map[string]Operator{},
		Accesses:   map[string]Access{},
		Feeds:      map[string]Feed{},
		Agreements: map[string]Acceptance{},
		Deploys:    map[int64]Deploy{},
		Packages:   map[string]Package{},
		Channels:   map[string]Channel{},
		Contents:   map[catalog.UpdateID]Content{},
		Views:      map[string]View{},
		Tasks:      map[string]task.Task{},
	}
}

// Apply brings the state one entry further. A refusal (a *fault.Error) leaves the state as it was.
func (s *State) Apply(e Entry) error {
	if e.Seq != s.Seq+1 {
		return fault.New(fault.Conflict, "ledger_gap", "Entry %d cannot follow entry %d.", e.Seq, s.Seq)
	}
	body, err := e.Decode()
	if err != nil {
		return err
	}
	if err := s.apply(e, body); err != nil {
		return err
	}
	s.Seq = e.Seq
	return nil
}

func (s *State) apply(e Entry, body Body) error {
	switch b := body.(type) {
	case ServerInit:
		return s.initServer(b)
	case GroupCreate:
		return s.createGroup(b)
	case GroupChange:
		return s.changeGroup(b)
	case GroupDelete:
		return s.deleteGroup(b)
	case DeviceEnrol:
		return s.enrol(e, b)
	case DeviceRenew:
		return s.changeDevices([]fleet.DeviceID{b.ID}, func(d *fleet.Device) { d.Key = b.Key })
	case DeviceMove:
		if _, ok := s.Groups[b.Group]; !ok {
			return unknownGroup(b.Group)
		}
		return s.changeDevices(b.IDs, func(d *fleet.Device) { d.Group = b.Group })
	case DeviceState:
		return s.setDeviceState(b)
	case UpdateDecide:
		return s.decide(e, b)
	case ExceptionAdd:
		return s.except(e, b)
	case ExceptionRemove:
		return remove(s.Exceptions, b.Exception, "exception")
	case UpdateRollback:
		return s.rollback(e, b)
	case TokenCreate:
		return s.createToken(e, b)
	case TokenRevoke:
		return s.revokeToken(b)
	case OperatorSet:
		return s.setOperator(b)
	case OperatorRemove:
		return s.removeOperator(b)
	case AccessCreate:
		return s.createAccess(b)
	case AccessRevoke:
		return remove(s.Accesses, b.ID, "access token")
	}
	return s.applyManaged(e, body)
}

// applyManaged is apply for the acts on feeds and what they publish.
func (s *State) applyManaged(e Entry, body Body) error {
	switch b := body.(type) {
	case FeedSubscribe:
		return s.subscribe(b)
	case FeedUnsubscribe:
		return remove(s.Feeds, b.ID, "feed")
	case AgreementAccept:
		s.accept(e, b.Update, b.Accepts)
	case AgreementWithdraw:
		return remove(s.Agreements, b.Digest, "accepted agreement")
	case UpdateDeploy:
		return s.deploy(e, b)
	case DeployEnd:
		return remove(s.Deploys, b.Deploy, "deployment")
	case PackageCreate:
		return s.createPackage(e, b)
	case ChannelSet:
		return s.setChannel(e, b)
	case ChannelRemove:
		return remove(s.Channels, b.ID, "channel")
	case ChannelTest:
		return s.testChannel(b)
	case PackageDelete:
		return remove(s.Packages, b.ID, "installation package")
	case ContentVerify:
		return s.verifyContent(e, b)
	case ViewShare:
		return s.share(e, b.View)
	case ViewRemove:
		return remove(s.Views, b.ID, "shared view")
	case TaskSet:
		return s.setTask(b)
	case TaskRemove:
		return s.removeTask(b)
	case RolloutStep:
		return nil
	}
	return s.signIn(body)
}

// Clone returns a copy that shares nothing that Apply changes.
func (s *State) Clone() *State {
	return &State{Seq: s.Seq, Server: s.Server, Groups: maps.Clone(s.Groups), Devices: maps.Clone(s.Devices),
		Decisions: maps.Clone(s.Decisions), Exceptions: maps.Clone(s.Exceptions), Rollbacks: maps.Clone(s.Rollbacks),
		Tokens: maps.Clone(s.Tokens), Operators: maps.Clone(s.Operators), Accesses: maps.Clone(s.Accesses), Channels: maps.Clone(s.Channels),
		Feeds: maps.Clone(s.Feeds), Agreements: maps.Clone(s.Agreements), Deploys: maps.Clone(s.Deploys), Packages: maps.Clone(s.Packages),
		Contents: maps.Clone(s.Contents), Views: maps.Clone(s.Views), Tasks: maps.Clone(s.Tasks)}
}

// Tree is the group tree. The state only ever holds groups that form one.
func (s *State) Tree() fleet.Tree {
	t, err := fleet.NewTree(slices.Collect(maps.Values(s.Groups)))
	if err != nil {
		panic("ledger state holds a broken group tree: " + err.Error()) // Apply refused it before
	}
	return t
}

func unknownGroup(id fleet.GroupID) error {
	return fault.New(fault.NotFound, "group_unknown", "There is no group %q.", id).On("group")
}

func remove[K comparable, V any](m map[K]V, key K, what string) error {
	if _, ok := m[key]; !ok {
		return fault.New(fault.NotFound, "not_found", "There is no %s %v.", what, key)
	}
	delete(m, key)
	return nil
}
