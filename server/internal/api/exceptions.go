package api

import (
	"context"

	"assent/client"
	"assent/server/internal/auth"
)

func (s *server) exceptions(ctx context.Context, who auth.Session, _ *none) (client.List[client.ExceptionRow], error) {
	return s.Decide.Exceptions(ctx, who.Actor)
}

func (s *server) except(ctx context.Context, who auth.Session, in *in[client.ExceptionRequest]) (client.Act, error) {
	return s.Decide.Except(ctx, who.Actor, in.Body)
}

type exceptionInput struct {
	ID int64 `path:"id" minimum:"1" doc:"The act that made the exception."`
}

func (s *server) unexcept(ctx context.Context, who auth.Session, in *exceptionInput) (client.Act, error) {
	return s.Decide.Unexcept(ctx, who.Actor, in.ID)
}
