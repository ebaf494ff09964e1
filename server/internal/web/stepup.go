package web

import (
	"maps"
	"net/http"
	"slices"

	"assent/fault"
)

// errConfirm asks for a proof that it is the person who is signed in.
var errConfirm = fault.New(fault.Forbidden, "confirm_needed", "Confirm first that it is you.")

// confirmed marks a route that does something with power over others or over who gets in: it asks the person to prove
// who they are if they did not do so in the last minutes. An open browser on an empty chair is not enough.
func confirmed(r Route) Route {
	inner, raw := r.serve, r.raw
	r.confirm = true
	r.serve = func(s *server, w http.ResponseWriter, v *Visit) error {
		if raw && !s.SignIn.Fresh(v.session.Session) {
			return s.tell(w, v, nil, errConfirm)
		}
		ok, message, err := s.confirm(v)
		if err != nil {
			return err
		}
		if !ok {
			return s.askToConfirm(w, v, message)
		}
		return inner(s, w, v)
	}
	return r
}

// confirmRoutes are the part of the table about confirming by itself.
func (s *server) confirmRoutes() []Route {
	return []Route{
		page(Viewer, http.MethodGet, "/confirm", "confirm", s.confirmPage), // ?next=
		answer(Viewer, http.MethodPost, "/confirm", s.confirmOnly),
		exchange(Viewer, "/confirm/passkey/begin", s.beginConfirm),
		exchange(Viewer, "/confirm/passkey/finish", s.finishConfirm),
	}
}

// The fields with which a form confirms who sends it. Handlers never see them.
const (
	confirmPassword = "confirm_password"
	confirmToken    = "confirm_token"
)

// proofView is the page that asks for a proof. Its form is the one that was sent, with the proof in it, so that
// nothing needs to be filled in again.
type proofView struct {
	Action   string
	Fields   []Field
	Message  string // why it did not work
	Password bool   // the person has one
	Passkeys string // the origin at which their passkeys can be used; empty: they have none
	Bare     bool   // they have neither
}

// confirm reports whether the person proved who they are a short while ago, or does so with this very form; if not,
// why.
func (s *server) confirm(v *Visit) (ok bool, message string, err error) {
	one, remote := v.session.Session, v.Request.RemoteAddr
	form := v.Request.PostForm
	password, token := form.Get(confirmPassword), tokenText(v.Form(confirmToken))
	form.Del(confirmPassword)
	form.Del(confirmToken)
	switch {
	case s.SignIn.Fresh(one):
		return true, "", nil
	case token != "":
		err = s.SignIn.ConfirmToken(v.Context(), one, token, remote)
	case password != "":
		err = s.SignIn.ConfirmPassword(v.Context(), one, password, remote)
	default:
		return false, "", nil
	}
	if err == nil {
		return true, "", nil
	}
	if e := fault.From(err); e.Kind == fault.Forbidden {
		return false, e.Message, nil
	}
	return false, "", err
}

// secretFields are never written into a page; who sent them is led back to where they are typed.
func secretFields() []string { return []string{"password", "again", "token"} }

// askToConfirm shows the page that asks for a proof, in place of what was asked for.
func (s *server) askToConfirm(w http.ResponseWriter, v *Visit, message string) error {
	view := proofView{Action: v.Request.URL.RequestURI(), Message: message}
	if v.Request.Method == http.MethodGet {
		view.Action, view.Fields = "/confirm", []Field{{"next", local(v.Request.URL.RequestURI())}}
	}
	for _, name := range slices.Sorted(maps.Keys(v.Request.PostForm)) {
		if slices.Contains(secretFields(), name) {
			view.Action, view.Fields = "/confirm", []Field{{"next", local(v.Request.URL.Path)}}
			break
		}
		for _, value := range v.Request.PostForm[name] {
			view.Fields = append(view.Fields, Field{name, value})
		}
	}
	view, err := s.waysToConfirm(v, view)
	if err != nil {
		return err
	}
	return s.show(w, v, "confirm", view, http.StatusForbidden)
}

func (s *server) waysToConfirm(v *Visit, view proofView) (proofView, error) {
	v.Title = "Confirm that it is you"
	ways, err := s.SignIn.Ways(v.Context(), v.session.Operator)
	if err != nil {
		return view, err
	}
	view.Password, view.Bare = ways.Password, ways.None()
	if len(ways.Passkeys) > 0 {
		view.Passkeys = s.SignIn.PasskeyOrigin()
	}
	return view, nil
}

func (s *server) confirmPage(v *Visit) (proofView, error) {
	return s.waysToConfirm(v, proofView{Action: "/confirm", Fields: []Field{{"next", local(v.Query().Get("next"))}}})
}

// confirmOnly confirms, and then leads to where the person was on the way to.
func (s *server) confirmOnly(w http.ResponseWriter, v *Visit) error {
	ok, message, err := s.confirm(v)
	if err != nil {
		return err
	}
	if !ok {
		view, err := s.waysToConfirm(v, proofView{Action: "/confirm", Fields: []Field{{"next", local(v.Form("next"))}}, Message: message})
		if err != nil {
			return err
		}
		return s.show(w, v, "confirm", view, http.StatusForbidden)
	}
	redirect(w, v.Request, local(v.Form("next")))
	return nil
}

func (s *server) beginConfirm(v *Visit, _ passkeyAnswer) (any, error) {
	return s.SignIn.BeginConfirm(v.Context(), v.session.Session, v.Request.RemoteAddr)
}

func (s *server) finishConfirm(v *Visit, in passkeyAnswer) (any, error) {
	return goOn{local(in.Next)}, s.SignIn.ConfirmPasskey(v.Context(), v.session.Session, in.Ceremony, in.Credential, v.Request.RemoteAddr)
}
