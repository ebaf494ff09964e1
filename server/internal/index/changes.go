package index

import (
	"context"
	"sync"

	"github.com/RoaringBitmap/roaring/v2"
)

// Change says which devices' verdicts or states may have changed.
type Change struct {
	All     bool            // any device
	Devices *roaring.Bitmap // these numbers; must not be changed
}

// notifier tells the rest of the server that something changed.
type notifier struct {
	mu   sync.Mutex
	seq  uint64
	next chan struct{} // closed with the next change
	subs map[int]func(Change)
	last int
}

func (n *notifier) init() { n.next, n.subs = make(chan struct{}), map[int]func(Change){} }

// publish is called without any lock of the index.
func (n *notifier) publish(c Change) {
	n.mu.Lock()
	n.seq++
	close(n.next)
	n.next = make(chan struct{})
	subs := make([]func(Change), 0, len(n.subs))
	for _, f := range n.subs {
		subs = append(subs, f)
	}
	n.mu.Unlock()
	for _, f := range subs {
		f(c)
	}
}

// Subscribe has f called after each change, once the change is visible to View. f must return at once
// and must not change the index. Call stop to end it.
func (x *Index) Subscribe(f func(Change)) (stop func()) {
	n := &x.changes
	n.mu.Lock()
	defer n.mu.Unlock()
	n.last++
	id := n.last
	n.subs[id] = f
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.subs, id)
	}
}

// Seq grows with every change since the server started.
func (x *Index) Seq() uint64 {
	x.changes.mu.Lock()
	defer x.changes.mu.Unlock()
	return x.changes.seq
}

// WaitChange returns as soon as Seq is greater than seen, or with ctx's error.
func (x *Index) WaitChange(ctx context.Context, seen uint64) (uint64, error) {
	for {
		x.changes.mu.Lock()
		seq, next := x.changes.seq, x.changes.next
		x.changes.mu.Unlock()
		if seq > seen {
			return seq, nil
		}
		select {
		case <-next:
		case <-ctx.Done():
			return seq, ctx.Err()
		}
	}
}

// affected starts the change of an act: all devices of a scope.
func (x *Index) in(scopes ...groupID) *roaring.Bitmap {
	out := roaring.New()
	for _, scope := range scopes {
		for _, g := range x.tree.Subtree(scope) {
			if b := x.groups[g]; b != nil {
				out.Or(b)
			}
		}
	}
	return out
}
