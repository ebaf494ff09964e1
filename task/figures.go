package task

import (
	"fmt"
	"iter"
	"slices"
	"strings"

	"assent/approval"
	"assent/criteria"
	"assent/fleet"
	"assent/rollout"
)

// Candidate is an update as Count looks at it.
type Candidate struct {
	Update criteria.Update // set Unplaced where no device is meant
	Status approval.Status // as seen from the task's groups
}

// Figures is what a task's rules would match of the updates there are.
type Figures struct {
	Updates int           `json:"updates"` // that were looked at
	Admits  int           `json:"admits"`  // by one rule or several
	Rules   []RuleFigures `json:"rules"`
}

// RuleFigures is what one rule would match.
type RuleFigures struct {
	Matches  int      `json:"matches"`            // meet the criteria, whatever their status
	Admits   int      `json:"admits"`             // and have a status that the rule admits
	Declined int      `json:"declined"`           // meet the criteria and are declined
	Unknown  int      `json:"unknown"`            // cannot be judged
	Examples []string `json:"examples,omitempty"` // some of the declined ones: "openssl 3.0.17-1"
	Reason   string   `json:"reason,omitempty"`   // why the first of the unknown ones cannot be judged
}

// maxExamples is how many declined updates are named.
const maxExamples = 3

// Count looks at what the rules of a task would match: the live preview of the console, and the figures behind Warnings. Test says
// that all of the task's groups are test groups. The error is a *fault.Error: something does not compile.
func Count(t Task, test bool, updates iter.Seq[Candidate]) (Figures, error) {
	c, err := compile(t)
	if err != nil {
		return Figures{}, err
	}
	f := Figures{Rules: make([]RuleFigures, len(c.rules))}
	for u := range updates {
		f.Updates++
		admitted := false
		for i := range c.rules {
			admitted = c.count(&f.Rules[i], i, u, test) || admitted
		}
		if admitted {
			f.Admits++
		}
	}
	return f, nil
}

// count adds one update to the figures of one rule and says whether the rule admits it.
func (c *compiled) count(f *RuleFigures, i int, u Candidate, test bool) bool {
	met, err := c.rules[i].Match(u.Update)
	switch {
	case err != nil:
		f.Unknown++
		if f.Reason == "" {
			f.Reason = fmt.Sprintf("%s %s: %s", u.Update.Name, u.Update.Version, err.Error())
		}
		return false
	case !met:
		return false
	}
	f.Matches++
	if u.Status == approval.Declined {
		f.Declined++
		if len(f.Examples) < maxExamples {
			f.Examples = append(f.Examples, u.Update.Name+" "+u.Update.Version)
		}
	}
	if !c.Rules[i].Admits.status(u.Status, test) {
		return false
	}
	f.Admits++
	return true
}

// Warning is something that is allowed and probably not meant. It is shown when a task is saved.
type Warning struct {
	Code  WarningCode `json:"code"`
	Field string      `json:"field"` // "rules[1].criteria"
	Text  string      `json:"text"`  // one sentence
}

// WarningCode is stable: the contract for programs.
type WarningCode string

// The warnings.
const (
	WarnNoRules        WarningCode = "no_rules"
	WarnNever          WarningCode = "never_fires"         // the criteria contradict themselves
	WarnMatchesNothing WarningCode = "matches_nothing"     // no update that is known now
	WarnDeclined       WarningCode = "contradicts_decline" // what it matches is declined, and the decline wins
	WarnUnknown        WarningCode = "cannot_be_judged"    // updates hold because of it
	WarnTwice          WarningCode = "rule_twice"          // a rule before it admits the same
	WarnAdmitsDeclined WarningCode = "admits_declined"     // shown in red
	WarnSelectsNothing WarningCode = "selects_nothing"     // the selection contradicts itself
	WarnOutsideRings   WarningCode = "outside_rings"       // devices that no ring names get nothing
	WarnRestore        WarningCode = "nothing_to_fail"     // restore on failure, and no probe of the task that could fail
	WarnDisabled       WarningCode = "disabled"
)

// Warnings lists what is probably not meant in a task that Validate passed, by the figures of Count, in the order of the fields.
func Warnings(t Task, tree fleet.Tree, f Figures) []Warning {
	w := &warner{t: t, tree: tree}
	w.whole()
	for i, r := range t.Rules {
		w.rule(i, r)
		if i < len(f.Rules) {
			w.figures(i, r, f.Updates, f.Rules[i])
		}
	}
	return w.found
}

type warner struct {
	t     Task
	tree  fleet.Tree
	found []Warning
}

func (w *warner) warn(code WarningCode, field, format string, args ...any) {
	w.found = append(w.found, Warning{Code: code, Field: field, Text: fmt.Sprintf(format, args...)})
}

func (w *warner) whole() {
	if !w.t.Enabled {
		w.warn(WarnDisabled, "enabled", "The task is not enabled and does nothing.")
	}
	if reason, never := criteria.Devices().Never(w.t.Targets.Selection); never {
		w.warn(WarnSelectsNothing, "targets.selection", "It can select no device: %s", reason)
	}
	if len(w.t.Rules) == 0 {
		w.warn(WarnNoRules, "rules", "A task without rules does nothing.")
	}
	if w.t.OnFailure == Restore && len(w.t.Probes) == 0 {
		w.warn(WarnRestore, "on_failure", "The task has no probe of its own: only updates whose publisher declared one are taken back when they fail.")
	}
	if len(w.t.Rings) > 0 {
		w.rings()
	}
}

// rings warns of target groups that no ring names, neither as a whole nor all of their parts.
func (w *warner) rings() {
	for i, g := range w.t.Targets.Groups {
		if group, ok := w.tree.Get(g); ok && !w.ringed(g) {
			w.warn(WarnOutsideRings, fmt.Sprintf("targets.groups[%d]", i), "Not all of %q is in a ring: devices that no ring names get nothing from this task.", group.Name)
		}
	}
}

// ringed reports whether every lowest group at or below a group is in a ring. What is excluded needs none.
func (w *warner) ringed(g fleet.GroupID) bool {
	for _, below := range w.tree.Subtree(g) {
		path := w.tree.Path(below)
		excluded := slices.ContainsFunc(w.t.Targets.Exclude, func(x fleet.GroupID) bool { return slices.Contains(path, x) })
		if !excluded && rollout.Place(w.t.Rings, path) == "" && len(w.tree.Children(below)) == 0 {
			return false
		}
	}
	return true
}

func (w *warner) rule(i int, r Rule) {
	at := fmt.Sprintf("rules[%d].", i)
	if r.Admits == AnyIncludingDeclined {
		w.warn(WarnAdmitsDeclined, at+"admits", "It admits declined updates on the test devices.")
	}
	if reason, never := criteria.Updates().Never(r.Criteria); never {
		w.warn(WarnNever, at+"criteria", "It can never fire: %s", reason)
	}
	for j, o := range w.t.Rules[:i] {
		if o.Admits == r.Admits && strings.TrimSpace(o.Criteria) == strings.TrimSpace(r.Criteria) {
			w.warn(WarnTwice, at+"criteria", "Rule %d admits the same.", j+1)
			break
		}
	}
}

func (w *warner) figures(i int, r Rule, updates int, f RuleFigures) {
	at := fmt.Sprintf("rules[%d].", i)
	warned := func(code WarningCode) bool {
		return slices.ContainsFunc(w.found, func(o Warning) bool { return o.Code == code && strings.HasPrefix(o.Field, at) })
	}
	switch {
	case f.Unknown > 0 && f.Matches == 0:
		w.warn(WarnUnknown, at+"criteria", "%d of %d updates cannot be judged and hold where their status is admitted; it matches none of the others (%s).", f.Unknown, updates, f.Reason)
	case f.Unknown > 0:
		w.warn(WarnUnknown, at+"criteria", "%d of %d updates cannot be judged and hold where their status is admitted (%s).", f.Unknown, updates, f.Reason)
	case f.Matches == 0 && !warned(WarnNever):
		w.warn(WarnMatchesNothing, at+"criteria", "It matches none of the %d updates that are known now.", updates)
	}
	if f.Declined > 0 && r.Admits != AnyIncludingDeclined {
		w.warn(WarnDeclined, at+"criteria", "%d of the %d updates that it matches are declined, and the decline wins: %s.", f.Declined, f.Matches, examples(f))
	}
}

func examples(f RuleFigures) string {
	s := strings.Join(f.Examples, ", ")
	if f.Declined > len(f.Examples) {
		s += " and others"
	}
	return s
}
