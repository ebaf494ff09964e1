// Package approval answers one question: which approval status does an update have on a device, and why?
//
// It implements the published precedence (A3): (1) a decline in any ancestor-or-self scope wins;
// (2) else the approval nearest to the device; (3) else undefined. Only an exception that names the
// decline, gives a reason and an expiry passes a decline. Evaluate is the only place where this is
// decided; lists, plans, dry runs and "why" all call it.
//
// Guarantees: pure; the same input gives the same answer in the same words; the time comes in as a
// value. Anything it cannot read for certain (a version that does not parse under a decline with a
// reach) counts as declined: unknown holds.
package approval

import (
	"time"

	"assent/catalog"
	"assent/fleet"
)

// Status is one of exactly three (A1).
type Status string

// The statuses.
const (
	Undefined Status = "undefined"
	Approved  Status = "approved"
	Declined  Status = "declined"
)

// Valid reports whether s is one of the three.
func (s Status) Valid() bool { return s == Undefined || s == Approved || s == Declined }

// Reach says which releases of the software a decline covers (A4).
type Reach struct {
	Later   bool   `json:"later,omitempty"`   // this version and all later ones …
	Through string `json:"through,omitempty"` // … up to and including this version; empty: without end
}

// Decision is a status set for an update in a scope: one line of an act in the ledger.
type Decision struct {
	Act     int64            `json:"act"` // ledger sequence of the act that set it
	Update  catalog.UpdateID `json:"update"`
	Release catalog.Release  `json:"release"`
	Scope   fleet.GroupID    `json:"scope"`
	Status  Status           `json:"status"` // Approved or Declined; Undefined is the absence of a decision
	Rev     int              `json:"rev"`    // revision of the item set that was on screen (promise 1)
	Digest  string           `json:"digest"` // catalog.Update.Digest(Rev)
	Reason  string           `json:"reason,omitempty"`
	By      string           `json:"by"` // the operator's name
	At      time.Time        `json:"at"`
	Expires time.Time        `json:"expires,omitzero"` // from then on the decision no longer counts; zero: never
	Reach   Reach            `json:"reach,omitzero"`   // declines only
}

// live reports whether the decision still counts.
func (d Decision) live(now time.Time) bool { return d.Expires.IsZero() || now.Before(d.Expires) }

// Exception lets an approval pass one decline for one scope, for a time and with a reason (A3).
type Exception struct {
	Act     int64            `json:"act"`     // ledger sequence of the act that made it; its id
	Decline int64            `json:"decline"` // ledger sequence of the act that declined
	Update  catalog.UpdateID `json:"update"`  // the update it lets pass
	Scope   fleet.GroupID    `json:"scope"`   // where: this group and below
	Reason  string           `json:"reason"`
	By      string           `json:"by"`
	At      time.Time        `json:"at"`
	Expires time.Time        `json:"expires"` // required
}

// Input is everything Evaluate looks at.
type Input struct {
	Release    catalog.Release
	Path       []fleet.GroupID // the device's group and its ancestors, nearest first, root last
	Decisions  []Decision      // all decisions on any release of the same software; others are ignored
	Exceptions []Exception     // all exceptions for this update; others are ignored
	Now        time.Time

	ID catalog.UpdateID // of Release, from those who have it at hand; when it is empty it is worked out
}

// Result is the status with the whole way to it.
type Result struct {
	Status    Status     `json:"status"`
	Decision  *Decision  `json:"decision,omitempty"`  // the one that decided; nil for Undefined by default
	Exception *Exception `json:"exception,omitempty"` // the one that let an approval pass a decline
	Declines  []Decision `json:"declines,omitempty"`  // all live declines that cover the update here
	Trace     []Step     `json:"trace"`               // none from Judge
}

// Step is one line of the trace: what was looked at, what it says.
type Step struct {
	Rule  string        `json:"rule"` // "A3.1", "A3.2", "A3.3", "A4", …
	Scope fleet.GroupID `json:"scope,omitempty"`
	Act   int64         `json:"act,omitempty"` // ledger sequence
	Text  string        `json:"text"`
}
