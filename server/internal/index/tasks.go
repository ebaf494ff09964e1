package index

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"assent/catalog"
	"assent/fleet"
	"assent/installation"
	"assent/ledger"
	"assent/rollout"
	"assent/server/internal/store"
	"assent/slot"
	"assent/task"
)

// taskTable is the tasks as plans ask them, and how far updates are through their rings.
type taskTable struct {
	set      task.Set
	selects  bool // a task looks at more of a device than its group: devices do not share plans
	rollouts map[rolloutKey]store.RolloutRow
	capped   []string              // ids of the tasks with a cap
	slots    map[string]slot.State // who has a turn in them
	next     *store.RolloutRow     // what the act that is being made brings; only while acts is held
}

type rolloutKey struct {
	task   string
	update catalog.UpdateID
}

// compileTasks takes the tasks from the state, which let only in what compiles. The caller holds x.mu.
func (x *Index) compileTasks() {
	set, err := task.NewSet(x.state.AllTasks()...)
	if err != nil { // a build that understands less than the one that wrote it: nothing installs, and the log says why
		x.log.Error("the tasks cannot be used; nothing is installed until they can", "err", err)
		set = task.Set{}
	}
	_, device := set.Reads()
	x.tasks.set, x.tasks.selects, x.tasks.capped = set, len(device) > 0, nil
	for _, t := range set.Tasks() {
		if !t.MaxConcurrent.None() {
			x.tasks.capped = append(x.tasks.capped, t.ID)
		}
	}
}

// loadRollouts reads how far updates are through the rings of tasks.
func (x *Index) loadRollouts(ctx context.Context) error {
	all := map[rolloutKey]store.RolloutRow{}
	err := x.store.LoadRollouts(ctx, func(s store.RolloutRow) error {
		all[rolloutKey{s.Task, s.Update}] = s
		return nil
	})
	if err != nil {
		return fmt.Errorf("load rollouts: %w", err)
	}
	x.mu.Lock()
	x.tasks.rollouts = all
	x.mu.Unlock()
	return x.loadSlots(ctx)
}

// RereadRollouts takes the rollouts as the store has them: what another server did with them, and not what this one only
// remembered.
func (x *Index) RereadRollouts(ctx context.Context) error {
	x.acts.Lock()
	defer x.acts.Unlock()
	if err := x.catchUp(ctx); err != nil {
		return err
	}
	return x.loadRollouts(ctx)
}

// Tasks are the installation tasks in their order.
func (v *View) Tasks() task.Set { return v.x.tasks.set }

// Task finds a task by its id or its name.
func (v *View) Task(ref string) (task.Task, bool) {
	all := v.x.tasks.set.Tasks()
	for _, is := range []func(task.Task) bool{
		func(t task.Task) bool { return t.ID == ref },
		func(t task.Task) bool { return strings.EqualFold(t.Name, ref) },
	} {
		if i := slices.IndexFunc(all, is); i >= 0 {
			return all[i], true
		}
	}
	return task.Task{}, false
}

// Rollout is how far an update is through the rings of a task.
func (v *View) Rollout(id string, update catalog.UpdateID) (rollout.State, bool) {
	s, ok := v.x.tasks.rollouts[rolloutKey{id, update}]
	return s.State, ok
}

// Rollouts lists all of them, by task and update.
func (v *View) Rollouts() []rollout.State {
	out := make([]rollout.State, 0, len(v.x.tasks.rollouts))
	for _, s := range v.x.tasks.rollouts {
		out = append(out, s.State)
	}
	slices.SortFunc(out, func(a, b rollout.State) int {
		return cmp.Or(cmp.Compare(a.Task, b.Task), cmp.Compare(a.Update, b.Update))
	})
	return out
}

// Rollout is known's answer to plan.Compute.
func (k known) Rollout(id string, update catalog.UpdateID) (rollout.State, bool) {
	s, ok := k.x.tasks.rollouts[rolloutKey{id, update}]
	return s.State, ok
}

// StepRollout makes an act that takes a rollout further: build says what happened and what the state is then. When it returns a
// nil step nothing happens. Entry and state are one transaction. When another server took the rollout further meanwhile, build
// is called again with what became of it.
func (x *Index) StepRollout(ctx context.Context, by string, build func(v *View) (*ledger.RolloutStep, rollout.State, error)) (ledger.Entry, error) {
	var next store.RolloutRow
	return x.ActBeside(ctx, by, func(v *View) (ledger.Body, error) {
		step, state, err := build(v)
		if err != nil || step == nil {
			return nil, err
		}
		next = store.RolloutRow{State: state, Version: x.tasks.rollouts[rolloutKey{state.Task, state.Update}].Version}
		x.tasks.next = &next
		return *step, nil
	}, store.BesideRollout(func() store.RolloutRow { return next }))
}

// SaveRollout keeps a state that went on without a step: marks and times (rollout.WorthSaving). Where the task is gone it does
// nothing: its rollouts went with it.
func (x *Index) SaveRollout(ctx context.Context, s rollout.State) error {
	x.acts.Lock()
	defer x.acts.Unlock()
	if !x.hasTask(s.Task) {
		return nil
	}
	x.mu.RLock()
	row := store.RolloutRow{State: s, Version: x.tasks.rollouts[rolloutKey{s.Task, s.Update}].Version}
	x.mu.RUnlock()
	err := x.store.SaveRollouts(ctx, []store.RolloutRow{row})
	if errors.Is(err, store.ErrMoved) {
		err = errors.Join(err, x.rereadRollout(ctx, rolloutKey{s.Task, s.Update}))
	}
	if err != nil {
		return fmt.Errorf("save the rollout of %s by %s: %w", s.Update, s.Task, err)
	}
	row.Version++
	x.mu.Lock()
	defer x.mu.Unlock()
	x.tasks.rollouts[rolloutKey{s.Task, s.Update}] = row
	return nil
}

// rereadRollout takes a state as the store has it.
func (x *Index) rereadRollout(ctx context.Context, k rolloutKey) error {
	row, there, err := x.store.Rollout(ctx, k.task, k.update)
	if err != nil {
		return fmt.Errorf("read the rollout of %s by %s again: %w", k.update, k.task, err)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if there {
		x.tasks.rollouts[k] = row
	} else {
		delete(x.tasks.rollouts, k)
	}
	return nil
}

// RememberRollout keeps a state in memory only: what a restart may lose.
func (x *Index) RememberRollout(s rollout.State) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if k := (rolloutKey{s.Task, s.Update}); x.hasTask(s.Task) {
		x.tasks.rollouts[k] = store.RolloutRow{State: s, Version: x.tasks.rollouts[k].Version}
	}
}

// hasTask reports whether there is a task with this id. The caller holds x.acts or x.mu.
func (x *Index) hasTask(id string) bool {
	_, changed := x.state.Tasks[id]
	return changed || id == task.DefaultID
}

// stepped makes the state of a rollout visible after its act. That of another server's act is read from the store (catchUp).
// The caller holds x.mu.
func (x *Index) stepped(b ledger.RolloutStep) {
	if n := x.tasks.next; n != nil && n.Task == b.Task && n.Update == b.Update {
		x.tasks.rollouts[rolloutKey{n.Task, n.Update}] = store.RolloutRow{State: n.State, Version: n.Version + 1}
	}
	x.tasks.next = nil
}

// forgetRollouts drops the rollouts of a task that is gone. The caller holds x.mu; the store drops them with the task.
func (x *Index) forgetRollouts(id string) {
	delete(x.tasks.slots, id)
	for k := range x.tasks.rollouts {
		if k.task == id {
			delete(x.tasks.rollouts, k)
		}
	}
}

// putInstall keeps what a device reported last of an update, and whether its probes failed there. The caller holds x.mu.
func (d *device) putInstall(row *store.InstallRow) {
	d.installs[row.Update] = row
	if row.Cause == installation.ProbeFailed {
		if d.unfit == nil {
			d.unfit = map[catalog.UpdateID]time.Time{}
		}
		d.unfit[row.Update] = row.Since
		return
	}
	delete(d.unfit, row.Update)
}

// unfitKey is a text that is equal for equal answers to which updates failed their probes on a device, and when.
func (d *device) unfitKey() string {
	if len(d.unfit) == 0 {
		return ""
	}
	var out []string
	for id, at := range d.unfit {
		out = append(out, fmt.Sprintf("%s %d", id, at.UnixNano()))
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// groupNames names a group and all above it, nearest first.
func (v *View) groupNames(path []fleet.GroupID) []string {
	out := make([]string, 0, len(path))
	for _, id := range path {
		if g, ok := v.x.tree.Get(id); ok {
			out = append(out, g.Name)
		}
	}
	return out
}
