package decide

import (
	"cmp"
	"context"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"assent/catalog"
	"assent/client"
	"assent/installation"
	"assent/plan"
	"assent/server/internal/index"
)

// Bounds on a preview.
const (
	previewBudget = 5 * time.Second // an act is durable before; nobody should wait longer for what it means
	maxNames      = 1000            // device names under one reason
)

// preview computes what an act means: plan.Compute before against after, for the devices of its scope
// whose documents speak of the software. Devices with the same facts are computed once.
func (s *Service) preview(ctx context.Context, a *act) (client.Preview, error) {
	p := &previewer{act: a, now: s.index.Now().UTC(), updates: map[catalog.UpdateID]*previewed{}, tasks: map[string]int{}, when: map[string]string{}}
	for _, u := range a.updates {
		p.updates[u.ID] = &previewed{PreviewUpdate: client.PreviewUpdate{UpdateRef: ref(u)}, named: true}
	}
	deadline := time.Now().Add(previewBudget)
	for classes := range slices.Chunk(s.classes(p), 8*runtime.GOMAXPROCS(0)) {
		if err := alive(ctx); err != nil {
			return client.Preview{}, err
		}
		if time.Now().After(deadline) {
			for _, class := range classes {
				p.out.Unseen += int(class.GetCardinality())
			}
			continue
		}
		for i, j := range s.judged(p, classes) {
			s.index.View(func(v *index.View) { p.class(v, classes[i], j) })
		}
	}
	return p.result(), nil
}

// judged is what plan.Compute says to devices with one set of facts.
type judged struct {
	before map[catalog.UpdateID]plan.Verdict
	after  []plan.Verdict
}

// judged judges classes on all processors. They are summed up one after the other, so that the sums never depend on who was
// first.
func (s *Service) judged(p *previewer, classes []*roaring.Bitmap) []judged {
	out := make([]judged, len(classes))
	var next atomic.Int64
	var group sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(classes)) {
		group.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(classes)); i = next.Add(1) - 1 {
				s.index.View(func(v *index.View) { out[i] = p.judge(v, classes[i]) })
			}
		})
	}
	group.Wait()
	return out
}

// classes groups the devices that may be concerned by what plan.Compute looks at.
func (s *Service) classes(p *previewer) []*roaring.Bitmap {
	byKey := map[index.PlanKey]*roaring.Bitmap{}
	var order []*roaring.Bitmap
	s.index.View(func(v *index.View) {
		concerned := roaring.New()
		for _, u := range p.act.updates {
			concerned.Or(v.Concerning(u.Software))
		}
		concerned.And(v.In(p.act.body.Scope))
		for it := concerned.Iterator(); it.HasNext(); {
			n := it.Next()
			key, _ := v.PlanKey(n)
			if byKey[key] == nil {
				byKey[key] = roaring.New()
				order = append(order, byKey[key])
			}
			byKey[key].Add(n)
		}
	})
	return order
}

// previewer sums up what an act means.
type previewer struct {
	act     *act
	now     time.Time
	updates map[catalog.UpdateID]*previewed
	out     client.Preview
	tasks   map[string]int    // name of a task -> devices on which it would install
	when    map[string]string // name of a task -> when it installs, in words
}

// previewed is the part of one update.
type previewed struct {
	client.PreviewUpdate
	named   bool // the act decides on it; else it only comes free with it
	blocked map[blockKey]*client.PreviewBlocked
}

type blockKey struct {
	cause         installation.Cause
	detail, needs string
}

// judge computes the verdicts on the devices with one set of facts. It changes nothing of p.
func (p *previewer) judge(v *index.View, devices *roaring.Bitmap) judged {
	d := v.Numbered(devices.Minimum())
	return judged{before: byUpdate(plan.Compute(v.PlanInputAt(d, p.now, p.act.before)).Verdicts), after: plan.Compute(v.PlanInputAt(d, p.now, p.act.after)).Verdicts}
}

// class adds the devices with one set of facts.
func (p *previewer) class(v *index.View, devices *roaring.Bitmap, j judged) {
	d, before, after := v.Numbered(devices.Minimum()), j.before, j.after
	var fresh []plan.Verdict // what the act has installed
	n, changed := int(devices.GetCardinality()), false
	for _, verdict := range after {
		was := before[verdict.Update]
		delete(before, verdict.Update)
		switch {
		case verdict.Action == plan.Install:
			if was.Action != plan.Install {
				changed = true
				fresh = append(fresh, verdict)
				p.install(v, verdict, n)
			}
		case was.Action == plan.Install && verdict.Superseded == "":
			changed = true
			p.out.Withdrawn += n
		case verdict.Action == plan.Remove && was.Action != plan.Remove:
			changed = true
			p.out.Removals += n
		}
		if u := p.updates[verdict.Update]; u != nil && u.named {
			p.named(v, u, verdict, devices)
		}
	}
	p.installed(v, fresh, n)
	p.kept(v, d, after, n)
	if changed {
		p.out.Devices += n
		p.out.Offline += offline(v, devices)
		if a := d.Available(); a == nil || !a.Closed {
			p.out.Unclear += n
		}
	}
}

func byUpdate(list []plan.Verdict) map[catalog.UpdateID]plan.Verdict {
	out := make(map[catalog.UpdateID]plan.Verdict, len(list))
	for _, verdict := range list {
		out[verdict.Update] = verdict
	}
	return out
}

// install adds an install that the act brings about, of a decided update or of one that waited for it.
func (p *previewer) install(v *index.View, verdict plan.Verdict, n int) {
	u := p.updates[verdict.Update]
	if u == nil {
		known, ok := v.Update(verdict.Update)
		if !ok {
			return
		}
		u = &previewed{PreviewUpdate: client.PreviewUpdate{UpdateRef: ref(known)}}
		p.updates[verdict.Update] = u
	}
	p.out.Installs += n
	p.out.Download += int64(n) * verdict.Download
	u.Install += n
	u.Download += int64(n) * verdict.Download
	for _, it := range verdict.Extras {
		if !slices.Contains(u.Extras, it) {
			u.Extras = append(u.Extras, it)
		}
	}
	for _, it := range verdict.Removes {
		if !slices.Contains(u.Removes, it) {
			u.Removes = append(u.Removes, it)
		}
	}
}

// named adds what there is to say of an update that the act decides on.
func (p *previewer) named(v *index.View, u *previewed, verdict plan.Verdict, devices *roaring.Bitmap) {
	if verdict.Installed {
		u.Have += int(devices.GetCardinality())
	}
	if verdict.Action != plan.Hold {
		return
	}
	key := blockKey{cause: verdict.Cause, needs: needsKey(verdict.Needs)}
	if n := len(verdict.Reasons); n > 0 {
		key.detail = verdict.Reasons[n-1].Text
	}
	if u.blocked == nil {
		u.blocked = map[blockKey]*client.PreviewBlocked{}
	}
	b := u.blocked[key]
	if b == nil {
		b = &client.PreviewBlocked{Cause: key.cause, Detail: key.detail, Needs: needed(verdict.Needs)}
		u.blocked[key] = b
	}
	for it := devices.Iterator(); it.HasNext() && len(b.Devices) < maxNames; {
		b.Devices = append(b.Devices, v.Numbered(it.Next()).Name)
	}
}

func needsKey(needs []catalog.Release) string {
	var b strings.Builder
	for _, r := range needs {
		b.WriteString(r.PURL())
		b.WriteByte(' ')
	}
	return b.String()
}

func needed(needs []catalog.Release) []client.UpdateRef {
	var out []client.UpdateRef
	for _, r := range needs {
		out = append(out, client.UpdateRef{ID: r.ID(), PURL: r.PURL(), Name: r.Name, Version: r.Version})
	}
	return out
}

func offline(v *index.View, devices *roaring.Bitmap) (n int) {
	for it := devices.Iterator(); it.HasNext(); {
		if !v.Numbered(it.Next()).Connected {
			n++
		}
	}
	return n
}

// result puts the sums in order: the act's updates as they were given, then what comes free with them.
func (p *previewer) result() client.Preview {
	p.out.Updates = []client.PreviewUpdate{}
	for _, name := range slices.Sorted(maps.Keys(p.tasks)) {
		p.out.Tasks = append(p.out.Tasks, client.PreviewTask{Task: name, When: p.when[name], Devices: p.tasks[name]})
	}
	for _, u := range p.act.updates {
		p.out.Updates = append(p.out.Updates, p.updates[u.ID].finish())
	}
	var freed []client.PreviewUpdate
	for _, u := range p.updates {
		if !u.named {
			freed = append(freed, u.finish())
		}
	}
	slices.SortFunc(freed, func(a, b client.PreviewUpdate) int { return cmp.Compare(a.ID, b.ID) })
	p.out.Updates = append(p.out.Updates, freed...)
	return p.out
}

func (u *previewed) finish() client.PreviewUpdate {
	for _, b := range u.blocked {
		slices.Sort(b.Devices)
		u.Blocked = append(u.Blocked, *b)
	}
	slices.SortFunc(u.Blocked, func(a, b client.PreviewBlocked) int {
		return cmp.Or(cmp.Compare(len(b.Devices), len(a.Devices)), cmp.Compare(a.Cause, b.Cause), cmp.Compare(a.Detail, b.Detail))
	})
	slices.SortFunc(u.Extras, func(a, b catalog.Item) int { return cmp.Compare(a.Key(), b.Key()) })
	return u.PreviewUpdate
}
