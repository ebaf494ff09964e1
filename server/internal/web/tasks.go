package web

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"assent/client"
	"assent/fleet"
	"assent/rollout"
	"assent/server/internal/auth"
	"assent/task"
)

// Tasks are installation tasks, and what they would mean; *tasks.Service is one.
type Tasks interface {
	Tasks(ctx context.Context, who auth.Actor) (client.List[client.TaskRow], error)
	Task(ctx context.Context, who auth.Actor, ref string) (client.TaskRow, error)
	Put(ctx context.Context, who auth.Actor, r client.TaskRequest) (client.TaskSaved, error)
	Switch(ctx context.Context, who auth.Actor, ref string, r client.TaskChange) (client.TaskSaved, error)
	Remove(ctx context.Context, who auth.Actor, ref string) (client.Act, error)
	Preview(ctx context.Context, who auth.Actor, r client.TaskRequest) (client.TaskPreview, error)
	Complete(ctx context.Context, who auth.Actor, kind, before string) (client.Completions, error)
}

// taskRoutes are the part of the table about installation tasks.
func (s *server) taskRoutes() []Route {
	return []Route{
		page(Viewer, http.MethodGet, "/tasks", "tasks", s.tasksPage),
		page(Administrator, http.MethodGet, "/tasks/new", "task_edit", s.newTaskPage),
		fragment(Viewer, http.MethodGet, "/tasks/complete", "complete", s.complete),
		page(Administrator, http.MethodPost, "/tasks/preview", "task_edit", s.taskFormPage),
		answer(Administrator, http.MethodPost, "/tasks", s.saveTask),
		page(Viewer, http.MethodGet, "/tasks/{task}", "task_show", s.taskPage),
		page(Administrator, http.MethodGet, "/tasks/{task}/edit", "task_edit", s.editTaskPage),
		act(Administrator, "/tasks/{task}/enable", func(v *Visit) (string, error) { return s.switchTask(v, true) }),
		act(Administrator, "/tasks/{task}/disable", func(v *Visit) (string, error) { return s.switchTask(v, false) }),
		act(Administrator, "/tasks/{task}/delete", s.deleteTask),
	}
}

// tasksView is the list of tasks.
type tasksView struct {
	Table   Table
	MayMake bool
}

func (s *server) tasksPage(v *Visit) (tasksView, error) {
	v.Title = "Tasks"
	list, err := s.Tasks.Tasks(v.Context(), v.Who())
	if err != nil {
		return tasksView{}, err
	}
	t := Table{ID: "tasks", One: "task", Many: "tasks", Total: list.Total, Columns: []Column{{Key: "name", Label: "Task"}, {Key: "on", Label: "Switched"}, {Key: "for", Label: "For"},
		{Key: "devices", Label: "Devices", Number: true}, {Key: "admits", Label: "Installs"}, {Key: "when", Label: "When"}, {Key: "next", Label: "Next window", Wide: true}, {Key: "rings", Label: "Rings", Wide: true}},
		Empty: Empty{Text: "No task concerns your devices."}}
	for _, r := range list.Items {
		href := taskHref(r.Task.ID)
		next := plain("")
		if r.Next != nil && r.Next.Open {
			next = Cell{Text: "open now", Tone: "green"}
		} else if r.Next != nil {
			next = moment(r.Next.Start)
		}
		t.Rows = append(t.Rows, Row{ID: r.Task.ID, Label: r.Task.Name, Href: href, Value: r, Cells: []Cell{linked(r.Task.Name, href), onOff(r.Task.Enabled), plain(taskGroups(r, r.Task.Targets.Groups)),
			number(r.Devices), admitsCell(r.Task), plain(r.When), next, plain(strings.Join(mapped(r.Task.Rings, func(x rollout.Ring) string { return x.Name }), ", then "))}})
	}
	view := tasksView{MayMake: v.May(Administrator)}
	view.Table, err = t.finish(v)
	return view, err
}

func taskHref(id string) string { return "/tasks/" + url.PathEscape(id) }

func onOff(on bool) Cell {
	if on {
		return Cell{Text: "on", Tone: "green"}
	}
	return Cell{Text: "off", Tone: "secondary"}
}

// admitsCell says what a task installs. What admits declined updates is red.
func admitsCell(t task.Task) Cell {
	if len(t.Rules) == 0 {
		return Cell{Text: "nothing", Tone: "orange"}
	}
	cell := plain(strings.Join(mapped(t.Rules, func(r task.Rule) string { return admitsWords(r.Admits) }), "; or "))
	var criteria []string
	for _, r := range t.Rules {
		if r.Admits == task.AnyIncludingDeclined {
			cell.Tone = "red"
		}
		if r.Criteria != "" {
			criteria = append(criteria, r.Criteria)
		}
	}
	return cell.with(strings.Join(criteria, "; or "))
}

func admitsWords(a task.Admits) string {
	switch a {
	case task.Approved:
		return "approved updates"
	case task.ApprovedOrUndefined:
		return "approved or undefined updates"
	case task.AnyIncludingDeclined:
		return "any updates, declined ones too"
	}
	return words(a)
}

// taskGroups names groups; one that the person may not see goes by its id.
func taskGroups(r client.TaskRow, groups []fleet.GroupID) string {
	return strings.Join(mapped(groups, func(id fleet.GroupID) string {
		if name := r.Groups[id]; name != "" {
			return name
		}
		return string(id)
	}), ", ")
}

// taskView is one task.
type taskView struct {
	client.TaskRow
	On           Cell
	For, Without string
	Rules        []taskRule
	Rings        []taskRing
	Options      []string
	Restart      string
	Freezes      []string
	Probes       []string
	Text         string // the whole task
	Here         string
	IsDefault    bool
}

type taskRule struct {
	Name, Admits, Criteria string
	Red                    bool // admits declined updates
}

type taskRing struct{ Name, Groups, Gate string }

func (s *server) taskPage(v *Visit) (taskView, error) {
	r, err := s.Tasks.Task(v.Context(), v.Who(), v.Path("task"))
	if err != nil {
		return taskView{}, err
	}
	t := r.Task
	v.Title, v.Crumbs = t.Name, []Crumb{{"Tasks", "/tasks"}}
	view := taskView{TaskRow: r, On: onOff(t.Enabled), For: taskGroups(r, t.Targets.Groups), Without: taskGroups(r, t.Targets.Exclude), Options: taskOptions(t.Options),
		Restart: words(t.Restart.When), Here: taskHref(t.ID), IsDefault: t.ID == task.DefaultID, Text: taskText(t)}
	for i, rule := range t.Rules {
		name := rule.Name
		if name == "" {
			name = fmt.Sprintf("rule %d", i+1)
		}
		view.Rules = append(view.Rules, taskRule{name, admitsWords(rule.Admits), rule.Criteria, rule.Admits == task.AnyIncludingDeclined})
	}
	for _, ring := range t.Rings {
		view.Rings = append(view.Rings, taskRing{ring.Name, taskGroups(r, ring.Groups), ringGate(ring)})
	}
	for _, f := range t.Schedule.Freezes {
		view.Freezes = append(view.Freezes, fmt.Sprintf("%s: %s to %s", f.Name, f.From, f.To))
	}
	for _, p := range t.Probes {
		view.Probes = append(view.Probes, strings.TrimSpace(fmt.Sprintf("%s %s%s %s", words(p.Type), p.Unit, p.Path, portText(p.Port))))
	}
	if !t.MaxConcurrent.None() {
		view.Options = append(view.Options, fmt.Sprintf("%s at the same time; now it is the turn of %d", t.MaxConcurrent.Words(), r.Turns))
	}
	if t.Restart.Services {
		view.Restart = strings.TrimPrefix(view.Restart+", services too", ", ")
	}
	return view, nil
}

func portText(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("on port %d", n)
}

func taskOptions(o task.Options) []string {
	var out []string
	for _, x := range []struct {
		set  bool
		what string
	}{{o.EarlierFirst, "earlier releases first"}, {o.HoldPrerequisites, "waits for prerequisites"}, {o.HoldNewMajor, "no new major versions"}, {!o.NewDependencies, "no new dependency packages"},
		{o.Removals, "may remove " + strings.Join(o.Removable, ", ")}, {o.DownloadOnly, "only downloads"}, {o.AtShutdown, "installs at shutdown"},
		{o.StopAfter > 0, "begins nothing new after " + o.StopAfter.String()}, {o.Retries.Attempts > 0, plural(o.Retries.Attempts, "more attempt", "more attempts")}} {
		if x.set {
			out = append(out, x.what)
		}
	}
	return out
}

// ringGate says what a ring asks for before the next one opens.
func ringGate(r rollout.Ring) string {
	out := []string{perMille(r.SuccessRate) + " must succeed"}
	for _, x := range []struct {
		set  bool
		what string
	}{{r.MinSample > 0, "of at least " + plural(r.MinSample, "device", "devices")}, {r.Soak > 0, "for " + r.Soak.String()}, {r.Failures > 0, "halts at " + plural(r.Failures, "failure", "failures")},
		{r.FailureRate > 0, "halts above " + perMille(r.FailureRate) + " failures"}, {r.Silence > 0, "silent after " + r.Silence.String()}, {r.Probes, "with passing probes"},
		{r.Restarted, "after the restart"}, {!r.NotBefore.IsZero(), "not before " + r.NotBefore.UTC().Format("2006-01-02 15:04 UTC")}, {r.Person, "opened by a person"},
		{r.IfEmpty == rollout.EmptySkip, "skipped when it is empty"}} {
		if x.set {
			out = append(out, x.what)
		}
	}
	return strings.Join(out, ", ")
}

// perMille is a rate as people read it: 995 is 99.5 %.
func perMille(n int) string {
	return strings.TrimSuffix(fmt.Sprintf("%.1f", float64(n)/10), ".0") + " %"
}

func (s *server) switchTask(v *Visit, on bool) (string, error) {
	saved, err := s.Tasks.Switch(v.Context(), v.Who(), v.Path("task"), client.TaskChange{Enabled: on})
	if err != nil {
		return "", err
	}
	word, back := "off", "enable"
	if on {
		word, back = "on", "disable"
	}
	href := taskHref(saved.Task.ID)
	v.Toast(Toast{Tone: "success", Text: fmt.Sprintf("Switched the task %s %s.", saved.Task.Name, word), Link: actLink(v, saved.Act.Act), Undo: &Form{Label: "Undo", Action: href + "/" + back}})
	return href, nil
}

func (s *server) deleteTask(v *Visit) (string, error) {
	done, err := s.Tasks.Remove(v.Context(), v.Who(), v.Path("task"))
	if err != nil {
		return "", err
	}
	v.Toast(Toast{Tone: "success", Text: fmt.Sprintf("Deleted the task %s. What it installs at this moment is finished.", v.Path("task")), Link: actLink(v, done.Act)})
	return "/tasks", nil
}
