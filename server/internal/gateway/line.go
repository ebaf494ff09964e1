package gateway

import (
	"container/list"
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// line lets so many in at a time. The others wait, not too many of them and not too long, and those who wait
// stand in a queue for each key (a network, a device): the queues take turns, so that whoever sends a thousand
// is no obstacle for whoever sends one.
type line[K comparable] struct {
	patience time.Duration // how long one waits
	most     int           // how many wait

	mu      sync.Mutex
	free    int
	waiting int
	queues  map[K]*queue[K]
	turns   list.List // of *queue[K] with somebody in it, the next one first
	turned  atomic.Int64
}

// queue are those who wait under one key, the first one first.
type queue[K comparable] struct {
	key     K
	waiters list.List // of chan struct{}, closed for whoever is let in
	turn    *list.Element
}

func newLine[K comparable](places, most int, patience time.Duration) *line[K] {
	return &line[K]{free: places, most: most, patience: patience, queues: map[K]*queue[K]{}}
}

// enter takes a place, waiting for it if need be. Who got one must leave.
func (l *line[K]) enter(ctx context.Context, key K) bool {
	l.mu.Lock()
	if l.free > 0 {
		l.free--
		l.mu.Unlock()
		return true
	}
	if l.waiting >= l.most {
		l.mu.Unlock()
		l.turned.Add(1)
		return false
	}
	q, at, in := l.join(key)
	l.mu.Unlock()
	wait := time.NewTimer(l.patience)
	defer wait.Stop()
	select {
	case <-in:
		return true
	case <-wait.C:
	case <-ctx.Done():
	}
	return l.giveUp(q, at, in)
}

// join stands in the queue of a key.
func (l *line[K]) join(key K) (*queue[K], *list.Element, chan struct{}) {
	q, ok := l.queues[key]
	if !ok {
		q = &queue[K]{key: key}
		q.turn = l.turns.PushBack(q)
		l.queues[key] = q
	}
	l.waiting++
	in := make(chan struct{})
	return q, q.waiters.PushBack(in), in
}

// giveUp leaves the queue, unless the place came in this very moment.
func (l *line[K]) giveUp(q *queue[K], at *list.Element, in chan struct{}) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-in:
		return true
	default:
	}
	l.take(q, at)
	l.turned.Add(1)
	return false
}

// take takes somebody out of a queue; an empty one has no turn.
func (l *line[K]) take(q *queue[K], at *list.Element) {
	q.waiters.Remove(at)
	l.waiting--
	if q.waiters.Len() == 0 {
		l.turns.Remove(q.turn)
		delete(l.queues, q.key)
	}
}

// leave gives the place to the first of the queue whose turn it is.
func (l *line[K]) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	turn := l.turns.Front()
	if turn == nil {
		l.free++
		return
	}
	q := turn.Value.(*queue[K])
	l.turns.MoveToBack(turn)
	first := q.waiters.Front()
	l.take(q, first)
	close(first.Value.(chan struct{}))
}

// length is how many wait.
func (l *line[K]) length() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.waiting
}

// pace spreads the requests of one device: so many in a row are free, and then one each interval. It is the
// point in time, in nanoseconds, up to which requests have been paid for.
type pace struct{ paid atomic.Int64 }

// owes charges one request and says how long it must wait.
func (p *pace) owes(now time.Time, burst int, every time.Duration) time.Duration {
	for {
		old := p.paid.Load()
		paid := max(old, now.UnixNano()) + int64(every)
		if p.paid.CompareAndSwap(old, paid) {
			return time.Duration(paid - now.UnixNano() - int64(burst)*int64(every))
		}
	}
}
