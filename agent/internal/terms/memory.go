package terms

import (
	"fmt"
	"maps"
	"math"
	"time"

	"assent/agent/internal/journal"
)

const (
	// maxTook is how many transactions are remembered of each manager, and maxTime the longest that one counts as.
	maxTook = 16
	maxTime = 24 * time.Hour
	// keepRuns is how long a run is remembered that is over, and how far ahead of the clock a mark may be.
	keepRuns = 40 * 24 * time.Hour
)

// Known gives the marks of exactly the schedules of some terms. One that is new to the device has missed nothing until now; one
// that the plan does not name any more is forgotten.
func Known(all []Terms, marks map[string]time.Time, now time.Time) map[string]time.Time {
	out := map[string]time.Time{}
	for _, t := range all {
		for _, s := range t.schedules {
			if s.windows.AnyTime() {
				continue
			}
			mark, ok := marks[s.key]
			if !ok || mark.Sub(now) > keepRuns { // a clock that was far ahead must not be believed for ever
				mark = now
			}
			out[s.key] = mark
		}
	}
	return out
}

// Ran gives the marks after a run that began at a moment and went through: no window of it is run again as one that was missed.
func Ran(all []Terms, m Moment, marks map[string]time.Time) map[string]time.Time {
	out := maps.Clone(marks)
	for _, t := range all {
		for _, s := range t.schedules {
			last, known := marks[s.key]
			if !known || m.Wrong != "" {
				continue
			}
			a := s.windows.At(m.Now, m.Zone, m.Device)
			mark := a.Window.Start
			if c, ok := s.caught(m, a); ok {
				mark = c.Mark
			} else if !a.Open {
				continue
			}
			out[s.key] = laterOf(last, mark)
		}
	}
	return out
}

// Begin gives what is remembered of runs when a first install begins at a moment.
func (t Terms) Begin(m Moment, began map[string]journal.Run) map[string]journal.Run {
	if t.StopAfter <= 0 {
		return began
	}
	out := map[string]journal.Run{}
	for key, r := range began {
		if d := m.Now.Sub(r.First); d > -keepRuns && d < keepRuns {
			out[key] = r
		}
	}
	a := t.joint(m)
	if r, ok := began[t.run()]; !ok || !t.same(r, a, m.Now) || r.First.After(m.Now) {
		out[t.run()] = journal.Run{Window: a.run, First: m.Now}
	}
	return out
}

// Took adds how long a transaction of n changes took to those that are remembered of its kind.
func Took(took map[string][]journal.Took, kind string, n int, d time.Duration) map[string][]journal.Took {
	out := maps.Clone(took)
	if out == nil {
		out = map[string][]journal.Took{}
	}
	list := append(append([]journal.Took(nil), took[kind]...), journal.Took{Changes: n, Seconds: min(max(d, 0), maxTime).Seconds()})
	out[kind] = list[max(0, len(list)-maxTook):]
	return out
}

// Need is how long a transaction of n changes takes, by those that are remembered; 0: nothing was measured. It is the line that fits
// them best, as a time for each and one for every transaction, put so high that none of them took longer.
func Need(list []journal.Took, n int) time.Duration {
	if len(list) == 0 || n == 0 {
		return 0
	}
	var sx, sy, sxx, sxy float64
	for _, p := range list {
		x := float64(p.Changes)
		sx, sy, sxx, sxy = sx+x, sy+p.Seconds, sxx+x*x, sxy+x*p.Seconds
	}
	count := float64(len(list))
	each := sy / max(sx, 1) // one point, or several above each other: nothing is known of a time for every transaction
	if d := count*sxx - sx*sx; d > 0 {
		each = max((count*sxy-sx*sy)/d, 0)
	}
	base := 0.0
	for _, p := range list {
		base = max(base, p.Seconds-each*float64(p.Changes))
	}
	s := math.Ceil(base + each*float64(n))
	return time.Duration(min(s, maxTime.Seconds())) * time.Second
}

func laterOf(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }

// clock writes a moment for people, in its zone; seconds only where they count.
func clock(t time.Time) string {
	if t.Second() != 0 {
		return t.Format("Mon 2006-01-02 15:04:05 MST")
	}
	return t.Format("Mon 2006-01-02 15:04 MST")
}

// human writes a duration in its two largest units.
func human(d time.Duration) string {
	d = d.Round(time.Second)
	h, m, s := d/time.Hour, d%time.Hour/time.Minute, d%time.Minute/time.Second
	switch {
	case h > 0 && m > 0:
		return fmt.Sprintf("%d h %d min", h, m)
	case h > 0:
		return fmt.Sprintf("%d h", h)
	case m > 0 && s > 0:
		return fmt.Sprintf("%d min %d s", m, s)
	case m > 0:
		return fmt.Sprintf("%d min", m)
	}
	return fmt.Sprintf("%d s", s)
}
