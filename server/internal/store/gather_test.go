package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"assent/fault"
)

// desk is a database that writes when it is let.
type desk struct {
	gather  gather[int]
	mu      sync.Mutex
	batches [][]int
	open    chan struct{} // one for each transaction
	refuse  func(item int) error
}

func newDesk(refuse func(int) error) *desk {
	d := &desk{open: make(chan struct{}), refuse: refuse}
	d.gather.write = func(ctx context.Context, items []int) error {
		<-d.open
		for _, it := range items {
			if err := d.refuse(it); err != nil {
				return err
			}
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		d.batches = append(d.batches, slices.Clone(items))
		return ctx.Err()
	}
	return d
}

// calls makes one call for each number, one after the other, none of which is finished before all are made.
func (d *desk) calls(ctx context.Context, n int) (wait func() []error) {
	errs := make([]error, n)
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() { errs[i] = d.gather.do(ctx, i) })
		synctest.Wait()
	}
	return func() []error { close(d.open); group.Wait(); return errs }
}

func never(int) error { return nil }

func TestGather_CallsThatComeWhileTheDatabaseWritesShareTheNextTransaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(never)
		for i, err := range d.calls(t.Context(), 2+maxGathered)() {
			if err != nil {
				t.Errorf("call %d: %v", i, err)
			}
		}
		if len(d.batches) != 3 || len(d.batches[0]) != 1 || len(d.batches[1]) != maxGathered || len(d.batches[2]) != 1 {
			t.Errorf("%d transactions: %v", len(d.batches), d.batches)
		}
	})
}

func TestGather_OneThatCannotBeWrittenIsNotTheRuinOfTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad := errors.New("bad")
		d := newDesk(func(i int) error {
			if i == 3 {
				return bad
			}
			return nil
		})
		for i, err := range d.calls(t.Context(), 6)() {
			if want := map[bool]error{i == 3: bad}[true]; !errors.Is(err, want) {
				t.Errorf("call %d: %v, want %v", i, err, want)
			}
		}
		var written []int
		for _, b := range d.batches {
			written = append(written, b...)
		}
		if slices.Sort(written); fmt.Sprint(written) != "[0 1 2 4 5]" {
			t.Errorf("written: %v", written)
		}
	})
}

func TestGather_ADatabaseThatRefusesIsAskedOnceForAllWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		d := newDesk(func(int) error { asked++; return fault.New(fault.Unavailable, "storage_full", "full") })
		for i, err := range d.calls(t.Context(), 10)() {
			if !errors.Is(err, fault.Unavailable) {
				t.Errorf("call %d: %v", i, err)
			}
		}
		if asked != 2 {
			t.Errorf("asked %d times, want once for the first call and once for the others", asked)
		}
	})
}

func TestGather_ACallerWhoHangsUpDoesNotTakeTheOthersAlong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(never)
		first := d.calls(t.Context(), 1)
		gone, hangUp := context.WithCancel(t.Context())
		var group sync.WaitGroup
		errs := make([]error, 2)
		for i, ctx := range []context.Context{gone, t.Context()} { // the one who hangs up leads the second transaction
			group.Go(func() { errs[i] = d.gather.do(ctx, 10+i) })
			synctest.Wait()
		}
		hangUp()
		first()
		group.Wait()
		if errs[1] != nil || len(d.batches) != 2 || len(d.batches[1]) != 2 {
			t.Errorf("%v, transactions %v", errs, d.batches)
		}
	})
}
