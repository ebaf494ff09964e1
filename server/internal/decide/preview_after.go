package decide

import (
	"slices"

	"assent/approval"
	"assent/catalog"
	"assent/fleet"
	"assent/ledger"
	"assent/plan"
	"assent/server/internal/index"
	"assent/window"
)

// installed adds what follows from the installs that an act brings to n devices with one set of facts.
func (p *previewer) installed(v *index.View, fresh []plan.Verdict, n int) {
	restart := false
	tasks := map[string]bool{}
	for _, verdict := range fresh {
		tasks[verdict.Task] = true
		u, ok := v.Update(verdict.Update)
		if !ok || u.Published == nil {
			continue
		}
		restart = restart || u.Published.Restart == catalog.RestartDevice
		if !u.Published.Removal.Removable {
			p.out.Permanent += n
		}
	}
	if restart {
		p.out.Restarts += n
	}
	for name := range tasks {
		p.tasks[name] += n
		if p.when[name] == "" {
			p.when[name] = whenOf(v, name)
		}
	}
}

// whenOf says in words when a task installs.
func whenOf(v *index.View, name string) string {
	t, _ := v.Task(name)
	w, err := window.Parse(t.Schedule)
	if err != nil { // the ledger lets no such task in; one of a newer build holds
		return "never: its schedule cannot be read"
	}
	return w.Describe()
}

// kept adds, for a decline, the updates that stay on n devices with one set of facts, by whether an order could roll
// them back there: what plan.Compute would say to the orders.
func (p *previewer) kept(v *index.View, d index.Device, after []plan.Verdict, n int) {
	if p.act.body.Status != approval.Declined {
		return
	}
	in := v.PlanInputAt(d, p.now, p.act.after)
	in.Rollbacks = slices.Clone(in.Rollbacks)
	var stays []*previewed
	for _, verdict := range after {
		u := p.updates[verdict.Update]
		if u == nil || !u.named || !verdict.Installed || verdict.Action == plan.Remove {
			continue
		}
		stays = append(stays, u)
		in.Rollbacks = append(in.Rollbacks, ledger.Rollback{Act: v.State().Seq + 2, UpdateRollback: ledger.UpdateRollback{Update: verdict.Update, Scope: p.act.body.Scope, Devices: []fleet.DeviceID{d.ID}}})
	}
	if len(stays) == 0 {
		return
	}
	ordered := byUpdate(plan.Compute(in).Verdicts)
	for _, u := range stays {
		if ordered[u.ID].Action == plan.Remove {
			u.CanGoBack, p.out.CanGoBack = u.CanGoBack+n, p.out.CanGoBack+n
		} else {
			u.CannotGoBack, p.out.CannotGoBack = u.CannotGoBack+n, p.out.CannotGoBack+n
		}
	}
}
