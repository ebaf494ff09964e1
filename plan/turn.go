package plan

import (
	"assent/installation"
	"assent/task"
	"assent/wire"
)

// takeTurns holds what would be installed by a task that lets only so many devices install at the same time, where it is not the
// device's turn (I6). It comes last: whoever waits for a turn could make use of it.
func (c *computation) takeTurns() {
	waits := false
	for _, v := range c.candidates {
		if v.Action != Install || v.DownloadOnly {
			continue
		}
		for _, t := range v.terms.Capped() {
			if !c.turn(t) {
				v.hold(installation.TooManyAtOnce, "the task %q installs on %s at the same time: it waits for its turn", t.Name, t.MaxConcurrent.Words())
				waits = true
				break
			}
		}
	}
	if waits {
		c.settle()
	}
}

// turn reports whether it is the device's turn in a task. A plan that rests on it ends with it.
func (c *computation) turn(t task.Task) bool {
	if c.in.Foresee {
		return true
	}
	until, held := c.in.Slots[t.ID]
	if !held || !c.in.Now.Before(until) {
		return false
	}
	if c.ends.IsZero() || until.Before(c.ends) {
		c.ends = until
	}
	return true
}

// inTurn is a restart policy as it counts now: a device that a task with a cap covers restarts only in its turn. Services are
// restarted all the same.
func (c *computation) inTurn(p wire.PlanRestart) *wire.PlanRestart {
	for _, t := range c.here.Tasks() {
		if !t.MaxConcurrent.None() && p.When != wire.RestartNever && !c.turn(t) {
			p.When, p.Ask = wire.RestartNever, wire.RestartAsk{}
		}
	}
	if p.When == wire.RestartNever && !p.Services {
		return nil
	}
	return &p
}
