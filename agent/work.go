package agent

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"assent/agent/internal/journal"
	"assent/agent/internal/pkgmgr"
	"assent/agent/internal/uplink"
	"assent/catalog"
	"assent/installation"
	"assent/wire"
)

// order is one line of the plan that is to become true on the device.
type order struct {
	journal.Part
	rollback bool
	closure  []string // updates that the package manager needs with it
	key      string   // what its attempts count for: the plan's digest, or the act of a rollback
}

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
	for ctx.Err() == nil {
		next, err := a.pass(ctx)
		if errors.Is(err, errPlanChanged) {
			sleep(ctx, time.Second, a.work) // the new plan is here or about to be
			continue
		}
		a.fail("work", err)
		wait := next.Sub(a.opt.Now())
		if err != nil {
			wait = max(back.Next(err), time.Second)
			if !sleep(ctx, wait) { // no signal may turn an error into a hot loop
				return
			}
			continue
		}
		back.Reset()
		if !sleep(ctx, wait, a.work) {
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
	orders := ordersOf(h)
	if err := a.withdraw(orders); err != nil {
		return later, err
	}
	open, err := a.settle(ctx, h, orders)
	if err != nil {
		return later, err
	}
	waiting := map[string]bool{}
	for _, o := range open {
		if a.waits(o) {
			waiting[string(o.Update)] = true
		}
	}
	for _, rollback := range []bool{true, false} {
		var batch []order
		for _, o := range open {
			needsWaiting := slices.ContainsFunc(o.closure, func(id string) bool { return waiting[id] })
			if o.rollback == rollback && !needsWaiting && a.due(o) {
				batch = append(batch, o)
			}
		}
		if err := a.carry(ctx, h, batch); err != nil {
			return later, err
		}
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

// ordersOf lists what the plan orders: rollbacks, then installs.
func ordersOf(h *held) []order {
	var out []order
	for _, rb := range h.plan.Rollback {
		o := order{rollback: true, key: "act " + strconv.FormatInt(rb.Act, 10), Part: journal.Part{Update: rb.Update, Act: rb.Act}}
		for _, it := range rb.Items {
			o.Items = append(o.Items, catalog.Item{Name: it.Name, Arch: it.Arch, Version: it.Version, Size: it.Size, SHA256: it.SHA256})
		}
		out = append(out, o)
	}
	for _, in := range h.plan.Install {
		out = append(out, order{key: h.body.Plan, closure: in.Closure, Part: journal.Part{Update: in.Update, Items: in.Items, Extras: in.Extras}})
	}
	return out
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
		default:
			rec.Reports = append(rec.Reports, a.report(id, installation.Applicable, "", "no longer in the plan of this device"))
		}
		rec.Forget = append(rec.Forget, id)
	}
	return a.write(rec)
}

// settle finds out what is true already and returns the rest. What is there though we did not do it is reported
// as such (V4).
func (a *Agent) settle(ctx context.Context, h *held, orders []order) ([]order, error) {
	var items []catalog.Item
	for _, o := range orders {
		items = append(items, o.Items...)
	}
	if len(items) == 0 {
		return nil, nil
	}
	found, health, err := a.opt.Manager.Verify(ctx, items)
	if err != nil {
		return nil, fmt.Errorf("look at what is installed: %w", err)
	}
	there := index(found)
	var open []order
	var rec journal.Record
	for _, o := range orders {
		e := a.journal.Entry(o.Update)
		done := e.State == installation.Installed || e.State == installation.RestartRequired
		if o.rollback {
			done = e.State == installation.Removed && e.Try.Act == o.Act
		}
		if done && (o.rollback || there.hold(o.Items)) {
			continue
		}
		if !there.hold(o.Items) {
			open = append(open, o)
			continue
		}
		state, detail := installation.Installed, "already there: "+a.how(o.Items)
		if o.rollback {
			state, detail = installation.Removed, "the previous versions were there already"
			rec.Tries = put(rec.Tries, o.Update, journal.Try{Plan: o.key, Act: o.Act})
		}
		r := a.report(o.Update, state, "", detail)
		r.Proof = &wire.Proof{Plan: h.body.Plan, Counter: h.body.Counter, Finished: a.opt.Now(), Items: there.of(o.Items, nil, nil), AuditClean: health.Broken == ""}
		rec.Reports = append(rec.Reports, a.lead(e.State, r)...)
	}
	return open, a.write(rec)
}

// how says how the versions of items came onto the device (V4).
func (a *Agent) how(items []catalog.Item) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var hows []string
	for _, p := range a.snap.Inventory.Packages {
		for _, it := range items {
			if p.Name == it.Name && p.Arch == it.Arch && p.Version == it.Version && p.How != "" && !slices.Contains(hows, p.How) {
				hows = append(hows, p.How)
			}
		}
	}
	return cmp.Or(clip(strings.Join(hows, ", "), 300), "not known how")
}

// due says whether an order may be tried now: not before its next attempt, not after its last one, and what is blocked
// only when something changed.
func (a *Agent) due(o order) bool {
	e := a.journal.Entry(o.Update)
	if a.waits(o) || e.Try.Plan == o.key && e.Try.Count > len(a.opt.Timing.Retry) {
		return false
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
	for _, o := range orders {
		e := a.journal.Entry(o.Update)
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
	seen, pending := a.snap != nil, a.snap != nil && len(a.snap.Restart) > 0
	a.mu.Unlock()
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

// lead puts before r what the table of V1 needs to get from a state to r's: the fact that lies between them.
func (a *Agent) lead(from installation.State, r wire.Report) []wire.Report {
	if installation.Check(from, r.State) == nil {
		return []wire.Report{r}
	}
	for _, between := range []installation.State{installation.ResultUnknown, installation.Applicable, installation.Installed, installation.Unknown} {
		if installation.Check(from, between) == nil && installation.Check(between, r.State) == nil {
			return []wire.Report{a.report(r.Update, between, "", "found by looking"), r}
		}
	}
	return []wire.Report{r} // the journal refuses it, loudly
}

// write journals a record, if there is anything in it. Without it the step it announces must not be taken.
func (a *Agent) write(rec journal.Record) error {
	if len(rec.Reports) == 0 && len(rec.Tries) == 0 && len(rec.Forget) == 0 && rec.Flight == nil && rec.Landed == "" {
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

// presence is what was found on the device, by name and architecture.
type presence map[[2]string]wire.ProofItem

func index(found []wire.ProofItem) presence {
	p := presence{}
	for _, f := range found {
		p[[2]string{f.Name, f.Arch}] = f
	}
	return p
}

// has reports whether an item is there at exactly its version and fully configured (V3).
func (p presence) has(it catalog.Item) bool {
	f, ok := p[[2]string{it.Name, it.Arch}]
	return ok && f.Version == it.Version && (f.Status == "ii" || f.Status == "hi")
}

func (p presence) hold(items []catalog.Item) bool {
	for _, it := range items {
		if !p.has(it) {
			return false
		}
	}
	return true
}

// of makes the proof of items and of those extras that came in. before has the changes that were made.
func (p presence) of(items, extras []catalog.Item, before []wire.Change) []wire.ProofItem {
	var out []wire.ProofItem
	add := func(it catalog.Item, extra bool) {
		f := p[[2]string{it.Name, it.Arch}]
		f.Name, f.Arch, f.Extra = it.Name, it.Arch, extra
		if f.Version == it.Version {
			f.SHA256 = it.SHA256
		}
		for _, c := range before {
			if c.Name == it.Name && c.Arch == it.Arch {
				f.Previous = c.From
			}
		}
		out = append(out, f)
	}
	for _, it := range items {
		add(it, false)
	}
	for _, it := range extras {
		if p.has(it) {
			add(it, true)
		}
	}
	return out
}

// wantOf is what the package manager is asked for.
func wantOf(orders []order) pkgmgr.Want {
	var w pkgmgr.Want
	seen := map[catalog.Item]bool{}
	add := func(to *[]catalog.Item, items []catalog.Item) {
		for _, it := range items {
			if !seen[it] {
				seen[it] = true
				*to = append(*to, it)
			}
		}
	}
	for _, o := range orders {
		add(&w.Items, o.Items)
		w.Downgrade = w.Downgrade || o.rollback
	}
	for _, o := range orders {
		add(&w.Extras, o.Extras)
	}
	return w
}
