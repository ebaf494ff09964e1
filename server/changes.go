package server

import (
	"context"
	"errors"

	"assent/fault"
	"assent/server/internal/index"
)

// changes is what people wait for. When the server stops, those who wait are answered at once: they would hold it up, and may ask
// another server.
type changes struct {
	*index.Index
	ending context.Context
}

// errStopping is the answer to those who wait when the server stops.
var errStopping = fault.New(fault.Unavailable, "server_stopping", "The server is stopping; try again.")

// newChanges makes a changes; end is called when the server stops.
func newChanges(x *index.Index) (c changes, end func()) {
	ctx, end := context.WithCancel(context.Background())
	return changes{x, ctx}, end
}

// WaitChange is the index's, until the server stops.
func (c changes) WaitChange(ctx context.Context, seen uint64) (uint64, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(c.ending, func() { cancel(errStopping) })()
	seq, err := c.Index.WaitChange(ctx, seen)
	if err != nil && errors.Is(context.Cause(ctx), errStopping) {
		err = errStopping
	}
	return seq, err
}
