package window

import "time"

// Windows is a Schedule that was checked. Its zero value is open at any time. It does not change, and may be
// used by many goroutines.
type Windows struct {
	schedule Schedule
	rule     *rule // nil: any time
	length   time.Duration
	spread   time.Duration
	missed   Missing
	zone     Zone // of the schedule; the zero one: the device's
	freezes  []freeze
}

// Schedule is what the windows were made from.
func (w Windows) Schedule() Schedule {
	s := w.schedule
	s.Freezes = append([]Freeze(nil), s.Freezes...)
	return s
}

// AnyTime reports whether there is no rule: only freezes close it.
func (w Windows) AnyTime() bool { return w.rule == nil }

// Window is one time in which installations may start, from Start to before End.
type Window struct {
	Start time.Time `json:"start,omitzero"` // zero: since ever
	End   time.Time `json:"end,omitzero"`   // zero: without end
}

// Contains reports whether t lies in the window.
func (w Window) Contains(t time.Time) bool {
	return !t.Before(w.Start) && (w.End.IsZero() || t.Before(w.End))
}

// Length is zero for a window without end or beginning.
func (w Window) Length() time.Duration {
	if w.Start.IsZero() || w.End.IsZero() {
		return 0
	}
	return w.End.Sub(w.Start)
}

// view is Windows in one zone.
type view struct {
	*Windows
	loc *time.Location
}

func (w Windows) in(loc *time.Location) view { return view{&w, loc} }

// after is the first window that ends after t.
func (v view) after(t time.Time) (Window, bool) {
	if v.rule == nil {
		return v.afterAnyTime(t)
	}
	limit := t.AddDate(Horizon, 0, 0)
	for at := t; at.Before(limit); {
		run, ok := v.runAfter(at)
		if !ok {
			return Window{}, false
		}
		spans := v.frozen(run.Start, run.End)
		for _, piece := range cut(run, spans) {
			if piece.End.After(t) {
				return piece, true
			}
		}
		at = run.End
		for _, s := range spans {
			if s.to.After(at) {
				at = s.to
			}
		}
	}
	return Window{}, false
}

// before is the last window that ends by t and begins after floor.
func (v view) before(t, floor time.Time) (Window, bool) {
	if v.rule == nil {
		return Window{}, false
	}
	limit := t.AddDate(-Horizon, 0, 0)
	if floor.Before(limit) {
		floor = limit
	}
	for at := t; at.After(floor); {
		run, ok := v.runBefore(at)
		if !ok || !run.End.After(floor) {
			return Window{}, false
		}
		spans := v.frozen(run.Start, run.End)
		pieces := cut(run, spans)
		for i := len(pieces) - 1; i >= 0; i-- {
			if p := pieces[i]; !p.End.After(t) {
				return p, p.Start.After(floor)
			}
		}
		at = run.Start
		for _, s := range spans {
			if s.from.Before(at) {
				at = s.from
			}
		}
	}
	return Window{}, false
}

// runAfter is the first run of windows that ends after t, freezes aside.
func (v view) runAfter(t time.Time) (Window, bool) {
	edge := t.Add(-v.length)
	c := v.rule.cursor()
	c.seek(wallOf(edge.Add(-time.Second).In(v.loc)))
	for {
		w, ok := c.next()
		if !ok {
			return Window{}, false
		}
		if start := w.in(v.loc); start.After(edge) {
			return v.run(c, start), true
		}
	}
}

// runBefore is the last run of windows that begins before t, freezes aside.
func (v view) runBefore(t time.Time) (Window, bool) {
	c := v.rule.cursor()
	c.seek(wallOf(t.In(v.loc)) + 2*day)
	for {
		w, ok := c.previous()
		if !ok {
			return Window{}, false
		}
		if start := w.in(v.loc); start.Before(t) {
			c.next()
			return v.run(c, start), true
		}
	}
}

// run gives the run of windows around the start that c has just passed.
func (v view) run(c *cursor, start time.Time) Window {
	run := Window{start, start.Add(v.length)}
	here := 1 // starts from the one that began it to where c is
	for c.previous(); run.End.Sub(run.Start) < MaxRun+v.length; here++ {
		w, ok := c.previous()
		if !ok {
			break
		}
		at := w.in(v.loc)
		if at.Add(v.length).Before(run.Start) {
			c.next()
			break
		}
		run.Start = at
	}
	for range here {
		c.next()
	}
	for run.End.Sub(run.Start) < 2*MaxRun {
		w, ok := c.next()
		if !ok {
			break
		}
		at := w.in(v.loc)
		if at.After(run.End) {
			break
		}
		run.End = at.Add(v.length)
	}
	return run
}

// cut takes freezes, by their beginning, out of a window.
func cut(w Window, spans []span) []Window {
	var out []Window
	for _, s := range spans {
		if !s.to.After(w.Start) {
			continue
		}
		if s.from.After(w.Start) {
			out = append(out, Window{w.Start, s.from})
		}
		w.Start = s.to
		if !w.Start.Before(w.End) {
			return out
		}
	}
	return append(out, w)
}

// afterAnyTime is after for schedules without a rule: what lies between freezes.
func (v view) afterAnyTime(t time.Time) (Window, bool) {
	if len(v.freezes) == 0 {
		return Window{}, true
	}
	at, never := v.thaw(t)
	if never {
		return Window{}, false
	}
	var out Window
	for _, s := range v.allFrozen(at) {
		switch {
		case !s.to.After(at):
			if s.to.After(out.Start) {
				out.Start = s.to
			}
		case out.End.IsZero():
			out.End = s.from
		}
	}
	return out, true
}

// allFrozen gives every freeze that comes once, and those of every year around t.
func (v view) allFrozen(t time.Time) []span {
	from, to := t.AddDate(-2, 0, 0), t.AddDate(2, 0, 0)
	for _, f := range v.freezes {
		if !f.yearly {
			from = earlier(from, f.from.in(v.loc).Add(-time.Second))
			to = later(to, f.to.in(v.loc))
		}
	}
	return v.frozen(from, to)
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
