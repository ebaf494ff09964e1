package plan

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"assent/installation"
	"assent/rollout"
	"assent/task"
	"assent/wire"
)

// turns notes when a task may answer differently by itself.
func (c *computation) turns(at time.Time) {
	if !at.IsZero() && (c.next.IsZero() || at.Before(c.next)) {
		c.next = at
	}
}

// under notes which tasks admit v, the one that leads by its name.
func (v *candidate) under(lead string, terms task.Terms) {
	v.Task, v.terms, v.Tasks, v.DownloadOnly = lead, terms, nil, terms.Options().DownloadOnly
	for _, t := range terms.Tasks() {
		v.Tasks = append(v.Tasks, t.ID)
	}
}

// ringsOpen checks that the device's ring is open in every task that admits v and has rings, and that nobody halted v in one
// that has none (T6).
func (c *computation) ringsOpen(v *candidate) bool {
	for _, t := range v.terms.Tasks() {
		state, begun := c.in.Known.Rollout(t.ID, v.Update)
		if len(t.Rings) == 0 && !begun {
			continue
		}
		if !begun {
			v.hold(installation.RingNotOpen, "the rings of the task %q have not begun with it", t.Name)
			return false
		}
		open, why := rollout.Opens(state, rollout.Place(t.Rings, c.in.Path))
		if !open {
			v.Action, v.Cause = Hold, installation.RingNotOpen
			v.say("T6", "task %q: %s", t.Name, strings.TrimSuffix(why.Text, "."))
			return false
		}
		v.say("T6", "task %q: %s", t.Name, why.Text)
	}
	return true
}

// fit holds an update whose probes failed on this very device until somebody approves it again: a rollback that the plan
// orders would otherwise be undone by the next one.
func (c *computation) fit(v *candidate) bool {
	at, unfit := c.in.Unfit[v.Update]
	d := v.Approval.Decision
	if !unfit || v.terms.OnFailure() != task.Restore || d != nil && d.At.After(at) {
		return true
	}
	v.Action, v.Cause = Hold, installation.ProbeFailed
	v.say("V3", "its health probe failed on this device on %s, and the task %q takes it back then: approve it again for another try",
		at.UTC().Format("2006-01-02 15:04 MST"), v.Task)
	return false
}

// draft is a plan that is being written, with what its terms stand for.
type draft struct {
	wire.Plan
	texts []string
}

// termsOf is the number of v's terms in the plan; 0 where the tasks ask for nothing.
func (p *draft) termsOf(v *candidate) int {
	terms := wireTerms(v.terms)
	text, err := json.Marshal(terms)
	if err != nil || string(text) == "{}" {
		return 0
	}
	lead, _ := v.terms.Lead()
	terms.Task = lead.Name
	key := lead.Name + "\x00" + string(text)
	if i := slices.Index(p.texts, key); i >= 0 {
		return i + 1
	}
	p.Format, p.texts, p.Terms = wire.PlanFormat, append(p.texts, key), append(p.Terms, terms)
	return len(p.Terms)
}

// wireTerms writes the joined terms of the tasks for a device, without the name of the task that leads. A schedule is a plain
// struct of texts and numbers: it can always be written.
func wireTerms(t task.Terms) wire.PlanTerms {
	o := t.Options()
	out := wire.PlanTerms{DownloadOnly: o.DownloadOnly, AtShutdown: o.AtShutdown, StopAfter: o.StopAfter.Seconds(),
		Retries:   o.Retries.Plan(),
		Removable: o.Removable, Probes: t.Probes(), Restore: t.OnFailure() == task.Restore}
	for _, s := range t.Schedules() {
		b, err := json.Marshal(s)
		if err != nil {
			b = []byte(`{"unreadable":true}`) // the device never opens what it cannot read: unknown holds
		}
		out.Schedules = append(out.Schedules, b)
	}
	return out
}

// restart is the device's restart policy with its windows; nil: never (T5).
func (c *computation) restart() *wire.PlanRestart {
	t, ok := c.here.Restart()
	if !ok || t.Restart.When == wire.RestartNever && !t.Restart.Services {
		return nil
	}
	p := t.Restart.Plan()
	if t.Schedule.Rule != "" || len(t.Schedule.Freezes) > 0 {
		b, err := json.Marshal(t.Schedule)
		if err != nil {
			b = []byte(`{"unreadable":true}`)
		}
		p.Schedule = b
	}
	return c.inTurn(p)
}
