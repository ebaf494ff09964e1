package journal

import "time"

// Runs is what is remembered of the windows in which something was installed. It is replaced whole.
type Runs struct {
	// Marks has for each schedule the start of the latest window that was run or caught up; before any, since when the device
	// has it.
	Marks map[string]time.Time `json:"marks,omitempty"`
	Began map[string]Run       `json:"began,omitempty"` // by the terms that ask when a run began
	Took  map[string][]Took    `json:"took,omitempty"`  // the latest transactions, by the manager that made them
}

// Run is one run: what was installed in one window, or on one day where there are none.
type Run struct {
	Window time.Time `json:"window,omitzero"` // its start
	First  time.Time `json:"first"`           // its first install began
}

// Took is how long one transaction took.
type Took struct {
	Changes int     `json:"changes"` // of packages
	Seconds float64 `json:"seconds"`
}

// Runs returns what is remembered of windows. The caller must not change it.
func (j *Journal) Runs() Runs {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.state.Runs == nil {
		return Runs{}
	}
	return *j.state.Runs
}
