package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"assent/agent/internal/journal"
	"assent/agent/internal/restart"
	"assent/wire"
)

// inhibitedAgain is how long something that holds a restart up is left alone.
const inhibitedAgain = 5 * time.Minute

// consider asks the policy what to do. Only when nothing but people can hold a restart up is it found out who is there, and
// the package manager looked at once more.
func (a *Agent) consider(ctx context.Context, t thought) (thought, restart.Step, error) {
	t.state = a.journal.Restart()
	step := t.policy.Next(t.moment, t.state)
	if step.Do != restart.Restart {
		return t, step, nil
	}
	if err := a.look(ctx); err != nil {
		return t, step, err
	}
	_, health, err := a.opt.Manager.Verify(ctx, nil)
	if err != nil {
		return t, step, err
	}
	people, err := a.opt.Restart.People(ctx)
	if err != nil {
		return t, step, err
	}
	t = a.thought()
	t.moment.Present = len(people)
	if health.Holder != "" {
		t.moment.Busy = health.Holder
	}
	return t, t.policy.Next(t.moment, t.state), nil
}

// take does one step and returns when to come again.
func (a *Agent) take(ctx context.Context, t thought, step restart.Step) (time.Time, error) {
	now := a.opt.Now()
	later := now.Add(restartEvery)
	switch step.Do {
	case restart.Ask:
		return later, a.ask(ctx, t)
	case restart.Warn:
		return later, a.warn(ctx, t)
	case restart.Restart:
		return a.begin(ctx, t)
	}
	if step.Code == restart.CodeLoop {
		key := "restart_loop " + t.state.Begun[len(t.state.Begun)-1].UTC().Format(time.RFC3339)
		a.event(wire.Digest([]byte(key))[:26], "restart_loop", step.Text)
	}
	if err := a.services(ctx, t); err != nil {
		return later, err
	}
	if step.At.IsZero() {
		return later, nil
	}
	return now.Add(step.At.Sub(t.moment.Now)), nil
}

// ask puts the question to the people, after it is noted that they were asked.
func (a *Agent) ask(ctx context.Context, t thought) error {
	next := t.state
	next.Last = t.moment.Now
	if next.Asked.IsZero() {
		next.Asked = next.Last
	}
	if err := a.noteRestart(t.state, next); err != nil {
		return err
	}
	people, err := a.opt.Restart.People(ctx)
	if err != nil {
		return err
	}
	text := t.policy.Question(next, t.moment.Now, t.reasons)
	a.opt.Log.Info("asking for a restart", "people", len(people))
	later := t.policy.Deferrable(next, t.moment.Now) == ""
	err = a.opt.Restart.Put(ctx, people, text, later, t.policy.Repeat, func(p restart.Person, answer restart.Answer) {
		act := orderNow
		if answer == restart.PutOff {
			act = orderDefer
		}
		if err := sendOrder(a.opt.Dir, restartOrder{Act: act, At: a.opt.Now(), By: p.Name + " on the screen"}); err != nil {
			a.opt.Log.Warn("an answer to the question for a restart is lost", "err", err)
		}
		signal(a.toRestart)
	})
	if err != nil {
		a.opt.Log.Warn("not everybody could be asked for a restart", "err", err)
	}
	return nil
}

// warn tells the people that the device restarts soon.
func (a *Agent) warn(ctx context.Context, t thought) error {
	next := t.state
	next.Warned = t.moment.Now
	if err := a.noteRestart(t.state, next); err != nil {
		return err
	}
	people, err := a.opt.Restart.People(ctx)
	if err == nil {
		err = a.opt.Restart.Tell(ctx, people, restart.Warning(t.moment, t.reasons))
	}
	if err != nil {
		a.opt.Log.Warn("not everybody could be told of the restart", "err", err)
	}
	return nil
}

// begin restarts the device, after it is noted what is to be true afterwards. From then on nothing begins that the restart would
// cut short.
func (a *Agent) begin(ctx context.Context, t thought) (time.Time, error) {
	units, err := a.opt.Restart.Enabled(ctx)
	if err != nil {
		a.opt.Log.Warn("which services are to come back is not known", "err", err)
	}
	a.mu.Lock()
	kernels := a.restarts.found.Kernels
	a.mu.Unlock()
	next := t.state
	next.Step = &journal.RestartStep{At: t.moment.Now, Boot: a.opt.Device.BootID(), Kernel: kernels.Wants(), Units: units, Reasons: restart.Device(t.reasons)}
	next.Begun = append(slices.Clone(next.Begun), t.moment.Now)
	next.Begun = next.Begun[max(0, len(next.Begun)-restart.MaxRestarts):]
	why := restart.Names(next.Step.Reasons)
	if why == "" {
		why = "the plan, after what was installed"
	}
	if err := a.noteRestart(t.state, next, a.restartEvent("restarting", "the device restarts for "+why)); err != nil {
		return a.opt.Now().Add(restartEvery), err
	}
	if s := t.policy.Next(a.lastLook(t), t.state); s.Do != restart.Restart { // the disk may have been slow
		return a.opt.Now(), a.noteRestart(next, t.state, a.restartEvent("restart_not_done", s.Text))
	}
	defer a.doing("restarting the device")()
	err = a.opt.Restart.Restart(ctx)
	switch {
	case errors.Is(err, restart.ErrInhibited):
		a.restarts.heldUp, a.restarts.heldUntil = err.Error(), a.opt.Now().Add(inhibitedAgain)
		return a.opt.Now().Add(inhibitedAgain), a.noteRestart(next, t.state, a.restartEvent("restart_not_done", err.Error()))
	case err != nil && ctx.Err() == nil:
		undone := next
		undone.Step = t.state.Step
		return a.opt.Now().Add(restartEvery), errors.Join(err, a.noteRestart(next, undone, a.restartEvent("restart_not_done", err.Error())))
	}
	a.mu.Lock()
	a.restarts.down = a.opt.Now().Add(restartPatience) // and this process goes down with it
	until := a.restarts.down
	a.mu.Unlock()
	return until, nil
}

// goesDown reports whether the device was told to restart, and until when it is given the time to do it.
func (a *Agent) goesDown() (until time.Time, going bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	left := a.restarts.down.Sub(a.opt.Now())
	return a.restarts.down, left > 0 && left <= restartPatience
}

// lastLook is the moment of a thought, a little later.
func (a *Agent) lastLook(t thought) restart.Moment {
	now := a.thought().moment
	now.Present = t.moment.Present
	return now
}

// services restarts those that still run what was replaced, if the plan has it so; each once after an installation.
func (a *Agent) services(ctx context.Context, t thought) error {
	m := t.moment
	if t.plan == nil || !t.plan.Services || !m.Window.Open || m.Held != "" || m.Busy != "" {
		return nil
	}
	done := false
	for _, unit := range restart.Units(t.reasons) {
		st := a.journal.Restart()
		if slices.Contains(st.Serviced, unit) || !a.thought().moment.Window.Open {
			continue
		}
		next := st
		next.Serviced = append(slices.Clone(st.Serviced), unit)
		if err := a.noteRestart(st, next); err != nil {
			return err
		}
		if err := a.service(ctx, unit); err != nil {
			return err
		}
		done = true
	}
	if done {
		return a.stale(ctx, true)
	}
	return nil
}

// service restarts one service and says what became of it.
func (a *Agent) service(ctx context.Context, unit string) error {
	a.beat("restart")
	defer a.doing("restarting %s", unit)()
	err := a.opt.Restart.TryRestart(ctx, unit)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	kind, detail := "service_restarted", unit+" runs what was installed now"
	if err != nil {
		kind, detail = "service_failed", unit+": "+err.Error()
	}
	return a.write(journal.Record{Reports: []wire.Report{a.restartEvent(kind, detail)}})
}

func (a *Agent) restartEvent(kind, detail string) wire.Report {
	return wire.Report{ID: rand.Text(), At: a.opt.Now().UTC(), Event: kind, Detail: clip(strings.TrimSpace(detail), 1000)}
}

// heard does what somebody at the device said. What does not fit any more is said to nobody: who said it was told already.
func (a *Agent) heard() error {
	o, ok, err := takeOrder(a.opt.Dir)
	if err != nil || !ok {
		return err
	}
	a.restarts.heard = o.At
	t := a.thought()
	now, next := t.moment.Now, t.state
	age := now.Sub(o.At)
	if age < -time.Minute || age > restartPatience {
		return nil
	}
	if !t.moment.Due && !(t.moment.After && t.policy.When == wire.RestartAlways) {
		return nil
	}
	switch o.Act {
	case orderNow:
		next.Ordered = now
		return a.noteRestart(t.state, next, a.restartEvent("restart_ordered", o.By+" wants the restart now"))
	case orderDefer:
		if t.policy.Deferrable(next, now) != "" {
			return nil
		}
		if next.Asked.IsZero() {
			next.Asked, next.Last = now, now
		}
		next.Deferred++
		next.Until = now.Add(t.policy.Repeat)
		return a.noteRestart(t.state, next, a.restartEvent("restart_deferred", fmt.Sprintf("%s put the restart off until %s (%d times so far)", o.By, next.Until.UTC().Format(time.RFC3339), next.Deferred)))
	}
	return nil
}
