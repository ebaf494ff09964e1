package decide

import (
	"fmt"
	"slices"

	"assent/client"
	"assent/fleet"
	"assent/server/internal/conductor"
	"assent/task"
)

// noteRollouts notes the rollouts that are halted or wait for a person, of the tasks that reach into the groups that are looked at.
func (t *totals) noteRollouts() {
	for _, s := range t.Rollouts() {
		tk, ok := t.Task(s.Task)
		at := conductor.Current(s)
		if !ok || tk.ID != s.Task || !tk.Enabled || !at.NeedsPerson || !t.reaches(tk) {
			continue
		}
		u, known := t.Update(s.Update)
		if !known {
			continue
		}
		ring := ""
		if at.Ring.Ring != "" {
			ring = fmt.Sprintf(" at ring %q", at.Ring.Ring)
		}
		if at.Phase == client.RolloutHalted {
			t.halted = append(t.halted, fmt.Sprintf("The rollout of %s by %q is halted%s: %s See `assent rollout show %s %s`.", title(u), tk.Name, ring, at.Reason.Text, tk.ID, u.ID))
			continue
		}
		t.standing = append(t.standing, fmt.Sprintf("The rollout of %s by %q waits for a person%s: %s See `assent rollout show %s %s`.", title(u), tk.Name, ring, at.Reason.Text, tk.ID, u.ID))
	}
}

// reaches reports whether a task is for devices of the groups that are looked at.
func (t *totals) reaches(tk task.Task) bool {
	tree := t.Tree()
	return slices.ContainsFunc(tk.Targets.Groups, func(g fleet.GroupID) bool { return tree.Contains(t.group, g) || tree.Contains(g, t.group) })
}

// maxRollouts is how many rollouts are named one by one.
const maxRollouts = 5

// attentionRollouts speaks of the rollouts that need a person, the halted ones first.
func (t *totals) attentionRollouts() []string {
	all := slices.Concat(t.halted, t.standing)
	if n := len(all) - maxRollouts; n > 0 {
		all = append(all[:maxRollouts:maxRollouts], fmt.Sprintf("%s a person; see `assent rollout list --only needs_person`.", plural(n, "more rollout needs", "more rollouts need")))
	}
	return all
}
