package job_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"assent/server/internal/job"
	"assent/server/internal/store"
)

// desk gives one lease by a clock of its own, as a database does.
type desk struct {
	mu     sync.Mutex
	holder string
	token  int64
	until  time.Time
	away   bool // it does not answer
}

func (d *desk) Lease(_ context.Context, name, holder string, life time.Duration) (store.Lease, bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.away {
		return store.Lease{}, false, context.DeadlineExceeded
	}
	if d.holder != holder && time.Now().Before(d.until) {
		return store.Lease{}, false, nil
	}
	if d.holder != holder {
		d.holder, d.token = holder, d.token+1
	}
	d.until = time.Now().Add(life)
	return store.Lease{Name: name, Holder: holder, Token: d.token}, true, nil
}

func (d *desk) Release(_ context.Context, l store.Lease) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.holder == l.Holder && d.token == l.Token {
		d.until = time.Time{}
	}
	return nil
}

// worker counts who works.
type worker struct {
	mu  sync.Mutex
	now map[string]bool
	log []string
}

func (w *worker) work(name string) func(context.Context) error {
	return func(ctx context.Context) error {
		w.mu.Lock()
		w.now[name] = true
		w.log = append(w.log, name)
		w.mu.Unlock()
		<-ctx.Done()
		w.mu.Lock()
		delete(w.now, name)
		w.mu.Unlock()
		return ctx.Err()
	}
}

func (w *worker) who() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for name := range w.now {
		out = append(out, name)
	}
	return out
}

func begin(t *testing.T, ctx context.Context, d *desk, w *worker, name string) {
	t.Helper()
	r, err := job.New(d, name, nil)
	if err != nil {
		t.Fatal(err)
	}
	go r.Run(ctx, "x", w.work(name))
	synctest.Wait()
}

func TestOneServerWorksAndAnotherTakesOverWhenItEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, w := &desk{}, &worker{now: map[string]bool{}}
		first, end := context.WithCancel(t.Context())
		second, stop := context.WithCancel(t.Context())
		begin(t, first, d, w, "one")
		begin(t, second, d, w, "two")
		time.Sleep(time.Minute)
		if got := w.who(); len(got) != 1 || got[0] != "one" {
			t.Fatalf("after a minute %v work", got)
		}
		end()
		time.Sleep(6 * time.Second) // it gave the lease back
		if got := w.who(); len(got) != 1 || got[0] != "two" {
			t.Errorf("after the first one ended %v work", got)
		}
		stop()
		synctest.Wait()
	})
}

func TestAServerThatCannotReachTheDatabaseStopsWorkingBeforeAnotherBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, w := &desk{}, &worker{now: map[string]bool{}}
		ctx, end := context.WithCancel(t.Context())
		begin(t, ctx, d, w, "one")
		d.mu.Lock()
		d.away = true
		d.mu.Unlock()
		time.Sleep(30 * time.Second)
		if got := w.who(); len(got) != 0 {
			t.Errorf("without a database %v work", got)
		}
		d.mu.Lock()
		d.away = false
		d.mu.Unlock()
		time.Sleep(10 * time.Second)
		if got := w.who(); len(got) != 1 {
			t.Errorf("with the database again %v work", got)
		}
		end()
		synctest.Wait()
	})
}

func TestWorkWhoseLeaseIsLostEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, w := &desk{}, &worker{now: map[string]bool{}}
		ctx, end := context.WithCancel(t.Context())
		begin(t, ctx, d, w, "one")
		d.mu.Lock()
		d.holder, d.token, d.until = "two", d.token+1, time.Now().Add(time.Hour) // it stood still for long
		d.mu.Unlock()
		time.Sleep(6 * time.Second)
		if got := w.who(); len(got) != 0 {
			t.Errorf("%v work although somebody else has the lease", got)
		}
		end()
		synctest.Wait()
	})
}
