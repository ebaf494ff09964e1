// Package wire holds the messages between agent and server. It is a leaf: both ends import it, and
// docs/protocol.md describes it well enough to write a second agent.
//
// All messages are JSON over HTTPS with mutual TLS 1.3 under /agent/v1/, compressed with zstd where
// large. Reading is tolerant (unknown fields are ignored) so that an agent N-2 works with a server N
// and the reverse; what a reader must not misunderstand carries a format or capability number.
//
// Documents (Facts, Inventory, Available) are content-addressed: their digest is the SHA-256, in hex, of
// their encoded bytes, and the server asks for a body only when it does not know the digest.
//
// The package checks nothing but sizes and signatures; meaning is for the domain packages.
package wire

import (
	"cmp"
	"strings"
	"time"

	"assent/catalog"
	"assent/fleet"
	"assent/installation"
)

// Capability is what this build can speak. History:
//
//	1  2026-11-23  first protocol: enrol, renew, check in, documents, reports, plans for deb
//	2  2026-11-23  feeds: roots with the enrolment, feeds and removals in plans, several ecosystems in one document
//	3  2026-11-23  restarts: their policy in plans, their reasons in facts, failed after restart_required
//	4  2026-11-23  terms of installs: windows, limits, retries, probes, restoring; plans of format 2
//	5  2026-11-23  terms name packages that may be removed along with an install
//	6  2026-11-23  rehearsals: what the next installs would meet, told beforehand and when asked
const Capability = 6

// AgentPackage is the package that brings the agent, and the agent's own program. No transaction of Assent's removes it.
const AgentPackage = "assent-agent"

// Caps on what is accepted from the network, in bytes after decompression.
const (
	MaxMessage  = 4 << 20  // check-ins, reports, enrolments
	MaxDocument = 64 << 20 // inventories, available sets
	MaxString   = 4 << 10  // any one string of a document
	MaxPackages = 200_000  // packages in an inventory, items in an available set
)

// The paths of the device protocol.
const (
	PathEnrol    = "/agent/v1/enrol"    // POST EnrolRequest -> EnrolResponse; the only path without a client certificate
	PathRenew    = "/agent/v1/renew"    // POST RenewRequest -> EnrolResponse
	PathCheckIn  = "/agent/v1/checkin"  // POST CheckIn -> CheckInReply; long poll when Wait > 0
	PathDocument = "/agent/v1/document" // PUT {PathDocument}/{kind}/{digest}, zstd body
	PathReports  = "/agent/v1/reports"  // POST Reports -> ReportsReply
	PathPlan     = "/agent/v1/plan"     // GET {PathPlan}/{digest} -> the plan's bytes, zstd
	PathFeed     = "/agent/v1/feed"     // GET {PathFeed}/{feed}/{path...} -> a file of the server's copy of a feed; ranges; 404 when it has none
	PathLeave    = "/agent/v1/leave"    // POST, no body: the device takes itself out of Assent
)

// Kind names a document.
type Kind string

// The documents an agent keeps on the server.
const (
	KindFacts     Kind = "facts"
	KindInventory Kind = "inventory"
	KindAvailable Kind = "available"
)

// Kinds lists all document kinds.
func Kinds() []Kind { return []Kind{KindFacts, KindInventory, KindAvailable} }

// EnrolRequest asks for a device certificate.
type EnrolRequest struct {
	Capability int    `json:"capability"`
	Token      string `json:"token"` // the whole token, as given to the agent
	CSR        []byte `json:"csr"`   // DER, PKCS #10, Ed25519 or ECDSA P-256; its subject is ignored
	Hostname   string `json:"hostname"`
	MachineID  string `json:"machine_id"` // a hint only: identity is the key
}

// EnrolResponse gives the device its identity and what it must trust.
type EnrolResponse struct {
	Device      fleet.DeviceID `json:"device"`
	Certificate []byte         `json:"certificate"` // DER, valid 30 days, to be renewed at half life
	CA          []byte         `json:"ca"`          // DER; the agent checks it against the token's fingerprint
	PlanKeys    [][]byte       `json:"plan_keys"`   // Ed25519 public keys whose signatures on plans count
	Feeds       []FeedRoot     `json:"feeds,omitempty"`
	Now         time.Time      `json:"now"`
}

// FeedRoot is what a device pins of a feed: the first root of its TUF chain. From then on only the feed's own keys
// change it.
type FeedRoot struct {
	ID   string `json:"id"`
	Root []byte `json:"root"` // root.json, exactly these bytes
}

// RenewRequest asks for a new certificate over the old one's connection.
type RenewRequest struct {
	CSR []byte `json:"csr"` // DER; may hold a new key
}

// CheckIn is an agent's steady message: digests up.
type CheckIn struct {
	Capability int             `json:"capability"`
	BootID     string          `json:"boot_id"`  // of the running kernel (or container)
	Run        string          `json:"run"`      // random per agent process: two live runs on one certificate are a clone
	Sequence   int64           `json:"sequence"` // grows with every check-in, persisted: going backwards is a clone
	Digests    map[Kind]string `json:"digests"`
	Plan       string          `json:"plan"`    // digest of the plan the agent holds; empty for none
	Counter    int64           `json:"counter"` // highest plan counter the agent has accepted
	Wait       int             `json:"wait"`    // seconds the server may hold the reply until something changes; 0 to 300
	Progress   Progress        `json:"progress"`
}

// Progress tells useful work apart from the mere heartbeat (security.md F18).
type Progress struct {
	LastScan    time.Time `json:"last_scan"`    // last finished scan
	LastRefresh time.Time `json:"last_refresh"` // last refresh of the package lists that worked
	Doing       string    `json:"doing"`        // what the agent is at now, in words; empty when idle
	Since       time.Time `json:"since"`        // since when
	Error       string    `json:"error"`        // the last error that keeps it from being useful; empty when well
}

// CheckInReply answers a check-in.
type CheckInReply struct {
	Now       time.Time  `json:"now"`
	Need      []Kind     `json:"need,omitempty"`      // upload these documents, then check in again
	Statement *Statement `json:"statement,omitempty"` // a new statement; absent when unchanged
	Proof     []string   `json:"proof,omitempty"`     // that the statement's ledger extends the one at CheckIn.Counter
	Resend    bool       `json:"resend,omitempty"`    // the server lost track: check in with all digests
	Next      int        `json:"next"`                // seconds until the next check-in without long poll
	Refresh   bool       `json:"refresh,omitempty"`   // an administrator asks for a fresh look at the repositories now
	Rehearse  bool       `json:"rehearse,omitempty"`  // an administrator asks for a rehearsal of the plan now
}

// Facts is what a device says of itself.
type Facts struct {
	Hostname      string          `json:"hostname"`
	MachineID     string          `json:"machine_id"`
	OS            string          `json:"os"`              // os-release ID: "debian"
	OSVersion     string          `json:"os_version"`      // VERSION_ID: "12"
	Codename      string          `json:"codename"`        // VERSION_CODENAME: "bookworm"
	Arch          string          `json:"arch"`            // dpkg's native architecture
	Foreign       []string        `json:"foreign"`         // dpkg's foreign architectures, sorted
	Kernel        string          `json:"kernel"`          // uname -r
	TimeZone      string          `json:"time_zone"`       // IANA name, empty when it is not known
	Agent         string          `json:"agent"`           // agent version
	Restart       []string        `json:"restart"`         // why a restart is pending: package names, or "kernel"; empty when none
	Stale         []RestartReason `json:"stale,omitempty"` // everything that still runs as it was before an update, sorted
	Posture       []Finding       `json:"posture"`         // weaknesses in the device's own set-up
	Origins       []OriginHealth  `json:"origins"`         // state of each package source
	ManagerHealth string          `json:"manager_health"`  // "" when well, else what is wrong with dpkg
	Guard         fleet.GuardMode `json:"guard"`           // the guard mode in force; empty when the hook is not installed
}

// Finding is one weakness in a device's package manager set-up.
type Finding struct {
	Code   string `json:"code"`   // "trusted_yes", "check_valid_until_off", "no_signed_by", …
	Detail string `json:"detail"` // file and line, or the option
}

// OriginHealth is how fresh and honest one package source is.
type OriginHealth struct {
	Site      string    `json:"site"`
	Suite     string    `json:"suite"`
	Label     string    `json:"label"`
	Origin    string    `json:"origin"`
	Date      time.Time `json:"date"`       // the Release file's Date
	Highest   time.Time `json:"highest"`    // the newest Date this device ever accepted from here
	ExpiresAt time.Time `json:"expires_at"` // Valid-Until; zero when it has none
	Problem   string    `json:"problem"`    // "", "expired", "rolled_back", "unreachable", "bad_signature", "tampered"
	Detail    string    `json:"detail"`
}

// Name tells the source from others: its site and suite, or "feed NAME".
func (o OriginHealth) Name() string {
	if id, ok := strings.CutPrefix(o.Origin, "feed:"); ok {
		return "feed " + id
	}
	return strings.TrimSpace(o.Site + " " + o.Suite)
}

// Package is one installed package.
type Package struct {
	Name          string `json:"name"`
	Arch          string `json:"arch"`
	Version       string `json:"version"`
	Status        string `json:"status"` // dpkg's three letters, trimmed: "ii", "iF", "hi", "iU"
	Source        string `json:"source"`
	SourceVersion string `json:"source_version"`
	Auto          bool   `json:"auto,omitempty"` // installed as a dependency only
	Hold          bool   `json:"hold,omitempty"`
	Ecosystem     string `json:"ecosystem,omitempty"` // where it is not the inventory's
	How           string `json:"how,omitempty"`       // V4: how this version came: "assent", "by hand: apt install x", "unattended-upgrades", "image", …
}

// Inventory is all installed packages, sorted by name, then architecture.
type Inventory struct {
	Ecosystem string    `json:"ecosystem"` // of the device's package manager: "deb"
	Packages  []Package `json:"packages"`
}

// Available is every release that the device could take: all versions newer than what is installed, and the
// releases that an update would newly bring in. Sorted by Namespace, Name, Version as text.
type Available struct {
	// Closed says that closures, problems and Restore were worked out; before that, their absence says nothing.
	Closed    bool          `json:"closed,omitempty"`
	Ecosystem string        `json:"ecosystem"`       // of the device's package manager
	Agent     string        `json:"agent,omitempty"` // the agent's version, where a feed's release may ask for one
	Updates   []Offer       `json:"updates"`
	Restore   []RestoreItem `json:"restore,omitempty"` // previous versions that Assent recorded; for each update the newest first
}

// Offer is one release with the items of it that matter to this device.
type Offer struct {
	Namespace string      `json:"namespace"`
	Name      string      `json:"name"`                // source package
	Version   string      `json:"version"`             // source version
	Ecosystem string      `json:"ecosystem,omitempty"` // where it is not the available set's
	Items     []OfferItem `json:"items"`               // sorted by Name, Arch, Version
	Closure   []Change    `json:"closure"`             // what apt would change beyond Items when this offer alone is installed; sorted
	Problem   string      `json:"problem"`             // apt cannot do it at all, in its words; empty when it can
	New       bool        `json:"new,omitempty"`       // nothing of it is installed: listed because another offer would bring it in
	// Fresh is set with New for an application of a feed that could be put onto the device: Items are what would be
	// installed, and Closure is worked out for them.
	Fresh bool `json:"fresh,omitempty"`
}

// OfferItem is one installable file of an offer.
type OfferItem struct {
	catalog.Item
	Installed string           `json:"installed"` // version on the device now; empty if none
	Origin    string           `json:"origin"`    // "Debian:bookworm-security"
	Security  bool             `json:"security,omitempty"`
	Phased    int              `json:"phased,omitempty"` // 1-99 while phased, else 0
	Hold      bool             `json:"hold,omitempty"`
	Pin       int              `json:"pin,omitempty"` // apt's pin priority; <0: apt would never choose it
	Candidate bool             `json:"candidate,omitempty"`
	Summary   string           `json:"summary,omitempty"`  // first line of the package's description
	Severity  catalog.Severity `json:"severity,omitempty"` // where the archive says one; else empty
}

// Change is one line of a transaction.
type Change struct {
	Op      Op     `json:"op"`
	Name    string `json:"name"`
	Arch    string `json:"arch"`
	Version string `json:"version"`             // the new version; empty for a removal
	From    string `json:"from"`                // the old version; empty for a new package
	SHA256  string `json:"sha256"`              // of the new file; empty for a removal
	Size    int64  `json:"size"`                // bytes of the new file
	Source  string `json:"source"`              // source package of the new version (of the old one for a removal)
	SrcVer  string `json:"source_version"`      // its version
	Space   string `json:"namespace"`           // publisher of the new version: catalog.Software.Namespace
	Essent  bool   `json:"essential,omitempty"` // removal of an essential or protected package
	// Format tells trees and content files from packages, for which it is empty.
	Format catalog.Format `json:"format,omitempty"`
}

// Op is what a change does to a package.
type Op string

// The operations.
const (
	OpInstall   Op = "install" // a package that was not there
	OpUpgrade   Op = "upgrade"
	OpReinstall Op = "reinstall"
	OpDowngrade Op = "downgrade"
	OpRemove    Op = "remove"
)

// RestoreItem is a version that was on the device before an update of ours, and whether its file can be had.
type RestoreItem struct {
	Update  catalog.UpdateID `json:"update"` // the update that replaced it
	Name    string           `json:"name"`
	Arch    string           `json:"arch"`
	Version string           `json:"version"` // the previous version
	Current string           `json:"current"` // the version there now
	SHA256  string           `json:"sha256"`  // of the file, where it can be had
	Size    int64            `json:"size"`
	From    string           `json:"from"` // "repository", "cache"; empty: the file cannot be had
	// Release is the source version of the previous release, for applications of feeds: items of one step back share it.
	Release string         `json:"release,omitempty"`
	Format  catalog.Format `json:"format,omitempty"` // as the item had it: tells a tree from a package
	WasAuto bool           `json:"was_auto,omitempty"`
}

// Reports carries journaled results, at least once; ids make them exactly once.
type Reports struct {
	Reports []Report `json:"reports"`
}

// ReportsReply lists what is now durable; the agent forgets those.
type ReportsReply struct {
	Applied []string `json:"applied"`
}

// Report is one journaled fact about one update or the device.
type Report struct {
	ID     string             `json:"id"` // random, unique per device
	At     time.Time          `json:"at"`
	Update catalog.UpdateID   `json:"update,omitempty"` // empty for device events
	State  installation.State `json:"state,omitempty"`  // empty for events
	Cause  installation.Cause `json:"cause,omitempty"`
	Detail string             `json:"detail,omitempty"` // one sentence for people
	Needs  []string           `json:"needs,omitempty"`  // package URLs: the smallest set to approve (V2)
	Event  string             `json:"event,omitempty"`  // "guard_refused", "origin_rollback", "observed_install", "conffile_kept", "plan_refused", …
	Proof  *Proof             `json:"proof,omitempty"`
}

// Proof is what the device saw after a transaction: success is exactly this and never an exit code (V3).
type Proof struct {
	Transaction string      `json:"transaction"` // journal id
	Plan        string      `json:"plan"`        // digest of the plan it acted on
	Counter     int64       `json:"counter"`
	Started     time.Time   `json:"started"`
	Finished    time.Time   `json:"finished"`
	Items       []ProofItem `json:"items"`
	AuditClean  bool        `json:"audit_clean"`         // dpkg --audit printed nothing
	Conffiles   []string    `json:"conffiles,omitempty"` // kept as the administrator had them; the new ones lie beside
	Restart     []string    `json:"restart,omitempty"`
	Log         string      `json:"log,omitempty"` // the end of the package manager's output, capped
	// Probe is what the publisher's health probe said: "passed", or why it did not; empty where there is none.
	Probe string `json:"probe,omitempty"`
}

// ProofItem is one package after the transaction.
type ProofItem struct {
	Name     string `json:"name"`
	Arch     string `json:"arch"`
	Version  string `json:"version"`         // found on the device
	Status   string `json:"status"`          // "ii"
	Previous string `json:"previous"`        // version before; empty if it was not there
	SHA256   string `json:"sha256"`          // of the file that was installed
	Extra    bool   `json:"extra,omitempty"` // came in as an approved dependency
}

// In is the ecosystem of a package in an inventory of an ecosystem.
func (p Package) In(inventory string) string { return cmp.Or(p.Ecosystem, inventory) }

// In is the release that an offer names in an available set of an ecosystem.
func (o Offer) In(available string) catalog.Release {
	return catalog.Release{Software: catalog.Software{Ecosystem: cmp.Or(o.Ecosystem, available), Namespace: o.Namespace, Name: o.Name}, Version: o.Version}
}
