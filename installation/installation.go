// Package installation holds the states an update can have on a device (V1), the causes of a block
// (V2) and the one table of legal transitions. Agent and server share it, so neither can be in a
// state that the other does not know.
//
// Guarantees: every non-terminal state has a deadline and a next step; a transition outside the
// table is an error, never a silent change. The package holds no state and does no I/O.
package installation

import (
	"fmt"
	"slices"
	"time"
)

// State is where an update stands on a device (V1).
type State string

// The states of V1.
const (
	Unknown         State = "unknown"
	NotApplicable   State = "not_applicable"
	Applicable      State = "applicable"
	Assigned        State = "assigned"
	Downloading     State = "downloading"
	Downloaded      State = "downloaded"
	Installing      State = "installing"
	Installed       State = "installed"
	RestartRequired State = "restart_required"
	Failed          State = "failed"
	Removing        State = "removing"
	Removed         State = "removed"
	RemoveFailed    State = "remove_failed"
	Blocked         State = "blocked"
	ResultUnknown   State = "result_unknown"
)

// Cause names why an update is blocked or failed (V2).
type Cause string

// The causes of V2.
const (
	ServerTooOld         Cause = "server_too_old"
	AgreementPending     Cause = "agreement"
	Declined             Cause = "declined"
	DeclinedDependency   Cause = "declined_dependency"
	UnapprovedDependency Cause = "unapproved_dependency"
	RemovalNeeded        Cause = "removal_needed"
	DowngradeNeeded      Cause = "downgrade_needed"
	HeldPackage          Cause = "held_package"
	NoSpace              Cause = "no_space"
	WindowClosed         Cause = "window_closed"
	RingNotOpen          Cause = "ring_not_open"
	TooManyAtOnce        Cause = "too_many_at_once" // as many devices as its task allows are at it (I6)
	ContentUnavailable   Cause = "content_unavailable"
	ManagerBusy          Cause = "package_manager_busy"
	ManagerBroken        Cause = "package_manager_broken"
	UntrustedClock       Cause = "untrusted_clock"
	DigestMismatch       Cause = "digest_mismatch"
	NotCovered           Cause = "not_covered"    // the approval is older than a file that the device would take
	Unresolvable         Cause = "unresolvable"   // the package manager says it cannot be done
	InstallFailed        Cause = "install_failed" // a maintainer script or dpkg failed
	UnknownData          Cause = "unknown_data"   // unparsable version, unknown enum: unknown always holds
	NotRemovable         Cause = "cannot_be_uninstalled"
	Revoked              Cause = "revoked"        // its publisher recalled it (A8)
	AgentTooOld          Cause = "agent_too_old"  // the device's agent must be newer
	NotReleased          Cause = "not_released"   // content that the test devices have not verified yet (C6)
	ProbeFailed          Cause = "probe_failed"   // it is there, and its health probe does not pass
	RestartFailed        Cause = "restart_failed" // it is there, and the device or a service did not come back with it
)

// step is a row of the transition table.
type step struct {
	deadline time.Duration // how long the state may last before it is overdue; 0: terminal
	next     string        // what happens next, in words
	to       []State
}

// table is the one table of V1. NotApplicable, Applicable, Installed and Unknown are facts that a
// fresh scan may establish from any state, so they are legal targets from everywhere.
var table = map[State]step{
	Unknown:         {24 * time.Hour, "the device reports its available updates", []State{Assigned, Blocked}},
	NotApplicable:   {0, "", nil},
	Applicable:      {0, "", []State{Assigned, Blocked, Removing}},
	Assigned:        {24 * time.Hour, "the device downloads it", []State{Downloading, Downloaded, Installing, Blocked, Failed}},
	Downloading:     {6 * time.Hour, "the device verifies the files", []State{Assigned, Downloaded, Blocked, Failed}},
	Downloaded:      {24 * time.Hour, "the device installs it; where its tasks only download, a person lets it (Rests)", []State{Assigned, Downloading, Installing, Blocked, Failed}},
	Installing:      {2 * time.Hour, "the device verifies the result", []State{RestartRequired, Failed, ResultUnknown, Blocked}},
	Installed:       {0, "", []State{RestartRequired, Removing, Blocked, Assigned}},
	RestartRequired: {30 * 24 * time.Hour, "the device restarts", []State{Failed, Removing, Blocked}},
	Failed:          {0, "", []State{Assigned, Downloading, Downloaded, Installing, Blocked, Removing}},
	Removing:        {2 * time.Hour, "the device verifies the result", []State{Removed, RemoveFailed, Blocked}},
	Removed:         {0, "", []State{Assigned, Downloading, Installing, Blocked, Removing}},
	RemoveFailed:    {0, "", []State{Removing, Assigned, Blocked}},
	Blocked:         {0, "", []State{Assigned, Downloading, Downloaded, Installing, Failed, Removing}},
	ResultUnknown:   {24 * time.Hour, "the device scans and says what is there", []State{Failed, Assigned, Removing, Blocked}},
}

// facts are the states that a scan may establish from any other.
var facts = []State{Unknown, NotApplicable, Applicable, Installed}

// States lists all states in the order of V1.
func States() []State {
	return []State{Unknown, NotApplicable, Applicable, Assigned, Downloading, Downloaded, Installing, Installed,
		RestartRequired, Failed, Removing, Removed, RemoveFailed, Blocked, ResultUnknown}
}

// Valid reports whether s is one of V1's states.
func (s State) Valid() bool { _, ok := table[s]; return ok }

// Terminal reports whether nothing more is due in this state.
func (s State) Terminal() bool { return table[s].deadline == 0 }

// Deadline is how long the state may last before it is overdue; 0 for terminal states.
func (s State) Deadline() time.Duration { return table[s].deadline }

// Rests reports whether a state lasts until a person goes on: what the tasks only download stays downloaded, and is not overdue.
func (s State) Rests(downloadOnly bool) bool { return downloadOnly && s == Downloaded }

// Next says what is due next in a non-terminal state.
func (s State) Next() string { return table[s].next }

// Check refuses a transition that the table does not have. Staying in a state is always legal:
// reasons are refreshed even when the state stays.
func Check(from, to State) error {
	if !to.Valid() {
		return fmt.Errorf("installation state %q is not one of V1", to)
	}
	if from == "" || from == to || slices.Contains(facts, to) || slices.Contains(table[from].to, to) {
		return nil
	}
	return fmt.Errorf("installation state cannot go from %q to %q (V1)", from, to)
}
