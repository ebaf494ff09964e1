package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"assent/agent/internal/journal"
	"assent/agent/internal/pkgmgr"
	"assent/agent/internal/terms"
	"assent/catalog"
	"assent/installation"
	"assent/window"
	"assent/wire"
)

const (
	// askAgain is how often the windows are asked again however far the next one is: clocks are set, and devices sleep.
	askAgain = 5 * time.Minute
	// clockStep is how far a clock may run from what was waited before it counts as set.
	clockStep = 10 * time.Second
	// maxLag is how far the device's clock may be behind a time that the server signed: beyond it no window is known.
	maxLag = 5 * time.Minute
	// zoneEvery is how often the device's zone is read.
	zoneEvery = time.Minute
)

// Bounds of what a plan may say of terms.
const (
	maxTerms      = 1000
	maxSchedules  = 100 // of one of them
	maxSchedule   = 64 << 10
	maxTermProbes = 1000
	maxRemovable  = 1000
	maxPause      = 366 * 24 * 3600 // seconds
)

// errClosed says that what was about to be done may not begin now by its terms.
var errClosed = errors.New("its terms let nothing begin now")

// place is where the device is, as far as its windows go. Each loop that asks has its own.
type place struct {
	name string
	zone window.Zone
	read time.Time
}

// soundTerms refuses terms that no server of this format writes.
func soundTerms(p wire.Plan) error {
	bad := func(format string, args ...any) error { return wire.ErrPlanFormat.Because(fmt.Errorf(format, args...)) }
	if len(p.Terms) > maxTerms {
		return bad("%d terms", len(p.Terms))
	}
	for i, t := range p.Terms {
		if len(t.Removable) > maxRemovable || slices.ContainsFunc(t.Removable, func(name string) bool { return name == "" || len(name) > wire.MaxString }) {
			return bad("terms %d let %d packages go", i+1, len(t.Removable))
		}
		if len(t.Schedules) > maxSchedules || len(t.Probes) > maxTermProbes || len(t.Task) > wire.MaxString {
			return bad("terms %d have %d schedules and %d probes", i+1, len(t.Schedules), len(t.Probes))
		}
		for _, raw := range t.Schedules {
			if len(raw) > maxSchedule {
				return bad("terms %d have a schedule of %d bytes", i+1, len(raw))
			}
		}
		for _, n := range []int{t.StopAfter, t.Retries.Attempts, t.Retries.First, t.Retries.Longest} {
			if n < 0 || n > maxPause {
				return bad("terms %d have the number %d", i+1, n)
			}
		}
	}
	for _, in := range p.Install {
		if in.Terms < 0 || in.Terms > len(p.Terms) {
			return bad("install of %q names terms %d of %d", in.Update, in.Terms, len(p.Terms))
		}
	}
	return nil
}

// readTerms reads the terms of a plan, each once.
func readTerms(p wire.Plan) []terms.Terms {
	out := make([]terms.Terms, 0, len(p.Terms))
	for _, t := range p.Terms {
		out = append(out, terms.Read(t))
	}
	return out
}

// moment is what terms depend on now. It must be called by the work loop, and without a.mu.
func (a *Agent) moment() terms.Moment { return a.momentAt(&a.place) }

// momentAt is moment for whoever p belongs to.
func (a *Agent) momentAt(p *place) terms.Moment {
	now := a.opt.Now().Round(0) // windows are about what the clock shows
	if p.read.IsZero() || now.Sub(p.read) >= zoneEvery || now.Before(p.read) {
		name := a.opt.Device.Facts().TimeZone
		if name != p.name || p.read.IsZero() {
			zone, err := window.LoadZone(name)
			if err != nil {
				a.opt.Log.Warn("the windows of this device are not known", "err", err)
			}
			p.name, p.zone = name, zone
		}
		p.read = now
	}
	m := terms.Moment{Now: now, Zone: p.zone, Runs: a.journal.Runs()}
	a.mu.Lock()
	defer a.mu.Unlock()
	m.Device, m.Shutdown = string(a.id.Device), a.shutting
	if a.clock().Sub(now) > maxLag {
		m.Wrong = "The device's clock is behind a time that the server signed, so its windows are not known until the clock is right."
	}
	return m
}

// gate is whether an order may begin at a moment, by itself.
func (a *Agent) gate(o order, m terms.Moment) terms.Answer {
	if o.terms == nil {
		return terms.Answer{Open: true}
	}
	e := a.journal.Entry(o.Update)
	if e.Try.Short && o.shutOut(e) && m.Now.Before(e.Try.Opens) && !m.Now.Before(e.Since) {
		return terms.Answer{Code: window.TooShort, Text: e.Detail, Opens: e.Try.Opens}
	}
	return o.terms.At(m)
}

// shutOut reports whether an order is fetched and waits for its terms.
func (o order) shutOut(e journal.Entry) bool {
	if !e.Try.Ready || e.Try.Plan != o.key {
		return false
	}
	return e.State == installation.Downloaded || e.State == installation.Blocked && (e.Cause == installation.WindowClosed || e.Cause == installation.UntrustedClock)
}

// closed lists the orders that may not begin, each with the reason; what needs such a one waits with it.
func closed(orders []order, gate func(order) terms.Answer) map[catalog.UpdateID]terms.Answer {
	out := map[catalog.UpdateID]terms.Answer{}
	names := map[catalog.UpdateID]string{}
	for _, o := range orders {
		names[o.Update] = o.name()
		if g := gate(o); !g.Open {
			out[o.Update] = g
		}
	}
	for more := true; more; {
		more = false
		for _, o := range orders {
			for _, id := range o.closure {
				need, shut := out[catalog.UpdateID(id)]
				if _, own := out[o.Update]; own || !shut || o.back() {
					continue
				}
				out[o.Update] = terms.Answer{Code: terms.Waits, Opens: need.Opens, Text: "It needs " + names[catalog.UpdateID(id)] + " and waits for that. " + need.Text}
				more = true
			}
		}
	}
	return out
}

// within returns those of some fetched orders that may begin now in one transaction which is done in time, as far as was measured, and
// says of the rest why it waits. What has no room beside the others is not told of: it is looked at again right after them.
func (a *Agent) within(tx pkgmgr.Transaction, orders []order) ([]order, error) {
	m := a.moment()
	shut := closed(orders, func(o order) terms.Answer { return a.gate(o, m) })
	var open, rest []order
	for _, o := range orders {
		if _, ok := shut[o.Update]; ok {
			rest = append(rest, o)
		} else {
			open = append(open, o)
		}
	}
	r := room{moment: m, changes: tx.Changes, took: m.Runs.Took}
	kept, long := r.fill(open)
	if len(kept) == 0 {
		maps.Copy(shut, long)
		rest = orders
	}
	return kept, a.wait(rest, shut)
}

// room is what is left of the windows for one transaction.
type room struct {
	moment  terms.Moment
	changes []wire.Change
	took    map[string][]journal.Took
}

// fill takes as many orders as there is time for, in their order, each with what it needs; where there is time for none, it says
// why. What is longer than every window goes by itself.
func (r room) fill(orders []order) (kept []order, long map[catalog.UpdateID]terms.Answer) {
	long = map[catalog.UpdateID]terms.Answer{}
	s := sieve{all: map[catalog.UpdateID]order{}}
	for _, o := range orders {
		s.all[o.Update] = o
	}
	for _, o := range orders {
		if contains(kept, o) {
			continue
		}
		more := s.with(kept, []order{o})
		g := r.fits(more)
		switch {
		case g.Open && g.Code != window.TooLong:
			kept = more
		case g.Open && len(kept) == 0:
			return more, nil
		default:
			long[o.Update] = g
		}
	}
	return kept, long
}

// fits asks the terms of all orders of one transaction whether there is time for it.
func (r room) fits(orders []order) terms.Answer {
	n := 0
	for _, o := range orders {
		n += max(len(changesOf(o, r.changes)), 1)
	}
	need := terms.Need(r.took[tookKind(orders[0])], min(n, max(len(r.changes), 1)))
	out := terms.Answer{Open: true}
	for _, o := range orders {
		if o.terms == nil {
			continue
		}
		if g := o.terms.Fits(r.moment, need); !g.Open || g.Code == window.TooLong {
			out = g
		}
		if !out.Open {
			break
		}
	}
	return out
}

// wait reports that orders are fetched and wait for their terms, each once for the same reason.
func (a *Agent) wait(orders []order, shut map[catalog.UpdateID]terms.Answer) error {
	var rec journal.Record
	for _, o := range orders {
		e, g := a.journal.Entry(o.Update), shut[o.Update]
		try := journal.Try{Plan: o.key, Ready: true, Opens: g.Opens, Short: g.Code == window.TooShort || g.Code == window.TooLong}
		if e.Try.Plan == o.key {
			try.Count, try.Next = e.Try.Count, e.Try.Next
		}
		if e.Try.Plan != try.Plan || !e.Try.Ready || !e.Try.Opens.Equal(try.Opens) || e.Try.Short != try.Short {
			rec.Tries = put(rec.Tries, o.Update, try)
		}
		cause := installation.WindowClosed
		if g.Code == terms.ClockBehind {
			cause = installation.UntrustedClock
		}
		if g.Code != terms.DownloadOnly && (e.State != installation.Blocked || e.Cause != cause || e.Detail != clip(g.Text, 1000)) {
			rec.Reports = append(rec.Reports, a.lead(e.State, a.report(o.Update, installation.Blocked, cause, g.Text))...)
		}
	}
	return a.write(rec)
}

// tellClosed keeps up the reasons of what waits for its terms.
func (a *Agent) tellClosed(q *queue) error {
	var out []order
	for _, o := range q.open {
		if _, ok := q.closed[o.Update]; ok && o.shutOut(a.journal.Entry(o.Update)) {
			out = append(out, o)
		}
	}
	return a.wait(out, q.closed)
}

// known brings what is remembered of windows up to what the plan says, and returns the moment of a pass that begins.
func (a *Agent) known(h *held) (terms.Moment, error) {
	m := a.moment()
	return m, a.mark(&m, terms.Known(h.terms, m.Runs.Marks, m.Now))
}

// mark makes marks durable, if they changed.
func (a *Agent) mark(m *terms.Moment, marks map[string]time.Time) error {
	m.Runs = a.journal.Runs()
	if maps.EqualFunc(marks, m.Runs.Marks, time.Time.Equal) {
		return nil
	}
	m.Runs.Marks = marks
	runs := m.Runs
	return a.write(journal.Record{Runs: &runs})
}

// begins notes in rec that runs begin with these orders.
func (a *Agent) begins(rec *journal.Record, orders []order) {
	m := a.moment()
	began := m.Runs.Began
	for _, o := range orders {
		if o.terms != nil {
			began = o.terms.Begin(m, began)
		}
	}
	if !maps.Equal(began, m.Runs.Began) {
		runs := m.Runs
		runs.Began = began
		rec.Runs = &runs
	}
}

// took notes how long a transaction took.
func (a *Agent) took(o order, n int, d time.Duration) error {
	if o.back() || n == 0 {
		return nil
	}
	runs := a.journal.Runs()
	runs.Took = terms.Took(runs.Took, tookKind(o), n, d)
	return a.write(journal.Record{Runs: &runs})
}

// tookKind is the manager whose transactions are as long as those of an order.
func tookKind(o order) string {
	if o.side() {
		return "beside"
	}
	return "packages"
}

// rest waits until next by the device's clock, until there is work, and until the clock or the zone of the device is set
// anew. It reports whether to go on.
func (a *Agent) rest(ctx context.Context, next time.Time) bool {
	next = next.Round(0)
	zone := a.place.name
	for {
		now := a.opt.Now().Round(0)
		step := min(max(next.Sub(now), 0), askAgain)
		timer := time.NewTimer(step)
		select {
		case <-ctx.Done():
			timer.Stop()
			return false
		case <-a.work:
			timer.Stop()
			return true
		case <-timer.C:
		}
		after := a.opt.Now().Round(0)
		drift := after.Sub(now) - step
		if !after.Before(next) || drift > clockStep || drift < -clockStep {
			return true
		}
		if a.windowed() && a.opt.Device.Facts().TimeZone != zone {
			a.place.read = time.Time{}
			return true
		}
	}
}

// windowed reports whether the plan has windows.
func (a *Agent) windowed() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.held != nil && slices.ContainsFunc(a.held.plan.Terms, func(t wire.PlanTerms) bool { return len(t.Schedules) > 0 })
}

// pause is how long to wait after so many failed attempts; ok is false when that was the last.
func (a *Agent) pause(r wire.PlanRetries, failed int) (d time.Duration, ok bool) {
	switch {
	case failed < 1 || failed > a.retries(r):
		return 0, false
	case r.Attempts == 0:
		return a.opt.Timing.Retry[failed-1], true
	}
	return r.Delay(failed)
}

// retries is how often something is tried again after its first failure.
func (a *Agent) retries(r wire.PlanRetries) int {
	if r.Attempts == 0 {
		return len(a.opt.Timing.Retry)
	}
	return r.Attempts
}

// caused puts the cause of an order that takes something back on the reports of that.
func caused(p journal.Part, reports []wire.Report) []wire.Report {
	for i := range reports {
		switch reports[i].State {
		case installation.Removing, installation.Removed, installation.RemoveFailed:
			if p.Cause != "" {
				reports[i].Cause = p.Cause
			}
		}
	}
	return reports
}
