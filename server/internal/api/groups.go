package api

import (
	"context"

	"assent/client"
	"assent/fault"
	"assent/server/internal/auth"
)

func (s *server) groups(ctx context.Context, who auth.Session, _ *none) (client.List[client.GroupRow], error) {
	return s.Roster.Groups(ctx, who.Actor)
}

func (s *server) createGroup(ctx context.Context, who auth.Session, in *in[client.GroupRequest]) (client.GroupRow, error) {
	if err := checkGuard(in.Body); err != nil {
		return client.GroupRow{}, err
	}
	return s.Roster.CreateGroup(ctx, who.Actor, in.Body)
}

type groupInput struct {
	Group string `path:"group" maxLength:"200" doc:"Id or name."`
}

type groupChangeInput struct {
	Group string `path:"group" maxLength:"200" doc:"Id or name."`
	Body  client.GroupRequest
}

func (s *server) changeGroup(ctx context.Context, who auth.Session, in *groupChangeInput) (client.GroupRow, error) {
	if err := checkGuard(in.Body); err != nil {
		return client.GroupRow{}, err
	}
	return s.Roster.ChangeGroup(ctx, who.Actor, in.Group, in.Body)
}

func (s *server) deleteGroup(ctx context.Context, who auth.Session, in *groupInput) (client.Act, error) {
	return s.Roster.DeleteGroup(ctx, who.Actor, in.Group)
}

func checkGuard(g client.GroupRequest) error {
	if g.Guard != nil && !g.Guard.Valid() {
		return fault.New(fault.Invalid, "value_unknown", "%q is not a guard mode; they are observe, block_declined and approved_only.", string(*g.Guard)).On("guard")
	}
	return nil
}
