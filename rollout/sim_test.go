package rollout_test

import (
	"flag"
	"fmt"
	"slices"
	"strconv"
	"time"

	"pgregory.net/rapid"

	"assent/fleet"
	"assent/installation"
	"assent/rollout"
)

// runs is how many random fleets the simulator plays: go test ./rollout -run Simulator -sim.runs 100000
var runs = flag.Int("sim.runs", 1000, "random fleets that the simulator of rollouts plays")

// fate is what becomes of an update on a device.
type fate int

const (
	well fate = iota
	fails
	failsProbe
	hangs     // while it installs
	diesAfter // installed and reported, never heard of again
	lacksProbe
)

// machine is a simulated device: what it is, and what the server knows of it.
type machine struct {
	id       fleet.DeviceID
	path     []fleet.GroupID
	fate     fate
	reached  bool // the network between it and the server works
	gone     bool
	ordered  bool // its last plan installs the update
	attempts int
	is       fact // on the device
	row      fact // on the server
	seen     time.Time
	reports  []fact // sent, perhaps not delivered, perhaps twice
}

// fact is what a device says of the update.
type fact struct {
	seq   int
	state installation.State
	cause installation.Cause
	ours  bool
	probe rollout.Probe
	since time.Time
}

// sim is a server with one rollout and its fleet. Real time only goes on; the server's clock is real time with an offset that jumps.
type sim struct {
	*rapid.T
	rings    []rollout.Ring
	machines []*machine
	real     time.Time
	skew     time.Duration
	up       bool
	quiet    bool // no faults any more
	lazy     bool // the server saves only what is worth it
	state    rollout.State
	saved    []byte
	ref      reference
}

var simGroups = []fleet.GroupID{"g0", "g1", "g2", "g3"}

func newSim(t *rapid.T) *sim {
	s := &sim{T: t, real: start, up: true, lazy: rapid.Bool().Draw(t, "lazy")}
	for i := range rapid.IntRange(0, 4).Draw(t, "rings") {
		s.rings = append(s.rings, drawRing(t, i))
	}
	for i := range rapid.IntRange(0, 14).Draw(t, "devices") {
		m := &machine{id: fleet.DeviceID("d" + strconv.Itoa(i)), reached: true, seen: s.wall(),
			fate: rapid.SampledFrom([]fate{well, well, well, well, well, well, fails, failsProbe, hangs, diesAfter, lacksProbe}).Draw(t, "fate")}
		m.path = s.drawPath()
		m.is = fact{state: rapid.SampledFrom([]installation.State{installation.Applicable, installation.Applicable, installation.Applicable, installation.Unknown,
			installation.NotApplicable}).Draw(t, "state"), since: s.wall()}
		m.row = m.is
		s.machines = append(s.machines, m)
	}
	s.begin(rollout.Start("patch", "u123", s.rings, s.wall()))
	return s
}

func (s *sim) drawPath() []fleet.GroupID {
	g := rapid.SampledFrom(append(slices.Clone(simGroups), "elsewhere")).Draw(s.T, "group")
	return []fleet.GroupID{g, fleet.Root}
}

func drawRing(t *rapid.T, i int) rollout.Ring {
	hours := func(label string, most int) rollout.Span {
		return rollout.Span(time.Duration(rapid.IntRange(0, 4*most).Draw(t, label)) * 15 * time.Minute)
	}
	r := rollout.Ring{Name: "R" + strconv.Itoa(i), Groups: []fleet.GroupID{simGroups[i]}, SuccessRate: rapid.SampledFrom([]int{1, 300, 500, 667, 900, 1000}).Draw(t, "rate"),
		MinSample: rapid.IntRange(0, 5).Draw(t, "sample"), Soak: hours("soak", 4), Failures: rapid.IntRange(0, 3).Draw(t, "failures"),
		FailureRate: rapid.SampledFrom([]int{0, 0, 200, 500}).Draw(t, "failurerate"), Probes: rapid.Bool().Draw(t, "probes"), Restarted: rapid.Bool().Draw(t, "restarted"),
		Person: rapid.IntRange(0, 4).Draw(t, "person") == 0, Silence: 15*rollout.Span(time.Minute) + hours("silence", 6)}
	if rapid.IntRange(0, 3).Draw(t, "timed") == 0 {
		r.NotBefore = start.Add(time.Duration(i+1) * 3 * time.Hour)
	}
	if rapid.Bool().Draw(t, "skips") {
		r.IfEmpty = rollout.EmptySkip
	}
	return r
}

// wall is what the server's clock says.
func (s *sim) wall() time.Time { return s.real.Add(s.skew) }

func (s *sim) any(label string) *machine {
	if len(s.machines) == 0 {
		s.Skip("no devices")
	}
	return rapid.SampledFrom(s.machines).Draw(s.T, label)
}

// says gives a device a new fact, which it will report.
func (s *sim) says(m *machine, f fact) {
	f.seq, f.since = m.is.seq+1, s.wall()
	m.is = f
	m.reports = append(m.reports, f)
}

// checkIn lets a device ask for its plan: it learns what Opens says now.
func (s *sim) checkIn(m *machine) {
	if !m.reached || !s.up || m.gone {
		return
	}
	m.seen = s.wall()
	s.deliver(m, len(m.reports))
	open, why := rollout.Opens(s.state, rollout.Place(s.rings, m.path))
	s.checkOpens(m, open, why)
	idle := slices.Contains([]installation.State{installation.Unknown, installation.Applicable, installation.Assigned, installation.Blocked, installation.Failed, installation.Removed}, m.is.state)
	switch {
	case !idle || (m.is.state == installation.Failed || m.is.state == installation.Removed) && m.attempts >= 3 || m.is.cause == installation.HeldPackage:
		m.ordered = m.ordered && open
	case open && m.is.state != installation.Assigned:
		m.ordered = true
		s.says(m, fact{state: installation.Assigned})
	case !open && m.is.state != installation.Failed && m.is.state != installation.Removed:
		m.ordered = false
		if m.is.state != installation.Blocked {
			s.says(m, fact{state: installation.Blocked, cause: installation.RingNotOpen})
		}
	default:
		m.ordered = open
	}
	s.deliver(m, len(m.reports))
}

// work lets a device go one step on by its last plan, whether or not the server can be reached (V5).
func (s *sim) work(m *machine) {
	switch {
	case m.gone:
	case m.is.state == installation.Assigned && m.ordered:
		s.says(m, fact{state: installation.Downloading})
	case m.is.state == installation.Downloading && m.ordered:
		m.attempts++
		s.says(m, fact{state: installation.Installing})
	case m.is.state == installation.Downloading:
		s.says(m, fact{state: installation.Blocked, cause: installation.RingNotOpen}) // withdrawn in time
	case m.is.state == installation.Installing:
		s.finish(m)
	case m.is.state == installation.RestartRequired:
		f := m.is
		f.state = installation.Installed
		s.says(m, f)
	case m.is.state == installation.Removing:
		s.says(m, fact{state: installation.Removed, ours: true})
	}
}

// finish ends an install as its fate has it: what runs is never killed, not by a halt either (C7).
func (s *sim) finish(m *machine) {
	done := fact{state: installation.Installed, ours: true, probe: rollout.ProbePassed}
	switch m.fate {
	case hangs:
		return
	case fails:
		done = fact{state: installation.Failed, ours: true}
	case failsProbe:
		done.state, done.probe = installation.Removing, rollout.ProbeFailed
	case lacksProbe:
		done.probe = ""
	case diesAfter:
		s.says(m, done)
		s.deliver(m, len(m.reports))
		m.reached = false
		return
	case well:
		if len(m.id)%2 == 0 {
			done.state = installation.RestartRequired
		}
	}
	s.says(m, done)
}

// deliver brings the first n reports to the server, which applies each once and none after a later one.
func (s *sim) deliver(m *machine, n int) {
	if !m.reached || !s.up {
		return
	}
	for _, f := range m.reports[:n] {
		if f.seq > m.row.seq {
			m.row, m.seen = f, s.wall()
			s.ref.heard(m)
		}
	}
	m.reports = m.reports[n:]
}

// outcomes is what the server tells Advance.
func (s *sim) outcomes() []rollout.Outcome {
	var out []rollout.Outcome
	for _, m := range s.machines {
		out = append(out, rollout.Outcome{Device: m.id, Path: m.path, Gone: m.gone, State: m.row.state, Cause: m.row.cause, Ours: m.row.ours, Probe: m.row.probe, Since: m.row.since, LastSeen: m.seen})
	}
	return out
}

// actions is everything that may happen.
func (s *sim) actions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"": func(*rapid.T) { s.checkAlways() },
		"time goes on": func(t *rapid.T) {
			s.tick(time.Duration(rapid.IntRange(1, 15).Draw(t, "minutes")) * time.Minute)
		},
		"an hour goes by": func(t *rapid.T) {
			for range 5 {
				s.round()
				s.tick(12 * time.Minute)
			}
		},
		"check in":    func(t *rapid.T) { s.checkIn(s.any("device")) },
		"work":        func(t *rapid.T) { s.work(s.any("device")) },
		"all at once": func(t *rapid.T) { s.round() },
		"report": func(t *rapid.T) {
			if m := s.any("device"); len(m.reports) > 0 {
				m.reports = rapid.Permutation(m.reports).Draw(t, "order")
				m.reports = append(m.reports, m.reports[0]) // and one twice
				s.deliver(m, rapid.IntRange(0, len(m.reports)).Draw(t, "reports"))
			}
		},
		"network": func(t *rapid.T) { m := s.any("device"); m.reached = !m.reached },
		"move":    func(t *rapid.T) { s.any("device").path = s.drawPath() },
		"retire":  func(t *rapid.T) { s.any("device").gone = true },
		"by hand": func(t *rapid.T) { s.says(s.any("device"), fact{state: installation.Installed}) },
		"held": func(t *rapid.T) {
			s.says(s.any("device"), fact{state: installation.Blocked, cause: installation.HeldPackage})
		},
		"clock":   s.jump,
		"restart": func(*rapid.T) { s.crash() },
		"away":    s.away,
		"an act":  s.act,
		"supersede": func(t *rapid.T) {
			s.begin(s.state.Supersede(rapid.SampledFrom([]fleetUpdate{"", "", "u456"}).Draw(t, "by")))
		},
		"other rings": s.reconfigure,
	}
}

// round lets every device check in, work and report.
func (s *sim) round() {
	for _, m := range s.machines {
		s.checkIn(m)
		s.work(m)
		s.deliver(m, len(m.reports))
	}
}

func (s *sim) jump(t *rapid.T) {
	by := rapid.SampledFrom([]time.Duration{-time.Minute, -time.Hour, time.Hour, -24 * time.Hour, 24 * time.Hour, 5 * 365 * 24 * time.Hour, -5 * 365 * 24 * time.Hour}).Draw(t, "by")
	s.skew += by
	if by > 0 {
		s.ref.jumps++
	}
	s.ref.gap = true
	s.tick(0)
}

// away is a server that is down for a while.
func (s *sim) away(t *rapid.T) {
	s.up = false
	for range rapid.IntRange(1, 30).Draw(t, "hours") {
		s.real = s.real.Add(time.Hour)
		s.round()
	}
	s.up = true
	s.crash()
	s.tick(0)
}

// crash loses what was not saved.
func (s *sim) crash() {
	state, err := rollout.Decode(s.saved)
	if err != nil {
		s.Fatalf("a saved state cannot be read: %v\n%s", err, s.saved)
	}
	s.state = state
	s.ref.last = state.Clock // of a clock that went on since, a new process knows nothing
}

func (s *sim) reconfigure(t *rapid.T) {
	if len(s.rings) == 0 {
		t.Skip("no rings")
	}
	i := rapid.IntRange(0, len(s.rings)-1).Draw(t, "ring")
	rings := slices.Clone(s.rings)
	if rapid.Bool().Draw(t, "away") {
		rings = slices.Delete(rings, i, i+1)
	} else {
		rings[0], rings[i] = rings[i], rings[0]
		rings[i].Name = fmt.Sprintf("N%d", s.ref.advances)
	}
	if len(rings) == 0 {
		t.Skip("the last ring stays")
	}
	s.rings = rings
	s.tick(0)
}
