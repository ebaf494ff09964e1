package index

import (
	"fmt"
	"maps"

	"assent/fleet"
	"assent/ledger"
)

// successor is the state after an entry, apart from the one before, so that readers keep that one until the new one is durable.
type successor struct {
	state *ledger.State
	some  bool // it has only those devices that the entry names
}

// whole is the state with all devices: those of the state before, of which the entry's are put in place. A fleet is large, and
// copying it for each device that enrols would cost more than all the rest. The caller holds x.mu, and nobody keeps the
// state before (View).
func (s successor) whole(before *ledger.State) *ledger.State {
	if s.some {
		maps.Copy(before.Devices, s.state.Devices)
		s.state.Devices = before.Devices
	}
	return s.state
}

// only takes those of the devices that there are.
func only(devices map[fleet.DeviceID]fleet.Device, ids ...fleet.DeviceID) map[fleet.DeviceID]fleet.Device {
	out := make(map[fleet.DeviceID]fleet.Device, len(ids))
	for _, id := range ids {
		if d, ok := devices[id]; ok {
			out[id] = d
		}
	}
	return out
}

// named are the devices that an entry is about, where they are all of the devices that it looks at.
func named(body ledger.Body) (ids []fleet.DeviceID, ok bool) {
	switch b := body.(type) {
	case ledger.DeviceEnrol:
		return []fleet.DeviceID{b.Device.ID}, true
	case ledger.DeviceRenew:
		return []fleet.DeviceID{b.ID}, true
	case ledger.DeviceMove:
		return b.IDs, true
	case ledger.DeviceState:
		return b.IDs, true
	}
	return nil, false
}

// succeed applies an entry to a copy of the state. Only the maps that the entry's kind changes are copied.
func succeed(s *ledger.State, e ledger.Entry) (successor, error) {
	body, err := e.Decode()
	if err != nil {
		return successor{}, err
	}
	after := *s
	ids, some := named(body)
	if some {
		after.Devices = only(s.Devices, ids...)
	}
	switch body.(type) {
	case ledger.GroupCreate, ledger.GroupChange, ledger.GroupDelete:
		after.Groups = maps.Clone(s.Groups)
	case ledger.DeviceEnrol:
		after.Tokens = maps.Clone(s.Tokens)
	case ledger.DeviceRenew, ledger.DeviceMove, ledger.DeviceState:
	case ledger.UpdateDecide:
		after.Decisions, after.Agreements = maps.Clone(s.Decisions), maps.Clone(s.Agreements)
	case ledger.FeedSubscribe, ledger.FeedUnsubscribe:
		after.Feeds = maps.Clone(s.Feeds)
	case ledger.AgreementAccept, ledger.AgreementWithdraw:
		after.Agreements = maps.Clone(s.Agreements)
	case ledger.UpdateDeploy, ledger.DeployEnd:
		after.Deploys = maps.Clone(s.Deploys)
	case ledger.ChannelSet, ledger.ChannelRemove:
		after.Channels = maps.Clone(s.Channels)
	case ledger.ChannelTest:
	case ledger.PackageCreate, ledger.PackageDelete:
		after.Packages = maps.Clone(s.Packages)
	case ledger.ViewShare, ledger.ViewRemove:
		after.Views = maps.Clone(s.Views)
	case ledger.ContentVerify:
		after.Contents = maps.Clone(s.Contents)
	case ledger.ExceptionAdd, ledger.ExceptionRemove:
		after.Exceptions = maps.Clone(s.Exceptions)
	case ledger.UpdateRollback:
		after.Rollbacks = maps.Clone(s.Rollbacks)
	case ledger.TokenCreate, ledger.TokenRevoke:
		after.Tokens = maps.Clone(s.Tokens)
	case ledger.OperatorSet, ledger.OperatorRemove:
		after.Operators, after.Accesses = maps.Clone(s.Operators), maps.Clone(s.Accesses)
	case ledger.AccessCreate, ledger.AccessRevoke:
		after.Accesses = maps.Clone(s.Accesses)
	case ledger.TaskSet, ledger.TaskRemove:
		after.Tasks = maps.Clone(s.Tasks)
	case ledger.RolloutStep, ledger.ServerInit, ledger.PasswordSet, ledger.PasswordRemove, ledger.PasskeyAdd, ledger.PasskeyRemove, ledger.SessionEnd:
	default:
		return successor{}, fmt.Errorf("the index does not know ledger entries of kind %q", e.Kind)
	}
	if err := after.Apply(e); err != nil {
		return successor{}, err
	}
	return successor{&after, some}, nil
}
