package conductor

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"assent/catalog"
	"assent/criteria"
	"assent/fleet"
	"assent/installation"
	"assent/plan"
	"assent/rollout"
	"assent/server/internal/index"
	"assent/server/internal/store"
	"assent/task"
)

// key names a rollout.
type key struct {
	task   string
	update catalog.UpdateID
}

// track is one rollout with the devices that count for it, as they stood when they were last looked at.
type track struct {
	key
	parts  map[uint32]part // by device number
	wanted int             // parts that are
	alive  bool            // some were when it was looked at last
	dirty  bool            // something about it changed since the last step
	rest   bool            // nothing moves in it by itself: through, halted, or wanted nowhere
	due    time.Time       // when time alone may move it
	saved  rollout.State   // as the store has it
	acted  time.Time       // when somebody acted on it last, at whichever server
}

// part is what one device has to do with a rollout.
type part struct {
	outcome rollout.Outcome // LastSeen is filled in when it counts
	wanted  bool            // the task lets the device have the update, now or after a ring opens
}

// chunk is how many devices are looked at in one View: others get their turn in between.
const chunk = 256

// redraw looks again at the devices that a change may have concerned. If it fails, everything is looked at the next time.
func (c *Conductor) redraw(ctx context.Context) (err error) {
	devices := 0
	c.lookAgain()
	c.index.View(func(v *index.View) {
		devices = v.NumberOfDevices()
		c.reviseTasks(v)
		c.turnsIn(v) // before the devices are taken: a cap that is new has all of them looked at
	})
	defer func() {
		if err != nil {
			c.stains.add(index.Change{All: true})
		}
	}()
	todo, devices := c.stains.take(devices)
	c.on = append(c.on, make([][]key, max(0, devices-len(c.on)))...)
	numbers := make([]uint32, chunk)
	for it := todo.ManyIterator(); ctx.Err() == nil; {
		n := it.NextMany(numbers)
		if n == 0 {
			return nil
		}
		c.index.View(func(v *index.View) {
			sight := c.sight(v)
			for _, number := range numbers[:n] {
				if err = sight.look(number); err != nil {
					return
				}
			}
		})
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

// reviseTasks forgets the rollouts of tasks that are gone, and has those looked at of tasks whose rings are others now.
func (c *Conductor) reviseTasks(v *index.View) {
	rings := map[string]string{}
	for _, t := range v.Tasks().Tasks() {
		b, err := json.Marshal(t.Rings)
		if err != nil { // rings are plain texts and numbers
			b = nil
		}
		rings[t.ID] = string(b)
	}
	for k, t := range c.tracks {
		now, there := rings[k.task]
		if !there {
			delete(c.tracks, k)
			continue
		}
		t.dirty = t.dirty || now != c.rings[k.task]
	}
	for _, s := range v.Rollouts() {
		if _, there := rings[s.Task]; there && c.tracks[key{s.Task, s.Update}] == nil {
			t := c.track(key{s.Task, s.Update})
			t.saved = s
		}
		if t, n := c.tracks[key{s.Task, s.Update}], len(s.Acts); t != nil && n > 0 && !t.acted.Equal(s.Acts[n-1].At) {
			t.acted, t.dirty = s.Acts[n-1].At, true
		}
	}
	c.rings = rings
	for _, k := range c.stains.takeActs() {
		if t := c.tracks[k]; t != nil {
			t.dirty = true
		}
	}
}

// track returns the track of a rollout, made on first use.
func (c *Conductor) track(k key) *track {
	t := c.tracks[k]
	if t == nil {
		t = &track{key: k, parts: map[uint32]part{}, dirty: true}
		c.tracks[k] = t
	}
	return t
}

// sight is one View in which devices are looked at.
type sight struct {
	*Conductor
	v       *index.View
	tasks   map[string]task.Task // those with rings
	begun   []begun
	turns   turns              // what devices have to do in tasks with a cap
	selects bool               // tasks look at more of a device than its group
	known   map[admission]bool // by group, unless selects
}

// admission is whether a task lets devices of a group have an update.
type admission struct {
	key
	group fleet.GroupID
}

// begun is an update whose rollouts have begun.
type begun struct {
	index.Update
	states []rollout.State
}

func (c *Conductor) sight(v *index.View) *sight {
	_, device := v.Tasks().Reads()
	s := &sight{Conductor: c, v: v, turns: c.turnsIn(v), tasks: map[string]task.Task{}, selects: len(device) > 0, known: map[admission]bool{}}
	for _, t := range v.Tasks().Tasks() {
		if len(t.Rings) > 0 {
			s.tasks[t.ID] = t
		}
	}
	at := map[catalog.UpdateID]int{}
	for _, state := range v.Rollouts() {
		_, ringed := s.tasks[state.Task]
		u, known := v.Update(state.Update)
		if !ringed || !known || state.Finished() && state.Superseded != "" {
			continue // what was through before a newer release took its place says nothing any more
		}
		i, there := at[u.ID]
		if !there {
			i = len(s.begun)
			at[u.ID], s.begun = i, append(s.begun, begun{Update: u})
		}
		s.begun[i].states = append(s.begun[i].states, state)
	}
	return s
}

// look finds out in which rollouts a device has a part, and which.
func (s *sight) look(number uint32) error {
	d := s.v.Numbered(number)
	if len(s.turns.tasks) > 0 {
		if err := s.demand(d); err != nil {
			return err
		}
	}
	if len(s.tasks) == 0 {
		s.put(number, nil)
		return nil
	}
	parts := map[key]part{}
	judged := map[catalog.UpdateID]plan.Verdict{}
	if !d.Retired() {
		verdicts, err := s.planner.Notable(s.v, d)
		if err != nil {
			return fmt.Errorf("what is planned for device %s: %w", d.ID, err)
		}
		for _, v := range verdicts {
			judged[v.Update] = v
			s.admitted(d, v, parts)
		}
	}
	here := sync.OnceValue(func() task.Here { return s.here(d) })
	for _, b := range s.begun {
		s.elsewhere(d, b, judged[b.ID], here, parts)
	}
	s.put(number, parts)
	return nil
}

// admitted are the parts in rollouts by tasks that admit an update to the device.
func (s *sight) admitted(d index.Device, v plan.Verdict, parts map[key]part) {
	for _, id := range v.Tasks {
		if _, ringed := s.tasks[id]; !ringed {
			continue
		}
		if u, known := s.v.Update(v.Update); known {
			parts[key{id, u.ID}] = part{outcome: s.outcome(d, u, v), wanted: v.Cause != installation.Revoked}
		}
	}
}

// elsewhere are the parts in rollouts that have begun and that no verdict speaks of: the device has the update, or it was counted
// before, or its package manager is at it.
func (s *sight) elsewhere(d index.Device, b begun, v plan.Verdict, here func() task.Here, parts map[key]part) {
	there := b.Has.Contains(d.Number) || b.Half.Contains(d.Number)
	row, reported := d.Install(b.ID)
	if !there && !reported {
		return
	}
	for _, state := range b.states {
		k := key{state.Task, b.ID}
		if _, done := parts[k]; done {
			continue
		}
		marked := counted(state, d.ID)
		concerns := there && !d.Retired() || underWay(row)
		if !marked && (!concerns || !covers(here(), state.Task)) {
			continue
		}
		if v.Action == "" {
			v.Action = plan.None
		}
		parts[k] = part{outcome: s.outcome(d, b.Update, v), wanted: there && v.Action != plan.Remove && !b.Recalled() && s.admits(d, b.Update, state.Task, here)}
	}
}

// admits reports whether a task lets a device have an update that it has already: of those no verdict speaks.
func (s *sight) admits(d index.Device, u index.Update, id string, here func() task.Here) bool {
	k := admission{key{id, u.ID}, d.Group}
	if yes, known := s.known[k]; known && !s.selects {
		return yes
	}
	now, at := s.index.Now().UTC(), here()
	a := at.Admit(criteria.Update{Update: *u.Update, Installed: u.Version, Now: now}, s.v.Status(u.Release, d.Group, now).Status)
	s.known[k] = a.Admitted && slices.ContainsFunc(a.Terms.Tasks(), func(t task.Task) bool { return t.ID == id })
	return s.known[k]
}

// counted reports whether a device was counted in a rollout.
func counted(s rollout.State, id fleet.DeviceID) bool {
	return slices.ContainsFunc(s.Rings, func(r rollout.RingState) bool { _, ok := r.Marks[id]; return ok })
}

// underWay reports whether a device is at something that it finishes whatever is decided (C7).
func underWay(row store.InstallRow) bool {
	switch row.State {
	case installation.Installing, installation.ResultUnknown, installation.RestartRequired:
		return true
	}
	return false
}

// here says which tasks cover a device, as plan.Compute does.
func (s *sight) here(d index.Device) task.Here {
	tree := s.v.Tree()
	path := tree.Path(d.Group)
	var names []string
	for _, id := range path {
		if g, ok := tree.Get(id); ok {
			names = append(names, g.Name)
		}
	}
	return s.v.Tasks().On(path, criteria.Device{Device: d.Device, Groups: names, Test: tree.Test(d.Group), Facts: d.Facts, Seen: d.Contact.LastSeen, Now: s.index.Now().UTC()})
}

func covers(here task.Here, id string) bool {
	return slices.ContainsFunc(here.Tasks(), func(t task.Task) bool { return t.ID == id })
}

// put notes the parts of a device. A track of which nothing differs is not looked at again.
func (c *Conductor) put(number uint32, parts map[key]part) {
	for _, k := range c.on[number] {
		if _, still := parts[k]; !still {
			c.tracks[k].drop(number)
		}
	}
	c.on[number] = c.on[number][:0]
	for k, p := range parts {
		c.track(k).put(number, p)
		c.on[number] = append(c.on[number], k)
	}
}

func (t *track) drop(number uint32) {
	if t == nil {
		return // its task is gone
	}
	if p, ok := t.parts[number]; ok {
		t.dirty = true
		if p.wanted {
			t.wanted--
		}
		delete(t.parts, number)
	}
}

func (t *track) put(number uint32, p part) {
	was, known := t.parts[number]
	if known && was.wanted == p.wanted && same(was.outcome, p.outcome) {
		return
	}
	t.drop(number)
	t.parts[number], t.dirty = p, true
	if p.wanted {
		t.wanted++
	}
}

// same compares what changes count; when the device was last heard of is looked at when it counts.
func same(a, b rollout.Outcome) bool {
	return a.Device == b.Device && a.Gone == b.Gone && a.State == b.State && a.Cause == b.Cause && a.Ours == b.Ours && a.Probe == b.Probe &&
		a.Since.Equal(b.Since) && slices.Equal(a.Path, b.Path)
}
