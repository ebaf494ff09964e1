package api

import (
	"context"

	"assent/client"
	"assent/server/internal/auth"
)

func (s *server) status(ctx context.Context, who auth.Session, _ *none) (client.Status, error) {
	return s.Decide.Status(ctx, who.Actor)
}
