package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"time"

	"assent/agent/internal/command"
	"assent/agent/internal/statedir"
	"assent/agent/internal/uplink"
	"assent/wire"
)

const (
	rehearsalFile = "rehearsal.json"
	maxRehearsal  = 4 << 20
	// rehearseLook is how often the loop looks whether a rehearsal is due.
	rehearseLook = 5 * time.Minute
	// rehearseSoon is when one is tried again that gave way or failed.
	rehearseSoon = time.Minute
	// rehearseLimit bounds one rehearsal.
	rehearseLimit = 10 * time.Minute
	// rehearseDeaf is how long a server that takes no rehearsals is left alone.
	rehearseDeaf = 24 * time.Hour
)

// errCarrying ends a rehearsal because something real begins.
var errCarrying = errors.New("a transaction begins")

// rehearsal is what is remembered of the last one; it belongs to the rehearse loop, and is on disk as well.
type rehearsal struct {
	Last wire.Rehearsal `json:"last"`
	Sent bool           `json:"sent"`

	plan, inventory string    // as they are
	since           time.Time // they are so
	deaf            time.Time // until then the server takes none
	place           place
}

// rehearseLoop finds out beforehand what the next installs of the plan would meet, when that changed, some hours before their
// window and when an administrator asks. It never holds anything up: whatever is real goes first.
func (a *Agent) rehearseLoop(ctx context.Context) {
	r := a.loadRehearsal()
	wait := rehearseLook
	for sleep(ctx, wait, a.toRehearse) {
		a.beat("rehearse")
		wait = rehearseLook
		asked := a.rehearsalAsked()
		err := a.rehearseIfDue(ctx, r, asked)
		if err == nil {
			err = a.sendRehearsal(ctx, r)
		} else if asked {
			a.askRehearsal() // it stays asked for
		}
		if err != nil {
			wait = rehearseSoon
		}
		if errors.Is(err, errCarrying) {
			err = nil
		}
		a.fail("rehearsal", err)
	}
}

// askRehearsal notes that an administrator asks for a rehearsal.
func (a *Agent) askRehearsal() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.rehearseNow = true
}

// rehearsalAsked reports, once, whether one was asked for.
func (a *Agent) rehearsalAsked() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	asked := a.rehearseNow
	a.rehearseNow = false
	return asked
}

// hush ends a rehearsal that runs, and keeps another from beginning until over is called.
func (a *Agent) hush() (over func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.carrying++
	if a.endRehearsal != nil {
		a.endRehearsal(errCarrying)
	}
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.carrying--
	}
}

// beginRehearsal makes the context of a rehearsal, unless something real is under way.
func (a *Agent) beginRehearsal(ctx context.Context) (_ context.Context, end func(), err error) {
	ctx, stop := context.WithTimeout(command.Gently(ctx), rehearseLimit)
	ctx, cancel := context.WithCancelCause(ctx)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.carrying > 0 || a.flying || len(a.manager) > 0 {
		cancel(nil)
		stop()
		return nil, nil, errCarrying
	}
	a.endRehearsal = cancel
	return ctx, func() {
		a.mu.Lock()
		a.endRehearsal = nil
		a.mu.Unlock()
		cancel(nil)
		stop()
	}, nil
}

// rehearseIfDue rehearses where that is asked for or due.
func (a *Agent) rehearseIfDue(ctx context.Context, r *rehearsal, asked bool) error {
	s, ok := a.stage(r)
	if !ok {
		return nil // there is no plan yet, or nothing is known of the device
	}
	if !asked && (s.now.Before(r.deaf) || s.now.Before(a.rehearsalDue(r, s))) {
		return nil
	}
	run, end, err := a.beginRehearsal(ctx)
	if err != nil {
		return err
	}
	defer end()
	began := a.opt.Now()
	out, err := a.rehearse(run, s)
	debug.FreeOSMemory() // large lists were read
	if cause := context.Cause(run); err != nil && errors.Is(cause, errCarrying) {
		return errCarrying
	}
	if err != nil {
		return fmt.Errorf("rehearse the plan: %w", err)
	}
	nothing := len(out.Updates) == 0 && len(r.Last.Updates) == 0 && !asked
	out.At, out.Plan, out.Inventory = a.opt.Now().UTC(), s.held.body.Plan, s.inventory
	out.Took = int(out.At.Sub(began).Milliseconds())
	r.Last, r.Sent = out, nothing // that there is nothing to tell is no news
	a.saveRehearsal(r)
	return nil
}

// rehearsalDue is when the rehearsal of what is on stage is due by itself.
func (a *Agent) rehearsalDue(r *rehearsal, s stage) time.Time {
	o := occasion{now: s.now, share: shareOf(s.moment.Device), changed: r.since, settle: a.opt.Timing.Settle}
	if r.Last.Plan == r.plan && r.Last.Inventory == r.inventory {
		o.last = r.Last.At
	}
	for _, x := range s.installs {
		if x.terms == nil || a.stands(x) {
			continue
		}
		if g := x.terms.At(s.moment); !g.Open && !g.Opens.IsZero() && (o.opens.IsZero() || g.Opens.Before(o.opens)) {
			o.opens = g.Opens
		}
	}
	return o.due()
}

// sendRehearsal tells the server of the last rehearsal, if it has not heard of it.
func (a *Agent) sendRehearsal(ctx context.Context, r *rehearsal) error {
	if r.Sent || r.Last.At.IsZero() {
		return nil
	}
	err := a.server().Rehearsal(ctx, r.Last)
	var refused *uplink.Refused
	if errors.As(err, &refused) && (refused.Status == http.StatusNotFound || unfit(err)) {
		a.opt.Log.Info("the server takes no rehearsals", "err", err)
		r.deaf, err = a.opt.Now().Add(rehearseDeaf), nil
	}
	if err != nil {
		return fmt.Errorf("send the rehearsal: %w", err)
	}
	r.Sent = true
	a.saveRehearsal(r)
	return nil
}

func (a *Agent) loadRehearsal() *rehearsal {
	r := &rehearsal{}
	last, err := readRehearsal(a.opt.Dir)
	if err == nil {
		*r = last
	}
	return r
}

// readRehearsal reads what the loop left; an error where there is nothing. Losing it costs one rehearsal.
func readRehearsal(dir *statedir.Dir) (rehearsal, error) {
	var r rehearsal
	b, err := dir.Read(rehearsalFile, maxRehearsal)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return rehearsal{}, fmt.Errorf("read the last rehearsal: %w", err)
	}
	return r, nil
}

func (a *Agent) saveRehearsal(r *rehearsal) {
	b, err := json.Marshal(r)
	if err == nil {
		err = a.opt.Dir.WriteSoft(rehearsalFile, b)
	}
	if err != nil {
		a.opt.Log.Debug("rehearsal not saved", "err", err)
	}
}

// tally says a rehearsal in a few words, for people.
func tally(r wire.Rehearsal) string {
	fail := 0
	for _, u := range r.Updates {
		if u.Fails() {
			fail++
		}
	}
	return fmt.Sprintf("%d would install, %d would not", len(r.Updates)-fail, fail)
}
