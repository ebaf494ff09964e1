package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"assent/agent/internal/journal"
	"assent/agent/internal/pkgmgr"
	"assent/agent/internal/terms"
	"assent/catalog"
	"assent/installation"
	"assent/wire"
)

// stage is what is rehearsed, as of one moment.
type stage struct {
	held      *held
	inventory string // digest of the document
	offers    wire.Available
	now       time.Time // in the device's zone
	moment    terms.Moment
	skewed    string  // why the clock cannot be right; empty: it may be
	installs  []order // of the plan
	rings     []order // approved, and waiting for a ring
}

// stage takes a look at plan and device, and notes since when they are as they are. ok is false while there is nothing to rehearse.
func (a *Agent) stage(r *rehearsal) (stage, bool) {
	s := stage{moment: a.momentAt(&r.place)}
	s.now = s.moment.Zone.In(s.moment.Now)
	a.mu.Lock()
	s.held, s.offers, s.inventory = a.held, a.offers, a.docs[wire.KindInventory]
	clock := a.clock()
	newer := a.newer
	a.mu.Unlock()
	if s.held == nil || s.inventory == "" || newer != "" || !clock.Before(s.held.body.Expires) {
		return s, false
	}
	if clock.Sub(s.moment.Now) > maxSkew {
		s.skewed = "The device's clock is more than a day behind a time that the server signed: nothing is installed until it is right."
	}
	if plan := s.held.body.Plan; plan != r.plan || s.inventory != r.inventory {
		r.plan, r.inventory, r.since = plan, s.inventory, s.now
	}
	for _, o := range ordersOf(s.held) {
		if o.kind == toInstall && (o.terms == nil || !o.terms.DownloadOnly) {
			s.installs = append(s.installs, o)
		}
	}
	s.rings = ringed(s.held.plan, s.offers)
	return s, true
}

// gated reports whether a cause only says that it is not the device's turn yet: of its ring, or among those that install at the
// same time.
func gated(c installation.Cause) bool {
	return c == installation.RingNotOpen || c == installation.TooManyAtOnce
}

// ringed are the updates that are approved here and wait for a ring or their turn, as the plan would order them then: the files that
// the device would take are bound by the approval, what else that binds may come along.
func ringed(p wire.Plan, offers wire.Available) []order {
	bound := map[catalog.UpdateID][]catalog.Item{}
	for _, al := range p.Allow {
		bound[al.Update] = al.Items
	}
	var out []order
	for _, v := range p.Verdicts {
		if v.Verdict != "hold" || !gated(installation.Cause(v.Cause)) || len(bound[v.Update]) == 0 {
			continue
		}
		i := slices.IndexFunc(offers.Updates, func(o wire.Offer) bool { return !o.New && o.In(offers.Ecosystem) == v.Release })
		if i < 0 {
			continue
		}
		o := order{Part: journal.Part{Update: v.Update, Release: v.Release}}
		for _, it := range bound[v.Update] {
			if slices.ContainsFunc(offers.Updates[i].Items, func(x wire.OfferItem) bool { return x.Key() == it.Key() && x.Installed != "" }) {
				o.Items = append(o.Items, it)
			} else {
				o.Extras = append(o.Extras, it)
			}
		}
		if len(o.Items) > 0 {
			out = append(out, o)
		}
	}
	return out
}

// findings are what became of the orders of a rehearsal.
type findings struct {
	plan wire.Plan
	by   map[catalog.UpdateID]*wire.Rehearsed
}

// refuse notes why an order would not be carried out; the first reason stays.
func (f findings) refuse(o order, r *pkgmgr.Refusal) {
	u := f.by[o.Update]
	if u == nil {
		u = &wire.Rehearsed{Update: o.Update}
		f.by[o.Update] = u
	}
	if u.Cause == "" {
		u.Cause, u.Detail, u.Needs = explain(f.plan, o, r)
	}
}

// pass notes that nothing was found against an order so far.
func (f findings) pass(o order) *wire.Rehearsed {
	if f.by[o.Update] == nil {
		f.by[o.Update] = &wire.Rehearsed{Update: o.Update}
	}
	return f.by[o.Update]
}

// rehearse goes through what is on stage with the package managers. The order is that of a real run, and every look at the device
// is one that the real run takes too.
func (a *Agent) rehearse(ctx context.Context, s stage) (wire.Rehearsal, error) {
	var out wire.Rehearsal
	f := findings{plan: s.held.plan, by: map[catalog.UpdateID]*wire.Rehearsed{}}
	installs, err := a.absent(ctx, s.installs)
	if err != nil {
		return out, err
	}
	rings, err := a.absent(ctx, s.rings)
	if err != nil {
		return out, err
	}
	for _, class := range classes(slices.Concat(installs, rings)) {
		err := a.tryOut(ctx, f, class, rings)
		if errors.Is(ctx.Err(), context.DeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
			break
		}
		if err != nil {
			return out, err
		}
	}
	for _, o := range slices.Concat(installs, rings) {
		if u := f.by[o.Update]; u != nil {
			a.timing(s, o, u)
			u.Ring = contains(rings, o)
			out.Updates = append(out.Updates, *u)
		} else {
			out.Left++
		}
	}
	slices.SortFunc(out.Updates, func(x, y wire.Rehearsed) int { return cmp.Compare(x.Update, y.Update) })
	if more := len(out.Updates) - wire.MaxRehearsed; more > 0 {
		out.Updates, out.Left = out.Updates[:wire.MaxRehearsed], out.Left+more
	}
	return out, nil
}

// absent leaves out what is on the device already.
func (a *Agent) absent(ctx context.Context, orders []order) ([]order, error) {
	var items []catalog.Item
	for _, o := range orders {
		items = append(items, o.Items...)
	}
	if len(items) == 0 {
		return nil, nil
	}
	there, _, err := a.verify(ctx, items)
	if err != nil {
		return nil, fmt.Errorf("look at what is installed: %w", err)
	}
	return slices.DeleteFunc(slices.Clone(orders), func(o order) bool { return o.met(there) }), nil
}

// classes parts orders into those that may be one transaction.
func classes(orders []order) [][]order {
	var out [][]order
	for _, o := range orders {
		i := slices.IndexFunc(out, func(class []order) bool { return together(class[0], o) })
		if i < 0 {
			out = append(out, []order{o})
		} else {
			out[i] = append(out[i], o)
		}
	}
	return out
}

// tryOut asks the package manager about orders that may be one transaction: those of the plan first, then those that wait for a
// ring beside them.
func (a *Agent) tryOut(ctx context.Context, f findings, class, rings []order) error {
	var first, then []order
	for _, o := range class {
		switch {
		case o.strange() != nil:
			f.refuse(o, o.strange())
		case contains(rings, o):
			then = append(then, o)
		default:
			first = append(first, o)
		}
	}
	good, tx, err := a.siftAll(ctx, f, a.opt.Manager.Simulate, first, then)
	if err != nil || len(good) == 0 || a.opt.Foresee == nil {
		return err
	}
	if err := a.opt.Foresee.Room(tx); err != nil {
		roomy := func(ctx context.Context, want pkgmgr.Want) (pkgmgr.Transaction, error) {
			tx, err := a.opt.Manager.Simulate(ctx, want)
			if err == nil {
				err = a.opt.Foresee.Room(tx)
			}
			return tx, err
		}
		if good, tx, err = a.siftAll(ctx, f, roomy, good, nil); err != nil || len(good) == 0 {
			return err
		}
	}
	seen, err := a.opt.Foresee.Foresee(ctx, tx)
	if err != nil {
		return err
	}
	for i := range seen.Gone {
		f.lacking(good, &seen.Gone[i])
	}
	for _, k := range seen.Kept {
		f.keeps(good, k)
	}
	return nil
}

// siftAll finds the largest part of first, and then of what goes beside it, that can be carried out, and notes why the rest cannot.
func (a *Agent) siftAll(ctx context.Context, f findings, simulate func(context.Context, pkgmgr.Want) (pkgmgr.Transaction, error), first, then []order) ([]order, pkgmgr.Transaction, error) {
	s := sieve{simulate: simulate, all: map[catalog.UpdateID]order{}, refused: map[catalog.UpdateID]*pkgmgr.Refusal{}}
	for _, o := range slices.Concat(first, then) {
		s.all[o.Update] = o
	}
	good, err := s.sift(ctx, nil, first)
	if err == nil {
		good, err = s.sift(ctx, good, then)
	}
	var all *pkgmgr.Refusal
	if errors.As(err, &all) { // the package manager itself is the reason, for all alike
		for _, o := range slices.Concat(first, then) {
			f.refuse(o, all)
		}
		return nil, s.tx, nil
	}
	if err != nil {
		return nil, s.tx, err
	}
	for _, o := range slices.Concat(first, then) {
		if contains(good, o) {
			f.pass(o)
		} else if r := s.refused[o.Update]; r != nil {
			f.refuse(o, r)
		}
	}
	return good, s.tx, nil
}

// lacking notes that the files of a refusal cannot be had: the orders that they are of, and those that need these, would fail.
func (f findings) lacking(orders []order, r *pkgmgr.Refusal) {
	var short []string
	for _, o := range orders {
		if len(changesOf(o, r.Changes)) > 0 {
			f.refuse(o, &pkgmgr.Refusal{Cause: r.Cause, Detail: r.Detail})
			short = append(short, string(o.Update))
		}
	}
	for i := 0; i < len(short); i++ {
		for _, o := range orders {
			if slices.Contains(o.closure, short[i]) && !slices.Contains(short, string(o.Update)) {
				f.refuse(o, &pkgmgr.Refusal{Cause: r.Cause, Detail: r.Detail})
				short = append(short, string(o.Update))
			}
		}
	}
}

// keeps notes that a configuration file stays as it is on the device.
func (f findings) keeps(orders []order, k pkgmgr.Kept) {
	for _, o := range orders {
		if len(changesOf(o, []wire.Change{{Name: k.Name, Arch: k.Arch}})) == 0 {
			continue
		}
		u := f.pass(o)
		if len(u.Kept) < wire.MaxKept && !slices.Contains(u.Kept, k.Path) {
			u.Kept = append(u.Kept, k.Path)
			u.Unsure = u.Unsure || k.Unsure
		}
	}
}

// timing adds when an order would begin, and that it would not, where its terms never let it.
func (a *Agent) timing(s stage, o order, u *wire.Rehearsed) {
	if s.skewed != "" {
		u.Cause, u.Detail, u.Needs = installation.UntrustedClock, s.skewed, nil
		return
	}
	if e := a.journal.Entry(o.Update); !u.Fails() && e.Try.Plan == o.key && e.Try.Count > a.retries(o.Retries) {
		u.Cause, u.Detail = cmp.Or(e.Cause, installation.InstallFailed), clip(e.Detail, 1000) // it is not tried again
	}
	if o.terms == nil {
		return
	}
	g := o.terms.At(s.moment)
	if !g.Open {
		u.Opens = g.Opens
	}
	switch {
	case u.Fails():
	case g.Code == terms.ClockBehind:
		u.Cause, u.Detail = installation.UntrustedClock, g.Text
	case !g.Open && g.Opens.IsZero() && g.Code != terms.AtShutdown:
		u.Cause, u.Detail = installation.WindowClosed, g.Text
	case !u.Opens.IsZero():
		at := s.moment
		at.Now = u.Opens
		need := terms.Need(at.Runs.Took[tookKind(o)], len(o.Items))
		if fit := o.terms.Fits(at, need); !fit.Open && fit.Text != "" {
			u.Cause, u.Detail = installation.WindowClosed, fit.Text
		}
	}
}
