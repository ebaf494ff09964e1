package decide

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"assent/approval"
	"assent/client"
	"assent/fault"
	"assent/fleet"
	"assent/ledger"
	"assent/plan"
	"assent/server/internal/auth"
	"assent/server/internal/index"
	"assent/wire"
)

// Rollback orders the recorded previous versions back on the devices that have an update (C3). While the
// update is approved in the scope it would come right back, so it must be declined: in the same call with
// Decline, which writes the decline first and then the rollback, or before.
//
// Only the devices that have the update now are meant; a device that cannot is named with the reason,
// and ordered too only if nobody can: then the order is refused.
func (s *Service) Rollback(ctx context.Context, who auth.Actor, r client.RollbackRequest) (client.RollbackOutcome, error) {
	if err := checkText(r.Reason, "reason", maxReason); err != nil {
		return client.RollbackOutcome{}, err
	}
	var order *returning
	var err error
	s.index.View(func(v *index.View) { order, err = s.returning(v, who, r) })
	if err != nil || r.DryRun {
		return order.outcome(r.DryRun), err
	}
	if _, err := order.body(r.Reason); err != nil {
		return client.RollbackOutcome{}, err // and nothing is declined for an order that cannot be
	}
	if r.Decline && order.declinable {
		_, err := s.Decide(ctx, who, client.Decide{Updates: []string{string(order.update.ID)}, Scope: string(order.scope), Status: approval.Declined, Reason: r.Reason})
		if err != nil {
			return client.RollbackOutcome{}, err
		}
	}
	entry, err := s.index.Act(ctx, who.Name, func(v *index.View) (ledger.Body, error) {
		if order, err = s.returning(v, who, r); err != nil {
			return nil, err
		}
		return order.body(r.Reason)
	})
	if err != nil {
		return client.RollbackOutcome{}, err
	}
	s.log.Info("rollback ordered", "act", entry.Seq, "by", who.Name, "update", order.update.ID, "devices", len(order.devices))
	out := order.outcome(false)
	out.Act = entry.Seq
	return out, nil
}

// returning is a rollback on its way.
type returning struct {
	update     index.Update
	scope      fleet.GroupID
	declinable bool // the decline is not there yet
	devices    []client.RollbackDevice
}

func (r *returning) outcome(dry bool) client.RollbackOutcome {
	if r == nil {
		return client.RollbackOutcome{}
	}
	return client.RollbackOutcome{DryRun: dry, Devices: r.devices}
}

func (r *returning) body(reason string) (ledger.Body, error) {
	body := ledger.UpdateRollback{Update: r.update.ID, Scope: r.scope, Reason: reason}
	for _, d := range r.devices {
		if d.Can {
			body.Devices = append(body.Devices, d.Device)
		}
	}
	if len(body.Devices) > 0 {
		return body, nil
	}
	if len(r.devices) == 0 {
		return nil, fault.New(fault.Conflict, "nothing_to_roll_back", "No device there has %s.", title(r.update))
	}
	return nil, fault.New(fault.Conflict, "cannot_roll_back", "No device there can go back from %s: %s.", title(r.update), r.devices[0].Why)
}

// returning resolves a request at one moment.
func (s *Service) returning(v *index.View, who auth.Actor, r client.RollbackRequest) (*returning, error) {
	u, err := v.Resolve(r.Update)
	if err != nil {
		return nil, err
	}
	out := &returning{update: u, devices: []client.RollbackDevice{}}
	devices, err := out.targets(v, who, r)
	if err != nil {
		return nil, err
	}
	now := s.index.Now().UTC()
	_, standing := v.State().Decisions[ledger.DecisionKey{Update: u.ID, Scope: out.scope}]
	out.declinable = !standing || v.Status(u.Release, out.scope, now).Status != approval.Declined
	then := out.moment(v, who, r, now)
	order := ledger.Rollback{Act: v.State().Seq + 1, By: who.Name, UpdateRollback: ledger.UpdateRollback{Update: u.ID, Scope: out.scope}}
	for _, d := range devices {
		if !r.Decline {
			if err := stillApproved(v, u, v.Status(u.Release, d.Group, now)); err != nil {
				return nil, err
			}
		}
		out.devices = append(out.devices, back(v.PlanInputAt(d, now, then), u, order))
	}
	slices.SortStableFunc(out.devices, func(a, b client.RollbackDevice) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// moment is what is decided when the order comes into force: with the decline, if it is part of the call.
func (r *returning) moment(v *index.View, who auth.Actor, req client.RollbackRequest, now time.Time) *index.Moment {
	act := ledger.UpdateDecide{Scope: r.scope, Status: approval.Declined, Reason: req.Reason,
		Updates: []ledger.Decided{{Update: r.update.ID, Release: r.update.Release, Rev: r.update.Rev(), Digest: r.update.Digest(r.update.Rev())}}}
	if req.Decline && r.declinable {
		return v.Supposed(act, who.Name, now)
	}
	return v.Present(act)
}

// stillApproved refuses a rollback of what would come right back.
func stillApproved(v *index.View, u index.Update, res approval.Result) error {
	if res.Status != approval.Approved {
		return nil
	}
	return fault.New(fault.Conflict, "still_approved", "%s is still approved in %s (act %d), so it would come right back; decline it in the same act with --decline, or first.",
		title(u), groupName(v, res.Decision.Scope), res.Decision.Act).On("decline")
}

// targets finds the devices that a request means and that have the update.
func (r *returning) targets(v *index.View, who auth.Actor, req client.RollbackRequest) ([]index.Device, error) {
	if len(req.Devices) > 0 && req.Scope != "" {
		return nil, fault.New(fault.Invalid, "scope_twice", "Name devices or a group, not both.").On("devices")
	}
	if len(req.Devices) > 0 {
		return r.namedTargets(v, who, req)
	}
	g, err := scope(v, who, ledger.Approver, req.Scope, fleet.Root)
	if err != nil {
		return nil, err
	}
	r.scope = g.ID
	set := v.In(g.ID)
	set.And(roaring.Or(r.update.Has, r.update.Half))
	var out []index.Device
	for it := set.Iterator(); it.HasNext(); {
		out = append(out, v.Numbered(it.Next()))
	}
	return out, nil
}

// namedTargets finds named devices. The act's scope is the group they all are in; a decline in the same
// call counts there, so they must be in one.
func (r *returning) namedTargets(v *index.View, who auth.Actor, req client.RollbackRequest) ([]index.Device, error) {
	var out []index.Device
	for _, reference := range req.Devices {
		d, err := v.FindDevice(reference, who.Scope)
		if err != nil {
			return nil, err
		}
		if err := who.Can(ledger.Approver, v.Tree(), d.Group); err != nil {
			return nil, err
		}
		if slices.ContainsFunc(out, func(o index.Device) bool { return o.ID == d.ID }) {
			continue
		}
		if !r.update.Has.Contains(d.Number) && !r.update.Half.Contains(d.Number) {
			return nil, fault.New(fault.Conflict, "not_installed", "%s does not have %s.", d.Name, title(r.update)).On("devices")
		}
		out = append(out, d)
	}
	r.scope = out[0].Group
	for _, d := range out[1:] {
		if d.Group == r.scope {
			continue
		}
		if req.Decline {
			return nil, fault.New(fault.Invalid, "devices_apart", "The devices are in different groups, so there is no one group to decline it in; decline it first where it should stay out.").On("devices")
		}
		r.scope = common(v.Tree(), r.scope, d.Group)
	}
	return out, nil
}

// common is the nearest group that holds both.
func common(t fleet.Tree, a, b fleet.GroupID) fleet.GroupID {
	for _, g := range t.Path(a) {
		if t.Contains(g, b) {
			return g
		}
	}
	return fleet.Root
}

// back says whether a device can go back, to what and from where: what plan.Compute would say to the
// order.
func back(in plan.Input, u index.Update, order ledger.Rollback) client.RollbackDevice {
	out := client.RollbackDevice{Device: in.Device.ID, Name: in.Device.Name}
	order.Devices = []fleet.DeviceID{in.Device.ID}
	in.Rollbacks = append(slices.Clone(in.Rollbacks), order)
	if in.Available != nil {
		for _, it := range in.Available.Restore {
			if it.Update == u.ID {
				out.Items = append(out.Items, it)
			}
		}
	}
	verdict, ok := byUpdate(plan.Compute(in).Verdicts)[u.ID]
	switch {
	case !ok:
		out.Why = "the device does not have it any more"
	case verdict.Action == plan.Remove:
		out.Can, out.Why = true, returns(out.Items)
	default:
		out.Why = last(verdict)
	}
	return out
}

// returns says what comes back from where.
func returns(items []wire.RestoreItem) string {
	var parts []string
	for _, it := range items {
		parts = append(parts, fmt.Sprintf("%s goes back to %s (from the %s)", it.Name, it.Version, it.From))
	}
	return strings.Join(parts, ", ")
}
