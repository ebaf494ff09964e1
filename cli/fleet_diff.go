package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"assent/approval"
	"assent/catalog"
	"assent/client"
	"assent/fault"
	"assent/fleet"
	"assent/task"
)

// step is one thing that differs between a file and the server, and what makes it so.
type step struct {
	Verb  string   `json:"verb"` // create, change, delete; or only: it is on the server and not in the file
	Kind  string   `json:"kind"` // group, task, decision, exception
	Name  string   `json:"name"`
	Lines []string `json:"lines,omitempty"` // what changes
	// Last is the last act on it, by whom it is other than the file says.
	Last    *lastAct `json:"last,omitempty"`
	subject string   // what the ledger is asked for, where Last is not known yet
	do      func(context.Context, *client.Client) error
}

// compare lists the steps from what is to what the file says, in the order in which they can be made. With prune, what the file does not
// name is deleted: tasks and groups, never decisions.
func compare(ctx context.Context, c *client.Client, f fleetFile, prune bool) ([]step, error) {
	now, err := readNow(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := f.check(now); err != nil {
		return nil, err
	}
	steps := slices.Concat(groupSteps(f, now), taskSteps(f, now))
	decisions, err := decisionSteps(ctx, c, f, now)
	if err != nil {
		return nil, err
	}
	steps = slices.Concat(steps, decisions, exceptionSteps(f, now), extraTasks(f, now, prune), extraGroups(f, now, prune))
	return steps, blame(ctx, c, steps)
}

func groupSteps(f fleetFile, now fleetNow) (out []step) {
	for _, g := range f.Groups {
		r := client.GroupRequest{Name: g.Name, Parent: g.Parent, Guard: &g.Guard, Test: &g.Test}
		old, there := now.group(g.Name)
		if !there {
			out = append(out, step{Verb: "create", Kind: "group", Name: g.Name, Lines: []string{"below " + parentName(g.Parent)}, subject: subjectNamed(g.Name), do: func(ctx context.Context, c *client.Client) error {
				_, err := c.CreateGroup(ctx, r)
				return err
			}})
			continue
		}
		var lines []string
		if r.Parent = ""; old.ID != fleet.Root && !strings.EqualFold(now.name(old.Parent), parentName(g.Parent)) && string(old.Parent) != g.Parent {
			r.Parent = parentName(g.Parent)
			lines = append(lines, fmt.Sprintf("parent: %s -> %s", now.name(old.Parent), r.Parent))
		}
		if old.Guard != g.Guard {
			lines = append(lines, fmt.Sprintf("guard: %s -> %s", guardWord(old.Guard), guardWord(g.Guard)))
		}
		if old.Test != g.Test {
			lines = append(lines, fmt.Sprintf("test: %v -> %v", old.Test, g.Test))
		}
		if len(lines) > 0 {
			out = append(out, step{Verb: "change", Kind: "group", Name: g.Name, Lines: lines, subject: subjectGroup(old.ID), do: func(ctx context.Context, c *client.Client) error {
				_, err := c.ChangeGroup(ctx, string(old.ID), r)
				return err
			}})
		}
	}
	return out
}

func parentName(ref string) string {
	if ref == "" || ref == string(fleet.Root) {
		return fleet.RootName
	}
	return ref
}

func guardWord(g fleet.GuardMode) string {
	if g == fleet.Inherit {
		return "inherit"
	}
	return string(g)
}

func taskSteps(f fleetFile, now fleetNow) (out []step) {
	for _, t := range f.Tasks {
		old, there := now.task(t.ID)
		r := client.TaskRequest{Task: t, IfVersion: client.NewTask}
		verb, lines := "create", []string(nil)
		if there {
			r.IfVersion, verb = old.Version, "change"
			canonical := withGroups(t, func(id fleet.GroupID) fleet.GroupID {
				if g, ok := now.group(string(id)); ok {
					return fleet.GroupID(g.Name)
				}
				return id
			})
			if lines = differences(asFile(old), canonical); len(lines) == 0 {
				continue
			}
		}
		out = append(out, step{Verb: verb, Kind: "task", Name: t.Name, Lines: lines, subject: subjectTask(t.ID), do: func(ctx context.Context, c *client.Client) error {
			_, err := c.PutTask(ctx, r)
			return err
		}})
	}
	return out
}

// differences lists what differs between two things as JSON: "schedule.rule: FREQ=DAILY -> FREQ=WEEKLY".
func differences(a, b any) (lines []string) {
	was, is := flat(a), flat(b)
	all := maps.Clone(was)
	maps.Copy(all, is)
	for _, key := range slices.Sorted(maps.Keys(all)) {
		old, there := was[key]
		fresh, stays := is[key]
		switch {
		case there && stays && old == fresh:
		case !there:
			lines = append(lines, fmt.Sprintf("%s: (none) -> %s", key, fresh))
		case !stays:
			lines = append(lines, fmt.Sprintf("%s: %s -> (none)", key, old))
		default:
			lines = append(lines, fmt.Sprintf("%s: %s -> %s", key, old, fresh))
		}
	}
	return lines
}

// flat is a value as paths and texts.
func flat(v any) map[string]string {
	out := map[string]string{}
	raw, err := json.Marshal(v)
	if err != nil {
		return out
	}
	var tree any
	if err := json.Unmarshal(raw, &tree); err != nil {
		return out
	}
	var walk func(path string, v any)
	walk = func(path string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for key, below := range v {
				walk(strings.TrimPrefix(path+"."+key, "."), below)
			}
		case []any:
			for i, below := range v {
				walk(fmt.Sprintf("%s[%d]", path, i), below)
			}
		default:
			text, _ := json.Marshal(v)
			out[path] = strings.Trim(string(text), `"`)
		}
	}
	walk("", tree)
	return out
}

// decisionSteps are the decisions that differ. Approvals come before declines: an approval that a decline beats could not be made after it.
func decisionSteps(ctx context.Context, c *client.Client, f fleetFile, now fleetNow) (out []step, err error) {
	var declines []step
	for i, d := range f.Decisions {
		u, err := c.Update(ctx, d.Update, "")
		if err != nil {
			return nil, fmt.Errorf("decisions[%d]: %w", i, err)
		}
		group, there := now.group(d.Group)
		var old *approval.Decision
		for _, x := range u.Decisions {
			if there && x.Scope == group.ID && x.Update == u.ID {
				old = &x
			}
		}
		lines := d.differences(old)
		if len(lines) == 0 {
			continue
		}
		s := step{Verb: "change", Kind: "decision", Name: fmt.Sprintf("%s %s in %s", u.Name, u.Version, parentName(d.Group)), Lines: lines, subject: subjectDecision(u.ID, group.ID)}
		if old != nil {
			s.Last = decidedBy(*old)
		}
		r := client.Decide{Updates: []string{d.Update}, Status: d.Status, Scope: d.Group, Reason: d.Reason, Expires: d.Expires, Reach: d.Reach, Lift: d.Lift, AllowSuperseded: true}
		s.do = func(ctx context.Context, c *client.Client) error {
			_, err := c.Decide(ctx, r)
			return err
		}
		if d.Status == approval.Declined {
			declines = append(declines, s)
		} else {
			out = append(out, s)
		}
	}
	return append(out, declines...), nil
}

// differences says what the file changes of a decision; nil: nothing. The reason alone is no difference.
func (d fileDecision) differences(old *approval.Decision) (lines []string) {
	was := approval.Decision{Status: approval.Undefined}
	if old != nil {
		was = *old
	}
	for _, part := range []struct{ name, was, is string }{
		{"status", string(was.Status), string(d.Status)}, {"reach", reachWords(was.Reach), reachWords(d.Reach)}, {"expires", expiryWords(was.Expires), expiryWords(d.Expires)},
	} {
		if part.was != part.is {
			lines = append(lines, fmt.Sprintf("%s: %s -> %s", part.name, part.was, part.is))
		}
	}
	if len(lines) > 0 && d.Reason != "" {
		lines = append(lines, "reason: "+clean(d.Reason))
	}
	if was.Status == approval.Declined && d.Status != approval.Declined && !d.Lift {
		lines = append(lines, "a decline is only lifted on purpose: say lift: true in the file")
	}
	return lines
}

func reachWords(r approval.Reach) string {
	switch {
	case r.Later && r.Through != "":
		return "up to " + r.Through
	case r.Later:
		return "this and all later versions"
	}
	return "this version"
}

func expiryWords(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format(time.RFC3339)
}

func exceptionSteps(f fleetFile, now fleetNow) (out []step) {
	for _, e := range f.Exceptions {
		there := slices.ContainsFunc(now.except, func(x client.ExceptionRow) bool {
			return !x.Expired && (x.Name+"@"+x.Version == e.Update || string(x.Update) == e.Update || isPURL(e.Update, x.Update)) && (strings.EqualFold(x.ScopeName, e.Group) || string(x.Scope) == e.Group) && x.Expires.Equal(e.Expires)
		})
		if !there {
			out = append(out, step{Verb: "create", Kind: "exception", Name: e.Update + " in " + e.Group, Lines: []string{"until " + e.Expires.Format("2006-01-02 15:04 MST")}, do: func(ctx context.Context, c *client.Client) error {
				_, err := c.Except(ctx, client.ExceptionRequest{Update: e.Update, Scope: e.Group, Reason: e.Reason, Expires: e.Expires})
				return err
			}})
		}
	}
	return out
}

// isPURL reports whether a text is the package URL of an update, whose id is made of it.
func isPURL(text string, id catalog.UpdateID) bool {
	return strings.HasPrefix(text, "pkg:") && catalog.IDOf(text) == id
}

// extraTasks are those that the file does not name.
func extraTasks(f fleetFile, now fleetNow, prune bool) (out []step) {
	for _, r := range now.tasks {
		id := r.Task.ID
		if id == task.DefaultID || slices.ContainsFunc(f.Tasks, func(t task.Task) bool { return t.ID == id }) {
			continue
		}
		out = append(out, extra("task", r.Task.Name, subjectTask(id), prune, func(ctx context.Context, c *client.Client) error {
			_, err := c.DeleteTask(ctx, id)
			return err
		}))
	}
	return out
}

// extraGroups are those that the file does not name, children before parents.
func extraGroups(f fleetFile, now fleetNow, prune bool) (out []step) {
	for _, g := range slices.Backward(now.groups) {
		if g.ID == fleet.Root || slices.ContainsFunc(f.Groups, func(x fileGroup) bool { return strings.EqualFold(x.Name, g.Name) }) {
			continue
		}
		out = append(out, extra("group", g.Name, subjectGroup(g.ID), prune, func(ctx context.Context, c *client.Client) error {
			_, err := c.DeleteGroup(ctx, string(g.ID))
			return err
		}))
	}
	return out
}

func extra(kind, name, subject string, prune bool, remove func(context.Context, *client.Client) error) step {
	if !prune {
		return step{Verb: "only", Kind: kind, Name: name, Lines: []string{"it is on the server and not in the file; --prune deletes it"}, subject: subject}
	}
	return step{Verb: "delete", Kind: kind, Name: name, subject: subject, do: remove}
}

// carryOut makes the steps in their order, and stops at the first that is refused. Made is how many were made.
func carryOut(ctx context.Context, c *client.Client, steps []step) (made int, err error) {
	for _, s := range steps {
		if s.do == nil {
			continue
		}
		if err := s.do(ctx, c); err != nil {
			told := fault.From(err)
			var all fault.List
			if errors.As(err, &all) {
				return made, err
			}
			return made, fault.New(told.Kind, told.Code, "%s the %s %q: %s", s.Verb, s.Kind, s.Name, told.Message).On(told.Field)
		}
		made++
	}
	return made, nil
}
