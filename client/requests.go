package client

import (
	"time"

	"assent/approval"
	"assent/fleet"
	"assent/installation"
	"assent/ledger"
)

// Problem is a refusal as it goes over the wire (RFC 9457, application/problem+json). Kind and Code are the
// contract; Detail is one sentence for people.
type Problem struct {
	Type   string `json:"type" doc:"Always about:blank; the code says what happened." example:"about:blank"`
	Title  string `json:"title" doc:"The HTTP status in words."`
	Status int    `json:"status" doc:"The HTTP status."`
	Detail string `json:"detail" doc:"One sentence for people that says what to do next."`
	Kind   string `json:"kind" doc:"What sort of refusal this is." example:"not_found"`
	Code   string `json:"code" doc:"What exactly happened; stable." example:"update_unknown"`
	Field  string `json:"field,omitempty" doc:"The input at fault, as the API spells it."`
	// Errors is set where several things are wrong at once: all of them, the one above first.
	Errors []ProblemError `json:"errors,omitempty" doc:"All that is wrong, where it is more than one thing."`
}

// ProblemError is one of several things that are wrong.
type ProblemError struct {
	Detail string `json:"detail"`
	Kind   string `json:"kind"`
	Code   string `json:"code"`
	Field  string `json:"field,omitempty"`
}

// SignIn exchanges a one-time sign-in token for an access token.
type SignIn struct {
	Token string        `json:"token"`
	Note  string        `json:"note,omitempty"` // where the access token will be used
	TTL   time.Duration `json:"ttl,omitempty"`  // nanoseconds; 30 days by default and at most
}

// SignedIn is the answer to a SignIn. Text is shown only here.
type SignedIn struct {
	Me
	Text string `json:"text"`
}

// Me is who the caller is.
type Me struct {
	Name    string        `json:"name"`
	Role    ledger.Role   `json:"role"`
	Scope   fleet.GroupID `json:"scope"`
	Access  string        `json:"access"`  // id of the access token in use
	Expires time.Time     `json:"expires"` // when it ends
}

// Act is what a simple act left in the ledger.
type Act struct {
	Act int64     `json:"act"` // ledger sequence
	At  time.Time `json:"at"`
}

// ExceptionRow is an exception from a decline (A3).
type ExceptionRow struct {
	approval.Exception
	Name      string `json:"name"`    // of the update
	Version   string `json:"version"` // of the update
	ScopeName string `json:"scope_name"`
	Expired   bool   `json:"expired"`
}

// DeviceQuery selects devices.
type DeviceQuery struct {
	Group  string            // id or name; the root by default
	Search string            // words, each found in name, id, system or group
	State  fleet.DeviceState // any by default
	Only   DeviceOnly        // any by default
	Here   bool              // only those in the very group, none from below it
}

// DeviceOnly narrows a list of devices to those that something is to be said of.
type DeviceOnly string

// What can be said of an active device.
const (
	OnlyConnected DeviceOnly = "connected" // now
	OnlySilent    DeviceOnly = "silent"    // not heard of for long
	OnlyRestart   DeviceOnly = "restart"   // needs one
	OnlyStale     DeviceOnly = "stale"     // a package source of it has expired
)

// DeviceOnlies lists them all.
func DeviceOnlies() []DeviceOnly {
	return []DeviceOnly{OnlyConnected, OnlySilent, OnlyRestart, OnlyStale}
}

// QueueQuery selects what is on its way.
type QueueQuery struct {
	Group   string
	Device  string
	State   []installation.State // OR-ed; any by default
	Cause   installation.Cause   // of what is blocked; any by default
	Overdue *bool                // it lasts longer than its state may (V1)
}

// EventQuery selects events, newest first.
type EventQuery struct {
	Device   string
	Update   string
	Event    string
	Before   time.Time // only events before this time …
	BeforeID int64     // … or, when set, at this time with a smaller id: the last of one page begins the next
	Limit    int       // 1 to 1000; 100 by default
}

// LedgerQuery selects entries of the ledger, newest first.
type LedgerQuery struct {
	Kind   ledger.Kind
	By     string
	Before int64 // only entries with a lower sequence; 0: from the newest
	Limit  int   // 1 to 1000; 100 by default
}

// Checkpoint is the ledger's signed head.
type Checkpoint struct {
	Size int64  `json:"size"`
	Root string `json:"root"` // base64, as in the note
	Note string `json:"note"` // the signed note; `assent ledger verify` checks it
	Key  string `json:"key"`  // verifier key; compare it with one that you got another way
}

// Changes is a counter that grows whenever decisions or facts change. It means nothing across restarts of
// the server but that something may have changed.
type Changes struct {
	Seq uint64 `json:"seq"`
}

// OperatorRow is a person or program that may use the API.
type OperatorRow struct {
	ledger.Operator
	ScopeName string `json:"scope_name"`
	Accesses  int    `json:"accesses"` // live access tokens
}

// RefreshRequest asks devices to fetch their package lists and look again now. Either Devices or Group.
type RefreshRequest struct {
	Devices []string `json:"devices,omitempty"` // ids or unambiguous names
	Group   string   `json:"group,omitempty"`   // with all below; everything the caller may act on by default
}

// Refreshed says how many devices were asked. The others hear of it when they connect.
type Refreshed struct {
	Devices   int `json:"devices"`
	Connected int `json:"connected"` // of these, reached at once
}
