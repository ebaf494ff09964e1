package wire

import (
	"encoding/json"
	"time"

	"assent/catalog"
)

// PlanTerms is when and how carefully the installs that name it are done: what the tasks that admit them ask for, joined
// (T3, T4). A plan without any is in format 1, which every agent reads; one with some is in format 2, so that an agent that
// cannot keep to them refuses the plan and stays with the one it has.
type PlanTerms struct {
	Task string `json:"task,omitempty"` // the name of the one that leads, for people
	// Schedules are each a window.Schedule. An install begins only while all of them are open, in the device's own time zone.
	// One that the agent cannot read never opens.
	Schedules    []json.RawMessage `json:"schedules,omitempty"`
	DownloadOnly bool              `json:"download_only,omitempty"` // nothing is installed
	AtShutdown   bool              `json:"at_shutdown,omitempty"`   // installed when the device shuts down, and not before
	StopAfter    int               `json:"stop_after,omitempty"`    // seconds after the first install of a run from which nothing new begins; 0: no limit
	Retries      PlanRetries       `json:"retries,omitzero"`
	Probes       []catalog.Probe   `json:"probes,omitempty"`    // must pass after an install, besides the publisher's own; the path of a file probe is absolute
	Removable    []string          `json:"removable,omitempty"` // packages that may be removed along with the install, by name; nothing else ever is. Agents before capability 5 remove nothing
	Restore      bool              `json:"restore,omitempty"`   // an install whose probes fail is taken back, where the version before can be had
}

// PlanRetries says how often a failed install is tried again, and when. The zero value leaves it to the agent; what of the
// pauses is not said, with Attempts, is as Pauses says.
type PlanRetries struct {
	Attempts int `json:"attempts,omitempty"` // after the first failure
	First    int `json:"first,omitempty"`    // seconds before the first retry; doubled each time
	Longest  int `json:"longest,omitempty"`  // seconds; no pause is longer
}

// The pauses of retries that do not set them.
const (
	defaultFirst   = 5 * time.Minute
	defaultLongest = 24 * time.Hour
)

// Pauses are the pause before the first retry, which doubles each time, and the longest one.
func (r PlanRetries) Pauses() (first, longest time.Duration) {
	first, longest = time.Duration(r.First)*time.Second, time.Duration(r.Longest)*time.Second
	if first <= 0 {
		first = defaultFirst
	}
	if longest <= 0 {
		longest = max(defaultLongest, first)
	}
	return first, longest
}

// Delay is the pause before the retry with this number, 1 being the first. ok is false when there are no more. It must only be
// asked where Attempts is set.
func (r PlanRetries) Delay(retry int) (pause time.Duration, ok bool) {
	if retry < 1 || retry > r.Attempts {
		return 0, false
	}
	pause, longest := r.Pauses()
	for ; retry > 1 && pause < longest; retry-- {
		pause *= 2
	}
	return min(pause, longest), true
}
