package rollout

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"assent/fleet"
)

// Advance gives the state that follows from the outcomes of all devices of the task at the instant now, and the changes of phase on the way to it.
//
// It is deterministic and total: the order of the outcomes does not matter, of several of one device the latest counts (of equally late ones the worst), and no
// input makes it fail. The same outcomes at the same instant again change nothing. Rings that the task has gained wait; the figures of rings that it has lost are
// gone; a ring before which another was put waits for that one.
func Advance(s State, rings []Ring, outcomes []Outcome, now time.Time) (State, []Transition) {
	a := &advance{st: s.clone(), rings: distinct(rings), outcomes: single(outcomes), now: instant(now)}
	if a.st.Started.IsZero() {
		return s, nil // not made by Start: there is nothing that could advance
	}
	a.listen()
	a.arrange()
	a.tally()
	a.fail()
	if a.st.Stop == nil {
		a.walk()
	} else {
		a.standStill()
	}
	return a.st, a.transitions
}

// advance is the working state of one Advance.
type advance struct {
	st          State
	rings       []Ring // as st.Rings, one for one, after arrange
	outcomes    []Outcome
	now         time.Time
	credit      time.Duration // of soak
	settled     bool          // the server has listened long enough for anything to open
	transitions []Transition
}

// listen settles what the time since the last call is worth.
func (a *advance) listen() {
	heard := a.st.settledAt(a.st.Clock)
	step := a.now.Sub(a.st.Clock)
	a.st.Clock = a.now
	if step < 0 || step > Gap {
		a.st.Listening = a.now
	} else if heard {
		a.credit = step
	}
	a.settled = a.st.settledAt(a.now)
}

// settledAt reports whether at t the server had listened for Gap without a gap.
func (s State) settledAt(t time.Time) bool {
	return s.Listening.IsZero() || !t.Before(s.Listening.Add(Gap))
}

// arrange brings the ring states into the order of the task's rings.
func (a *advance) arrange() {
	old := a.st
	a.st.Rings = make([]RingState, len(a.rings))
	closed := ""
	for i, r := range a.rings {
		rs, known := old.Ring(r.Name)
		if !known {
			rs = fresh(r.Name, a.now)
		}
		a.st.Rings[i] = rs
		if closed != "" && rs.Phase.Open() && a.st.Stop == nil {
			a.set(i, Waiting, Reason{InnerRing, fmt.Sprintf("It waits for ring %q, which was put before it.", closed)})
		}
		if closed == "" && !rs.Phase.done() {
			closed = r.Name
		}
	}
}

// set changes the phase of a ring and says so; where the phase stays only the reason is refreshed.
func (a *advance) set(i int, to Phase, why Reason) {
	if t, changed := a.st.Rings[i].become(to, why, "", a.now); changed {
		t.Task, t.Update = a.st.Task, a.st.Update
		a.transitions = append(a.transitions, t)
	}
}

// become is the one place where a ring changes its phase.
func (r *RingState) become(to Phase, why Reason, by string, now time.Time) (Transition, bool) {
	from := r.Phase
	r.Phase, r.Reason = to, why
	if from == to {
		return Transition{}, false
	}
	r.Since, r.Soaked = now, 0
	switch {
	case to == Waiting:
		r.Opened = time.Time{}
	case to != Halted && !from.Open():
		r.Opened = now
	}
	return Transition{Ring: r.Ring, From: from, To: to, At: now, By: by, Reason: why}, true
}

// watch is how ring i looks at devices now.
func (a *advance) watch(i int) watch {
	rs := a.st.Rings[i]
	return watch{ring: a.rings[i], attentive: rs.Phase == Running || rs.Phase == Soaking, opened: rs.Opened, listening: a.st.Listening, now: a.now}
}

// tally counts every device in exactly one ring: where it was counted first, else where it is.
func (a *advance) tally() {
	homes := a.homes()
	counts := make([]Progress, len(a.rings))
	marks := make([]map[fleet.DeviceID]Mark, len(a.rings))
	for i := range marks {
		marks[i] = map[fleet.DeviceID]Mark{}
	}
	for _, o := range a.outcomes {
		i, m, keep, s := a.look(homes, o)
		delete(homes, o.Device)
		if i < 0 {
			continue
		}
		counts[i].add(s)
		if s == Pending && a.watch(i).overdue(o) {
			counts[i].Overdue++
		}
		if keep {
			marks[i][o.Device] = m
		}
	}
	for d, i := range homes { // counted before, and not spoken of now
		if m := a.st.Rings[i].Marks[d]; m.Standing != Pending {
			counts[i].add(m.shown())
			marks[i][d] = m
		}
	}
	for i, r := range a.rings {
		counts[i].Sample = counts[i].sample(r)
		a.st.Rings[i].Progress, a.st.Rings[i].Marks = counts[i], marks[i]
		if len(marks[i]) == 0 {
			a.st.Rings[i].Marks = nil
		}
	}
}

// homes says for every device that is counted somewhere in which ring; in the first, should it ever be in two.
func (a *advance) homes() map[fleet.DeviceID]int {
	homes := map[fleet.DeviceID]int{}
	for i := range slices.Backward(a.st.Rings) {
		for d := range maps.Keys(a.st.Rings[i].Marks) {
			homes[d] = i
		}
	}
	return homes
}

// look judges one device in its ring.
func (a *advance) look(homes map[fleet.DeviceID]int, o Outcome) (ring int, m Mark, keep bool, s Standing) {
	home, counted := homes[o.Device]
	if counted {
		m, keep, s = a.watch(home).count(a.st.Rings[home].Marks[o.Device], true, o)
		if keep {
			return home, m, true, s
		}
	}
	here := place(a.rings, o.Path)
	if here < 0 {
		return here, Mark{}, false, ""
	}
	m, keep, s = a.watch(here).count(Mark{}, false, o)
	return here, m, keep && !a.st.Rings[here].Opened.IsZero(), s
}

// fail halts the rollout at the first open ring that fails.
func (a *advance) fail() {
	for i := range a.st.Rings {
		if a.st.Stop == nil && a.st.Rings[i].Phase.Open() {
			a.failAt(i)
		}
	}
}

// failAt halts the rollout if ring i fails, and reports whether it did.
func (a *advance) failAt(i int) bool {
	why := a.st.Rings[i].Progress.failing(a.rings[i])
	if why.Code == "" {
		return false
	}
	a.st.Stop = &Stop{Ring: a.st.Rings[i].Ring, At: a.now, Reason: why}
	a.set(i, Halted, why)
	for o := i + 1; o < len(a.st.Rings); o++ {
		if a.st.Rings[o].Phase.Open() {
			a.set(o, Halted, a.st.stopped(o))
		}
	}
	return true
}

// stopped is why a ring stands still while the rollout is halted.
func (s State) stopped(i int) Reason {
	r := s.Rings[i]
	if r.Ring == s.Stop.Ring {
		return Reason{s.Stop.Reason.Code, fmt.Sprintf("%s Since then: %s.", s.Stop.Reason.Text, r.Progress)}
	}
	return Reason{InnerHalted, "The rollout is halted" + s.Stop.where() + ": " + s.Stop.Reason.Text}
}

func (h Stop) where() string {
	if h.Ring == "" {
		return ""
	}
	return fmt.Sprintf(" at ring %q", h.Ring)
}

// standStill refreshes the reasons of a halted rollout.
func (a *advance) standStill() {
	for i, r := range a.st.Rings {
		if r.Phase.done() {
			a.through(i)
		} else {
			a.set(i, r.Phase, a.st.stopped(i))
		}
	}
}

// walk goes through the rings from the first and opens, soaks and passes what may.
func (a *advance) walk() {
	for i := range a.st.Rings {
		if !a.step(i) {
			if a.st.Stop != nil {
				a.standStill()
				return
			}
			a.await(i)
			return
		}
	}
}

// await says of the rings after i what they wait for.
func (a *advance) await(i int) {
	at := a.st.Rings[i]
	for o := i + 1; o < len(a.st.Rings); o++ {
		a.set(o, Waiting, Reason{InnerRing, fmt.Sprintf("It waits for ring %q, which is %s: %s", at.Ring, at.Phase, at.Reason.Text)})
	}
}

// step moves ring i on, all rings before it being through, and reports whether it is through too.
func (a *advance) step(i int) bool {
	r := &a.st.Rings[i]
	switch r.Phase {
	case Passed, Skipped:
		a.through(i)
		return true
	case Running, Soaking:
		return a.judge(i)
	}
	if why := a.gate(i); why.Code != "" {
		a.set(i, Waiting, why)
		return false
	}
	a.set(i, Running, Reason{SampleWanting, "It is open."})
	a.tally()
	if a.failAt(i) {
		return false
	}
	return a.judge(i)
}

// gate says what keeps ring i closed, all rings before it being through; an empty code if nothing does.
func (a *advance) gate(i int) Reason {
	r := a.rings[i]
	switch {
	case a.st.Superseded != "":
		return Reason{Superseded, fmt.Sprintf("%s is rolled out instead: no further ring opens.", a.st.Superseded)}
	case r.Person && a.st.Rings[i].OpenedBy == "":
		return Reason{AwaitsPerson, "It waits for a person to open it."}
	case a.now.Before(r.NotBefore):
		return Reason{NotBefore, fmt.Sprintf("It does not open before %s.", minute(r.NotBefore))}
	case !a.settled:
		return a.unsettled()
	}
	return Reason{}
}

func (a *advance) unsettled() Reason {
	return Reason{Unsettled, fmt.Sprintf("The server was away or its clock jumped at %s; nothing opens or passes until it has listened until %s.",
		minute(a.st.Listening), minute(a.st.Listening.Add(Gap)))}
}

// judge looks at an open ring that has not passed, and reports whether it is through now.
func (a *advance) judge(i int) bool {
	r, rs := a.rings[i], &a.st.Rings[i]
	p := rs.Progress
	switch {
	case p.Takers() == 0:
		return a.empty(i)
	case p.Counted() < p.Sample || !p.met(r):
		rs.Soaked = 0
		a.set(i, Running, p.wanting())
		return false
	case rs.Phase == Soaking:
		rs.Soaked += Span(a.credit)
	default:
		rs.Soaked = 0
	}
	if rs.Soaked >= r.Soak && a.settled {
		a.set(i, Passed, Reason{GatePassed, fmt.Sprintf("%s succeeded, and it soaked for %s.", p.Rate(), r.Soak)})
		a.through(i)
		return true
	}
	a.set(i, Soaking, a.soaking(i))
	return false
}

func (a *advance) soaking(i int) Reason {
	r, rs := a.rings[i], a.st.Rings[i]
	if !a.settled {
		return a.unsettled()
	}
	left := time.Duration(r.Soak - rs.Soaked)
	if rs.Phase != Soaking {
		left = time.Duration(r.Soak)
	}
	return Reason{Soak, fmt.Sprintf("%s succeeded; it soaks until %s at the earliest.", rs.Progress.Rate(), minute(a.now.Add(left)))}
}

// empty judges an open ring of which no device could take the update.
func (a *advance) empty(i int) bool {
	r, rs := a.rings[i], &a.st.Rings[i]
	if rs.Reason.Code == NothingToTry {
		rs.Soaked += Span(a.credit)
	} else {
		rs.Soaked = 0
	}
	if r.IfEmpty == EmptySkip && a.settled && time.Duration(rs.Soaked) >= max(time.Duration(r.Soak), Gap) {
		a.set(i, Skipped, Reason{NothingToTry, "None of its devices could take the update; it is skipped, as the ring says."})
		return true
	}
	a.set(i, Running, Reason{NothingToTry, fmt.Sprintf("None of its %s could take the update, so nothing speaks for it: skip the ring, or give it devices.", count(rs.Progress.Devices))})
	return false
}

// through refreshes the reason of a ring that passed or was skipped.
func (a *advance) through(i int) {
	r := &a.st.Rings[i]
	if r.Phase == Passed {
		r.Reason = Reason{GatePassed, fmt.Sprintf("It passed at %s; now: %s.", minute(r.Since), r.Progress)}
	}
}

// minute is a time for people.
func minute(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") }
