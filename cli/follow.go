package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"assent/client"
	"assent/fault"
	"assent/fleet"
	"assent/installation"
	"assent/plan"
)

// follower watches an approval take effect.
type follower struct {
	a     *app
	c     *client.Client
	act   client.Outcome
	group string
	out   *printer
	seen  map[pair]installation.State // what was printed last
	over  map[string]map[end]int      // updates that have got to their end everywhere
	gone  map[string]time.Time        // devices that do not listen: since when we know
}

// pair is an update on a device.
type pair struct{ device, update string }

// end is where a pair has got to.
type end int

const (
	pending end = iota
	reached
	missed
	offline // not connected: it will follow, nobody waits
)

// silence is how long a device may not listen before it counts as offline. A healthy one has no long poll open while it
// fetches its plan, uploads what it found or was told to come again in a minute.
const silence = 3 * time.Minute

// follow prints progress until every connected device has the approved updates, or one does not get them.
func (a *app) follow(parent ctx, c *client.Client, d *act, o client.Outcome, seq uint64) error {
	ctx, cancel := context.WithTimeout(parent, d.timeout)
	defer cancel()
	out := a.printerTo(a.Err, a.Width) // the answer proper is on Out already
	f := &follower{a: a, c: c, act: o, group: d.group, out: out, seen: map[pair]installation.State{}, over: map[string]map[end]int{},
		gone: map[string]time.Time{}}
	if len(f.updates()) == 0 {
		return nil
	}
	for {
		ends, err := f.look(ctx)
		if err == nil && ends[pending] == 0 {
			return f.verdict(ends)
		}
		if err == nil {
			seq, err = f.next(ctx, seq)
		}
		if errors.Is(ctx.Err(), context.DeadlineExceeded) && parent.Err() == nil {
			return fault.New(fault.Unavailable, "wait_timeout", "Not finished within %v; it goes on, see `assent queue list`.", d.timeout)
		}
		if err != nil {
			return err
		}
	}
}

// next waits until something changed, and a moment longer: reports come in bursts, and one look is enough
// for a burst.
func (f *follower) next(ctx ctx, seq uint64) (uint64, error) {
	select {
	case <-ctx.Done():
		return seq, ctx.Err()
	case <-time.After(burst):
	}
	changes, err := f.c.Changes(ctx, seq, longPoll)
	return changes.Seq, err
}

const (
	longPoll = 50 * time.Second       // how long one request waits for a change
	burst    = 150 * time.Millisecond // how long changes are gathered before the next look
)

// look reads where every approved update stands and prints what is new.
func (f *follower) look(ctx ctx) (map[end]int, error) {
	away, err := f.away(ctx)
	if err != nil {
		return nil, err
	}
	all := map[end]int{}
	for _, ref := range f.updates() {
		ends, err := f.update(ctx, string(ref.ID), away)
		if err != nil {
			return nil, err
		}
		for e, n := range ends {
			all[e] += n
		}
	}
	return all, f.out.flush()
}

// updates are those that were to be approved: what was approved already is waited for too.
func (f *follower) updates() []client.UpdateRef {
	refs := slices.Clone(f.act.Changed)
	for _, s := range f.act.Skipped {
		if s.Code == "unchanged" {
			refs = append(refs, s.UpdateRef)
		}
	}
	return refs
}

// update says where one update has got to. Once it is at its end everywhere it is not asked for again.
func (f *follower) update(ctx ctx, id string, away map[string]bool) (map[end]int, error) {
	if ends, ok := f.over[id]; ok {
		return ends, nil
	}
	u, err := f.c.Update(ctx, id, f.group)
	if err != nil {
		return nil, err
	}
	ends := map[end]int{}
	for _, d := range u.Devices {
		ends[f.judge(d, away[string(d.Device)])]++
		f.show(u, d)
	}
	if ends[pending] == 0 && ends[offline] == 0 { // who is offline may be back before the others are done
		f.over[id] = ends
	}
	return ends, nil
}

// away says which devices nobody waits for.
func (f *follower) away(ctx ctx) (map[string]bool, error) {
	rows, err := pages(ctx, pageFlags{all: true}, func(ctx context.Context, p client.Page) (client.List[client.DeviceRow], error) {
		return f.c.Devices(ctx, client.DeviceQuery{Group: f.group}, p)
	})
	out := map[string]bool{}
	for _, d := range rows.Items {
		out[string(d.ID)] = f.absent(d, f.a.Now())
	}
	return out, err
}

// absent says whether a device was silent for long before the act, or has been for long while we looked, by now. The server's
// clock and ours are never compared.
func (f *follower) absent(d client.DeviceRow, now time.Time) bool {
	id := string(d.ID)
	if d.Connected {
		delete(f.gone, id)
		return false
	}
	if f.gone[id].IsZero() {
		f.gone[id] = now
	}
	before := !f.act.At.IsZero() && f.act.At.Sub(d.LastSeen) > silence
	return d.State != fleet.Active || before || now.Sub(f.gone[id]) > silence
}

// judge says where a pair has got to. A failure or block from before the act does not count while the
// verdict is to install: the device has not tried again yet.
func (f *follower) judge(d client.DeviceUpdate, away bool) end {
	stale := d.Verdict == plan.Install && d.Since.Before(f.act.At)
	switch d.State {
	case installation.Installed, installation.RestartRequired:
		return reached
	case installation.Failed, installation.Blocked, installation.ResultUnknown, installation.RemoveFailed:
		if !stale {
			return missed
		}
	case installation.NotApplicable:
		return reached
	}
	switch {
	case d.Verdict != plan.Install && d.State.Terminal():
		return missed
	case away:
		return offline
	}
	return pending
}

func (f *follower) show(u client.UpdateDetail, d client.DeviceUpdate) {
	key := pair{string(d.Device), string(u.ID)}
	if f.seen[key] == d.State {
		return
	}
	f.seen[key] = d.State
	line := fmt.Sprintf("%s  %s %s on %s: ", f.a.Now().In(f.a.zone()).Format("15:04:05"), clean(u.Name), clean(u.Version), clean(d.DeviceName))
	f.out.raw(line + f.out.paint(toneOf(string(d.State)), clean(string(d.State))))
	if note := remark(d); note != "" {
		f.out.raw(" (" + clean(note) + ")")
	}
	f.out.raw("\n")
}

// verdict ends the following.
func (f *follower) verdict(ends map[end]int) error {
	p := f.out
	p.line("%s in place.", many(ends[reached], "install"))
	if ends[offline] > 0 {
		p.line("%s not connected: the update follows when they are back.", many(ends[offline], "device"))
	}
	if err := p.flush(); err != nil {
		return err
	}
	if ends[missed] > 0 {
		return fault.New(failed, "not_installed", "Not installed in %s; `assent why DEVICE UPDATE` says why.", many(ends[missed], "case"))
	}
	return nil
}
