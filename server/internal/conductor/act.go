package conductor

import (
	"context"
	"strings"
	"time"
	"unicode"

	"assent/client"
	"assent/fault"
	"assent/ledger"
	"assent/rollout"
	"assent/server/internal/auth"
	"assent/server/internal/index"
	"assent/task"
)

// Act is what a person does to a rollout: halt, resume, open, skip or restart. It needs an approver in all groups of the task,
// for skip, which overrides what the outcome says, an administrator. Halting needs no reason: nobody has to look for words
// while something breaks. It is durable when it returns.
func (c *Conductor) Act(ctx context.Context, who auth.Actor, r client.RolloutAct) (client.RolloutActed, error) {
	if strings.ContainsFunc(r.Reason, unprintable) {
		return client.RolloutActed{}, fault.New(fault.Invalid, "reason_invalid", "The reason contains control characters; give plain text.").On("reason")
	}
	c.acting.Lock()
	defer c.acting.Unlock()
	var out client.RolloutActed
	entry, err := c.index.StepRollout(ctx, who.Name, func(v *index.View) (*ledger.RolloutStep, rollout.State, error) {
		t, u, err := resolve(v, who, r.Task, r.Update)
		if err != nil {
			return nil, rollout.State{}, err
		}
		if err := mayAct(v, who, t, r.Verb); err != nil {
			return nil, rollout.State{}, err
		}
		before, err := state(v, t, u, r.Verb, c.index.Now())
		if err != nil {
			return nil, rollout.State{}, err
		}
		after, moved, err := apply(before, who.Name, r, c.index.Now())
		if err != nil {
			return nil, rollout.State{}, err
		}
		out.Transitions, out.Rollout = moved, detail(v, who, t, after)
		act := after.Acts[len(after.Acts)-1]
		return &ledger.RolloutStep{Task: t.ID, Update: u.ID, Release: u.Release, Verb: r.Verb, Ring: act.Ring, Why: act.Why, Transitions: moved}, after, nil
	})
	if err != nil {
		return client.RolloutActed{}, err
	}
	c.stains.act(key{out.Rollout.Task.ID, out.Rollout.Update.ID})
	out.Act = client.Act{Act: entry.Seq, At: entry.At}
	for _, t := range out.Transitions {
		c.moved(t)
	}
	c.log.Info("somebody acted on a rollout", "verb", r.Verb, "by", who.Name, "task", out.Rollout.Task.Name, "update", out.Rollout.Update.ID, "act", entry.Seq)
	return out, nil
}

// mayAct refuses actors whose role does not count in every group of the task.
func mayAct(v *index.View, who auth.Actor, t task.Task, verb rollout.Verb) error {
	role := ledger.Approver
	if verb == rollout.VerbSkip {
		role = ledger.Administrator
	}
	for _, g := range t.Targets.Groups {
		if err := who.Can(role, v.Tree(), g); err != nil {
			return err
		}
	}
	return nil
}

// state is the rollout that is acted on. Where a task has no rings, one begins with its halt.
func state(v *index.View, t task.Task, u index.Update, verb rollout.Verb, now time.Time) (rollout.State, error) {
	s, begun := v.Rollout(t.ID, u.ID)
	if begun {
		return s, nil
	}
	if verb == rollout.VerbHalt && len(t.Rings) == 0 {
		return rollout.Start(t.ID, u.ID, nil, now), nil
	}
	return rollout.State{}, notBegun(t, u)
}

// apply makes the act. Where no ring is named, it is the one that the rollout is at.
func apply(s rollout.State, by string, r client.RolloutAct, now time.Time) (rollout.State, []rollout.Transition, error) {
	ring := r.Ring
	if ring == "" {
		ring = Current(s).Ring.Ring
	}
	switch r.Verb {
	case rollout.VerbHalt:
		return s.Halt(by, r.Reason, now)
	case rollout.VerbResume:
		return s.Resume(by, r.Reason, now)
	case rollout.VerbOpen:
		return s.Open(ring, by, r.Reason, now)
	case rollout.VerbSkip:
		return s.Skip(ring, by, r.Reason, now)
	case rollout.VerbRestart:
		return s.Restart(by, r.Reason, now)
	}
	return s, nil, fault.New(fault.Invalid, "rollout_verb", "There is no act %q on rollouts.", shorten(string(r.Verb))).On("verb")
}

// unprintable are characters that change how a line looks without being seen.
func unprintable(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Zl, r) || unicode.Is(unicode.Zp, r)
}
