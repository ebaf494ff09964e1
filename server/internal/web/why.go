package web

import (
	"fmt"
	"net/http"
	"net/url"
	"time"

	"assent/approval"
	"assent/catalog"
	"assent/client"
	"assent/fleet"
	"assent/installation"
	"assent/plan"
	"assent/wire"
)

// whyRoutes are one answer, reached from the device, from the update and by asking.
func (s *server) whyRoutes() []Route {
	return []Route{
		page(Viewer, http.MethodGet, "/devices/{device}/why/{update}", "why", s.why),
		page(Viewer, http.MethodGet, "/updates/{update}/why/{device}", "why", s.why),
		page(Viewer, http.MethodGet, "/devices/{device}/why", "why", s.why), // ?update=
	}
}

// whyView is the verdict on an update on a device, with the whole way to it.
type whyView struct {
	Sentence              string
	Device, DeviceHref    string
	Group                 string
	Update, UpdateHref    string
	Verdict, Tone, Status string
	State, Detail, From   string
	How, Task, Cause      string
	Against, Overdue      bool
	Since, Due            time.Time
	Steps                 []whyStep
	Needs                 []whyNeed
	Items, Extras         []catalog.Item
	Removes               []catalog.Item
	Download              int64
	Proof                 *wire.Proof
	Acts                  []Link // what the person may do about it next
}

// whyStep is a reason: the rule, the scope it was found in and the act behind it.
type whyStep struct {
	Rule, Scope, Text string
	Act               int64
	Href              string // of the act, for who may read the ledger
	Last              bool
}

// whyNeed is an update to approve so that this one can go on.
type whyNeed struct{ Name, Version, Href string }

// why answers why a device gets, or does not get, an update (promise 3).
func (s *server) why(v *Visit) (whyView, error) {
	update := v.Path("update")
	if update == "" {
		update = v.Query().Get("update")
	}
	w, err := s.Decide.Why(v.Context(), v.Who(), v.Path("device"), update)
	if err != nil {
		return whyView{}, err
	}
	device, here := deviceHref(w.Device.ID), updateHref(string(w.Update.ID))
	v.Title = fmt.Sprintf("Why %s %s on %s?", w.Update.Name, w.Update.Version, w.Device.Name)
	v.Crumbs = []Crumb{{"Devices", "/devices"}, {w.Device.Name, device}, {"Updates", device + "/updates"}}
	if v.Request.PathValue("update") != "" && v.Request.Pattern == "GET /updates/{update}/why/{device}" {
		v.Crumbs = []Crumb{{"Updates", "/updates"}, {w.Update.Name + " " + w.Update.Version, here}}
	}
	view := whyView{Sentence: w.Sentence, Device: w.Device.Name, DeviceHref: device, Group: w.Device.Group, Update: w.Update.Name + " " + w.Update.Version, UpdateHref: here,
		Verdict: verdictWord(w.Verdict.Action), Tone: verdictTone(w.Verdict.Action), Status: string(w.Verdict.Status), State: string(w.State.State), Detail: w.State.Detail,
		From: w.State.From, How: w.State.How, Task: w.Verdict.Task, Cause: string(w.Verdict.Cause), Against: w.State.Against, Overdue: w.State.Overdue,
		Since: w.State.Since, Due: w.State.Deadline, Items: w.Verdict.Items, Extras: w.Verdict.Extras, Removes: w.Verdict.Removes, Download: w.Verdict.Download, Proof: w.State.Proof}
	view.Steps = whySteps(v, w.Verdict.Reasons)
	for _, r := range w.Verdict.Needs {
		view.Needs = append(view.Needs, whyNeed{r.Name, r.Version, updateHref(string(r.ID()))})
	}
	view.Acts = whyActs(v, w)
	return view, nil
}

// whyActs are the pages on which the person can do something about an answer. Each shows first what would happen.
func whyActs(v *Visit, w client.Why) []Link {
	if !v.May(Approver) {
		return nil
	}
	decide := func(label string, status approval.Status, ids ...string) Link {
		return Link{label, "/updates/decide?" + url.Values{"status": {string(status)}, "select": ids, "back": {v.Request.URL.RequestURI()}}.Encode()}
	}
	id := string(w.Update.ID)
	var out []Link
	if len(w.Verdict.Needs) > 0 {
		out = append(out, decide("Approve what it needs", approval.Approved, mapped(w.Verdict.Needs, func(r catalog.Release) string { return string(r.ID()) })...))
	}
	switch {
	case w.State.Against && w.Verdict.Action != plan.Remove:
		out = append(out, Link{"Roll it back", updateHref(id) + "/rollback"})
	case w.Verdict.Cause == installation.NotCovered:
		out = append(out, decide("Approve it again", approval.Approved, id))
	case w.Verdict.Status == approval.Undefined:
		out = append(out, decide("Approve", approval.Approved, id), decide("Decline", approval.Declined, id))
	}
	return out
}

func whySteps(v *Visit, reasons []approval.Step) []whyStep {
	out := mapped(reasons, func(r approval.Step) whyStep {
		step := whyStep{Rule: r.Rule, Scope: scopeName(v.Groups(), r.Scope), Text: r.Text, Act: r.Act}
		if r.Act > 0 && v.May(ViewerOfAll) {
			step.Href = fmt.Sprintf("/ledger/%d", r.Act)
		}
		return step
	})
	if len(out) > 0 {
		out[len(out)-1].Last = true
	}
	return out
}

// scopeName is the name of a scope; what lies above the person's own part of the tree has no name for them.
func scopeName(groups []client.GroupRow, id fleet.GroupID) string {
	switch name := groupName(groups, id); {
	case id == "":
		return ""
	case name == string(id):
		return "a group above"
	default:
		return name
	}
}
