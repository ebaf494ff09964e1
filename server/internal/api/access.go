package api

import (
	"context"

	"assent/client"
	"assent/server/internal/auth"
)

func (s *server) accesses(ctx context.Context, who auth.Session, _ *none) (client.List[client.AccessRow], error) {
	all, err := s.Roster.Accesses(ctx, who.Actor)
	for i := range all.Items {
		if at, ok := s.Auth.LastUsed(all.Items[i].ID); ok {
			all.Items[i].LastUsed = at
		}
	}
	return all, err
}

func (s *server) createAccess(ctx context.Context, who auth.Session, in *in[client.AccessRequest]) (client.AccessRow, error) {
	return s.Roster.CreateAccess(ctx, who.Actor, in.Body)
}

func (s *server) revokeAccess(ctx context.Context, who auth.Session, in *idInput) (client.Act, error) {
	return s.Roster.RevokeAccess(ctx, who.Actor, in.ID)
}
