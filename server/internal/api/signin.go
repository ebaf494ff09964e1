package api

import (
	"context"

	"github.com/danielgtaylor/huma/v2"

	"assent/client"
	"assent/server/internal/auth"
)

// signInInput knows where the request came from: failed attempts are limited per address.
type signInInput struct {
	Body   client.SignIn
	remote string
}

// Resolve is huma's hook to look at the request itself.
func (in *signInInput) Resolve(ctx huma.Context) []error {
	in.remote = ctx.RemoteAddr()
	return nil
}

func (s *server) signIn(ctx context.Context, _ auth.Session, in *signInInput) (client.SignedIn, error) {
	session, text, err := s.Auth.SignIn(ctx, in.Body.Token, in.Body.Note, in.remote, in.Body.TTL)
	if err != nil {
		return client.SignedIn{}, err
	}
	s.Log.Info("signed in", "operator", session.Name, "access", session.Access, "remote", in.remote)
	return client.SignedIn{Me: meOf(session), Text: text}, nil
}

func (s *server) me(_ context.Context, who auth.Session, _ *none) (client.Me, error) {
	return meOf(who), nil
}

func meOf(s auth.Session) client.Me {
	return client.Me{Name: s.Name, Role: s.Role, Scope: s.Scope, Access: s.Access, Expires: s.Expires}
}

// signOut ends the very token that it is called with.
func (s *server) signOut(ctx context.Context, who auth.Session, _ *none) (client.Act, error) {
	return s.Roster.RevokeAccess(ctx, who.Actor, who.Access)
}
