// Package slot says which devices of a task may be at an installation or a restart at the same time: never more than the task's
// cap (security.md, I6).
//
// Parties: a task has a Cap; the server's conductor asks Give with what each device has to do, keeps the State that comes back and
// only then lets the planner see it; plan.Compute orders installs and restarts of a capped task only on devices that hold a slot,
// and the signed plan of such a device counts no longer than its slot.
//
// Guarantees. A slot is given only where fewer devices than the cap hold one or are at it. It is given back when the device said
// that there is nothing left to do. Without the server a device begins nothing after its slot ended, since its plan ends then; so a
// slot that ended is free once the device was heard of again, or once what it may have begun in the last moment must be over
// (Grace). Silence, failures and blocks therefore never hold a slot for ever, and nobody waits for ever: who held one comes after
// all who did not. The answer depends on nothing but its input; State is a value.
//
// Limits. It believes what devices report, and that their clocks run. What a device begins by a plan from before the cap was set, or
// by hand, is counted where it is reported and not kept from beginning. A cap that is made smaller takes no slot away.
package slot

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"assent/fleet"
)

const (
	// Lease is how long a slot counts unless it is renewed.
	Lease = 20 * time.Minute
	// Longest is how long a device keeps a slot in one go, however often it is renewed.
	Longest = 6 * time.Hour
	// Grace is how long an installation may last that was begun in the last moment of a slot: installation.Installing's deadline.
	Grace = 2 * time.Hour
	// Gap is the longest step between two calls that counts as having listened all the while.
	Gap = 15 * time.Minute
	// Settle is how long a device must be heard of without having anything to do before it gives its slot back: so long it may
	// take until it has the plan in which nothing is left.
	Settle = 5 * time.Second
	// Fresh is how recently a device must have been heard of to be given a slot.
	Fresh = 10 * time.Minute
)

// Slot is one device's turn.
type Slot struct {
	Since time.Time `json:"since"`
	Until time.Time `json:"until"`         // the device begins nothing from then on
	Idle  time.Time `json:"idle,omitzero"` // since when there is nothing to do; zero: there is
}

// State is who has a turn in a task. The zero value with its Task is the beginning.
type State struct {
	Task  string                       `json:"task"`
	Clock time.Time                    `json:"clock"` // of the last Give
	Held  map[fleet.DeviceID]Slot      `json:"held,omitempty"`
	Had   map[fleet.DeviceID]time.Time `json:"had,omitempty"` // when devices that still wait gave a slot back
}

// Demand is what a device that a task covers has to do in it.
type Demand struct {
	Device fleet.DeviceID
	Ready  bool      // it could begin something now, or go on with it
	Busy   bool      // it is at an installation
	Idle   bool      // there is nothing that it could begin by the plan that it is given now
	Seen   time.Time // when it was last heard of
}

// Until is how long a device's slot lasts; ok is false when it holds none at now.
func (s State) Until(id fleet.DeviceID, now time.Time) (until time.Time, ok bool) {
	h, ok := s.Held[id]
	return h.Until, ok && now.Before(h.Until)
}

// Due is when the state is to be looked at though nothing changed, after now; zero when no slot is being given back.
func (s State) Due(now time.Time) (at time.Time) {
	for _, h := range s.Held {
		if next := h.Idle.Add(Settle); !h.Idle.IsZero() && next.After(now) && (at.IsZero() || next.Before(at)) {
			at = next
		}
	}
	return at
}

// Same reports whether two states let the same devices begin, for as long: one need not be kept if the other is.
func (s State) Same(o State) bool {
	return s.Task == o.Task && maps.EqualFunc(s.Held, o.Held, func(a, b Slot) bool { return a.Since.Equal(b.Since) && a.Until.Equal(b.Until) })
}

// Give takes back the slots that are free and gives out those that limit leaves. all are the devices that the task covers.
func Give(s State, all []Demand, limit int, now time.Time) State {
	next := State{Task: s.Task, Clock: now, Held: map[fleet.DeviceID]Slot{}, Had: map[fleet.DeviceID]time.Time{}}
	away := now.Before(s.Clock) || now.Sub(s.Clock) > Gap
	demands := make(map[fleet.DeviceID]Demand, len(all))
	for _, d := range all {
		demands[d.Device] = d
		if at, had := s.Had[d.Device]; had && !d.Idle {
			next.Had[d.Device] = at
		}
	}
	for id, held := range s.Held {
		d, known := demands[id]
		if away && now.Add(Lease).After(held.Until) {
			held.Until = now.Add(Lease) // nobody knows what happened meanwhile: it ends when it must have ended
		}
		switch still, kept := keeps(held, d, known, now); {
		case kept:
			next.Held[id] = still
		case known && !d.Idle:
			next.Had[id] = now
		}
	}
	next.fill(all, limit, now)
	return next
}

// keeps reports whether a slot is still held, and for how long.
func keeps(s Slot, d Demand, known bool, now time.Time) (Slot, bool) {
	idle := known && d.Idle && !d.Busy
	switch {
	case !idle:
		s.Idle = time.Time{}
	case s.Idle.IsZero() || now.Before(s.Idle):
		s.Idle = now
	}
	switch {
	case idle && d.Seen.Sub(s.Idle) >= Settle:
		return s, false
	case now.Before(s.Until):
		if known && (d.Ready || d.Busy) && now.Sub(d.Seen) < Fresh && s.Until.Sub(now) <= Lease/2 && !now.Add(Lease).After(s.Since.Add(Longest)) {
			s.Until = now.Add(Lease)
		}
		return s, true
	case known && d.Busy:
		return s, true // what has begun is finished (C7)
	case known && d.Seen.After(s.Until):
		return s, false
	}
	return s, now.Before(s.Until.Add(Grace))
}

// fill gives out what is left: first to those that are at it anyway, then to those that held none, the longest ago first.
func (s *State) fill(all []Demand, limit int, now time.Time) {
	taken := len(s.Held)
	var waiting []Demand
	for _, d := range all {
		if _, held := s.Held[d.Device]; held {
			continue
		}
		if d.Busy {
			taken++
		}
		if d.Ready && now.Sub(d.Seen) < Fresh {
			waiting = append(waiting, d)
		}
	}
	slices.SortFunc(waiting, func(a, b Demand) int {
		return cmp.Or(-compare(a.Busy, b.Busy), s.Had[a.Device].Compare(s.Had[b.Device]), cmp.Compare(a.Device, b.Device))
	})
	for _, d := range waiting {
		if !d.Busy && taken >= limit {
			return
		}
		if !d.Busy {
			taken++
		}
		s.Held[d.Device] = Slot{Since: now, Until: now.Add(Lease)}
		delete(s.Had, d.Device)
	}
}

func compare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}
