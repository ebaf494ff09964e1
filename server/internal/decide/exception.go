package decide

import (
	"cmp"
	"context"
	"slices"

	"assent/approval"
	"assent/client"
	"assent/fault"
	"assent/ledger"
	"assent/server/internal/auth"
	"assent/server/internal/index"
)

// Except lets one update pass one decline in a group and below, for a time and with a reason (A3). It
// needs a role where the decline was made: who may only decide below a wall cannot make a hole in it.
func (s *Service) Except(ctx context.Context, who auth.Actor, r client.ExceptionRequest) (client.Act, error) {
	if err := s.checkException(r); err != nil {
		return client.Act{}, err
	}
	entry, err := s.index.Act(ctx, who.Name, func(v *index.View) (ledger.Body, error) {
		g, err := scope(v, who, ledger.Approver, r.Scope, who.Scope)
		if err != nil {
			return nil, err
		}
		u, err := v.Resolve(r.Update)
		if err != nil {
			return nil, err
		}
		res := v.Status(u.Release, g.ID, s.index.Now().UTC())
		decline, err := theDecline(v, u, res, r.Decline)
		if err != nil {
			return nil, err
		}
		if err := who.Can(ledger.Approver, v.Tree(), decline.Scope); err != nil {
			return nil, err
		}
		return ledger.ExceptionAdd{Decline: decline.Act, Update: u.ID, Scope: g.ID, Reason: r.Reason, Expires: micro(r.Expires)}, nil
	})
	return client.Act{Act: entry.Seq, At: entry.At}, err
}

func (s *Service) checkException(r client.ExceptionRequest) error {
	if err := checkText(r.Reason, "reason", maxReason); err != nil {
		return err
	}
	switch {
	case r.Reason == "":
		return fault.New(fault.Invalid, "reason_missing", "An exception needs a reason.").On("reason")
	case r.Expires.IsZero():
		return fault.New(fault.Invalid, "expires_missing", "An exception needs an end.").On("expires")
	case !r.Expires.After(s.index.Now()):
		return fault.New(fault.Invalid, "expires_past", "The end %s is not in the future.", day(r.Expires)).On("expires")
	}
	return nil
}

// theDecline finds the decline that an exception is from.
func theDecline(v *index.View, u index.Update, res approval.Result, act int64) (approval.Decision, error) {
	declines := res.Declines
	if act != 0 {
		declines = slices.DeleteFunc(slices.Clone(declines), func(d approval.Decision) bool { return d.Act != act })
	}
	switch {
	case len(declines) == 0 && act != 0:
		return approval.Decision{}, fault.New(fault.Conflict, "decline_unknown", "Act %d does not keep %s out there.", act, title(u)).On("decline")
	case len(declines) == 0:
		return approval.Decision{}, fault.New(fault.Conflict, "not_declined", "%s is not declined there, so there is nothing to make an exception from.", title(u)).On("update")
	case len(declines) > 1 && act == 0:
		return approval.Decision{}, fault.New(fault.Invalid, "decline_ambiguous", "%d declines keep %s out there; name the act of one of them, for example %d.", len(declines), title(u), declines[0].Act).On("decline")
	}
	return declines[0], nil
}

// Unexcept ends an exception.
func (s *Service) Unexcept(ctx context.Context, who auth.Actor, id int64) (client.Act, error) {
	entry, err := s.index.Act(ctx, who.Name, func(v *index.View) (ledger.Body, error) {
		e, ok := v.State().Exceptions[id]
		if !ok {
			return nil, fault.New(fault.NotFound, "exception_unknown", "There is no exception %d.", id).On("id")
		}
		if err := who.Can(ledger.Approver, v.Tree(), e.Scope); err != nil {
			return nil, err
		}
		return ledger.ExceptionRemove{Exception: id}, nil
	})
	return client.Act{Act: entry.Seq, At: entry.At}, err
}

// Exceptions lists the exceptions in the actor's part of the tree and above it, the newest first.
func (s *Service) Exceptions(_ context.Context, who auth.Actor) (client.List[client.ExceptionRow], error) {
	out := client.List[client.ExceptionRow]{Items: []client.ExceptionRow{}}
	var err error
	s.index.View(func(v *index.View) {
		if _, err = scope(v, who, ledger.Viewer, "", who.Scope); err != nil {
			return
		}
		for _, e := range v.State().Exceptions {
			if !v.Tree().Contains(who.Scope, e.Scope) && !v.Tree().Contains(e.Scope, who.Scope) {
				continue
			}
			row := client.ExceptionRow{Exception: e, Expired: !s.index.Now().Before(e.Expires)}
			if u, ok := v.Update(e.Update); ok {
				row.Name, row.Version = u.Name, u.Version
			}
			if g, ok := v.Tree().Get(e.Scope); ok {
				row.ScopeName = g.Name
			}
			out.Items = append(out.Items, row)
		}
	})
	slices.SortFunc(out.Items, func(a, b client.ExceptionRow) int { return cmp.Compare(b.Act, a.Act) })
	out.Total = len(out.Items)
	return out, err
}
