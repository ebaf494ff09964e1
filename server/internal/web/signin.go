package web

import (
	"errors"
	"net/http"
	"strings"

	"assent/fault"
	"assent/server/internal/auth"
)

// errSignIn is the one refusal of a sign-in: which part of it was wrong helps only an attacker.
var errSignIn = fault.New(fault.Unauthenticated, "sign_in_refused", "This does not let you in: the token is not valid, was used before or has expired. Ask an administrator for a new one.").On("token")

// signInView is the page to sign in.
type signInView struct {
	Next     string // where to go then
	Message  string // why it did not work
	SignedIn string // who is signed in already
}

func (s *server) signInPage(v *Visit) (signInView, error) {
	v.Title = "Sign in"
	return signInView{Next: local(v.Query().Get("next")), SignedIn: v.Session.Name}, nil
}

// signIn lets a person in with an access token or a one-time sign-in token. auth limits failed attempts by address,
// and answers all of them alike.
func (s *server) signIn(w http.ResponseWriter, v *Visit) error {
	who, own, err := s.prove(v)
	if err != nil {
		e := fault.From(err)
		if errors.Is(err, fault.Unauthenticated) {
			e = errSignIn
		}
		if e.Kind == fault.Internal {
			return err
		}
		v.Title = "Sign in"
		return s.show(w, v, "sign-in", signInView{Next: local(v.Form("next")), Message: e.Message}, statusOf(e))
	}
	if v.session != nil {
		s.sessions.end(v.session) // another person, or the same anew: the old session does not live on
	}
	s.setCookie(w, s.sessions.start(who, own, v.Request))
	s.Log.Info("signed in to the console", "operator", who.Name, "access", who.Access, "remote", v.Request.RemoteAddr)
	redirect(w, v.Request, local(v.Form("next")))
	return nil
}

// prove checks the pasted token. own tells that the access token was made here and now.
func (s *server) prove(v *Visit) (who auth.Session, own bool, err error) {
	text := strings.TrimPrefix(v.Form("token"), "#")
	if i := strings.LastIndex(text, "#"); i >= 0 {
		text = text[i+1:] // the whole link was pasted
	}
	if tok, err := auth.ParseToken(text); err == nil {
		if access, _, known := s.Book.Access(tok.ID); known && access.OneTime {
			who, _, err := s.Accounts.SignIn(v.Context(), text, "web console", v.Request.RemoteAddr, absoluteLife)
			return who, true, err
		}
	}
	who, err = s.Accounts.Authenticate("Bearer "+text, v.Request.RemoteAddr)
	return who, false, err
}

// signOut ends the session, and the access token if signing in made it.
func (s *server) signOut(v *Visit) (string, error) {
	s.sessions.end(v.session)
	if v.session.own {
		if _, err := s.Roster.RevokeAccess(v.Context(), v.Who(), v.session.access); err != nil && !errors.Is(err, fault.NotFound) {
			return "", err
		}
	}
	return "/sign-in", nil
}
