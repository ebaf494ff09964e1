package api

import (
	"context"

	"assent/client"
	"assent/fault"
	"assent/ledger"
	"assent/server/internal/auth"
)

func (s *server) operators(ctx context.Context, who auth.Session, _ *none) (client.List[client.OperatorRow], error) {
	return s.Roster.Operators(ctx, who.Actor)
}

type operatorInput struct {
	Name string `path:"name" maxLength:"64"`
}

type operatorChangeInput struct {
	Name string `path:"name" maxLength:"64"`
	Body client.OperatorRequest
}

func (s *server) setOperator(ctx context.Context, who auth.Session, in *operatorChangeInput) (client.OperatorRow, error) {
	if in.Body.Name != in.Name {
		return client.OperatorRow{}, fault.New(fault.Invalid, "name_differs", "The name in the body is not the one in the address.").On("name")
	}
	if err := known("role", []ledger.Role{in.Body.Role}, ledger.Viewer, ledger.Approver, ledger.Administrator); err != nil {
		return client.OperatorRow{}, err
	}
	return s.Roster.SetOperator(ctx, who.Actor, in.Body)
}

func (s *server) removeOperator(ctx context.Context, who auth.Session, in *operatorInput) (client.Act, error) {
	return s.Roster.RemoveOperator(ctx, who.Actor, in.Name)
}
