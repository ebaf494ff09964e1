package planner

import (
	"bytes"
	"context"
	"runtime"
	"sync"
	"sync/atomic"
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
	waiters map[uint32]*waiter // by device number, each the first of a list
	all     bool
	changed *roaring.Bitmap
	running bool // the changes are being worked through
}

// waiter is one call of Listen. There may be one for each connected device, so it is small.
type waiter struct {
	id   fleet.DeviceID
	plan string
	wake func()
	told atomic.Bool
	next *waiter // of the same device; guarded by waiting.mu
}

func (w *waiting) init() {
	w.waiters, w.changed = map[uint32]*waiter{}, roaring.New()
}

// Listen calls wake, once and from any goroutine, when the device's statement may differ from held, which names the plan with
// this digest. For as long as rest it does not by time alone; when that is over, or zero, whoever listens looks anew. It costs
// nothing while nothing changes, and no goroutine. leave ends it; a wake that is under way then may still come.
func (p *Planner) Listen(id fleet.DeviceID, held wire.Statement, plan string, wake func()) (rest time.Duration, leave func()) {
	number, ok := p.number(id)
	if !ok {
		return 0, func() {}
	}
	w := &waiter{id: id, plan: plan, wake: wake}
	leave = func() { p.waiting.leave(number, w) }
	p.waiting.join(number, w) // listen first, look then: a change in between is not missed
	if stmt, digest, err := p.For(id); err != nil || digest != plan || !bytes.Equal(stmt.Sig, held.Sig) {
		return 0, leave
	}
	return p.untilDue(id), leave
}

// Wait is Listen for who has a goroutine to spare: it returns when the device's statement may differ from held, or when ctx
// ends.
func (p *Planner) Wait(ctx context.Context, id fleet.DeviceID, held wire.Statement) {
	for {
		_, digest, err := p.For(id)
		if err != nil {
			return
		}
		woken := make(chan struct{})
		rest, leave := p.Listen(id, held, digest, func() { close(woken) })
		again := rest > 0 && sleep(ctx, woken, rest)
		leave()
		if !again {
			return
		}
	}
}

// sleep waits for a wake or so long. It returns false when ctx has ended.
func sleep(ctx context.Context, woken <-chan struct{}, rest time.Duration) bool {
	timer := time.NewTimer(rest)
	defer timer.Stop()
	select {
	case <-woken:
	case <-timer.C:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

func (w *waiting) join(number uint32, one *waiter) {
	w.mu.Lock()
	defer w.mu.Unlock()
	one.next = w.waiters[number]
	w.waiters[number] = one
}

func (w *waiting) leave(number uint32, one *waiter) {
	w.mu.Lock()
	defer w.mu.Unlock()
	first := w.waiters[number]
	if first == one {
		if one.next == nil {
			delete(w.waiters, number)
		} else {
			w.waiters[number] = one.next
		}
		return
	}
	for at := first; at != nil; at = at.next {
		if at.next == one {
			at.next = one.next
			return
		}
	}
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
			batch = w.waiters[it.Next()].appendTo(batch)
		}
	} else {
		for number, list := range w.waiters {
			if w.all || w.changed.Contains(number) {
				batch = list.appendTo(batch)
			}
		}
	}
	w.all, w.changed = false, roaring.New()
	return batch, true
}

// appendTo appends a waiter and those after it.
func (w *waiter) appendTo(batch []*waiter) []*waiter {
	for ; w != nil; w = w.next {
		batch = append(batch, w)
	}
	return batch
}

// look wakes a waiter whose plan is another now, or counts for another time.
func (p *Planner) look(w *waiter) {
	m, err := p.current(w.id)
	p.mu.Lock()
	was := p.issued[w.id]
	p.mu.Unlock()
	if err != nil || m.answer.digest != w.plan || p.stale(was, m.answer, p.index.Now().UTC()) {
		if !w.told.Swap(true) {
			w.wake()
		}
	}
}
