package task

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	"assent/approval"
	"assent/criteria"
	"assent/fault"
	"assent/fleet"
	"assent/window"
)

// Set is the tasks of a server in the stated order, compiled. It never changes and is safe for concurrent use. The zero
// value has no task and installs nothing.
type Set struct{ tasks []*compiled }

// compiled is a task with everything in it that is compiled once.
type compiled struct {
	Task
	selection criteria.Selection
	rules     []criteria.Rule
	windows   window.Windows
}

// NewSet compiles tasks and puts them into the stated order. The error is a *fault.Error that names the task and the field; a
// task that Validate passed compiles.
func NewSet(tasks ...Task) (Set, error) {
	var s Set
	for _, t := range tasks {
		c, err := compile(t)
		if err != nil {
			return Set{}, err
		}
		if slices.ContainsFunc(s.tasks, func(o *compiled) bool { return o.ID == t.ID }) {
			return Set{}, fault.New(fault.Invalid, "task_twice", "There are two tasks with the id %q.", t.ID).On("id")
		}
		s.tasks = append(s.tasks, c)
	}
	slices.SortFunc(s.tasks, func(a, b *compiled) int { return compareOrder(a.Task, b.Task) })
	return s, nil
}

// DefaultSet is the set of the default task alone (T7).
func DefaultSet() Set {
	return Set{tasks: []*compiled{{Task: Default(), rules: []criteria.Rule{{}}}}}
}

// OnlyDefault reports whether there is nothing to tell of tasks but the default one as every server starts with it.
func (s Set) OnlyDefault() bool {
	return len(s.tasks) == 1 && s.tasks[0].ID == DefaultID && len(s.tasks[0].Rules) == 1 && s.tasks[0].Rules[0] == Rule{Admits: Approved}
}

// compareOrder is the stated order: by number, the default task last, then by id.
func compareOrder(a, b Task) int {
	last := func(t Task) int {
		if t.ID == DefaultID {
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(a.Order, b.Order), cmp.Compare(last(a), last(b)), cmp.Compare(a.ID, b.ID))
}

func compile(t Task) (*compiled, error) {
	c := &compiled{Task: t}
	in := func(field string, err error) error {
		f := fault.From(err)
		return fault.New(f.Kind, f.Code, "Task %q: %s", t.Name, f.Message).On(field).Because(err)
	}
	var err error
	if c.selection, err = criteria.CompileSelection(t.Targets.Selection); err != nil {
		return nil, in("targets.selection", err)
	}
	for i, r := range t.Rules {
		rule, err := criteria.CompileRule(r.Criteria)
		if err != nil {
			return nil, in(fmt.Sprintf("rules[%d].criteria", i), err)
		}
		c.rules = append(c.rules, rule)
	}
	if c.windows, err = window.Parse(t.Schedule); err != nil {
		return nil, in("schedule", err)
	}
	return c, nil
}

// Tasks lists the tasks in the stated order.
func (s Set) Tasks() []Task {
	out := make([]Task, len(s.tasks))
	for i, c := range s.tasks {
		out[i] = c.Task
	}
	return out
}

// Len is the number of tasks.
func (s Set) Len() int { return len(s.tasks) }

// Reads lists the fields of updates and of devices that the answers of the enabled tasks depend on, sorted: for caches.
func (s Set) Reads() (update, device []string) {
	for _, c := range s.tasks {
		if !c.Enabled {
			continue
		}
		device = append(device, c.selection.Reads()...)
		for _, r := range c.rules {
			update = append(update, r.Reads()...)
		}
		if c.Options.HoldNewMajor {
			update = append(update, "new_major")
		}
	}
	slices.Sort(update)
	slices.Sort(device)
	return slices.Compact(update), slices.Compact(device)
}

// On says which tasks cover a device. The path is the device's group and its ancestors, nearest first.
func (s Set) On(path []fleet.GroupID, d criteria.Device) Here {
	h := Here{device: d}
	for _, c := range s.tasks {
		covers, why, err := c.covers(path, d)
		if covers || err != nil || why == NotSelected {
			h.turns = sooner(h.turns, c.selection.Turns(d))
		}
		switch {
		case covers:
			h.covering = append(h.covering, covering{compiled: c})
		case err != nil:
			h.covering = append(h.covering, covering{compiled: c, unknown: err.Error()})
		default:
			h.outside = append(h.outside, Look{Task: c.ID, Name: c.Name, Rule: -1, Code: why})
		}
	}
	return h
}

// covers says whether a task covers a device. The error means that nobody knows.
func (c *compiled) covers(path []fleet.GroupID, d criteria.Device) (bool, Code, error) {
	in := func(groups []fleet.GroupID) bool {
		return slices.ContainsFunc(groups, func(g fleet.GroupID) bool { return slices.Contains(path, g) })
	}
	switch {
	case !c.Enabled:
		return false, Disabled, nil
	case !in(c.Targets.Groups):
		return false, OtherGroup, nil
	case in(c.Targets.Exclude):
		return false, Excluded, nil
	}
	selected, err := c.selection.Match(d)
	if err != nil || !selected {
		return false, NotSelected, err
	}
	return true, "", nil
}

// Code says what came of looking at a task or one of its rules.
type Code string

// What can come of it.
const (
	Disabled      Code = "disabled"
	OtherGroup    Code = "other_group"
	Excluded      Code = "excluded"
	NotSelected   Code = "not_selected"
	NoRules       Code = "no_rules"
	OtherStatus   Code = "other_status"
	TestOnly      Code = "test_only" // the rule counts in test groups only
	NotMet        Code = "criteria_not_met"
	NewMajor      Code = "new_major"      // the rule admits it, and the task holds back new major versions
	UnknownRule   Code = "rule_unknown"   // the rule cannot be evaluated
	UnknownTarget Code = "target_unknown" // the rule admits it, and whether the task covers the device is not known
	UnknownStatus Code = "status_unknown" // the status is none of the three
	Admitted      Code = "admitted"
)

// Look is one line of the trace: a task, or one of its rules, and what came of it.
type Look struct {
	Task   string `json:"task"`
	Name   string `json:"name"` // of the task
	Rule   int    `json:"rule"` // from 0; -1: the task as a whole
	Named  string `json:"rule_name,omitempty"`
	Code   Code   `json:"code"`
	Detail string `json:"detail,omitempty"` // why it is not known
	admits Admits
}

// unknown reports whether nobody knows what would come of it.
func (l Look) unknown() bool {
	return l.Code == UnknownRule || l.Code == UnknownTarget || l.Code == UnknownStatus
}

// rule names the rule for people.
func (l Look) rule() string {
	if l.Named != "" {
		return strconv.Quote(l.Named)
	}
	return strconv.Itoa(l.Rule + 1)
}

// Text is the line for people.
func (l Look) Text() string {
	task := fmt.Sprintf("the task %q ", l.Name)
	switch l.Code {
	case Disabled:
		return task + "is not enabled"
	case OtherGroup:
		return task + "is for other groups"
	case Excluded:
		return task + "excludes the device's group"
	case NotSelected:
		return task + "does not select the device"
	case NoRules:
		return task + "has no rules and does nothing"
	case UnknownStatus:
		return task + "cannot judge it: " + l.Detail
	case OtherStatus:
		return fmt.Sprintf("%sdoes not admit it: rule %s admits only %s updates", task, l.rule(), l.admits.words())
	case TestOnly:
		return fmt.Sprintf("%sdoes not admit it: rule %s counts in test groups only, because it admits declined updates", task, l.rule())
	case NotMet:
		return fmt.Sprintf("%sdoes not admit it: it does not meet the criteria of rule %s", task, l.rule())
	case NewMajor:
		return fmt.Sprintf("%sdoes not admit it: rule %s does, but the task holds back new major versions", task, l.rule())
	case UnknownRule:
		return fmt.Sprintf("%scannot judge it by rule %s: %s", task, l.rule(), l.Detail)
	case UnknownTarget:
		return fmt.Sprintf("%swould admit it by rule %s, but whether the task covers the device cannot be told: %s", task, l.rule(), l.Detail)
	}
	return fmt.Sprintf("%sadmits it by rule %s", task, l.rule())
}

// words is what a rule admits, in words.
func (a Admits) words() string {
	switch a {
	case Approved:
		return "approved"
	case ApprovedOrUndefined:
		return "approved or undecided"
	}
	return string(a)
}

// step is the line in the trace of a verdict, under the rule of the product that it comes from.
func (l Look) step() approval.Step {
	rule := "T1"
	switch l.Code {
	case NotMet, UnknownRule:
		rule = "T2"
	case NewMajor:
		rule = "T3"
	}
	return approval.Step{Rule: rule, Text: l.Text()}
}
