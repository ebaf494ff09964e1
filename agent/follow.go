package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"assent/agent/internal/feeds"
	"assent/agent/internal/uplink"
	"assent/wire"
)

// Feeds are the signed feeds that the device follows.
type Feeds interface {
	// Follow makes the device follow these feeds and no others, and looks at each of which the plan names a newer
	// freshness statement than the device has. It says whether that changed what the device could take. What was verified
	// before stays in use whatever the error. It ends with ctx.
	Follow(ctx context.Context, feeds []wire.PlanFeed) (changed bool, err error)
	// Following reports whether the device follows any feed.
	Following() bool
	// Health says how each feed that the device follows is, as of the last look at it.
	Health() []wire.OriginHealth
}

// followLimit ends a look at feeds that hang: it must not keep the package manager from what was approved (F18).
const followLimit = time.Minute

// follows is what the feeds were last told, and when they are told again.
type follows struct {
	feeds    []wire.PlanFeed
	told     bool // without any error
	failures int
	next     time.Time
}

// followFeeds tells the feeds what the plan says of them, once, and again later while that does not work. A feed that is lost
// keeps nothing else from going on. It returns when to come again, and whether there is something new to be seen.
func (a *Agent) followFeeds(ctx context.Context) (next time.Time, changed bool) {
	now := a.opt.Now()
	a.mu.Lock()
	h := a.held
	a.mu.Unlock()
	if a.opt.Feeds == nil || h == nil {
		return now.Add(idlePass), false
	}
	f := &a.follows
	if !slices.Equal(f.feeds, h.plan.Feeds) {
		*f = follows{feeds: h.plan.Feeds}
	} else if f.told || now.Before(f.next) {
		return f.again(now), false
	}
	changed, err := a.follow(ctx, f.feeds)
	if ctx.Err() != nil {
		return now, false
	}
	now = a.opt.Now()
	switch {
	case errors.Is(err, errOrders):
		f.next = now.Add(refreshAgain)
		return f.next, changed
	case err != nil:
		wait := min(refreshRetry<<min(f.failures, 10), a.opt.Timing.Refresh)
		f.failures, f.next = f.failures+1, now.Add(wait+uplink.Jitter(wait/4))
		err = fmt.Errorf("follow the feeds of the plan: %w", err)
	default:
		f.told = true
	}
	a.fail("feeds", err)
	return f.again(now), changed
}

// again is when the feeds are to be told again without any news.
func (f follows) again(now time.Time) time.Time {
	if f.told {
		return now.Add(idlePass)
	}
	return f.next
}

// follow tells the feeds within a limit, and gives way to what is to be installed.
func (a *Agent) follow(ctx context.Context, feeds []wire.PlanFeed) (bool, error) {
	release, err := a.own(ctx)
	if err != nil {
		return false, err
	}
	defer release()
	defer a.doing("looking at %d feeds", len(feeds))()
	ctx, cancel := context.WithTimeout(ctx, followLimit)
	defer cancel()
	ctx, yield := context.WithCancelCause(ctx)
	defer yield(nil)
	a.yields(yield)
	defer a.yields(nil)
	changed, err := a.opt.Feeds.Follow(ctx, slices.Clone(feeds))
	a.noteHealth(a.opt.Feeds.Health())
	if err != nil && errors.Is(context.Cause(ctx), errOrders) {
		err = errOrders
	}
	return changed, err
}

// noteHealth has the device say how its feeds are now, not how they were at the last refresh.
func (a *Agent) noteHealth(feeds []wire.OriginHealth) {
	a.mu.Lock()
	others := slices.DeleteFunc(slices.Clone(a.origins), func(o wire.OriginHealth) bool { return strings.HasPrefix(o.Origin, "feed:") })
	now := slices.Concat(others, feeds)
	changed := !slices.Equal(now, a.origins)
	a.origins = now
	a.mu.Unlock()
	if changed {
		a.publish()
	}
}

// noteFeed journals what a feed refused.
func (a *Agent) noteFeed(e feeds.Event) {
	a.event(wire.Digest([]byte(e.Kind + " " + e.Feed + " " + e.Detail))[:26], e.Kind, e.Detail)
}
