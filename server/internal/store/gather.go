package store

import (
	"context"
	"errors"
	"sync"

	"assent/fault"
)

// maxGathered bounds how many calls are written in one transaction.
const maxGathered = 256

// gather lets calls that come while the database is at work be written together afterwards: one transaction and one
// wait for the disk for all of them, so what a fleet reports at once does not queue for the disk one by one. A call
// that is alone is written at once. No call returns before what it brought is durable.
type gather[T any] struct {
	write func(context.Context, []T) error // all of them, or none

	mu      sync.Mutex
	waiting []*turn[T]
	busy    bool // somebody writes, or was told to
}

// turn is one call that waits.
type turn[T any] struct {
	item T
	lead chan struct{} // closed when it is to write all that wait
	done chan error
}

// do writes item with whatever else waits. A caller who gives up is waited for: what it brought is written all the same.
func (g *gather[T]) do(ctx context.Context, item T) error {
	me := &turn[T]{item: item, lead: make(chan struct{}), done: make(chan error, 1)}
	g.mu.Lock()
	g.waiting = append(g.waiting, me)
	if !g.busy {
		g.busy = true
		close(me.lead)
	}
	g.mu.Unlock()
	select {
	case err := <-me.done:
		return err
	case <-me.lead:
	}
	batch := g.take()
	defer g.next()
	if len(batch) == 1 {
		return g.write(ctx, []T{item})
	}
	g.together(context.WithoutCancel(ctx), batch) // one caller who hangs up is no reason to refuse the others
	return <-me.done
}

// take takes the calls that wait; the first is the caller's own.
func (g *gather[T]) take() []*turn[T] {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := min(len(g.waiting), maxGathered)
	batch := g.waiting[:n:n]
	g.waiting = g.waiting[n:]
	return batch
}

// next has the first of those that came meanwhile write.
func (g *gather[T]) next() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.busy = len(g.waiting) > 0
	if g.busy {
		close(g.waiting[0].lead)
	}
}

// together writes the items of several calls. One that cannot be written must not be the ruin of the others, so after a
// failure that is not the database's each is written by itself.
func (g *gather[T]) together(ctx context.Context, batch []*turn[T]) {
	items := make([]T, len(batch))
	for i, t := range batch {
		items[i] = t.item
	}
	err := g.write(ctx, items)
	for _, t := range batch {
		if err == nil || errors.Is(err, fault.Unavailable) {
			t.done <- err
			continue
		}
		t.done <- g.write(ctx, []T{t.item})
	}
}
