package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"assent/agent/internal/guard"
	"assent/agent/internal/journal"
	"assent/agent/internal/pkgmgr"
	"assent/agent/internal/uplink"
	"assent/fleet"
	"assent/wire"
)

const (
	progressFile = "progress.json"
	// refreshLimit ends a refresh that forgot its own deadline (F18).
	refreshLimit = 20 * time.Minute
	// refreshRetry is the first wait after a refresh that did not work.
	refreshRetry = 5 * time.Minute
	// stale is the age from which package lists are refreshed without any quiet period.
	stale = 24 * time.Hour
)

// observeLoop keeps looking at the device: a cheap scan every minute and after each transaction, a refresh of the
// package lists every few hours.
func (a *Agent) observeLoop(ctx context.Context) {
	next := a.firstRefresh()
	for ctx.Err() == nil {
		a.beat("observe")
		a.scan(ctx)
		a.collect()
		feeds, changed := a.followFeeds(ctx)
		if changed {
			a.scan(ctx)
		}
		if !a.opt.Now().Before(next) {
			next = a.refreshLists(ctx)
			continue
		}
		wait := min(a.opt.Timing.Scan, next.Sub(a.opt.Now()), feeds.Sub(a.opt.Now()))
		if !sleep(ctx, wait, a.rescan, a.refresh) {
			return
		}
		if a.asked() {
			next = a.opt.Now()
		}
	}
}

// asked reports whether an administrator asked for a refresh. sleep may have taken the flag down, so it is also
// kept in the progress.
func (a *Agent) asked() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	asked := a.refreshNow
	a.refreshNow = false
	return asked
}

// firstRefresh is when the package lists are due: at once when they are old, else at their time, but not in the
// bustle after a boot (F19).
func (a *Agent) firstRefresh() time.Time {
	now := a.opt.Now()
	a.mu.Lock()
	last := a.progress.LastRefresh
	a.mu.Unlock()
	if now.Sub(last) > stale {
		return now
	}
	due := last.Add(a.opt.Timing.Refresh)
	if up := a.opt.Device.Uptime(); up < a.opt.Timing.Quiet {
		if calm := now.Add(a.opt.Timing.Quiet - up); calm.After(due) {
			return calm
		}
	}
	return due
}

// scan looks at the device. While a transaction runs it does not: half installed packages are no news.
func (a *Agent) scan(ctx context.Context) {
	a.mu.Lock()
	flying := a.flying
	a.mu.Unlock()
	if !flying {
		a.fail("scan", a.look(ctx))
	}
}

// look takes a snapshot and, if something changed, makes it known.
func (a *Agent) look(ctx context.Context) error {
	snap, err := a.opt.Manager.Scan(ctx)
	if err != nil {
		return fmt.Errorf("scan the device: %w", err)
	}
	a.mu.Lock()
	changed := a.snap == nil || a.snap.Stamp != snap.Stamp
	a.snap, a.progress.LastScan = snap, a.opt.Now()
	if changed {
		a.offers = wire.Available{} // the closures of yesterday's offers would be lies
		a.docs = a.announced        // and a scan that is still to be announced would undo at the server what is reported by then
	}
	a.mu.Unlock()
	if changed {
		var broken error
		if snap.Health.Broken != "" {
			broken = errors.New("package manager: " + snap.Health.Broken)
		}
		a.fail("manager", broken)
		signal(a.toClose)
		signal(a.work)
	}
	return nil
}

// closeLoop computes what would come along with each offer, which may take long, while the plain scan is already on
// its way. Where the answer is known from before, only the whole is sent.
func (a *Agent) closeLoop(ctx context.Context) {
	for wait := idlePass; sleep(ctx, wait, a.toClose); {
		a.mu.Lock()
		snap := a.snap
		a.mu.Unlock()
		if snap == nil {
			continue
		}
		job, cancel := context.WithCancel(ctx)
		var err error
		done := make(chan struct{})
		go func() {
			defer close(done)
			err = a.closures(job, snap)
		}()
		select {
		case <-done:
		case <-a.toClose: // the device changed: the answers would be of yesterday
			signal(a.toClose)
		}
		cancel()
		<-done
		if wait = idlePass; err != nil {
			wait = brokeWait // without the answers nothing can be taken back
		}
	}
}

// closures makes one scan's offers known: at once as they are, and with what would come along when that is known. The two can
// meet; what is known has the last word.
func (a *Agent) closures(ctx context.Context, snap *pkgmgr.Snapshot) error {
	var mu sync.Mutex
	over := false // guarded by mu
	late := time.AfterFunc(a.opt.Timing.HeadStart, func() {
		mu.Lock()
		defer mu.Unlock()
		if !over {
			a.offer(snap, snap.Available)
		}
	})
	closed, err := a.opt.Manager.Close(ctx, snap)
	late.Stop()
	mu.Lock()
	over = true
	mu.Unlock()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		err, closed = fmt.Errorf("find out what comes with each update: %w", err), snap.Available
	}
	a.fail("closure", err)
	a.offer(snap, closed)
	debug.FreeOSMemory() // large lists were read; the device needs the memory more than we do
	return err
}

// offer makes av known as what snap's device could take, unless the device has changed since.
func (a *Agent) offer(snap *pkgmgr.Snapshot, av wire.Available) {
	a.mu.Lock()
	current := a.snap == snap || a.snap != nil && a.snap.Stamp == snap.Stamp
	if current {
		a.offers = av
	}
	a.mu.Unlock()
	if current {
		a.publish()
	}
}

// publish computes the digests of what the device says and wakes the link if one changed.
func (a *Agent) publish() {
	a.publishing.Lock()
	defer a.publishing.Unlock()
	a.mu.Lock()
	ready := a.snap != nil && a.offers.Ecosystem != ""
	a.mu.Unlock()
	if !ready {
		return // what was said last stands until there is more to say
	}
	docs := map[wire.Kind]string{}
	for _, kind := range wire.Kinds() {
		_, digest, err := a.document(kind)
		if err != nil {
			a.fail("documents", err)
			return
		}
		if digest != "" {
			docs[kind] = digest
		}
	}
	a.mu.Lock()
	changed := false
	for kind, digest := range docs {
		changed = changed || a.docs[kind] != digest
	}
	a.docs = docs
	a.mu.Unlock()
	if changed {
		signal(a.docsReady)
		signal(a.wake)
	}
}

// document encodes what the device says now. Without a scan there is nothing to say.
func (a *Agent) document(kind wire.Kind) (body []byte, digest string, err error) {
	a.mu.Lock()
	snap, offers := a.snap, a.offers
	a.mu.Unlock()
	if snap == nil || offers.Ecosystem == "" {
		return nil, "", nil
	}
	switch kind {
	case wire.KindFacts:
		return wire.Encode(a.facts(snap))
	case wire.KindInventory:
		return wire.Encode(snap.Inventory)
	case wire.KindAvailable:
		if a.opt.Feeds != nil && a.opt.Feeds.Following() {
			offers.Agent = a.opt.Version // a feed's release may ask for one
		}
		return wire.Encode(offers)
	}
	return nil, "", nil
}

func (a *Agent) facts(snap *pkgmgr.Snapshot) wire.Facts {
	f := a.opt.Device.Facts()
	f.Agent = a.opt.Version
	f.Posture = orEmpty(snap.Posture)
	f.ManagerHealth = clip(snap.Health.Broken, wire.MaxString)
	a.mu.Lock()
	defer a.mu.Unlock()
	f.Restart, f.Stale = orEmpty(a.pendingIn(snap)), a.reasons(snap)
	f.Origins = mergeOrigins(snap.Origins, a.origins)
	f.Guard = fleet.Inherit
	if a.held != nil && a.held.fenced {
		f.Guard = a.held.plan.Guard
	}
	return f
}

func orEmpty[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// mergeOrigins adds to what the scan knows of each source what only the refresh could find out, and the feeds.
func mergeOrigins(scanned, refreshed []wire.OriginHealth) []wire.OriginHealth {
	out := orEmpty(slices.Clone(scanned))
	for _, r := range refreshed {
		if r.Problem == "" && !strings.HasPrefix(r.Origin, "feed:") {
			continue
		}
		i := slices.IndexFunc(out, func(o wire.OriginHealth) bool { return o.Name() == r.Name() })
		switch {
		case i < 0:
			out = append(out, r)
		case out[i].Problem == "":
			out[i].Problem, out[i].Detail = r.Problem, r.Detail
		}
	}
	return out
}

// refreshLists fetches the package lists and returns when to do so next.
func (a *Agent) refreshLists(ctx context.Context) time.Time {
	release, err := a.own(ctx)
	if err != nil {
		return a.opt.Now()
	}
	defer release()
	defer a.doing("refreshing the package lists")()
	ctx, cancel := context.WithTimeout(ctx, refreshLimit)
	defer cancel()
	ctx, yield := context.WithCancelCause(ctx)
	defer yield(nil)
	a.yields(yield)
	defer a.yields(nil)
	health, err := a.opt.Manager.Refresh(ctx)
	if errors.Is(context.Cause(ctx), errOrders) {
		return a.opt.Now().Add(refreshAgain)
	}
	good, problem := judge(health, err)
	a.fail("refresh", problem)
	a.mu.Lock()
	if err == nil {
		a.origins = health
	}
	if good {
		a.progress.LastRefresh = a.opt.Now()
		a.refreshFailures = 0
	} else {
		a.refreshFailures++
	}
	failures := a.refreshFailures
	a.mu.Unlock()
	a.rollbackEvents(health)
	a.saveProgress()
	signal(a.rescan)
	a.publish()
	if good {
		return a.opt.Now().Add(a.opt.Timing.Refresh + uplink.Jitter(a.opt.Timing.Refresh/10))
	}
	wait := min(refreshRetry<<min(failures-1, 10), a.opt.Timing.Refresh)
	return a.opt.Now().Add(wait + uplink.Jitter(wait/4))
}

// errOrders ends a refresh because something is to be installed: a repository that hangs must not hold up what
// was approved.
var errOrders = errors.New("the plan orders something")

// refreshAgain is when a refresh that gave way is tried again.
const refreshAgain = 5 * time.Second

// yields notes how to end the refresh that runs; nil: none does.
func (a *Agent) yields(end context.CancelCauseFunc) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.endRefresh = end
}

// judge says whether a refresh was of use: at least one source answered, or there is none.
func judge(health []wire.OriginHealth, err error) (good bool, problem error) {
	if err != nil {
		return false, fmt.Errorf("refresh the package lists: %w", err)
	}
	var bad []string
	for _, o := range health {
		if o.Problem != "" {
			bad = append(bad, o.Name()+": "+o.Problem)
		}
	}
	if len(bad) > 0 {
		problem = errors.New("package sources with problems: " + strings.Join(bad, ", "))
	}
	return len(bad) < max(len(health), 1), problem
}

// rollbackEvents reports package sources that went back in time, once per date seen there (F7, N01). Feeds tell of theirs
// themselves.
func (a *Agent) rollbackEvents(health []wire.OriginHealth) {
	for _, o := range health {
		if o.Problem != "rolled_back" || strings.HasPrefix(o.Origin, "feed:") {
			continue
		}
		key := o.Site + " " + o.Suite + " " + o.Date.String() + " " + o.Highest.String()
		a.event(wire.Digest([]byte(key))[:26], "origin_rollback", fmt.Sprintf("%s %s offers the state of %s although %s was seen before", o.Site, o.Suite,
			o.Date.UTC().Format(time.RFC3339), o.Highest.UTC().Format(time.RFC3339)))
	}
}

// event journals something worth knowing that is not a state. The id keeps it from counting twice.
func (a *Agent) event(id, kind, detail string) bool {
	a.mu.Lock()
	known := a.told[id]
	a.mu.Unlock()
	if known || a.journal.Reported(id) {
		return true
	}
	r := wire.Report{ID: id, At: a.opt.Now(), Event: kind, Detail: clip(detail, 1000)}
	if err := a.journal.Write(journal.Record{Reports: []wire.Report{r}}); err != nil {
		a.fail("journal", err)
		return false
	}
	a.mu.Lock()
	a.told[id] = true
	a.mu.Unlock()
	signal(a.mail)
	return true
}

// eventPause is how long what the guard leaves is gathered at most, when it leaves much.
const eventPause = time.Second

// eventLoop takes over what the guard leaves as soon as it does, whatever the other loops wait for. Where that is not
// possible, the next scan does it.
func (a *Agent) eventLoop(ctx context.Context) {
	if a.opt.EventDir == "" || a.opt.Watch == nil {
		return
	}
	err := a.opt.Watch(ctx, a.opt.EventDir, func() {
		a.collect()
		sleep(ctx, eventPause)
	})
	if err != nil {
		a.opt.Log.Warn("the guard's events are found with the next scan only", "err", err)
	}
}

// collect takes over the events that the guard left. Each is journaled before its file goes.
func (a *Agent) collect() {
	if a.opt.EventDir == "" {
		return
	}
	a.collecting.Lock()
	defer a.collecting.Unlock()
	events, err := guard.Events(a.opt.EventDir)
	a.fail("events", err)
	for _, e := range events {
		if !a.event(wire.Digest([]byte(e.ID))[:26], e.Event, describe(e)) {
			return
		}
		if err := guard.Forget(a.opt.EventDir, e.ID); err != nil {
			a.fail("events", err)
			return
		}
	}
}

// describe puts a guard's event into one text.
func describe(e guard.Event) string {
	var parts []string
	for _, f := range e.Findings[:min(len(e.Findings), 5)] {
		s := fmt.Sprintf("%s:%s=%s %s", f.Name, f.Arch, f.Version, f.Code)
		if f.Code == guard.Digest {
			s += fmt.Sprintf(" (found %s, known %s)", f.Found, strings.Join(f.Known, " "))
		}
		parts = append(parts, s)
	}
	if len(parts) == 0 {
		parts = append(parts, e.Text)
	}
	if e.Command != "" {
		parts = append(parts, "by: "+e.Command)
	}
	return strings.Join(parts, "; ")
}

func (a *Agent) loadProgress() {
	b, err := a.opt.Dir.Read(progressFile, 64<<10)
	if err != nil {
		return // it is only for showing and pacing
	}
	var p wire.Progress
	if json.Unmarshal(b, &p) == nil && !p.LastRefresh.After(a.opt.Now()) {
		a.progress.LastRefresh = p.LastRefresh
	}
}

// saveProgress leaves the progress for `assent-agent status` and the next start. Losing it harms nothing.
func (a *Agent) saveProgress() {
	a.mu.Lock()
	defer a.mu.Unlock()
	b, err := json.Marshal(a.progress)
	if err == nil {
		err = a.opt.Dir.WriteSoft(progressFile, b)
	}
	if err != nil {
		a.opt.Log.Debug("progress not saved", "err", err)
	}
}
