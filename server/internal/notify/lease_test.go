package notify_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"assent/server/internal/notify"
	"assent/server/internal/store"
)

// counted counts how often the lease of looking is written.
type counted struct {
	notify.Outbox
	leases *int
}

func (c counted) Lease(ctx context.Context, name, holder string, life time.Duration) (store.Lease, bool, error) {
	if name == "notify" {
		*c.leases++
	}
	return c.Outbox.Lease(ctx, name, holder, life)
}

func TestLookingAgainAndAgainWritesItsLeaseOnceAndNotAtAllWithoutChannels(t *testing.T) {
	n := 0
	w := openWorldWith(t, filepath.Join(t.TempDir(), "assent.db"), func(o notify.Outbox) notify.Outbox { return counted{o, &n} })
	look := func() {
		t.Helper()
		for range 5 {
			w.must(w.notify.Look(t.Context()))
		}
	}
	look() // the first one passes over the ledger as it is
	if n > 1 {
		t.Errorf("without channels the lease is written %d times", n)
	}
	n = 0
	w.decline("curl", "root", "nobody is to be told")
	look()
	if n > 1 {
		t.Errorf("without channels and after an act the lease is written %d times", n)
	}
	n = 0
	w.hook(newReceiver(t), nil)
	look()
	if n > 1 {
		t.Errorf("within half of its time the lease is written %d times", n)
	}
}
