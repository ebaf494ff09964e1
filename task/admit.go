package task

import (
	"slices"
	"time"

	"assent/approval"
	"assent/criteria"
	"assent/wire"
)

// Here is the tasks as they stand for one device. It never changes.
type Here struct {
	device   criteria.Device
	covering []covering // in the stated order; those of which it is not known too
	outside  []Look
	turns    time.Time // when a selection may answer differently by itself; zero: never
}

// covering is a task that covers the device, or may.
type covering struct {
	*compiled
	unknown string // why nobody knows whether it does; empty: it does
}

// Admission is the answer for one update on one device.
type Admission struct {
	Admitted bool
	// Held says why it is not known whether a task admits the update: hold it. Only set if it is not admitted.
	Held  string
	Terms Terms // the conditions under which it is installed, if it is admitted
	looks []Look
	here  *Here
}

// Admit says whether a task admits an update of this status on the device, on which conditions, and why.
func (h *Here) Admit(u criteria.Update, status approval.Status) Admission {
	a := Admission{here: h, looks: make([]Look, 0, len(h.covering))}
	for _, c := range h.covering {
		before := len(a.looks)
		a.looks = c.look(a.looks, u, status, h.device.Test)
		if a.looks[len(a.looks)-1].Code == Admitted {
			a.Admitted = true
			a.Terms.tasks = append(a.Terms.tasks, c.compiled)
			a.looks = append(a.looks[:before], a.looks[len(a.looks)-1])
		}
	}
	if !a.Admitted {
		if i := slices.IndexFunc(a.looks, Look.unknown); i >= 0 {
			a.Held = a.looks[i].Text()
		}
	}
	return a
}

// look asks the rules of one task, in order, until one admits; that one comes last then.
func (c covering) look(looks []Look, u criteria.Update, status approval.Status, test bool) []Look {
	l := Look{Task: c.ID, Name: c.Name, Rule: -1}
	switch {
	case len(c.rules) == 0:
		l.Code = NoRules
		return append(looks, l)
	case !status.Valid():
		l.Code, l.Detail = UnknownStatus, "its status "+string(status)+" is not known"
		return append(looks, l)
	}
	for i, r := range c.Rules {
		l.Rule, l.Named, l.admits, l.Detail = i, r.Name, r.Admits, ""
		l.Code, l.Detail = c.rule(i, u, status, test)
		if l.Code == Admitted && c.unknown != "" {
			l.Code, l.Detail = UnknownTarget, c.unknown
		}
		looks = append(looks, l)
		if l.Code == Admitted {
			break
		}
	}
	return looks
}

// rule asks one rule.
func (c *compiled) rule(i int, u criteria.Update, status approval.Status, test bool) (Code, string) {
	admits := c.Rules[i].Admits
	switch {
	case admits == AnyIncludingDeclined && !test:
		return TestOnly, ""
	case !admits.status(status, test):
		return OtherStatus, ""
	}
	met, err := c.rules[i].Match(u)
	switch {
	case err != nil:
		return UnknownRule, err.Error()
	case !met:
		return NotMet, ""
	case !c.Options.HoldNewMajor:
		return Admitted, ""
	case u.Unplaced:
		return UnknownRule, "which version the device has is not known"
	}
	major, err := criteria.NewMajor(u.Ecosystem, u.Installed, u.Version)
	switch {
	case err != nil:
		return UnknownRule, "whether it is a new major version cannot be told: " + err.Error()
	case major:
		return NewMajor, ""
	}
	return Admitted, ""
}

// Turns is the earliest instant after u.Now at which Admit may answer differently though nothing else changed, because an age is
// reached. Zero: never. Windows and rings are not looked at.
func (h *Here) Turns(u criteria.Update) time.Time {
	first := h.turns
	for _, c := range h.covering {
		for _, r := range c.rules {
			first = sooner(first, r.Turns(u))
		}
	}
	return first
}

// sooner is the earlier of two instants of which zero means never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// Looks lists what came of each task and rule: those that cover the device first, in the stated order. Of a task that admits
// the update, only the rule that does is listed.
func (a Admission) Looks() []Look {
	if a.here == nil {
		return nil
	}
	return slices.Concat(a.looks, a.here.outside)
}

// Trace is the same for the reasons of a verdict.
func (a Admission) Trace() []approval.Step {
	var out []approval.Step
	for _, l := range a.Looks() {
		out = append(out, l.step())
	}
	return out
}

// NewDependencies reports whether a task that covers the device lets new packages in: for what is installed without a rule
// that admits it, such as content (C6).
func (h *Here) NewDependencies() bool {
	return slices.ContainsFunc(h.covering, func(c covering) bool { return c.unknown == "" && c.Options.NewDependencies })
}

// Tasks lists the tasks that cover the device, in the stated order.
func (h *Here) Tasks() []Task {
	var out []Task
	for _, c := range h.covering {
		if c.unknown == "" {
			out = append(out, c.Task)
		}
	}
	return out
}

// Restart is the restart policy of the device: that of the first task in the order that covers it and states one. ok is false
// when none does, or when one before it might cover the device and nobody knows: then the device is never restarted.
func (h *Here) Restart() (t Task, ok bool) {
	for _, c := range h.covering {
		if c.Restart.When == "" {
			continue
		}
		return c.Task, c.unknown == ""
	}
	return Task{}, false
}

// Plan is the policy as a device gets it, without its windows.
func (r Restart) Plan() wire.PlanRestart {
	return wire.PlanRestart{When: r.When, Services: r.Services, Ask: wire.RestartAsk{Text: r.Ask.Text, Repeat: r.Ask.Repeat.Seconds(),
		Deadline: r.Ask.Deadline.Seconds(), Deferrals: r.Ask.Deferrals}}
}
