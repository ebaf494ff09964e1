package tasks

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"assent/client"
	"assent/fault"
	"assent/fleet"
	"assent/ledger"
	"assent/server/internal/auth"
	"assent/server/internal/index"
	"assent/task"
)

// reserved are ids that are addresses of something else.
var reserved = []string{"fields", "complete", "preview", "new", "recipes"}

// Put makes a task, or changes the one with its id. Groups may be given by name.
func (s *Service) Put(ctx context.Context, who auth.Actor, r client.TaskRequest) (client.TaskSaved, error) {
	var saved task.Task
	act, err := s.act(ctx, who, func(d *desk) (ledger.Body, error) {
		old, there := d.Task(r.Task.ID)
		there = there && old.ID == r.Task.ID
		if err := current(r, old, there); err != nil {
			return nil, err
		}
		if there {
			if err := d.may(old); err != nil {
				return nil, err
			}
		}
		t, err := d.check(r.Task)
		if err != nil {
			return nil, err
		}
		if err := d.may(t); err != nil {
			return nil, err
		}
		if saved = t; there && Version(old) == Version(t) {
			return nil, nil
		}
		return ledger.TaskSet{Task: t}, nil
	})
	if err != nil {
		return client.TaskSaved{}, err
	}
	return s.saved(ctx, who, saved, act)
}

// Switch switches a task on or off.
func (s *Service) Switch(ctx context.Context, who auth.Actor, ref string, r client.TaskChange) (client.TaskSaved, error) {
	var saved task.Task
	act, err := s.act(ctx, who, func(d *desk) (ledger.Body, error) {
		t, err := d.find(ref)
		if err != nil {
			return nil, err
		}
		if err := d.may(t); err != nil {
			return nil, err
		}
		same := t.Enabled == r.Enabled
		t.Enabled = r.Enabled
		if saved = t; same {
			return nil, nil
		}
		return ledger.TaskSet{Task: t}, nil
	})
	if err != nil {
		return client.TaskSaved{}, err
	}
	return s.saved(ctx, who, saved, act)
}

// Remove removes a task. What it installs at that moment is finished (C7).
func (s *Service) Remove(ctx context.Context, who auth.Actor, ref string) (client.Act, error) {
	return s.act(ctx, who, func(d *desk) (ledger.Body, error) {
		t, err := d.find(ref)
		if err != nil {
			return nil, err
		}
		if err := d.may(t); err != nil {
			return nil, err
		}
		return ledger.TaskRemove{ID: t.ID}, nil
	})
}

// act makes an act of an administrator.
func (s *Service) act(ctx context.Context, who auth.Actor, build func(d *desk) (ledger.Body, error)) (client.Act, error) {
	entry, err := s.index.Act(ctx, who.Name, func(v *index.View) (ledger.Body, error) {
		return build(&desk{View: v, who: who, now: s.index.Now().UTC()})
	})
	if err == nil && entry.Seq != 0 {
		s.log.Info("task changed", "act", entry.Seq, "kind", entry.Kind, "by", who.Name)
	}
	return client.Act{Act: entry.Seq, At: entry.At}, err
}

// saved is the answer to a change, with what is probably not meant in it.
func (s *Service) saved(ctx context.Context, who auth.Actor, t task.Task, act client.Act) (client.TaskSaved, error) {
	out := client.TaskSaved{Act: act, Unchanged: act.Act == 0}
	var err error
	s.index.View(func(v *index.View) {
		d := &desk{View: v, who: who, now: s.index.Now().UTC()}
		out.TaskRow = d.row(t)
		_, out.Warnings, err = d.figures(ctx, t)
	})
	if err != nil { // the act is durable: a preview tells as well
		s.log.Warn("the figures of a task could not be counted", "act", act.Act, "error", err)
	}
	return out, nil
}

// current refuses a change that was made from something else than what is there now.
func current(r client.TaskRequest, old task.Task, there bool) error {
	switch {
	case r.IfVersion == "" || there && r.IfVersion == Version(old):
		return nil
	case r.IfVersion == client.NewTask && there:
		return fault.New(fault.Conflict, "task_there", "There is a task with the id %q already, %q.", old.ID, old.Name).On("id")
	case r.IfVersion == client.NewTask:
		return nil
	case !there:
		return fault.New(fault.Conflict, "task_gone", "The task %.80q was removed in the meantime.", r.Task.ID).On("if_version")
	}
	return fault.New(fault.Conflict, "task_changed", "Somebody changed the task %q in the meantime; look at it again before you change it.", old.Name).On("if_version")
}

// may refuses an actor who is not an administrator in all groups of a task.
func (d *desk) may(t task.Task) error {
	for _, g := range t.Targets.Groups {
		if err := d.who.Can(ledger.Administrator, d.Tree(), g); err != nil {
			return err
		}
	}
	return nil
}

// check is a task as it would be saved, with groups by their ids, or everything that is wrong with it.
func (d *desk) check(t task.Task) (task.Task, error) {
	t, found := d.resolved(t)
	for _, e := range task.Validate(t, d.Tree()) {
		if !slices.ContainsFunc(found, func(o *fault.Error) bool { return o.Field == e.Field }) {
			found = append(found, e)
		}
	}
	if slices.Contains(reserved, t.ID) {
		found = append(found, fault.New(fault.Invalid, "task_id", "The id %q is taken by an address of the API; choose another one.", t.ID).On("id"))
	}
	for _, o := range d.Tasks().Tasks() {
		if o.ID != t.ID && strings.EqualFold(o.Name, t.Name) { // a reference finds tasks by name, whatever the case
			found = append(found, fault.New(fault.Conflict, "task_name", "There is a task %q already.", o.Name).On("name"))
		}
		if o.ID != t.ID && (strings.EqualFold(o.ID, t.Name) || strings.EqualFold(o.Name, t.ID)) {
			found = append(found, fault.New(fault.Conflict, "task_name", "The task %q has the name or the id of this one the other way round; references could mean both.", o.Name).On("name"))
		}
	}
	return t, fault.Join(found)
}

// resolved is a task with the ids of the groups that it names. A name that no group has stays, and is told.
func (d *desk) resolved(t task.Task) (task.Task, []*fault.Error) {
	var found []*fault.Error
	list := func(field string, refs []fleet.GroupID) []fleet.GroupID {
		out := slices.Clone(refs)
		for i, ref := range refs {
			g, ok := d.Tree().Find(string(ref))
			if !ok {
				found = append(found, fault.New(fault.Invalid, "group_unknown", "There is no group %.80q; `assent group list` shows all.", string(ref)).On(fmt.Sprintf("%s[%d]", field, i)))
				continue
			}
			out[i] = g.ID
		}
		return out
	}
	t.Targets.Groups, t.Targets.Exclude = list("targets.groups", t.Targets.Groups), list("targets.exclude", t.Targets.Exclude)
	t.Rings = slices.Clone(t.Rings)
	for i := range t.Rings {
		t.Rings[i].Groups = list(fmt.Sprintf("rings[%d].groups", i), t.Rings[i].Groups)
	}
	return t, found
}
