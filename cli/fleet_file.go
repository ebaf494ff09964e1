package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"assent/approval"
	"assent/client"
	"assent/fault"
	"assent/fleet"
	"assent/task"
)

// fleetVersion is the version of the file's format.
const fleetVersion = 1

// fleetFile is what assent apply makes so: groups, tasks with their rings, decisions and exceptions. Groups and updates go by name.
type fleetFile struct {
	Version    int             `json:"version"`
	Groups     []fileGroup     `json:"groups,omitempty"`
	Tasks      []task.Task     `json:"tasks,omitempty"`
	Decisions  []fileDecision  `json:"decisions,omitempty"`
	Exceptions []fileException `json:"exceptions,omitempty"`
}

// fileGroup is a group. What is left out is as it is by default: below the root, the guard of the parent, no test group.
type fileGroup struct {
	Name   string          `json:"name"`
	Parent string          `json:"parent,omitempty"`
	Guard  fleet.GuardMode `json:"guard,omitempty"`
	Test   bool            `json:"test,omitempty"`
}

// fileDecision is a status of an update in a group, the root by default.
type fileDecision struct {
	Update  string          `json:"update"` // name@version, package URL or id
	Status  approval.Status `json:"status"`
	Group   string          `json:"group,omitempty"`
	Reason  string          `json:"reason,omitempty"`
	Expires time.Time       `json:"expires,omitzero"`
	Reach   approval.Reach  `json:"reach,omitzero"`
	Lift    bool            `json:"lift,omitempty"` // a decline that stands there may be lifted
}

// fileException lets an update pass a decline in a group.
type fileException struct {
	Update  string    `json:"update"`
	Group   string    `json:"group"`
	Reason  string    `json:"reason"`
	Expires time.Time `json:"expires"`
}

// readFleet reads a fleet file strictly.
func (a *app) readFleet(name string) (fleetFile, error) {
	if name == "" {
		return fleetFile{}, usage("say which file with -f FILE")
	}
	raw, err := a.readDocument(name)
	if err != nil {
		return fleetFile{}, err
	}
	var loose struct {
		Tasks []json.RawMessage `json:"tasks"`
	}
	var f fleetFile
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&f); err != nil {
		var told *fault.Error
		if errors.As(err, &told) {
			return f, told
		}
		return f, usage("the file %s is not a fleet file: %v", clean(name), err)
	}
	if f.Version != fleetVersion {
		return f, fault.New(fault.Invalid, "file_version", "The file says version %d; this build reads version %d.", f.Version, fleetVersion).On("version")
	}
	if err := json.Unmarshal(raw, &loose); err != nil {
		return f, usage("the file %s is not a fleet file: %v", clean(name), err)
	}
	for i := range f.Tasks { // what a task leaves out is as in task files
		if f.Tasks[i], err = client.ReadTask(loose.Tasks[i]); err != nil {
			return f, err
		}
		if f.Tasks[i].ID == "" {
			f.Tasks[i].ID = slug(f.Tasks[i].Name)
		}
	}
	return f, nil
}

// fleetNow is what the server has.
type fleetNow struct {
	groups []client.GroupRow
	tasks  []client.TaskRow
	except []client.ExceptionRow
}

func readNow(ctx context.Context, c *client.Client) (fleetNow, error) {
	var now fleetNow
	groups, err := c.Groups(ctx)
	if err != nil {
		return now, err
	}
	tasks, err := c.Tasks(ctx)
	if err != nil {
		return now, err
	}
	except, err := c.Exceptions(ctx)
	now.groups, now.tasks, now.except = groups.Items, tasks.Items, except.Items
	return now, err
}

// name is that of a group.
func (n fleetNow) name(id fleet.GroupID) string {
	if i := slices.IndexFunc(n.groups, func(g client.GroupRow) bool { return g.ID == id }); i >= 0 {
		return n.groups[i].Name
	}
	return string(id)
}

// group finds a group by name or id.
func (n fleetNow) group(ref string) (client.GroupRow, bool) {
	if ref == "" {
		ref = string(fleet.Root)
	}
	i := slices.IndexFunc(n.groups, func(g client.GroupRow) bool { return string(g.ID) == ref || strings.EqualFold(g.Name, ref) })
	if i < 0 {
		return client.GroupRow{}, false
	}
	return n.groups[i], true
}

func (n fleetNow) task(id string) (client.TaskRow, bool) {
	i := slices.IndexFunc(n.tasks, func(r client.TaskRow) bool { return r.Task.ID == id })
	if i < 0 {
		return client.TaskRow{}, false
	}
	return n.tasks[i], true
}

// check tells everything that is wrong with the tasks of a file before anything of it is done: against the groups as they would be.
func (f fleetFile) check(now fleetNow) error {
	if _, whole := now.group(string(fleet.Root)); !whole {
		return fault.New(fault.Forbidden, "scope_missing", "A file is compared with the whole fleet, and that takes a role in %s.", fleet.RootName)
	}
	var found []*fault.Error
	groups := []fleet.Group{}
	for _, g := range now.groups {
		groups = append(groups, g.Group)
	}
	ids := map[string]fleet.GroupID{}
	for _, g := range groups {
		ids[strings.ToLower(g.Name)], ids[string(g.ID)] = g.ID, g.ID
	}
	for i, g := range f.Groups {
		if _, there := ids[strings.ToLower(g.Name)]; there {
			at := slices.IndexFunc(groups, func(x fleet.Group) bool { return x.ID == ids[strings.ToLower(g.Name)] })
			groups[at].Test = g.Test
			continue
		}
		parent, known := ids[strings.ToLower(parentName(g.Parent))]
		if !known {
			found = append(found, fault.New(fault.Invalid, "group_unknown", "There is no group %q; groups of the file come after their parents.", g.Parent).On(fmt.Sprintf("groups[%d].parent", i)))
			parent = fleet.Root
		}
		id := fleet.GroupID("new-" + g.Name)
		ids[strings.ToLower(g.Name)] = id
		groups = append(groups, fleet.Group{ID: id, Name: g.Name, Parent: parent, Test: g.Test})
	}
	tree, err := fleet.NewTree(groups)
	if err != nil {
		return usage("the groups of the file do not make a tree: %v", err)
	}
	for i, t := range f.Tasks {
		for _, e := range task.Validate(withGroups(t, func(id fleet.GroupID) fleet.GroupID {
			if known, ok := ids[strings.ToLower(string(id))]; ok {
				return known
			}
			return id
		}), tree) {
			found = append(found, e.On(fmt.Sprintf("tasks[%d].%s", i, e.Field)))
		}
	}
	return fault.Join(append(found, f.checkDecisions(ids)...))
}

// checkDecisions tells what is wrong with decisions and exceptions before anything is done. Ids are those of the groups as they would be, by
// id and by name in lower case.
func (f fleetFile) checkDecisions(ids map[string]fleet.GroupID) (found []*fault.Error) {
	group := func(ref, field string) {
		if _, known := ids[strings.ToLower(parentName(ref))]; !known {
			found = append(found, fault.New(fault.Invalid, "group_unknown", "There is no group %q, neither on the server nor in the file.", ref).On(field))
		}
	}
	for i, d := range f.Decisions {
		at := fmt.Sprintf("decisions[%d].", i)
		if group(d.Group, at+"group"); !d.Status.Valid() {
			found = append(found, fault.New(fault.Invalid, "status_invalid", "A decision's status is approved, declined or undefined, not %q.", d.Status).On(at+"status"))
		}
	}
	for i, e := range f.Exceptions {
		group(e.Group, fmt.Sprintf("exceptions[%d].group", i))
	}
	return found
}

// withGroups is a task with its groups named otherwise.
func withGroups(t task.Task, name func(fleet.GroupID) fleet.GroupID) task.Task {
	list := func(groups []fleet.GroupID) []fleet.GroupID {
		out := slices.Clone(groups)
		for i := range out {
			out[i] = name(out[i])
		}
		return out
	}
	t.Targets.Groups, t.Targets.Exclude = list(t.Targets.Groups), list(t.Targets.Exclude)
	t.Rings = slices.Clone(t.Rings)
	for i := range t.Rings {
		t.Rings[i].Groups = list(t.Rings[i].Groups)
	}
	return t
}
