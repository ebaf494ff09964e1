package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"assent/agent/internal/journal"
	"assent/agent/internal/pkgmgr"
	"assent/catalog"
	"assent/installation"
	"assent/wire"
)

// sieve finds the largest part of some orders that the package manager can carry out in one transaction. All
// together comes first; where that is refused, the orders at fault are found by halving, those that the refusal
// names before the others.
type sieve struct {
	simulate func(context.Context, pkgmgr.Want) (pkgmgr.Transaction, error)
	all      map[catalog.UpdateID]order
	refused  map[catalog.UpdateID]*pkgmgr.Refusal
	tx       pkgmgr.Transaction // of the last simulation that went through
}

// sift returns base and as much of list as can be added to it. base is known to be possible. The error is for what
// concerns all orders alike: a busy or broken package manager.
func (s *sieve) sift(ctx context.Context, base, list []order) ([]order, error) {
	list = slices.DeleteFunc(slices.Clone(list), func(o order) bool { return contains(base, o) })
	if len(list) == 0 {
		return base, nil
	}
	want := s.with(base, list)
	tx, err := s.simulate(ctx, wantOf(want))
	if err == nil {
		s.tx = tx
		return want, nil
	}
	var refusal *pkgmgr.Refusal
	if !errors.As(err, &refusal) || passing(refusal.Cause) {
		return base, err
	}
	if len(list) == 1 {
		s.refused[list[0].Update] = refusal
		return base, nil
	}
	good, bad := split(list, refusal)
	if base, err = s.sift(ctx, base, good); err != nil {
		return base, err
	}
	return s.sift(ctx, base, bad)
}

// passing reports whether a cause is the package manager's own state, which may be another in a minute.
func passing(c installation.Cause) bool {
	return c == installation.ManagerBusy || c == installation.ManagerBroken
}

// with adds to base the orders of list and those that they need with them.
func (s *sieve) with(base, list []order) []order {
	out := slices.Clone(base)
	var add func(o order)
	add = func(o order) {
		if contains(out, o) {
			return
		}
		out = append(out, o)
		for _, id := range o.closure {
			if need, ok := s.all[catalog.UpdateID(id)]; ok {
				add(need)
			}
		}
	}
	for _, o := range list {
		add(o)
	}
	return out
}

// split parts the orders that a refusal names from the others, or halves them.
func split(list []order, refusal *pkgmgr.Refusal) (good, bad []order) {
	named := map[[2]string]bool{}
	for _, c := range refusal.Changes {
		named[[2]string{c.Name, c.Arch}] = true
	}
	for _, o := range list {
		if slices.ContainsFunc(o.Items, func(it catalog.Item) bool { return named[[2]string{it.Name, it.Arch}] }) {
			bad = append(bad, o)
		} else {
			good = append(good, o)
		}
	}
	if len(good) == 0 || len(bad) == 0 {
		return list[:len(list)/2], list[len(list)/2:]
	}
	return good, bad
}

func contains(list []order, o order) bool {
	return slices.ContainsFunc(list, func(x order) bool { return x.Update == o.Update && x.kind == o.kind })
}

// sieved remembers what was found blocked by which plan in which state of the device, so that the same question is not
// asked every minute. Another plan is another question: its walls are others.
type sieved struct {
	at      map[string]judgement
	recheck time.Duration
}

type judgement struct {
	stamp string
	when  time.Time
}

func (s *sieved) note(o order, stamp string, now time.Time) {
	maps.DeleteFunc(s.at, func(_ string, j judgement) bool { return now.Sub(j.when) > s.recheck })
	s.at = put(s.at, o.question(), judgement{stamp, now})
}

// fresh reports whether the answer for o still stands.
func (s *sieved) fresh(o order, stamp string, now time.Time) bool {
	j, ok := s.at[o.question()]
	return ok && j.stamp == stamp && now.Sub(j.when) < s.recheck
}

// again is when o is to be looked at again without any change.
func (s *sieved) again(o order) time.Time {
	j, ok := s.at[o.question()]
	if !ok {
		return time.Time{}
	}
	return j.when.Add(s.recheck)
}

// question is what was asked of the package manager.
func (o order) question() string { return o.by + " " + o.key + " " + string(o.Update) }

// admit finds what of orders can be done now, with its transaction, and reports the rest as blocked, each with its
// own cause.
func (a *Agent) admit(ctx context.Context, h *held, orders []order) (pkgmgr.Transaction, []order, error) {
	defer a.doing("asking the package manager what %d updates would change", len(orders))()
	s := sieve{simulate: a.opt.Manager.Simulate, all: map[catalog.UpdateID]order{}, refused: map[catalog.UpdateID]*pkgmgr.Refusal{}}
	for _, o := range orders {
		s.all[o.Update] = o
	}
	// What may remove nothing is asked about first: so nothing goes for its sake because another one in the transaction may.
	good, err := s.sift(ctx, nil, slices.DeleteFunc(slices.Clone(orders), func(o order) bool { return len(o.removable()) > 0 }))
	if err == nil {
		good, err = s.sift(ctx, good, slices.DeleteFunc(slices.Clone(orders), func(o order) bool { return len(o.removable()) == 0 }))
	}
	var refusal *pkgmgr.Refusal
	if errors.As(err, &refusal) {
		// The package manager itself is the reason, for all alike.
		return s.tx, nil, errors.Join(err, a.block(h, orders, func(order) *pkgmgr.Refusal { return refusal }))
	}
	if err != nil {
		return s.tx, nil, fmt.Errorf("ask the package manager: %w", err)
	}
	var rest []order
	for _, o := range orders {
		if !contains(good, o) && s.refused[o.Update] != nil {
			rest = append(rest, o)
		}
	}
	return s.tx, good, a.block(h, rest, func(o order) *pkgmgr.Refusal { return s.refused[o.Update] })
}

// block reports orders that cannot be carried out as they stand, each once for the same reason.
func (a *Agent) block(h *held, orders []order, why func(order) *pkgmgr.Refusal) error {
	var rec journal.Record
	for _, o := range orders {
		cause, detail, needs := explain(h.plan, o, why(o))
		if passing(cause) {
			a.mended = mended{} // look again before the next attempt
		} else {
			a.sieved.note(o, a.stamp(), a.opt.Now())
		}
		e := a.journal.Entry(o.Update)
		if e.State == installation.Blocked && e.Cause == cause && e.Detail == detail && slices.Equal(e.Needs, needs) {
			continue
		}
		r := a.report(o.Update, installation.Blocked, cause, detail)
		r.Needs = needs
		rec.Reports = append(rec.Reports, a.lead(e.State, r)...)
	}
	return a.write(rec)
}

// explain turns a refusal into a cause, a sentence and the smallest set of updates to approve (V2). What would
// come along but is declined makes it another cause.
func explain(p wire.Plan, o order, r *pkgmgr.Refusal) (cause installation.Cause, detail string, needs []string) {
	cause, detail = r.Cause, clip(r.Detail, 1000)
	if cause == installation.RemovalNeeded && !o.back() {
		detail += " Removals are never implied: what may go is named in the task (assent task edit TASK --may-remove PACKAGE)."
	}
	var denied, ordered []string
	ecosystem := cmp.Or(o.Release.Ecosystem, catalog.Deb.Ecosystem())
	if o.side() {
		ecosystem = catalog.Generic
	}
	for _, c := range r.Changes {
		if c.Op == wire.OpRemove || c.Source == "" || c.SrcVer == "" {
			continue
		}
		rel := catalog.Release{Software: catalog.Software{Ecosystem: ecosystem, Namespace: c.Space, Name: c.Source}, Version: c.SrcVer}
		if slices.ContainsFunc(p.Install, func(in wire.PlanInstall) bool { return in.Release == rel }) {
			ordered = append(ordered, rel.Name+" "+rel.Version)
			continue
		}
		needs = append(needs, rel.PURL())
		if denies(p, rel, c) {
			denied = append(denied, rel.PURL())
		}
	}
	slices.Sort(needs)
	needs = slices.Compact(needs)
	if slices.Sort(ordered); len(ordered) > 0 {
		detail += "; approved, but not installable now either: " + strings.Join(slices.Compact(ordered), ", ")
	}
	if cause == installation.UnapprovedDependency && len(denied) > 0 {
		cause = installation.DeclinedDependency
	}
	return cause, detail, needs
}

// denies reports whether the plan has a wall against a change.
func denies(p wire.Plan, rel catalog.Release, c wire.Change) bool {
	return slices.ContainsFunc(p.Deny, func(d wire.PlanDeny) bool {
		return d.Software == rel.Software && d.Version == rel.Version || d.Software.Ecosystem == rel.Ecosystem && slices.ContainsFunc(d.Items, func(it catalog.Item) bool {
			return it.Name == c.Name && it.Arch == c.Arch && it.Version == c.Version
		})
	})
}
