// Package job runs recurring work on one of several servers on a database.
//
// Guarantees: of all servers one works at a time, by a lease in the database whose time is the database's, so servers' clocks do
// not matter; whatever the work writes carries the lease's token, and is refused once another server has taken over, so a
// holder that stood still does no harm when it wakes (store.Fenced); when the holder is gone another one begins within Life
// and a third. The lease says who works, not that the work is done: work must bear being interrupted and begun anew.
//
// It knows nothing of what the work is.
package job

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"assent/server/internal/store"
)

// Leases gives leases; *store.DB does. All methods are safe for concurrent use.
type Leases interface {
	// Lease makes holder the one who works for a while, unless somebody else is; whoever holds it may take it again.
	Lease(ctx context.Context, name, holder string, life time.Duration) (store.Lease, bool, error)
	// Release gives a lease back.
	Release(ctx context.Context, l store.Lease) error
}

// Runner runs jobs on this server when it is its turn.
type Runner struct {
	Leases Leases // nil: this is the only server, and it always is
	Holder string // of leases: another one for each process
	Life   time.Duration
	Log    *slog.Logger
}

// life is how long a lease lasts that nobody renews.
const life = 15 * time.Second

// New makes a Runner.
func New(l Leases, holder string, log *slog.Logger) (*Runner, error) {
	if l != nil && holder == "" {
		return nil, errors.New("job: a name for the holder of leases is needed")
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Runner{Leases: l, Holder: holder, Life: life, Log: log}, nil
}

// Run works whenever it is this server's turn, until ctx ends. work gets a context in which its writes carry the lease; it ends
// when the turn does, and work must return then. If work returns before, it is begun again after a pause.
func (r *Runner) Run(ctx context.Context, name string, work func(context.Context) error) error {
	for ctx.Err() == nil {
		if r.Leases == nil {
			if err := work(ctx); err != nil && ctx.Err() == nil {
				r.Log.Warn("the work was interrupted; it is begun anew", "job", name, "err", err)
			}
			Pause(ctx, r.Life/3)
			continue
		}
		began := time.Now()
		lease, ok, err := r.Leases.Lease(ctx, name, r.Holder, r.Life)
		switch {
		case err != nil && ctx.Err() == nil:
			r.Log.Debug("could not ask for a turn", "job", name, "err", err) // the database's troubles are logged by the store
		case ok:
			r.turn(ctx, lease, began, work)
		}
		Pause(ctx, r.Life/3)
	}
	return nil
}

// turn works until it is somebody else's turn. began is when the lease was asked for: it lasts from then on at least.
func (r *Runner) turn(ctx context.Context, lease store.Lease, began time.Time, work func(context.Context) error) {
	r.Log.Info("this server does the work now", "job", lease.Name, "token", lease.Token)
	inner, stop := context.WithCancel(store.Fenced(ctx, lease))
	done := make(chan error, 1)
	go func() { done <- work(inner) }()
	err := r.hold(ctx, lease, began, done)
	stop()
	if err == nil {
		err = <-done
	}
	if err != nil && ctx.Err() == nil && !errors.Is(err, context.Canceled) {
		r.Log.Warn("the work was interrupted; it is begun anew", "job", lease.Name, "err", err)
	}
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := r.Leases.Release(within, lease); err != nil {
		r.Log.Debug("a lease could not be given back; it ends by itself", "job", lease.Name, "err", err)
	}
}

// hold renews the lease until it is lost or ctx ends (nil), or until the work has returned.
func (r *Runner) hold(ctx context.Context, lease store.Lease, began time.Time, done <-chan error) error {
	for {
		timer := time.NewTimer(r.Life / 3)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case err := <-done:
			timer.Stop()
			if err == nil {
				err = errEnded
			}
			return err
		case <-timer.C:
		}
		asked := time.Now()
		again, ok, err := r.Leases.Lease(ctx, lease.Name, r.Holder, r.Life)
		switch {
		case err == nil && (!ok || again.Token != lease.Token):
			r.Log.Warn("another server does the work now", "job", lease.Name)
			return nil
		case err == nil:
			began = asked
		case time.Since(began) > r.Life:
			r.Log.Warn("the database does not answer; somebody else may do the work now", "job", lease.Name)
			return nil
		}
	}
}

var errEnded = errors.New("the work ended by itself")

// Every makes work of something that is done again and again. A failure is logged; it is tried again at the next turn.
func Every(period time.Duration, log *slog.Logger, what string, do func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		for Pause(ctx, period) {
			err := do(ctx)
			if errors.Is(err, store.ErrFenced) {
				return fmt.Errorf("%s: %w", what, err)
			}
			if err != nil && ctx.Err() == nil {
				log.Error("could not "+what, "err", err)
			}
		}
		return ctx.Err()
	}
}

// Pause waits so long. It returns false when ctx ended before.
func Pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
