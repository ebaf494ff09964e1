package web

import (
	"net"
	"net/http"
	"slices"
	"time"

	"assent/fault"
	"assent/server/internal/signin"
)

// accountRoutes are the part of the table about the person who is signed in.
func (s *server) accountRoutes() []Route {
	return slices.Concat([]Route{
		page(Viewer, http.MethodGet, "/account", "account", s.account),
		act(Viewer, "/account/sessions/{session}/end", s.endSession),
		act(Viewer, "/account/sessions/end-others", s.endOthers),
		confirmed(page(Viewer, http.MethodGet, "/account/password", "account_password", s.passwordPage)),
		confirmed(act(Viewer, "/account/password", s.setPassword)),
		confirmed(act(Viewer, "/account/password/remove", s.removePassword)),
	}, s.passkeyRoutes(), s.confirmRoutes())
}

// accountView is My account.
type accountView struct {
	Name, Role, Scope string
	Expires           time.Time // of this session
	Theme             string
	Ways              signin.Ways
	Passkeys          string // the origin at which passkeys can be used; empty: none
	Sessions          []sessionRow
	Messages          []Toast
}

// sessionRow is a browser in which the person is signed in.
type sessionRow struct {
	ID, Remote, Browser, Means string
	Since, Seen                time.Time
	Current                    bool
}

func (s *server) account(v *Visit) (accountView, error) {
	v.Title = "My account"
	view := accountView{Name: v.Session.Name, Role: string(v.Session.Role), Expires: v.Session.Expires, Theme: theme(v.Request), Messages: v.session.log(), Passkeys: s.SignIn.PasskeyOrigin()}
	if len(v.groups) > 0 {
		view.Scope = v.groups[0].Name
	}
	var err error
	if view.Ways, err = s.SignIn.Ways(v.Context(), v.Session.Name); err != nil {
		return view, err
	}
	list, err := s.SignIn.List(v.Context(), v.Session.Name)
	view.Sessions = mapped(list, func(one signin.Session) sessionRow {
		return sessionRow{ID: one.ID, Remote: hostOf(one.Remote), Browser: one.Agent, Means: means(one.Means), Since: one.Created, Seen: one.Seen, Current: one.Key == v.session.Key}
	})
	return view, err
}

// hostOf is an address without its port, which says nothing to people.
func hostOf(remote string) string {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		return remote
	}
	return host
}

// endSession signs one browser of the person out. Sessions of others cannot be named: only one's own are looked at.
func (s *server) endSession(v *Visit) (string, error) {
	if err := s.SignIn.EndOne(v.Context(), v.Session.Name, v.Path("session")); err != nil {
		return "", err
	}
	v.Toast(Toast{Tone: "success", Text: "That browser is signed out."})
	return "/account", nil
}

func (s *server) endOthers(v *Visit) (string, error) {
	n, err := s.SignIn.EndOthers(v.Context(), v.Session.Name, v.session.Key)
	if err != nil {
		return "", err
	}
	v.Toast(Toast{Tone: "success", Text: "Signed out " + plural(n, "other browser", "other browsers") + "."})
	return "/account", nil
}

// passwordView is the form for a password.
type passwordView struct {
	Name string
	Has  bool // there is one, which is changed
}

func (s *server) passwordPage(v *Visit) (passwordView, error) {
	ways, err := s.SignIn.Ways(v.Context(), v.Session.Name)
	v.Title, v.Crumbs = "Set a password", []Crumb{{"My account", "/account"}}
	if ways.Password {
		v.Title = "Change the password"
	}
	return passwordView{Name: v.Session.Name, Has: ways.Password}, err
}

func (s *server) setPassword(v *Visit) (string, error) {
	password := v.Request.PostForm.Get("password") // as it was typed, with spaces around it
	if v.Request.PostForm.Get("again") != password {
		return "", fault.New(fault.Invalid, "password_differs", "The two passwords differ; go back and type the same one twice.").On("again")
	}
	done, err := s.SignIn.SetPassword(v.Context(), v.Who(), v.Session.Name, password, v.session.Key)
	if err != nil {
		return "", err
	}
	v.Toast(Toast{Tone: "success", Text: "The password is set, and your other browsers are signed out.", Link: actLink(v, done.Act)})
	return "/account", nil
}

func (s *server) removePassword(v *Visit) (string, error) {
	done, err := s.SignIn.RemovePassword(v.Context(), v.Who(), v.Session.Name, v.session.Key)
	if err != nil {
		return "", err
	}
	v.Toast(Toast{Tone: "success", Text: "The password is removed, and your other browsers are signed out.", Link: actLink(v, done.Act)})
	return "/account", nil
}

// themeCookie holds how the person wants pages to look. It is no secret and decides nothing.
const themeCookie = "assent_theme"

// theme is "light", "dark" or empty: as the system.
func theme(r *http.Request) string {
	c, err := r.Cookie(themeCookie)
	if err != nil || c.Value != "light" && c.Value != "dark" {
		return ""
	}
	return c.Value
}

func (s *server) setTheme(v *Visit) (string, error) {
	choice := v.Form("theme")
	if choice != "light" && choice != "dark" && choice != "system" {
		return "", fault.New(fault.Invalid, "value_unknown", "A theme is light, dark or system.").On("theme")
	}
	v.cookies = append(v.cookies, &http.Cookie{Name: themeCookie, Value: choice, Path: "/", MaxAge: 365 * 24 * 3600, HttpOnly: true, Secure: s.Secure, SameSite: http.SameSiteLaxMode})
	return v.Form("back"), nil
}

// setScope chooses the group that the person looks from.
func (s *server) setScope(v *Visit) (string, error) {
	for _, g := range v.groups {
		if string(g.ID) == v.Form("group") {
			return withoutGroup(v.Form("back")), s.SignIn.Choose(v.Context(), v.session.Key, string(g.ID))
		}
	}
	return "", fault.New(fault.NotFound, "group_unknown", "There is no such group, or you may not see it.").On("group")
}
