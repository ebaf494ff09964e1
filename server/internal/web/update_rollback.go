package web

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"

	"assent/client"
	"assent/fault"
)

// updateRollbackRoutes are the part of the table that puts versions before an update back.
func (s *server) updateRollbackRoutes() []Route {
	return []Route{
		page(Approver, http.MethodGet, "/updates/{update}/rollback", "update_rollback", s.rollbackPage),
		page(Approver, http.MethodPost, "/updates/{update}/rollback", "update_rollback", s.rollbackPage),
		answer(Approver, http.MethodPost, "/updates/{update}/rollback/do", s.rollbackNow),
	}
}

// rollbackView says for each device what would come back, before the button.
type rollbackView struct {
	Update                   client.UpdateRow
	Scopes                   []decideScope
	Reason                   string
	Decline                  bool
	Devices                  []rollbackDevice
	Can                      int
	Seen                     string
	Problem, Notice, Proceed string
}

type rollbackDevice struct {
	client.RollbackDevice
	Back string
}

func (s *server) rollbackPage(v *Visit) (rollbackView, error) {
	view, _, err := s.rollbackLook(v)
	return view, err
}

// rollbackLook reads the form and rehearses the order.
func (s *server) rollbackLook(v *Visit) (rollbackView, client.RollbackRequest, error) {
	r := client.RollbackRequest{Update: v.Path("update"), Scope: string(v.Group().ID), DryRun: true}
	if v.Request.Method == http.MethodPost {
		r.Scope, r.Reason, r.Decline = v.Form("scope"), v.Form("reason"), v.Form("decline") != ""
		if r.Scope == "" {
			r.Scope = string(v.Group().ID)
		}
	}
	u, err := s.Decide.Get(v.Context(), v.Who(), r.Update, r.Scope)
	if err != nil {
		return rollbackView{}, r, err
	}
	r.Update = string(u.ID)
	v.Title, v.Crumbs = "Roll back", []Crumb{{"Updates", "/updates"}, {u.Name + " " + u.Version, updateHref(string(u.ID))}}
	view := rollbackView{Update: u.UpdateRow, Reason: r.Reason, Decline: r.Decline, Proceed: updateHref(string(u.ID)) + "/rollback"}
	for _, g := range v.Groups() {
		view.Scopes = append(view.Scopes, decideScope{g, string(g.ID) == r.Scope})
	}
	o, err := s.Decide.Rollback(v.Context(), v.Who(), r)
	if v.Request.Method == http.MethodGet && err != nil && fault.From(err).Code == "still_approved" {
		r.Decline, view.Decline = true, true // else it would come right back: offer both at once
		o, err = s.Decide.Rollback(v.Context(), v.Who(), r)
	}
	if problem, ok := decideRefusal(err); ok {
		view.Problem = problem
		return view, r, nil
	}
	if err != nil {
		return view, r, err
	}
	h := sha256.New()
	fmt.Fprintf(h, "%s %s %v\n", r.Update, r.Scope, r.Decline)
	for _, d := range o.Devices {
		row := rollbackDevice{RollbackDevice: d, Back: strings.Join(mappedItems(d), ", ")}
		view.Devices = append(view.Devices, row)
		if d.Can {
			view.Can++
		}
		fmt.Fprintf(h, "%s %v %s\n", d.Device, d.Can, row.Back)
	}
	view.Seen = hex.EncodeToString(h.Sum(nil))
	return view, r, nil
}

func mappedItems(d client.RollbackDevice) []string {
	var out []string
	for _, it := range d.Items {
		out = append(out, it.Name+" "+it.Version)
	}
	return out
}

// rollbackNow orders what the page showed; anything else is shown first.
func (s *server) rollbackNow(w http.ResponseWriter, v *Visit) error {
	view, r, err := s.rollbackLook(v)
	if err != nil {
		return err
	}
	status := http.StatusOK
	switch {
	case view.Problem != "":
		status = http.StatusConflict
	case view.Can == 0:
		view.Notice = "No device there can go back, so nothing was ordered."
	case v.Form("seen") == "":
	case v.Form("seen") != view.Seen:
		view.Notice = "Nothing was ordered yet: this is not what you looked at before. See what it means now, then press the button again."
		status = http.StatusConflict
	default:
		r.DryRun = false
		o, err := s.Decide.Rollback(v.Context(), v.Who(), r)
		if problem, ok := decideRefusal(err); ok {
			view.Problem, status = problem, http.StatusConflict
			break
		}
		if err != nil {
			return err
		}
		v.Toast(Toast{Tone: "success", Text: fmt.Sprintf("Ordered on %s (act %d).", plural(view.Can, "device", "devices"), o.Act), Link: &Link{"Follow it in the queue", "/queue"}})
		redirect(w, v.Request, updateHref(r.Update))
		return nil
	}
	return s.show(w, v, "update_rollback", view, status)
}
