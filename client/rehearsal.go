package client

import (
	"context"
	"net/http"
	"strings"
	"time"

	"assent/catalog"
	"assent/fleet"
	"assent/installation"
)

// Rehearsed is what a device found beforehand about an update that its plan would install: it went through that with its own
// package manager and changed nothing.
type Rehearsed struct {
	At     time.Time          `json:"at"`
	Cause  installation.Cause `json:"cause,omitempty"`  // why it would not install; empty: it would
	Detail string             `json:"detail,omitempty"` // one sentence
	Needs  []string           `json:"needs,omitempty"`  // package URLs to approve
	Opens  time.Time          `json:"opens,omitzero"`   // when its window opens; absent: it is open, or nobody knows
	Ring   bool               `json:"ring,omitempty"`   // a ring of its task has to open first
	// Kept are configuration files that were changed on the device and would stay so; Unsure: it is not known yet whether the
	// update changes them too.
	Kept   []string `json:"kept,omitempty"`
	Unsure bool     `json:"unsure,omitempty"`
	Stale  bool     `json:"stale,omitempty"` // the device's plan or what is installed on it changed since
}

// Fails reports whether the update would not install.
func (r Rehearsed) Fails() bool { return r.Cause != "" }

// Sentence puts what was found into words.
func (r Rehearsed) Sentence() string {
	var out []string
	if r.Detail != "" {
		out = append(out, r.Detail)
	}
	if len(r.Kept) > 0 {
		may := "Keeps "
		if r.Unsure {
			may = "May keep "
		}
		out = append(out, may+strings.Join(r.Kept, ", ")+" as on the device.")
	}
	if len(r.Needs) > 0 {
		out = append(out, "Approve too: "+strings.Join(r.Needs, ", "))
	}
	return strings.Join(out, " ")
}

// RehearsalQuery narrows the list of rehearsals. The zero value lists what would fail.
type RehearsalQuery struct {
	Group  string
	Device string
	Update string             // id, package URL or name@version
	Cause  installation.Cause // any by default
	Only   RehearsalOnly
}

// RehearsalOnly says what of rehearsals is listed.
type RehearsalOnly string

// What is listed; empty: what would fail.
const (
	RehearsalKept RehearsalOnly = "kept" // configuration files would stay as they are on the device
	RehearsalAll  RehearsalOnly = "all"
)

// RehearsalOnlies lists the words.
func RehearsalOnlies() []RehearsalOnly { return []RehearsalOnly{RehearsalKept, RehearsalAll} }

// RehearsalRow is one update on one device.
type RehearsalRow struct {
	Device     fleet.DeviceID   `json:"device"`
	DeviceName string           `json:"device_name"`
	Group      string           `json:"group"` // name
	Update     catalog.UpdateID `json:"update"`
	Name       string           `json:"name"`
	Version    string           `json:"version"`
	Rehearsed
}

// RehearsalFigures sum up what is still to be installed and was rehearsed.
type RehearsalFigures struct {
	Updates  int `json:"updates"`  // would fail somewhere
	Devices  int `json:"devices"`  // on so many
	Failures int `json:"failures"` // pairs of these
	Kept     int `json:"kept"`     // pairs that would keep configuration files of the device
	// Rehearsed are the devices whose rehearsal is of their present plan and state, Stale those whose is older.
	Rehearsed int `json:"rehearsed"`
	Stale     int `json:"stale"`
}

// DeviceRehearsal is the last rehearsal of a device.
type DeviceRehearsal struct {
	At    time.Time `json:"at"`
	Pass  int       `json:"pass"`            // updates that would install
	Fail  int       `json:"fail"`            // and that would not
	Left  int       `json:"left,omitempty"`  // and that there was no time for
	Stale bool      `json:"stale,omitempty"` // the device's plan or what is installed on it changed since
}

// Rehearsals lists what devices found beforehand.
func (c *Client) Rehearsals(ctx context.Context, q RehearsalQuery, p Page) (List[RehearsalRow], error) {
	return get[List[RehearsalRow]](ctx, c, "/rehearsals", p.add(values("group", q.Group, "device", q.Device, "update", q.Update, "cause", string(q.Cause), "only", string(q.Only))))
}

// RehearseDevices asks devices to rehearse their plans now. Nothing is changed on them.
func (c *Client) RehearseDevices(ctx context.Context, r RefreshRequest) (Refreshed, error) {
	return send[Refreshed](ctx, c, http.MethodPost, "/devices/rehearse", r)
}
