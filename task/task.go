// Package task holds update installation tasks: what a task installs, where, and with which care.
//
// A task's rules are OR-ed; a task without rules does nothing (T1). This build knows the default task
// (T7), which makes approving enough; schedules, rings and criteria are added to Task by their own
// issue. The package is pure.
package task

import (
	"slices"

	"assent/approval"
	"assent/fleet"
)

// DefaultID names the task every server starts with.
const DefaultID = "default"

// Task is an update installation task.
type Task struct {
	ID      string        `json:"id"`
	Name    string        `json:"name"`
	Scope   fleet.GroupID `json:"scope"`
	Rules   []Rule        `json:"rules"`
	Options Options       `json:"options"`
}

// Rule is one line of a task: which statuses it admits.
type Rule struct {
	Admits []approval.Status `json:"admits"`
}

// Options are the T3 options that this build honours.
type Options struct {
	NewDependencies bool `json:"new_dependencies"` // new packages that an approval covers may come in (on by default)
	Removals        bool `json:"removals"`         // off; a removal always needs naming
}

// Default is the task of T7: "Install approved updates", root group, one rule that admits approved
// ones, any time, restart never.
func Default() Task {
	return Task{ID: DefaultID, Name: "Install approved updates", Scope: fleet.Root,
		Rules:   []Rule{{Admits: []approval.Status{approval.Approved}}},
		Options: Options{NewDependencies: true}}
}

// Admits reports whether any rule of the task admits an update of this status on a device in a group
// with this path (nearest first). A declined update is admitted by no rule of this build (C3).
func (t Task) Admits(path []fleet.GroupID, status approval.Status) bool {
	if status == approval.Declined || !slices.Contains(path, t.Scope) {
		return false
	}
	return slices.ContainsFunc(t.Rules, func(r Rule) bool { return slices.Contains(r.Admits, status) })
}
