package wire

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"assent/catalog"
	"assent/fault"
	"assent/fleet"
)

// PlanFormat is the highest format of Plan that this build writes and reads. Format 2 has Terms, which a reader must not
// miss; a plan without them is written in format 1.
const PlanFormat = 2

// Plan is everything an agent needs to act: content shared by all devices with the same facts and
// scope. What makes it valid for one device at one time is the signed Statement around its digest.
type Plan struct {
	Format   int             `json:"format"`
	Guard    fleet.GuardMode `json:"guard"`
	Install  []PlanInstall   `json:"install,omitempty"`
	Rollback []PlanRollback  `json:"rollback,omitempty"`
	Remove   []PlanRemove    `json:"remove,omitempty"`
	Allow    []PlanAllow     `json:"allow,omitempty"`
	Deny     []PlanDeny      `json:"deny,omitempty"`
	Feeds    []PlanFeed      `json:"feeds,omitempty"`    // the feeds that the device follows
	Terms    []PlanTerms     `json:"terms,omitempty"`    // that installs name
	Restart  *PlanRestart    `json:"restart,omitempty"`  // absent: the device is never restarted
	Verdicts []PlanVerdict   `json:"verdicts,omitempty"` // for `assent-agent why`
}

// PlanFeed is a feed that the device follows. The device verifies it by itself, from the root that it pinned.
type PlanFeed struct {
	ID   string `json:"id"`
	Root string `json:"root"` // digest of the first root, for a feed that the device does not know yet
	// Timestamp is the version of the feed's freshness statement on the server: a newer one than the device's says that
	// there is something to look at.
	Timestamp int64 `json:"timestamp"`
}

// PlanRemove takes a declined application of a feed off the device, where it had no version before that could come
// back (C1). Its data and configuration stay.
type PlanRemove struct {
	Act    int64            `json:"act"` // ledger sequence of the decline
	Update catalog.UpdateID `json:"update"`
	Items  []catalog.Item   `json:"items"`           // what is installed of it
	Cause  string           `json:"cause,omitempty"` // as PlanRollback.Cause
}

// PlanInstall orders one approved update onto the device, as exactly these files.
type PlanInstall struct {
	Update  catalog.UpdateID `json:"update"`
	Release catalog.Release  `json:"release"`
	Items   []catalog.Item   `json:"items"`             // to be installed, exactly these versions and digests
	Extras  []catalog.Item   `json:"extras,omitempty"`  // new packages that the approval also covers, if apt needs them
	Closure []string         `json:"closure,omitempty"` // ids of other installs of this plan that it needs with it or before it
	// After are those of Closure that must be installed before it, in a transaction of their own: its prerequisites.
	After []string `json:"after,omitempty"`
	// Terms is the number of its terms in Plan.Terms, from 1; 0: at any time, with the agent's own pauses.
	Terms int `json:"terms,omitempty"`
	// Exclusive asks for a transaction of its own.
	Exclusive bool `json:"exclusive,omitempty"`
	// Probe is the publisher's health check: without it passing, the install did not succeed (V3).
	Probe *catalog.Probe `json:"probe,omitempty"`
}

// PlanRollback puts back what was there before an update: by an explicit act (C3), or because an application of a feed was
// declined (C1).
type PlanRollback struct {
	Act    int64            `json:"act"` // ledger sequence of the act
	Update catalog.UpdateID `json:"update"`
	Items  []RestoreItem    `json:"items"`
	// Cause is why, where no person ordered it: "probe_failed". The device's reports about it carry it on.
	Cause string `json:"cause,omitempty"`
}

// PlanAllow is approved content that is not an order: in approved_only mode a person may install it.
type PlanAllow struct {
	Update catalog.UpdateID `json:"update"`
	Items  []catalog.Item   `json:"items"`
}

// PlanDeny is a wall: none of this may enter the device, whoever starts the package manager.
type PlanDeny struct {
	Update   catalog.UpdateID `json:"update"` // the declined update
	Software catalog.Software `json:"software"`
	Version  string           `json:"version"`           // the declined source version
	Later    bool             `json:"later,omitempty"`   // the wall reaches all later versions …
	Through  string           `json:"through,omitempty"` // … up to and including this one; empty: without end
	Items    []catalog.Item   `json:"items"`             // all known files of the declined releases
	Reason   string           `json:"reason"`
	By       string           `json:"by"`
	Act      int64            `json:"act"` // ledger sequence of the decline
}

// PlanVerdict is the verdict of one update with its reasons, for asking why on the device itself.
type PlanVerdict struct {
	Update  catalog.UpdateID `json:"update"`
	Release catalog.Release  `json:"release"`
	Verdict string           `json:"verdict"` // "install", "remove", "hold", "none"
	Cause   string           `json:"cause,omitempty"`
	Reasons []string         `json:"reasons"`
}

// StatementType is what is signed, in the sense of DSSE's payload type.
const StatementType = "application/vnd.assent.plan.v1"

// Statement is a signed order: these exact bytes, by this key.
type Statement struct {
	Body []byte `json:"body"` // JSON of StatementBody; signed as these exact bytes
	Key  string `json:"key"`  // SHA-256 of the public key, hex
	Sig  []byte `json:"sig"`  // Ed25519 over the DSSE pre-authentication encoding
}

// StatementBody binds a plan's content to one device, one state of the ledger and one stretch of time.
type StatementBody struct {
	Device  fleet.DeviceID `json:"device"`
	Counter int64          `json:"counter"` // ledger size the plan was computed at: never goes down
	Issued  time.Time      `json:"issued"`
	Expires time.Time      `json:"expires"`
	Plan    string         `json:"plan"` // digest of the Plan's bytes
	// Root is the root of the ledger's hash tree at Counter, in tlog's text form. Together with CheckInReply.Proof it
	// shows that the ledger still holds everything the device ever saw of it.
	Root string `json:"root,omitempty"`
}

// Digest names bytes: SHA-256 in hex.
func Digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Encode turns a document or plan into its bytes and their digest.
func Encode(v any) (body []byte, digest string, err error) {
	body, err = json.Marshal(v)
	if err != nil {
		return nil, "", fmt.Errorf("encode %T: %w", v, err)
	}
	return body, Digest(body), nil
}

// pae is the DSSE pre-authentication encoding: it keeps a signature on one type of statement from
// counting for another.
func pae(body []byte) []byte {
	return fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(StatementType), StatementType, len(body), body)
}

// KeyID names an Ed25519 public key.
func KeyID(key ed25519.PublicKey) string { return Digest(key) }

// Sign makes the statement for body.
func Sign(key ed25519.PrivateKey, body StatementBody) (Statement, error) {
	b, err := json.Marshal(body)
	if err != nil {
		return Statement{}, fmt.Errorf("encode plan statement: %w", err)
	}
	return Statement{Body: b, Key: KeyID(key.Public().(ed25519.PublicKey)), Sig: ed25519.Sign(key, pae(b))}, nil
}

// The refusals of a statement or plan. The agent reports them with their code.
var (
	ErrPlanKey     = fault.New(fault.Forbidden, "plan_key_unknown", "The plan is signed by a key this device does not trust.")
	ErrPlanSig     = fault.New(fault.Forbidden, "plan_signature", "The plan's signature does not fit its content.")
	ErrPlanForeign = fault.New(fault.Forbidden, "plan_foreign", "The plan was made for another device.")
	ErrPlanLower   = fault.New(fault.Forbidden, "plan_counter", "The plan is older than one this device already accepted: the server may have been restored from a backup.")
	ErrPlanFork    = fault.New(fault.Forbidden, "plan_fork", "The plan rests on another ledger than the one this device followed: the server may have been restored from a backup. Restore a newer one, or enrol the device again if the change is right.")
	ErrPlanExpired = fault.New(fault.Gone, "plan_expired", "The plan has expired.")
	ErrPlanDigest  = fault.New(fault.Forbidden, "plan_digest", "The plan's content is not the content that was signed.")
	ErrPlanFormat  = fault.New(fault.Invalid, "plan_format", "The plan is in a format this agent does not know.")
)

// Verify checks a statement for a device: trusted key, signature, device, counter not below floor,
// not expired at now. The body is read only after the signature holds.
func (s Statement) Verify(trusted []ed25519.PublicKey, device fleet.DeviceID, floor int64, now time.Time) (StatementBody, error) {
	var body StatementBody
	var key ed25519.PublicKey
	for _, k := range trusted {
		if len(k) == ed25519.PublicKeySize && KeyID(k) == s.Key {
			key = k
		}
	}
	if key == nil {
		return body, ErrPlanKey
	}
	if !ed25519.Verify(key, pae(s.Body), s.Sig) {
		return body, ErrPlanSig
	}
	if err := json.Unmarshal(s.Body, &body); err != nil {
		return body, ErrPlanFormat.Because(err)
	}
	switch {
	case body.Device != device:
		return body, ErrPlanForeign
	case body.Counter < floor:
		return body, ErrPlanLower
	case !now.Before(body.Expires):
		return body, ErrPlanExpired
	}
	return body, nil
}

// Open checks a plan's bytes against its statement and decodes them.
func (b StatementBody) Open(plan []byte) (Plan, error) {
	var p Plan
	if Digest(plan) != b.Plan {
		return p, ErrPlanDigest
	}
	if err := json.Unmarshal(plan, &p); err != nil {
		return p, ErrPlanFormat.Because(err)
	}
	if p.Format < 1 || p.Format > PlanFormat {
		return p, ErrPlanFormat
	}
	return p, nil
}
