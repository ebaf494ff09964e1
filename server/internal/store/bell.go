package store

import (
	"context"
	"time"
)

// bell tells the other servers on the database that there is something new. It does so after the transaction and apart
// from it: PostgreSQL ends transactions that notify one after the other, which would hold up every report of a device. So
// a notification may be lost when the server is killed; the others look by themselves a little later.
type bell struct {
	rung  chan struct{} // holds one token
	stop  context.CancelFunc
	ended chan struct{}
}

// notifyFor bounds one notification.
const notifyFor = 5 * time.Second

func newBell(notify func(context.Context) error) *bell {
	ctx, stop := context.WithCancel(context.Background())
	b := &bell{rung: make(chan struct{}, 1), stop: stop, ended: make(chan struct{})}
	go func() {
		defer close(b.ended)
		for {
			select {
			case <-b.rung:
			case <-ctx.Done():
				return
			}
			within, cancel := context.WithTimeout(ctx, notifyFor)
			_ = notify(within) // the others look by themselves
			cancel()
		}
	}()
	return b
}

// ring asks for a notification. Those that are asked for while one is sent become one.
func (b *bell) ring() {
	if b == nil {
		return
	}
	select {
	case b.rung <- struct{}{}:
	default:
	}
}

func (b *bell) close() {
	if b != nil {
		b.stop()
		<-b.ended
	}
}
