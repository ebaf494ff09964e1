package client

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"assent/catalog"
	"assent/criteria"
	"assent/fault"
	"assent/fleet"
	"assent/installation"
	"assent/plan"
	"assent/task"
)

// NewTask is TaskRequest.IfVersion of a task that must not be there yet.
const NewTask = "new"

// TaskRow is an installation task as it stands.
type TaskRow struct {
	Task task.Task `json:"task"`
	// Version is another one whenever the task is: hand it in when you change the task, and nobody's change is overwritten.
	Version string                   `json:"version"`
	Groups  map[fleet.GroupID]string `json:"groups,omitempty"` // names of the groups that the task mentions, as far as the caller may see them
	When    string                   `json:"when"`             // its windows, in words
	Devices int                      `json:"devices"`          // in its groups, as far as the caller may see them
	Next    *TaskWindow              `json:"next,omitempty"`   // the window that opens next for any of them; none: any time, or never
	Turns   int                      `json:"turns"`            // devices whose turn it is, where the task has a cap (max_concurrent)
	MayEdit bool                     `json:"may_edit"`         // the caller is an administrator in all of its groups
}

// TaskWindow is a window in the zone of some devices.
type TaskWindow struct {
	Zone    string    `json:"zone"`    // IANA name; empty: the devices' zone is not known, and they hold
	Devices int       `json:"devices"` // in this zone
	Open    bool      `json:"open"`    // now
	Start   time.Time `json:"start,omitzero"`
	End     time.Time `json:"end,omitzero"`
	Text    string    `json:"text"` // one sentence
}

// TaskRequest saves a task, or says what it would mean. Groups may be given by name.
type TaskRequest struct {
	Task task.Task `json:"task"`
	// IfVersion is the version that the change was made from, or NewTask; empty: whatever is there is replaced.
	IfVersion string `json:"if_version,omitempty"`
}

// TaskSaved is what saving left.
type TaskSaved struct {
	TaskRow
	Act
	Warnings  []task.Warning `json:"warnings"`
	Unchanged bool           `json:"unchanged,omitempty"` // it was so already; there is no act
}

// TaskChange switches a task on or off.
type TaskChange struct {
	Enabled bool `json:"enabled"`
}

// TaskPreview is what a task would mean, saved or not: what it matches now, and what would follow on its devices if it stood in the
// place of the task with its id. Nothing of it is kept.
type TaskPreview struct {
	Task     task.Task      `json:"task"` // as it would be saved: groups by id
	Sentence string         `json:"sentence"`
	Figures  task.Figures   `json:"figures"`
	Warnings []task.Warning `json:"warnings"`
	Devices  int            `json:"devices"`  // that it covers
	Computed int            `json:"computed"` // of these, whose plan was computed; fewer where there are too many different ones
	Install  TaskInstalls   `json:"install"`  // in the next window
	Ringed   TaskInstalls   `json:"ringed"`   // once their ring opens
	Foreseen int            `json:"foreseen"` // of both, installs (updates times devices) that would fail, as far as devices found beforehand
	Held     []TaskHeld     `json:"held"`     // that it admits and something else holds back
	Gained   int            `json:"gained"`   // installs (updates times devices) that come with it
	Lost     int            `json:"lost"`     // and that go
	Windows  []TaskWindow   `json:"windows"`  // per zone of its devices, the most devices first; none: any time
	Removes  []TaskRemoved  `json:"removes"`  // packages that would go along with what installs, as far as devices said so
	Updates  []TaskUpdate   `json:"updates"`  // those that would install, on the most devices first; at most 100
}

// TaskInstalls sums up installs.
type TaskInstalls struct {
	Updates  int   `json:"updates"`
	Devices  int   `json:"devices"`
	Installs int   `json:"installs"`
	Download int64 `json:"download"` // bytes, over all devices
}

// TaskHeld is what a cause holds back.
type TaskHeld struct {
	Cause   installation.Cause `json:"cause"`
	Updates int                `json:"updates"`
	Devices int                `json:"devices"`
	Detail  string             `json:"detail"` // the reason of one of them
}

// TaskRemoved is a package that would be removed along with an update.
type TaskRemoved struct {
	Name    string `json:"name"`
	Devices int    `json:"devices"`
}

// TaskUpdate is an update that would install.
type TaskUpdate struct {
	UpdateRef
	Devices int `json:"devices"`
}

// Expressions is what expressions may say: the fields of rules and of selections, and what both may call.
type Expressions struct {
	Updates   []criteria.Field    `json:"updates"`
	Devices   []criteria.Field    `json:"devices"`
	Functions []criteria.Function `json:"functions"`
}

// Completions is what may stand in the place of Word.
type Completions struct {
	Word  string                `json:"word"` // the part before the cursor that a completion replaces
	Items []criteria.Completion `json:"items"`
}

// PlanAt is what a device would do at a moment, by the facts, decisions and tasks of now.
type PlanAt struct {
	Device    fleet.DeviceID `json:"device"`
	Name      string         `json:"name"`
	Zone      string         `json:"zone"` // of the device; empty: not known
	At        time.Time      `json:"at"`
	Local     string         `json:"local"`    // the moment as the device's clock shows it
	Sentence  string         `json:"sentence"` // what it comes to
	Installs  []PlanStep     `json:"installs"` // that begin at that moment
	Waits     []PlanStep     `json:"waits"`    // that wait for a window
	Rollbacks []PlanStep     `json:"rollbacks"`
	Verdicts  []plan.Verdict `json:"verdicts"` // all, with their reasons
}

// PlanStep is something that a plan orders.
type PlanStep struct {
	UpdateRef
	Task  string    `json:"task,omitempty"`
	Why   string    `json:"why"`            // of its window, or of the order
	Opens time.Time `json:"opens,omitzero"` // when it may begin; zero: now, or not known
	// WouldFail is why it would not install, as the device found beforehand; empty: it would, or nobody knows.
	WouldFail string `json:"would_fail,omitempty"`
}

// ReadTask reads a task as people write it: task.Decode, and new dependency packages may come in unless it says that they may
// not (T3).
func ReadTask(raw []byte) (task.Task, error) {
	t, err := task.Decode(raw)
	if err != nil {
		return t, err
	}
	var said struct {
		Options struct {
			NewDependencies *bool `json:"new_dependencies"`
		} `json:"options"`
	}
	if err := json.Unmarshal(raw, &said); err != nil {
		return t, fault.New(fault.Invalid, "task_invalid", "The task's options cannot be read.").On("options").Because(err)
	}
	if said.Options.NewDependencies == nil {
		t.Options.NewDependencies = true
	}
	return t, nil
}

// Tasks lists the installation tasks in their order.
func (c *Client) Tasks(ctx context.Context) (List[TaskRow], error) {
	return get[List[TaskRow]](ctx, c, "/tasks", nil)
}

// Task shows a task.
func (c *Client) Task(ctx context.Context, ref string) (TaskRow, error) {
	return get[TaskRow](ctx, c, "/tasks/"+escape(ref), nil)
}

// PutTask makes a task, or changes it.
func (c *Client) PutTask(ctx context.Context, r TaskRequest) (TaskSaved, error) {
	return send[TaskSaved](ctx, c, http.MethodPut, "/tasks/"+escape(r.Task.ID), r)
}

// SwitchTask switches a task on or off.
func (c *Client) SwitchTask(ctx context.Context, ref string, r TaskChange) (TaskSaved, error) {
	return send[TaskSaved](ctx, c, http.MethodPatch, "/tasks/"+escape(ref), r)
}

// DeleteTask removes a task. What it installs at that moment is finished.
func (c *Client) DeleteTask(ctx context.Context, ref string) (Act, error) {
	return send[Act](ctx, c, http.MethodDelete, "/tasks/"+escape(ref), nil)
}

// PreviewTask says what a task would mean.
func (c *Client) PreviewTask(ctx context.Context, r TaskRequest) (TaskPreview, error) {
	return send[TaskPreview](ctx, c, http.MethodPost, "/tasks/preview", r)
}

// Expressions lists what expressions may say.
func (c *Client) Expressions(ctx context.Context) (Expressions, error) {
	return get[Expressions](ctx, c, "/tasks/fields", nil)
}

// CompleteExpression completes an expression: kind is "rule" or "selection", before the text before the cursor.
func (c *Client) CompleteExpression(ctx context.Context, kind, before string) (Completions, error) {
	return get[Completions](ctx, c, "/tasks/complete", values("kind", kind, "prefix", before))
}

// PlanAt is what a device would do at a moment: RFC 3339, or local to the device without a zone; empty: now.
func (c *Client) PlanAt(ctx context.Context, device, at string) (PlanAt, error) {
	return get[PlanAt](ctx, c, "/devices/"+escape(device)+"/plan", values("at", at))
}

// UpdateOf names an update in an answer.
func UpdateOf(r catalog.Release) UpdateRef {
	return UpdateRef{ID: r.ID(), PURL: r.PURL(), Name: r.Name, Version: r.Version}
}
