package rollout

import (
	"fmt"
	"maps"
	"strings"
	"time"
	"unicode/utf8"

	"assent/catalog"
	"assent/fault"
	"assent/fleet"
)

// maxWhy is the most characters that a reason may have.
const maxWhy = 1000

// Opens answers plan's question: may devices of this ring (by Place; empty: of none) install the update now? The reason is for "why"; where it may not, the
// verdict is installation.RingNotOpen with its text.
func Opens(s State, ring string) (bool, Reason) {
	if s.Started.IsZero() {
		return false, Reason{NotStarted, "Its rollout has not begun yet."}
	}
	if s.Stop != nil {
		code := InnerHalted
		if ring == s.Stop.Ring {
			code = s.Stop.Reason.Code
		}
		return false, Reason{code, fmt.Sprintf("The rollout is halted%s since %s: %s", s.Stop.where(), minute(s.Stop.At), s.Stop.Reason.Text)}
	}
	if len(s.Rings) == 0 {
		return true, Reason{RingsOpen, "The task has no rings."}
	}
	if ring == "" {
		return false, Reason{NoRing, "The device is in no ring of the task."}
	}
	for _, r := range s.Rings {
		if r.Ring == ring {
			if r.Phase.Open() {
				return true, Reason{RingsOpen, fmt.Sprintf("Ring %q is open since %s.", ring, minute(r.Opened))}
			}
			return false, Reason{r.Reason.Code, fmt.Sprintf("Ring %q is not open: %s", ring, r.Reason.Text)}
		}
		if !r.Phase.done() {
			return false, Reason{InnerRing, fmt.Sprintf("Ring %q is not open: ring %q comes first. %s", ring, r.Ring, r.Reason.Text)}
		}
	}
	return false, Reason{NoRing, fmt.Sprintf("The rollout does not know ring %q yet.", ring)}
}

// Supersede says that a newer release is rolled out instead, or with an empty one that it is not any more. It is a fact, not an act: saying it twice changes
// nothing, and the next Advance looks at it.
func (s State) Supersede(by catalog.UpdateID) State {
	s = s.clone()
	s.Superseded = by
	return s
}

// Halt stops the rollout: no ring is open from now on. It needs a name; a reason is welcome, but nobody has to look for words while something breaks.
func (s State) Halt(by, why string, now time.Time) (State, []Transition, error) {
	ring := ""
	if len(s.Rings) > 0 {
		ring = s.Rings[min(s.current(), len(s.Rings)-1)].Ring
	}
	if why == "" && strings.TrimSpace(by) != "" {
		why = "halted"
	}
	h, err := s.act(VerbHalt, ring, by, why, now)
	if err != nil {
		return s, nil, err
	}
	if s.Stop != nil {
		return s, nil, refuse("already_halted", "The rollout has been halted already, at %s: %s", minute(s.Stop.At), s.Stop.Reason.Text)
	}
	h.st.Stop = &Stop{Ring: ring, At: h.now, By: by, Reason: Reason{HaltedByPerson, fmt.Sprintf("%s halted it: %q.", by, why)}}
	for i, r := range h.st.Rings {
		switch {
		case r.Ring == ring:
			h.become(i, Halted, h.st.Stop.Reason)
		case !r.Phase.done():
			h.become(i, r.Phase, h.st.stopped(i))
		}
	}
	return h.done(h.st.Stop.Reason)
}

// Resume ends a halt. What failed in a ring that halted itself is forgiven; that ring runs again from its sample on, and outer rings wait for it.
func (s State) Resume(by, why string, now time.Time) (State, []Transition, error) {
	if s.Stop == nil {
		return s, nil, refuse("not_halted", "The rollout is not halted.")
	}
	h, err := s.act(VerbResume, s.Stop.Ring, by, why, now)
	if err != nil {
		return s, nil, err
	}
	stop := *s.Stop
	h.st.Stop = nil
	resumed := Reason{InnerRing, fmt.Sprintf("%s resumed it: %q.", by, why)}
	closed := false
	for i, r := range h.st.Rings {
		if r.Ring == stop.Ring && stop.By == "" {
			h.forgive(i)
		}
		switch {
		case r.Ring == stop.Ring && !closed:
			h.reopen(i, resumed)
		case closed || !r.Phase.done():
			h.become(i, Waiting, resumed)
		}
		closed = closed || !h.st.Rings[i].Phase.done()
	}
	return h.done(resumed)
}

// Open opens a ring that waits for a person. Its other conditions still hold.
func (s State) Open(ring, by, why string, now time.Time) (State, []Transition, error) {
	h, i, err := s.actAt(VerbOpen, ring, by, why, now)
	if err != nil {
		return s, nil, err
	}
	if s.Rings[i].Reason.Code != AwaitsPerson {
		return s, nil, refuse("ring_needs_no_person", "Ring %q does not wait for a person to open it. %s", ring, s.Rings[i].Reason.Text).On("ring")
	}
	h.st.Rings[i].OpenedBy = by
	opened := Reason{InnerRing, fmt.Sprintf("%s let it open: %q.", by, why)}
	h.become(i, Waiting, opened)
	h.transitions = append(h.transitions, Transition{Ring: ring, From: Waiting, To: Waiting, At: h.now, By: by, Reason: opened})
	return h.done(opened)
}

// Skip lets the rollout go past the ring it is at, whatever its outcome, by a person's name and reason. The ring's devices may install; its failures until now are
// forgiven, later ones count.
func (s State) Skip(ring, by, why string, now time.Time) (State, []Transition, error) {
	h, i, err := s.actAt(VerbSkip, ring, by, why, now)
	if err != nil {
		return s, nil, err
	}
	h.forgive(i)
	skipped := Reason{SkippedByName, fmt.Sprintf("%s skipped it: %q.", by, why)}
	h.become(i, Skipped, skipped)
	return h.done(skipped)
}

// Restart begins again with the first ring, whatever the outcome was. Failures until now are forgiven; devices that have the update count again once their
// ring opens again.
func (s State) Restart(by, why string, now time.Time) (State, []Transition, error) {
	h, err := s.act(VerbRestart, "", by, why, now)
	if err != nil {
		return s, nil, err
	}
	untouched := s.Stop == nil && s.current() == 0 && (len(s.Rings) == 0 || s.Rings[0].Phase == Waiting)
	if untouched {
		return s, nil, refuse("not_begun", "No ring has opened yet: there is nothing to begin again.")
	}
	again := Reason{InnerRing, fmt.Sprintf("%s began the rollout again: %q.", by, why)}
	h.st.Run, h.st.Started, h.st.Stop = s.Run+1, h.now, nil
	for i := range h.st.Rings {
		h.restart(i)
		h.become(i, Waiting, again)
	}
	return h.done(again)
}

// hand is an act under way.
type hand struct {
	st          State
	by          string
	now         time.Time
	transitions []Transition
}

// act checks and records what every act needs.
func (s State) act(verb Verb, ring, by, why string, now time.Time) (*hand, error) {
	switch {
	case s.Started.IsZero():
		return nil, refuse("not_started", "The rollout has not begun yet.")
	case strings.TrimSpace(by) == "":
		return nil, fault.New(fault.Invalid, "name_missing", "Say who acts.").On("by")
	case strings.TrimSpace(why) == "":
		return nil, fault.New(fault.Invalid, "reason_missing", "Say why; it is kept with your name.").On("reason")
	case utf8.RuneCountInString(why) > maxWhy || !utf8.ValidString(why) || !utf8.ValidString(by):
		return nil, fault.New(fault.Invalid, "reason_too_long", "A reason is text of at most %d characters.", maxWhy).On("reason")
	}
	h := &hand{st: s.clone(), by: by, now: instant(now)}
	h.st.Acts = append(h.st.Acts, Act{At: h.now, By: by, Verb: verb, Ring: ring, Why: why})
	if n := len(h.st.Acts) - maxActs; n > 0 {
		h.st.Acts = h.st.Acts[n:]
	}
	return h, nil
}

// actAt is act on the ring that the rollout is at; any other is refused.
func (s State) actAt(verb Verb, ring, by, why string, now time.Time) (*hand, int, error) {
	h, err := s.act(verb, ring, by, why, now)
	if err != nil {
		return nil, 0, err
	}
	i := s.current()
	switch _, known := s.Ring(ring); {
	case !known:
		return nil, 0, fault.New(fault.NotFound, "ring_unknown", "There is no ring %q.", ring).On("ring")
	case s.Stop != nil:
		return nil, 0, refuse("halted", "The rollout is halted%s: resume it first.", s.Stop.where())
	case s.Superseded != "":
		return nil, 0, refuse("superseded", "%s is rolled out instead; act on its rollout.", s.Superseded)
	case i == len(s.Rings):
		return nil, 0, refuse("finished", "The rollout is through all its rings.")
	case s.Rings[i].Ring != ring:
		return nil, 0, refuse("ring_not_current", "The rollout is at ring %q, which is %s; only that one can be acted on.", s.Rings[i].Ring, s.Rings[i].Phase).On("ring")
	}
	return h, i, nil
}

func refuse(code, format string, args ...any) *fault.Error {
	return fault.New(fault.Conflict, "rollout_"+code, format, args...)
}

func (h *hand) become(i int, to Phase, why Reason) {
	if t, changed := h.st.Rings[i].become(to, why, h.by, h.now); changed {
		h.transitions = append(h.transitions, t)
	}
}

// reopen lets a halted ring go on: it runs if it was open, else it waits.
func (h *hand) reopen(i int, why Reason) {
	if h.st.Rings[i].Opened.IsZero() {
		h.become(i, Waiting, why)
		return
	}
	why.Code = SampleWanting
	h.become(i, Running, why)
}

// forgive lets the failures of a ring count neither way.
func (h *hand) forgive(i int) {
	marks := maps.Clone(h.st.Rings[i].Marks)
	for d, m := range marks {
		if m.Standing == Failed || m.Standing == Silent {
			m.Forgiven = true
			marks[d] = m
		}
	}
	h.st.Rings[i].Marks = marks
}

// restart forgets what was counted in a ring, except which failures are old.
func (h *hand) restart(i int) {
	h.forgive(i)
	h.st.Rings[i].OpenedBy = ""
	maps.DeleteFunc(h.st.Rings[i].Marks, func(_ fleet.DeviceID, m Mark) bool { return !m.Forgiven })
	if len(h.st.Rings[i].Marks) == 0 {
		h.st.Rings[i].Marks = nil
	}
}

// done gives the act's result. Where no ring changes (the task has none, or has lost the one that was halted) the transition is of the whole.
func (h *hand) done(why Reason) (State, []Transition, error) {
	if len(h.transitions) == 0 {
		t := Transition{From: Halted, To: Running, At: h.now, By: h.by, Reason: why}
		if h.st.Stop != nil {
			t.From, t.To = t.To, t.From
		}
		h.transitions = append(h.transitions, t)
	}
	for i := range h.transitions {
		h.transitions[i].Task, h.transitions[i].Update = h.st.Task, h.st.Update
	}
	return h.st, h.transitions, nil
}
