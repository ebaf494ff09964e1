package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"assent/agent/internal/journal"
	"assent/catalog"
	"assent/wire"
)

const (
	// probeDefault is how long a probe may take that says nothing of it, probeLimit the longest that one may ask for.
	probeDefault = 30 * time.Second
	probeLimit   = 10 * time.Minute
	// probesAtOnce bounds how many probes run at the same time.
	probesAtOnce = 8
	passed       = "passed"
)

// errNoProbes is the answer where an agent was made without probes: what cannot be judged has not passed.
var errNoProbes = errors.New("this agent cannot run health probes")

// probe runs the publishers' health checks of parts that have one and returns what they said: nil is passed. The error
// is for being stopped meanwhile; then nothing is known.
func (a *Agent) probe(ctx context.Context, parts []journal.Part) (map[catalog.UpdateID]error, error) {
	said := map[catalog.UpdateID]error{}
	parts = slices.DeleteFunc(slices.Clone(parts), func(p journal.Part) bool { return !probed(p) })
	if len(parts) == 0 {
		return said, nil
	}
	defer a.doing("checking that %d updates work", len(parts))()
	var mu sync.Mutex
	var wg sync.WaitGroup
	slots := make(chan struct{}, probesAtOnce)
	for _, p := range parts {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			err := a.probeOne(ctx, p)
			mu.Lock()
			defer mu.Unlock()
			said[p.Update] = err
		})
	}
	if wg.Wait(); ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return said, nil
}

// probed reports whether a part has health checks.
func probed(p journal.Part) bool { return p.Probe != nil || len(p.Probes) > 0 }

// probeOne runs the checks of a part one after the other, up to the first that does not pass.
func (a *Agent) probeOne(ctx context.Context, p journal.Part) error {
	if a.opt.Probe == nil {
		return errNoProbes
	}
	all := p.Probes
	if p.Probe != nil {
		all = append([]catalog.Probe{*p.Probe}, all...)
	}
	for _, check := range all {
		if err := a.runProbe(ctx, p, check); err != nil {
			return err
		}
	}
	return nil
}

func (a *Agent) runProbe(ctx context.Context, p journal.Part, check catalog.Probe) error {
	limit := probeDefault
	if s := check.Timeout; s > 0 {
		limit = min(time.Duration(min(s, 3600))*time.Second, probeLimit)
	}
	ctx, cancel := context.WithTimeout(ctx, limit+time.Second)
	defer cancel()
	err := a.opt.Probe(ctx, p.Release, p.Items[0].Format, check)
	if err == nil {
		return nil
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no answer within %s", limit)
	}
	return err
}

// verdict is what a proof says of a part's probe.
func verdict(p journal.Part, said map[catalog.UpdateID]error) string {
	err, ran := said[p.Update]
	switch {
	case !ran:
		return ""
	case err != nil:
		return clip(err.Error(), 500)
	}
	return passed
}

// lookAgain counts one more look at what is there and does not pass its probe. Looking harms nothing, so it never ends;
// the count stays below what would end attempts to install.
func (a *Agent) lookAgain(r wire.PlanRetries, last journal.Try, key string, now time.Time) journal.Try {
	t := journal.Try{Plan: key, Count: 1}
	if last.Plan == key {
		t.Count = last.Count + 1
	}
	waits, wait := a.opt.Timing.Retry, a.opt.Timing.Recheck
	if n := t.Count - 1; n < len(waits) {
		wait = waits[n]
	}
	t.Count, t.Next = min(t.Count, a.retries(r)), now.Add(wait)
	return t
}

// probing adds to a probe's answer what will be done about it.
func probing(t journal.Try, problem error) string {
	return fmt.Sprintf("it is installed, but its health probe does not pass: %s (looked at again after %s)", clip(problem.Error(), 700), t.Next.UTC().Format(time.RFC3339))
}
