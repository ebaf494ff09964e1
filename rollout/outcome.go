package rollout

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"assent/fleet"
	"assent/installation"
)

// Probe is what the health probes of an update say on a device.
type Probe string

// The results. Anything else says nothing, as the zero value does.
const (
	ProbePassed Probe = "passed"
	ProbeFailed Probe = "failed"
)

// Outcome is where the update stands on a device, as the server knows it now.
type Outcome struct {
	Device   fleet.DeviceID
	Path     []fleet.GroupID // its group and the ancestors, nearest first
	Gone     bool            // retired or quarantined: it gets no plans
	State    installation.State
	Cause    installation.Cause
	Ours     bool  // Assent brought it there or took it off; false: by other means (V4)
	Probe    Probe // of this install
	Since    time.Time
	LastSeen time.Time
}

// Standing is how a device counts in its ring.
type Standing string

// The standings. Only the first three are counted.
const (
	Succeeded     Standing = "succeeded"
	Failed        Standing = "failed"
	Silent        Standing = "silent"
	Pending       Standing = "pending"
	Blocked       Standing = "blocked"
	NotApplicable Standing = "not_applicable"
	Elsewise      Standing = "by_other_means"
	Gone          Standing = "gone"
	Forgiven      Standing = "forgiven"
)

// begun are the states in which a device has started on the update: from then on it is counted where it is.
var begun = []installation.State{installation.Assigned, installation.Downloading, installation.Downloaded, installation.Installing, installation.RestartRequired,
	installation.ResultUnknown, installation.Installed, installation.Failed, installation.Removing, installation.Removed, installation.RemoveFailed}

// working are the states in which a device works by itself, so that outliving the state's deadline (V1) is a failure. In the others it may lawfully wait.
var working = []installation.State{installation.Downloading, installation.Installing, installation.ResultUnknown}

// watch is what a ring needs to know of time to judge a device.
type watch struct {
	ring      Ring
	attentive bool      // silence counts now
	opened    time.Time // since when the ring is open
	listening time.Time // since when the server listens without a gap
	now       time.Time
}

// patience is how long a device that is heard of may be about to begin before its ring says so; V1's own deadline, where it is longer.
const patience = 24 * time.Hour

// lasts is how long it is since the latest of the instants that is not in the future: what a jumping clock left behind does not count.
func (w watch) lasts(instants ...time.Time) time.Duration {
	var latest time.Time
	for _, t := range append(instants, w.opened, w.listening) {
		if !t.After(w.now) && t.After(latest) {
			latest = t
		}
	}
	return w.now.Sub(latest)
}

func (w watch) silent(o Outcome) bool { return w.attentive && w.lasts(o.LastSeen) > w.ring.silence() }

// stuck reports whether the device is at it for longer than that may last: work, a probe that never answers, a restart that counts and never comes.
func (w watch) stuck(o Outcome) bool {
	limit := o.State.Deadline()
	switch {
	case o.State == installation.Installed, o.State == installation.RestartRequired && !w.ring.Restarted:
		limit = w.ring.silence()
	case o.State != installation.RestartRequired && !slices.Contains(working, o.State):
		return false
	}
	return w.attentive && w.lasts(o.Since) > limit
}

// overdue reports whether a pending device should have begun by now. It is no failure, but people should know.
func (w watch) overdue(o Outcome) bool {
	if w.opened.IsZero() || o.State == installation.Blocked || slices.Contains(working, o.State) {
		return false
	}
	return w.lasts(o.Since) > max(o.State.Deadline(), patience)
}

// stands judges one outcome by itself.
func (w watch) stands(o Outcome) Standing {
	s := w.reported(o)
	switch {
	case o.Gone && s != Succeeded && s != Failed:
		return Gone
	case o.Gone:
		return s
	case s == Pending && w.stuck(o):
		return Failed
	case (s == Pending || s == Succeeded) && w.silent(o):
		return Silent
	}
	return s
}

// reported is what the installation state says, time left aside. A state that is not one of V1 is pending: unknown holds.
func (w watch) reported(o Outcome) Standing {
	switch o.State {
	case installation.Failed, installation.RemoveFailed:
		return Failed
	case installation.Removing, installation.Removed:
		if o.Ours {
			return Failed // it was taken back
		}
		return Elsewise
	case installation.Blocked:
		return blocked(o.Cause)
	case installation.NotApplicable:
		return NotApplicable
	case installation.Installed, installation.RestartRequired:
		return w.installed(o)
	}
	return Pending
}

// blocked tells blocks by their cause: what is a failure, what ends by itself, and what does not.
func blocked(c installation.Cause) Standing {
	switch c {
	case installation.ProbeFailed, installation.InstallFailed:
		return Failed
	case installation.RingNotOpen, installation.WindowClosed, installation.TooManyAtOnce, installation.ManagerBusy:
		return Pending
	}
	return Blocked
}

func (w watch) installed(o Outcome) Standing {
	switch {
	case !o.Ours:
		return Elsewise
	case o.Probe == ProbeFailed:
		return Failed
	case w.ring.Probes && o.Probe != ProbePassed, w.ring.Restarted && o.State == installation.RestartRequired:
		return Pending
	}
	return Succeeded
}

// count judges an outcome in the light of what was counted of the device before. The mark is to be kept if keep is true.
func (w watch) count(before Mark, known bool, o Outcome) (m Mark, keep bool, s Standing) {
	s = w.stands(o)
	switch {
	case known && before.Standing == Failed && !forgets(before, s, o):
		return before, true, before.shown()
	case known && before.Standing == Silent && s != Failed && instant(o.LastSeen).Equal(before.Since):
		return before, true, before.shown() // not a word since
	case known && before.Standing == Succeeded && s != Failed && s != Silent:
		return before, true, Succeeded
	}
	m = Mark{Standing: s}
	switch s {
	case Failed:
		m.Since = instant(o.Since)
	case Silent:
		m.Since = instant(o.LastSeen)
	case Succeeded:
	default:
		m.Standing = Pending
		return m, slices.Contains(begun, o.State) && s == Pending, s
	}
	return m, true, s
}

// forgets reports whether the outcome replaces a failure: another failure does, and a success that is not older. Taking a failed install back is no other failure.
func forgets(failure Mark, s Standing, o Outcome) bool {
	since := instant(o.Since)
	if slices.Contains([]installation.State{installation.Removing, installation.Removed, installation.RemoveFailed}, o.State) {
		return false
	}
	return s == Failed && !since.Equal(failure.Since) || s == Succeeded && !since.Before(failure.Since)
}

// shown is how a mark counts.
func (m Mark) shown() Standing {
	if m.Forgiven {
		return Forgiven
	}
	return m.Standing
}

// single leaves one outcome of each device: the latest, of equally late ones the worst. The order of the input does not matter.
func single(outcomes []Outcome) []Outcome {
	sorted := slices.SortedFunc(slices.Values(outcomes), func(a, b Outcome) int {
		return cmp.Or(strings.Compare(string(a.Device), string(b.Device)), b.Since.Compare(a.Since), b.LastSeen.Compare(a.LastSeen),
			cmp.Compare(badness(b), badness(a)), strings.Compare(string(a.State), string(b.State)), strings.Compare(string(a.Cause), string(b.Cause)),
			strings.Compare(string(a.Probe), string(b.Probe)), compareBool(a.Ours, b.Ours), compareBool(b.Gone, a.Gone), slices.Compare(a.Path, b.Path))
	})
	return slices.CompactFunc(sorted, func(a, b Outcome) bool { return a.Device == b.Device })
}

// badness ranks outcomes of the same instant.
func badness(o Outcome) int {
	switch (watch{}).reported(o) {
	case Failed:
		return 2
	case Succeeded:
		return 0
	}
	return 1
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}
