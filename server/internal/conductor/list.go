package conductor

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"assent/catalog"
	"assent/client"
	"assent/fault"
	"assent/fleet"
	"assent/installation"
	"assent/ledger"
	"assent/rollout"
	"assent/server/internal/auth"
	"assent/server/internal/index"
	"assent/task"
)

// Rollouts lists the rollouts of the tasks that reach into the actor's groups: those that need a person first, then those that
// go on, the youngest first.
func (c *Conductor) Rollouts(_ context.Context, who auth.Actor, q client.RolloutQuery) (client.List[client.RolloutRow], error) {
	out := client.List[client.RolloutRow]{Items: []client.RolloutRow{}}
	if q.Only != "" && !slices.Contains(client.RolloutOnlies(), q.Only) {
		return out, fault.New(fault.Invalid, "only_unknown", "There is no kind %q of rollouts; choose one of %v.", shorten(string(q.Only)), client.RolloutOnlies()).On("only")
	}
	var err error
	c.index.View(func(v *index.View) { err = list(v, who, q, &out) })
	slices.SortStableFunc(out.Items, func(a, b client.RolloutRow) int {
		return cmp.Or(cmp.Compare(urgency(a), urgency(b)), b.Started.Compare(a.Started), cmp.Compare(a.Task.Name, b.Task.Name), cmp.Compare(a.Update.Name, b.Update.Name))
	})
	out.Total = len(out.Items)
	return out, err
}

func list(v *index.View, who auth.Actor, q client.RolloutQuery, out *client.List[client.RolloutRow]) error {
	var update catalog.UpdateID
	if q.Update != "" {
		u, err := v.Resolve(q.Update)
		if err != nil {
			return err
		}
		update = u.ID
	}
	var only task.Task
	if q.Task != "" {
		var err error
		if only, err = find(v, who, q.Task); err != nil {
			return err
		}
	}
	tasks := map[string]task.Task{}
	for _, t := range v.Tasks().Tasks() {
		if visible(v, who, t) && (q.Task == "" || t.ID == only.ID) {
			tasks[t.ID] = t
		}
	}
	for _, s := range v.Rollouts() {
		t, shown := tasks[s.Task]
		if !shown || update != "" && s.Update != update {
			continue
		}
		if row := rowOf(v, t, s); fits(row, q.Only) {
			out.Items = append(out.Items, row)
		}
	}
	return nil
}

// urgency orders rows: what needs a person, what goes on, what is through.
func urgency(r client.RolloutRow) int {
	switch {
	case r.NeedsPerson:
		return 0
	case r.Phase == client.RolloutFinished:
		return 2
	}
	return 1
}

func fits(r client.RolloutRow, only client.RolloutOnly) bool {
	switch only {
	case client.RolloutsHalted:
		return r.Phase == client.RolloutHalted
	case client.RolloutsWaiting:
		return r.NeedsPerson
	case client.RolloutsRunning:
		return r.Phase != client.RolloutHalted && r.Phase != client.RolloutFinished
	case client.RolloutsFinished:
		return r.Phase == client.RolloutFinished
	}
	return true
}

// Rollout shows a rollout with all its rings.
func (c *Conductor) Rollout(_ context.Context, who auth.Actor, taskRef, update string) (out client.RolloutDetail, err error) {
	c.index.View(func(v *index.View) {
		var t task.Task
		var u index.Update
		if t, u, err = resolve(v, who, taskRef, update); err != nil {
			return
		}
		s, begun := v.Rollout(t.ID, u.ID)
		if !begun {
			err = notBegun(t, u)
			return
		}
		out = detail(v, who, t, s)
	})
	return out, err
}

func notBegun(t task.Task, u index.Update) error {
	return fault.New(fault.NotFound, "rollout_unknown", "The task %q has not begun to roll out %s %s; it begins by itself as soon as the task admits it to a device.", t.Name, u.Name, u.Version).On("update")
}

// resolve finds a task that the actor may see, and an update.
func resolve(v *index.View, who auth.Actor, taskRef, update string) (t task.Task, u index.Update, err error) {
	if t, err = find(v, who, taskRef); err != nil {
		return t, u, err
	}
	u, err = v.Resolve(update)
	return t, u, err
}

// find finds a task that the actor may see. Others do not exist for them.
func find(v *index.View, who auth.Actor, ref string) (task.Task, error) {
	if t, ok := v.Task(ref); ok && visible(v, who, t) {
		return t, nil
	}
	return task.Task{}, fault.New(fault.NotFound, "task_unknown", "There is no task %q; `assent task list` shows all.", shorten(ref)).On("task")
}

// visible reports whether a task reaches into the part of the tree in which the actor may look.
func visible(v *index.View, who auth.Actor, t task.Task) bool {
	return who.Can(ledger.Viewer, v.Tree(), who.Scope) == nil && slices.ContainsFunc(t.Targets.Groups, func(g fleet.GroupID) bool {
		return v.Tree().Contains(who.Scope, g) || v.Tree().Contains(g, who.Scope)
	})
}

// rowOf is the line of a rollout.
func rowOf(v *index.View, t task.Task, s rollout.State) client.RolloutRow {
	row := client.RolloutRow{Task: client.TaskRef{ID: t.ID, Name: t.Name}, Update: refOf(v, s.Update), Started: s.Started, Since: s.Started}
	if s.Superseded != "" {
		newer := refOf(v, s.Superseded)
		row.Superseded = &newer
	}
	at := Current(s)
	row.Phase, row.Ring, row.Reason = at.Phase, at.Ring.Ring, at.Reason
	row.NeedsPerson, row.Rate = at.NeedsPerson, at.Ring.Progress.Rate()
	if !at.Ring.Since.IsZero() {
		row.Since = at.Ring.Since
	}
	if s.Stop != nil {
		row.Since = s.Stop.At
	}
	return row
}

// Standing is where a whole rollout stands.
type Standing struct {
	Phase       client.RolloutPhase
	Ring        rollout.RingState // the one it is at; the zero value where there is none
	Reason      rollout.Reason
	NeedsPerson bool
}

// Current says where a whole rollout stands.
func Current(s rollout.State) Standing {
	out := Standing{Phase: client.RolloutOpen, Reason: rollout.Reason{Code: rollout.RingsOpen, Text: "The task has no rings: nothing stands against installing."}}
	through := func(r rollout.RingState) bool { return r.Phase == rollout.Passed || r.Phase == rollout.Skipped }
	i := slices.IndexFunc(s.Rings, func(r rollout.RingState) bool { return !through(r) })
	if i >= 0 {
		out.Ring = s.Rings[i]
		out.Reason, out.Phase = out.Ring.Reason, phaseOf(out.Ring.Phase)
	} else if n := len(s.Rings); n > 0 {
		out.Ring = s.Rings[n-1]
		out.Reason, out.Phase = out.Ring.Reason, client.RolloutFinished
	}
	if s.Stop != nil {
		out.Phase, out.Reason = client.RolloutHalted, s.Stop.Reason
		out.Ring, _ = s.Ring(s.Stop.Ring)
		out.Ring.Ring = s.Stop.Ring
	}
	out.NeedsPerson = out.Phase != client.RolloutFinished && out.Reason.Code.NeedsPerson() && s.Superseded == ""
	return out
}

func phaseOf(p rollout.Phase) client.RolloutPhase {
	switch p {
	case rollout.Running:
		return client.RolloutRunning
	case rollout.Soaking:
		return client.RolloutSoaking
	}
	return client.RolloutWaiting
}

// refOf names an update; one that the catalog does not know any more by its id alone.
func refOf(v *index.View, id catalog.UpdateID) client.UpdateRef {
	u, ok := v.Update(id)
	if !ok {
		return client.UpdateRef{ID: id}
	}
	return client.UpdateRef{ID: u.ID, PURL: u.PURL(), Name: u.Name, Version: u.Version}
}

func detail(v *index.View, who auth.Actor, t task.Task, s rollout.State) client.RolloutDetail {
	out := client.RolloutDetail{RolloutRow: rowOf(v, t, s), Run: s.Run, Clock: s.Clock, Rings: []client.RolloutRing{}, Acts: slices.Clone(s.Acts)}
	if out.Acts == nil {
		out.Acts = []rollout.Act{}
	}
	if s.Stop != nil {
		out.Halted, out.By = s.Stop.At, s.Stop.By
	}
	for _, r := range s.Rings {
		ring := client.RolloutRing{Ring: r.Ring, Groups: []string{}, Phase: r.Phase, Reason: r.Reason, Since: r.Since, Opened: r.Opened, OpenedBy: r.OpenedBy,
			Soaked: r.Soaked.String(), Soak: rollout.Span(0).String(), Rate: r.Progress.Rate(), Progress: r.Progress, Failures: failures(v, who, s.Update, r)}
		if i := slices.IndexFunc(t.Rings, func(o rollout.Ring) bool { return o.Name == r.Ring }); i >= 0 {
			ring.Soak = t.Rings[i].Soak.String()
			for _, id := range t.Rings[i].Groups {
				if g, ok := v.Tree().Get(id); ok && (v.Tree().Contains(who.Scope, id) || v.Tree().Contains(id, who.Scope)) {
					ring.Groups = append(ring.Groups, g.Name)
				}
			}
		}
		out.Rings = append(out.Rings, ring)
	}
	return out
}

// failures are the devices that count as failed in a ring, as far as the actor may see them.
func failures(v *index.View, who auth.Actor, update catalog.UpdateID, r rollout.RingState) []client.RolloutDevice {
	var out []client.RolloutDevice
	for _, id := range slices.Sorted(maps.Keys(r.Marks)) {
		m := r.Marks[id]
		d, known := v.Device(id)
		if m.Standing != rollout.Failed && m.Standing != rollout.Silent || !known || who.Can(ledger.Viewer, v.Tree(), d.Group) != nil {
			continue
		}
		row, _ := d.Install(update)
		said := row.Detail
		if row.Cause == installation.ProbeFailed {
			said = "health probe failed; " + said
		}
		out = append(out, client.RolloutDevice{Device: id, Name: d.Name, Standing: m.Standing, Since: m.Since, Detail: said, Forgiven: m.Forgiven})
		if len(out) == client.MaxRolloutFailures {
			break
		}
	}
	return out
}

// shorten makes what a caller gave fit for a message.
func shorten(s string) string {
	if r := []rune(s); len(r) > 80 {
		return string(r[:80]) + "…"
	}
	return s
}
