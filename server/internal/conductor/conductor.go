// Package conductor takes updates through the rings of their tasks, by outcome (T6).
//
// It follows the index, gives rollout.Advance the outcomes of exactly those devices to which a task admits an update, and keeps
// what comes back: a change of phase is an entry of the ledger with the new state beside it in one transaction, so that a
// restart at any moment finds both or neither; everything else is saved as far as a restart must not lose it. People halt,
// resume, open, skip and restart rollouts through Act, and see them through Rollouts and Rollout.
//
// It gives turns in the same way where a task lets only so many devices install at the same time (I6): slot.Give says whose turn it
// is, by what these devices report, and who has one is durable before any plan shows it.
//
// Guarantees: it decides nothing itself; who admits what is plan.Compute's answer, when a ring opens is rollout's. Nothing opens
// for an update that no task admits anywhere any more: its rollout stands still as it is. Work is bounded: changes are gathered,
// only the devices and rollouts that they concern are looked at, and it rests for as long as it worked.
//
// One of several servers conducts, by a lease; people act on rollouts at any of them. It looks at every rollout that goes on at least once a minute, well below rollout.Gap.
package conductor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"assent/rollout"
	"assent/server/internal/index"
	"assent/server/internal/job"
	"assent/server/internal/planner"
	"assent/slot"
)

// by is the name under which outcomes stand in the ledger.
const by = "assentd"

const (
	settle = 200 * time.Millisecond // changes are gathered for so long
	tick   = 30 * time.Second       // whatever goes on is looked at so often
	again  = 5 * time.Second        // after a failure to record something
)

// Config is what New needs. All but Index and Planner may stay zero.
type Config struct {
	Index   *index.Index
	Planner *planner.Planner
	Log     *slog.Logger
	Moved   func(rollout.Transition) // told of each change of phase once it is durable; for figures
}

// Conductor conducts. It is safe for concurrent use.
type Conductor struct {
	index   *index.Index
	planner *planner.Planner
	log     *slog.Logger
	moved   func(rollout.Transition)
	stop    func() // ends the subscription

	stains stains

	looking  sync.Mutex // held while Look goes on: guards tracks, on, rings, heard and demands
	tracks   map[key]*track
	on       [][]key                           // by device number: the tracks that it has a part in
	rings    map[string]string                 // by task: the rings as they were looked at last
	heard    time.Time                         // when Look went through last
	demands  map[string]map[uint32]slot.Demand // by task with a cap and device number: what it has to do there
	turnsAt  time.Time                         // when all of them were looked at last
	slotsDue time.Time                         // when a turn is given back though nothing changes

	acting sync.Mutex // held from reading a state to keeping what follows from it
}

// New makes a Conductor that notes what changes from now on. Close ends that.
func New(c Config) (*Conductor, error) {
	if c.Index == nil || c.Planner == nil {
		return nil, fmt.Errorf("conductor: an index and a planner are needed")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Moved == nil {
		c.Moved = func(rollout.Transition) {}
	}
	o := &Conductor{index: c.Index, planner: c.Planner, log: c.Log, moved: c.Moved, tracks: map[key]*track{}, rings: map[string]string{}, demands: map[string]map[uint32]slot.Demand{}}
	o.stains.init()
	o.stop = c.Index.Subscribe(o.stains.add)
	return o, nil
}

// Close stops following the index.
func (c *Conductor) Close() { c.stop() }

// Run conducts until ctx ends. It may be run again, after another server conducted meanwhile: it begins with what the index has.
func (c *Conductor) Run(ctx context.Context) error {
	c.begin()
	for {
		began := time.Now()
		if err := c.Look(ctx); err != nil && ctx.Err() == nil {
			c.log.Error("a rollout could not go on; it is tried again", "err", err)
			job.Pause(ctx, again)
		}
		if !job.Pause(ctx, max(settle, time.Since(began))) {
			return nil
		}
		timer := time.NewTimer(c.idle())
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-c.stains.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// begin forgets what was known of rollouts.
func (c *Conductor) begin() {
	c.looking.Lock()
	defer c.looking.Unlock()
	c.tracks, c.on, c.rings, c.heard = map[key]*track{}, nil, map[string]string{}, time.Time{}
	c.stains.takeActs()
	c.stains.add(index.Change{All: true})
}

// idle is how long nothing has to be looked at unless something changes.
func (c *Conductor) idle() time.Duration {
	c.looking.Lock()
	defer c.looking.Unlock()
	wait, now := c.turnsDue(tick), c.index.Now()
	for _, t := range c.tracks {
		switch {
		case t.dirty:
			return settle
		case !t.rest:
			wait = min(wait, t.due.Sub(now))
		}
	}
	return max(wait, settle)
}

// Look takes every rollout as far as the outcomes of this moment take it.
func (c *Conductor) Look(ctx context.Context) error {
	c.looking.Lock()
	defer c.looking.Unlock()
	if err := c.redraw(ctx); err != nil {
		return err
	}
	return errors.Join(c.giveTurns(ctx), c.walk(ctx))
}

// stains is what changed and was not looked at yet.
type stains struct {
	wake chan struct{} // holds one token when there is something

	mu      sync.Mutex
	all     bool
	devices *roaring.Bitmap
	acts    []key // rollouts on which people acted
}

func (s *stains) init() {
	s.wake, s.all, s.devices = make(chan struct{}, 1), true, roaring.New()
}

// add is called by the index after each change; it returns at once.
func (s *stains) add(ch index.Change) {
	s.mu.Lock()
	s.all = s.all || ch.All
	if ch.Devices != nil {
		s.devices.Or(ch.Devices)
	}
	s.mu.Unlock()
	s.call()
}

// act notes that a person acted on a rollout.
func (s *stains) act(k key) {
	s.mu.Lock()
	s.acts = append(s.acts, k)
	s.mu.Unlock()
	s.call()
}

func (s *stains) call() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// takeActs empties the list of rollouts on which people acted.
func (s *stains) takeActs() []key {
	s.mu.Lock()
	defer s.mu.Unlock()
	acts := s.acts
	s.acts = nil
	return acts
}

// take empties it: the devices to look at, where there were so many a moment ago, and how many there are at least. A device
// that came since then is among them, and is behind the others.
func (s *stains) take(devices int) (todo *roaring.Bitmap, atLeast int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	todo = s.devices
	if s.all {
		todo.AddRange(0, uint64(devices))
	}
	if !todo.IsEmpty() {
		devices = max(devices, int(todo.Maximum())+1)
	}
	s.all, s.devices = false, roaring.New()
	return todo, devices
}
