package planner

import (
	"bytes"
	"context"
	"maps"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"assent/fleet"
	"assent/server/internal/index"
	"assent/wire"
)

// waiting knows who waits for a new plan and what changed since they were last looked at.
type waiting struct {
	stop func() // ends the subscription

	mu      sync.Mutex
	waiters map[uint32]map[*waiter]bool // by device number
	all     bool
	changed *roaring.Bitmap
	running bool // the changes are being worked through
}

// waiter is one call of Wait.
type waiter struct {
	id   fleet.DeviceID
	plan string
	once sync.Once
	wake chan struct{}
}

func (w *waiting) init() {
	w.waiters, w.changed = map[uint32]map[*waiter]bool{}, roaring.New()
}

// Wait returns when the device's statement may differ from held, or when ctx ends. It costs nothing while
// nothing changes.
func (p *Planner) Wait(ctx context.Context, id fleet.DeviceID, held wire.Statement) {
	for ctx.Err() == nil {
		number, ok := p.number(id)
		if !ok {
			return
		}
		// Listen first, look then: a change in between is not missed.
		w := &waiter{id: id, wake: make(chan struct{})}
		stmt, digest, err := p.listen(number, w)
		same := err == nil && bytes.Equal(stmt.Sig, held.Sig) && digest == w.plan
		if !same || !p.sleep(ctx, id, w) {
			p.leave(number, w)
			return
		}
		p.leave(number, w)
	}
}

// listen registers a waiter and looks at the current plan.
func (p *Planner) listen(number uint32, w *waiter) (wire.Statement, string, error) {
	_, digest, err := p.For(w.id)
	if err != nil {
		return wire.Statement{}, "", err
	}
	w.plan = digest
	p.waiting.mu.Lock()
	if p.waiting.waiters[number] == nil {
		p.waiting.waiters[number] = map[*waiter]bool{}
	}
	p.waiting.waiters[number][w] = true
	p.waiting.mu.Unlock()
	return p.For(w.id)
}

func (p *Planner) leave(number uint32, w *waiter) {
	p.waiting.mu.Lock()
	defer p.waiting.mu.Unlock()
	delete(p.waiting.waiters[number], w)
	if len(p.waiting.waiters[number]) == 0 {
		delete(p.waiting.waiters, number)
	}
}

// sleep waits for a wake or the moment when time alone changes the statement. It returns false when ctx
// has ended.
func (p *Planner) sleep(ctx context.Context, id fleet.DeviceID, w *waiter) bool {
	timer := time.NewTimer(p.untilDue(id))
	defer timer.Stop()
	select {
	case <-w.wake:
	case <-timer.C:
	case <-ctx.Done():
		return false
	}
	return true
}

// untilDue is how long the device's statement stays as it is if nobody acts.
func (p *Planner) untilDue(id fleet.DeviceID) time.Duration {
	const rest = time.Second // a clock that hardly moves must not make us spin
	p.mu.Lock()
	s := p.issued[id]
	p.mu.Unlock()
	now := p.index.Now()
	due := s.renew()
	if !now.Before(due) {
		due = s.expires // a new one would not live longer before that
	}
	if !s.until.IsZero() && s.until.Before(due) {
		due = s.until
	}
	return max(due.Sub(now), rest)
}

// number returns the device's number.
func (p *Planner) number(id fleet.DeviceID) (n uint32, ok bool) {
	p.index.View(func(v *index.View) {
		var d index.Device
		d, ok = v.Device(id)
		n = d.Number
	})
	return n, ok
}

// changed is called by the index after each change. It returns at once; the work is done beside.
func (p *Planner) changed(c index.Change) {
	p.mu.Lock()
	p.ticks.note(c)
	p.mu.Unlock()
	p.board.stain(c)
	w := &p.waiting
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all = w.all || c.All
	if c.Devices != nil {
		w.changed.Or(c.Devices)
	}
	if !w.running {
		w.running = true
		go p.dispatch()
	}
}

// dispatch looks at the waiting devices that a change may concern and wakes those whose plan is another
// now, until there is nothing left to look at.
func (p *Planner) dispatch() {
	for {
		batch, more := p.waiting.take()
		if !more {
			return
		}
		var group sync.WaitGroup
		work := make(chan *waiter)
		for range min(runtime.GOMAXPROCS(0), len(batch)) {
			group.Go(func() {
				for w := range work {
					p.look(w)
				}
			})
		}
		for _, w := range batch {
			work <- w
		}
		close(work)
		group.Wait()
	}
}

// take returns the waiters that the changes so far may concern; false when there are no changes.
func (w *waiting) take() (batch []*waiter, more bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.all && w.changed.IsEmpty() {
		w.running = false
		return nil, false
	}
	if !w.all && w.changed.GetCardinality() < uint64(len(w.waiters)) {
		for it := w.changed.Iterator(); it.HasNext(); {
			batch = slices.AppendSeq(batch, maps.Keys(w.waiters[it.Next()]))
		}
	} else {
		for number, list := range w.waiters {
			if w.all || w.changed.Contains(number) {
				batch = slices.AppendSeq(batch, maps.Keys(list))
			}
		}
	}
	w.all, w.changed = false, roaring.New()
	return batch, true
}

// look wakes a waiter whose plan is another now, or counts for another time.
func (p *Planner) look(w *waiter) {
	m, err := p.current(w.id)
	p.mu.Lock()
	was := p.issued[w.id]
	p.mu.Unlock()
	if err != nil || m.answer.digest != w.plan || p.stale(was, m.answer, p.index.Now().UTC()) {
		w.once.Do(func() { close(w.wake) })
	}
}
