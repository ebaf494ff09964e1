package api

import (
	"context"
	"net/http"

	"assent/client"
	"assent/server/internal/auth"
)

// SignIn changes what operators sign in to the console with: one's own, and for administrators that of operators below
// them. keep is the key of a session that goes on; the API knows none.
type SignIn interface {
	SetPassword(ctx context.Context, who auth.Actor, operator, password, keep string) (client.Act, error)
	RemovePassword(ctx context.Context, who auth.Actor, operator, keep string) (client.Act, error)
	EndAll(ctx context.Context, who auth.Actor, operator, keep string) (client.Act, error)
}

// peopleRoutes are the part of the table about signing in to the console.
func (s *server) peopleRoutes() []Route {
	return []Route{
		route(Viewer, http.MethodPut, "/operators/{name}/password", "set-password", "Set one's password for the console, or that of an operator below", s.setPassword),
		route(Viewer, http.MethodDelete, "/operators/{name}/password", "remove-password", "Remove a password for the console", s.removePassword),
		route(Viewer, http.MethodDelete, "/operators/{name}/sessions", "end-sessions", "Sign out of the console everywhere", s.endSessions),
	}
}

type passwordInput struct {
	Name string `path:"name" maxLength:"64"`
	Body client.PasswordRequest
}

func (s *server) setPassword(ctx context.Context, who auth.Session, in *passwordInput) (client.Act, error) {
	return s.SignIn.SetPassword(ctx, who.Actor, in.Name, in.Body.Password, "")
}

func (s *server) removePassword(ctx context.Context, who auth.Session, in *operatorInput) (client.Act, error) {
	return s.SignIn.RemovePassword(ctx, who.Actor, in.Name, "")
}

func (s *server) endSessions(ctx context.Context, who auth.Session, in *operatorInput) (client.Act, error) {
	return s.SignIn.EndAll(ctx, who.Actor, in.Name, "")
}
