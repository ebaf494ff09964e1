package ledger

import (
	"slices"

	"assent/catalog"
	"assent/fault"
	"assent/fleet"
	"assent/rollout"
	"assent/task"
)

// The acts on update installation tasks and on how their rings open.
type (
	// TaskSet makes a task, or changes it.
	TaskSet struct {
		Task task.Task `json:"task"`
	}
	// TaskRemove removes a task. What it installs at that moment is finished.
	TaskRemove struct {
		ID string `json:"id"`
	}
	// RolloutStep says that a rollout went on or was halted: by outcome, then Verb is empty and the server made it, or by a
	// person. The state of a rollout follows from what devices report, so it is no part of the ledger's state (T6).
	RolloutStep struct {
		Task        string               `json:"task"`
		Update      catalog.UpdateID     `json:"update"`
		Release     catalog.Release      `json:"release"`
		Verb        rollout.Verb         `json:"verb,omitempty"`
		Ring        string               `json:"ring,omitempty"`
		Why         string               `json:"why,omitempty"`
		Transitions []rollout.Transition `json:"transitions,omitempty"`
	}
)

// Kind names what each act is.
func (TaskSet) Kind() Kind     { return "task.set" }
func (TaskRemove) Kind() Kind  { return "task.remove" }
func (RolloutStep) Kind() Kind { return "rollout.step" }

// AllTasks lists the tasks, with the default one as every server starts with it unless it was changed (T7).
func (s *State) AllTasks() []task.Task {
	var out []task.Task
	if _, changed := s.Tasks[task.DefaultID]; !changed {
		out = append(out, task.Default())
	}
	for _, t := range s.Tasks {
		out = append(out, t)
	}
	return out
}

func (s *State) setTask(b TaskSet) error {
	if err := task.Invalid(b.Task, s.Tree()); err != nil {
		return err
	}
	for _, t := range s.Tasks {
		if t.ID != b.Task.ID && t.Name == b.Task.Name {
			return fault.New(fault.Conflict, "task_name", "There is a task %q already.", t.Name).On("name")
		}
	}
	s.Tasks[b.Task.ID] = b.Task
	return nil
}

func (s *State) removeTask(b TaskRemove) error {
	if b.ID == task.DefaultID {
		return fault.New(fault.Conflict, "task_default", "The default task stays; disable it instead.").On("task")
	}
	return remove(s.Tasks, b.ID, "task")
}

// taskFor finds a task that names a group.
func (s *State) taskFor(id fleet.GroupID) (task.Task, bool) {
	for _, t := range s.Tasks {
		if slices.Contains(t.Targets.Groups, id) || slices.Contains(t.Targets.Exclude, id) ||
			slices.ContainsFunc(t.Rings, func(r rollout.Ring) bool { return slices.Contains(r.Groups, id) }) {
			return t, true
		}
	}
	return task.Task{}, false
}
