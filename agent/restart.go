package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"assent/agent/internal/journal"
	"assent/agent/internal/pkgmgr"
	"assent/agent/internal/restart"
	"assent/catalog"
	"assent/installation"
	"assent/window"
	"assent/wire"
)

// Restarter is the device as far as restarts go (T5). restart.Host is one.
type Restarter interface {
	Looker
	Rebooter
	Audience
	// TryRestart restarts a service and waits until it is well again.
	TryRestart(ctx context.Context, unit string) error
}

// Looker reads what the device still runs from before an update.
type Looker interface {
	Look(ctx context.Context) (restart.Found, error)
}

// Rebooter restarts the device and says what has to be there afterwards.
type Rebooter interface {
	// Enabled lists the services that run now and start at every boot, Missing those of them that did not.
	Enabled(ctx context.Context) ([]string, error)
	Missing(ctx context.Context, units []string) ([]string, error)
	// Restart returns once the restart began; restart.ErrInhibited: it did not, and something on the device holds it up.
	Restart(ctx context.Context) error
}

// Audience is the people at the device.
type Audience interface {
	People(ctx context.Context) ([]restart.Person, error)
	// Tell shows a text to all of them and does not wait for anybody.
	Tell(ctx context.Context, people []restart.Person, text string) error
	// Put shows them a question and calls answered, possibly never, with what one of them chose within limit.
	Put(ctx context.Context, people []restart.Person, text string, later bool, limit time.Duration, answered func(restart.Person, restart.Answer)) error
}

const (
	// staleEvery is how often the processes are looked at without any news.
	staleEvery = 15 * time.Minute
	// restartEvery is how often a restart that is due is thought about.
	restartEvery = time.Minute
	// restartPatience is how long the device may take to go down.
	restartPatience = 10 * time.Minute
	// backPatience is how long services may take to be there after a boot.
	backPatience = 5 * time.Minute
	backPause    = 2 * time.Second
)

// restarts is what the restart loop knows. From looked on, the fields belong to Agent.mu.
type restarts struct {
	back      time.Time // this process saw first that the device is back
	plan      windowOf  // the window of the plan, read once
	zone      string    // of the device
	zoned     time.Time // it was read then
	heldUp    string    // what inhibited the last restart
	heldUntil time.Time // and until when it is left alone
	told      []byte    // what was left last for the command line
	heard     time.Time // when the last order that was taken was given

	looked  time.Time // the processes were looked at last
	found   restart.Found
	seen    bool      // found is true of this boot
	again   bool      // something was installed since
	settled string    // digest of the plan whose orders a pass went through
	down    time.Time // until then the device that was told to restart is given the time to do it
}

// windowOf is a schedule that was read.
type windowOf struct {
	raw, zone string
	windows   window.Windows
	in        window.Zone
	problem   error
}

// restartLoop restarts the device and its services when the plan says so.
func (a *Agent) restartLoop(ctx context.Context) {
	if a.opt.Restart == nil {
		return
	}
	if a.opt.Await != nil {
		a.opt.Await(ctx)
	}
	if a.opt.Watch != nil {
		go func() {
			if err := a.opt.Watch(ctx, a.opt.Dir.Path(askedDir), func() { signal(a.toRestart) }); err != nil {
				a.opt.Log.Warn("what is said to `assent-agent restart` is heard a minute later", "err", err)
			}
		}()
	}
	for ctx.Err() == nil {
		a.beat("restart")
		next, err := a.restartPass(ctx)
		a.fail("restart", err)
		wait := min(max(next.Sub(a.opt.Now()), time.Second), restartEvery)
		if !sleep(ctx, wait, a.toRestart) {
			return
		}
	}
}

// restartPass looks, thinks and does at most one thing. It returns when to come again.
func (a *Agent) restartPass(ctx context.Context) (time.Time, error) {
	now := a.opt.Now()
	later := now.Add(restartEvery)
	if until, going := a.goesDown(); going {
		return until, nil
	}
	if err := a.stale(ctx, false); err != nil {
		return later, err
	}
	if !a.ready() {
		return now.Add(backPause), nil
	}
	release, free := a.tryOwn()
	if !free {
		return now.Add(backPause), nil // something is being installed or looked for
	}
	defer release()
	if a.journal.Flight() != nil {
		return now.Add(backPause), nil // whoever resolves it comes first
	}
	if done, err := a.prove(ctx); !done || err != nil {
		return now.Add(backPause), err
	}
	if err := a.heard(); err != nil {
		return later, err
	}
	t := a.thought()
	if err := a.remember(t); err != nil {
		return later, err
	}
	t, step, err := a.consider(ctx, t)
	if err != nil {
		return later, err
	}
	a.tellRestart(t, step)
	return a.take(ctx, t, step)
}

// tryOwn takes the package manager if nobody has it.
func (a *Agent) tryOwn() (release func(), ok bool) {
	select {
	case a.manager <- struct{}{}:
		return func() { <-a.manager }, true
	default:
		return nil, false
	}
}

// ready reports whether the device was looked at, both by the package manager and for what it runs.
func (a *Agent) ready() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.snap != nil && a.restarts.seen
}

// stale looks at what the device still runs, now and then, when something was installed, and when it must.
func (a *Agent) stale(ctx context.Context, must bool) error {
	if a.opt.Restart == nil {
		return nil
	}
	now := a.opt.Now()
	a.mu.Lock()
	fresh := a.restarts.seen && !a.restarts.again && now.Sub(a.restarts.looked) < staleEvery && !now.Before(a.restarts.looked)
	a.mu.Unlock()
	if fresh && !must {
		return nil
	}
	found, err := a.opt.Restart.Look(ctx)
	if err != nil {
		return fmt.Errorf("look at what the device runs: %w", err)
	}
	a.mu.Lock()
	changed := !a.restarts.seen || !slices.Equal(a.restarts.found.Reasons, found.Reasons)
	a.restarts.found, a.restarts.seen, a.restarts.again, a.restarts.looked = found, true, false, now
	a.mu.Unlock()
	if changed {
		a.publish()
		signal(a.work)
	}
	return nil
}

// reasons is everything that still runs as it was before an update, sorted. The caller holds a.mu.
func (a *Agent) reasons(snap *pkgmgr.Snapshot) []wire.RestartReason {
	var out []wire.RestartReason
	if snap != nil {
		for _, name := range snap.Restart {
			out = append(out, reasonOf(snap, name))
		}
	}
	return restart.Sorted(slices.Concat(out, a.restarts.found.Reasons))
}

// reasonOf is what a package manager names as a reason: an application that is installed beside the packages, or a package.
func reasonOf(snap *pkgmgr.Snapshot, name string) wire.RestartReason {
	for _, p := range snap.Inventory.Packages {
		if p.Name == name && p.Ecosystem == catalog.Generic {
			return wire.RestartReason{Kind: wire.StaleApplication, Name: name, Detail: "Its publisher asks for a restart of the device after version " + p.Version + "."}
		}
	}
	return wire.RestartReason{Kind: wire.StalePackage, Name: name, Detail: "It asks for a restart of the device."}
}

// pending lists by name what asks for a restart of the device.
func (a *Agent) pending() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.pendingIn(a.snap)
}

// pendingIn is pending for a snapshot. The caller holds a.mu.
func (a *Agent) pendingIn(snap *pkgmgr.Snapshot) []string {
	var out []string
	for _, r := range restart.Device(a.reasons(snap)) {
		out = append(out, r.Name)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// asks reports whether a name among what asks for a restart is that of an item.
func asks(name string, it catalog.Item) bool {
	kernel := strings.HasPrefix(it.Name, "linux-image-") || it.Name == "kernel" || it.Name == "kernel-core"
	return it.Name == name || name == "kernel" && kernel
}

// thought is what there is to think about at one moment.
type thought struct {
	moment  restart.Moment
	policy  restart.Policy
	plan    *wire.PlanRestart
	reasons []wire.RestartReason
	state   journal.Restart
}

// thought collects what is true now, people apart.
func (a *Agent) thought() thought {
	st, boot, real := a.journal.Restart(), a.opt.Device.BootID(), a.opt.Now()
	a.mu.Lock()
	h, newer, now := a.held, a.newer, a.clock()
	t := thought{reasons: a.reasons(a.snap), state: st, moment: restart.Moment{Now: now, After: st.Wanted == boot}}
	settled := a.restarts.settled
	device := string(a.id.Device)
	a.mu.Unlock()
	for _, r := range restart.Device(t.reasons) {
		t.moment.Due = t.moment.Due || !slices.Contains(st.Tried, r)
	}
	if h == nil {
		t.policy = restart.PolicyOf(nil)
		return t
	}
	t.plan = h.plan.Restart
	t.policy = restart.PolicyOf(t.plan)
	switch {
	case now.Sub(real) > maxSkew:
		t.moment.Held = "the device's clock is wrong"
	case !now.Before(h.body.Expires):
		t.moment.Held = "the plan expired at " + h.body.Expires.UTC().Format(time.RFC3339)
	case newer != "":
		t.moment.Held = "a newer plan is on its way"
	}
	switch {
	case real.Before(a.restarts.heldUntil):
		t.moment.Busy = a.restarts.heldUp
	case settled != h.body.Plan:
		t.moment.Busy = "the installations of the plan"
	}
	if t.plan != nil {
		t.moment.Window = a.windowOf(t.plan.Schedule, now, device)
	}
	return t
}

// windowOf asks the plan's schedule. What cannot be read never opens.
func (a *Agent) windowOf(raw json.RawMessage, now time.Time, device string) restart.Window {
	if len(raw) == 0 {
		return restart.Always()
	}
	if real := a.opt.Now(); a.restarts.zone == "" || real.Sub(a.restarts.zoned) >= staleEvery || real.Before(a.restarts.zoned) {
		a.restarts.zone, a.restarts.zoned = a.opt.Device.Facts().TimeZone, real
	}
	zone, w := a.restarts.zone, &a.restarts.plan
	if w.raw != string(raw) || w.zone != zone {
		*w = readWindow(raw, zone)
	}
	if w.problem != nil {
		return restart.Window{Reason: clip(w.problem.Error(), 300)}
	}
	answer := w.windows.At(now, w.in, device)
	out := restart.Window{Open: answer.Open, Until: answer.Window.End, Reason: strings.TrimSuffix(answer.Text, ".")}
	if !answer.Open {
		out.Until, out.Next = time.Time{}, answer.Opens
		if !out.Next.After(now) {
			out.Next = time.Time{}
		}
	}
	return out
}

func readWindow(raw json.RawMessage, zone string) windowOf {
	w := windowOf{raw: string(raw), zone: zone}
	schedule, err := window.Decode(raw)
	if err == nil {
		w.windows, err = window.Parse(schedule)
	}
	if err != nil {
		w.problem = fmt.Errorf("the plan's windows for restarts cannot be read: %w", err)
		return w
	}
	if w.in, err = window.LoadZone(zone); err != nil && schedule.Zone == "" {
		w.problem = fmt.Errorf("the device's windows for restarts are not known: %w", err)
	}
	return w
}

// remember keeps up what is remembered with what is true: since when a restart is due, and which reasons a restart did not
// end. Nothing that was noted lies in the future.
func (a *Agent) remember(t thought) error {
	st, now := t.state, t.moment.Now
	device := restart.Device(t.reasons)
	st.Tried = slices.DeleteFunc(slices.Clone(st.Tried), func(r wire.RestartReason) bool { return !slices.Contains(device, r) })
	due := t.moment.Due || t.moment.After && t.policy.When == wire.RestartAlways
	switch {
	case due && st.Due.IsZero():
		st.Due = now
	case !due && !st.Due.IsZero():
		st = journal.Restart{Wanted: st.Wanted, Begun: st.Begun, Tried: st.Tried, Step: st.Step, Serviced: st.Serviced}
	}
	for _, at := range []*time.Time{&st.Asked, &st.Last, &st.Warned, &st.Ordered} {
		if at.After(now) {
			*at = now
		}
	}
	st.Begun = slices.Clone(st.Begun)
	for i, at := range st.Begun {
		if at.After(now) {
			st.Begun[i] = now
		}
	}
	return a.noteRestart(t.state, st)
}

// noteRestart makes what is remembered durable, if it changed.
func (a *Agent) noteRestart(old, next journal.Restart, reports ...wire.Report) error {
	was, err1 := json.Marshal(old)
	is, err2 := json.Marshal(next)
	if err1 == nil && err2 == nil && string(was) == string(is) && len(reports) == 0 {
		return nil
	}
	return a.write(journal.Record{Restart: &next, Reports: reports})
}

// settledPlan notes that a pass went through the orders of a plan, however they ended: a restart waits for no more than that.
func (a *Agent) settledPlan(h *held) {
	a.mu.Lock()
	changed := a.restarts.settled != h.body.Plan
	a.restarts.settled = h.body.Plan
	a.mu.Unlock()
	if changed {
		signal(a.toRestart)
	}
}

// followed notes in rec that something was installed: a restart may follow, and services may be restarted again.
func (a *Agent) followed(rec *journal.Record) {
	installed := slices.ContainsFunc(rec.Reports, func(r wire.Report) bool {
		return r.State == installation.Installed || r.State == installation.RestartRequired || r.State == installation.Removed
	})
	if a.opt.Restart == nil || !installed {
		return
	}
	st := a.journal.Restart()
	st.Wanted, st.Serviced = a.opt.Device.BootID(), nil
	rec.Restart = &st
	a.mu.Lock()
	a.restarts.again = true
	a.mu.Unlock()
	signal(a.toRestart)
}
