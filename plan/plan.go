// Package plan decides what should happen to every update on a device now. Compute is the heart of
// Assent: the plan that a device gets, the lists, the dry run and every answer to "why" come from it.
//
// It is a pure function of facts (what the device reported), decisions (what people decided), tasks
// and the time. Guarantees, each a property test: a declined update is never in an install plan,
// whatever the order of acts and the shape of the tree; whatever is to be installed is covered by a
// live approval at the revision that was on screen, digest by digest; an update is installed only
// if everything that the package manager would change with it is admitted too, else it is held
// with the smallest set to approve; unknown holds.
package plan

import (
	"time"

	"assent/approval"
	"assent/catalog"
	"assent/fleet"
	"assent/installation"
	"assent/ledger"
	"assent/rollout"
	"assent/task"
	"assent/wire"
)

// Action is the verdict on an update on a device.
type Action string

// The verdicts.
const (
	Install Action = "install"
	Remove  Action = "remove"
	Hold    Action = "hold"
	None    Action = "none"
)

// Input is everything Compute looks at.
type Input struct {
	Device    fleet.Device
	Path      []fleet.GroupID // the device's group and its ancestors, nearest first
	Guard     fleet.GuardMode
	Inventory *wire.Inventory // nil: not known yet, everything holds
	Available *wire.Available // nil: not known yet, everything holds
	Tasks     task.Set
	Facts     *wire.Facts       // what selections look at; nil: not known yet
	Groups    []string          // names of the device's group and all above, nearest first, for selections
	Seen      time.Time         // when the device last spoke with the server, for selections; zero: never
	Rollbacks []ledger.Rollback // ordered for this device and not yet done
	Deploys   []ledger.Deploy   // that cover this device
	Feeds     []wire.PlanFeed   // that the server follows
	Test      bool              // the device tries things out first
	// Unfit are the updates whose health probes failed on this device, by when that was. An approval that came later gives
	// them another try.
	Unfit map[catalog.UpdateID]time.Time
	// Slots is until when it is the device's turn in tasks that let only so many devices install at the same time (I6). Where
	// Foresee is set turns are not waited for: what would install in its turn counts as an install.
	Slots   map[string]time.Time
	Foresee bool
	Server  string // the running server's version (A6)
	Now     time.Time
	Known   Known
}

// Known answers Compute's questions about updates and decisions. Its methods must be pure reads of one
// moment's state.
type Known interface {
	Update(catalog.UpdateID) (catalog.Update, bool)
	// Decisions lists all decisions, in any scope, on any release of the software.
	Decisions(catalog.Software) []approval.Decision
	// Exceptions lists all exceptions for the update.
	Exceptions(catalog.UpdateID) []approval.Exception
	// Declines lists all decisions with status declined, in any scope.
	Declines() []approval.Decision
	// Approvals lists all decisions with status approved, in any scope.
	Approvals() []approval.Decision
	// Accepted reports whether the agreement with this digest stands accepted (A7).
	Accepted(digest string) bool
	// Content is what the test devices said of a content set (C6).
	Content(catalog.UpdateID) (ledger.Content, bool)
	// Rollout is how far an update is through the rings of a task (T6); false: it was not begun.
	Rollout(task string, id catalog.UpdateID) (rollout.State, bool)
	// Releases lists all known updates of the software, in any order; of every publisher when its Namespace is empty.
	Releases(catalog.Software) []catalog.Update
}

// Verdict is what should happen to one update on one device, and why.
type Verdict struct {
	Update     catalog.UpdateID   `json:"update"`
	Release    catalog.Release    `json:"release"`
	Action     Action             `json:"verdict"`
	Cause      installation.Cause `json:"cause,omitempty"` // for Hold
	Reasons    []approval.Step    `json:"reasons"`         // the whole trace, in the order it was reached
	Status     approval.Status    `json:"status"`
	Approval   approval.Result    `json:"approval"`
	Task       string             `json:"task,omitempty"`  // the task that admits it
	Tasks      []string           `json:"-"`               // the ids of all that do, in their order; it leads to rollouts (T6)
	Needs      []catalog.Release  `json:"needs,omitempty"` // the smallest set to approve so that it can go on
	Items      []catalog.Item     `json:"items,omitempty"` // what would be installed
	Extras     []catalog.Item     `json:"extras,omitempty"`
	Removes    []catalog.Item     `json:"removes,omitempty"`       // packages that would go with it, all named by its tasks (T3); without digests
	With       []catalog.UpdateID `json:"with,omitempty"`          // other updates of the plan that must come along
	Installed  bool               `json:"installed,omitempty"`     // the device has this very release
	Superseded catalog.UpdateID   `json:"superseded_by,omitempty"` // the newer release that is chosen or known instead
	Download   int64              `json:"download,omitempty"`      // bytes
	// DownloadOnly says that one of its tasks only downloads: the device never installs it by this plan (T3).
	DownloadOnly bool `json:"download_only,omitempty"`
}

// Result is all verdicts of a device.
type Result struct {
	Verdicts []Verdict // sorted by release name, then version
	Plan     wire.Plan // what the agent gets
	// Turns is the earliest instant after Input.Now at which the result may differ though nothing else changed, because an
	// age is reached that a task asks for. Zero: never. Approvals that end by themselves are not looked at.
	Turns time.Time
	// Ends is when the plan must not count any more, because the device's turn in a task is over then. Zero: never.
	Ends time.Time
}
