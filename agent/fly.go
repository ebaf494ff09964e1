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

	"assent/agent/internal/command"
	"assent/agent/internal/journal"
	"assent/agent/internal/pkgmgr"
	"assent/catalog"
	"assent/installation"
	"assent/wire"
)

// fetching is a download that a new plan may make pointless.
type fetching struct {
	orders []order
	cancel context.CancelCauseFunc
}

// carry takes a batch of orders as far as it goes: simulate, fetch, apply, verify.
func (a *Agent) carry(ctx context.Context, h *held, batch []order) error {
	if len(batch) == 0 {
		return nil
	}
	defer a.hush()()
	if err := a.assign(batch); err != nil {
		return err
	}
	if err := a.mend(ctx); err != nil && !batch[0].side() {
		return err // what is installed beside the packages does not need them to be well
	}
	tx, good, err := a.admit(ctx, h, batch)
	if err != nil || len(good) == 0 {
		return err
	}
	tx, good, err = a.fetch(ctx, h, tx, good)
	if err != nil || len(good) == 0 {
		return err
	}
	for {
		kept, err := a.within(tx, good)
		if err != nil || len(kept) == 0 {
			return err
		}
		if len(kept) == len(good) {
			return a.fly(ctx, h, tx, good)
		}
		if tx, good, err = a.admit(ctx, h, kept); err != nil || len(good) == 0 {
			return err
		}
	}
}

// assign reports orders that are new to this device.
func (a *Agent) assign(batch []order) error {
	var rec journal.Record
	for _, o := range batch {
		e := a.journal.Entry(o.Update)
		if !o.back() && fresh(e.State) {
			rec.Reports = append(rec.Reports, a.lead(e.State, a.report(o.Update, installation.Assigned, "", ""))...)
		}
	}
	return a.write(rec)
}

// fresh reports whether a state says nothing of an order that is under way.
func fresh(s installation.State) bool {
	switch s {
	case "", installation.Unknown, installation.Applicable, installation.NotApplicable, installation.Installed,
		installation.RestartRequired, installation.Removed, installation.ResultUnknown:
		return true
	}
	return false
}

// mend brings a package manager that somebody left half way back to work before anything is asked of it. What it
// cannot repair it does not try to again and again: a package whose script fails need not stop the others, and the
// package manager itself says so if it does.
func (a *Agent) mend(ctx context.Context) error {
	broken, now := a.broken(), a.opt.Now()
	if broken == "" || broken == a.mended.what && now.Sub(a.mended.at) < a.opt.Timing.Recheck {
		return nil
	}
	defer a.doing("repairing the package manager: %s", broken)()
	health, err := a.opt.Manager.Recover(ctx)
	if err != nil {
		return fmt.Errorf("repair the package manager: %w", err)
	}
	a.mended = mended{health.Broken, now}
	return a.look(ctx)
}

// broken is what was wrong with the package manager at the last look.
func (a *Agent) broken() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.snap == nil {
		return ""
	}
	return a.snap.Health.Broken
}

// mended is what could not be repaired, and when that was tried.
type mended struct {
	what string
	at   time.Time
}

// move journals a state for all orders, before the step that it announces.
func (a *Agent) move(orders []order, state installation.State, detail string) error {
	var rec journal.Record
	for _, o := range orders {
		if e := a.journal.Entry(o.Update); e.State != state {
			rec.Reports = append(rec.Reports, caused(o.Part, a.lead(e.State, a.report(o.Update, state, "", detail)))...)
		}
	}
	return a.write(rec)
}

// fetch downloads what the transaction needs. If that fails for all together, it is found out for whom it fails.
func (a *Agent) fetch(ctx context.Context, h *held, tx pkgmgr.Transaction, orders []order) (pkgmgr.Transaction, []order, error) {
	state := installation.Downloading
	if orders[0].back() {
		state = installation.Removing
	}
	if err := a.move(a.unheard(orders), state, ""); err != nil || orders[0].kind == toRemove {
		return tx, orders, err // nothing comes in for a removal
	}
	err := a.download(ctx, orders, tx)
	if err != nil && len(orders) > 1 && fetchFault(ctx, err) {
		tx, orders, err = a.fetchEach(ctx, h, orders)
		if err == nil && len(orders) > 0 {
			err = a.download(ctx, orders, tx)
		}
	}
	if err != nil && fetchFault(ctx, err) {
		return tx, nil, a.strike(h, orders, err)
	}
	if err != nil {
		return tx, nil, err
	}
	journal.CrashPoint(journal.Fetched)
	if len(orders) == 0 || orders[0].back() {
		return tx, orders, nil
	}
	return tx, orders, a.move(a.unheard(orders), installation.Downloaded, "")
}

// unheard leaves out the orders that were fetched before and still wait for their terms: that this is done once more, for another
// plan, is no news.
func (a *Agent) unheard(orders []order) []order {
	return slices.DeleteFunc(slices.Clone(orders), func(o order) bool {
		e := a.journal.Entry(o.Update)
		return o.later && (e.State == installation.Downloaded || e.State == installation.Blocked && e.Try.Ready && (e.Cause == installation.WindowClosed || e.Cause == installation.UntrustedClock))
	})
}

// fetchFault reports whether a failed fetch says something about the updates, and not about us.
func fetchFault(ctx context.Context, err error) bool {
	return ctx.Err() == nil && !errors.Is(err, errPlanChanged)
}

// fetchEach fetches each order by itself, with what it needs, and returns those that can be had and their common transaction.
func (a *Agent) fetchEach(ctx context.Context, h *held, orders []order) (pkgmgr.Transaction, []order, error) {
	s := sieve{simulate: a.opt.Manager.Simulate, all: map[catalog.UpdateID]order{}, refused: map[catalog.UpdateID]*pkgmgr.Refusal{}}
	for _, o := range orders {
		s.all[o.Update] = o
	}
	var good []order
	for _, o := range orders {
		tx, err := a.opt.Manager.Simulate(ctx, wantOf(s.with(nil, []order{o})))
		if err == nil {
			err = a.download(ctx, []order{o}, tx)
		}
		if err != nil && !fetchFault(ctx, err) {
			return tx, nil, err
		}
		if err != nil {
			if err := a.strike(h, []order{o}, err); err != nil {
				return tx, nil, err
			}
			delete(s.all, o.Update)
			continue
		}
		good = append(good, o)
	}
	good, err := s.sift(ctx, nil, good)
	return s.tx, good, err
}

// download fetches the files of one transaction. A new plan that does not order all of it any more ends it.
func (a *Agent) download(ctx context.Context, orders []order, tx pkgmgr.Transaction) error {
	defer a.doing("downloading %d updates", len(orders))()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	a.mu.Lock()
	a.fetching = &fetching{orders: orders, cancel: cancel}
	a.dropFetch(a.held)
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		a.fetching = nil
		a.mu.Unlock()
	}()
	err := a.opt.Manager.Fetch(ctx, tx, nil)
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// dropFetch ends a running download if h does not order all of it. The caller holds a.mu.
func (a *Agent) dropFetch(h *held) {
	if a.fetching == nil || a.newer == "" && h.covers(a.fetching.orders) {
		return
	}
	a.fetching.cancel(errPlanChanged)
}

// covers reports whether the plan orders exactly these, items and all.
func (h *held) covers(orders []order) bool {
	if h == nil {
		return false
	}
	now := ordersOf(h)
	for _, o := range orders {
		ok := slices.ContainsFunc(now, func(n order) bool {
			return n.Update == o.Update && n.kind == o.kind && n.Act == o.Act && slices.Equal(n.Items, o.Items) && slices.Equal(n.Extras, o.Extras) && slices.Equal(n.removable(), o.removable())
		})
		if !ok {
			return false
		}
	}
	return true
}

// strike reports orders whose attempt failed before anything was changed, and sets their next attempt.
func (a *Agent) strike(h *held, orders []order, err error) error {
	var refusal *pkgmgr.Refusal
	if errors.As(err, &refusal) {
		return a.block(h, orders, func(order) *pkgmgr.Refusal { return refusal })
	}
	var rec journal.Record
	now := a.opt.Now()
	for _, o := range orders {
		e := a.journal.Entry(o.Update)
		try := a.attempt(o, e.Try, now)
		rec.Reports = append(rec.Reports, caused(o.Part, a.lead(e.State, a.report(o.Update, o.broken(), installation.ContentUnavailable, a.tried(try, err.Error()))))...)
		rec.Tries = put(rec.Tries, o.Update, try)
	}
	return a.write(rec)
}

// attempt counts one more attempt at an order. What failed together at now is tried again together.
func (a *Agent) attempt(o order, last journal.Try, now time.Time) journal.Try {
	t := journal.Try{Plan: o.key, Count: 1}
	if last.Plan == o.key {
		t.Count = last.Count + 1
	}
	if wait, again := a.pause(o.Retries, t.Count); again {
		t.Next = now.Add(wait)
	}
	return t
}

// tried adds to a reason what will be done about it.
func (a *Agent) tried(t journal.Try, why string) string {
	if t.Next.IsZero() {
		return fmt.Sprintf("%s (attempt %d, the last until the plan changes)", clip(why, 800), t.Count)
	}
	return fmt.Sprintf("%s (attempt %d, next after %s)", clip(why, 800), t.Count, t.Next.UTC().Format(time.RFC3339))
}

// fly runs one transaction, if the accepted plan still orders it at the last moment.
func (a *Agent) fly(ctx context.Context, h *held, tx pkgmgr.Transaction, orders []order) error {
	doing := "installing %d updates"
	if orders[0].back() {
		doing = "taking back %d updates"
	}
	defer a.doing(doing, len(orders))()
	for _, o := range orders {
		if o.kind == toRemove {
			continue // nothing takes its place
		}
		if err := a.opt.Manager.Remember(ctx, o.Update, changesOf(o, tx.Changes)); err != nil {
			return fmt.Errorf("note the previous versions: %w", err)
		}
	}
	journal.CrashPoint(journal.Remembered)
	f := a.file(h, tx, orders)
	tx.ID = f.ID
	rec := journal.Record{Flight: &f}
	for _, o := range orders {
		e := a.journal.Entry(o.Update)
		if e.State != o.running() {
			rec.Reports = append(rec.Reports, caused(o.Part, a.lead(e.State, a.report(o.Update, o.running(), "", "")))...)
		}
		rec.Tries = put(rec.Tries, o.Update, a.attempt(o, e.Try, f.Started))
	}
	a.begins(&rec, orders)
	if err := a.takeOff(orders); errors.Is(err, errClosed) {
		signal(a.work)
		_, err := a.within(tx, orders)
		return err
	} else if err != nil {
		return err
	}
	defer a.touchDown()
	if err := a.write(rec); err != nil {
		return err
	}
	journal.CrashPoint(journal.FlightFiled)
	if err := a.takeOff(orders); err != nil { // the disk may have been slow
		return errors.Join(err, a.abandon(f))
	}
	return a.apply(ctx, f, tx, orders)
}

// apply runs a filed transaction to its end, and notes how long it took.
func (a *Agent) apply(ctx context.Context, f journal.Flight, tx pkgmgr.Transaction, orders []order) error {
	began, run := time.Now(), ctx
	if a.shutsDown() {
		run = command.Outlasting(ctx)
	}
	out, err := a.opt.Manager.Apply(run, tx, nil)
	if ctx.Err() != nil {
		return ctx.Err() // we are stopping; whether it ran is found out at the next start
	}
	took := time.Since(began)
	journal.CrashPoint(journal.Applied)
	if landed := a.land(ctx, f, out, err); landed != nil || err != nil {
		return landed
	}
	return a.took(orders[0], len(tx.Changes), took)
}

// takeOff is the last look at the plan: nothing is started that the accepted plan does not order right now, and nothing that its
// terms do not let begin right now.
func (a *Agent) takeOff(orders []order) error {
	m := a.moment()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.newer != "" || !a.held.covers(orders) || !a.clock().Before(a.held.body.Expires) {
		return errPlanChanged
	}
	for _, o := range ordersOf(a.held) {
		if contains(orders, o) && (o.lost || o.terms != nil && !o.terms.At(m).Open) {
			return errClosed
		}
	}
	a.flying = true
	return nil
}

func (a *Agent) touchDown() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.flying = false
}

// file makes the journal's note of a transaction.
func (a *Agent) file(h *held, tx pkgmgr.Transaction, orders []order) journal.Flight {
	f := journal.Flight{ID: strings.ToLower(rand.Text()), Plan: h.body.Plan, Counter: h.body.Counter, Rollback: orders[0].kind == toStepBack, Removal: orders[0].kind == toRemove, Started: a.opt.Now().UTC(), Changes: tx.Changes}
	f.Restart = a.pending()
	for _, o := range orders {
		f.Parts = append(f.Parts, o.Part)
	}
	return f
}

// changesOf picks the changes of a transaction that belong to one order.
func changesOf(o order, changes []wire.Change) []wire.Change {
	var out []wire.Change
	for _, c := range changes {
		if slices.ContainsFunc(slices.Concat(o.Items, o.Extras), func(it catalog.Item) bool { return it.Name == c.Name && it.Arch == c.Arch }) {
			out = append(out, c)
		}
	}
	return out
}

// abandon ends a filed transaction that was never started: its attempt does not count.
func (a *Agent) abandon(f journal.Flight) error {
	rec := journal.Record{Landed: f.ID}
	for _, p := range f.Parts {
		e := a.journal.Entry(p.Update)
		e.Try.Count--
		e.Try.Next = time.Time{}
		rec.Tries = put(rec.Tries, p.Update, e.Try)
		state := installation.Applicable
		if partKind(f) != toInstall {
			state = installation.Installed
		}
		rec.Reports = append(rec.Reports, a.report(p.Update, state, "", "not started: the plan changed, or its terms, at the last moment"))
	}
	return a.write(rec)
}

// resolve ends a transaction that an earlier process, or a moment without a readable package database, left open: the package manager is
// waited for, then the truth is read from the device.
func (a *Agent) resolve(ctx context.Context) error {
	f := a.journal.Flight()
	if f == nil {
		return nil
	}
	a.mu.Lock()
	a.flying = true
	a.mu.Unlock()
	defer a.touchDown()
	defer a.doing("finding out what became of transaction %s", f.ID)()
	health, err := a.opt.Manager.Recover(ctx)
	if err != nil {
		return fmt.Errorf("take up transaction %s: %w", f.ID, err)
	}
	if health.Broken != "" {
		err = &pkgmgr.Refusal{Cause: installation.ManagerBroken, Detail: health.Broken}
	}
	return a.land(ctx, *f, pkgmgr.Outcome{ExitCode: -1, Started: f.Started, Finished: a.opt.Now()}, cmp.Or(err, a.undone(*f), errInterrupted))
}

// undone is why something of a transaction was taken back; nil: nothing was.
func (a *Agent) undone(f journal.Flight) error {
	for _, p := range f.Parts {
		for _, it := range p.Items {
			if a.opt.Undone == nil || partKind(f) != toInstall {
				continue
			}
			if err := a.opt.Undone(it); err != nil {
				return err
			}
		}
	}
	return nil
}

// errInterrupted is the run error of a transaction whose end nobody saw.
var errInterrupted = errors.New("the agent was interrupted while the package manager ran")
