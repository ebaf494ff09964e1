package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"assent/agent/internal/journal"
	"assent/agent/internal/pkgmgr"
	"assent/agent/internal/terms"
	"assent/catalog"
	"assent/installation"
)

// queue is what is open of a plan in one pass. It gives it out in transactions: steps back first, then removals, then
// installs; one package manager each; what is exclusive by itself; and nothing before what it needs.
type queue struct {
	open    []order                           // not given out yet
	missing map[string]order                  // installs that are not there yet, given out or not
	due     func(order) bool                  // it may be tried now
	waits   func(order) bool                  // its next attempt is still before it
	shut    map[bool]bool                     // managers that do not work in this pass; true is the side one
	closed  map[catalog.UpdateID]terms.Answer // orders that are fetched in this pass and do not begin
}

// queue makes the queue of what is open of all orders of a plan. shut are those that may not begin now.
func (a *Agent) queue(orders, open []order, shut map[catalog.UpdateID]terms.Answer) *queue {
	q := &queue{open: slices.Clone(open), missing: map[string]order{}, waits: a.waits, shut: map[bool]bool{}, closed: shut}
	q.due = func(o order) bool { return a.due(o, q.later(o)) }
	for _, o := range orders {
		if !o.back() && (contains(open, o) || !a.stands(o)) {
			q.missing[string(o.Update)] = o
		}
	}
	return q
}

// stands reports whether an update was found installed and, where it has a health probe, well.
func (a *Agent) stands(o order) bool {
	s := a.journal.Entry(o.Update).State
	return s == installation.Installed || s == installation.RestartRequired
}

// together reports whether two orders may be one transaction.
func together(a, b order) bool {
	return a.kind == b.kind && a.side() == b.side() && (!a.exclusive && !b.exclusive || a.Update == b.Update)
}

// follows reports whether need must be installed before o: it is a prerequisite, or cannot be one transaction with it.
func (o order) follows(need order) bool {
	return !together(o, need) || slices.Contains(o.after, string(need.Update))
}

// next takes the orders of one transaction out of the queue; none when nothing more can be done in this pass.
func (q *queue) next() []order {
	var batch []order
	for _, turn := range []struct {
		kind  kind
		later bool
	}{{toStepBack, false}, {toRemove, false}, {toInstall, false}, {toInstall, true}} {
		for _, o := range q.open {
			if o.kind == turn.kind && q.later(o) == turn.later && !q.shut[o.side()] && (len(batch) == 0 || together(batch[0], o)) && q.due(o) && q.holdup(o) == nil {
				o.later = turn.later
				batch = append(batch, o)
			}
		}
		if len(batch) > 0 {
			break
		}
	}
	q.open = slices.DeleteFunc(q.open, func(o order) bool { return contains(batch, o) })
	return batch
}

// later reports whether an order is only fetched now.
func (q *queue) later(o order) bool {
	_, ok := q.closed[o.Update]
	return ok && !o.back()
}

// holdup is the order that o cannot go before; nil if there is none. What may be one transaction with o only has to be
// ready for it; the rest, prerequisites among it (T3), has to be installed.
func (q *queue) holdup(o order) *order {
	seen := map[string]bool{}
	later := q.later(o)
	var look func(o order) *order
	look = func(o order) *order {
		seen[string(o.Update)] = true
		for _, id := range o.closure {
			need, missing := q.missing[id]
			if !missing {
				continue
			}
			if o.follows(need) || q.waits(need) || q.later(need) && !later {
				return &need // also where that leads back to the beginning: it cannot be carried out
			}
			if seen[id] {
				continue
			}
			if h := look(need); h != nil {
				return h
			}
		}
		return nil
	}
	if o.back() {
		return nil
	}
	return look(o)
}

// circular reports whether o waits for something that waits for o.
func (q *queue) circular(o order) bool {
	seen := map[string]bool{}
	for h := q.holdup(o); h != nil && !seen[string(h.Update)]; h = q.holdup(*h) {
		if h.Update == o.Update {
			return true
		}
		seen[string(h.Update)] = true
	}
	return false
}

// advance carries out what is open, one transaction after the other. A package manager that does not work keeps only
// its own orders back.
func (a *Agent) advance(ctx context.Context, h *held, orders, open []order) error {
	m := a.moment()
	q := a.queue(orders, open, closed(open, func(o order) terms.Answer { return a.gate(o, m) }))
	var troubles []error
	for batch := q.next(); len(batch) > 0; batch = q.next() {
		err := a.carry(ctx, h, batch)
		if err != nil && (ctx.Err() != nil || errors.Is(err, errPlanChanged) || errors.Is(err, errClosed) || a.journal.Flight() != nil) {
			return err
		}
		if err != nil {
			q.shut[batch[0].side()] = true
			troubles = append(troubles, err)
			continue
		}
		for _, o := range batch {
			if a.stands(o) {
				delete(q.missing, string(o.Update))
			}
		}
	}
	return errors.Join(append(troubles, a.tellWaiting(h, q), a.tellClosed(q))...)
}

// tellWaiting says of what could not go because something else has to be there first what that is.
func (a *Agent) tellWaiting(h *held, q *queue) error {
	var rec journal.Record
	for _, o := range q.open {
		on := q.holdup(o)
		if on == nil || !o.follows(*on) {
			continue
		}
		if q.circular(o) {
			refusal := &pkgmgr.Refusal{Cause: installation.Unresolvable, Detail: fmt.Sprintf("%s and %s need each other first, and cannot be one transaction", o.name(), on.name())}
			if err := a.block(h, []order{o}, func(order) *pkgmgr.Refusal { return refusal }); err != nil {
				return err
			}
			continue
		}
		e := a.journal.Entry(o.Update)
		detail := "waits for " + on.name() + ", which has to be installed first"
		if e.State == installation.Assigned && e.Detail != detail || fresh(e.State) {
			rec.Reports = append(rec.Reports, a.lead(e.State, a.report(o.Update, installation.Assigned, "", detail))...)
		}
	}
	return a.write(rec)
}
