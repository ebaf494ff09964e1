// Package rollout decides when an update reaches the next ring of devices (T6): by the outcome in the ring before, not by the calendar alone.
//
// Parties: a task names its rings; devices report outcomes; people halt, resume, open, skip and restart; the server calls Advance and keeps the
// State that comes back; plan asks Opens before it lets a device install. One State belongs to one update release of one task. It is a value: every
// function returns a new one and leaves the old one as it was. The package does no I/O and reads no clock.
//
// # The walk
//
// Rings pass in their order: waiting → running → soaking → passed. Of all rings, first come those that passed or were skipped, then at most one that
// is running or soaking, then only waiting ones. A device belongs to the first ring that names its group or an ancestor of it. A device in no ring gets nothing
// from the task. A task without rings lets everybody install, unless it was halted.
//
//   - A ring opens when the ring before it has passed or was skipped, not before its time (not_before), and after a person opened it where that is asked for.
//   - It soaks once the minimum sample has an outcome and the success rate is met. What asks for more devices than the ring has asks for the whole ring.
//   - It passes when it has soaked, the sample and the rate being met all the while; a drop below them starts the soak again.
//   - It fails when its failures reach the limit, or more than the failure rate of the ring's devices failed, or the success rate is not met from the
//     minimum sample on. So a success rate that can no longer be reached never waits for ever.
//   - A ring that fails is halted, and with it the task for this update: no ring is open, not even one that passed, until a person resumes. Outer rings that were open
//     are halted too, whether or not they had passed. What is being installed finishes (C7) and is still counted.
//   - A ring that passed or was skipped can still fail later and halts everything in the same way; only silence no longer counts there.
//   - Resume forgives the failures that halted the ring: they are no longer counted, neither way, until the device has another outcome. The halted ring
//     runs and soaks again, outer rings wait again.
//
// # What counts
//
// Succeeded, failed and silent devices are the sample. Everything else is shown and not counted: zero of zero is never a success.
//
//   - Succeeded: installed by Assent, with a passing probe where the ring asks for one. A device of which a success was counted stays one until it fails or
//     falls silent in a ring that has not passed yet.
//   - Failed: the install or the probe failed, it was taken back, or it has been at it for longer than its state may last (V1), or
//     its probe did not answer within the silence deadline. A failure stays one until the
//     device succeeds; a retry, a retirement or a repair by hand does not hide it. A success older than the failure does not replace it.
//   - Silent: not heard of for the ring's silence deadline while the ring is running or soaking.
//   - Pending, blocked: not counted. A blocked device does not make the minimum sample smaller: if only blocked ones are left, the ring waits for a person.
//     A block that ends by itself (ring not open, window closed, package manager busy) is pending. If all that are left should have begun a day ago and are
//     heard of all the same, the ring waits for a person too.
//   - Not applicable, got by other means (V4), retired or quarantined without an outcome, forgiven: not counted, and not among the devices that the sample is
//     measured against. A ring of which nothing is left waits for a person, or is skipped where the ring says so (if_empty), and never passes.
//   - A device that moves while it is installing or after is counted where it began and nowhere else; whether it may install is asked of the ring it is in now.
//
// # Time
//
// Soak is time in which the server listened. A step of more than Gap between two calls (the server was away, or the clock jumped) and a step backwards
// count nothing, start every silence deadline anew, and nothing opens or passes until the server has listened for Gap again. A clock that jumps to and fro
// therefore opens nothing by that. After a restart of the server the clock of the last saved state counts (WorthSaving): a step back that is smaller than what was
// not saved, at most Gap/3, is not seen.
//
// # Versions
//
// Each release has a State of its own. One that a newer release supersedes (Supersede) opens no further ring; rings that are open stay open, so that half a
// ring is not left without either, and it can still fail. It stays shown.
//
// # Limits
//
// Advance believes the outcomes it is given: they must be those of all devices of the task to which it admits the update, at that moment; one that it does not
// admit there would be pending for ever. One device alone can halt a ring whose failure limit is
// 1 and pass a ring whose sample is 1: ask for more where a device may lie. The package does not cap how many devices install at once (package slot does).
package rollout

import (
	"slices"
	"time"

	"assent/catalog"
	"assent/fleet"
)

// Gap is the longest step between two calls of Advance that counts as having listened all the while. Advance is to be called more often than that while a
// rollout is neither finished nor halted.
const Gap = 15 * time.Minute

// maxActs is how many acts a State remembers; the ledger has all of them.
const maxActs = 100

// Phase is where a ring stands.
type Phase string

// The phases.
const (
	Waiting Phase = "waiting" // its devices may not install yet
	Running Phase = "running" // its devices may install; the sample is not complete
	Soaking Phase = "soaking" // sample and rate are met; time has to show the rest
	Passed  Phase = "passed"
	Halted  Phase = "halted" // sticky: only Resume and Restart lead out
	Skipped Phase = "skipped"
)

// phases is the one table of legal changes: from → to.
var phases = map[Phase][]Phase{
	Waiting: {Running, Halted, Skipped},
	Running: {Waiting, Soaking, Passed, Halted, Skipped},
	Soaking: {Waiting, Running, Passed, Halted, Skipped},
	Passed:  {Waiting, Halted},
	Halted:  {Waiting, Running},
	Skipped: {Waiting, Halted},
}

// Valid reports whether p is one of the phases.
func (p Phase) Valid() bool { _, ok := phases[p]; return ok }

// Open reports whether devices of a ring in this phase may install, nothing else standing against it.
func (p Phase) Open() bool { return p == Running || p == Soaking || p == Passed || p == Skipped }

// done reports whether the next ring may follow.
func (p Phase) done() bool { return p == Passed || p == Skipped }

// Code names why a ring stands where it stands. Codes are the contract for programs; the text is for people.
type Code string

// The codes.
const (
	NotStarted     Code = "not_started"
	InnerRing      Code = "inner_ring"       // waits for a ring before it
	NotBefore      Code = "not_before"       // waits for its time
	AwaitsPerson   Code = "awaits_person"    // waits for a person to open it
	Unsettled      Code = "unsettled"        // the server was away or its clock jumped
	Superseded     Code = "superseded"       // a newer release is rolled out instead
	SampleWanting  Code = "sample_wanting"   // too few devices have an outcome yet
	SampleBlocked  Code = "sample_blocked"   // too few devices have an outcome, and all others are blocked
	SampleOverdue  Code = "sample_overdue"   // too few devices have an outcome, and all others should have begun by now
	NothingToTry   Code = "nothing_to_try"   // no device of the ring could take it
	Soak           Code = "soaking"          //
	GatePassed     Code = "passed"           //
	SkippedByName  Code = "skipped"          // a person overrode the ring
	FailureLimit   Code = "failure_limit"    // halted: too many failures
	FailureRate    Code = "failure_rate"     // halted: too large a part of the ring failed
	RateMissed     Code = "rate_missed"      // halted: the success rate is not met
	HaltedByPerson Code = "halted_by_person" //
	InnerHalted    Code = "inner_halted"     // another ring is halted
	NoRing         Code = "no_ring"          // the device is in no ring of the task
	RingsOpen      Code = "open"             // nothing stands against installing
)

var codes = []Code{NotStarted, InnerRing, NotBefore, AwaitsPerson, Unsettled, Superseded, SampleWanting, SampleBlocked, SampleOverdue, NothingToTry, Soak, GatePassed, SkippedByName,
	FailureLimit, FailureRate, RateMissed, HaltedByPerson, InnerHalted, NoRing, RingsOpen}

// NeedsPerson reports whether nothing goes on until a person acts or the devices change.
func (c Code) NeedsPerson() bool {
	return slices.Contains([]Code{AwaitsPerson, SampleBlocked, SampleOverdue, NothingToTry, FailureLimit, FailureRate, RateMissed, HaltedByPerson, InnerHalted}, c)
}

// Reason says why, to programs and to people. It is refreshed even when nothing changes.
type Reason struct {
	Code Code   `json:"code"`
	Text string `json:"text"`
}

// State is where the rollout of one update release by one task stands. Start makes one.
type State struct {
	Task       string           `json:"task"`
	Update     catalog.UpdateID `json:"update"`
	Run        int              `json:"run"` // 1, and one more with each Restart
	Started    time.Time        `json:"started"`
	Clock      time.Time        `json:"clock"`                   // the time of the last Advance
	Listening  time.Time        `json:"listening,omitzero"`      // since when, if there was a gap
	Superseded catalog.UpdateID `json:"superseded_by,omitempty"` // the newer release
	Stop       *Stop            `json:"stop,omitempty"`          // set: nothing is open
	Rings      []RingState      `json:"rings"`
	Acts       []Act            `json:"acts,omitempty"` // what people did, oldest first, the last 100
}

// Stop is a halt of the whole rollout.
type Stop struct {
	Ring   string    `json:"ring,omitempty"` // where it began; empty: the task has no rings
	At     time.Time `json:"at"`
	By     string    `json:"by,omitempty"` // a person; empty: a ring failed
	Reason Reason    `json:"reason"`
}

// RingState is where one ring stands.
type RingState struct {
	Ring     string                  `json:"ring"` // its name
	Phase    Phase                   `json:"phase"`
	Since    time.Time               `json:"since"` // of the phase
	Reason   Reason                  `json:"reason"`
	Opened   time.Time               `json:"opened,omitzero"`     // since when its devices may install, the last halt over
	OpenedBy string                  `json:"opened_by,omitempty"` // the person who opened it, where the ring asks for one
	Soaked   Span                    `json:"soaked,omitzero"`
	Progress Progress                `json:"progress"`
	Marks    map[fleet.DeviceID]Mark `json:"marks,omitempty"` // the devices that are counted here, wherever they are now
}

// Mark is what was counted of a device in a ring.
type Mark struct {
	Standing Standing  `json:"standing"`          // Succeeded, Failed, Silent or Pending (it has begun)
	Since    time.Time `json:"since,omitzero"`    // of the failure; for silence, when it was last heard of
	Forgiven bool      `json:"forgiven,omitzero"` // a person resumed or skipped in spite of it
}

// Act is what a person did to a rollout.
type Act struct {
	At   time.Time `json:"at"`
	By   string    `json:"by"`
	Verb Verb      `json:"verb"`
	Ring string    `json:"ring,omitempty"`
	Why  string    `json:"why,omitempty"`
}

// Verb names an act.
type Verb string

// The verbs.
const (
	VerbHalt    Verb = "halt"
	VerbResume  Verb = "resume"
	VerbOpen    Verb = "open"
	VerbSkip    Verb = "skip"
	VerbRestart Verb = "restart"
)

// Transition is a change of phase of one ring, for the log of events, notices and the ledger. An act that changes no phase yet (Open) stays in its phase.
type Transition struct {
	Task   string           `json:"task"`
	Update catalog.UpdateID `json:"update"`
	Ring   string           `json:"ring"` // empty: of the whole, where no ring changes
	From   Phase            `json:"from"`
	To     Phase            `json:"to"`
	At     time.Time        `json:"at"`
	By     string           `json:"by,omitempty"` // the person; empty: by outcome
	Reason Reason           `json:"reason"`
}

// Start begins the rollout of an update by a task. No ring is open before the first Advance.
func Start(task string, update catalog.UpdateID, rings []Ring, now time.Time) State {
	now = instant(now)
	s := State{Task: task, Update: update, Run: 1, Started: now, Clock: now, Rings: []RingState{}}
	for _, r := range distinct(rings) {
		s.Rings = append(s.Rings, fresh(r.Name, now))
	}
	return s
}

func fresh(ring string, now time.Time) RingState {
	return RingState{Ring: ring, Phase: Waiting, Since: now, Reason: Reason{NotStarted, "It has not been looked at yet."}}
}

// instant is a time as it is stored: UTC, microseconds, no monotonic reading.
func instant(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Microsecond)
}

// clone copies what the caller may change: everything but the marks, which are replaced whole.
func (s State) clone() State {
	s.Rings, s.Acts = slices.Clone(s.Rings), slices.Clone(s.Acts)
	return s
}

// current is the ring that the rollout is at: the first that has neither passed nor been skipped; len(s.Rings) when it is through.
func (s State) current() int {
	i := slices.IndexFunc(s.Rings, func(r RingState) bool { return !r.Phase.done() })
	if i < 0 {
		return len(s.Rings)
	}
	return i
}

// Finished reports whether every ring passed or was skipped. A task without rings is never finished.
func (s State) Finished() bool {
	return len(s.Rings) > 0 && s.Stop == nil && s.current() == len(s.Rings)
}

// Ring returns the state of a ring by its name.
func (s State) Ring(name string) (RingState, bool) {
	i := slices.IndexFunc(s.Rings, func(r RingState) bool { return r.Ring == name })
	if i < 0 {
		return RingState{}, false
	}
	return s.Rings[i], true
}
