package web

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"assent/client"
	"assent/fault"
	"assent/rollout"
	"assent/server/internal/auth"
)

// Rollouts are how far updates are through the rings of tasks (T6).
type Rollouts interface {
	Rollouts(ctx context.Context, who auth.Actor, q client.RolloutQuery) (client.List[client.RolloutRow], error)
	Rollout(ctx context.Context, who auth.Actor, task, update string) (client.RolloutDetail, error)
	Act(ctx context.Context, who auth.Actor, r client.RolloutAct) (client.RolloutActed, error)
}

// rolloutRoutes are the part of the table about rollouts.
func (s *server) rolloutRoutes() []Route {
	return []Route{
		page(Viewer, http.MethodGet, "/rollouts", "rollouts", s.rolloutsPage),
		page(Viewer, http.MethodGet, "/rollouts/{task}/{update}", "rollout_show", s.rolloutPage),
		act(Approver, "/rollouts/{task}/{update}/{verb}", s.actOnRollout),
	}
}

// rolloutsView is the list of rollouts.
type rolloutsView struct{ Table Table }

func (s *server) rolloutsPage(v *Visit) (rolloutsView, error) {
	v.Title = "Rollouts"
	list, err := s.Rollouts.Rollouts(v.Context(), v.Who(), client.RolloutQuery{Task: v.Query().Get("task"), Only: client.RolloutOnly(v.Query().Get("only"))})
	if err != nil {
		return rolloutsView{}, err
	}
	t := Table{ID: "rollouts", One: "rollout", Many: "rollouts", Total: list.Total, Columns: []Column{{Key: "update", Label: "Update"}, {Key: "task", Label: "Task"}, {Key: "phase", Label: "Stands"}, {Key: "ring", Label: "Ring"},
		{Key: "rate", Label: "Succeeded"}, {Key: "reason", Label: "Why"}, {Key: "since", Label: "Since", Wide: true}},
		Empty: Empty{Text: "No update is on its way through rings. One begins as soon as a task with rings admits an update."}}
	for _, r := range list.Items {
		name, href := r.Update.Name+" "+r.Update.Version, rolloutHref(r.Task.ID, string(r.Update.ID))
		t.Rows = append(t.Rows, Row{ID: r.Task.ID + " " + string(r.Update.ID), Label: name, Href: href, Value: r, Cells: []Cell{linked(name, href), linked(r.Task.Name, taskHref(r.Task.ID)),
			{Text: words(r.Phase), Tone: phaseTone(string(r.Phase), r.NeedsPerson)}, plain(r.Ring), plain(r.Rate), plain(r.Reason.Text), moment(r.Since)}})
	}
	var view rolloutsView
	view.Table, err = t.finish(v)
	return view, err
}

func rolloutHref(task, update string) string {
	return "/rollouts/" + url.PathEscape(task) + "/" + url.PathEscape(update)
}

// phaseTone is the colour of where a rollout or a ring stands; what waits for a person stands out.
func phaseTone(phase string, person bool) string {
	switch phase {
	case string(client.RolloutHalted):
		return "red"
	case string(client.RolloutFinished), "passed":
		return "green"
	case string(client.RolloutRunning), string(client.RolloutSoaking), string(client.RolloutOpen):
		return "azure"
	}
	if person {
		return "orange"
	}
	return "secondary"
}

// rolloutView is one rollout with what can be done about it.
type rolloutView struct {
	client.RolloutDetail
	Tone, TaskHref, UpdateHref string
	Rings                      []rolloutRing
	Verbs                      []rolloutVerb
	Here                       string
}

type rolloutRing struct {
	client.RolloutRing
	Tone string
}

type rolloutVerb struct {
	Verb, Label, Hint, Tone string
	Reason, Ring            bool // asks for a reason; a ring can be chosen
}

func (s *server) rolloutPage(v *Visit) (rolloutView, error) {
	d, err := s.Rollouts.Rollout(v.Context(), v.Who(), v.Path("task"), v.Path("update"))
	if err != nil {
		return rolloutView{}, err
	}
	name := d.Update.Name + " " + d.Update.Version
	v.Title, v.Crumbs = name, []Crumb{{"Rollouts", "/rollouts"}, {d.Task.Name, taskHref(d.Task.ID)}}
	view := rolloutView{RolloutDetail: d, Tone: phaseTone(string(d.Phase), d.NeedsPerson), TaskHref: taskHref(d.Task.ID), UpdateHref: updateHref(string(d.Update.ID)), Here: rolloutHref(d.Task.ID, string(d.Update.ID))}
	for _, r := range d.Rings {
		view.Rings = append(view.Rings, rolloutRing{r, phaseTone(string(r.Phase), r.Reason.Code.NeedsPerson())})
	}
	if v.May(Approver) {
		view.Verbs = rolloutVerbs(d, v.May(Administrator))
	}
	return view, nil
}

// rolloutVerbs are what can be done now. The service checks it anyway.
func rolloutVerbs(d client.RolloutDetail, administrator bool) []rolloutVerb {
	if d.Phase == client.RolloutHalted {
		return []rolloutVerb{{Verb: string(rollout.VerbResume), Label: "Resume", Hint: "The failures that halted it count no longer; the halted ring soaks again.", Tone: "primary", Reason: true},
			{Verb: string(rollout.VerbRestart), Label: "Begin anew", Hint: "From the first ring, with nothing counted.", Reason: true}}
	}
	out := []rolloutVerb{{Verb: string(rollout.VerbHalt), Label: "Halt", Hint: "Nothing more is installed in any ring until somebody resumes; what runs is finished.", Tone: "danger"}}
	if d.Phase == client.RolloutFinished || d.Phase == client.RolloutOpen {
		return out
	}
	out = append(out, rolloutVerb{Verb: string(rollout.VerbOpen), Label: "Open a ring", Hint: "For rings that a person opens.", Reason: true, Ring: true})
	if administrator {
		out = append(out, rolloutVerb{Verb: string(rollout.VerbSkip), Label: "Skip a ring", Hint: "Without waiting for its outcome. Your name and the reason stand beside it.", Tone: "danger", Reason: true, Ring: true})
	}
	return out
}

// actOnRollout halts, resumes, opens, skips or restarts.
func (s *server) actOnRollout(v *Visit) (string, error) {
	verb := rollout.Verb(v.Path("verb"))
	done := map[rollout.Verb]string{rollout.VerbHalt: "Halted", rollout.VerbResume: "Resumed", rollout.VerbOpen: "Opened a ring of", rollout.VerbSkip: "Skipped a ring of", rollout.VerbRestart: "Began anew with"}[verb]
	if done == "" {
		return "", fault.New(fault.NotFound, "verb_unknown", "A rollout cannot be told to %.40q.", string(verb)).On("verb")
	}
	acted, err := s.Rollouts.Act(v.Context(), v.Who(), client.RolloutAct{Task: v.Path("task"), Update: v.Path("update"), Verb: verb, Ring: v.Form("ring"), Reason: v.Form("reason")})
	if err != nil {
		return "", err
	}
	r := acted.Rollout
	v.Toast(Toast{Tone: "success", Text: strings.TrimSpace(fmt.Sprintf("%s %s %s by the task %s.", done, r.Update.Name, r.Update.Version, r.Task.Name)), Link: actLink(v, acted.Act.Act)})
	return rolloutHref(r.Task.ID, string(r.Update.ID)), nil
}
