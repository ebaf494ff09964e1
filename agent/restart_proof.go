package agent

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"assent/agent/internal/journal"
	"assent/agent/internal/restart"
	"assent/installation"
	"assent/wire"
)

// prove ends a restart that was begun: the device is back with the kernel and the services that it was to have, or it says
// what is missing. done is false while that cannot be said yet. Nothing is restarted a second time for the same.
func (a *Agent) prove(ctx context.Context) (done bool, err error) {
	st, boot, now := a.journal.Restart(), a.opt.Device.BootID(), a.opt.Now()
	step := st.Step
	if step == nil || !step.Back.IsZero() {
		return true, nil
	}
	if boot == step.Boot {
		next := st
		next.Step = nil
		return true, a.noteRestart(st, next, a.restartEvent("restart_not_done", "the restart that was begun at "+step.At.UTC().Format(time.RFC3339)+" did not happen"))
	}
	if a.restarts.back.IsZero() {
		a.restarts.back = now
	}
	problem, final := a.missing(ctx, *step)
	if problem != "" && !final && now.Sub(a.restarts.back) < backPatience {
		return false, nil
	}
	return true, a.proven(st, now, problem)
}

// missing is what is not there after a restart; final says that waiting does not bring it.
func (a *Agent) missing(ctx context.Context, step journal.RestartStep) (problem string, final bool) {
	a.mu.Lock()
	kernels := a.restarts.found.Kernels
	a.mu.Unlock()
	if !kernels.Runs(step.Kernel) {
		return fmt.Sprintf("the device came back with the kernel %s and not with %s", kernels.Running, step.Kernel), true
	}
	if len(step.Units) == 0 {
		return "", true
	}
	units, err := a.opt.Restart.Missing(ctx, step.Units)
	switch {
	case err != nil:
		return "which services are back is not known: " + err.Error(), false
	case len(units) > 0:
		return "these services ran before the restart and did not come back: " + strings.Join(units, ", "), false
	}
	return "", true
}

// proven writes down how a restart ended, for itself and for what waited for it.
func (a *Agent) proven(st journal.Restart, now time.Time, problem string) error {
	a.mu.Lock()
	device := restart.Device(a.reasons(a.snap))
	running := a.restarts.found.Kernels.Running
	a.mu.Unlock()
	step := *st.Step
	step.Back, step.Problem = now, clip(problem, 800)
	next := journal.Restart{Begun: st.Begun, Step: &step}
	for _, r := range step.Reasons {
		if slices.Contains(device, r) {
			next.Tried = append(next.Tried, r)
		}
	}
	detail := fmt.Sprintf("the device restarted at %s and is back with the kernel %s and %d services", step.At.UTC().Format(time.RFC3339), running, len(step.Units))
	rec := journal.Record{Restart: &next, Reports: []wire.Report{a.restartEvent("restarted", detail)}}
	if problem != "" {
		rec.Reports[0] = a.restartEvent("restart_failed", problem)
	}
	for id, e := range a.journal.Updates() {
		if e.State != installation.RestartRequired || e.Try.Boot == a.opt.Device.BootID() {
			continue
		}
		if problem == "" {
			rec.Reports = append(rec.Reports, a.report(id, installation.Installed, "", detail))
			rec.Tries = put(rec.Tries, id, journal.Try{Plan: e.Try.Plan})
			continue
		}
		try := a.lookAgain(wire.PlanRetries{}, journal.Try{}, e.Try.Plan, now)
		rec.Reports = append(rec.Reports, a.report(id, installation.Failed, installation.RestartFailed, afterRestart(try, problem)))
		rec.Tries = put(rec.Tries, id, try)
	}
	a.restarts.back = time.Time{}
	return a.write(rec)
}

func afterRestart(try journal.Try, problem string) string {
	return fmt.Sprintf("it is installed, but %s (looked at again after %s)", clip(problem, 700), try.Next.UTC().Format(time.RFC3339))
}

// proving reports whether a restart of ours still has to be proven: until then nobody says that all is well.
func (a *Agent) proving() bool {
	step := a.journal.Restart().Step
	return a.opt.Restart != nil && step != nil && step.Back.IsZero() && step.Boot != a.opt.Device.BootID()
}

// unwell is what the last restart left undone for any of these orders and still is; empty where there is nothing.
func (a *Agent) unwell(ctx context.Context, orders []order) string {
	st := a.journal.Restart()
	failed := slices.ContainsFunc(orders, func(o order) bool { return a.journal.Entry(o.Update).Cause == installation.RestartFailed })
	if a.opt.Restart == nil || !failed || st.Step == nil || st.Step.Problem == "" {
		return ""
	}
	problem, _ := a.missing(ctx, *st.Step)
	return problem
}
