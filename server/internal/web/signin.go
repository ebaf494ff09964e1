package web

import (
	"errors"
	"net/http"
	"strconv"
	"strings"

	"assent/fault"
	"assent/server/internal/auth"
	"assent/server/internal/signin"
)

// signInRoutes are the part of the table about letting people in and out.
func (s *server) signInRoutes() []Route {
	return []Route{
		page(Public, http.MethodGet, "/sign-in", "sign-in", s.signInPage),
		answer(Public, http.MethodPost, "/sign-in", s.signIn),
		exchange(Public, "/sign-in/passkey/begin", s.beginPasskey),
		exchange(Public, "/sign-in/passkey/finish", s.finishPasskey),
		act(Viewer, "/sign-out", s.signOut),
	}
}

// signInView is the page to sign in.
type signInView struct {
	Next     string // where to go then
	Message  string // why it did not work
	SignedIn string // who is signed in already
	Passkeys string // the origin at which passkeys can be used; empty: none
}

func (s *server) signInPage(v *Visit) (signInView, error) {
	v.Title = "Sign in"
	return signInView{Next: local(v.Query().Get("next")), SignedIn: v.Session.Name, Passkeys: s.SignIn.PasskeyOrigin()}, nil
}

// signIn lets a person in by name and password, or with an access token or a one-time sign-in token. What is wrong is
// never told, and failed attempts are limited.
func (s *server) signIn(w http.ResponseWriter, v *Visit) error {
	proof, err := s.prove(v)
	if err == nil {
		err = s.begin(v, proof)
	}
	if err != nil {
		e := fault.From(err)
		if e.Kind == fault.Internal {
			return err
		}
		v.Title = "Sign in"
		retryAfter(w, err)
		return s.show(w, v, "sign-in", signInView{Next: local(v.Form("next")), Message: e.Message, Passkeys: s.SignIn.PasskeyOrigin()}, statusOf(e))
	}
	for _, c := range v.cookies {
		http.SetCookie(w, c)
	}
	redirect(w, v.Request, local(v.Form("next")))
	return nil
}

// retryAfter tells when to try again, of a refusal that says so.
func retryAfter(w http.ResponseWriter, err error) {
	if wait, ok := auth.RetryAfter(err); ok {
		w.Header().Set("Retry-After", strconv.Itoa(wait))
	}
}

// prove checks what the form holds: a token, if there is one, or a name and its password.
func (s *server) prove(v *Visit) (signin.Proof, error) {
	if text := tokenText(v.Form("token")); text != "" {
		return s.SignIn.WithToken(v.Context(), text, v.Request.RemoteAddr)
	}
	return s.SignIn.WithPassword(v.Context(), v.Form("name"), v.Request.PostForm.Get("password"), v.Request.RemoteAddr)
}

// tokenText is the token in what was pasted, which may be the whole link.
func tokenText(pasted string) string { return pasted[strings.LastIndex(pasted, "#")+1:] }

// signOut ends the session, and the access token if signing in made it.
func (s *server) signOut(v *Visit) (string, error) {
	if err := s.SignIn.End(v.Context(), v.session.Key); err != nil {
		return "", err
	}
	v.cookies = append(v.cookies, s.cookie(""))
	if v.session.Own {
		if _, err := s.Roster.RevokeAccess(v.Context(), v.Who(), v.session.Access); err != nil && !errors.Is(err, fault.NotFound) {
			return "", err
		}
	}
	return "/sign-in", nil
}
