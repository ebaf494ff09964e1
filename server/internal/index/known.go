package index

import (
	"slices"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"assent/approval"
	"assent/catalog"
	"assent/fleet"
	"assent/ledger"
	"assent/plan"
)

// Moment is a state of decisions apart from the index: what they were, or what they would be after an
// act. It is immutable and may be kept, unlike a View.
type Moment struct {
	bySoftware map[catalog.Software][]approval.Decision // of the software that differs
	declines   []approval.Decision
	approvals  []approval.Decision
	accepted   map[string]bool // agreements that are accepted besides those that are
}

// known answers plan.Compute. With over set, decisions are those of another moment.
type known struct {
	x    *Index
	over *Moment
}

var _ plan.Known = known{}

// Known answers plan.Compute's questions about this moment.
func (v *View) Known() plan.Known { return known{x: v.x} }

// KnownAt answers them as if the decisions were those of another moment.
func (v *View) KnownAt(m *Moment) plan.Known { return known{x: v.x, over: m} }

func (k known) Update(id catalog.UpdateID) (catalog.Update, bool) {
	e, ok := k.x.updates.byID[id]
	if !ok {
		return catalog.Update{}, false
	}
	return *e.Update, true
}

func (k known) Decisions(s catalog.Software) []approval.Decision {
	if k.over != nil {
		if list, ok := k.over.bySoftware[s]; ok {
			return list
		}
	}
	return k.x.decisions.bySoftware[s]
}

func (k known) Exceptions(id catalog.UpdateID) []approval.Exception {
	return k.x.decisions.exceptions[id]
}

func (k known) Declines() []approval.Decision {
	if k.over != nil {
		return k.over.declines
	}
	return k.x.decisions.declines.items
}

func (k known) Accepted(digest string) bool {
	_, ok := k.x.state.Agreements[digest]
	return ok || k.over != nil && k.over.accepted[digest]
}

func (k known) Content(id catalog.UpdateID) (ledger.Content, bool) {
	c, ok := k.x.state.Contents[id]
	return c, ok
}

func (k known) Approvals() []approval.Decision {
	if k.over != nil {
		return k.over.approvals
	}
	return k.x.decisions.approvals.items
}

// Present captures the decisions of now.
func (v *View) Present(act ledger.UpdateDecide) *Moment {
	m := &Moment{bySoftware: map[catalog.Software][]approval.Decision{}, accepted: map[string]bool{},
		declines: slices.Clone(v.x.decisions.declines.items), approvals: slices.Clone(v.x.decisions.approvals.items)}
	for _, u := range act.Updates {
		m.bySoftware[u.Release.Software] = v.x.decisions.bySoftware[u.Release.Software]
	}
	return m
}

// Supposed is what the decisions would be after an act by somebody at a time.
func (v *View) Supposed(act ledger.UpdateDecide, by string, at time.Time) *Moment {
	m := v.Present(act)
	set := make(map[ledger.DecisionKey]bool, len(act.Updates))
	for _, u := range act.Updates {
		set[ledger.DecisionKey{Update: u.Update, Scope: act.Scope}] = true
	}
	old := func(d approval.Decision) bool { return set[ledger.DecisionKey{Update: d.Update, Scope: d.Scope}] }
	m.declines, m.approvals = slices.DeleteFunc(m.declines, old), slices.DeleteFunc(m.approvals, old)
	for s, list := range m.bySoftware {
		m.bySoftware[s] = slices.DeleteFunc(slices.Clone(list), old)
	}
	for _, a := range act.Accepts {
		m.accepted[a.Digest] = true
	}
	for _, u := range act.Updates {
		d := decision(v.x.state.Seq+1, by, at, act, u)
		switch act.Status {
		case approval.Declined:
			m.declines = append(m.declines, d)
		case approval.Approved:
			m.approvals = append(m.approvals, d)
		default:
			continue
		}
		m.bySoftware[u.Release.Software] = append(m.bySoftware[u.Release.Software], d)
	}
	return m
}

func (k known) Releases(s catalog.Software) []catalog.Update {
	list := k.x.software.byName[nameKey{s.Ecosystem, s.Name}]
	if s.Namespace == "" {
		return list
	}
	for i, u := range list {
		if u.Namespace != s.Namespace {
			out := append([]catalog.Update(nil), list[:i]...)
			for _, u := range list[i:] {
				if u.Namespace == s.Namespace {
					out = append(out, u)
				}
			}
			return out
		}
	}
	return list
}

// PlanInput is everything plan.Compute looks at for a device now.
func (v *View) PlanInput(d Device, now time.Time) plan.Input {
	path := v.x.tree.Path(d.Group)
	return plan.Input{Device: d.Device, Path: path, Facts: d.Facts, Groups: v.groupNames(path), Seen: d.Contact.LastSeen, Unfit: d.record.unfit, Slots: v.slotsOf(d.ID), Guard: v.x.tree.Guard(d.Group), Test: v.x.tree.Test(d.Group),
		Inventory: d.Inventory(), Available: d.Available(), Tasks: v.Tasks(), Rollbacks: v.Rollbacks(d), Deploys: v.deploys(d.Device),
		Feeds: v.x.feeds, Server: v.x.version, Now: now, Known: v.Known()}
}

// Status is the approval status of a release as seen from a group (A3).
func (v *View) Status(r catalog.Release, group fleet.GroupID, now time.Time) approval.Result {
	in := approval.Input{Release: r, Path: v.x.tree.Path(group), Decisions: v.x.decisions.bySoftware[r.Software], Now: now}
	if len(in.Decisions) > 0 && len(v.x.decisions.exceptions) > 0 { // making the id costs more than all the rest
		in.Exceptions = v.x.decisions.exceptions[r.ID()]
	}
	return approval.Evaluate(in)
}

// Judged is Status of an update without the way to it: for lists.
func (v *View) Judged(u Update, group fleet.GroupID, now time.Time) approval.Result {
	decisions := v.x.decisions.bySoftware[u.Software]
	if len(decisions) == 0 {
		return approval.Result{Status: approval.Undefined}
	}
	return approval.Judge(approval.Input{Release: u.Release, ID: u.ID, Path: v.x.tree.Path(group), Decisions: decisions, Exceptions: v.x.decisions.exceptions[u.ID], Now: now})
}

// Decisions lists all decisions on any release of the software, in any scope, oldest act first.
func (v *View) Decisions(s catalog.Software) []approval.Decision { return v.x.decisions.bySoftware[s] }

// Exceptions lists all exceptions of an update, oldest act first.
func (v *View) Exceptions(id catalog.UpdateID) []approval.Exception {
	return v.x.decisions.exceptions[id]
}

// decision is the line of an act that belongs to one update, as State.Apply writes it.
func decision(seq int64, by string, at time.Time, act ledger.UpdateDecide, u ledger.Decided) approval.Decision {
	return approval.Decision{Act: seq, Update: u.Update, Release: u.Release, Scope: act.Scope, Status: act.Status, Rev: u.Rev,
		Digest: u.Digest, Reason: act.Reason, By: by, At: at, Expires: act.Expires, Reach: act.Reach}
}

// Concerning is the set of devices whose documents speak of a piece of software. It must not be changed.
func (v *View) Concerning(s catalog.Software) *roaring.Bitmap {
	set := roaring.New()
	v.x.concerned(set, s)
	return set
}

// PlanInputAt is PlanInput as if the decisions were those of another moment.
func (v *View) PlanInputAt(d Device, now time.Time, m *Moment) plan.Input {
	in := v.PlanInput(d, now)
	in.Foresee = true // what installs in its turn installs
	in.Known = v.KnownAt(m)
	return in
}
