package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"assent/agent/internal/journal"
	"assent/agent/internal/terms"
	"assent/catalog"
	"assent/fault"
	"assent/fleet"
	"assent/installation"
	"assent/wire"
)

const (
	planFile  = "plan.json"
	floorFile = "floor.json"
	// maxSkew is how far a statement's time may be ahead of the device's: beyond it one of the clocks is wrong.
	maxSkew = 24 * time.Hour
)

// errClock refuses a statement from what looks like the future: the device's clock or the server's is wrong, and
// nothing that depends on an expiry can be trusted.
var errClock = fault.New(fault.Forbidden, string(installation.UntrustedClock), "The plan is from more than a day in the future of this device's clock: one of the two clocks is wrong.")

// held is the plan that the device acts on.
type held struct {
	statement wire.Statement
	body      wire.StatementBody
	plan      wire.Plan
	terms     []terms.Terms // of the plan, read
	fenced    bool          // the device's own walls say what the plan says
}

// stored is the plan on disk, with its proof. The guard reads the same file.
type stored struct {
	Statement wire.Statement `json:"statement"`
	Plan      []byte         `json:"plan"` // the signed bytes
}

// floor is below what no statement may be: it survives even a lost plan file.
type floor struct {
	Counter int64     `json:"counter"`
	Root    string    `json:"root,omitempty"` // of the ledger at Counter: what follows must extend it
	Signed  time.Time `json:"signed"`         // the latest time in a verified statement
}

func (a *Agent) loadFloor() {
	if b, err := a.opt.Dir.Read(floorFile, 4096); err == nil {
		if err := json.Unmarshal(b, &a.floor); err != nil {
			a.opt.Log.Error("the file of the highest plan counter cannot be read", "err", err)
		}
	}
}

// loadPlan takes up the plan of an earlier process. Its signature is checked again; whether it has expired is
// judged when it is acted upon.
func (a *Agent) loadPlan() {
	s, body, plan, err := openStored(a.opt.Dir, a.id)
	if err != nil {
		a.opt.Log.Info("no plan to take up", "reason", err)
		return
	}
	a.held = &held{statement: s, body: body, plan: plan, terms: readTerms(plan)}
	if body.Counter > a.floor.Counter {
		a.floor.Counter, a.floor.Root = body.Counter, body.Root
	}
	if body.Issued.After(a.floor.Signed) {
		a.floor.Signed = body.Issued
	}
}

// clock is the time to judge expiries by: the device's, but never before what is certainly past (A15).
func (a *Agent) clock() time.Time {
	now := a.opt.Now()
	for _, t := range []time.Time{a.opt.Built, a.floor.Signed} {
		if t.After(now) {
			now = t
		}
	}
	return now
}

// accept takes a statement from the server: it is verified, its plan fetched, made durable and walled in, and only
// then acted upon. Its ledger must extend the one that the device followed so far: a decline that was lost with a
// restored backup does not lift its wall here. A refusal is journaled and returned; the plan held before stays.
func (a *Agent) accept(ctx context.Context, s wire.Statement, proof []string) error {
	a.mu.Lock()
	trusted, device, last, now := a.id.Trusted(), a.id.Device, a.floor, a.clock()
	a.mu.Unlock()
	body, err := s.Verify(trusted, device, last.Counter, now)
	if err == nil {
		if fork := wire.Extends(last.Counter, last.Root, body.Counter, body.Root, proof); fork != nil {
			err = wire.ErrPlanFork.Because(fork)
		}
	}
	if err == nil && body.Issued.After(now.Add(maxSkew)) {
		err = errClock
	}
	if err != nil {
		return a.refuse(err)
	}
	if err := a.raise(body); err != nil {
		return err
	}
	journal.CrashPoint(journal.FloorRaised)
	raw, err := a.planBytes(ctx, body.Plan)
	if err != nil {
		return fmt.Errorf("fetch plan: %w", err)
	}
	plan, err := body.Open(raw)
	if err == nil {
		err = sound(plan)
	}
	if err != nil {
		return a.refuse(err)
	}
	journal.CrashPoint(journal.PlanFetched)
	return a.hold(ctx, &held{statement: s, body: body, plan: plan, terms: readTerms(plan)}, raw)
}

// raise makes the new floor durable. From now on an older plan does not count, and if the statement orders another
// plan than the one held, nothing is started until that is here: there is a newer decision.
func (a *Agent) raise(body wire.StatementBody) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	next := a.floor
	if body.Counter >= next.Counter && body.Root != "" {
		next.Root = body.Root
	}
	next.Counter = max(next.Counter, body.Counter)
	if body.Issued.After(next.Signed) {
		next.Signed = body.Issued
	}
	if next != a.floor {
		b, err := json.Marshal(next)
		if err != nil {
			return fmt.Errorf("encode plan floor: %w", err)
		}
		if err := a.opt.Dir.Write(floorFile, b); err != nil {
			return err
		}
		a.floor = next
	}
	if a.held == nil || a.held.body.Plan != body.Plan {
		a.newer = body.Plan
	}
	a.dropFetch(a.held)
	return nil
}

// planBytes returns the plan's bytes, from disk when it is the one held.
func (a *Agent) planBytes(ctx context.Context, digest string) ([]byte, error) {
	if s, err := readStored(a.opt.Dir); err == nil && wire.Digest(s.Plan) == digest {
		return s.Plan, nil
	}
	return a.server().Plan(ctx, digest)
}

// hold makes the plan durable, puts up its walls and lets the work begin.
func (a *Agent) hold(ctx context.Context, h *held, raw []byte) error {
	b, err := json.Marshal(stored{Statement: h.statement, Plan: raw})
	if err != nil {
		return fmt.Errorf("encode plan: %w", err)
	}
	if err := a.opt.Dir.Write(planFile, b); err != nil {
		return err
	}
	journal.CrashPoint(journal.PlanStored)
	a.mu.Lock()
	if old := a.held; old != nil && old.body.Plan == h.body.Plan {
		h.fenced = old.fenced
	}
	a.held, a.newer = h, ""
	a.dropFetch(h)
	if end := a.endRefresh; end != nil && len(h.plan.Install)+len(h.plan.Rollback)+len(h.plan.Remove) > 0 {
		end(errOrders)
	}
	a.mu.Unlock()
	a.opt.Log.Info("accepted plan", "plan", h.body.Plan, "counter", h.body.Counter, "expires", h.body.Expires,
		"installs", len(h.plan.Install), "rollbacks", len(h.plan.Rollback), "removals", len(h.plan.Remove), "denied", len(h.plan.Deny))
	a.fail("plan", nil)
	err = a.fence(ctx, h)
	signal(a.work)
	signal(a.rescan) // the plan may name other feeds, or news of them
	return err
}

// fence puts up the walls of the plan. Without them nothing is installed; it is tried again at every pass.
func (a *Agent) fence(ctx context.Context, h *held) error {
	a.mu.Lock()
	done := h.fenced
	a.mu.Unlock()
	if done {
		return nil
	}
	if err := a.opt.Manager.Fence(ctx, h.plan); err != nil {
		err = fmt.Errorf("put up the walls of the plan: %w", err)
		a.fail("fence", err)
		return err
	}
	a.mu.Lock()
	h.fenced = true
	a.mu.Unlock()
	a.fail("fence", nil)
	journal.CrashPoint(journal.PlanFenced)
	a.publish()
	return nil
}

// refuse journals that a statement or plan is not accepted and hands the reason back.
func (a *Agent) refuse(err error) error {
	a.mu.Lock()
	since := a.floor.Counter
	a.mu.Unlock()
	// A server that is wrong signs anew each time it is asked; one event a day for each kind of wrong must do.
	key := fmt.Sprintf("%s %d %s", fault.From(err).Code, since, a.opt.Now().UTC().Format(time.DateOnly))
	a.event(wire.Digest([]byte(key))[:26], "plan_refused", err.Error())
	a.fail("plan", err)
	return err
}

// sound refuses a plan that says something this agent does not understand: unknown always holds.
func sound(p wire.Plan) error {
	if !p.Guard.Valid() || p.Guard == fleet.Inherit {
		return wire.ErrPlanFormat.Because(fmt.Errorf("guard mode %q", p.Guard))
	}
	n := 0
	for _, in := range p.Install {
		n += len(in.Items) + len(in.Extras)
		if in.Update == "" || len(in.Items) == 0 {
			return wire.ErrPlanFormat.Because(fmt.Errorf("install of %q names no items", in.Update))
		}
		if err := soundItems(slices.Concat(in.Items, in.Extras)); err != nil {
			return err
		}
	}
	for _, rb := range p.Rollback {
		n += len(rb.Items)
		if rb.Update == "" || len(rb.Items) == 0 {
			return wire.ErrPlanFormat.Because(fmt.Errorf("rollback of %q names no items", rb.Update))
		}
	}
	for _, rm := range p.Remove {
		n += len(rm.Items)
		if rm.Update == "" || len(rm.Items) == 0 {
			return wire.ErrPlanFormat.Because(fmt.Errorf("removal of %q names no items", rm.Update))
		}
	}
	if n > wire.MaxPackages {
		return wire.ErrPlanFormat.Because(fmt.Errorf("%d items", n))
	}
	return soundTerms(p)
}

// soundItems refuses items that bind to no content. Names and versions are the package manager's to check.
func soundItems(items []catalog.Item) error {
	for _, it := range items {
		if it.Name == "" || it.Arch == "" || it.Version == "" || it.Size < 0 || len(it.SHA256) != 64 || len(it.Key()) > wire.MaxString {
			return wire.ErrPlanFormat.Because(fmt.Errorf("item %q", clip(it.Key(), 100)))
		}
	}
	return nil
}
