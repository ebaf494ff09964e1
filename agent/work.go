package agent

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"assent/agent/internal/journal"
	"assent/agent/internal/pkgmgr"
	"assent/agent/internal/terms"
	"assent/agent/internal/uplink"
	"assent/catalog"
	"assent/installation"
	"assent/wire"
)

// pass results are when the next pass is due without any signal.
const (
	idlePass  = time.Hour
	brokeWait = 30 * time.Second
)

// errPlanChanged says that the accepted plan does not order any more what was about to be done.
var errPlanChanged = errors.New("the plan changed")

// workLoop makes the accepted plan true, whenever something changed and when a retry is due.
func (a *Agent) workLoop(ctx context.Context) {
	var back uplink.Backoff
	if a.opt.Await != nil {
		a.opt.Await(ctx)
	}
	for ctx.Err() == nil {
		shutting := a.shutsDown()
		next, err := a.pass(ctx)
		if errors.Is(err, errPlanChanged) || errors.Is(err, errClosed) {
			sleep(ctx, time.Second, a.work) // the new plan is here or about to be
			continue
		}
		if shutting {
			a.letGo()
		}
		a.fail("work", err)
		if err != nil {
			if !sleep(ctx, max(back.Next(err), time.Second)) { // no signal may turn an error into a hot loop
				return
			}
			continue
		}
		back.Reset()
		if !a.rest(ctx, next) {
			return
		}
	}
}

// pass brings the device as near to the plan as it can be brought now. It returns when to look again.
func (a *Agent) pass(ctx context.Context) (time.Time, error) {
	later := a.opt.Now().Add(idlePass)
	release, err := a.own(ctx)
	if err != nil {
		return later, err
	}
	defer release()
	if until, going := a.goesDown(); going && !a.shutsDown() {
		return until, nil // nothing begins that the restart would cut short
	}
	if err := a.resolve(ctx); err != nil {
		return later, err
	}
	if err := a.restarted(); err != nil {
		return later, err
	}
	h, until := a.actable(ctx)
	if h == nil {
		return until, nil
	}
	defer a.settledPlan(h)
	orders := ordersOf(h)
	m, err := a.known(h)
	if err != nil {
		return later, err
	}
	if err := a.withdraw(orders); err != nil {
		return later, err
	}
	open, err := a.settle(ctx, h, orders)
	if err != nil {
		return later, err
	}
	if err := a.advance(ctx, h, orders, open); err != nil {
		return later, err
	}
	if err := a.mark(&m, terms.Ran(h.terms, m, m.Runs.Marks)); err != nil {
		return later, err
	}
	return a.nextPass(h, orders), nil
}

// actable returns the plan if it may be acted upon now, and else when to ask again.
func (a *Agent) actable(ctx context.Context) (*held, time.Time) {
	a.mu.Lock()
	h, newer, now, real := a.held, a.newer, a.clock(), a.opt.Now()
	seen := a.snap != nil
	a.mu.Unlock()
	soon := real.Add(brokeWait)
	if h == nil {
		return nil, real.Add(idlePass)
	}
	walled := a.fence(ctx, h) == nil // the walls stand even when nothing may be installed
	switch {
	case now.Sub(real) > maxSkew:
		a.fail("clock", fmt.Errorf("untrusted clock: the device says %s, but it is at least %s; nothing is installed until the clock is right",
			real.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339)))
		return nil, real.Add(time.Minute)
	case !now.Before(h.body.Expires):
		a.fail("clock", nil)
		a.fail("plan", fmt.Errorf("the plan expired at %s: nothing is installed until the server gives a new one; what is declined stays out", h.body.Expires.UTC().Format(time.RFC3339)))
		return nil, real.Add(idlePass)
	case newer != "":
		return nil, soon // there is a newer decision; its plan is on its way
	case !seen || !walled:
		return nil, soon
	}
	a.fail("clock", nil)
	return h, time.Time{}
}

// withdraw forgets what the plan does not order any more. Nothing of it is running: a transaction is always resolved first.
func (a *Agent) withdraw(orders []order) error {
	ordered := map[catalog.UpdateID]bool{}
	for _, o := range orders {
		ordered[o.Update] = true
	}
	var rec journal.Record
	for id, e := range a.journal.Updates() {
		if ordered[id] || e.State == installation.RestartRequired {
			continue
		}
		switch e.State {
		case installation.Installed, installation.Removed, installation.Applicable, installation.NotApplicable, installation.Unknown, "":
		case installation.Failed, installation.RemoveFailed: // it may lie there half done: withdrawing the order does not make that good
		case installation.Removing: // it was not taken back, so it is there
			rec.Reports = append(rec.Reports, a.report(id, installation.Installed, "", "it is no longer to be taken off this device"))
		default:
			rec.Reports = append(rec.Reports, a.report(id, installation.Applicable, "", "no longer in the plan of this device"))
		}
		rec.Forget = append(rec.Forget, id)
	}
	return a.write(rec)
}

// settle finds out what is true already and returns the rest. What is there though we did not do it is reported
// as such (V4); what has a health probe only after that passed (V3).
func (a *Agent) settle(ctx context.Context, h *held, orders []order) ([]order, error) {
	orders, err := a.understood(h, orders)
	if err != nil || len(orders) == 0 {
		return nil, err
	}
	var items []catalog.Item
	for _, o := range orders {
		items = append(items, o.Items...)
	}
	there, health, err := a.verify(ctx, items)
	if err != nil {
		return nil, fmt.Errorf("look at what is installed: %w", err)
	}
	var open, found []order
	for _, o := range orders {
		switch {
		case o.done(a.journal.Entry(o.Update), there):
		case o.met(there):
			found = append(found, o)
		default:
			o.left = there.remaining(o.Items)
			open = append(open, o)
		}
	}
	return open, a.already(ctx, h, found, there, health)
}

// understood takes out of orders those that this agent cannot carry out whatever happens, and says why.
func (a *Agent) understood(h *held, orders []order) ([]order, error) {
	var out, rest []order
	for _, o := range orders {
		switch {
		case o.strange() == nil:
			out = append(out, o)
		case !a.sieved.fresh(o, a.stamp(), a.opt.Now()):
			rest = append(rest, o)
		}
	}
	return out, a.block(h, rest, order.strange)
}

// verify reads from the device what is there of items.
func (a *Agent) verify(ctx context.Context, items []catalog.Item) (presence, pkgmgr.Health, error) {
	found, health, err := a.opt.Manager.Verify(ctx, items)
	if err == nil && len(found) != len(items) {
		err = fmt.Errorf("%d answers about %d items", len(found), len(items))
	}
	if err != nil {
		return nil, health, err
	}
	there := presence{}
	for i, it := range items {
		there[it] = found[i]
	}
	return there, health, nil
}

// already reports orders that are met without a transaction of this pass.
func (a *Agent) already(ctx context.Context, h *held, found []order, there presence, health pkgmgr.Health) error {
	found = slices.DeleteFunc(found, func(o order) bool {
		return (probed(o.Part) || a.journal.Entry(o.Update).Cause == installation.RestartFailed) && a.waits(o)
	})
	var parts []journal.Part
	for _, o := range found {
		parts = append(parts, o.Part)
	}
	probed, err := a.probe(ctx, parts)
	if err != nil {
		return err
	}
	var rec journal.Record
	now, unwell := a.opt.Now(), a.unwell(ctx, found)
	for _, o := range found {
		e := a.journal.Entry(o.Update)
		state, cause, detail := installation.Installed, installation.Cause(""), "already there: "+a.how(o.Items)
		switch problem := probed[o.Update]; {
		case o.kind == toStepBack:
			state, detail = installation.Removed, "the previous versions were there already"
			rec.Tries = put(rec.Tries, o.Update, journal.Try{Plan: o.key, Act: o.Act})
		case o.kind == toRemove:
			state, detail = installation.Removed, "it was gone already"
			rec.Tries = put(rec.Tries, o.Update, journal.Try{Plan: o.key, Act: o.Act})
		case problem != nil:
			try := a.lookAgain(o.Retries, e.Try, o.key, now)
			state, cause, detail = installation.Failed, installation.ProbeFailed, probing(try, problem)
			rec.Tries = put(rec.Tries, o.Update, try)
		case e.Cause == installation.RestartFailed && unwell != "":
			try := a.lookAgain(o.Retries, e.Try, o.key, now)
			state, cause, detail = installation.Failed, installation.RestartFailed, afterRestart(try, unwell)
			rec.Tries = put(rec.Tries, o.Update, try)
		case e.Cause == installation.RestartFailed:
			detail = "what the restart left undone is done now"
			rec.Tries = put(rec.Tries, o.Update, journal.Try{Plan: o.key})
		case e.Cause == installation.ProbeFailed:
			detail = "its health probe passes now"
			rec.Tries = put(rec.Tries, o.Update, journal.Try{Plan: o.key})
		}
		r := a.report(o.Update, state, cause, detail)
		r.Proof = &wire.Proof{Plan: h.body.Plan, Counter: h.body.Counter, Finished: now, Items: there.of(o.Items, nil, nil), AuditClean: health.Broken == "", Probe: verdict(o.Part, probed)}
		rec.Reports = append(rec.Reports, caused(o.Part, a.lead(e.State, r))...)
	}
	return a.write(rec)
}

// how says how the versions of items came onto the device (V4).
func (a *Agent) how(items []catalog.Item) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var hows []string
	for _, p := range a.snap.Inventory.Packages {
		for _, it := range items {
			if p.Name == it.Name && p.Arch == it.Arch && p.Version == it.Version && (p.Ecosystem == catalog.Generic) == it.Format.Side() && p.How != "" && !slices.Contains(hows, p.How) {
				hows = append(hows, p.How)
			}
		}
	}
	return cmp.Or(clip(strings.Join(hows, ", "), 300), "not known how")
}

// due says whether an order may be tried now: not before its next attempt, not after its last one, and what is blocked
// only when something changed. What is only fetched now is so once, and not after it failed to install.
func (a *Agent) due(o order, later bool) bool {
	e := a.journal.Entry(o.Update)
	tried := e.Try.Plan == o.key
	switch {
	case a.waits(o) || tried && e.Try.Count > a.retries(o.Retries):
		return false
	case later && (o.shutOut(e) || tried && e.State == installation.Failed && e.Cause != installation.ContentUnavailable):
		return false
	case o.shutOut(e):
		return true
	}
	return e.State != installation.Blocked || !a.sieved.fresh(o, a.stamp(), a.opt.Now())
}

// waits reports whether an order has its next attempt still before it. What needs it waits with it.
func (a *Agent) waits(o order) bool {
	e := a.journal.Entry(o.Update)
	return e.Try.Plan == o.key && a.opt.Now().Before(e.Try.Next)
}

// nextPass is when the first retry is due, what is blocked is to be looked at again, or the plan expires.
func (a *Agent) nextPass(h *held, orders []order) time.Time {
	now := a.opt.Now()
	next := now.Add(idlePass)
	sooner := func(at time.Time) {
		if at.After(now) && at.Before(next) {
			next = at
		}
	}
	sooner(h.body.Expires)
	m := a.moment()
	for _, o := range orders {
		e := a.journal.Entry(o.Update)
		if g := a.gate(o, m); !g.Open {
			sooner(g.Opens)
		}
		if e.Try.Plan == o.key {
			sooner(e.Try.Next)
		}
		if e.State == installation.Blocked {
			sooner(a.sieved.again(o))
		}
	}
	return next
}

// stamp names the state of the device that was last scanned.
func (a *Agent) stamp() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.snap == nil {
		return ""
	}
	return a.snap.Stamp
}

// restarted ends the wait for a restart where one happened or is not asked for any more.
func (a *Agent) restarted() error {
	a.mu.Lock()
	seen, pending := a.snap != nil && (a.opt.Restart == nil || a.restarts.seen), len(a.pendingIn(a.snap)) > 0
	a.mu.Unlock()
	if a.proving() {
		return nil
	}
	boot := a.opt.Device.BootID()
	var rec journal.Record
	for id, e := range a.journal.Updates() {
		if e.State == installation.RestartRequired && (boot != e.Try.Boot || seen && !pending) {
			rec.Reports = append(rec.Reports, a.report(id, installation.Installed, "", "the device was restarted since"))
			rec.Tries = put(rec.Tries, id, journal.Try{Plan: e.Try.Plan})
		}
	}
	return a.write(rec)
}

// report makes a report of a state; write makes it true.
func (a *Agent) report(id catalog.UpdateID, state installation.State, cause installation.Cause, detail string) wire.Report {
	return wire.Report{ID: rand.Text(), At: a.opt.Now().UTC(), Update: id, State: state, Cause: cause, Detail: clip(detail, 1000)}
}

// lead puts before r what the table of V1 needs to get from a state to r's: the facts and steps that lie between them.
func (a *Agent) lead(from installation.State, r wire.Report) []wire.Report {
	var out []wire.Report
	for _, between := range way(from, r.State) {
		out = append(out, a.report(r.Update, between, "", "found by looking"))
	}
	return append(out, r) // where there is no way the journal refuses it, loudly
}

// way finds the fewest states that lead from one to another by the table of V1; none when it is one step, or cannot be.
func way(from, to installation.State) []installation.State {
	paths := [][]installation.State{nil}
	for range 3 {
		var longer [][]installation.State
		for _, p := range paths {
			at := from
			if len(p) > 0 {
				at = p[len(p)-1]
			}
			if installation.Check(at, to) == nil {
				return p
			}
			for _, next := range []installation.State{installation.ResultUnknown, installation.Applicable, installation.Installed, installation.Unknown, installation.Assigned, installation.Removing} {
				if installation.Check(at, next) == nil {
					longer = append(longer, append(slices.Clone(p), next))
				}
			}
		}
		paths = longer
	}
	return nil
}

// write journals a record, if there is anything in it. Without it the step it announces must not be taken.
func (a *Agent) write(rec journal.Record) error {
	if len(rec.Reports) == 0 && len(rec.Tries) == 0 && len(rec.Forget) == 0 && rec.Flight == nil && rec.Landed == "" && rec.Restart == nil && rec.Runs == nil {
		return nil
	}
	err := a.journal.Write(rec)
	a.fail("journal", err)
	if err == nil && len(rec.Reports) > 0 {
		signal(a.mail)
	}
	return err
}

func put[K comparable, V any](m map[K]V, k K, v V) map[K]V {
	if m == nil {
		m = map[K]V{}
	}
	m[k] = v
	return m
}
