package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"assent/agent/internal/identity"
	"assent/agent/internal/journal"
	"assent/agent/internal/statedir"
	"assent/catalog"
	"assent/fleet"
	"assent/installation"
	"assent/wire"
)

// Status is how the agent on this device is, read from its state without asking anybody.
type Status struct {
	Enrolled  bool                       `json:"enrolled"`
	Problem   string                     `json:"problem,omitempty"` // why the identity cannot be used
	Running   bool                       `json:"running"`
	Device    fleet.DeviceID             `json:"device,omitempty"`
	Server    string                     `json:"server,omitempty"`
	CertUntil time.Time                  `json:"certificate_until,omitzero"`
	Plan      *PlanStatus                `json:"plan,omitempty"`
	Progress  wire.Progress              `json:"progress"`
	Updates   []UpdateStatus             `json:"updates"`
	States    map[installation.State]int `json:"states"`
	Unsent    int                        `json:"unsent_reports"`
	Flight    string                     `json:"transaction,omitempty"` // the one in the air
	Rehearsal *wire.Rehearsal            `json:"rehearsal,omitempty"`   // the last one
}

// PlanStatus is the plan in force.
type PlanStatus struct {
	Digest   string          `json:"digest"`
	Counter  int64           `json:"counter"`
	Issued   time.Time       `json:"issued"`
	Expires  time.Time       `json:"expires"`
	Expiry   string          `json:"expiry"`
	Guard    fleet.GuardMode `json:"guard"`
	Installs int             `json:"installs"`
	Rollback int             `json:"rollbacks"`
	Removals int             `json:"removals"`
	Feeds    []string        `json:"feeds,omitempty"` // that the device is to follow
	Denied   int             `json:"denied"`
}

// UpdateStatus is where one update stands.
type UpdateStatus struct {
	Update catalog.UpdateID   `json:"update"`
	Name   string             `json:"name,omitempty"`
	State  installation.State `json:"state"`
	Cause  installation.Cause `json:"cause,omitempty"`
	Detail string             `json:"detail,omitempty"`
	Since  time.Time          `json:"since"`
	// Opens is when the window opens that it waits for; absent where it waits for none, or nobody knows when.
	Opens time.Time `json:"opens,omitzero"`
}

// ReadStatus collects the status. machineID is this machine's.
func ReadStatus(dir *statedir.Dir, machineID string, now time.Time) (Status, error) {
	s := Status{States: map[installation.State]int{}, Updates: []UpdateStatus{}}
	release, err := dir.Lock()
	switch {
	case errors.Is(err, statedir.ErrLocked):
		s.Running = true
	case err != nil:
		return s, err
	default:
		release()
	}
	id, err := identity.Load(dir)
	if errors.Is(err, identity.ErrNone) {
		return s, nil
	}
	if err == nil {
		err = id.CheckMachine(machineID)
	}
	if err != nil {
		s.Problem = err.Error()
	}
	_, s.CertUntil = id.Lifetime()
	s.Enrolled, s.Device, s.Server = true, id.Device, id.Server
	names := s.readPlan(dir, id, now)
	if r, err := readRehearsal(dir); err == nil && !r.Last.At.IsZero() {
		s.Rehearsal = &r.Last
	}
	if b, err := dir.Read(progressFile, 64<<10); err == nil {
		if err := json.Unmarshal(b, &s.Progress); err != nil {
			s.Progress.Error = "the saved progress cannot be read"
		}
	}
	return s, s.readJournal(dir, names)
}

// readPlan takes over what the plan says and returns the names of its updates.
func (s *Status) readPlan(dir *statedir.Dir, id identity.Identity, now time.Time) map[catalog.UpdateID]string {
	names := map[catalog.UpdateID]string{}
	body, plan, err := OpenPlan(dir, id)
	if err != nil {
		return names
	}
	s.Plan = &PlanStatus{Digest: body.Plan, Counter: body.Counter, Issued: body.Issued, Expires: body.Expires, Expiry: expiry(body, now), Guard: plan.Guard,
		Installs: len(plan.Install), Rollback: len(plan.Rollback), Removals: len(plan.Remove), Denied: len(plan.Deny)}
	for _, f := range plan.Feeds {
		s.Plan.Feeds = append(s.Plan.Feeds, f.ID)
	}
	for _, v := range plan.Verdicts {
		names[v.Update] = v.Release.Name + " " + v.Release.Version
	}
	for _, in := range plan.Install {
		names[in.Update] = in.Release.Name + " " + in.Release.Version
	}
	for _, rm := range plan.Remove {
		if names[rm.Update] == "" && len(rm.Items) > 0 {
			names[rm.Update] = rm.Items[0].Name + " " + rm.Items[0].Version
		}
	}
	return names
}

func (s *Status) readJournal(dir *statedir.Dir, names map[catalog.UpdateID]string) error {
	state, err := journal.Read(dir)
	if err != nil {
		return err
	}
	s.Unsent = len(state.Outbox)
	if state.Flight != nil {
		s.Flight = state.Flight.ID
	}
	for _, id := range slices.Sorted(maps.Keys(state.Updates)) {
		e := state.Updates[id]
		if e.State == "" {
			continue
		}
		s.States[e.State]++
		s.Updates = append(s.Updates, UpdateStatus{Update: id, Name: names[id], State: e.State, Cause: e.Cause, Detail: e.Detail, Since: e.Since, Opens: opens(e)})
	}
	return nil
}

// Print writes the status for a person.
func (s Status) Print(w io.Writer) {
	if !s.Enrolled {
		fmt.Fprintln(w, identity.ErrNone.Message)
		return
	}
	run := "not running"
	if s.Running {
		run = "running"
	}
	fmt.Fprintf(w, "device:   %s\nserver:   %s\nagent:    %s\ncertificate until %s\n", s.Device, s.Server, run, s.CertUntil.UTC().Format(time.RFC3339))
	if s.Problem != "" {
		fmt.Fprintf(w, "problem:  %s\n", s.Problem)
	}
	if p := s.Plan; p != nil {
		fmt.Fprintf(w, "plan:     %.12s, %s\n          %d to install, %d to roll back, %d to take off, %d declined, guard %s\n", p.Digest, p.Expiry, p.Installs, p.Rollback, p.Removals, p.Denied, p.Guard)
		if len(p.Feeds) > 0 {
			fmt.Fprintf(w, "feeds:    %s\n", strings.Join(p.Feeds, ", "))
		}
	} else {
		fmt.Fprintln(w, "plan:     none yet")
	}
	if s.Progress.Doing != "" && s.Running {
		fmt.Fprintf(w, "doing:    %s since %s\n", s.Progress.Doing, s.Progress.Since.UTC().Format(time.RFC3339))
	}
	if s.Progress.Error != "" {
		fmt.Fprintf(w, "error:    %s\n", s.Progress.Error)
	}
	if r := s.Rehearsal; r != nil {
		fmt.Fprintf(w, "rehearsed %s: %s\n", r.At.UTC().Format(time.RFC3339), tally(*r))
	}
	if s.Unsent > 0 {
		fmt.Fprintf(w, "unsent:   %d reports\n", s.Unsent)
	}
	for _, u := range s.Updates {
		name := u.Name
		if name == "" {
			name = string(u.Update)
		}
		fmt.Fprintf(w, "  %-18s %s", u.State, name)
		if u.Cause != "" {
			fmt.Fprintf(w, " (%s)", u.Cause)
		}
		if !u.Opens.IsZero() {
			fmt.Fprint(w, ": "+waitsUntil(u.Opens))
		}
		if u.Detail != "" {
			fmt.Fprintf(w, ": %s", u.Detail)
		}
		fmt.Fprintln(w)
	}
}

// opens is when the window of an update opens that waits for one.
func opens(e journal.Entry) time.Time {
	if e.State != installation.Blocked || e.Cause != installation.WindowClosed || !e.Try.Ready {
		return time.Time{}
	}
	return e.Try.Opens
}

// waitsUntil says when a window opens, by the clock of whoever reads it.
func waitsUntil(t time.Time) string {
	return "waits for its window, which opens " + t.Local().Format("Mon 2006-01-02 15:04 MST")
}
