package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"assent/client"
	"assent/criteria"
	"assent/fault"
	"assent/fleet"
	"assent/rollout"
	"assent/task"
)

// taskEdit is the page on which a task is written: as a form or as a whole text, two views of one thing, and what it would mean
// beside it.
type taskEdit struct {
	Form    taskForm
	Groups  []taskGroup // of the targets
	Exclude []taskGroup
	Fields  []criteria.Field // of updates
	// DeviceFields and Functions are the rest of what expressions may say.
	DeviceFields []criteria.Field
	Functions    []criteria.Function
	Ops          []criteria.Op
	Days         []taskDay
	Problems     []taskProblem
	Notice       string
	Preview      *client.TaskPreview
	Reds         []string // warnings that are shown in red
	Warnings     []task.Warning
	Back         string
}

type taskGroup struct {
	client.GroupRow
	Chosen bool
}

type taskDay struct {
	Value, Label string
	Chosen       bool
}

type taskProblem struct{ Field, Text string }

func (s *server) newTaskPage(v *Visit) (taskEdit, error) {
	t := task.Default()
	t.ID, t.Name, t.Targets.Groups = "", "", []fleet.GroupID{v.Group().ID}
	v.Title, v.Crumbs = "New task", []Crumb{{"Tasks", "/tasks"}}
	return s.taskEditor(v, formOf(t, client.NewTask), nil), nil
}

func (s *server) editTaskPage(v *Visit) (taskEdit, error) {
	r, err := s.Tasks.Task(v.Context(), v.Who(), v.Path("task"))
	if err != nil {
		return taskEdit{}, err
	}
	v.Title, v.Crumbs = "Change "+r.Task.Name, []Crumb{{"Tasks", "/tasks"}, {r.Task.Name, taskHref(r.Task.ID)}}
	form := formOf(r.Task, r.Version)
	view := s.taskEditor(v, form, nil)
	s.foresee(v, &view, client.TaskRequest{Task: r.Task})
	return view, nil
}

// taskFormPage shows the form anew as it was sent: after a button of the form itself, and with what the task would mean.
func (s *server) taskFormPage(v *Visit) (taskEdit, error) {
	v.Title, v.Crumbs = "Task", []Crumb{{"Tasks", "/tasks"}}
	form, t, err := readTaskForm(v)
	view := s.taskEditor(v, form, err)
	if err == nil {
		s.foresee(v, &view, client.TaskRequest{Task: t})
	}
	return view, nil
}

// foresee adds what a task would mean, or what is wrong with it.
func (s *server) foresee(v *Visit, view *taskEdit, r client.TaskRequest) {
	if r.Task.Name == "" {
		r.Task.Name = "Not named yet"
	}
	if r.Task.ID == "" {
		r.Task.ID = "unsaved"
	}
	p, err := s.Tasks.Preview(v.Context(), v.Who(), r)
	if err != nil {
		view.Problems = append(view.Problems, taskProblems(err)...)
		return
	}
	view.Preview = &p
	for _, w := range p.Warnings {
		if w.Code == task.WarnAdmitsDeclined {
			view.Reds = append(view.Reds, w.Text)
		} else {
			view.Warnings = append(view.Warnings, w)
		}
	}
}

// taskProblems are refusals for the page, each with its field.
func taskProblems(err error) []taskProblem {
	var all fault.List
	if !errors.As(err, &all) {
		all = fault.List{fault.From(err)}
	}
	return mapped(all, func(e *fault.Error) taskProblem { return taskProblem{e.Field, e.Message} })
}

// complete is what may follow the part of an expression that stands before the cursor.
func (s *server) complete(v *Visit) (client.Completions, error) {
	v.Title = "Suggestions"
	return s.Tasks.Complete(v.Context(), v.Who(), v.Query().Get("kind"), v.Query().Get("before"))
}

// taskEditor is the page around a form.
func (s *server) taskEditor(v *Visit, form taskForm, err error) taskEdit {
	view := taskEdit{Form: form, Fields: criteria.Updates().Fields(), DeviceFields: criteria.Devices().Fields(), Functions: criteria.Functions(), Ops: allOps(), Back: "/tasks"}
	if form.ID != "" && form.Version != client.NewTask {
		view.Back = taskHref(form.ID)
	}
	if err != nil {
		view.Problems = taskProblems(err)
	}
	for _, g := range v.Groups() {
		view.Groups = append(view.Groups, taskGroup{g, form.has(form.Groups, g)})
		view.Exclude = append(view.Exclude, taskGroup{g, form.has(form.Exclude, g)})
	}
	for _, d := range []struct{ value, label string }{{"MO", "Monday"}, {"TU", "Tuesday"}, {"WE", "Wednesday"}, {"TH", "Thursday"}, {"FR", "Friday"}, {"SA", "Saturday"}, {"SU", "Sunday"}} {
		view.Days = append(view.Days, taskDay{d.value, d.label, form.day(d.value)})
	}
	return view
}

// allOps are the comparisons of all types of fields, each once.
func allOps() (out []criteria.Op) {
	seen := map[criteria.Op]bool{}
	for _, f := range criteria.Updates().Fields() {
		for _, op := range f.Type.Ops() {
			if !seen[op] {
				seen[op] = true
				out = append(out, op)
			}
		}
	}
	return out
}

// saveTask saves what the form says, or shows it again with what is wrong.
func (s *server) saveTask(w http.ResponseWriter, v *Visit) error {
	form, t, err := readTaskForm(v)
	v.Title, v.Crumbs = "Task", []Crumb{{"Tasks", "/tasks"}}
	if err == nil {
		if t.ID == "" {
			t.ID = taskID(t.Name)
		}
		var saved client.TaskSaved
		if saved, err = s.Tasks.Put(v.Context(), v.Who(), client.TaskRequest{Task: t, IfVersion: form.Version}); err == nil {
			s.tellSaved(v, saved)
			redirect(w, v.Request, taskHref(saved.Task.ID))
			return nil
		}
	}
	if f := fault.From(err); f.Kind != fault.Invalid && f.Kind != fault.Conflict {
		return err
	}
	status := http.StatusUnprocessableEntity
	if errors.Is(err, fault.Conflict) {
		status = http.StatusConflict
	}
	return s.show(w, v, "task_edit", s.taskEditor(v, form, err), status)
}

func (s *server) tellSaved(v *Visit, saved client.TaskSaved) {
	if saved.Unchanged {
		v.Toast(Toast{Tone: "success", Text: fmt.Sprintf("The task %s is so already.", saved.Task.Name)})
		return
	}
	v.Toast(Toast{Tone: "success", Text: fmt.Sprintf("Saved the task %s: %s, %s.", saved.Task.Name, plural(saved.Devices, "device", "devices"), saved.When), Link: actLink(v, saved.Act.Act)})
	for _, warning := range saved.Warnings {
		v.Toast(Toast{Tone: "warning", Text: warning.Text})
	}
}

// taskText is a whole task as text.
func taskText(t task.Task) string {
	b, err := json.MarshalIndent(t, "", "  ")
	if err != nil { // texts and numbers can always be written
		return strconv.Quote(err.Error())
	}
	return string(b)
}

func jsonText(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return string(b)
}

// ringBase is a ring as it was, for what the form has no field for.
func ringBase(text string) (r rollout.Ring) {
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		return rollout.Ring{}
	}
	return r
}

// taskID makes an id of a name.
func taskID(name string) string {
	words := strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') })
	id := strings.Join(words, "-")
	return strings.Trim(id[:min(len(id), 60)], "-")
}
