package conductor

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"assent/fleet"
	"assent/installation"
	"assent/plan"
	"assent/server/internal/index"
	"assent/slot"
	"assent/task"
	"assent/window"
	"assent/wire"
)

// turns is what has to be known to say what a device has to do in the tasks with a cap.
type turns struct {
	tasks   map[string]task.Task // those with a cap
	windows map[string]opening   // of all tasks but those that catch up what was missed at once: they may begin at any time
	at      time.Time
}

// opening is when a task's installations may begin.
type opening struct {
	window.Windows
	always bool
}

// turnsIn prepares to look at devices, and forgets the tasks that have no cap any more.
func (c *Conductor) turnsIn(v *index.View) turns {
	out := turns{tasks: map[string]task.Task{}, windows: map[string]opening{}, at: c.index.Now().UTC()}
	for _, t := range v.Tasks().Tasks() {
		if !t.MaxConcurrent.None() {
			out.tasks[t.ID] = t
		}
		w, err := window.Parse(t.Schedule)
		if t.Schedule.Missed == window.AtOnce {
			w, err = window.Parse(window.Schedule{Freezes: t.Schedule.Freezes, Zone: t.Schedule.Zone})
		}
		if err == nil {
			out.windows[t.ID] = opening{w, w.AnyTime() && len(t.Schedule.Freezes) == 0}
		}
	}
	maps.DeleteFunc(c.demands, func(id string, _ map[uint32]slot.Demand) bool { _, still := out.tasks[id]; return !still })
	for id := range out.tasks {
		if c.demands[id] == nil {
			c.demands[id] = map[uint32]slot.Demand{}
			c.stains.add(index.Change{All: true}) // the cap is new: nothing is known of the devices yet
		}
	}
	return out
}

// demand notes what a device has to do in each task with a cap that covers it.
func (s *sight) demand(d index.Device) error {
	covering := map[string]task.Task{}
	here := s.here(d)
	for _, t := range here.Tasks() {
		if _, capped := s.turns.tasks[t.ID]; capped && d.State == fleet.Active {
			covering[t.ID] = t
		}
	}
	var verdicts []plan.Verdict
	if len(covering) > 0 {
		var err error
		if verdicts, err = s.planner.Notable(s.v, d); err != nil {
			return err
		}
	}
	for id := range s.turns.tasks {
		if _, covers := covering[id]; !covers {
			delete(s.demands[id], d.Number)
			continue
		}
		s.demands[id][d.Number] = s.turns.of(d, id, verdicts, &here)
	}
	return nil
}

// of is what a device has to do in one task.
func (t turns) of(d index.Device, id string, verdicts []plan.Verdict, here *task.Here) slot.Demand {
	out := slot.Demand{Device: d.ID, Busy: t.busy(d)}
	pending := false
	for _, v := range verdicts {
		waits := v.Action == plan.Hold && v.Cause == installation.TooManyAtOnce
		if !waits && v.Action != plan.Install || v.DownloadOnly || !slices.Contains(v.Tasks, id) {
			continue
		}
		pending = true
		row, _ := d.Install(v.Update)
		out.Ready = out.Ready || t.open(d, v.Tasks) && (waits || row.State != installation.Blocked)
	}
	if p, ok := here.Restart(); ok && p.Restart.When != "" && p.Restart.When != wire.RestartNever && d.Facts != nil && len(d.Facts.Restart) > 0 {
		pending = true
		out.Ready = out.Ready || t.open(d, []string{p.ID})
	}
	out.Idle = !pending && !out.Busy
	return out
}

// busy reports whether a device is at something, by what it reported and for as long as that may last (V1).
func (t turns) busy(d index.Device) bool {
	for row := range d.Installs() {
		switch row.State {
		case installation.Installing, installation.ResultUnknown, installation.Removing:
			if t.at.Before(row.Since.Add(min(row.State.Deadline(), slot.Grace))) {
				return true
			}
		}
	}
	return false
}

// open reports whether the windows of all these tasks let a device begin now.
func (t turns) open(d index.Device, ids []string) bool {
	name := ""
	if d.Facts != nil {
		name = d.Facts.TimeZone
	}
	zone, _ := window.LoadZone(name) // one that is not known never opens
	for _, id := range ids {
		w, known := t.windows[id]
		if !known || !w.always && !w.At(t.at, zone, string(d.ID)).Open {
			return false
		}
	}
	return true
}

// lookAgain has the devices of tasks with a cap looked at anew from time to time: windows open and close by themselves.
func (c *Conductor) lookAgain() {
	now := c.index.Now()
	if since := now.Sub(c.turnsAt); len(c.demands) == 0 || since >= 0 && since < tick {
		return
	}
	c.turnsAt = now
	covered := roaring.New()
	for _, devices := range c.demands {
		for number := range devices {
			covered.Add(number)
		}
	}
	c.stains.add(index.Change{Devices: covered})
}

// giveTurns gives out the turns of all tasks with a cap, by what was found out of their devices.
func (c *Conductor) giveTurns(ctx context.Context) error {
	now := c.index.Now().UTC()
	var states []slot.State
	c.index.View(func(v *index.View) {
		for _, t := range v.Tasks().Tasks() {
			if !t.MaxConcurrent.None() && c.demands[t.ID] != nil {
				all := heardOf(v, c.demands[t.ID], now)
				states = append(states, slot.Give(v.Slots(t.ID), all, t.MaxConcurrent.Of(len(all)), now))
			}
		}
	})
	c.slotsDue = time.Time{}
	for _, next := range states {
		if due := next.Due(now); !due.IsZero() && (c.slotsDue.IsZero() || due.Before(c.slotsDue)) {
			c.slotsDue = due
		}
		if err := c.index.SaveSlots(ctx, next); err != nil {
			return err
		}
	}
	return nil
}

// heardOf is what devices have to do, each with when it was last heard of.
func heardOf(v *index.View, demands map[uint32]slot.Demand, now time.Time) []slot.Demand {
	out := make([]slot.Demand, 0, len(demands))
	for number, one := range demands {
		d := v.Numbered(number)
		if one.Seen = d.Contact.LastSeen; d.Connected {
			one.Seen = now
		}
		out = append(out, one)
	}
	return out
}

// turnsDue is how long nothing has to be looked at for the sake of turns, most at most. The caller holds c.looking.
func (c *Conductor) turnsDue(most time.Duration) time.Duration {
	if c.slotsDue.IsZero() {
		return most
	}
	return min(most, max(c.slotsDue.Sub(c.index.Now()), settle))
}
