// Package tasks is the service behind installation tasks (T1–T7): the console, the API and the CLI call it and nothing else.
//
// Guarantees: permission is checked here, below every face: whoever makes, changes or removes a task is an administrator in all of its
// groups, before and after; one change is one act in the ledger, and nothing changed means none; a task that was changed by
// somebody else in between is not overwritten; what is wrong with a task is told all at once, each with its field; an option
// that this build cannot carry out is refused and not left out silently. A preview changes nothing, comes from plan.Compute and is bounded
// in time and in devices.
//
// It keeps no state of its own.
package tasks

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"assent/client"
	"assent/criteria"
	"assent/fault"
	"assent/fleet"
	"assent/ledger"
	"assent/server/internal/auth"
	"assent/server/internal/index"
	"assent/task"
	"assent/window"
)

// Config is what New needs; only Log may stay empty.
type Config struct {
	Index *index.Index
	Log   *slog.Logger
}

// Service keeps and explains tasks. It is safe for concurrent use.
type Service struct {
	index *index.Index
	log   *slog.Logger
}

// New makes a Service.
func New(c Config) (*Service, error) {
	if c.Index == nil {
		return nil, errors.New("tasks need an index")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Service{index: c.Index, log: c.Log}, nil
}

// Tasks lists the tasks that concern the actor's part of the tree, in their order.
func (s *Service) Tasks(_ context.Context, who auth.Actor) (client.List[client.TaskRow], error) {
	out := client.List[client.TaskRow]{Items: []client.TaskRow{}}
	var err error
	s.index.View(func(v *index.View) {
		if err = who.Can(ledger.Viewer, v.Tree(), who.Scope); err != nil {
			return
		}
		d := &desk{View: v, who: who, now: s.index.Now().UTC()}
		for _, t := range v.Tasks().Tasks() {
			if d.sees(t) {
				out.Items = append(out.Items, d.row(t))
			}
		}
	})
	out.Total = len(out.Items)
	return out, err
}

// Task shows a task by its id or name.
func (s *Service) Task(_ context.Context, who auth.Actor, ref string) (row client.TaskRow, err error) {
	s.index.View(func(v *index.View) {
		d := &desk{View: v, who: who, now: s.index.Now().UTC()}
		var t task.Task
		if t, err = d.find(ref); err == nil {
			row = d.row(t)
		}
	})
	return row, err
}

// Expressions lists what expressions may say.
func (s *Service) Expressions(context.Context, auth.Actor) (client.Expressions, error) {
	return client.Expressions{Updates: criteria.Updates().Fields(), Devices: criteria.Devices().Fields(), Functions: criteria.Functions()}, nil
}

// Complete completes an expression before the cursor.
func (s *Service) Complete(_ context.Context, _ auth.Actor, kind, before string) (client.Completions, error) {
	var l *criteria.Language
	switch kind {
	case "rule":
		l = criteria.Updates()
	case "selection":
		l = criteria.Devices()
	default:
		return client.Completions{}, fault.New(fault.Invalid, "value_unknown", "There are expressions for a %q and for a %q.", "rule", "selection").On("kind")
	}
	if len(before) > criteria.MaxSource {
		return client.Completions{}, fault.New(fault.TooLarge, "expression_too_long", "An expression has at most %d bytes.", criteria.MaxSource).On("prefix")
	}
	return client.Completions{Word: criteria.Word(before), Items: append([]criteria.Completion{}, l.Completions(before)...)}, nil
}

// desk answers about tasks at one moment, to one actor.
type desk struct {
	*index.View
	who auth.Actor
	now time.Time
}

// find is a task that the actor may see.
func (d *desk) find(ref string) (task.Task, error) {
	if err := d.who.Can(ledger.Viewer, d.Tree(), d.who.Scope); err != nil {
		return task.Task{}, err
	}
	t, ok := d.Task(ref)
	if !ok || !d.sees(t) {
		return task.Task{}, fault.New(fault.NotFound, "task_unknown", "There is no task %.80q; `assent task list` shows all.", ref).On("task")
	}
	return t, nil
}

// sees reports whether a task concerns the actor's part of the tree.
func (d *desk) sees(t task.Task) bool {
	return slices.ContainsFunc(t.Targets.Groups, func(g fleet.GroupID) bool {
		return d.Tree().Contains(d.who.Scope, g) || d.Tree().Contains(g, d.who.Scope)
	})
}

// row is a task in a list.
func (d *desk) row(t task.Task) client.TaskRow {
	covered := d.covered(t)
	row := client.TaskRow{Task: t, Version: Version(t), Groups: d.names(t), Devices: int(covered.GetCardinality()), MayEdit: d.may(t) == nil}
	if !t.MaxConcurrent.None() {
		row.Turns = len(d.Slots(t.ID).Held)
	}
	w, err := window.Parse(t.Schedule)
	if err != nil { // the ledger lets no such task in; one of a newer build holds
		row.When = "never: its schedule cannot be read"
		return row
	}
	row.When = w.Describe()
	row.Next = soonest(windowsOf(w, d.now, func() map[string]int { return d.zones(covered) }))
	return row
}

// covered is the set of devices in the task's groups that the actor may see. What it selects of them is not looked at.
func (d *desk) covered(t task.Task) *roaring.Bitmap {
	set := roaring.New()
	for _, g := range t.Targets.Groups {
		set.Or(d.In(g))
	}
	for _, g := range t.Targets.Exclude {
		set.AndNot(d.In(g))
	}
	set.And(d.In(d.who.Scope))
	return set
}

// names are those of the groups that a task mentions and the actor may see.
func (d *desk) names(t task.Task) map[fleet.GroupID]string {
	out := map[fleet.GroupID]string{}
	for id := range mentioned(t) {
		if g, ok := d.Tree().Get(id); ok && (d.Tree().Contains(d.who.Scope, id) || d.Tree().Contains(id, d.who.Scope)) {
			out[id] = g.Name
		}
	}
	return out
}

// mentioned is the set of groups that a task names anywhere.
func mentioned(t task.Task) map[fleet.GroupID]bool {
	out := map[fleet.GroupID]bool{}
	lists := [][]fleet.GroupID{t.Targets.Groups, t.Targets.Exclude}
	for _, r := range t.Rings {
		lists = append(lists, r.Groups)
	}
	for _, id := range slices.Concat(lists...) {
		out[id] = true
	}
	return out
}

// zones counts devices by their time zone; the empty name is that of devices that have not said theirs.
func (d *desk) zones(devices *roaring.Bitmap) map[string]int {
	out := map[string]int{}
	for it := devices.Iterator(); it.HasNext(); {
		zone := ""
		if f := d.Numbered(it.Next()).Facts; f != nil {
			zone = f.TimeZone
		}
		out[zone]++
	}
	return out
}

// windowsOf says for each zone when a window opens, the zones of most devices first. Windows at any time have none, and the devices'
// zones are counted only where they matter.
func windowsOf(w window.Windows, now time.Time, count func() map[string]int) []client.TaskWindow {
	out := []client.TaskWindow{}
	if w.AnyTime() && len(w.Schedule().Freezes) == 0 {
		return out
	}
	zones := count()
	if own := w.Schedule().Zone; own != "" { // the devices' zones do not matter
		total := 0
		for _, n := range zones {
			total += n
		}
		zones = map[string]int{own: total}
	}
	for _, name := range slices.Sorted(maps.Keys(zones)) {
		zone, _ := window.LoadZone(name) // one that is not known holds, and the answer says so
		a := w.At(now, zone, "")
		next := a.Window
		if !a.Open {
			next = a.Next
		}
		out = append(out, client.TaskWindow{Zone: name, Devices: zones[name], Open: a.Open, Start: next.Start, End: next.End, Text: a.Text})
	}
	slices.SortStableFunc(out, func(a, b client.TaskWindow) int { return cmp.Compare(b.Devices, a.Devices) })
	return out
}

// soonest is the window that is open, or opens next.
func soonest(all []client.TaskWindow) *client.TaskWindow {
	var best *client.TaskWindow
	for i := range all {
		w := &all[i]
		switch {
		case !w.Open && w.Start.IsZero():
		case best == nil, w.Open && !best.Open, w.Open == best.Open && w.Start.Before(best.Start):
			best = w
		}
	}
	return best
}

// Version names what a task says: two tasks have the same one only if they are the same.
func Version(t task.Task) string {
	b, err := json.Marshal(t)
	if err != nil { // texts and numbers can always be written
		b = fmt.Appendf(nil, "%#v", t)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8])
}
