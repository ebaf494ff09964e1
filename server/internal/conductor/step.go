package conductor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"assent/catalog"
	"assent/installation"
	"assent/ledger"
	"assent/rollout"
	"assent/server/internal/index"
	"assent/server/internal/store"
	"assent/task"
)

// walk takes every rollout further about which something changed, or in which time alone may change something. One that cannot
// go on does not keep the others from it.
func (c *Conductor) walk(ctx context.Context) error {
	now := c.index.Now().UTC().Truncate(time.Microsecond) // as states keep times
	gap := c.heard.IsZero() || now.Before(c.heard) || now.Sub(c.heard) > rollout.Gap
	c.revive()
	var failed []error
	for _, k := range c.order() {
		t := c.tracks[k]
		if !t.dirty && !gap && (t.rest || now.Before(t.due)) {
			continue
		}
		t.dirty = false
		if err := c.step(ctx, t, now); err != nil {
			t.dirty = true
			if ctx.Err() != nil {
				return ctx.Err()
			}
			failed = append(failed, err)
		}
	}
	c.heard = now
	return errors.Join(failed...)
}

// order is a stable one, so that tests and logs can be compared.
func (c *Conductor) order() []key {
	out := make([]key, 0, len(c.tracks))
	for k := range c.tracks {
		out = append(out, k)
	}
	slices.SortFunc(out, func(a, b key) int { return cmp.Or(cmp.Compare(a.task, b.task), cmp.Compare(a.update, b.update)) })
	return out
}

// moment is what a step is made from.
type moment struct {
	task     task.Task
	release  catalog.Release
	before   rollout.State
	begun    bool
	super    catalog.UpdateID
	outcomes []rollout.Outcome
}

// step takes one rollout as far as it goes now.
func (c *Conductor) step(ctx context.Context, t *track, now time.Time) error {
	c.acting.Lock()
	defer c.acting.Unlock()
	m, ok := c.gather(t, now)
	if !ok {
		return nil
	}
	from := m.before
	if t.rest && c.heard.After(from.Clock) {
		from.Clock = c.heard // nothing was asked of it meanwhile, and the server listened
	}
	still := t.wanted == 0 && len(m.task.Rings) > 0
	after, moved := from, []rollout.Transition(nil)
	switch away := now.Sub(from.Clock); {
	case !still:
		after, moved = rollout.Advance(from.Supersede(m.super), m.task.Rings, m.outcomes, now)
	case away < 0 || away > rollout.Gap:
		after.Clock, after.Listening = now, now // so that what comes when it goes on again is not believed to have been waited for
	}
	if err := c.keep(ctx, t, m, after, moved); err != nil {
		return err
	}
	t.rest = still || after.Finished() || after.Stop != nil || len(m.task.Rings) == 0
	t.due = due(after, m.task.Rings, now)
	return nil
}

// due is when a rollout is to be looked at though nothing changed: soon enough for what time alone brings.
func due(s rollout.State, rings []rollout.Ring, now time.Time) time.Time {
	next := now.Add(tick)
	sooner := func(t time.Time) {
		if t.After(now) && t.Before(next) {
			next = t
		}
	}
	sooner(s.Listening.Add(rollout.Gap))
	for _, r := range rings {
		sooner(r.NotBefore)
		if at, ok := s.Ring(r.Name); ok && at.Phase == rollout.Soaking {
			sooner(now.Add(time.Duration(r.Soak - at.Soaked)))
		}
	}
	return next
}

// gather collects what a step needs. False: there is nothing to step, since the task is gone or the rollout has not begun and
// nobody is to get the update.
func (c *Conductor) gather(t *track, now time.Time) (m moment, ok bool) {
	c.index.View(func(v *index.View) {
		u, known := v.Update(t.update)
		i := slices.IndexFunc(v.Tasks().Tasks(), func(o task.Task) bool { return o.ID == t.task })
		if !known || i < 0 {
			return
		}
		m.task, m.release = v.Tasks().Tasks()[i], u.Release
		if m.before, m.begun = v.Rollout(t.task, t.update); !m.begun {
			if t.wanted == 0 || len(m.task.Rings) == 0 {
				return
			}
			m.before = rollout.Start(t.task, t.update, m.task.Rings, now)
		}
		m.super = c.superseding(v, t, u)
		m.outcomes, ok = heard(v, t, now), true
	})
	return m, ok
}

// heard are the outcomes of a rollout's devices, each with when it was last heard of.
func heard(v *index.View, t *track, now time.Time) []rollout.Outcome {
	out := make([]rollout.Outcome, 0, len(t.parts))
	for number, p := range t.parts {
		d := v.Numbered(number)
		o := p.outcome
		if o.LastSeen = d.Contact.LastSeen; d.Connected {
			o.LastSeen = now
		}
		out = append(out, o)
	}
	return out
}

// superseding is the newer release that the task rolls out to all devices that have a part in this rollout; empty if there is
// none. A release that nobody is to get takes no place.
func (c *Conductor) superseding(v *index.View, t *track, u index.Update) catalog.UpdateID {
	devices := roaring.New()
	for number, p := range t.parts {
		if !p.outcome.Gone && p.outcome.State != installation.NotApplicable {
			devices.Add(number)
		}
	}
	newer, ok := v.Superseded(u, devices, func(n index.Update) bool {
		o := c.tracks[key{t.task, n.ID}]
		return o == nil || o.wanted == 0
	})
	if !ok {
		return ""
	}
	return newer.ID
}

// keep makes what follows from a step durable, as far as it has to be.
func (c *Conductor) keep(ctx context.Context, t *track, m moment, after rollout.State, moved []rollout.Transition) error {
	step := ledger.RolloutStep{Task: t.task, Update: t.update, Release: m.release, Transitions: moved}
	lost := len(m.before.Rings) > 0 && len(after.Rings) == 0
	switch {
	case len(moved) > 0 || lost:
		if lost {
			step.Why = "The task has no rings any more."
		}
		return c.record(ctx, t, m, step, after)
	case !m.begun || rollout.WorthSaving(t.saved, after):
		err := c.index.SaveRollout(ctx, after)
		if errors.Is(err, store.ErrMoved) {
			t.dirty = true // somebody was first; it is looked at again
			return nil
		}
		if err != nil {
			return err
		}
		t.saved = after
	default:
		c.index.RememberRollout(after)
	}
	return nil
}

// record makes the act of a change of phase, with the state beside it.
func (c *Conductor) record(ctx context.Context, t *track, m moment, step ledger.RolloutStep, after rollout.State) error {
	entry, err := c.index.StepRollout(ctx, by, func(v *index.View) (*ledger.RolloutStep, rollout.State, error) {
		if !unmoved(v, m) {
			return nil, rollout.State{}, nil // somebody was first; it is looked at again
		}
		return &step, after, nil
	})
	if err != nil {
		return fmt.Errorf("record where the rollout of %s %s by %q stands: %w", m.release.Name, m.release.Version, m.task.Name, err)
	}
	if entry.Seq == 0 {
		t.dirty = true
		return nil
	}
	t.saved = after
	for _, tr := range step.Transitions {
		c.moved(tr)
		c.log.Info("a rollout went on", "task", m.task.Name, "update", t.update, "release", m.release.Name+" "+m.release.Version,
			"ring", tr.Ring, "from", tr.From, "to", tr.To, "code", tr.Reason.Code, "why", tr.Reason.Text, "act", entry.Seq)
	}
	return nil
}

// unmoved reports whether the task is there and the rollout is where it was when the step was computed.
func unmoved(v *index.View, m moment) bool {
	if !slices.ContainsFunc(v.Tasks().Tasks(), func(t task.Task) bool { return t.ID == m.task.ID }) {
		return false
	}
	now, begun := v.Rollout(m.before.Task, m.before.Update)
	return begun == m.begun && (!begun || now.Clock.Equal(m.before.Clock) && now.Run == m.before.Run && len(now.Acts) == len(m.before.Acts))
}

// revive has the other rollouts of a software by a task looked at again where one of them came to be wanted, or is no longer: it
// may supersede the others, or not any more.
func (c *Conductor) revive() {
	c.index.View(func(v *index.View) {
		for k, t := range c.tracks {
			u, known := v.Update(k.update)
			if !known || t.alive == (t.wanted > 0) {
				continue
			}
			t.alive = t.wanted > 0
			for _, r := range v.Releases(u.Software) {
				if o := c.tracks[key{k.task, r.ID}]; o != nil {
					o.dirty = true
				}
			}
		}
	})
}
