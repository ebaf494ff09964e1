package index

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"assent/fleet"
	"assent/slot"
)

// loadSlots reads who has a turn in tasks that let only so many devices install at the same time.
func (x *Index) loadSlots(ctx context.Context) error {
	all := map[string]slot.State{}
	err := x.store.LoadSlots(ctx, func(s slot.State) error {
		all[s.Task] = s
		return nil
	})
	if err != nil {
		return fmt.Errorf("load slots: %w", err)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.tasks.slots = all
	return nil
}

// Slots is who has a turn in a task.
func (v *View) Slots(task string) slot.State {
	s := v.x.tasks.slots[task]
	s.Task = task
	return s
}

// slotsOf is until when it is a device's turn in the tasks with a cap.
func (v *View) slotsOf(id fleet.DeviceID) map[string]time.Time {
	var out map[string]time.Time
	for _, t := range v.x.tasks.capped {
		if s, held := v.x.tasks.slots[t].Held[id]; held {
			if out == nil {
				out = map[string]time.Time{}
			}
			out[t] = s.Until
		}
	}
	return out
}

// slotsKey is a text that is equal for equal answers of slotsOf.
func (v *View) slotsKey(id fleet.DeviceID) string {
	var b strings.Builder
	for _, t := range v.x.tasks.capped {
		if s, held := v.x.tasks.slots[t].Held[id]; held {
			fmt.Fprintf(&b, "%s %d ", t, s.Until.UnixNano())
		}
	}
	return b.String()
}

// SaveSlots keeps who has a turn in a task, and then lets plans see it: a turn that was given is never forgotten. Where the
// same devices have the same turns as before it is kept in memory only, and where the task is gone not at all.
func (x *Index) SaveSlots(ctx context.Context, s slot.State) error {
	x.acts.Lock()
	defer x.acts.Unlock()
	if !x.hasTask(s.Task) {
		return nil
	}
	before := x.tasks.slots[s.Task]
	if !before.Same(s) {
		if err := x.store.SaveSlots(ctx, s); err != nil {
			return fmt.Errorf("save who has a turn in the task %s: %w", s.Task, err)
		}
	}
	x.putSlots(s)
	return nil
}

// followSlots takes whose turn it is where another server gives turns.
func (x *Index) followSlots(all []slot.State) {
	x.acts.Lock()
	defer x.acts.Unlock()
	for _, s := range all {
		if x.hasTask(s.Task) && s.Clock.After(x.tasks.slots[s.Task].Clock) {
			x.putSlots(s)
		}
	}
}

// putSlots lets plans see who has a turn in a task. The caller holds x.acts.
func (x *Index) putSlots(s slot.State) {
	changed := roaring.New()
	x.mu.Lock()
	before := x.tasks.slots[s.Task]
	x.tasks.slots[s.Task] = s
	for _, held := range []map[fleet.DeviceID]slot.Slot{before.Held, s.Held} {
		for id := range held {
			if n, known := x.numbers[id]; known && before.Held[id].Until != s.Held[id].Until {
				changed.Add(n)
			}
		}
	}
	x.mu.Unlock()
	if !changed.IsEmpty() {
		x.changes.publish(Change{Devices: changed})
	}
}
