// Package agent is the program assent-agent: it tells the server what a device has and could have, takes
// signed plans and makes them true with the device's own package manager.
//
// It guarantees: nothing is installed that the accepted plan does not order by version and digest;
// a plan counts only if it is signed by a trusted key for this very device, is not older than one accepted
// before and has not expired; every step is journaled before it is taken, so that a kill or a power
// cut at any moment leads to the true result and to one execution; every result is reported at least once and
// counts once; a lost server, repository or disk never ends the program. It does not decide which updates to
// install (plan, on the server), and it holds no rule of any one package manager (pkgmgr).
package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"assent/agent/internal/identity"
	"assent/agent/internal/journal"
	"assent/agent/internal/pkgmgr"
	"assent/agent/internal/statedir"
	"assent/catalog"
	"assent/wire"
)

// Manager is the device's package manager, whole.
type Manager interface {
	pkgmgr.Scanner
	pkgmgr.Refresher
	pkgmgr.Transactor
	pkgmgr.Verifier
	pkgmgr.Closer
	pkgmgr.Fencer
	pkgmgr.Historian
}

// Link is the connection to the server. Calls may be made concurrently; each has a deadline of its own.
type Link interface {
	Depot
	// CheckIn may take as long as m.Wait asks for.
	CheckIn(ctx context.Context, m wire.CheckIn) (wire.CheckInReply, error)
	// Report returns the ids of the reports that the server has made durable.
	Report(ctx context.Context, reports []wire.Report) ([]string, error)
	Renew(ctx context.Context, csr []byte) (wire.EnrolResponse, error)
	// Rehearsal tells what the device found when it rehearsed its plan.
	Rehearsal(ctx context.Context, r wire.Rehearsal) error
}

// Depot is where documents go and plans come from.
type Depot interface {
	Upload(ctx context.Context, kind wire.Kind, digest string, body []byte) error
	Plan(ctx context.Context, digest string) ([]byte, error)
}

// Device reads what the device says of itself.
type Device interface {
	Facts() wire.Facts // without what concerns packages
	BootID() string
	Uptime() time.Duration
}

// Timing holds the agent's rhythms. Zero values mean the defaults.
type Timing struct {
	Poll      time.Duration   // how long the server may hold a check-in
	Scan      time.Duration   // between cheap rescans
	Refresh   time.Duration   // between refreshes of the package lists
	Quiet     time.Duration   // after boot, before the first refresh (F19)
	HeadStart time.Duration   // how long closures may take before a scan is sent without them
	Retry     []time.Duration // waits after the first, second, … failed attempt; then no more until the plan changes
	Recheck   time.Duration   // how often what is blocked is looked at again without any change
	Settle    time.Duration   // how long a changed device or plan is left alone at least before it is rehearsed
	Stop      time.Duration   // how long a stop waits for work that can end
}

func (t Timing) withDefaults() Timing {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&t.Poll, 90*time.Second)
	def(&t.Scan, time.Minute)
	def(&t.Refresh, 4*time.Hour)
	def(&t.Quiet, time.Minute)
	def(&t.HeadStart, 2*time.Second)
	def(&t.Recheck, time.Hour)
	def(&t.Settle, 5*time.Minute)
	def(&t.Stop, 10*time.Second)
	if t.Retry == nil {
		t.Retry = []time.Duration{time.Minute, 10 * time.Minute, time.Hour}
	}
	return t
}

// Options are what an Agent is made of. All fields but Feeds, Foresee, Probe, Timing, Built, Await, Undone, EventDir, Watch and Restart are required.
type Options struct {
	Dir      *statedir.Dir
	Identity identity.Identity
	Manager  Manager
	Device   Device
	Dial     func(identity.Identity) (Link, error) // called again after a renewal
	Now      func() time.Time
	Log      *slog.Logger
	Version  string
	Built    time.Time       // no honest clock is before it
	Feeds    Feeds           // nil: the device follows none
	Foresee  pkgmgr.Foreseer // nil: rehearsals only simulate
	// Probe runs a publisher's health probe of an installed release, whose items have the format; nil is passed, and the
	// error's text is a sentence for people. Without it no update that has a probe counts as installed.
	Probe func(ctx context.Context, release catalog.Release, format catalog.Format, probe catalog.Probe) error
	// Await is waited for before the plan is acted upon; nil: nothing is. Facts are told and plans taken meanwhile.
	Await func(context.Context)
	// Undone says why what a transaction installed was taken back before its end was seen; nil: it was not. The function may be nil.
	Undone   func(catalog.Item) error
	EventDir string // where the guard leaves its events; empty for none
	// Watch calls left whenever the guard left an event in dir, until ctx ends; nil: they are found with the next scan.
	Watch func(ctx context.Context, dir string, left func()) error
	// Restart is how the device and its services are restarted (T5); nil: they never are, and what runs is not looked at.
	Restart Restarter
	Timing  Timing
}

// Agent is the running program of one device.
type Agent struct {
	opt     Options
	journal *journal.Journal
	seq     *journal.Sequence
	run     string // names this process to the server
	manager chan struct{}
	follows follows // belongs to the observe loop
	sieved  sieved  // belongs to the work loop
	mended  mended  // and this too
	place   place   // and this
	// restarts belongs to the restart loop, and what others read of it to mu.
	restarts restarts

	// Signals; each holds at most one.
	wake, work, rescan, refresh, mail, docsReady, toClose, toRestart, toRehearse chan struct{}

	publishing sync.Mutex // held while documents are encoded and their digests taken over, before mu
	collecting sync.Mutex // held while the guard's events are taken over, before mu

	mu    sync.Mutex
	id    identity.Identity
	link  Link
	held  *held
	newer string // digest of a plan that a verified newer statement orders and that is not here yet
	floor floor
	// endRefresh ends the refresh of the package lists that runs; nil when none does.
	endRefresh context.CancelCauseFunc
	snap       *pkgmgr.Snapshot
	offers     wire.Available       // of snap, with closures once they are known
	docs       map[wire.Kind]string // what a check-in announces
	announced  map[wire.Kind]string // what the last check-in did whose documents the server has, as far as we know
	origins    []wire.OriginHealth  // of the last refresh
	progress   wire.Progress
	errors     map[string]string // by area
	flying     bool
	shutting   bool // the device shuts down, and what waits for that may begin
	fetching   *fetching
	beats      map[string]time.Time
	told       map[string]bool // events of this process

	rehearseNow  bool                    // an administrator asked
	endRehearsal context.CancelCauseFunc // ends the rehearsal that runs; nil when none does
	carrying     int                     // how much of the plan is being carried out: none is begun meanwhile

	refreshNow      bool // an administrator asked
	refreshFailures int
	renewAfter      time.Time
}

// New opens the agent's state. It does not talk to anybody.
func New(opt Options) (*Agent, error) {
	opt.Timing = opt.Timing.withDefaults()
	a := &Agent{opt: opt, id: opt.Identity, run: rand.Text(), manager: make(chan struct{}, 1),
		docs: map[wire.Kind]string{}, errors: map[string]string{}, beats: map[string]time.Time{}, told: map[string]bool{}}
	for _, c := range []*chan struct{}{&a.wake, &a.work, &a.rescan, &a.refresh, &a.mail, &a.docsReady, &a.toClose, &a.toRestart, &a.toRehearse} {
		*c = make(chan struct{}, 1)
	}
	a.sieved.recheck = opt.Timing.Recheck
	var err error
	if a.journal, err = journal.Open(opt.Dir); err != nil {
		return nil, err
	}
	if a.seq, err = journal.OpenSequence(opt.Dir); err != nil {
		return nil, err
	}
	if a.link, err = opt.Dial(opt.Identity); err != nil {
		return nil, err
	}
	a.loadProgress()
	a.loadFloor()
	a.loadPlan()
	return a, nil
}

// Run works until ctx ends. It returns no error for anything that can pass by itself. A package manager
// that runs at the end goes on alone; the next Run finds it by the journal.
func (a *Agent) Run(ctx context.Context) error {
	defer a.journal.Close()
	defer a.seq.Close()
	loops := []func(context.Context){a.observeLoop, a.closeLoop, a.linkLoop, a.mailLoop, a.workLoop, a.watchLoop, a.eventLoop, a.restartLoop, a.shutdownLoop, a.rehearseLoop}
	var wg sync.WaitGroup
	for _, loop := range loops {
		wg.Go(func() { loop(ctx) })
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	<-ctx.Done()
	select {
	case <-done:
	case <-time.After(a.opt.Timing.Stop):
		a.opt.Log.Info("stopping while the package manager runs; its result is taken up at the next start")
	}
	return nil
}

// signal sets a flag that one loop waits for.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// drain takes a flag down.
func drain(c chan struct{}) {
	select {
	case <-c:
	default:
	}
}

// sleep waits for d, for ctx or for one of the flags. It reports whether to go on.
func sleep(ctx context.Context, d time.Duration, flags ...chan struct{}) bool {
	timer := time.NewTimer(max(d, 0))
	defer timer.Stop()
	var first, second chan struct{}
	if len(flags) > 0 {
		first = flags[0]
	}
	if len(flags) > 1 {
		second = flags[1]
	}
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
	case <-first:
	case <-second:
	}
	return true
}

// own takes the package manager for one job that must not meet another: a transaction or a refresh.
func (a *Agent) own(ctx context.Context) (release func(), err error) {
	select {
	case a.manager <- struct{}{}:
		return func() { <-a.manager }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// fail notes what keeps an area of the agent from being useful; fail with nil says that it is well again.
func (a *Agent) fail(area string, err error) {
	if errors.Is(err, context.Canceled) {
		return // we are stopping, or the plan changed
	}
	a.mu.Lock()
	old := a.errors[area]
	text := ""
	if err != nil {
		text = clip(err.Error(), 500)
	}
	if text == "" {
		delete(a.errors, area)
	} else {
		a.errors[area] = text
	}
	var all []string
	for _, area := range slices.Sorted(maps.Keys(a.errors)) {
		all = append(all, a.errors[area])
	}
	a.progress.Error = clip(strings.Join(all, "; "), wire.MaxString)
	a.mu.Unlock()
	if text == old {
		return
	}
	if text != "" {
		a.opt.Log.Error(text, "area", area)
	} else {
		a.opt.Log.Info("well again", "area", area, "was", old)
	}
	a.saveProgress()
}

// doing notes what the agent is at, in words, until the returned function is called. The server hears of it at once.
func (a *Agent) doing(format string, args ...any) (done func()) {
	text := fmt.Sprintf(format, args...)
	a.mu.Lock()
	before, since := a.progress.Doing, a.progress.Since
	a.progress.Doing, a.progress.Since = text, a.opt.Now()
	a.mu.Unlock()
	a.opt.Log.Info(text)
	a.saveProgress()
	signal(a.wake)
	return func() {
		a.mu.Lock()
		if a.progress.Doing == text {
			a.progress.Doing, a.progress.Since = before, since
		}
		a.mu.Unlock()
		a.saveProgress()
		signal(a.wake)
	}
}

// beat says that a loop is alive.
func (a *Agent) beat(loop string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.beats[loop] = time.Now()
}

// clip cuts s to at most n bytes at a character's end.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n-3], "") + "…"
}
