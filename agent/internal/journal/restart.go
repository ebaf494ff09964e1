package journal

import (
	"time"

	"assent/wire"
)

// Restart is what is remembered of restarts of the device: what is due, who was asked, and what was begun. It is written
// before each step, and so bounds them.
type Restart struct {
	Due      time.Time `json:"due,omitzero"`     // since when one is due
	Wanted   string    `json:"wanted,omitempty"` // the boot in which something was installed that is followed by a restart
	Asked    time.Time `json:"asked,omitzero"`   // the first question
	Last     time.Time `json:"last,omitzero"`    // the latest one
	Deferred int       `json:"deferred,omitempty"`
	Until    time.Time `json:"until,omitzero"`   // put off until then
	Warned   time.Time `json:"warned,omitzero"`  // those who are signed in were told that it comes
	Ordered  time.Time `json:"ordered,omitzero"` // somebody at the device asked for it
	// Begun are the latest restarts that were begun, Tried what they were to end and did not.
	Begun []time.Time          `json:"begun,omitempty"`
	Tried []wire.RestartReason `json:"tried,omitempty"`
	Step  *RestartStep         `json:"step,omitempty"`
	// Serviced are the units that were restarted by themselves since the last installation: none is twice.
	Serviced []string `json:"serviced,omitempty"`
}

// RestartStep is a restart that was begun. It stays until what it was for is true or another one follows.
type RestartStep struct {
	At      time.Time            `json:"at"`
	Boot    string               `json:"boot"`             // the boot that it was to end
	Kernel  string               `json:"kernel,omitempty"` // the release that was to run next; empty: any
	Units   []string             `json:"units,omitempty"`  // that ran before and start at every boot
	Reasons []wire.RestartReason `json:"reasons,omitempty"`
	Back    time.Time            `json:"back,omitzero"` // the device was back
	Problem string               `json:"problem,omitempty"`
}

// Restart returns what is remembered of restarts.
func (j *Journal) Restart() Restart {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.state.Restart == nil {
		return Restart{}
	}
	return *j.state.Restart
}
