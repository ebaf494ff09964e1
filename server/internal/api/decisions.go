package api

import (
	"context"

	"assent/approval"
	"assent/client"
	"assent/fault"
	"assent/server/internal/auth"
)

func (s *server) decide(ctx context.Context, who auth.Session, in *in[client.Decide]) (client.Outcome, error) {
	if err := known("status", []approval.Status{in.Body.Status}, approval.Undefined, approval.Approved, approval.Declined); err != nil {
		return client.Outcome{}, err
	}
	if (len(in.Body.Updates) > 0) == (in.Body.Matching != nil) {
		return client.Outcome{}, fault.New(fault.Invalid, "updates_missing", "Name updates, or give a filter, and not both.").On("updates")
	}
	if in.Body.Matching != nil {
		if err := checkFilter(*in.Body.Matching, "matching."); err != nil {
			return client.Outcome{}, err
		}
	}
	return s.Decide.Decide(ctx, who.Actor, in.Body)
}

func (s *server) rollback(ctx context.Context, who auth.Session, in *in[client.RollbackRequest]) (client.RollbackOutcome, error) {
	return s.Decide.Rollback(ctx, who.Actor, in.Body)
}
