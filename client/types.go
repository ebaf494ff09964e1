// Package client is the typed client of Assent's REST API and the one definition of its request and
// response types: the server's services fill these very types, so client and server cannot drift.
//
// Guarantees: every refusal of the server comes back as a *fault.Error with its code, message and field.
// The package holds no state but the connection; it does not retry acts.
package client

import (
	"time"

	"assent/approval"
	"assent/catalog"
	"assent/fleet"
	"assent/installation"
	"assent/ledger"
	"assent/plan"
	"assent/wire"
)

// Filter selects updates. Empty fields select everything; set fields are AND-ed. Values in one list are OR-ed.
type Filter struct {
	Search     string               `json:"search,omitempty"` // words, each found in name, version, package URL, summary or item names
	Status     []approval.Status    `json:"status,omitempty"` // effective status in Group
	Class      []catalog.Class      `json:"class,omitempty"`
	Severity   []catalog.Severity   `json:"severity,omitempty"`
	Origin     []string             `json:"origin,omitempty"`
	Security   *bool                `json:"security,omitempty"`
	Needed     *bool                `json:"needed,omitempty"` // some device in Group needs it
	State      []installation.State `json:"state,omitempty"`  // some device in Group has it in this state
	Superseded *bool                `json:"superseded,omitempty"`
	Group      string               `json:"group,omitempty"`  // id or name; counts and status are seen from here; the root by default
	Device     string               `json:"device,omitempty"` // only what this device could take
	View       string               `json:"view,omitempty"`   // a saved view: Seamless
	Gated      *bool                `json:"gated,omitempty"`  // it waits for a newer server (A6)
	Revoked    *bool                `json:"revoked,omitempty"`
	Exploited  *bool                `json:"exploited,omitempty"`  // one of its vulnerabilities is known to be exploited
	Installed  *bool                `json:"installed,omitempty"`  // some device in Group has it
	Changed    *bool                `json:"changed,omitempty"`    // approved, and files were added since
	Agreements *bool                `json:"agreements,omitempty"` // an agreement waits to be accepted (A7)
}

// Seamless is the saved view of what feeds publish: managed applications and components of Assent.
const Seamless = "seamless"

// Page asks for a part of a sorted list. Keyset pagination: Cursor is what the last answer gave.
type Page struct {
	Sort   string `json:"sort,omitempty"`  // column, "-" before it for descending
	Limit  int    `json:"limit,omitempty"` // 1 to 1000; 100 by default
	Cursor string `json:"cursor,omitempty"`
}

// List is one page of anything.
type List[T any] struct {
	Items []T    `json:"items"`
	Total int    `json:"total"` // all that match, not only this page
	Next  string `json:"next,omitempty"`
}

// UpdateRow is an update in a list, as seen from a group.
type UpdateRow struct {
	ID           catalog.UpdateID `json:"id"`
	PURL         string           `json:"purl"`
	Name         string           `json:"name"`
	Version      string           `json:"version"`
	Status       approval.Status  `json:"status"`               // effective in the group
	Inherited    bool             `json:"inherited"`            // the status comes from an ancestor
	Exceptions   int              `json:"exceptions,omitempty"` // exceptions from its declines, listed wherever the decline is (A3)
	Changed      bool             `json:"changed,omitempty"`    // items were added since the approval: approve again to cover them
	Class        catalog.Class    `json:"class"`
	Severity     catalog.Severity `json:"severity"`
	Security     bool             `json:"security"`
	Origins      []string         `json:"origins"`
	Summary      string           `json:"summary"`
	Needed       int              `json:"needed"`                    // devices in the group that could take it
	Installed    int              `json:"installed"`                 // devices in the group that have it
	Against      int              `json:"installed_though_declined"` // devices in the group that have it although it is declined there (C3)
	Failed       int              `json:"failed"`
	Blocked      int              `json:"blocked"`
	Phased       int              `json:"phased"`
	Size         int64            `json:"size"` // bytes of its own items on the device with most of them
	FirstSeen    time.Time        `json:"first_seen"`
	SupersededBy catalog.UpdateID `json:"superseded_by,omitempty"`
	Title        string           `json:"title,omitempty"`
	Gated        string           `json:"needs_server,omitempty"`       // the server version it waits for (A6); empty when it does not
	Revoked      bool             `json:"revoked,omitempty"`            // recalled by its publisher (A8)
	Exploited    bool             `json:"exploited,omitempty"`          // one of its vulnerabilities is known to be exploited
	Agreements   int              `json:"agreements_pending,omitempty"` // not accepted yet, its prerequisites' among them (A7)
	Held         []string         `json:"held,omitempty"`               // what this server cannot read of it
	Verified     string           `json:"verified,omitempty"`           // content: staged, released or refused (C6)
}

// UpdateDetail is everything about one update.
type UpdateDetail struct {
	UpdateRow
	Items      []catalog.Bound      `json:"items"`
	Rev        int                  `json:"rev"`
	Digest     string               `json:"digest"`
	Conflicts  []catalog.Conflict   `json:"conflicts,omitempty"`
	Published  *catalog.Publication `json:"published,omitempty"` // what its feed says of it
	Decisions  []approval.Decision  `json:"decisions"`           // in all scopes
	Exceptions []approval.Exception `json:"exception_list,omitempty"`
	Devices    []DeviceUpdate       `json:"devices"` // where it stands on each device that needs or has it
}

// DeviceUpdate is where an update stands on a device.
type DeviceUpdate struct {
	Device     fleet.DeviceID     `json:"device"`
	DeviceName string             `json:"device_name"`
	Group      string             `json:"group"` // name
	Update     catalog.UpdateID   `json:"update"`
	Name       string             `json:"name"`
	Version    string             `json:"version"`
	From       string             `json:"from,omitempty"` // version on the device now (source or first item)
	State      installation.State `json:"state"`
	Cause      installation.Cause `json:"cause,omitempty"`
	Detail     string             `json:"detail,omitempty"`
	Verdict    plan.Action        `json:"verdict"`
	Needs      []string           `json:"needs,omitempty"` // package URLs to approve
	Since      time.Time          `json:"since,omitzero"`
	Deadline   time.Time          `json:"deadline,omitzero"` // when the state is overdue (V1)
	Overdue    bool               `json:"overdue,omitempty"`
	How        string             `json:"how,omitempty"` // how the installed version came (V4)
	Against    bool               `json:"installed_though_declined,omitempty"`
	Proof      *wire.Proof        `json:"proof,omitempty"`
	Rehearsed  *Rehearsed         `json:"rehearsed,omitempty"` // what the device found beforehand, while it has still to install it
}

// Decide sets a status (A1, A2). Either Updates or Matching.
type Decide struct {
	Updates  []string        `json:"updates,omitempty"`  // ids, package URLs or name@version
	Matching *Filter         `json:"matching,omitempty"` // all that match: a bulk act
	Scope    string          `json:"scope,omitempty"`    // group id or name; the root by default
	Status   approval.Status `json:"status"`
	Reason   string          `json:"reason,omitempty"`
	Expires  time.Time       `json:"expires,omitzero"`
	Reach    approval.Reach  `json:"reach,omitzero"` // declines only (A4)
	Lift     bool            `json:"lift,omitempty"` // the named updates may leave a decline in this very scope; never in bulk
	DryRun   bool            `json:"dry_run,omitempty"`

	AllowSuperseded bool `json:"allow_superseded,omitempty"` // approve it although a newer release is known, on purpose
	// AcceptAgreements are the digests of agreements that were read and are accepted with the approval (A7).
	AcceptAgreements []string `json:"accept_agreements,omitempty"`
}

// Outcome is what an act did, or would do.
type Outcome struct {
	Act     int64       `json:"act,omitempty"` // ledger sequence; 0 in a dry run or when nothing changed
	At      time.Time   `json:"at,omitzero"`
	DryRun  bool        `json:"dry_run,omitempty"`
	Changed []UpdateRef `json:"changed"`
	Skipped []Skipped   `json:"skipped,omitempty"`
	Preview Preview     `json:"preview"`
}

// UpdateRef names an update.
type UpdateRef struct {
	ID      catalog.UpdateID `json:"id"`
	PURL    string           `json:"purl"`
	Name    string           `json:"name"`
	Version string           `json:"version"`
}

// Skipped is an update that an act left alone, and why.
type Skipped struct {
	UpdateRef
	Code    string `json:"code"` // "declined", "content_conflict", "unchanged", …
	Message string `json:"message"`
}

// Preview is what an act means for the devices of its scope.
type Preview struct {
	Devices   int           `json:"devices"`             // devices on which something would change
	Unclear   int           `json:"unclear,omitempty"`   // of these, still working out what the package manager would change along with it
	Offline   int           `json:"offline"`             // of these, not connected now
	Installs  int           `json:"installs"`            // (device, update) pairs that would be installed
	Withdrawn int           `json:"withdrawn,omitempty"` // planned installs that would vanish
	Removals  int           `json:"removals,omitempty"`  // (device, update) pairs that would be taken back: the version before comes back, or it is removed
	Unseen    int           `json:"unseen,omitempty"`    // devices that were left out of these figures, for lack of time
	Download  int64         `json:"download"`            // bytes over all devices
	Tasks     []PreviewTask `json:"tasks,omitempty"`     // which tasks would install, and when
	Restarts  int           `json:"restarts,omitempty"`  // devices that need a restart after the installs, as publishers say; of other packages nobody says
	Permanent int           `json:"permanent,omitempty"` // (device, update) pairs that would be installed and could not be uninstalled (C2)
	CanGoBack int           `json:"can_go_back,omitempty"`
	// CannotGoBack counts, of a decline, the (device, update) pairs that have it, keep it, and could not be rolled back by an
	// order either; CanGoBack those that an order could roll back (C3).
	CannotGoBack int             `json:"cannot_go_back,omitempty"`
	Updates      []PreviewUpdate `json:"updates"`
}

// PreviewTask is the part of a preview that one task would install.
type PreviewTask struct {
	Task    string `json:"task"` // its name
	When    string `json:"when"` // in words
	Devices int    `json:"devices"`
}

// PreviewUpdate is the part of a preview that belongs to one update.
type PreviewUpdate struct {
	UpdateRef
	Install  int              `json:"install"`
	Have     int              `json:"have"`              // devices that have it already
	Extras   []catalog.Item   `json:"extras,omitempty"`  // new packages that would come with it
	Removes  []catalog.Item   `json:"removes,omitempty"` // packages that would go with it, because its tasks name them; without digests
	Download int64            `json:"download"`
	Blocked  []PreviewBlocked `json:"blocked,omitempty"`
	// Of the devices that have a declined update and keep it: whether an order could roll it back.
	CanGoBack    int `json:"can_go_back,omitempty"`
	CannotGoBack int `json:"cannot_go_back,omitempty"`
}

// PreviewBlocked is one reason for which devices would not get an update.
type PreviewBlocked struct {
	Cause   installation.Cause `json:"cause"`
	Detail  string             `json:"detail"`
	Needs   []UpdateRef        `json:"needs,omitempty"`
	Devices []string           `json:"devices"` // names
}

// RollbackRequest orders recorded previous versions back (C3).
type RollbackRequest struct {
	Update  string   `json:"update"`
	Scope   string   `json:"scope,omitempty"`   // group; the root by default
	Devices []string `json:"devices,omitempty"` // instead of a group
	Decline bool     `json:"decline,omitempty"` // decline it in the scope in the same act; without it the update must not be approved there
	Reason  string   `json:"reason,omitempty"`
	DryRun  bool     `json:"dry_run,omitempty"`
}

// RollbackOutcome says for each device that has the update what will come back, before it happens.
type RollbackOutcome struct {
	Act     int64            `json:"act,omitempty"`
	DryRun  bool             `json:"dry_run,omitempty"`
	Devices []RollbackDevice `json:"devices"`
}

// RollbackDevice is the part of one device.
type RollbackDevice struct {
	Device fleet.DeviceID     `json:"device"`
	Name   string             `json:"name"`
	Can    bool               `json:"can"`
	Why    string             `json:"why"` // what comes back from where, or why it cannot
	Items  []wire.RestoreItem `json:"items,omitempty"`
}

// ExceptionRequest lets an update pass a decline (A3).
type ExceptionRequest struct {
	Update  string    `json:"update"`
	Decline int64     `json:"decline"` // the act that declined; 0: the only one that stands
	Scope   string    `json:"scope"`
	Reason  string    `json:"reason"`
	Expires time.Time `json:"expires"`
}

// Why is the verdict on an update on a device with its whole trace.
type Why struct {
	Device   DeviceRow    `json:"device"`
	Update   UpdateRef    `json:"update"`
	Verdict  plan.Verdict `json:"verdict"`
	State    DeviceUpdate `json:"state"`
	Sentence string       `json:"sentence"` // the answer in one sentence
}

// DeviceRow is a device in a list.
type DeviceRow struct {
	ID         fleet.DeviceID    `json:"id"`
	Name       string            `json:"name"`
	Group      string            `json:"group"` // name
	GroupID    fleet.GroupID     `json:"group_id"`
	State      fleet.DeviceState `json:"state"`
	Reason     string            `json:"reason,omitempty"`
	Connected  bool              `json:"connected"` // a long poll is open now
	LastSeen   time.Time         `json:"last_seen,omitzero"`
	LastUseful time.Time         `json:"last_useful,omitzero"` // last scan or refresh that worked, apart from the heartbeat
	OS         string            `json:"os"`
	Arch       string            `json:"arch"`
	Agent      string            `json:"agent"`
	Pending    int               `json:"pending"` // releases it could take and has no decision or install for
	Planned    int               `json:"planned"` // verdict install, not there yet
	Blocked    int               `json:"blocked"`
	Failed     int               `json:"failed"`
	Restart    bool              `json:"restart"`
	Problem    string            `json:"problem,omitempty"` // what keeps it from being useful, in words
}

// DeviceDetail is everything about a device.
type DeviceDetail struct {
	DeviceRow
	EnrolledAt time.Time       `json:"enrolled_at"`
	Facts      wire.Facts      `json:"facts"`
	Progress   wire.Progress   `json:"progress"`
	Guard      fleet.GuardMode `json:"guard"` // the mode that applies to it
	Updates    []DeviceUpdate  `json:"updates"`
	Packages   int             `json:"packages"`
	// Rehearsal is the last one; absent: it never rehearsed.
	Rehearsal *DeviceRehearsal `json:"rehearsal,omitempty"`
	Events    []Event          `json:"events"` // newest first, at most 50
}

// Event is something a device reported that is not a state.
type Event struct {
	ID         int64            `json:"id"` // grows with arrival
	At         time.Time        `json:"at"`
	Device     fleet.DeviceID   `json:"device"`
	DeviceName string           `json:"device_name"`
	Event      string           `json:"event"`
	Update     catalog.UpdateID `json:"update,omitempty"`
	Detail     string           `json:"detail"`
}

// DeviceChange moves or retires devices, quarantines or releases them.
type DeviceChange struct {
	Devices []string          `json:"devices"`         // ids or unambiguous names
	Group   string            `json:"group,omitempty"` // move there
	State   fleet.DeviceState `json:"state,omitempty"` // or set this state
	Reason  string            `json:"reason,omitempty"`
}

// GroupRow is a group in the tree.
type GroupRow struct {
	fleet.Group
	Depth     int             `json:"depth"`
	Devices   int             `json:"devices"` // in the group itself
	Below     int             `json:"below"`   // with all below
	GuardHere fleet.GuardMode `json:"guard_effective"`
	Decisions int             `json:"decisions"` // own decisions
}

// GroupRequest creates or changes a group. Empty fields stay as they are in a change.
type GroupRequest struct {
	Name   string           `json:"name,omitempty"`
	Parent string           `json:"parent,omitempty"` // id or name; the root by default
	Guard  *fleet.GuardMode `json:"guard,omitempty"`
	Test   *bool            `json:"test,omitempty"` // its devices try things out first
}

// QueueRow is one install or rollback that is on its way.
type QueueRow struct {
	DeviceUpdate
	Download int64 `json:"download"`
}

// TokenRequest makes an enrolment token.
type TokenRequest struct {
	Group string        `json:"group,omitempty"`
	Uses  int           `json:"uses,omitempty"` // 1 by default
	TTL   time.Duration `json:"ttl,omitempty"`  // nanoseconds; 1 h by default, 30 days at most
	Note  string        `json:"note,omitempty"`
}

// TokenRow is an enrolment token. Text is there only in the answer that made it.
type TokenRow struct {
	ID      string    `json:"id"`
	Group   string    `json:"group"`
	Uses    int       `json:"uses"`
	Used    int       `json:"used"`
	Expires time.Time `json:"expires"`
	Revoked bool      `json:"revoked"`
	Note    string    `json:"note,omitempty"`
	By      string    `json:"by"`
	Text    string    `json:"text,omitempty"`
	Command string    `json:"command,omitempty"` // the one line to run on the device
}

// OperatorRequest adds or changes an operator.
type OperatorRequest struct {
	Name  string      `json:"name"`
	Role  ledger.Role `json:"role"`
	Scope string      `json:"scope,omitempty"`
}

// AccessRequest makes an access token for an operator.
type AccessRequest struct {
	Operator string        `json:"operator,omitempty"` // oneself by default
	TTL      time.Duration `json:"ttl,omitempty"`      // nanoseconds; 90 days by default, a year at most
	Note     string        `json:"note,omitempty"`
	SignIn   bool          `json:"sign_in,omitempty"` // make a one-time sign-in token instead; 24 h by default and at most
}

// AccessRow is an access token. Text is there only in the answer that made it.
type AccessRow struct {
	ID       string    `json:"id"`
	Operator string    `json:"operator"`
	Note     string    `json:"note,omitempty"`
	Expires  time.Time `json:"expires"`
	OneTime  bool      `json:"one_time,omitempty"` // a sign-in token
	LastUsed time.Time `json:"last_used,omitzero"` // since the server started; it is not kept
	Text     string    `json:"text,omitempty"`
}

// LedgerRow is one entry for people.
type LedgerRow struct {
	ledger.Entry
	Text    string `json:"text"`              // one sentence
	Omitted bool   `json:"omitted,omitempty"` // the body is too long for a list; an export has it
}

// Status is the state of the whole in one answer.
type Status struct {
	Version string         `json:"version"`
	Org     string         `json:"org"`
	Engine  string         `json:"engine"` // "sqlite", "postgres"
	Now     time.Time      `json:"now"`
	Devices map[string]int `json:"devices"` // active, connected, silent, quarantined, retired, restart, stale (a package source of it has expired)
	Updates map[string]int `json:"updates"` // total, undefined, approved, declined, security_undecided, exploited_undecided, changed, gated, agreements, recalled_installed
	// Gates counts the updates that wait for a newer server, by the version that they wait for (A6).
	Gates map[string]int `json:"gates,omitempty"`
	// Undecided counts by severity the updates that devices need, that nothing newer takes the place of and that nobody
	// decided on; Recalled those that their publishers took back.
	Undecided map[string]int `json:"undecided"`
	Recalled  int            `json:"recalled"`
	Queue     map[string]int `json:"queue"`   // by installation state
	Blocked   map[string]int `json:"blocked"` // by cause
	// Compliance counts (device, update) pairs that apply and that somebody decided on. Compliance.Share is
	// the figure: declined ones stay in it as accepted risk and never improve it (A4).
	Compliance Compliance       `json:"compliance"`
	Rehearsal  RehearsalFigures `json:"rehearsal"` // what devices found beforehand about what they have still to install
	Ledger     int64            `json:"ledger"`    // entries
	Storage    Storage          `json:"storage"`
	Attention  []string         `json:"attention"` // what needs the administrator, in sentences
}

// Storage is what the server's database takes and how long it keeps what is no decision. The ledger is kept for ever.
type Storage struct {
	Bytes       int64      `json:"bytes"`            // as measured last
	Free        int64      `json:"free"`             // bytes of these that are used again before the database grows; not known of PostgreSQL
	ReportsDays int        `json:"reports_days"`     // reports and events of devices
	TrendsDays  int        `json:"trends_days"`      // samples of the trends
	Backup      *time.Time `json:"backup,omitempty"` // when `assentd backup` succeeded last on the server
}

// Compliance holds the counts and never only a percentage: zero of zero is not 100 %.
type Compliance struct {
	Installed int `json:"installed"`     // approved and there
	Approved  int `json:"approved"`      // approved, there or not
	Risk      int `json:"accepted_risk"` // declined, there or not
}

// Share is the part of the decided pairs that is approved and there, from 0 to 1; false when there is no
// pair and so no figure. Declining an update never raises it (A4).
func (c Compliance) Share() (share float64, ok bool) {
	if c.Approved+c.Risk == 0 {
		return 0, false
	}
	return float64(c.Installed) / float64(c.Approved+c.Risk), true
}
