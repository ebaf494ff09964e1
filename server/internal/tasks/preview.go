package tasks

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"assent/approval"
	"assent/catalog"
	"assent/client"
	"assent/criteria"
	"assent/fault"
	"assent/fleet"
	"assent/installation"
	"assent/plan"
	"assent/server/internal/auth"
	"assent/server/internal/index"
	"assent/task"
	"assent/window"
)

// Bounds on a preview. Nobody should wait longer for what a task would mean.
const (
	previewBudget = 4 * time.Second
	previewPlans  = 2000 // that are computed twice: devices with the same facts in the same group share one
	previewNames  = 100  // updates that are named
	countBatch    = 1000 // updates between two looks at whether the caller still waits
)

// Preview says what a task would mean if it stood in the place of the task with its id: by plan.Compute with the tasks replaced, and
// nothing is kept of it.
func (s *Service) Preview(ctx context.Context, who auth.Actor, r client.TaskRequest) (client.TaskPreview, error) {
	p := &previewer{ctx: ctx, now: s.index.Now().UTC(), install: map[catalog.UpdateID]*roaring.Bitmap{}, ringed: map[catalog.UpdateID]*roaring.Bitmap{}, held: map[installation.Cause]*heldBack{}, removes: map[string]*roaring.Bitmap{}}
	var err error
	s.index.View(func(v *index.View) { err = p.begin(&desk{View: v, who: who, now: p.now}, r.Task) })
	if err != nil {
		return client.TaskPreview{}, err
	}
	deadline := time.Now().Add(previewBudget)
	for _, class := range spread(p.classes, previewPlans) {
		if err := alive(ctx); err != nil {
			return client.TaskPreview{}, err
		}
		if time.Now().After(deadline) {
			break
		}
		s.index.View(func(v *index.View) { p.class(v, class) })
	}
	s.index.View(p.finish)
	return p.out, nil
}

// alive stops long work when the caller has gone.
func alive(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fault.New(fault.Unavailable, "cancelled", "The request was cancelled.").Because(err)
	}
	return nil
}

// spread takes at most n of many, evenly: of a large fleet, not only what enrolled first.
func spread[T any](all []T, n int) []T {
	if len(all) <= n {
		return all
	}
	out := make([]T, n)
	for i := range out {
		out[i] = all[i*len(all)/n]
	}
	return out
}

// previewer sums up what a task would mean.
type previewer struct {
	ctx      context.Context
	now      time.Time
	task     task.Task
	alone    task.Set // the task and no other: which updates it admits
	after    task.Set // all tasks, with this one in its place
	classes  []*roaring.Bitmap
	devices  *roaring.Bitmap // that it covers
	windows  window.Windows
	out      client.TaskPreview
	install  map[catalog.UpdateID]*roaring.Bitmap // devices on which it would install
	ringed   map[catalog.UpdateID]*roaring.Bitmap
	held     map[installation.Cause]*heldBack
	removes  map[string]*roaring.Bitmap // devices on which a package of this name would go
	download int64
	later    int64
}

type heldBack struct {
	updates map[catalog.UpdateID]bool
	devices *roaring.Bitmap
	detail  string
}

// begin checks the task and finds the devices that it covers, those with the same plan together.
func (p *previewer) begin(d *desk, t task.Task) (err error) {
	if p.task, err = d.check(t); err != nil {
		return err
	}
	if err = d.may(p.task); err != nil {
		return err
	}
	if p.windows, err = window.Parse(p.task.Schedule); err != nil {
		return err
	}
	if p.out.Figures, p.out.Warnings, err = d.figures(p.ctx, p.task); err != nil {
		return err
	}
	tried := p.task
	tried.Enabled = true // what it would do, not that it does nothing
	p.out.Task = p.task
	if p.alone, err = task.NewSet(tried); err != nil {
		return err
	}
	others := slices.DeleteFunc(d.Tasks().Tasks(), func(o task.Task) bool { return o.ID == tried.ID })
	if p.after, err = task.NewSet(append(others, tried)...); err != nil {
		return err
	}
	p.devices = p.selected(d)
	p.classes = p.classify(d.View)
	return nil
}

// selected is the set of devices that the task covers.
func (p *previewer) selected(d *desk) *roaring.Bitmap {
	set := d.covered(p.task)
	if p.task.Targets.Selection == "" {
		return set
	}
	out := roaring.New()
	for it := set.Iterator(); it.HasNext(); {
		dev := d.Numbered(it.Next())
		in := d.PlanInput(dev, p.now)
		if here := in.On(p.alone); len(here.Tasks()) > 0 {
			out.Add(dev.Number)
		}
	}
	return out
}

// classify puts devices together that plan.Compute cannot tell apart, the largest first.
func (p *previewer) classify(v *index.View) []*roaring.Bitmap {
	_, fields := p.alone.Reads()
	byKey := map[index.PlanKey]*roaring.Bitmap{}
	var out []*roaring.Bitmap
	for it := p.devices.Iterator(); it.HasNext(); {
		n := it.Next()
		key, _ := v.PlanKey(n)
		if len(fields) > 0 && key.Selected == "" {
			key.Selected = string(v.DeviceID(n))
		}
		if byKey[key] == nil {
			byKey[key] = roaring.New()
			out = append(out, byKey[key])
		}
		byKey[key].Add(n)
	}
	slices.SortStableFunc(out, func(a, b *roaring.Bitmap) int { return cmp.Compare(b.GetCardinality(), a.GetCardinality()) })
	return out
}

// class adds devices with one plan.
func (p *previewer) class(v *index.View, devices *roaring.Bitmap) {
	one := v.Numbered(devices.Minimum())
	if one.State != fleet.Active { // it gets no plan
		p.out.Computed += int(devices.GetCardinality())
		return
	}
	in := v.PlanInput(one, p.now)
	in.Foresee = true // what installs in its turn installs
	before := map[catalog.UpdateID]bool{}
	for _, verdict := range plan.Compute(in).Verdicts {
		if verdict.Action == plan.Install {
			before[verdict.Update] = true
		}
	}
	in.Tasks = p.after
	here := in.On(p.alone)
	n := int(devices.GetCardinality())
	p.out.Computed += n
	for _, verdict := range plan.Compute(in).Verdicts {
		was := before[verdict.Update]
		delete(before, verdict.Update)
		if verdict.Action == plan.Install && !was {
			p.out.Gained += n
		} else if was && verdict.Action != plan.Install {
			p.out.Lost += n
		}
		if (verdict.Action == plan.Install || verdict.Action == plan.Hold) && p.admits(v, in, here, verdict) {
			p.judged(verdict, devices)
		}
	}
	p.out.Lost += n * len(before)
}

// admits reports whether the task admits what a verdict is about: other tasks may lead and this one restrict.
func (p *previewer) admits(v *index.View, in plan.Input, here task.Here, verdict plan.Verdict) bool {
	known, ok := v.Update(verdict.Update)
	if !ok {
		return false
	}
	asked := in.Asked(*known.Update, verdict.Release)
	return here.Admit(asked, verdict.Status).Admitted
}

// judged adds one verdict on devices with one plan.
func (p *previewer) judged(verdict plan.Verdict, devices *roaring.Bitmap) {
	n := int64(devices.GetCardinality())
	switch {
	case verdict.Action == plan.Install:
		addTo(p.install, verdict.Update, devices)
		p.download += n * verdict.Download
		for _, it := range verdict.Removes {
			addTo(p.removes, it.Name, devices)
		}
	case verdict.Cause == installation.RingNotOpen:
		addTo(p.ringed, verdict.Update, devices)
		p.later += n * verdict.Download
	default:
		h := p.held[verdict.Cause]
		if h == nil {
			h = &heldBack{updates: map[catalog.UpdateID]bool{}, devices: roaring.New()}
			p.held[verdict.Cause] = h
		}
		h.updates[verdict.Update] = true
		h.devices.Or(devices)
		if k := len(verdict.Reasons); k > 0 && h.detail == "" {
			h.detail = verdict.Reasons[k-1].Text
		}
	}
}

func addTo[K comparable](to map[K]*roaring.Bitmap, id K, devices *roaring.Bitmap) {
	if to[id] == nil {
		to[id] = roaring.New()
	}
	to[id].Or(devices)
}

// finish puts the sums in order.
func (p *previewer) finish(v *index.View) {
	p.out.Devices = int(p.devices.GetCardinality())
	p.out.Install, p.out.Ringed = sum(p.install, p.download), sum(p.ringed, p.later)
	p.out.Foreseen = p.foreseen(v)
	d := &desk{View: v, now: p.now}
	p.out.Windows = windowsOf(p.windows, p.now, func() map[string]int { return d.zones(p.devices) })
	p.out.Held, p.out.Updates, p.out.Removes = []client.TaskHeld{}, []client.TaskUpdate{}, []client.TaskRemoved{}
	for _, name := range slices.Sorted(maps.Keys(p.removes)) {
		p.out.Removes = append(p.out.Removes, client.TaskRemoved{Name: name, Devices: int(p.removes[name].GetCardinality())})
	}
	for _, cause := range slices.Sorted(maps.Keys(p.held)) {
		h := p.held[cause]
		p.out.Held = append(p.out.Held, client.TaskHeld{Cause: cause, Updates: len(h.updates), Devices: int(h.devices.GetCardinality()), Detail: h.detail})
	}
	for _, id := range slices.Sorted(maps.Keys(p.install)) {
		if u, ok := v.Update(id); ok {
			p.out.Updates = append(p.out.Updates, client.TaskUpdate{UpdateRef: client.UpdateOf(u.Release), Devices: int(p.install[id].GetCardinality())})
		}
	}
	slices.SortStableFunc(p.out.Updates, func(a, b client.TaskUpdate) int {
		return cmp.Or(cmp.Compare(b.Devices, a.Devices), cmp.Compare(a.Name, b.Name))
	})
	p.out.Updates = p.out.Updates[:min(len(p.out.Updates), previewNames)]
	p.out.Sentence = p.sentence()
}

// foreseen counts the installs that devices found beforehand would fail.
func (p *previewer) foreseen(v *index.View) (n int) {
	for it := p.devices.Iterator(); it.HasNext(); {
		d := v.Numbered(it.Next())
		for _, u := range d.WouldFail() {
			for _, devices := range []*roaring.Bitmap{p.install[u.Update], p.ringed[u.Update]} {
				if devices != nil && devices.Contains(d.Number) {
					n++
				}
			}
		}
	}
	return n
}

func sum(installs map[catalog.UpdateID]*roaring.Bitmap, download int64) client.TaskInstalls {
	out := client.TaskInstalls{Updates: len(installs), Download: download}
	all := roaring.New()
	for _, devices := range installs {
		out.Installs += int(devices.GetCardinality())
		all.Or(devices)
	}
	out.Devices = int(all.GetCardinality())
	return out
}

// sentence says in short what a task would mean.
func (p *previewer) sentence() string {
	matches := 0
	for _, r := range p.out.Figures.Rules {
		matches = max(matches, r.Matches)
	}
	what := "It matches nothing: it has no rules"
	if len(p.task.Rules) > 0 {
		what = fmt.Sprintf("It admits %s now", many(p.out.Figures.Admits, "update"))
		if len(p.task.Rules) == 1 {
			what = fmt.Sprintf("It matches %s now", many(matches, "update"))
		}
	}
	out := fmt.Sprintf("%s; %d would install on %s", what, p.out.Install.Updates, many(p.out.Install.Devices, "device"))
	if p.out.Ringed.Updates > 0 {
		out += fmt.Sprintf("; %d wait on %s for their ring", p.out.Ringed.Updates, many(p.out.Ringed.Devices, "device"))
	}
	if p.out.Foreseen > 0 {
		out += fmt.Sprintf("; %d of these installs would fail, as devices found beforehand", p.out.Foreseen)
	}
	out += "; " + p.opens() + "."
	if p.out.Computed < p.out.Devices {
		out += fmt.Sprintf(" There are too many different devices to look at all of them: this is what %d of the %d say.", p.out.Computed, p.out.Devices)
	}
	return out
}

// opens says when the next window opens, for the zones of most devices.
func (p *previewer) opens() string {
	if len(p.out.Windows) == 0 {
		return "at any time"
	}
	var parts []string
	for _, w := range p.out.Windows[:min(len(p.out.Windows), 3)] {
		parts = append(parts, opens(w))
	}
	text := "next window " + strings.Join(parts, ", ")
	if more := len(p.out.Windows) - len(parts); more > 0 {
		text += fmt.Sprintf(" and %s more", many(more, "zone"))
	}
	return text
}

func opens(w client.TaskWindow) string {
	zone, err := window.LoadZone(w.Zone)
	switch {
	case w.Open:
		return fmt.Sprintf("is open (%s)", w.Zone)
	case err != nil || !zone.Known():
		return fmt.Sprintf("never where the zone is not known (%s)", many(w.Devices, "device"))
	case w.Start.IsZero():
		return fmt.Sprintf("never again (%s)", w.Zone)
	}
	return fmt.Sprintf("%s (%s)", local(w.Start, w.Zone).Format("Mon 2 Jan 15:04"), w.Zone)
}

// local is an instant on the clock of a zone; UTC where it is not known.
func local(t time.Time, zone string) time.Time {
	loc, err := time.LoadLocation(zone)
	if err != nil || zone == "" {
		return t.UTC()
	}
	return t.In(loc)
}

func many(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// figures counts what the rules of a task match of all known updates, and what is probably not meant.
func (d *desk) figures(ctx context.Context, t task.Task) (task.Figures, []task.Warning, error) {
	test := len(t.Targets.Groups) > 0 && !slices.ContainsFunc(t.Targets.Groups, func(g fleet.GroupID) bool { return !d.Tree().Test(g) })
	f, err := task.Count(t, test, d.candidates(ctx, t))
	if err == nil {
		err = alive(ctx)
	}
	if err != nil {
		return task.Figures{}, []task.Warning{}, err
	}
	return f, append([]task.Warning{}, d.meant(t, f)...), nil
}

// meant leaves out warnings that say nothing: whether a rule that asks for the device is met is not known without one.
func (d *desk) meant(t task.Task, f task.Figures) []task.Warning {
	return slices.DeleteFunc(task.Warnings(t, d.Tree(), f), func(w task.Warning) bool {
		if w.Code != task.WarnUnknown {
			return false
		}
		for i, r := range t.Rules {
			if compiled, err := criteria.CompileRule(r.Criteria); err == nil && w.Field == fmt.Sprintf("rules[%d].criteria", i) {
				return compiled.PerDevice()
			}
		}
		return false
	})
}

// candidates are all known updates as seen from the task's groups: approved if one of them approved it, declined if all declined it.
func (d *desk) candidates(ctx context.Context, t task.Task) iter.Seq[task.Candidate] {
	return func(yield func(task.Candidate) bool) {
		n := 0
		for u := range d.Updates() {
			if n++; n%countBatch == 0 && ctx.Err() != nil {
				return
			}
			if !yield(task.Candidate{Update: criteria.Update{Update: *u.Update, Unplaced: true, Now: d.now}, Status: d.seen(u, t)}) {
				return
			}
		}
	}
}

func (d *desk) seen(u index.Update, t task.Task) approval.Status {
	out := approval.Declined
	for _, g := range t.Targets.Groups {
		switch d.Status(u.Release, g, d.now).Status {
		case approval.Approved:
			return approval.Approved
		case approval.Undefined:
			out = approval.Undefined
		}
	}
	return out
}
