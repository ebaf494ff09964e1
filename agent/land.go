package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"assent/agent/internal/journal"
	"assent/agent/internal/pkgmgr"
	"assent/catalog"
	"assent/installation"
	"assent/wire"
)

const (
	maxLog   = 16 << 10 // bytes of output kept for the first failed update of a transaction
	maxShort = 2 << 10  // and for each further one
)

// land reads the truth about a finished transaction from the device and journals it: for each update by itself, and never
// from an exit code (V3).
func (a *Agent) land(ctx context.Context, f journal.Flight, out pkgmgr.Outcome, runErr error) error {
	var items []catalog.Item
	for _, p := range f.Parts {
		items = append(append(items, p.Items...), p.Extras...)
	}
	there, health, err := a.verify(ctx, items)
	if err != nil {
		return errors.Join(a.unknown(f, err), fmt.Errorf("verify transaction %s: %w", f.ID, err))
	}
	if err := a.look(ctx); err != nil {
		a.fail("scan", err) // only what asks for a restart is missing then
	}
	if err := a.stale(ctx, true); err != nil {
		a.fail("restart", err)
	}
	journal.CrashPoint(journal.Verified)
	a.mended = mended{a.broken(), a.opt.Now()} // what our own transaction broke is retried at its time, not repaired at once
	l := landing{agent: a, flight: f, out: out, err: runErr, health: health, there: there, restart: a.newRestarts(f)}
	if l.probed, err = a.probe(ctx, slices.DeleteFunc(slices.Clone(f.Parts), func(p journal.Part) bool { return !there.hold(p.Items) })); err != nil {
		return err // we are stopping: the transaction stays open, and is looked at again at the next start
	}
	journal.CrashPoint(journal.Probed)
	l.now = a.opt.Now()
	rec := journal.Record{Landed: f.ID}
	for _, p := range f.Parts {
		l.part(p, &rec)
	}
	if gone := a.goneAlong(f); len(gone) > 0 {
		rec.Reports = append(rec.Reports, wire.Report{ID: "removed-" + f.ID, At: a.opt.Now().UTC(), Event: "removed_along",
			Detail: clip("removed along with "+strings.Join(partNames(f), ", ")+": "+strings.Join(gone, ", "), 1000)})
	}
	if len(out.Conffiles) > 0 {
		rec.Reports = append(rec.Reports, wire.Report{ID: "conffile-" + f.ID, At: a.opt.Now().UTC(), Event: "conffile_kept",
			Detail: clip("kept as the administrator had them: "+strings.Join(out.Conffiles, ", "), 1000)})
	}
	a.followed(&rec)
	if err := a.write(rec); err != nil {
		return err
	}
	journal.CrashPoint(journal.Landed)
	signal(a.rescan)
	signal(a.work)
	return nil
}

// goneAlong lists the packages that went along with what a transaction installed.
func (a *Agent) goneAlong(f journal.Flight) []string {
	a.mu.Lock()
	snap := a.snap
	a.mu.Unlock()
	var out []string
	for _, c := range f.Changes {
		if c.Op != wire.OpRemove || partKind(f) == toRemove || snap == nil {
			continue
		}
		there := slices.ContainsFunc(snap.Inventory.Packages, func(p wire.Package) bool { return p.Name == c.Name && p.Arch == c.Arch })
		if !there {
			out = append(out, c.Name+" "+c.From)
		}
	}
	return out
}

func partNames(f journal.Flight) []string {
	var out []string
	for _, p := range f.Parts {
		out = append(out, order{Part: p}.name())
	}
	return out
}

// unknown reports that the result cannot be read now; the transaction stays open until it can.
func (a *Agent) unknown(f journal.Flight, why error) error {
	if partKind(f) != toInstall {
		return nil // removing lasts until the truth is known
	}
	var rec journal.Record
	for _, p := range f.Parts {
		if e := a.journal.Entry(p.Update); e.State == installation.Installing {
			rec.Reports = append(rec.Reports, a.report(p.Update, installation.ResultUnknown, "", why.Error()))
		}
	}
	return a.write(rec)
}

// newRestarts lists what asks for a restart since the transaction began.
func (a *Agent) newRestarts(f journal.Flight) []string {
	var out []string
	for _, r := range a.pending() {
		if !slices.Contains(f.Restart, r) {
			out = append(out, r)
		}
	}
	return out
}

// landing is the end of one transaction.
type landing struct {
	agent   *Agent
	flight  journal.Flight
	out     pkgmgr.Outcome
	err     error
	health  pkgmgr.Health
	there   presence
	probed  map[catalog.UpdateID]error // what the health probes said
	restart []string
	now     time.Time // one for all, so that what failed together is tried again together
	logged  bool
}

// part adds the verdict on one update to rec.
func (l *landing) part(p journal.Part, rec *journal.Record) {
	e := l.agent.journal.Entry(p.Update)
	o := order{Part: p, kind: partKind(l.flight)}
	var r wire.Report
	try := e.Try
	switch met := o.met(l.there); {
	case met && o.kind == toStepBack:
		r, try = l.agent.report(p.Update, installation.Removed, "", "the previous versions are back"), journal.Try{Plan: try.Plan, Act: p.Act}
	case met && o.kind == toRemove:
		r, try = l.agent.report(p.Update, installation.Removed, "", "it is gone; its data and configuration stay"), journal.Try{Plan: try.Plan, Act: p.Act}
	case met && l.probed[p.Update] != nil:
		try = l.agent.lookAgain(p.Retries, journal.Try{}, try.Plan, l.now)
		r = l.agent.report(p.Update, installation.Failed, installation.ProbeFailed, probing(try, l.probed[p.Update]))
	case met:
		r, try = l.agent.report(p.Update, installation.Installed, "", ""), journal.Try{Plan: try.Plan}
		if restart := l.restarts(o); len(restart) > 0 {
			r.State, r.Detail, try.Boot = installation.RestartRequired, "a restart is asked for by "+strings.Join(restart, ", "), l.agent.opt.Device.BootID()
		}
	default:
		r, try = l.failed(o, try)
	}
	r.Proof = l.proof(p, r.State)
	rec.Reports = append(rec.Reports, caused(p, l.agent.lead(e.State, r))...)
	rec.Tries = put(rec.Tries, p.Update, try)
}

// failed says why an update is not there after its transaction, and when it is tried again.
func (l *landing) failed(o order, try journal.Try) (wire.Report, journal.Try) {
	a := l.agent
	var refusal *pkgmgr.Refusal
	if errors.As(l.err, &refusal) && refusal.Cause != installation.InstallFailed {
		// It was not let run: that is no failure of the update.
		try.Count--
		if passing(refusal.Cause) {
			a.mended = mended{} // it did not even begin: repair before the next attempt
		} else {
			try.Next = time.Time{} // not before something changed, and then at once
			a.sieved.note(order{Part: o.Part, key: try.Plan, by: statement(l.flight.Plan, l.flight.Counter)}, a.stamp(), a.opt.Now())
		}
		r := a.report(o.Update, installation.Blocked, refusal.Cause, refusal.Detail)
		return r, try
	}
	if wait, again := a.pause(o.Retries, try.Count); again {
		try.Next = l.now.Add(wait)
	}
	if errors.Is(l.err, errInterrupted) && !try.Next.IsZero() {
		state := installation.Assigned
		if o.back() {
			state = installation.Removing
		}
		return a.report(o.Update, state, "", a.tried(try, l.why(o))), try
	}
	return a.report(o.Update, o.broken(), installation.InstallFailed, a.tried(try, l.why(o))), try
}

// why finds the words for a failure: the package manager's own about this update, else its first ones.
func (l *landing) why(o order) string {
	for _, line := range l.out.Errors {
		for _, it := range o.Items {
			if strings.Contains(line, it.Name) {
				return line
			}
		}
	}
	var refusal *pkgmgr.Refusal
	if errors.As(l.err, &refusal) {
		return refusal.Detail
	}
	if len(l.out.Errors) > 0 {
		return l.out.Errors[0]
	}
	left := l.there.remaining(o.Items)
	for _, it := range o.Items {
		if o.kind == toRemove && slices.Contains(left, it) || o.kind != toRemove && !l.there.has(it) {
			f := l.there[it]
			s := fmt.Sprintf("%s is at version %q, state %q after the transaction", it.Key(), f.Version, f.Status)
			if l.err != nil {
				s += ": " + l.err.Error()
			}
			return s
		}
	}
	return "the transaction failed"
}

// restarts picks from the packages that ask for a restart those of an order.
func (l *landing) restarts(o order) []string {
	var out []string
	for _, r := range l.restart {
		if slices.ContainsFunc(slices.Concat(o.Items, o.Extras), func(it catalog.Item) bool {
			return asks(r, it)
		}) {
			out = append(out, r)
		}
	}
	return out
}

// proof is what the device saw of one update (V3).
func (l *landing) proof(p journal.Part, state installation.State) *wire.Proof {
	proof := &wire.Proof{Transaction: l.flight.ID, Plan: l.flight.Plan, Counter: l.flight.Counter, Started: l.out.Started, Finished: l.out.Finished,
		Items: l.there.of(p.Items, p.Extras, l.flight.Changes), AuditClean: l.health.Broken == "", Conffiles: l.out.Conffiles, Restart: l.restart, Probe: verdict(p, l.probed)}
	if state == installation.Failed || state == installation.RemoveFailed || state == installation.Blocked {
		limit := maxShort
		if !l.logged {
			limit, l.logged = maxLog, true
		}
		proof.Log = l.out.Log[max(0, len(l.out.Log)-limit):]
	}
	return proof
}
