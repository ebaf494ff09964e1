// Package terms answers whether an installation may begin now by the terms that the plan gives it (T3, T4), and if not, why and
// when next.
//
// Parties. The plan carries wire.PlanTerms; Read understands each once. The agent's loop asks them with a Moment: the device's
// clock and zone, its id, what it remembers. What is remembered (journal.Runs) is written by the loop, from what Ran, Begin and
// Took return.
//
// Guarantees. Nothing is open that is not open by all schedules at that very moment, a run that is caught up apart, and that is
// never in a freeze. What cannot be read, a zone that is not known and a clock that cannot be right are never open. A run that
// was caught up is not caught up again. The answer depends on nothing but its input, and every question ends.
//
// It starts nothing and knows no orders; that a transaction which began is never ended is the loop's.
package terms

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"assent/agent/internal/journal"
	"assent/window"
	"assent/wire"
)

const (
	// stopDay is how long a run lasts where there are no windows: then what StopAfter left goes on.
	stopDay = 24 * time.Hour
	// ahead is how many openings are looked at for one at which all schedules are open together.
	ahead = 64
	// fitAhead is how many windows are looked at for one that is long enough.
	fitAhead = 12
	// latest is the part of a window in which something begins that is longer than every window: its first quarter.
	latest = 4
)

// Code says why an answer is as it is: one of window.Code, or one of these.
type Code = window.Code

// The codes that windows do not have.
const (
	Waits        Code = "waits"         // for another one that may not begin
	Unread       Code = "unreadable"    // a schedule that cannot be read
	ClockBehind  Code = "clock_wrong"   // the clock cannot be right
	Stopped      Code = "stopped"       // StopAfter
	DownloadOnly Code = "download_only" // nothing is ever installed
	AtShutdown   Code = "at_shutdown"   // the device does not shut down
)

// Terms are the terms of some installs, read. The zero value is open at any time.
type Terms struct {
	wire.PlanTerms
	schedules []schedule
	problem   string // why they never open
}

type schedule struct {
	windows window.Windows
	key     string // names it in what is remembered
	atOnce  bool
}

// Read understands terms. What it cannot read never opens, and Moment's answers say so.
func Read(p wire.PlanTerms) Terms {
	t := Terms{PlanTerms: p}
	for _, raw := range p.Schedules {
		s, err := window.Decode(raw)
		var w window.Windows
		if err == nil {
			w, err = window.Parse(s)
		}
		if err != nil {
			t.problem = fmt.Sprintf("The windows of %s cannot be read, so they never open: %.300s", t.name(), err)
			continue
		}
		t.schedules = append(t.schedules, schedule{w, wire.Digest(raw)[:24], s.Missed == window.AtOnce})
	}
	return t
}

func (t Terms) name() string {
	if t.Task == "" {
		return "the plan"
	}
	return fmt.Sprintf("the task %q", t.Task)
}

// run names the terms in what is remembered of runs.
func (t Terms) run() string {
	b, err := json.Marshal(struct {
		Task      string
		Schedules []json.RawMessage
	}{t.Task, t.Schedules})
	if err != nil { // a schedule that is no JSON: these terms never open
		return t.Task
	}
	return wire.Digest(b)[:24]
}

// Describe says in words what the terms ask for; empty where they ask for nothing.
func (t Terms) Describe() []string {
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if t.problem != "" {
		add("%s", t.problem)
	}
	for _, s := range t.schedules {
		add("begins %s", s.windows.Describe())
	}
	if t.DownloadOnly {
		add("is downloaded only")
	}
	if t.AtShutdown {
		add("installs when the device shuts down")
	}
	if len(t.Removable) > 0 {
		add("may remove %s along with it, and nothing else", strings.Join(t.Removable, ", "))
	}
	if t.StopAfter > 0 {
		add("nothing new begins %s after the first install of a run", human(seconds(t.StopAfter)))
	}
	return out
}

// Moment is what an answer depends on.
type Moment struct {
	Now      time.Time
	Zone     window.Zone
	Device   string
	Wrong    string // why the device's clock cannot be right; empty: it may be
	Shutdown bool   // the device is shutting down
	Runs     journal.Runs
}

// Answer says whether an installation may begin.
type Answer struct {
	Open  bool
	Code  Code
	Text  string    // one sentence or two for people; it stays the same while nothing changes
	Opens time.Time // when to ask again; zero: nobody knows
	Until time.Time // while open: when it closes; zero: nobody knows
	since time.Time // while open: when it opened for this device
	run   time.Time // while open: which run this is: the start of the window, or of the one that is caught up
}

// At answers for one moment, without regard to how long it takes.
func (t Terms) At(m Moment) Answer {
	switch {
	case t.DownloadOnly:
		return Answer{Code: DownloadOnly, Text: "It is downloaded and not installed: " + t.name() + " only downloads."}
	case t.problem != "":
		return Answer{Code: Unread, Text: t.problem}
	case m.Wrong != "" && len(t.schedules) > 0:
		return Answer{Code: ClockBehind, Text: m.Wrong}
	}
	a := t.stopped(m, t.joint(m))
	if t.AtShutdown && !m.Shutdown {
		text := "It installs when the device shuts down."
		if !a.Open {
			text = a.Text + " And it installs when the device shuts down, not before."
		}
		return Answer{Code: AtShutdown, Text: text}
	}
	return a
}

// joint asks all schedules.
func (t Terms) joint(m Moment) Answer {
	out := Answer{Open: true, Code: window.Anytime}
	var shut window.Answer
	for _, s := range t.schedules {
		a := s.windows.At(m.Now, m.Zone, m.Device)
		if c, ok := s.caught(m, a); ok {
			out.Code, out.run = window.CatchUp, laterOf(out.run, c.Mark)
			continue
		}
		if !a.Open {
			if out.Open || a.Opens.IsZero() || !shut.Opens.IsZero() && a.Opens.After(shut.Opens) {
				shut = a
			}
			out.Open = false
			continue
		}
		if out.Code == window.Anytime {
			out.Code = a.Code
		}
		out.run, out.since = laterOf(out.run, a.Window.Start), laterOf(out.since, a.Opens)
		if end := a.Window.End; !end.IsZero() && (out.Until.IsZero() || end.Before(out.Until)) {
			out.Until = end
		}
	}
	if out.Open {
		return out
	}
	return t.shut(m, shut)
}

// shut is the answer while some are not open, the last of which is the one given.
func (t Terms) shut(m Moment, last window.Answer) Answer {
	out := Answer{Code: last.Code, Text: last.Text}
	if last.Opens.IsZero() {
		return out
	}
	opens, ok := t.opening(m, m.Now)
	switch {
	case !ok:
		out.Text += " No time was found at which all windows of its tasks are open together."
	case opens.After(last.Opens):
		out.Text += " All windows of its tasks are open together on " + clock(opens) + "."
	}
	out.Opens = opens
	return out
}

// opening is the first moment from one on at which all schedules are open.
func (t Terms) opening(m Moment, from time.Time) (time.Time, bool) {
	for range ahead {
		next := from
		for _, s := range t.schedules {
			a := s.windows.At(from, m.Zone, m.Device)
			if a.Open {
				continue
			}
			if !a.Opens.After(from) {
				return time.Time{}, false
			}
			next = laterOf(next, a.Opens)
		}
		if next.Equal(from) {
			return from, true
		}
		from = next
	}
	return time.Time{}, false
}

// caught reports whether a run of a schedule that is not open is caught up at this moment.
func (s schedule) caught(m Moment, a window.Answer) (window.Catch, bool) {
	last, known := m.Runs.Marks[s.key]
	if !s.atOnce || !known || a.Open {
		return window.Catch{}, false
	}
	c := s.windows.Missed(m.Now, m.Zone, m.Device, last)
	return c, c.Run
}

// stopped closes what is open where the run has lasted long enough.
func (t Terms) stopped(m Moment, a Answer) Answer {
	if !a.Open || t.StopAfter <= 0 {
		return a
	}
	r, ok := m.Runs.Began[t.run()]
	if !ok || !t.same(r, a, m.Now) || m.Now.Sub(r.First) < seconds(t.StopAfter) {
		return a
	}
	out := Answer{Code: Stopped, Text: fmt.Sprintf("This run began on %s, and nothing new begins %s after that.", clock(r.First.In(place(a, m))), human(seconds(t.StopAfter)))}
	next, found := r.First.Add(stopDay), true
	switch {
	case !a.run.IsZero() && !a.Until.IsZero():
		next, found = t.opening(m, a.Until)
	case !a.run.IsZero():
		next, found = t.opening(m, m.Now)
	}
	if found {
		out.Opens, out.Text = next, out.Text+" The rest goes on on "+clock(next)+"."
	}
	return out
}

// place is the location that an answer was worked out in.
func place(a Answer, m Moment) *time.Location {
	if a.Until.IsZero() {
		return m.Now.Location()
	}
	return a.Until.Location()
}

// same reports whether a run that is remembered is the one that an answer is about. Where there are no windows a run lasts a day.
func (t Terms) same(r journal.Run, a Answer, now time.Time) bool {
	if a.run.IsZero() {
		return now.Sub(r.First) < stopDay
	}
	return r.Window.Equal(a.run)
}

// Fits answers for an installation that takes so long, as far as was measured; 0: nothing was. What is longer than every window
// begins in the first quarter of one.
func (t Terms) Fits(m Moment, need time.Duration) Answer {
	a := t.At(m)
	if !a.Open || need <= 0 || a.Until.IsZero() || !m.Now.Add(need).After(a.Until) {
		return a
	}
	out := Answer{Code: window.TooShort, Opens: a.Until}
	for at, n := a.Until, 0; n < fitAhead; n++ {
		opens, ok := t.opening(m, at)
		if !ok {
			break
		}
		if n == 0 {
			out.Opens = opens
		}
		next := m
		next.Now, next.Runs = opens, journal.Runs{}
		w := t.joint(next)
		if w.Until.IsZero() || !opens.Add(need).After(w.Until) {
			out.Opens = opens
			out.Text = fmt.Sprintf("It takes %s, and the window ends on %s: too short. It fits on %s.", human(need), clock(a.Until), clock(opens))
			return out
		}
		at = w.Until
	}
	if m.Now.Sub(a.since) <= a.Until.Sub(a.since)/latest {
		a.Code = window.TooLong
		return a
	}
	out.Code = window.TooLong
	out.Text = fmt.Sprintf("It takes %s, longer than any of its next windows: it begins at the beginning of one, on %s.", human(need), clock(out.Opens))
	return out
}
