package wire

import (
	"time"

	"assent/catalog"
	"assent/installation"
)

// PathRehearsal is where a device tells what it found when it rehearsed its plan: POST Rehearsal, no body in reply. A server
// before capability 6 has no such path; an agent that is told so leaves it.
const PathRehearsal = "/agent/v1/rehearsal"

// Bounds on a rehearsal; what is beyond is left out, and Rehearsal.Left counts it.
const (
	MaxRehearsed = 2000
	MaxKept      = 50 // configuration files of one update
)

// Rehearsal is what a device found when it went through the next installs of its plan with its real package manager without
// changing anything. It says what would happen if nothing changes until then, and promises nothing. It replaces the one before.
type Rehearsal struct {
	At        time.Time `json:"at"`        // when it ended
	Took      int       `json:"took"`      // milliseconds
	Plan      string    `json:"plan"`      // digest of the plan that was rehearsed
	Inventory string    `json:"inventory"` // digest of the inventory at that time
	// Updates are all that were rehearsed, sorted by Update. One whose terms only download it is not among them.
	Updates []Rehearsed `json:"updates,omitempty"`
	Left    int         `json:"left,omitempty"` // updates that there was no time or room for
}

// Rehearsed is what would become of one update.
type Rehearsed struct {
	Update catalog.UpdateID   `json:"update"`
	Cause  installation.Cause `json:"cause,omitempty"`  // empty: it would install
	Detail string             `json:"detail,omitempty"` // one sentence for people
	Needs  []string           `json:"needs,omitempty"`  // package URLs: the smallest set to approve (V2)
	// Opens is when its window opens next; zero: it is open now, or nobody knows.
	Opens time.Time `json:"opens,omitzero"`
	// Ring says that a ring of its task has to open first, or that it waits for its turn among those that install at the same time.
	Ring bool `json:"ring,omitempty"`
	// Kept are configuration files that were changed on the device and that the update brings too: the device's stay, and the
	// new ones lie beside them.
	Kept []string `json:"kept,omitempty"`
	// Unsure are those of Kept of which it is not known whether the update changes them, as its file is not here yet.
	Unsure bool `json:"unsure,omitempty"`
}

// Fails reports whether the update would not install.
func (r Rehearsed) Fails() bool { return r.Cause != "" }
