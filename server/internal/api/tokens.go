package api

import (
	"context"

	"assent/client"
	"assent/server/internal/auth"
)

func (s *server) tokens(ctx context.Context, who auth.Session, _ *none) (client.List[client.TokenRow], error) {
	return s.Roster.Tokens(ctx, who.Actor)
}

func (s *server) createToken(ctx context.Context, who auth.Session, in *in[client.TokenRequest]) (client.TokenRow, error) {
	return s.Roster.CreateToken(ctx, who.Actor, in.Body)
}

// idInput is the id of an enrolment or access token.
type idInput struct {
	ID string `path:"id" maxLength:"64"`
}

func (s *server) revokeToken(ctx context.Context, who auth.Session, in *idInput) (client.Act, error) {
	return s.Roster.RevokeToken(ctx, who.Actor, in.ID)
}
