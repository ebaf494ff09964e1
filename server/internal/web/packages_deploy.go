package web

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"assent/approval"
	"assent/client"
	"assent/fault"
)

// deployRoutes are the part of the table that puts applications onto devices that lack them.
func (s *server) deployRoutes() []Route {
	return []Route{
		page(Viewer, http.MethodGet, "/deployments", "packages_deployments", s.deploymentsPage),
		page(Approver, http.MethodGet, "/deployments/new", "packages_deploy", s.deployPage),
		page(Approver, http.MethodPost, "/deployments/new", "packages_deploy", s.deployPage),
		answer(Approver, http.MethodPost, "/deployments", s.deployNow),
		act(Approver, "/deployments/{deployment}/end", s.undeploy),
	}
}

// deploymentsView is the list of deployments that stand.
type deploymentsView struct{ Items []deploymentRow }

type deploymentRow struct {
	client.DeployRow
	To     string
	MayEnd bool
}

func (s *server) deploymentsPage(v *Visit) (deploymentsView, error) {
	v.Title, v.Crumbs = "Deployments", []Crumb{{"Installation packages", "/packages"}}
	list, err := s.Decide.Deployments(v.Context(), v.Who())
	if err != nil {
		return deploymentsView{}, err
	}
	view := deploymentsView{}
	for _, d := range list.Items {
		to := d.Group
		if d.Scope == "" {
			to = few(d.Names)
		}
		view.Items = append(view.Items, deploymentRow{d, to, v.May(Approver) && (d.Scope == "" || inScope(v, d.Scope))})
	}
	return view, nil
}

// deployForm is what a deployment was asked with.
type deployForm struct{ Package, Update, Group, Devices, Reason string }

// deployView says what a deployment means for each device, before the button.
type deployView struct {
	Form            deployForm
	What, WhatHref  string
	Scopes          []decideScope
	Outcome         client.DeployOutcome
	Devices         []deployDevice
	More            int
	Next            []Link
	Seen            string
	Ready           bool
	Problem, Notice string
}

type deployDevice struct {
	client.DeployDevice
	Word, Tone string
}

func readDeployForm(v *Visit) deployForm {
	q := v.Query()
	for key, values := range v.Request.PostForm {
		q[key] = values
	}
	text := func(key string) string { return strings.TrimSpace(q.Get(key)) }
	return deployForm{text("package"), text("update"), text("to"), text("devices"), text("reason")}
}

// request is the deployment that the form asks for; without a target there is none yet.
func (f deployForm) request() (r client.DeployRequest, ready bool, err error) {
	r = client.DeployRequest{Package: f.Package, Update: f.Update, Reason: f.Reason}
	named := strings.FieldsFunc(f.Devices, func(c rune) bool { return c == ',' || c == '\n' || c == '\r' })
	named = given(mapped(named, strings.TrimSpace))
	switch {
	case len(named) > 0 && f.Group != "":
		return r, false, fault.New(fault.Invalid, "scope_twice", "Choose a group, or name devices, not both.").On("to")
	case len(named) > 0:
		r.To = named
	case f.Group != "":
		r.To = []string{f.Group}
	}
	return r, len(r.To) > 0, nil
}

func (s *server) deployPage(v *Visit) (deployView, error) {
	view, _, err := s.deployLook(v)
	return view, err
}

// deployLook reads the form and rehearses the deployment.
func (s *server) deployLook(v *Visit) (deployView, client.DeployRequest, error) {
	form := readDeployForm(v)
	v.Title, v.Crumbs = "Deploy", []Crumb{{"Installation packages", "/packages"}}
	view := deployView{Form: form, What: form.Update}
	for _, g := range v.Groups() {
		view.Scopes = append(view.Scopes, decideScope{g, string(g.ID) == form.Group})
	}
	if form.Package != "" {
		p, err := s.Packages.Package(v.Context(), v.Who(), form.Package)
		if err != nil {
			return view, client.DeployRequest{}, err
		}
		view.What, view.Form.Package, view.WhatHref = p.Name, p.ID, packageHref(p.ID)
	}
	if form.Update != "" {
		u, err := s.Decide.Get(v.Context(), v.Who(), form.Update, string(v.Group().ID))
		if err != nil {
			return view, client.DeployRequest{}, err
		}
		view.What, view.WhatHref = u.Name+" "+u.Version, updateHref(string(u.ID))
	}
	r, ready, err := form.request()
	if problem, ok := decideRefusal(err); ok {
		view.Problem = problem
		return view, r, nil
	}
	if !ready {
		return view, r, nil
	}
	r.DryRun = true
	view.Outcome, err = s.Decide.Deploy(v.Context(), v.Who(), r)
	if problem, ok := decideRefusal(err); ok {
		view.Problem = problem
		return view, r, nil
	}
	if err != nil {
		return view, r, err
	}
	view.fill(r)
	return view, r, nil
}

// maxDeployShown is how many devices the page of a deployment shows.
const maxDeployShown = 200

// approveLink is the page that does what a command of the CLI would: approve some updates, perhaps in a group.
func approveLink(command, back string) (Link, bool) {
	rest, ok := strings.CutPrefix(command, "assent update approve ")
	if !ok {
		return Link{}, false
	}
	ids, group, _ := strings.Cut(rest, " --group ")
	q := url.Values{"status": {string(approval.Approved)}, "select": strings.Fields(ids), "back": {back}}
	label := plural(len(q["select"]), "approval", "approvals")
	if group = strings.ReplaceAll(strings.Trim(group, "'"), `'\''`, "'"); group != "" {
		q.Set("scope", group)
		label += " in " + group
	}
	return Link{Label: label, Href: "/updates/decide?" + q.Encode()}, true
}

// fill arranges an outcome for the page.
func (view *deployView) fill(r client.DeployRequest) {
	o := view.Outcome
	view.What, view.WhatHref = o.Update.Name+" "+o.Update.Version, updateHref(string(o.Update.ID))
	for _, d := range o.Devices[:min(len(o.Devices), maxDeployShown)] {
		word, tone := deployWord(d.Answer)
		view.Devices = append(view.Devices, deployDevice{d, word, tone})
		if next, ok := approveLink(d.Next, view.WhatHref); ok && !slices.Contains(view.Next, next) {
			view.Next = append(view.Next, next)
		}
	}
	view.More = o.Counts.Devices - len(view.Devices)
	view.Ready = !o.Unchanged
	h := sha256.New()
	fmt.Fprintf(h, "%s %q\n", o.Update.ID, r.To)
	for _, d := range o.Devices {
		fmt.Fprintf(h, "%s %s\n", d.Device, d.Answer)
	}
	view.Seen = hex.EncodeToString(h.Sum(nil))
}

func deployWord(a client.DeployAnswer) (word, tone string) {
	switch a {
	case client.DeployInstalls:
		return "would install", "green"
	case client.DeployThere:
		return "has it", "green"
	case client.DeployOther:
		return "has another version", "secondary"
	case client.DeployHeld:
		return "held", "orange"
	case client.DeployWaits:
		return "not known yet", "secondary"
	}
	return words(a), "secondary"
}

// deployNow deploys what the page showed; anything else is shown first.
func (s *server) deployNow(w http.ResponseWriter, v *Visit) error {
	view, r, err := s.deployLook(v)
	if err != nil {
		return err
	}
	status := http.StatusOK
	switch {
	case view.Problem != "":
		status = http.StatusConflict
	case !view.Ready || v.Form("seen") == "":
	case v.Form("seen") != view.Seen:
		view.Notice = "Nothing was done yet: this is not what you looked at before. See what it means now, then press the button again."
		status = http.StatusConflict
	default:
		r.DryRun = false
		o, err := s.Decide.Deploy(v.Context(), v.Who(), r)
		if problem, ok := decideRefusal(err); ok {
			view.Problem, view.Ready, status = problem, false, http.StatusConflict
			break
		}
		if err != nil {
			return err
		}
		v.Toast(Toast{Tone: "success", Text: fmt.Sprintf("Deployed %s %s (act %d): %s will get it, %d have it, %d held, %d not known yet.", o.Update.Name, o.Update.Version, o.Act.Act,
			plural(o.Counts.Install, "device", "devices"), o.Counts.There+o.Counts.Other, o.Counts.Held, o.Counts.Waits),
			Undo: &Form{Label: "Undo", Action: "/deployments/" + strconv.FormatInt(o.Act.Act, 10) + "/end"}})
		redirect(w, v.Request, "/deployments")
		return nil
	}
	return s.show(w, v, "packages_deploy", view, status)
}

// undeploy ends a deployment.
func (s *server) undeploy(v *Visit) (string, error) {
	id, err := strconv.ParseInt(v.Path("deployment"), 10, 64)
	if err != nil || id < 1 {
		return "", fault.New(fault.NotFound, "deployment_unknown", "There is no deployment %.80q.", v.Path("deployment")).On("id")
	}
	act, err := s.Decide.Undeploy(v.Context(), v.Who(), id)
	if err != nil {
		return "", err
	}
	v.Toast(Toast{Tone: "success", Text: fmt.Sprintf("Ended the deployment %d (act %d). Devices that have the application keep it.", id, act.Act)})
	return "/deployments", nil
}
