// Package ledger is the append-only, hash-linked log of all decisions and privileged acts.
//
// Every change that a person or the server makes to what devices may take is an entry; the tables of
// the store are written in the same transaction and are a mere view: replaying the entries gives the
// same state (State, Replay). Entries are leaves of a Merkle tree as in Certificate Transparency
// (golang.org/x/mod/sumdb/tlog), so an export can be verified offline against a signed checkpoint and
// one checkpoint proves that it extends an earlier one.
//
// Guarantees: an entry's bytes never change once written; unknown kinds are refused, not skipped.
// It does no I/O and reads no clock.
package ledger

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"assent/approval"
	"assent/catalog"
	"assent/fleet"
)

// Kind names what an entry records. The names are part of the export format.
type Kind string

// Entry is one line of the ledger. Seq counts from 1. The bytes that are hashed are the JSON of this
// struct as it was first written; the store keeps those bytes.
type Entry struct {
	Seq  int64           `json:"seq"`
	At   time.Time       `json:"at"` // UTC, microseconds
	By   string          `json:"by"` // operator name; "device:ID" or "server" for acts without a person
	Kind Kind            `json:"kind"`
	Body json.RawMessage `json:"body"`
}

// Body is what an entry says. Each kind has one type.
type Body interface{ Kind() Kind }

// The acts. Each is applied to the state by State.Apply and nowhere else.
type (
	// ServerInit starts a ledger.
	ServerInit struct {
		Org     string `json:"org"`      // random id of this installation
		CA      string `json:"ca"`       // SHA-256 of the device CA certificate, hex
		PlanKey string `json:"plan_key"` // id of the key that signs plans
	}
	// GroupCreate adds a group.
	GroupCreate struct {
		Group fleet.Group `json:"group"`
	}
	// GroupChange renames, moves or re-guards a group: the whole new value.
	GroupChange struct {
		Group fleet.Group `json:"group"`
	}
	// GroupDelete removes an empty group.
	GroupDelete struct {
		ID fleet.GroupID `json:"id"`
	}
	// DeviceEnrol admits a device with a token.
	DeviceEnrol struct {
		Device fleet.Device `json:"device"`
		Token  string       `json:"token"` // id of the token it used
	}
	// DeviceRenew replaces a device's key.
	DeviceRenew struct {
		ID  fleet.DeviceID `json:"id"`
		Key string         `json:"key"`
	}
	// DeviceMove puts devices into a group.
	DeviceMove struct {
		IDs   []fleet.DeviceID `json:"ids"`
		Group fleet.GroupID    `json:"group"`
	}
	// DeviceState retires, quarantines or releases devices.
	DeviceState struct {
		IDs    []fleet.DeviceID  `json:"ids"`
		State  fleet.DeviceState `json:"state"`
		Reason string            `json:"reason"`
	}
	// UpdateDecide sets the status of one or many updates in one scope: one act, one entry (A2).
	UpdateDecide struct {
		Scope     fleet.GroupID   `json:"scope"`
		Status    approval.Status `json:"status"`
		Reason    string          `json:"reason,omitempty"`
		Expires   time.Time       `json:"expires,omitzero"`
		Reach     approval.Reach  `json:"reach,omitzero"`
		Selection string          `json:"selection,omitempty"` // the filter of a bulk act, as it was given
		Updates   []Decided       `json:"updates"`
		Accepts   []Accepted      `json:"accepts,omitempty"` // agreements accepted with it (A7)
	}
	// ExceptionAdd lets an update pass a decline for a scope and a time (A3). Its id is the entry's Seq.
	ExceptionAdd struct {
		Decline int64            `json:"decline"`
		Update  catalog.UpdateID `json:"update"`
		Scope   fleet.GroupID    `json:"scope"`
		Reason  string           `json:"reason"`
		Expires time.Time        `json:"expires"`
	}
	// ExceptionRemove ends an exception.
	ExceptionRemove struct {
		Exception int64 `json:"exception"`
	}
	// UpdateRollback orders the recorded previous versions back (C3). Its id is the entry's Seq.
	UpdateRollback struct {
		Update  catalog.UpdateID `json:"update"`
		Scope   fleet.GroupID    `json:"scope"`
		Devices []fleet.DeviceID `json:"devices"` // resolved when the act was made; later devices are not touched
		Reason  string           `json:"reason"`
	}
	// TokenCreate makes an enrolment token.
	TokenCreate struct {
		ID      string        `json:"id"`
		Secret  string        `json:"secret_hash"`
		Group   fleet.GroupID `json:"group"`
		Uses    int           `json:"uses"`
		Expires time.Time     `json:"expires"`
		Note    string        `json:"note,omitempty"`
	}
	// TokenRevoke ends an enrolment token.
	TokenRevoke struct {
		ID string `json:"id"`
	}
	// OperatorSet adds or changes an operator.
	OperatorSet struct {
		Operator Operator `json:"operator"`
	}
	// OperatorRemove removes an operator and all access tokens with it.
	OperatorRemove struct {
		Name string `json:"name"`
	}
	// AccessCreate makes an access token for the API.
	AccessCreate struct {
		Access Access `json:"access"`
	}
	// AccessRevoke ends an access token.
	AccessRevoke struct {
		ID string `json:"id"`
	}
)

// Decided is one update of an act with exactly what was decided on.
type Decided struct {
	Update  catalog.UpdateID `json:"update"`
	Release catalog.Release  `json:"release"`
	Rev     int              `json:"rev"`
	Digest  string           `json:"digest"`
}

// Role is what an operator may do.
type Role string

// Valid reports whether r is one of the roles.
func (r Role) Valid() bool { return r == Viewer || r == Approver || r == Administrator }

// The roles; each may do what those before it may.
const (
	Viewer        Role = "viewer"
	Approver      Role = "approver"
	Administrator Role = "administrator"
)

// Operator is a person or program that may use the API.
type Operator struct {
	Name  string        `json:"name"`
	Role  Role          `json:"role"`
	Scope fleet.GroupID `json:"scope"` // the group, with all below, in which the role counts
}

// Access is a token for the API. The ledger and the store know only its hash.
type Access struct {
	ID       string    `json:"id"`
	Operator string    `json:"operator"`
	Hash     string    `json:"hash"` // SHA-256 of the secret, hex
	Note     string    `json:"note,omitempty"`
	Expires  time.Time `json:"expires"`
	OneTime  bool      `json:"one_time,omitempty"` // a sign-in token: ends with its first use
}

// Kind names what each act is.
func (ServerInit) Kind() Kind      { return "server.init" }
func (GroupCreate) Kind() Kind     { return "group.create" }
func (GroupChange) Kind() Kind     { return "group.change" }
func (GroupDelete) Kind() Kind     { return "group.delete" }
func (DeviceEnrol) Kind() Kind     { return "device.enrol" }
func (DeviceRenew) Kind() Kind     { return "device.renew" }
func (DeviceMove) Kind() Kind      { return "device.move" }
func (DeviceState) Kind() Kind     { return "device.state" }
func (UpdateDecide) Kind() Kind    { return "update.decide" }
func (ExceptionAdd) Kind() Kind    { return "exception.add" }
func (ExceptionRemove) Kind() Kind { return "exception.remove" }
func (UpdateRollback) Kind() Kind  { return "update.rollback" }
func (TokenCreate) Kind() Kind     { return "token.create" }
func (TokenRevoke) Kind() Kind     { return "token.revoke" }
func (OperatorSet) Kind() Kind     { return "operator.set" }
func (OperatorRemove) Kind() Kind  { return "operator.remove" }
func (AccessCreate) Kind() Kind    { return "access.create" }
func (AccessRevoke) Kind() Kind    { return "access.revoke" }

// decode reads body as B.
func decode[B Body](raw json.RawMessage) (Body, error) {
	var b B
	err := decodeStrict(raw, &b)
	return b, err
}

// decoders maps each kind to the one type of its body.
func decoders() map[Kind]func(json.RawMessage) (Body, error) {
	return map[Kind]func(json.RawMessage) (Body, error){
		ServerInit{}.Kind(): decode[ServerInit], GroupCreate{}.Kind(): decode[GroupCreate],
		GroupChange{}.Kind(): decode[GroupChange], GroupDelete{}.Kind(): decode[GroupDelete],
		DeviceEnrol{}.Kind(): decode[DeviceEnrol], DeviceRenew{}.Kind(): decode[DeviceRenew],
		DeviceMove{}.Kind(): decode[DeviceMove], DeviceState{}.Kind(): decode[DeviceState],
		UpdateDecide{}.Kind(): decode[UpdateDecide], ExceptionAdd{}.Kind(): decode[ExceptionAdd],
		ExceptionRemove{}.Kind(): decode[ExceptionRemove], UpdateRollback{}.Kind(): decode[UpdateRollback],
		TokenCreate{}.Kind(): decode[TokenCreate], TokenRevoke{}.Kind(): decode[TokenRevoke],
		OperatorSet{}.Kind(): decode[OperatorSet], OperatorRemove{}.Kind(): decode[OperatorRemove],
		AccessCreate{}.Kind(): decode[AccessCreate], AccessRevoke{}.Kind(): decode[AccessRevoke],
		FeedSubscribe{}.Kind(): decode[FeedSubscribe], FeedUnsubscribe{}.Kind(): decode[FeedUnsubscribe],
		AgreementAccept{}.Kind(): decode[AgreementAccept], AgreementWithdraw{}.Kind(): decode[AgreementWithdraw],
		UpdateDeploy{}.Kind(): decode[UpdateDeploy], DeployEnd{}.Kind(): decode[DeployEnd],
		PackageCreate{}.Kind(): decode[PackageCreate], PackageDelete{}.Kind(): decode[PackageDelete],
		ChannelSet{}.Kind(): decode[ChannelSet], ChannelRemove{}.Kind(): decode[ChannelRemove], ChannelTest{}.Kind(): decode[ChannelTest],
		ContentVerify{}.Kind(): decode[ContentVerify],
		ViewShare{}.Kind():     decode[ViewShare], ViewRemove{}.Kind(): decode[ViewRemove],
		PasswordSet{}.Kind(): decode[PasswordSet], PasswordRemove{}.Kind(): decode[PasswordRemove],
		PasskeyAdd{}.Kind(): decode[PasskeyAdd], PasskeyRemove{}.Kind(): decode[PasskeyRemove],
		SessionEnd{}.Kind(): decode[SessionEnd],
		TaskSet{}.Kind():    decode[TaskSet], TaskRemove{}.Kind(): decode[TaskRemove], RolloutStep{}.Kind(): decode[RolloutStep],
	}
}

// Decode reads the entry's body into the type of its kind. An unknown kind or an unknown field is an
// error: a ledger that one cannot read whole must not be acted on.
func (e Entry) Decode() (Body, error) {
	dec, ok := decoders()[e.Kind]
	if !ok {
		return nil, fmt.Errorf("ledger entry %d has the unknown kind %q", e.Seq, e.Kind)
	}
	b, err := dec(e.Body)
	if err != nil {
		return nil, fmt.Errorf("ledger entry %d (%s): %w", e.Seq, e.Kind, err)
	}
	return b, nil
}

// Make builds the entry that records body. Bytes in by or body that are not UTF-8 become U+FFFD, so that
// the entry is what its encoding says.
func Make(seq int64, at time.Time, by string, body Body) (Entry, error) {
	raw, err := json.Marshal(body)
	if err != nil {
		return Entry{}, fmt.Errorf("encode ledger entry %s: %w", body.Kind(), err)
	}
	return Entry{Seq: seq, At: at.UTC().Truncate(time.Microsecond),
		By: strings.ToValidUTF8(by, "\uFFFD"), Kind: body.Kind(), Body: raw}, nil
}
