package gateway

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestLine_QueuesTakeTurnsSoThatACrowdIsNoObstacleForOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLine[string](1, 100, time.Hour)
		if !l.enter(t.Context(), "holder") {
			t.Fatal("an empty line lets nobody in")
		}
		var order []string
		wait := func(key string) {
			go func() {
				if l.enter(t.Context(), key) {
					order = append(order, key)
					l.leave()
				}
			}()
			synctest.Wait()
		}
		for range 50 {
			wait("crowd")
		}
		wait("one")
		wait("other")
		l.leave()
		synctest.Wait()
		if one, other := slices.Index(order, "one"), slices.Index(order, "other"); len(order) != 52 || one > 2 || other > 3 {
			t.Errorf("of %d, the single ones came in as number %d and %d", len(order), one, other)
		}
		if l.length() != 0 || len(l.queues) != 0 || l.turns.Len() != 0 || l.free != 1 {
			t.Errorf("left behind: %d waiting, %d queues, %d turns, %d free", l.length(), len(l.queues), l.turns.Len(), l.free)
		}
	})
}

func TestLine_NobodyWaitsLongerThanThePatienceAndNotTooManyWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLine[int](1, 2, 10*time.Second)
		if !l.enter(t.Context(), 0) {
			t.Fatal("an empty line lets nobody in")
		}
		began, answers := time.Now(), make(chan bool, 2)
		for key := range 2 {
			go func() { answers <- l.enter(t.Context(), key) }()
		}
		synctest.Wait()
		if l.enter(t.Context(), 3) || time.Since(began) > 0 {
			t.Error("a third one waited, though only two may")
		}
		first, second := <-answers, <-answers
		if first || second {
			t.Error("somebody came in though nobody left")
		}
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("they waited %v", took)
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if l.enter(gone, 4) {
			t.Error("one who is gone came in")
		}
		if l.leave(); !l.enter(t.Context(), 5) {
			t.Error("a place was lost")
		}
		if n := l.turned.Load(); n != 4 {
			t.Errorf("%d were turned away, want 4", n)
		}
	})
}

func TestPace_ABurstIsFreeAndThenOneEachInterval(t *testing.T) {
	var p pace
	now := time.Unix(1000, 0)
	for i := range 5 {
		if owes := p.owes(now, 5, time.Second); owes > 0 {
			t.Errorf("request %d of the burst owes %v", i, owes)
		}
	}
	for i := 1; i < 4; i++ {
		if owes := p.owes(now, 5, time.Second); owes != time.Duration(i)*time.Second {
			t.Errorf("request %d after the burst owes %v", i, owes)
		}
	}
	if owes := p.owes(now.Add(time.Hour), 5, time.Second); owes > 0 {
		t.Errorf("after an hour it owes %v", owes)
	}
}

func TestHerd_TheMoreAreTurnedAwayTheFartherApartTheyComeBack(t *testing.T) {
	var h herd
	now := time.Unix(1000, 0)
	far := func(n int) (most int) {
		for range n {
			after := h.after(now)
			if after < soonest || after >= farthest {
				t.Fatalf("Retry-After %d", after)
			}
			most = max(most, after)
		}
		return most
	}
	few := far(100)
	many := far(20_000)
	if few >= soonest+spread || many < 3*few {
		t.Errorf("at most %d s for a hundred, %d s for twenty thousand", few, many)
	}
	now = now.Add(time.Minute)
	if calm := far(100); calm >= soonest+spread {
		t.Errorf("a minute later at most %d s", calm)
	}
}
