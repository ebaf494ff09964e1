package wire

import "encoding/json"

// PlanRestart is whether, when and how the device restarts after what was installed (T5). Its zero value never does.
type PlanRestart struct {
	When RestartWhen `json:"when,omitempty"`
	// Schedule is a window.Schedule: the device is restarted inside its windows only, in its own time zone. Absent: at any
	// time. A schedule that the agent cannot read never opens.
	Schedule json.RawMessage `json:"schedule,omitempty"`
	Ask      RestartAsk      `json:"ask,omitzero"` // for RestartAsked
	// Services has services restarted, inside the windows too, that still run files which an update replaced.
	Services bool `json:"services,omitempty"`
}

// RestartWhen says when a device restarts. What an agent does not know is as never.
type RestartWhen string

// The policies of T5. The empty one is RestartNever.
const (
	RestartNever      RestartWhen = "never"
	RestartIfRequired RestartWhen = "if_required" // what was installed asks for it
	RestartAlways     RestartWhen = "always"      // after every installation
	RestartAsked      RestartWhen = "ask"         // as if_required, and whoever is signed in is asked first
)

// RestartAsk is how the people at a device are asked. Zero values mean what is said of them.
type RestartAsk struct {
	Text      string `json:"text,omitempty"`      // plain text, shown as it is; empty: the agent's own
	Repeat    int    `json:"repeat,omitempty"`    // seconds between two questions; an hour
	Deadline  int    `json:"deadline,omitempty"`  // seconds after the first question from which nobody is asked any more; three days
	Deferrals int    `json:"deferrals,omitempty"` // how often it may be put off; as often as the deadline lets
}

// RestartReason is one thing on a device that still runs as it was before an update. It says nothing that differs from
// one look to the next without an update or a restart, such as process numbers.
type RestartReason struct {
	Kind   RestartKind `json:"kind"`
	Name   string      `json:"name"`   // of the package, application, unit or user; "kernel"
	Detail string      `json:"detail"` // one sentence for people
}

// RestartKind says what a reason is about, and so what ends it.
type RestartKind string

// The kinds.
const (
	StalePackage     RestartKind = "package"     // it asks for a restart of the device
	StaleKernel      RestartKind = "kernel"      // a newer one is installed than runs
	StaleApplication RestartKind = "application" // its publisher asks for a restart of the device
	StaleService     RestartKind = "service"     // a unit runs files that were replaced: restarting it is enough
	StaleCore        RestartKind = "core"        // the same of a unit that is never restarted by itself
	StaleSession     RestartKind = "session"     // the same of somebody's session, or of what belongs to no unit
)
