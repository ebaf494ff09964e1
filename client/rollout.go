package client

import (
	"context"
	"net/http"
	"time"

	"assent/fleet"
	"assent/rollout"
)

// RolloutOnly narrows the list of rollouts.
type RolloutOnly string

// What can be asked for.
const (
	RolloutsHalted   RolloutOnly = "halted"
	RolloutsWaiting  RolloutOnly = "needs_person" // nothing goes on until a person acts; halted ones too
	RolloutsRunning  RolloutOnly = "running"      // under way: neither halted nor through
	RolloutsFinished RolloutOnly = "finished"
)

// RolloutOnlies lists them.
func RolloutOnlies() []RolloutOnly {
	return []RolloutOnly{RolloutsHalted, RolloutsWaiting, RolloutsRunning, RolloutsFinished}
}

// RolloutQuery narrows the list of rollouts. The zero value lists all.
type RolloutQuery struct {
	Task   string // id or name
	Update string // id, package URL or name@version
	Only   RolloutOnly
}

// TaskRef names a task.
type TaskRef struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// RolloutPhase is where a whole rollout stands.
type RolloutPhase string

// The phases of a whole rollout.
const (
	RolloutWaiting  RolloutPhase = "waiting"  // the ring it is at is not open yet
	RolloutRunning  RolloutPhase = "running"  // the ring it is at is open
	RolloutSoaking  RolloutPhase = "soaking"  // it is open and has to show itself over time
	RolloutHalted   RolloutPhase = "halted"   // nothing is open until a person resumes
	RolloutFinished RolloutPhase = "finished" // through all its rings
	RolloutOpen     RolloutPhase = "open"     // the task has no rings
)

// RolloutRow is how far an update is through the rings of a task (T6).
type RolloutRow struct {
	Task    TaskRef        `json:"task"`
	Update  UpdateRef      `json:"update"`
	Phase   RolloutPhase   `json:"phase"`
	Ring    string         `json:"ring,omitempty"` // the one it is at, or at which it was halted
	Reason  rollout.Reason `json:"reason"`
	Rate    string         `json:"rate"` // of that ring: "8 of 10"; never a percentage
	Started time.Time      `json:"started"`
	Since   time.Time      `json:"since"` // of the phase
	// NeedsPerson says that nothing goes on until a person acts or the devices change.
	NeedsPerson bool `json:"needs_person,omitempty"`
	// Superseded is the newer release that is rolled out instead.
	Superseded *UpdateRef `json:"superseded_by,omitempty"`
}

// RolloutDetail is a rollout with all its rings.
type RolloutDetail struct {
	RolloutRow
	Run    int           `json:"run"`                // 1, and one more with each restart
	Clock  time.Time     `json:"clock"`              // as of when
	Halted time.Time     `json:"halted,omitzero"`    // since when, if it is
	By     string        `json:"halted_by,omitzero"` // the person who halted it; empty: a ring failed
	Rings  []RolloutRing `json:"rings"`
	Acts   []rollout.Act `json:"acts"` // what people did, oldest first
}

// RolloutRing is where one ring stands.
type RolloutRing struct {
	Ring     string           `json:"ring"`
	Groups   []string         `json:"groups"` // names
	Phase    rollout.Phase    `json:"phase"`
	Reason   rollout.Reason   `json:"reason"`
	Since    time.Time        `json:"since"`
	Opened   time.Time        `json:"opened,omitzero"`
	OpenedBy string           `json:"opened_by,omitempty"`
	Soaked   string           `json:"soaked"` // for how long it has soaked: "36h"
	Soak     string           `json:"soak"`   // how long it has to
	Rate     string           `json:"rate"`   // "8 of 10"
	Progress rollout.Progress `json:"progress"`
	// Failures are the devices that count as failed, those only that the caller may see, at most MaxRolloutFailures.
	Failures []RolloutDevice `json:"failures,omitempty"`
}

// MaxRolloutFailures is how many failed devices a ring names.
const MaxRolloutFailures = 50

// RolloutDevice is a device that counts as failed in a ring.
type RolloutDevice struct {
	Device   fleet.DeviceID   `json:"device"`
	Name     string           `json:"name"`
	Standing rollout.Standing `json:"standing"` // failed, silent
	Since    time.Time        `json:"since,omitzero"`
	Detail   string           `json:"detail,omitempty"` // what the device said last
	Forgiven bool             `json:"forgiven,omitempty"`
}

// RolloutAct is what a person does to a rollout.
type RolloutAct struct {
	Task   string       `json:"-"` // id or name
	Update string       `json:"-"` // id, package URL or name@version
	Verb   rollout.Verb `json:"-"`
	Ring   string       `json:"ring,omitempty"`   // for open and skip; empty: the one that the rollout is at
	Reason string       `json:"reason,omitempty"` // needed for all but halt
}

// RolloutActed is what an act changed.
type RolloutActed struct {
	Act         Act                  `json:"act"`
	Transitions []rollout.Transition `json:"transitions"`
	Rollout     RolloutDetail        `json:"rollout"` // as it is right after the act
}

// Rollouts lists how far updates are through the rings of tasks.
func (c *Client) Rollouts(ctx context.Context, q RolloutQuery) (List[RolloutRow], error) {
	return get[List[RolloutRow]](ctx, c, "/rollouts", values("task", q.Task, "update", q.Update, "only", string(q.Only)))
}

// Rollout shows how far an update is through the rings of a task.
func (c *Client) Rollout(ctx context.Context, task, update string) (RolloutDetail, error) {
	return get[RolloutDetail](ctx, c, "/rollouts/"+escape(task)+"/"+escape(update), nil)
}

// ActOnRollout halts, resumes, opens, skips or restarts.
func (c *Client) ActOnRollout(ctx context.Context, r RolloutAct) (RolloutActed, error) {
	return send[RolloutActed](ctx, c, http.MethodPost, "/rollouts/"+escape(r.Task)+"/"+escape(r.Update)+"/"+escape(string(r.Verb)), r)
}
