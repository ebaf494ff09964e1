package rollout_test

import (
	"errors"
	"flag"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"assent/catalog"
	"assent/fault"
	"assent/fleet"
	"assent/installation"
	"assent/rollout"
)

type fleetUpdate = catalog.UpdateID

// reference is what an onlooker knows who sees only transitions, reports and acts, never the state.
type reference struct {
	phases   map[string]rollout.Phase
	stopped  bool
	persons  map[string]bool          // rings that a person opened
	soaked   map[string]time.Duration // real time in which the server listened, since the ring soaks
	well     map[fleet.DeviceID]bool  // succeeded at some time
	last     time.Time                // the clock at the last Advance
	lastReal time.Time
	jumps    int // of the clock, forward
	gap      bool
	advances int
	kinds    map[string]int // what was really seen
}

func (r *reference) heard(m *machine) {
	if (m.row.state == installation.Installed || m.row.state == installation.RestartRequired) && m.row.ours {
		r.well[m.id] = true
	}
}

// follow takes note of transitions and refuses illegal ones.
func (s *sim) follow(ts []rollout.Transition, byPerson bool) {
	for _, t := range ts {
		if t.Ring == "" {
			s.ref.stopped = t.To == rollout.Halted
			continue
		}
		if from := s.phase(t.Ring); from != t.From {
			s.Fatalf("ring %s goes from %s to %s, but it was %s: a transition is missing", t.Ring, t.From, t.To, from)
		}
		if t.Reason.Code == "" || t.Reason.Text == "" || (t.By != "") != byPerson {
			s.Fatalf("a transition without its reason or its person: %+v", t)
		}
		if t.From == rollout.Halted && !byPerson && s.ref.stopped {
			s.Fatalf("ring %s left its halt by itself: %+v", t.Ring, t)
		}
		s.ref.kinds[string(t.From)+" to "+string(t.To)]++
		s.ref.phases[t.Ring] = t.To
		s.ref.stopped = s.ref.stopped || t.To == rollout.Halted
		if t.To == rollout.Soaking {
			s.ref.soaked[t.Ring] = 0
		}
	}
}

func (s *sim) phase(ring string) rollout.Phase {
	if p, ok := s.ref.phases[ring]; ok {
		return p
	}
	return rollout.Waiting
}

// begin takes a state that was made outside Advance.
func (s *sim) begin(state rollout.State) {
	if s.ref.phases == nil {
		s.ref = reference{phases: map[string]rollout.Phase{}, persons: map[string]bool{}, soaked: map[string]time.Duration{}, well: map[fleet.DeviceID]bool{}, last: s.wall(), lastReal: s.real, kinds: map[string]int{}}
	}
	s.state = state
	s.save()
	s.tick(0)
}

// save writes the state, and reads it back.
func (s *sim) save() {
	data, err := rollout.Encode(s.state)
	if err != nil {
		s.Fatalf("a state cannot be stored: %v", err)
	}
	again, err := rollout.Decode(data)
	if err != nil || !reflect.DeepEqual(s.state, again) {
		s.Fatalf("a state is not read back as it was: %v\n%s", err, cmp.Diff(s.state, again))
	}
	if s.saved != nil && s.lazy {
		before, err := rollout.Decode(s.saved)
		if err != nil {
			s.Fatal(err)
		}
		if !rollout.WorthSaving(before, s.state) {
			return
		}
	}
	s.saved = data
}

// tick lets time go on and the server look.
func (s *sim) tick(d time.Duration) {
	s.real = s.real.Add(d)
	if !s.up {
		return
	}
	before, outcomes := s.state, s.outcomes()
	image, _ := rollout.Encode(before)
	after, ts := rollout.Advance(before, s.rings, outcomes, s.wall())
	if still, _ := rollout.Encode(before); string(still) != string(image) {
		s.Fatalf("Advance changed the state it was given")
	}
	if !s.quiet || s.ref.advances%16 == 0 {
		s.checkSame(after, outcomes)
	}
	s.listen()
	s.checkMoves(before, after, ts)
	s.follow(ts, false)
	s.state = after
	s.ref.advances++
	s.save()
	s.checkState()
}

// listen adds up the real time in which the server listened.
func (s *sim) listen() {
	step := s.real.Sub(s.ref.lastReal)
	for ring := range s.ref.soaked {
		if s.phase(ring) == rollout.Soaking && step <= rollout.Gap && !s.ref.gap {
			s.ref.soaked[ring] += step
		}
	}
	s.ref.lastReal, s.ref.gap = s.real, false
}

// checkSame: the same again changes nothing, nor does another order, nor what is told twice.
func (s *sim) checkSame(after rollout.State, outcomes []rollout.Outcome) {
	shuffled := append(slices.Clone(outcomes), outcomes...)
	slices.Reverse(shuffled)
	for i := range outcomes {
		old := outcomes[i]
		old.Since, old.State = old.Since.Add(-time.Second), installation.Failed
		shuffled = append(shuffled, old)
	}
	again, ts := rollout.Advance(after, s.rings, shuffled, s.wall())
	if len(ts) > 0 || !reflect.DeepEqual(after, again) {
		s.Fatalf("the same outcomes at the same instant change the state: %v\n%s", ts, cmp.Diff(after, again))
	}
}

// checkMoves: whatever opens or passes does so by its rules, and never by a clock that jumped.
func (s *sim) checkMoves(before, after rollout.State, ts []rollout.Transition) {
	now := s.wall()
	backwards, gap := now.Before(s.ref.last), now.Sub(s.ref.last) > rollout.Gap
	s.ref.last = now
	if s.ref.stopped && len(ts) > 0 {
		s.Fatalf("a halted rollout moved: %+v", ts)
	}
	for _, t := range ts {
		onward := t.To == rollout.Running && t.From == rollout.Waiting || t.To == rollout.Passed || t.To == rollout.Skipped
		if onward && (backwards || gap) {
			s.Fatalf("ring %s went from %s to %s when the clock jumped", t.Ring, t.From, t.To)
		}
		i := slices.IndexFunc(s.rings, func(r rollout.Ring) bool { return r.Name == t.Ring })
		switch {
		case t.To == rollout.Running && t.From == rollout.Waiting:
			s.checkOpening(after, i)
		case t.To == rollout.Passed:
			s.checkPass(after, i)
		case t.To == rollout.Halted && after.Stop.Ring == t.Ring && !failing(s.rings[i], after.Rings[i].Progress):
			s.Fatalf("ring %s was halted for nothing: %+v", t.Ring, after.Rings[i])
		}
	}
	for i, r := range after.Rings {
		if after.Stop == nil && r.Phase.Open() && failing(s.rings[i], r.Progress) {
			s.Fatalf("ring %s fails and is not halted: %+v", r.Ring, r.Progress)
		}
	}
}

func (s *sim) checkOpening(after rollout.State, i int) {
	r := s.rings[i]
	for _, inner := range after.Rings[:i] {
		if inner.Phase != rollout.Passed && inner.Phase != rollout.Skipped && after.Stop == nil {
			s.Fatalf("ring %s opened, but ring %s before it is %s", r.Name, inner.Ring, inner.Phase)
		}
	}
	if after.Superseded != "" || s.wall().Before(r.NotBefore) || r.Person && !s.ref.persons[r.Name] {
		s.Fatalf("ring %s opened before its gate: %+v", r.Name, r)
	}
}

func (s *sim) checkPass(after rollout.State, i int) {
	r, rs := s.rings[i], after.Rings[i]
	p := rs.Progress
	takers := p.Succeeded + p.Failed + p.Silent + p.Pending + p.Blocked
	wanted := min(r.MinSample, takers)
	if r.MinSample == 0 {
		wanted = takers
	}
	if p.Succeeded == 0 || p.Counted() < wanted || float64(p.Succeeded)/float64(p.Counted()) < float64(r.SuccessRate)/1000-1e-9 {
		s.Fatalf("ring %s passed with %s", r.Name, p)
	}
	for d, m := range rs.Marks {
		if m.Standing == rollout.Succeeded && !s.ref.well[d] {
			s.Fatalf("%s counts as a success and never was one", d)
		}
	}
	if soaked := s.ref.soaked[r.Name] + time.Duration(s.ref.jumps)*rollout.Gap; soaked < time.Duration(r.Soak) {
		s.Fatalf("ring %s passed after %s of real soak, it asks for %s", r.Name, soaked, r.Soak)
	}
}

// failing is the rule of a failing ring, written a second time.
func failing(r rollout.Ring, p rollout.Progress) bool {
	bad, counted := p.Failed+p.Silent, p.Succeeded+p.Failed+p.Silent
	all := counted + p.Pending + p.Blocked
	wanted := min(r.MinSample, all)
	if r.MinSample == 0 {
		wanted = all
	}
	need := func(good, of int) bool { return good*1000 >= r.SuccessRate*of }
	switch {
	case bad == 0:
		return false
	case r.Failures > 0 && bad >= r.Failures:
		return true
	case r.FailureRate > 0 && 1000*bad > r.FailureRate*all:
		return true
	}
	return !need(p.Succeeded, counted) && counted >= wanted || !need(all-bad, all)
}

// checkOpens: the answer to plan is what an onlooker would give (I2: nothing starts after a halt).
func (s *sim) checkOpens(m *machine, open bool, why rollout.Reason) {
	ring := rollout.Place(s.rings, m.path)
	want := !s.ref.stopped && (len(s.rings) == 0 || ring != "" && s.phase(ring).Open())
	if open != want || why.Text == "" || why.Code == "" {
		s.Fatalf("%s in ring %q may install: %v (%s), the onlooker says %v", m.id, ring, open, why.Text, want)
	}
}

// checkState: every device counts once, no failure is lost, the rings stand as they may.
func (s *sim) checkState() {
	in, homes := 0, map[fleet.DeviceID]string{}
	for _, r := range s.state.Rings {
		p := r.Progress
		if sum := p.Succeeded + p.Failed + p.Silent + p.Pending + p.Blocked + p.NotApplicable + p.Elsewise + p.Gone + p.Forgiven; sum != p.Devices {
			s.Fatalf("ring %s: %d devices, but %d stand somewhere", r.Ring, p.Devices, sum)
		}
		in += p.Devices
		for d := range r.Marks {
			homes[d] = r.Ring
		}
		if r.Phase != s.phase(r.Ring) {
			s.Fatalf("ring %s is %s; by its transitions it is %s", r.Ring, r.Phase, s.phase(r.Ring))
		}
	}
	want := 0
	for _, m := range s.machines {
		place := rollout.Place(s.rings, m.path)
		if home := homes[m.id]; home != "" || place != "" {
			want++
		}
		rs, _ := s.state.Ring(homes[m.id])
		if here, ok := s.state.Ring(place); ok && m.row.state == installation.Failed && !here.Opened.IsZero() && rs.Marks[m.id].Standing != rollout.Failed && rs.Marks[m.id].Standing != rollout.Silent {
			s.Fatalf("%s failed in the open ring %s and counts as %q in %q", m.id, place, rs.Marks[m.id].Standing, homes[m.id])
		}
	}
	if in != want {
		s.Fatalf("%d devices are counted, there are %d", in, want)
	}
}

// checkAlways runs after every action: an install that runs was ordered when it began.
func (s *sim) checkAlways() {
	for _, m := range s.machines {
		if m.is.state == installation.Installing && m.attempts == 0 {
			s.Fatalf("%s installs what nobody ordered", m.id)
		}
	}
}

// act lets a person do something, legal or not.
func (s *sim) act(t *rapid.T) {
	verb := rapid.SampledFrom([]rollout.Verb{rollout.VerbHalt, rollout.VerbResume, rollout.VerbResume, rollout.VerbOpen, rollout.VerbOpen, rollout.VerbSkip, rollout.VerbRestart}).Draw(t, "verb")
	ring := "R" + strconv.Itoa(rapid.IntRange(0, 3).Draw(t, "ring"))
	s.do(verb, ring)
}

func (s *sim) do(verb rollout.Verb, ring string) error {
	var next rollout.State
	var ts []rollout.Transition
	var err error
	switch verb {
	case rollout.VerbHalt:
		next, ts, err = s.state.Halt("ann", "", s.wall())
	case rollout.VerbResume:
		next, ts, err = s.state.Resume("ann", "why", s.wall())
	case rollout.VerbOpen:
		next, ts, err = s.state.Open(ring, "ann", "why", s.wall())
	case rollout.VerbSkip:
		next, ts, err = s.state.Skip(ring, "ann", "why", s.wall())
	case rollout.VerbRestart:
		next, ts, err = s.state.Restart("ann", "why", s.wall())
	}
	var refusal *fault.Error
	if err != nil {
		if !errors.As(err, &refusal) || refusal.Message == "" || len(ts) > 0 || !reflect.DeepEqual(s.state, next) {
			s.Fatalf("%s of %s was refused badly: %v", verb, ring, err)
		}
		return err
	}
	if len(ts) == 0 {
		s.Fatalf("%s of %s says nothing", verb, ring)
	}
	if verb == rollout.VerbResume || verb == rollout.VerbRestart {
		s.ref.stopped = false
	}
	s.follow(ts, true)
	s.ref.stopped = next.Stop != nil
	if (verb == rollout.VerbHalt) != (next.Stop != nil) {
		s.Fatalf("after %s halted is %v", verb, next.Stop != nil)
	}
	if verb == rollout.VerbRestart {
		s.ref.persons = map[string]bool{}
	}
	s.ref.persons[ring] = s.ref.persons[ring] || verb == rollout.VerbOpen
	s.ref.kinds["act "+string(verb)]++
	s.state = next
	s.save()
	return nil
}

// settle stops all faults and lets time go on until nothing more can happen by itself (I9).
func (s *sim) settle() rollout.Code {
	if s.skew != 0 {
		s.skew, s.ref.gap = 0, true
		s.ref.jumps++
	}
	s.up, s.quiet = true, true
	bound := 24 + 200*(len(s.rings)+1) // steps of 15 minutes: 50 hours for each ring
	for range bound {
		s.round()
		s.tick(rollout.Gap)
		if s.state.Finished() || len(s.state.Rings) == 0 {
			return rollout.GatePassed
		}
		if s.state.Stop != nil {
			return s.state.Stop.Reason.Code
		}
		i := slices.IndexFunc(s.state.Rings, func(r rollout.RingState) bool { return r.Phase != rollout.Passed && r.Phase != rollout.Skipped })
		if code := s.state.Rings[i].Reason.Code; code.NeedsPerson() || code == rollout.Superseded {
			return code
		}
	}
	s.Fatalf("after %d quiet steps the rollout still waits for nobody: %+v", bound, s.state)
	return ""
}

// help is a person who answers whatever the rollout waits for, until it is through.
func (s *sim) help() {
	for range 40 * (len(s.rings) + 1) {
		code := s.settle()
		if code == rollout.GatePassed {
			return
		}
		ring := ""
		for _, r := range s.state.Rings {
			if ring == "" && r.Phase != rollout.Passed && r.Phase != rollout.Skipped {
				ring = r.Ring
			}
		}
		var err error
		switch {
		case s.state.Superseded != "":
			s.begin(s.state.Supersede(""))
		case s.state.Stop != nil:
			if err = s.do(rollout.VerbResume, ""); err == nil && ring != "" && s.phase(ring) == rollout.Running {
				err = s.do(rollout.VerbSkip, ring)
			}
		case code == rollout.AwaitsPerson:
			err = s.do(rollout.VerbOpen, ring)
		default:
			err = s.do(rollout.VerbSkip, ring)
		}
		if err != nil {
			s.Fatalf("the rollout waits for a person (%s) and refuses what would help: %v", code, err)
		}
	}
	s.Fatalf("the rollout is not through although a person helped at every step: %+v", s.state)
}

func TestT6_SimulatorOfFleetsFaultsAndClocks(t *testing.T) {
	for name, value := range map[string]string{"rapid.checks": fmt.Sprint(*runs), "rapid.steps": "60"} {
		f := flag.Lookup(name)
		was := f.Value.String()
		if err := f.Value.Set(value); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = f.Value.Set(was) }()
	}
	seen := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		s := newSim(t)
		t.Repeat(s.actions())
		seen["end "+string(s.settle())]++
		s.help()
		for k, n := range s.ref.kinds {
			seen[k] += n
		}
	})
	for _, k := range []string{"waiting to running", "running to soaking", "soaking to passed", "soaking to running", "running to passed", "running to halted", "soaking to halted",
		"passed to halted", "halted to running", "halted to waiting", "waiting to skipped", "running to skipped", "act halt", "act resume", "act open", "act skip", "act restart",
		"end passed", "end awaits_person", "end nothing_to_try", "end failure_limit", "end rate_missed", "end sample_blocked"} {
		if seen[k] == 0 && *runs >= 1000 {
			t.Errorf("%q never happened: the simulator does not reach it (%v)", k, seen)
		}
	}
	t.Logf("%v", seen)
}
