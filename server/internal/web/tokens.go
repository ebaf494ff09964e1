package web

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"assent/client"
	"assent/fault"
)

// tokenRoutes are the part of the table about access tokens: one's own, and for administrators those of the
// operators below them.
func (s *server) tokenRoutes() []Route {
	return []Route{
		page(Viewer, http.MethodGet, "/access", "tokens", s.accessPage),
		confirmed(page(Viewer, http.MethodPost, "/access/create", "tokens_made", s.createAccess)),
		act(Viewer, "/access/revoke", s.revokeAccess),
	}
}

// accessView is the list of access tokens and the form for another one.
type accessView struct {
	Tokens    []accessRow
	Me        string
	Operators []client.OperatorRow // for whom tokens can be made; empty: for oneself
}

// accessRow is an access token.
type accessRow struct {
	client.AccessRow
	Kind    string
	Expired bool
	Current bool // the one behind this session
}

func (s *server) accessPage(v *Visit) (accessView, error) {
	v.Title = "Access tokens"
	list, err := s.Roster.Accesses(v.Context(), v.Who())
	if err != nil {
		return accessView{}, err
	}
	view := accessView{Me: v.Who().Name}
	now := time.Now()
	view.Tokens = mapped(list.Items, func(a client.AccessRow) accessRow {
		kind := "access"
		if a.OneTime {
			kind = "sign-in, once"
		}
		return accessRow{AccessRow: a, Kind: kind, Expired: !now.Before(a.Expires), Current: a.ID == v.Session.Access}
	})
	if v.May(Administrator) {
		operators, err := s.Roster.Operators(v.Context(), v.Who())
		if err != nil {
			return view, err
		}
		view.Operators = operators.Items
	}
	return view, nil
}

// madeView shows a secret, once: it is kept nowhere.
type madeView struct {
	client.AccessRow
	Kind string
	Back string
}

func (s *server) createAccess(v *Visit) (madeView, error) {
	life, err := span(v.Form("life"))
	if err != nil {
		return madeView{}, err
	}
	once := v.Form("kind") == "sign-in"
	a, err := s.Roster.CreateAccess(v.Context(), v.Who(), client.AccessRequest{Operator: v.Form("operator"), TTL: life, Note: v.Form("note"), SignIn: once})
	if err != nil {
		return madeView{}, err
	}
	v.Title, v.Crumbs = "A new access token", []Crumb{{"Access tokens", "/access"}}
	view := madeView{AccessRow: a, Kind: "access token", Back: "/access"}
	if once {
		v.Title, view.Kind = "A new sign-in token", "sign-in token, good for one sign-in"
	}
	return view, nil
}

func (s *server) revokeAccess(v *Visit) (string, error) {
	done, err := s.Roster.RevokeAccess(v.Context(), v.Who(), v.Form("id"))
	if err != nil {
		return "", err
	}
	v.Toast(Toast{Tone: "success", Text: "The token is revoked.", Link: actLink(v, done.Act)})
	return "/access", nil
}

// span reads a span of time as forms have it: hours or days, "12h" or "30d". Empty is 0: the server's default.
func span(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	number, unit := text[:len(text)-1], time.Hour
	if strings.HasSuffix(text, "d") {
		unit = 24 * time.Hour
	}
	n, err := strconv.Atoi(number)
	if err != nil || n < 1 || n > 9999 || !strings.HasSuffix(text, "d") && !strings.HasSuffix(text, "h") {
		return 0, fault.New(fault.Invalid, "span_invalid", "%.80q is no span of time; say 12h or 30d.", text).On("life")
	}
	return time.Duration(n) * unit, nil
}
