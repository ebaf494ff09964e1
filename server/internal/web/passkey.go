package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"

	"assent/fault"
	"assent/server/internal/signin"
)

// maxAnswer bounds what passkey.js sends, in bytes.
const maxAnswer = 64 << 10

// passkeyAnswer is what passkey.js sends: a name to begin with, and the browser's answer to finish.
type passkeyAnswer struct {
	Ceremony   string          `json:"ceremony"`
	Credential json.RawMessage `json:"credential"`
	Name       string          `json:"name"` // of a new passkey
	Next       string          `json:"next"` // where to go then
}

// goOn tells passkey.js where to go.
type goOn struct {
	To string `json:"to"`
}

// exchange makes a line of the table that talks JSON with passkey.js: passkeys are the one thing that browsers do only
// with script.
func exchange(need Need, pattern string, handle func(*Visit, passkeyAnswer) (any, error)) Route {
	r := Route{Need: need, Method: http.MethodPost, Pattern: pattern, raw: true}
	r.serve = func(s *server, w http.ResponseWriter, v *Visit) error {
		in, err := readAnswer(w, v.Request)
		var out any
		if err == nil {
			out, err = handle(v, in)
		}
		return s.tell(w, v, out, err)
	}
	return r
}

// tell answers passkey.js.
func (s *server) tell(w http.ResponseWriter, v *Visit, out any, err error) error {
	status := http.StatusOK
	if err != nil {
		status, out = s.told(w, v, err)
	}
	body, err := json.Marshal(out)
	if err != nil {
		return fmt.Errorf("answer passkey.js: %w", err)
	}
	for _, c := range v.cookies {
		http.SetCookie(w, c)
	}
	send(w, v.Request, status, "application/json", body)
	return nil
}

func readAnswer(w http.ResponseWriter, r *http.Request) (in passkeyAnswer, err error) {
	bad := fault.New(fault.Invalid, "json_unreadable", "The request cannot be read.")
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return in, bad
	}
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxAnswer))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&in); err != nil {
		return in, bad.Because(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return in, bad
	}
	return in, nil
}

// told is an error as passkey.js shows it.
func (s *server) told(w http.ResponseWriter, v *Visit, err error) (int, any) {
	e := fault.From(err)
	if e.Kind == fault.Internal && v.Context().Err() == nil {
		s.Log.Error("passkey request failed", "route", v.Request.Pattern, "operator", v.Session.Name, slog.Any("error", err))
	}
	retryAfter(w, err)
	return statusOf(e), map[string]string{"code": e.Code, "message": e.Message}
}

func (s *server) beginPasskey(v *Visit, _ passkeyAnswer) (any, error) {
	return s.SignIn.BeginPasskey(v.Context(), v.Request.RemoteAddr)
}

func (s *server) finishPasskey(v *Visit, in passkeyAnswer) (any, error) {
	proof, err := s.SignIn.WithPasskey(v.Context(), in.Ceremony, in.Credential, v.Request.RemoteAddr)
	if err != nil {
		return nil, err
	}
	return goOn{local(in.Next)}, s.begin(v, proof)
}

// passkeyRoutes are the part of the table about one's own passkeys.
func (s *server) passkeyRoutes() []Route {
	return []Route{
		confirmed(page(Viewer, http.MethodGet, "/account/passkeys", "account_passkey", s.passkeyPage)),
		confirmed(exchange(Viewer, "/account/passkeys/begin", s.beginRegister)),
		exchange(Viewer, "/account/passkeys/finish", s.finishRegister),
		act(Viewer, "/account/passkeys/{passkey}/rename", s.renamePasskey),
		confirmed(act(Viewer, "/account/passkeys/{passkey}/remove", s.removePasskey)),
	}
}

// passkeyView is the form for another passkey.
type passkeyView struct {
	Origin string // where browsers offer passkeys; empty: nowhere
	Name   string // proposed for the passkey
}

func (s *server) passkeyPage(v *Visit) (passkeyView, error) {
	v.Title, v.Crumbs = "Another passkey", []Crumb{{"My account", "/account"}}
	return passkeyView{Origin: s.SignIn.PasskeyOrigin()}, nil
}

func (s *server) beginRegister(v *Visit, in passkeyAnswer) (any, error) {
	return s.SignIn.BeginRegister(v.Context(), v.session.Session, in.Name)
}

func (s *server) finishRegister(v *Visit, in passkeyAnswer) (any, error) {
	if _, err := s.SignIn.Register(v.Context(), v.Who(), v.session.Session, in.Ceremony, in.Name, in.Credential); err != nil {
		return nil, err
	}
	v.Toast(Toast{Tone: "success", Text: "The passkey is registered. Sign in with it from now on."})
	return goOn{"/account"}, nil
}

func (s *server) renamePasskey(v *Visit) (string, error) {
	if err := s.SignIn.Rename(v.Context(), v.session.Operator, v.Path("passkey"), v.Form("name")); err != nil {
		return "", err
	}
	v.Toast(Toast{Tone: "success", Text: "The passkey has another name."})
	return "/account", nil
}

func (s *server) removePasskey(v *Visit) (string, error) {
	done, err := s.SignIn.RemovePasskey(v.Context(), v.Who(), v.session.Operator, v.Path("passkey"), v.session.Key)
	if err != nil {
		return "", err
	}
	v.Toast(Toast{Tone: "success", Text: "The passkey is removed, and your other browsers are signed out.", Link: actLink(v, done.Act)})
	return "/account", nil
}

// means says what somebody signed in with.
func means(m string) string {
	switch signin.Means(m) {
	case signin.ByPassword:
		return "password"
	case signin.ByPasskey:
		return "passkey"
	case signin.ByToken:
		return "access token"
	case signin.ByLink:
		return "sign-in token"
	}
	return m
}
