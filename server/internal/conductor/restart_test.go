package conductor_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"assent/approval"
	"assent/rollout"
)

// TestT6_ARolloutGoesTheSameWayWhenTheServerRestartsAtEachTransition: whatever was the last thing that was written, the phases
// come in the same order and none comes twice.
func TestT6_ARolloutGoesTheSameWayWhenTheServerRestartsAtEachTransition(t *testing.T) {
	play := func(t *testing.T, at int) (path string, transitions int) {
		w := newWorld(t)
		w.task(rings(func(r []rollout.Ring) {
			r[0].Soak, r[1].Soak = rollout.Span(20*time.Minute), rollout.Span(20*time.Minute)
		}))
		w.one()
		restarted := false
		next := func() {
			w.must(w.c.Look(t.Context()))
			if !restarted && at > 0 && len(w.moved) >= at {
				restarted = true
				w.restart()
			}
			w.look()
		}
		w.decide(tool, approval.Approved)
		next()
		w.obey("test")
		next()
		for range 4 {
			w.pass(10 * time.Minute)
			next()
		}
		w.obey("pilot")
		next()
		for range 4 {
			w.pass(10 * time.Minute)
			next()
		}
		w.fails("production", tool)
		next()
		var out []string
		for _, tr := range w.moved {
			out = append(out, fmt.Sprintf("%s %s", tr.Ring, tr.To))
		}
		return strings.Join(out, ", "), len(w.moved)
	}
	want, n := play(t, 0)
	if n < 8 || !strings.HasSuffix(want, "Production halted") {
		t.Fatalf("without a restart: %s", want)
	}
	for at := 1; at <= n; at++ {
		if got, _ := play(t, at); got != want {
			t.Errorf("with a restart after transition %d: %s\nwant %s", at, got, want)
		}
	}
}

// TestT6_AServerThatWasAwayOpensNothingBeforeItHasListened: what its devices did meanwhile counts, the time does not.
func TestT6_AServerThatWasAwayOpensNothingBeforeItHasListened(t *testing.T) {
	w := newWorld(t)
	w.task(rings())
	w.one()
	w.decide(tool, approval.Approved)
	w.look()
	w.obey("test")
	w.look()
	w.want(tool, "soaking waiting waiting")
	w.end()
	w.Restart()
	w.Advance(5 * 24 * time.Hour)
	w.start()
	w.look()
	w.want(tool, "soaking waiting waiting") // not passed, and nobody is silent who could not be heard
	if ring, _ := w.state(tool).Ring("Test"); ring.Reason.Code != rollout.Unsettled {
		t.Errorf("the reason is %s: %s", ring.Reason.Code, ring.Reason.Text)
	}
	w.pass(90 * time.Minute)
	w.want(tool, "passed running waiting")
}
