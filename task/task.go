// Package task holds update installation tasks: what a task installs, where, and with which care (T1–T7).
//
// Parties: people write tasks; the server keeps them, compiled, as a Set; plan asks Set.On once per device and Here.Admit
// per update; the console asks Count and Warnings before it saves.
//
// # Which task admits an update on a device
//
//   - A task covers a device if it is enabled, one of its groups is the device's group or an ancestor of it, none of the excluded
//     groups is, and its selection holds.
//   - A task's rules are OR-ed; a task without rules does nothing (T1). A rule admits an update if its statuses do and its criteria,
//     one expression (package criteria), are met (T2).
//   - `any_including_declined` counts on devices of test groups only, and there for declined updates too. Elsewhere such a rule
//     admits nothing at all, and a task with it cannot be saved for other groups.
//   - A task that does not allow new major versions does not admit one.
//   - Unknown holds: where a selection or a rule cannot be evaluated and nothing else admits the update, it is neither admitted
//     nor passed over: Admission.Held says why. What a rule admits for certain is not held up by another rule.
//
// # Several tasks that admit one update on one device
//
// It is installed once. Tasks stand in one stated order: by their number (Task.Order, the smallest first), the default task
// after all others of the same number, then by id. The first one that admits the update leads. Of all tasks that admit it, what
// restricts is joined and the stricter counts; what acts comes from the first in the order that says something about it:
//
//   - Windows: all of them have to be open (their intersection), each with its own freezes and spread.
//   - Rings: in each task that has rings, the device's ring has to be open. Turns: in each task with a cap, it has to be the device's.
//   - New dependencies: only if all allow them. Removals: only of packages that all name. Prerequisites and earlier
//     versions: restricted if one task restricts them.
//   - Download only, install at shutdown: if one says so. Stop after: the shortest. Retries: the fewest attempts, the longest pauses.
//   - Probes: all of them. On failure: restore if one says so.
//   - Restart: the policy of the first task in the order that covers the device and states one. It does not depend on the update,
//     because it has to stand after the update has left the plan. Nobody states one: never.
//
// So the default task, which any approved update passes, never widens what another task restricts.
//
// Limits: the package decides nothing about approval (package approval), time (package window) or outcome (package rollout); it
// carries their settings. It is pure.
package task

import (
	"assent/approval"
	"assent/catalog"
	"assent/fleet"
	"assent/rollout"
	"assent/slot"
	"assent/window"
	"assent/wire"
)

// DefaultID names the task every server starts with.
const DefaultID = "default"

// Task is an update installation task. In JSON, fields that are left out have their zero value, but a task is enabled
// unless it says that it is not.
type Task struct {
	ID        string    `json:"id"` // for ever; the name may change
	Name      string    `json:"name"`
	Enabled   bool      `json:"enabled"`
	Order     int       `json:"order,omitempty"` // the smallest comes first; see the package comment
	Targets   Targets   `json:"targets"`
	Rules     []Rule    `json:"rules"`
	Options   Options   `json:"options"`
	Restart   Restart   `json:"restart,omitzero"`
	OnFailure OnFailure `json:"on_failure,omitempty"` // what becomes of an update whose probes fail; empty: nothing
	// Probes are what must pass on the device after an install, besides what the publisher declared. The path of a file probe is
	// absolute here: there is no application's tree that it could be relative to.
	Probes []catalog.Probe `json:"probes,omitempty"`
	Rings  []rollout.Ring  `json:"rings,omitempty"` // none: all devices may begin
	// MaxConcurrent is how many devices may be at an installation or a restart of this task at the same time (I6). Where several
	// tasks admit an update, a device needs its turn in each.
	MaxConcurrent slot.Cap        `json:"max_concurrent,omitzero"`
	Schedule      window.Schedule `json:"schedule,omitzero"`
}

// Targets says which devices a task covers.
type Targets struct {
	Groups    []fleet.GroupID `json:"groups"`              // these and all below
	Exclude   []fleet.GroupID `json:"exclude,omitempty"`   // but not these and what is below
	Selection string          `json:"selection,omitempty"` // an expression over the device; empty: all
}

// Rule is one line of a task.
type Rule struct {
	Name     string `json:"name,omitempty"` // for people; empty: its number
	Admits   Admits `json:"admits"`
	Criteria string `json:"criteria,omitempty"` // an expression over the update; empty: every update
}

// Admits says which approval statuses a rule admits.
type Admits string

// The statuses that a rule can admit (T1).
const (
	Approved             Admits = "approved"
	ApprovedOrUndefined  Admits = "approved_or_undefined"
	AnyIncludingDeclined Admits = "any_including_declined" // in test groups only
)

// Valid reports whether a is one of the three.
func (a Admits) Valid() bool {
	return a == Approved || a == ApprovedOrUndefined || a == AnyIncludingDeclined
}

// status reports whether a status is admitted, on a device of a test group or not.
func (a Admits) status(s approval.Status, test bool) bool {
	switch a {
	case Approved:
		return s == approval.Approved
	case ApprovedOrUndefined:
		return s == approval.Approved || s == approval.Undefined
	case AnyIncludingDeclined:
		return test && s.Valid()
	}
	return false
}

// Options are those of T3.
type Options struct {
	// EarlierFirst installs every approved earlier release between the installed one and the newest, in order, instead of the newest at once.
	EarlierFirst bool `json:"earlier_first,omitempty"`
	// HoldPrerequisites holds an update until its prerequisites are installed, instead of calling in those that are approved.
	HoldPrerequisites bool `json:"hold_prerequisites,omitempty"`
	// HoldNewMajor keeps the task from admitting new major versions.
	HoldNewMajor    bool `json:"hold_new_major,omitempty"`
	NewDependencies bool `json:"new_dependencies"` // new packages that an approval covers may come in (on in the default task)
	Removals        bool `json:"removals"`         // packages may be removed along with an update: only those that Removable names
	// Removable names the packages that may be removed.
	Removable    []string     `json:"removable,omitempty"`
	DownloadOnly bool         `json:"download_only,omitempty"` // nothing is installed
	AtShutdown   bool         `json:"at_shutdown,omitempty"`   // installed when the device shuts down
	StopAfter    rollout.Span `json:"stop_after,omitzero"`     // nothing new is begun so long after the first install of a run; what runs is finished. 0: no limit
	Retries      Retries      `json:"retries,omitzero"`
}

// Retries says how often a failed install is tried again, and when. The zero value leaves it to the device.
type Retries struct {
	Attempts int          `json:"attempts,omitempty"` // after the first failure
	First    rollout.Span `json:"first,omitzero"`     // pause before the first retry; it doubles each time
	Longest  rollout.Span `json:"longest,omitzero"`   // no pause is longer
}

// Plan is the retries as a device is told of them.
func (r Retries) Plan() wire.PlanRetries {
	return wire.PlanRetries{Attempts: r.Attempts, First: r.First.Seconds(), Longest: r.Longest.Seconds()}
}

// Restart is when the device restarts after what was installed (T5).
type Restart struct {
	When     wire.RestartWhen `json:"when,omitempty"` // empty: this task does not say
	Ask      Ask              `json:"ask,omitzero"`   // for wire.RestartAsked
	Services bool             `json:"services,omitempty"`
}

// Ask is how whoever is signed in at the device is asked. Zero values are the agent's own.
type Ask struct {
	Text      string       `json:"text,omitempty"`
	Repeat    rollout.Span `json:"repeat,omitzero"`   // between two questions
	Deadline  rollout.Span `json:"deadline,omitzero"` // after the first question; then nobody is asked any more
	Deferrals int          `json:"deferrals,omitempty"`
}

// OnFailure says what becomes of an update whose probes fail after the install.
type OnFailure string

// What becomes of it.
const (
	LeaveIt OnFailure = "none"
	Restore OnFailure = "restore" // the version before comes back, where it can be had
)

// Default is the task of T7: "Install approved updates", root group, one rule that admits approved
// ones, any time, restart never.
func Default() Task {
	return Task{ID: DefaultID, Name: "Install approved updates", Enabled: true, Targets: Targets{Groups: []fleet.GroupID{fleet.Root}},
		Rules: []Rule{{Admits: Approved}}, Options: Options{NewDependencies: true}}
}
