package task

import (
	"slices"
	"time"

	"assent/catalog"
	"assent/rollout"
	"assent/window"
)

// Terms are the conditions under which an update is installed on a device: those of all tasks that admit it, joined as the
// package comment says.
type Terms struct{ tasks []*compiled }

// Lead is the first task in the order that admits the update; ok is false if there is none.
func (t Terms) Lead() (lead Task, ok bool) {
	if len(t.tasks) == 0 {
		return Task{}, false
	}
	return t.tasks[0].Task, true
}

// None reports whether no task admits the update.
func (t Terms) None() bool { return len(t.tasks) == 0 }

// Tasks lists the tasks that admit the update, in the stated order.
func (t Terms) Tasks() []Task { return Set(t).Tasks() }

// Options joins the options of the tasks: the stricter counts.
func (t Terms) Options() Options {
	if len(t.tasks) == 0 {
		return Options{}
	}
	all := t.tasks[0].Options
	all.Removable = slices.Clone(all.Removable)
	for _, c := range t.tasks[1:] {
		all = all.join(c.Options)
	}
	return all
}

func (o Options) join(p Options) Options {
	o.EarlierFirst = o.EarlierFirst || p.EarlierFirst
	o.HoldPrerequisites = o.HoldPrerequisites || p.HoldPrerequisites
	o.HoldNewMajor = o.HoldNewMajor || p.HoldNewMajor
	o.NewDependencies = o.NewDependencies && p.NewDependencies
	o.Removable = slices.DeleteFunc(slices.Clone(o.Removable), func(name string) bool { return !slices.Contains(p.Removable, name) })
	o.Removals = o.Removals && p.Removals && len(o.Removable) > 0
	if !o.Removals {
		o.Removable = nil
	}
	o.DownloadOnly = o.DownloadOnly || p.DownloadOnly
	o.AtShutdown = (o.AtShutdown || p.AtShutdown) && !o.DownloadOnly
	o.StopAfter = shorter(o.StopAfter, p.StopAfter)
	o.Retries = o.Retries.join(p.Retries)
	return o
}

// MayRemove reports whether a package may be removed along with an update.
func (o Options) MayRemove(name string) bool { return o.Removals && slices.Contains(o.Removable, name) }

// Keeping lists the tasks that do not let a package be removed along with the update, in the stated order.
func (t Terms) Keeping(name string) []Task {
	var out []Task
	for _, c := range t.tasks {
		if !c.Options.MayRemove(name) {
			out = append(out, c.Task)
		}
	}
	return out
}

// shorter is the shorter of two times of which zero means none.
func shorter(a, b rollout.Span) rollout.Span {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// join takes the fewest attempts and the longest pauses of those that say something.
func (r Retries) join(p Retries) Retries {
	if r.Attempts == 0 || p.Attempts == 0 {
		r.Attempts += p.Attempts
		r.First, r.Longest = max(r.First, p.First), max(r.Longest, p.Longest)
		return r
	}
	rf, rl := r.Plan().Pauses()
	pf, pl := p.Plan().Pauses()
	return Retries{Attempts: min(r.Attempts, p.Attempts), First: rollout.Span(max(rf, pf)), Longest: rollout.Span(max(rl, pl))}
}

// Probes lists what must pass on the device, each once.
func (t Terms) Probes() []catalog.Probe {
	var out []catalog.Probe
	for _, c := range t.tasks {
		for _, p := range c.Task.Probes {
			if !slices.Contains(out, p) {
				out = append(out, p)
			}
		}
	}
	return out
}

// OnFailure is Restore if one of the tasks says so.
func (t Terms) OnFailure() OnFailure {
	if slices.ContainsFunc(t.tasks, func(c *compiled) bool { return c.Task.OnFailure == Restore }) {
		return Restore
	}
	return LeaveIt
}

// Ringed lists the tasks that have rings: in each of them the device's ring has to be open.
func (t Terms) Ringed() []Task {
	var out []Task
	for _, c := range t.tasks {
		if len(c.Rings) > 0 {
			out = append(out, c.Task)
		}
	}
	return out
}

// Capped lists the tasks that let only so many devices install at the same time: in each of them it has to be the device's turn.
func (t Terms) Capped() []Task {
	var out []Task
	for _, c := range t.tasks {
		if !c.MaxConcurrent.None() {
			out = append(out, c.Task)
		}
	}
	return out
}

// Schedules lists the schedules of the tasks, without those that mean any time. All of them have to be open.
func (t Terms) Schedules() []window.Schedule {
	var out []window.Schedule
	for _, c := range t.tasks {
		if c.windows.AnyTime() && len(c.Schedule.Freezes) == 0 {
			continue
		}
		out = append(out, c.Schedule)
	}
	return out
}

// Opening is the joint answer of the tasks' windows.
type Opening struct {
	Open   bool
	Until  time.Time     // when the first of the windows ends; zero: none ends, or it is not open
	Task   Task          // if it is not open: the first task in the order whose window is not
	Answer window.Answer // its answer; otherwise that of the task whose window ends first
}

// At answers whether an installation may start on the device at now: only inside the windows of all tasks.
func (t Terms) At(now time.Time, zone window.Zone, device string) Opening {
	o := Opening{Open: len(t.tasks) > 0}
	for _, c := range t.tasks {
		a := c.windows.At(now, zone, device)
		if !a.Open {
			return Opening{Task: c.Task, Answer: a}
		}
		if end := a.Window.End; o.Until.IsZero() || !end.IsZero() && end.Before(o.Until) {
			o.Until, o.Task, o.Answer = end, c.Task, a
		}
	}
	return o
}
