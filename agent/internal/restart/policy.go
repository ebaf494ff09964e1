package restart

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"assent/agent/internal/journal"
	"assent/wire"
)

const (
	// MaxRestarts is how many restarts of a device may begin within a day: a loop ends with it (T5).
	MaxRestarts = 3
	loopSpan    = 24 * time.Hour
	// Notice is what those who are signed in are given to save their work.
	Notice = 2 * time.Minute
	// lateNotice is how long before a window's end a restart that was announced begins at the latest.
	lateNotice = 30 * time.Second
	// again is when to look again at what no time can be given for.
	again = time.Minute
	// orderLife is how long somebody's order to restart now counts.
	orderLife = 10 * time.Minute

	defaultRepeat   = time.Hour
	defaultDeadline = 72 * time.Hour
	leastRepeat     = time.Minute
)

// Policy is when and how a device restarts.
type Policy struct {
	When      wire.RestartWhen
	Text      string        // of the question; empty: the package's own
	Repeat    time.Duration // between two questions
	Deadline  time.Duration // after the first question: then nobody is asked any more
	Deferrals int           // how often it may be put off; 0: as often as the deadline lets
}

// PolicyOf reads what a plan says; nil is never.
func PolicyOf(p *wire.PlanRestart) Policy {
	if p == nil {
		return Policy{When: wire.RestartNever}
	}
	span := func(seconds int, zero time.Duration) time.Duration {
		if seconds <= 0 {
			return zero
		}
		return time.Duration(min(seconds, 366*24*3600)) * time.Second
	}
	return Policy{When: p.When, Text: p.Ask.Text, Repeat: max(span(p.Ask.Repeat, defaultRepeat), leastRepeat),
		Deadline: span(p.Ask.Deadline, defaultDeadline), Deferrals: max(p.Ask.Deferrals, 0)}
}

// Window answers whether a restart may begin now.
type Window struct {
	Open   bool
	Until  time.Time // when it closes; zero: never
	Next   time.Time // when it opens, while it is closed; zero: never again, or not known
	Reason string    // why it is closed, for people
}

// Always is the window that is always open.
func Always() Window { return Window{Open: true} }

// Moment is what is true of a device now.
type Moment struct {
	Now     time.Time
	Window  Window
	Due     bool   // something asks for a restart that none was made for yet
	After   bool   // something was installed in this boot
	Present int    // people who are signed in
	Busy    string // what must not be cut short, in words; empty: nothing
	Held    string // why the plan may not be acted upon, in words; empty: it may
}

// Do is what to do next.
type Do string

// The steps.
const (
	None    Do = "none"    // nothing is due, or the plan never restarts
	Wait    Do = "wait"    // until At, if it is not zero
	Ask     Do = "ask"     // put the question to the people now
	Warn    Do = "warn"    // tell the people now that the device restarts soon
	Restart Do = "restart" // now
)

// Codes of steps.
const (
	CodeNothing  = "nothing_due"
	CodeNever    = "never"
	CodeUnknown  = "unknown_policy"
	CodeHeld     = "held"
	CodeLoop     = "restart_loop"
	CodeWindow   = "window_closed"
	CodeBusy     = "busy"
	CodeAsking   = "asking"
	CodeDeferred = "deferred"
	CodeNotice   = "notice"
	CodeGo       = "restart"
)

// Step is what to do next, and why.
type Step struct {
	Do   Do
	At   time.Time // of Wait: when to ask again; zero: when something changes
	Code string
	Text string // one sentence for people
}

func step(do Do, at time.Time, code, format string, args ...any) Step {
	return Step{Do: do, At: at, Code: code, Text: fmt.Sprintf(format, args...)}
}

// Next says what to do at a moment after what is remembered. It is pure, and never gives Restart outside of the window.
func (p Policy) Next(m Moment, st journal.Restart) Step {
	due := m.Due || p.When == wire.RestartAlways && m.After
	switch p.When {
	case wire.RestartNever, "":
		if !due {
			return step(None, time.Time{}, CodeNothing, "Nothing asks for a restart.")
		}
		return step(None, time.Time{}, CodeNever, "A restart is due; the plan leaves it to you.")
	case wire.RestartIfRequired, wire.RestartAlways, wire.RestartAsked:
	default:
		return step(None, time.Time{}, CodeUnknown, "The plan says %.40q of restarts, which this agent does not know: the device is not restarted.", p.When)
	}
	switch {
	case !due:
		return step(None, time.Time{}, CodeNothing, "Nothing asks for a restart.")
	case m.Held != "":
		return step(Wait, m.Now.Add(again), CodeHeld, "A restart is due and held: %s.", m.Held)
	case !m.Window.Open:
		return closed(m.Window)
	}
	if until := Looped(st.Begun, m.Now); !until.IsZero() {
		return step(Wait, until, CodeLoop, "The device was restarted %d times within a day: it is not restarted again before %s.", MaxRestarts, stamp(until))
	}
	if m.Busy != "" {
		return step(Wait, m.Now.Add(again), CodeBusy, "A restart is due and waits for %s.", m.Busy)
	}
	return p.open(m, st)
}

func closed(w Window) Step {
	why := w.Reason
	if why == "" {
		why = "the window is closed"
	}
	if w.Next.IsZero() {
		return step(Wait, time.Time{}, CodeWindow, "A restart is due and waits: %s.", why)
	}
	return step(Wait, w.Next, CodeWindow, "A restart is due and waits until %s: %s.", stamp(w.Next), why)
}

// open is Next inside a window, for a restart that nothing but people may hold up.
func (p Policy) open(m Moment, st journal.Restart) Step {
	ordered := Ordered(st, m.Now)
	if p.When == wire.RestartAsked && m.Present > 0 && !ordered {
		if s := p.asking(m, st); s.Do != Restart {
			return s
		}
	}
	if m.Present > 0 && !ordered {
		if s := warning(m, st); s.Do != Restart {
			return s
		}
	}
	return step(Restart, m.Now, CodeGo, "The device restarts now.")
}

// asking is the talk with the people; Restart when it is over.
func (p Policy) asking(m Moment, st journal.Restart) Step {
	if st.Asked.IsZero() {
		return step(Ask, m.Now, CodeAsking, "Those who are signed in are asked for a restart.")
	}
	first, last := past(st.Asked, m.Now), past(st.Last, m.Now)
	deadline := first.Add(p.Deadline)
	spent := p.Deferrals > 0 && st.Deferred >= p.Deferrals
	// No deferral outlasts the deadline, and none is longer than the time between two questions.
	until := earlier(st.Until, m.Now.Add(p.Repeat))
	switch {
	case !m.Now.Before(deadline):
		return step(Restart, m.Now, CodeGo, "")
	case m.Now.Before(until):
		at := earlier(until, deadline)
		return step(Wait, at, CodeDeferred, "The restart was put off until %s (%d times so far).", stamp(at), st.Deferred)
	case spent && !st.Until.IsZero():
		return step(Restart, m.Now, CodeGo, "")
	case !m.Now.Before(last.Add(p.Repeat)):
		return step(Ask, m.Now, CodeAsking, "Those who are signed in are asked again for a restart.")
	}
	at := earlier(last.Add(p.Repeat), deadline)
	return step(Wait, at, CodeAsking, "Those who are signed in were asked at %s; the device restarts at %s at the latest, or in the first window after it.", stamp(last), stamp(deadline))
}

// warning gives the people Notice, or what the window leaves of it; Restart when that is over.
func warning(m Moment, st journal.Restart) Step {
	warned := past(st.Warned, m.Now)
	if st.Warned.IsZero() || m.Now.Sub(warned) > 5*Notice {
		return step(Warn, m.Now, CodeNotice, "Those who are signed in are told that the device restarts.")
	}
	at := warned.Add(Notice)
	if !m.Window.Until.IsZero() {
		at = earlier(at, m.Window.Until.Add(-lateNotice))
	}
	if m.Now.Before(at) {
		return step(Wait, at, CodeNotice, "The device restarts at %s.", stamp(at))
	}
	return step(Restart, m.Now, CodeGo, "")
}

// Looped is until when no restart may begin as too many did; zero: one may.
func Looped(begun []time.Time, now time.Time) time.Time {
	var recent []time.Time
	for _, t := range begun {
		if now.Sub(t) < loopSpan {
			recent = append(recent, past(t, now))
		}
	}
	if len(recent) < MaxRestarts {
		return time.Time{}
	}
	slices.SortFunc(recent, time.Time.Compare)
	return recent[len(recent)-MaxRestarts].Add(loopSpan)
}

// Ordered reports whether somebody's order to restart now still counts.
func Ordered(st journal.Restart, now time.Time) bool {
	return !st.Ordered.IsZero() && now.Sub(past(st.Ordered, now)) < orderLife
}

// Deferrable says why the restart cannot be put off any more; empty: it can.
func (p Policy) Deferrable(st journal.Restart, now time.Time) string {
	switch {
	case p.When != wire.RestartAsked:
		return "The plan restarts this device without asking."
	case p.Deferrals > 0 && st.Deferred >= p.Deferrals:
		return fmt.Sprintf("It was put off %d times, which is as often as the plan lets.", st.Deferred)
	case !st.Asked.IsZero() && !now.Before(past(st.Asked, now).Add(p.Deadline)):
		return fmt.Sprintf("The time for putting it off ended at %s.", stamp(past(st.Asked, now).Add(p.Deadline)))
	}
	return ""
}

// Question is what the people are asked.
func (p Policy) Question(st journal.Restart, now time.Time, reasons []wire.RestartReason) string {
	text := p.Text
	if text == "" {
		text = "This device needs a restart to finish updates"
		if names := Names(Device(reasons)); names != "" {
			text += " (" + names + ")"
		}
		text += "."
	}
	first := now
	if !st.Asked.IsZero() {
		first = past(st.Asked, now)
	}
	text += " It restarts by itself at " + stamp(first.Add(p.Deadline)) + " at the latest, or in the first window after that."
	if left := p.Deferrals - st.Deferred; p.Deferrals > 0 {
		text += fmt.Sprintf(" It can be put off %d more times.", max(left, 0))
	}
	return plain(text) + "\nsudo assent-agent restart --now | --defer"
}

// Warning is what the people are told before a restart.
func Warning(m Moment, reasons []wire.RestartReason) string {
	at := m.Now.Add(Notice)
	if !m.Window.Until.IsZero() {
		at = earlier(at, m.Window.Until.Add(-lateNotice))
	}
	if at.Before(m.Now) {
		at = m.Now
	}
	text := "This device restarts at " + stamp(at) + " to finish updates"
	if names := Names(Device(reasons)); names != "" {
		text += " (" + names + ")"
	}
	return plain(text) + ". Save your work."
}

// plain takes out what a terminal could obey, and caps the text.
func plain(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return ' '
		}
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' || r >= '\u202a' && r <= '\u202e' || r >= '\u2066' && r <= '\u2069' {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	if runes := []rune(s); len(runes) > 1000 {
		s = string(runes[:1000]) + "…"
	}
	return s
}

// past is a time that was noted, and not later than now: the clock may have gone back since.
func past(t, now time.Time) time.Time {
	if t.After(now) {
		return now
	}
	return t
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func stamp(t time.Time) string { return t.Format("2006-01-02 15:04 MST") }
