package decide

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"assent/approval"
	"assent/client"
	"assent/fault"
	"assent/fleet"
	"assent/ledger"
	"assent/server/internal/auth"
	"assent/server/internal/index"
	"assent/server/internal/planner"
)

// Decide sets a status for the named updates, or for all that match a filter, in one scope, as one act
// (A1, A2).
//
// One named update that cannot be decided like this is an error that says why; among several it is
// skipped with the reason. Only an update that is named can leave a decline: with Lift, or by setting
// it back to undefined. Approving what a decline above or with a reach keeps out is refused
// (declined_above), and skipped in a bulk act (outranked): it is not recorded, because it would come to
// life by surprise when the decline goes.
func (s *Service) Decide(ctx context.Context, who auth.Actor, d client.Decide) (client.Outcome, error) {
	if err := checkDecide(d, s.index.Now()); err != nil {
		return client.Outcome{}, err
	}
	if d.Matching != nil && len(d.Matching.State) > 0 { // nothing else of a filter looks at the board
		if err := s.planner.Refresh(); err != nil {
			return client.Outcome{}, err
		}
	}
	if d.DryRun {
		return s.rehearse(ctx, who, d)
	}
	var act *act
	entry, err := s.index.Act(ctx, who.Name, func(v *index.View) (body ledger.Body, err error) {
		act, err = s.prepare(v, who, d)
		if err != nil || len(act.body.Updates) == 0 {
			return nil, err
		}
		act.capture(v, who.Name, s.index.Now())
		return act.body, nil
	})
	if err != nil {
		return client.Outcome{}, err
	}
	out := act.outcome()
	out.Act, out.At = entry.Seq, entry.At
	if entry.Seq == 0 {
		return out, nil
	}
	s.log.Info("decided", "act", entry.Seq, "by", who.Name, "status", d.Status, "scope", act.body.Scope, "updates", len(act.body.Updates), "skipped", len(act.skipped))
	out.Preview, err = s.preview(ctx, act)
	if err != nil {
		// The act is durable: what it means can be seen in the list as well.
		s.log.Warn("the preview of an act failed", "act", entry.Seq, "error", err)
	}
	return out, nil
}

// rehearse says what an act would do.
func (s *Service) rehearse(ctx context.Context, who auth.Actor, d client.Decide) (client.Outcome, error) {
	var act *act
	var err error
	s.index.View(func(v *index.View) {
		if act, err = s.prepare(v, who, d); err == nil {
			act.capture(v, who.Name, s.index.Now())
		}
	})
	if err != nil {
		return client.Outcome{}, err
	}
	out := act.outcome()
	out.DryRun = true
	out.Preview, err = s.preview(ctx, act)
	return out, err
}

// checkDecide refuses what is wrong by itself.
func checkDecide(d client.Decide, now time.Time) error {
	invalid := func(field, code, format string, args ...any) error {
		return fault.New(fault.Invalid, code, format, args...).On(field)
	}
	if err := checkText(d.Reason, "reason", maxReason); err != nil {
		return err
	}
	switch {
	case !d.Status.Valid():
		return unknownValue("status", string(d.Status), "undefined, approved, declined")
	case len(d.Updates) == 0 && d.Matching == nil:
		return invalid("updates", "updates_missing", "Name the updates, or give a filter that selects them.")
	case len(d.Updates) > 0 && d.Matching != nil:
		return invalid("updates", "updates_twice", "Name the updates or give a filter, not both.")
	case !d.Expires.IsZero() && d.Status == approval.Undefined:
		return invalid("expires", "expires_useless", "Only an approval or a decline can expire.")
	case !d.Expires.IsZero() && !d.Expires.After(now):
		return invalid("expires", "expires_past", "The expiry %s is not in the future.", day(d.Expires))
	case d.Reach != (approval.Reach{}) && d.Status != approval.Declined:
		return invalid("reach", "reach_useless", "Only a decline can reach other versions (A4); an approval never carries over (A5).")
	case d.Reach.Through != "" && !d.Reach.Later:
		return invalid("reach", "reach_incomplete", "A reach through a version covers later versions; say so (later).")
	case len(d.AcceptAgreements) > 0 && d.Status != approval.Approved:
		return invalid("accept_agreements", "accept_useless", "Agreements are accepted with an approval.")
	case d.Lift && d.Matching != nil:
		return invalid("lift", "lift_bulk", "A bulk act never lifts declines; name the updates whose decline is to be lifted.")
	}
	return nil
}

// act is a decision on its way: what it changes, what it leaves alone and why.
type act struct {
	body    ledger.UpdateDecide
	updates []index.Update // those of body, in order
	skipped []client.Skipped
	before  *index.Moment
	after   *index.Moment
}

// capture keeps what the preview compares. It is called in the View that the act is built from.
func (a *act) capture(v *index.View, by string, now time.Time) {
	a.before, a.after = v.Present(a.body), v.Supposed(a.body, by, now.UTC().Truncate(time.Microsecond))
}

func (a *act) outcome() client.Outcome {
	out := client.Outcome{Changed: make([]client.UpdateRef, len(a.updates)), Skipped: a.skipped, Preview: client.Preview{Updates: []client.PreviewUpdate{}}}
	for i, u := range a.updates {
		out.Changed[i] = ref(u)
	}
	return out
}

// prepare resolves a request at one moment.
func (s *Service) prepare(v *index.View, who auth.Actor, d client.Decide) (*act, error) {
	g, err := scope(v, who, ledger.Approver, d.Scope, fleet.Root)
	if err != nil {
		return nil, err
	}
	chosen, selection, err := s.chosen(v, who, d, g.ID)
	if err != nil {
		return nil, err
	}
	a := &act{body: ledger.UpdateDecide{Scope: g.ID, Status: d.Status, Reason: d.Reason, Expires: micro(d.Expires), Reach: d.Reach, Selection: selection}}
	j := &judge{View: v, request: d, scope: g.ID, devices: v.In(g.ID), now: s.index.Now().UTC(), expires: a.body.Expires}
	for _, u := range chosen {
		refusal := j.refuse(u)
		switch {
		case refusal == nil:
			a.body.Updates = append(a.body.Updates, ledger.Decided{Update: u.ID, Release: u.Release, Rev: u.Rev(), Digest: u.Digest(u.Rev())})
			a.updates = append(a.updates, u)
		case len(d.Updates) == 1 && refusal.Code != codeUnchanged:
			return nil, refusal
		default:
			a.skipped = append(a.skipped, client.Skipped{UpdateRef: ref(u), Code: bulkCode(refusal.Code), Message: refusal.Message})
		}
	}
	if a.body.Accepts = accepts(v, d, a.updates); len(a.body.Accepts) > 0 {
		// A licence binds the whole installation, whatever the scope of the approval.
		if err := who.CanAll(ledger.Approver); err != nil {
			return nil, err
		}
	}
	return a, nil
}

func micro(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC().Truncate(time.Microsecond)
}

// bulkCode is the code of a refusal when it only skips.
func bulkCode(code string) string {
	if code == codeAbove {
		return codeOutranked
	}
	return code
}

// chosen resolves the updates of a request, each once, and says how a bulk act selected them.
func (s *Service) chosen(v *index.View, who auth.Actor, d client.Decide, group fleet.GroupID) (list []index.Update, selection string, err error) {
	if d.Matching != nil {
		return s.matching(v, who, *d.Matching, group)
	}
	seen := map[uint32]bool{}
	for _, r := range d.Updates {
		u, err := v.Resolve(r)
		if err != nil {
			return nil, "", err
		}
		if !seen[u.Number] {
			seen[u.Number] = true
			list = append(list, u)
		}
	}
	return list, "", nil
}

// matching selects the updates of a bulk act: what the list shows for the same filter, seen from the
// act's scope unless the filter names a group.
func (s *Service) matching(v *index.View, who auth.Actor, f client.Filter, group fleet.GroupID) (list []index.Update, selection string, err error) {
	if f.Group == "" {
		f.Group = string(group)
	}
	text, err := json.Marshal(f)
	if err != nil {
		return nil, "", fmt.Errorf("encode the filter of a bulk act: %w", err)
	}
	s.planner.Read(func(b planner.Board) {
		var view *sight
		if view, err = (&moment{View: v, board: b, now: s.index.Now().UTC(), silent: s.silent}).from(who, ledger.Viewer, f); err == nil {
			list = slices.Collect(view.selected(f))
		}
	})
	slices.SortFunc(list, func(a, b index.Update) int { return cmp.Compare(a.ID, b.ID) })
	return list, string(text), err
}
