// Package peers keeps a server in step with the other servers on its database.
//
// Guarantees: what another server wrote is taken in within moments of the notification, and within a period without one, so
// that a lost notification costs time and no truth; after Fresh, everything is known that anybody was told of before it
// began; however many ask at once, the database is asked by one at a time. It decides nothing: what is taken in, and how, is
// the index's.
package peers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"assent/server/internal/store"
)

// Memory is what has to be kept in step; *index.Index is one.
type Memory interface {
	// Follow takes in what other servers wrote and returns what was heard of devices.
	Follow(ctx context.Context) ([]store.Contact, error)
	// Acts is how many acts of the ledger are known.
	Acts() int64
}

// Bell is heard when another server has written something; *store.DB is one.
type Bell interface {
	// Listen calls heard until its connection breaks or ctx ends.
	Listen(ctx context.Context, heard func()) error
}

// Config is what New needs. The zero value of each field below the line is usable.
type Config struct {
	Memory Memory
	Bell   Bell
	// ---
	Heard func(ctx context.Context, contacts []store.Contact) // told what was heard of devices
	Every time.Duration                                       // how often to look without a notification; half a second by default
	Log   *slog.Logger
}

// Peers keeps a server in step. It is safe for concurrent use.
type Peers struct {
	Config

	mu      sync.Mutex
	running *round // the look that is under way; nil: none is
	next    *round // the one that follows it; nil: nobody asked for one since it began
}

// round is one look at the database.
type round struct {
	done chan struct{}
	err  error // once done
}

const (
	patience   = 10 * time.Second // for one look
	again      = time.Second      // before listening anew
	tellEvery  = time.Minute      // how often a lasting trouble is logged
	everyAfter = 500 * time.Millisecond
)

// New makes a Peers.
func New(c Config) (*Peers, error) {
	if c.Memory == nil || c.Bell == nil {
		return nil, errors.New("peers: a memory and something to hear are needed")
	}
	if c.Heard == nil {
		c.Heard = func(context.Context, []store.Contact) {}
	}
	if c.Every <= 0 {
		c.Every = everyAfter
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Peers{Config: c}, nil
}

// Run follows the other servers until ctx ends.
func (p *Peers) Run(ctx context.Context) error {
	wake := make(chan struct{}, 1)
	var listening sync.WaitGroup
	defer listening.Wait()
	listening.Go(func() { p.listen(ctx, wake) })
	tick := time.NewTicker(p.Every)
	defer tick.Stop()
	var told time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-wake:
		case <-tick.C:
		}
		if err := p.Fresh(ctx); err != nil && ctx.Err() == nil && time.Since(told) > tellEvery {
			told = time.Now()
			p.Log.Error("what other servers wrote could not be read; it is tried again", "err", err)
		}
	}
}

// listen asks for a look whenever another server has written something.
func (p *Peers) listen(ctx context.Context, wake chan<- struct{}) {
	heard := func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
	for ctx.Err() == nil {
		if err := p.Bell.Listen(ctx, heard); err != nil && ctx.Err() == nil {
			p.Log.Debug("not listening to other servers for a moment", "err", err) // the database's troubles are logged by the store
		}
		t := time.NewTimer(again)
		select {
		case <-t.C:
		case <-ctx.Done():
		}
		t.Stop()
	}
}

// Fresh returns when everything is known that other servers had written when it was called. All who call while a look is
// under way share the next one.
func (p *Peers) Fresh(ctx context.Context) error {
	r := p.join()
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Reach is Fresh if this server knows fewer acts; with 0, in any case.
func (p *Peers) Reach(ctx context.Context, act int64) error {
	if act > 0 && p.Memory.Acts() >= act {
		return nil
	}
	return p.Fresh(ctx)
}

// join finds a look that begins from now on.
func (p *Peers) join() *round {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running == nil {
		p.running = &round{done: make(chan struct{})}
		go p.work()
		return p.running
	}
	if p.next == nil {
		p.next = &round{done: make(chan struct{})}
	}
	return p.next
}

// work looks until nobody asks for it.
func (p *Peers) work() {
	for {
		p.mu.Lock()
		r := p.running
		p.mu.Unlock()
		r.err = p.look()
		close(r.done)
		p.mu.Lock()
		p.running, p.next = p.next, nil
		more := p.running != nil
		p.mu.Unlock()
		if !more {
			return
		}
	}
}

// look reads once. Nobody who gives up waiting takes it from the others.
func (p *Peers) look() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	contacts, err := p.Memory.Follow(ctx)
	if err != nil {
		return fmt.Errorf("follow the other servers: %w", err)
	}
	p.Heard(ctx, contacts)
	return nil
}
