package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"assent/client"
	"assent/fault"
	"assent/server/internal/auth"
	"assent/task"
)

// Tasks are installation tasks, and what they would mean.
type Tasks interface {
	Tasks(ctx context.Context, who auth.Actor) (client.List[client.TaskRow], error)
	Task(ctx context.Context, who auth.Actor, ref string) (client.TaskRow, error)
	Put(ctx context.Context, who auth.Actor, r client.TaskRequest) (client.TaskSaved, error)
	Switch(ctx context.Context, who auth.Actor, ref string, r client.TaskChange) (client.TaskSaved, error)
	Remove(ctx context.Context, who auth.Actor, ref string) (client.Act, error)
	TaskPreviews
}

// TaskPreviews say what tasks would mean, and help to write them.
type TaskPreviews interface {
	Preview(ctx context.Context, who auth.Actor, r client.TaskRequest) (client.TaskPreview, error)
	PlanAt(ctx context.Context, who auth.Actor, device, at string) (client.PlanAt, error)
	Expressions(ctx context.Context, who auth.Actor) (client.Expressions, error)
	Complete(ctx context.Context, who auth.Actor, kind, before string) (client.Completions, error)
}

// taskRoutes are the part of the table about installation tasks.
func (s *server) taskRoutes() []Route {
	return []Route{
		route(Viewer, http.MethodGet, "/tasks", "list-tasks", "List the installation tasks in their order", s.tasks),
		route(Viewer, http.MethodGet, "/tasks/fields", "list-expression-fields", "List what the expressions of rules and selections may say", s.expressions),
		route(Viewer, http.MethodGet, "/tasks/complete", "complete-expression", "Complete an expression before the cursor", s.completions),
		patient(route(Administrator, http.MethodPost, "/tasks/preview", "preview-task", "Say what a task would mean, saved or not", s.previewTask)),
		route(Viewer, http.MethodGet, "/tasks/{task}", "get-task", "Show an installation task", s.task),
		route(Administrator, http.MethodPut, "/tasks/{task}", "put-task", "Make an installation task, or change it", s.putTask),
		route(Administrator, http.MethodPatch, "/tasks/{task}", "switch-task", "Switch an installation task on or off", s.switchTask),
		route(Administrator, http.MethodDelete, "/tasks/{task}", "delete-task", "Remove an installation task", s.removeTask),
		route(Viewer, http.MethodGet, "/devices/{device}/plan", "plan-at", "What would this device do at a moment?", s.planAt),
	}
}

// taskDocument is a task as people write it: every field may be left out. task.Decode reads it, more strictly than a schema could.
type taskDocument struct {
	task task.Task
	err  error
}

// Schema describes it.
func (taskDocument) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true,
		Description: "A task as in answers. Fields may be left out, but a field that is not known is refused. Groups by id or name."}
}

// UnmarshalJSON keeps the refusal of task.Decode for the handler: this layer would make it a word about JSON.
func (d *taskDocument) UnmarshalJSON(raw []byte) error {
	d.task, d.err = client.ReadTask(raw)
	return nil
}

type taskBody struct {
	Task      taskDocument `json:"task"`
	IfVersion string       `json:"if_version,omitempty" maxLength:"100" doc:"The version that the change was made from, or new; left out, whatever is there is replaced."`
}

func (b taskBody) request() (client.TaskRequest, error) {
	return client.TaskRequest{Task: b.Task.task, IfVersion: b.IfVersion}, b.Task.err
}

type taskInput struct {
	Task string `path:"task" maxLength:"400" doc:"Id or name."`
}

type taskPutInput struct {
	Task string `path:"task" maxLength:"63" doc:"Id."`
	Body taskBody
}

type taskSwitchInput struct {
	Task string `path:"task" maxLength:"400" doc:"Id or name."`
	Body client.TaskChange
}

type completeInput struct {
	Kind   string `query:"kind" required:"true" enum:"rule,selection"`
	Prefix string `query:"prefix" doc:"The text before the cursor."`
}

type planInput struct {
	Device string `path:"device" maxLength:"200" doc:"Id, unique beginning of an id, or name."`
	At     string `query:"at" maxLength:"40" doc:"RFC 3339, or without an offset local to the device; now when left out."`
}

func (s *server) tasks(ctx context.Context, who auth.Session, _ *none) (client.List[client.TaskRow], error) {
	return s.Tasks.Tasks(ctx, who.Actor)
}

func (s *server) task(ctx context.Context, who auth.Session, in *taskInput) (client.TaskRow, error) {
	return s.Tasks.Task(ctx, who.Actor, in.Task)
}

func (s *server) putTask(ctx context.Context, who auth.Session, in *taskPutInput) (client.TaskSaved, error) {
	r, err := in.Body.request()
	if err != nil {
		return client.TaskSaved{}, err
	}
	if r.Task.ID == "" {
		r.Task.ID = in.Task
	}
	if r.Task.ID != in.Task {
		return client.TaskSaved{}, fault.New(fault.Invalid, "task_id", "The address is that of the task %q, and the task says that it is %q.", in.Task, r.Task.ID).On("task.id")
	}
	return s.Tasks.Put(ctx, who.Actor, r)
}

func (s *server) switchTask(ctx context.Context, who auth.Session, in *taskSwitchInput) (client.TaskSaved, error) {
	return s.Tasks.Switch(ctx, who.Actor, in.Task, in.Body)
}

func (s *server) removeTask(ctx context.Context, who auth.Session, in *taskInput) (client.Act, error) {
	return s.Tasks.Remove(ctx, who.Actor, in.Task)
}

func (s *server) previewTask(ctx context.Context, who auth.Session, in *in[taskBody]) (client.TaskPreview, error) {
	r, err := in.Body.request()
	if err != nil {
		return client.TaskPreview{}, err
	}
	return s.Tasks.Preview(ctx, who.Actor, r)
}

func (s *server) expressions(ctx context.Context, who auth.Session, _ *none) (client.Expressions, error) {
	return s.Tasks.Expressions(ctx, who.Actor)
}

func (s *server) completions(ctx context.Context, who auth.Session, in *completeInput) (client.Completions, error) {
	return s.Tasks.Complete(ctx, who.Actor, in.Kind, in.Prefix)
}

func (s *server) planAt(ctx context.Context, who auth.Session, in *planInput) (client.PlanAt, error) {
	return s.Tasks.PlanAt(ctx, who.Actor, in.Device, in.At)
}
