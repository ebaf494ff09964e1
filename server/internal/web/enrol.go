package web

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	"assent/client"
	"assent/fault"
)

// enrolRoutes are the part of the table about letting devices in.
func (s *server) enrolRoutes() []Route {
	return []Route{
		page(Administrator, http.MethodGet, "/enrol", "enrol", s.enrolPage),
		confirmed(page(Administrator, http.MethodPost, "/enrol/create", "enrol_made", s.createToken)),
		act(Administrator, "/enrol/revoke", s.revokeToken),
	}
}

// enrolView is the form for an enrolment token, and those that there are.
type enrolView struct {
	Groups []client.GroupRow
	Group  string // chosen at first
	Tokens []tokenRow
	More   int // old ones that are not shown
}

// maxTokens bounds how many enrolment tokens are shown, those that still count first: a fleet uses up thousands.
const maxTokens = 100

// tokenRow is an enrolment token.
type tokenRow struct {
	client.TokenRow
	Word string // how it stands
	Tone string
	Good bool
}

func (s *server) enrolPage(v *Visit) (enrolView, error) {
	v.Title = "Enrol a device"
	list, err := s.Roster.Tokens(v.Context(), v.Who())
	if err != nil {
		return enrolView{}, err
	}
	now := time.Now()
	view := enrolView{Groups: v.Groups(), Group: string(v.Group().ID), Tokens: mapped(list.Items, func(t client.TokenRow) tokenRow { return tokenRowOf(t, now) })}
	good := slices.DeleteFunc(slices.Clone(view.Tokens), func(t tokenRow) bool { return !t.Good })
	old := slices.DeleteFunc(view.Tokens, func(t tokenRow) bool { return t.Good })
	room := min(len(old), max(0, maxTokens-len(good)))
	view.Tokens, view.More = slices.Concat(good, old[:room]), len(old)-room
	return view, nil
}

func tokenRowOf(t client.TokenRow, now time.Time) tokenRow {
	switch {
	case t.Revoked:
		return tokenRow{t, "revoked", "secondary", false}
	case t.Used >= t.Uses:
		return tokenRow{t, "used up", "secondary", false}
	case !now.Before(t.Expires):
		return tokenRow{t, "expired", "secondary", false}
	}
	return tokenRow{t, "good", "green", true}
}

// enrolMadeView shows the line to run, once: the secret in it is kept nowhere.
type enrolMadeView struct{ client.TokenRow }

func (s *server) createToken(v *Visit) (enrolMadeView, error) {
	life, err := span(v.Form("life"))
	if err != nil {
		return enrolMadeView{}, err
	}
	uses := 1
	if text := v.Form("uses"); text != "" {
		if uses, err = strconv.Atoi(text); err != nil || uses < 1 {
			return enrolMadeView{}, fault.New(fault.Invalid, "uses_invalid", "%.80q is no number of devices.", text).On("uses")
		}
	}
	t, err := s.Roster.CreateToken(v.Context(), v.Who(), client.TokenRequest{Group: v.Form("to"), Uses: uses, TTL: life, Note: v.Form("note")})
	if err != nil {
		return enrolMadeView{}, err
	}
	v.Title, v.Crumbs = "Run this on the device", []Crumb{{"Enrol a device", "/enrol"}}
	return enrolMadeView{t}, nil
}

func (s *server) revokeToken(v *Visit) (string, error) {
	done, err := s.Roster.RevokeToken(v.Context(), v.Who(), v.Form("id"))
	if err != nil {
		return "", err
	}
	v.Toast(Toast{Tone: "success", Text: "The enrolment token is revoked. Devices that came in with it stay.", Link: actLink(v, done.Act)})
	return "/enrol", nil
}
