package web

import (
	"net/http"
	"time"

	"assent/fault"
)

// accountRoutes are the part of the table about the person who is signed in.
func (s *server) accountRoutes() []Route {
	return []Route{
		page(Viewer, http.MethodGet, "/account", "account", s.account),
		act(Viewer, "/account/sessions/{session}/end", s.endSession),
		act(Viewer, "/account/sessions/end-others", s.endOthers),
	}
}

// accountView is My account.
type accountView struct {
	Name, Role, Scope string
	Expires           time.Time // of the access token behind this session
	Theme             string
	Sessions          []sessionRow
	Messages          []Toast
}

// sessionRow is a browser in which the person is signed in.
type sessionRow struct {
	ID, Remote, Browser string
	Since, Seen         time.Time
	Current             bool
}

func (s *server) account(v *Visit) (accountView, error) {
	v.Title = "My account"
	view := accountView{Name: v.Session.Name, Role: string(v.Session.Role), Expires: v.Session.Expires, Theme: theme(v.Request), Messages: v.session.log()}
	if len(v.groups) > 0 {
		view.Scope = v.groups[0].Name
	}
	for _, one := range s.sessions.list(v.Session.Name) {
		view.Sessions = append(view.Sessions, sessionRow{ID: one.id, Remote: one.remote, Browser: one.agent, Since: one.created, Seen: one.lastSeen(), Current: one == v.session})
	}
	return view, nil
}

// endSession signs one browser of the person out. Sessions of others cannot be named: only one's own are looked at.
func (s *server) endSession(v *Visit) (string, error) {
	for _, one := range s.sessions.list(v.Session.Name) {
		if one.id == v.Path("session") {
			s.sessions.end(one)
			v.Toast(Toast{Tone: "success", Text: "That browser is signed out."})
			return "/account", nil
		}
	}
	return "", fault.New(fault.NotFound, "session_unknown", "There is no such session any more.").On("session")
}

func (s *server) endOthers(v *Visit) (string, error) {
	n := 0
	for _, one := range s.sessions.list(v.Session.Name) {
		if one != v.session {
			s.sessions.end(one)
			n++
		}
	}
	v.Toast(Toast{Tone: "success", Text: "Signed out " + plural(n, "other browser", "other browsers") + "."})
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
			v.session.choose(string(g.ID))
			return withoutGroup(v.Form("back")), nil
		}
	}
	return "", fault.New(fault.NotFound, "group_unknown", "There is no such group, or you may not see it.").On("group")
}
