package guard

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// The kinds of events, as wire.Report.Event spells them.
const (
	EventRefused  = "guard_refused"
	EventObserved = "observed_install" // observe mode: it would have been refused
)

// Event is what the guard leaves for the agent to report.
type Event struct {
	ID       string    `json:"id"`
	At       time.Time `json:"at"`
	Event    string    `json:"event"`
	Own      string    `json:"own,omitempty"` // Assent's own transaction, by id
	Command  string    `json:"command"`       // how the package manager was called
	Findings []Finding `json:"findings"`
	Text     string    `json:"text"` // what the person at the keyboard was told
}

// maxEvents is how many events wait for the agent at most; further ones are not written.
const maxEvents = 1000

// write leaves the event in dir. It is not synced: a refusal must not wait for a slow disk.
func (e Event) write(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("leave an event: %w", err)
	}
	names, err := os.ReadDir(dir)
	if err == nil && len(names) >= maxEvents {
		return fmt.Errorf("leave an event: %d are waiting already", len(names))
	}
	body, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("leave an event: %w", err)
	}
	tmp := filepath.Join(dir, "."+e.ID+".new")
	if err := os.WriteFile(tmp, body, 0o600); err != nil {
		return fmt.Errorf("leave an event: %w", err)
	}
	return os.Rename(tmp, filepath.Join(dir, e.ID+".json"))
}

func newEventID(at time.Time) string {
	return at.UTC().Format("20060102T150405.000000000Z") + "-" + strings.ToLower(rand.Text()[:8])
}

// Events lists the events that wait in dir, oldest first. Files that are no events are left out.
func Events(dir string) ([]Event, error) {
	names, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the guard's events: %w", err)
	}
	var out []Event
	for _, n := range names {
		id, ok := strings.CutSuffix(n.Name(), ".json")
		body, err := os.ReadFile(filepath.Join(dir, n.Name()))
		var e Event
		if !ok || err != nil || json.Unmarshal(body, &e) != nil || e.ID != id {
			continue
		}
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b Event) int { return strings.Compare(a.ID, b.ID) })
	return out, nil
}

// Forget removes an event that has been taken over.
func Forget(dir, id string) error {
	if !filepath.IsLocal(id) || strings.ContainsRune(id, '/') {
		return fmt.Errorf("forget event %q: not an id", id)
	}
	if err := os.Remove(filepath.Join(dir, id+".json")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget an event: %w", err)
	}
	return nil
}
