package planner

import (
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"golang.org/x/sync/errgroup"

	"assent/catalog"
	"assent/installation"
	"assent/plan"
	"assent/server/internal/index"
	"assent/server/internal/store"
)

// Line is an update that asks for attention on a device.
type Line struct {
	Update   uint32 // number in the index
	Action   plan.Action
	State    installation.State
	Cause    installation.Cause
	Against  bool // installed though declined
	Download int64
	Deadline time.Time // when the state is overdue; zero: never
}

// Overdue reports whether the state lasts longer than it may on a device that was enrolled at a time (V1):
// a device that came later than the decision has had less time.
func (l Line) Overdue(now, enrolled time.Time) bool {
	due := l.Deadline
	if l.State == installation.Assigned && enrolled.Add(l.State.Deadline()).After(due) {
		due = enrolled.Add(l.State.Deadline())
	}
	return !l.Deadline.IsZero() && !now.Before(due)
}

// board keeps, for all devices, the updates that ask for something: planned, held, under way, failed, or
// installed though declined. Everything else follows from the index's bitmaps. Devices that have reported
// nothing share the lines of their answer; the others have lines of their own.
//
// It is brought up to date when it is read, and only for devices that a change may have concerned.
type board struct {
	reading sync.Mutex // one reader brings it up to date at a time

	mu      sync.Mutex
	all     bool
	stained *roaring.Bitmap
	until   time.Time // when a decision that the board rests on ends by itself; zero: never
	devices []drawn   // by device number
	tallies map[uint32]*Tally
}

// drawn is how a device stands on the board.
type drawn struct {
	from    *answer // whose lines it shares; nil when it has its own
	own     []Line
	pending int // releases that it could take and that nobody decided on
	told    Told
}

func (d drawn) lines() []Line {
	if d.from != nil {
		return d.from.lines
	}
	return d.own
}

// Told are the numbers of a device: how many updates are blocked on it, have failed there, and are to be installed.
type Told struct{ Blocked, Failed, Planned int }

func tell(lines []Line) (t Told) {
	for _, l := range lines {
		switch {
		case l.State == installation.Blocked:
			t.Blocked++
		case l.State == installation.Failed, l.State == installation.RemoveFailed:
			t.Failed++
		case l.Action == plan.Install:
			t.Planned++
		}
	}
	return t
}

// Tally is what the board knows of one update: device numbers. It must not be changed.
type Tally struct {
	Planned *roaring.Bitmap // verdict install
	Against *roaring.Bitmap // installed though declined
	States  map[installation.State]*roaring.Bitmap
}

func (b *board) init() { b.all, b.stained, b.tallies = true, roaring.New(), map[uint32]*Tally{} }

// stain notes that devices have to be looked at again.
func (b *board) stain(c index.Change) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all = b.all || c.All
	if c.Devices != nil {
		b.stained.Or(c.Devices)
	}
}

// chunk is how many devices are looked at in one View: readers and writers get their turn in between.
const chunk = 256

// step takes a set of devices from one answer to another.
type step struct{ from, to *answer }

// Refresh brings the board up to date with everything that changed before the call.
func (p *Planner) Refresh() error {
	b := &p.board
	b.reading.Lock()
	defer b.reading.Unlock()
	todo := b.todo(p.devices(), p.index.Now())
	if err := p.warm(todo); err != nil {
		b.stain(index.Change{Devices: todo})
		return err
	}
	steps := map[step]*roaring.Bitmap{}
	numbers := make([]uint32, chunk)
	for it := todo.ManyIterator(); ; {
		n := it.NextMany(numbers)
		if n == 0 {
			break
		}
		if err := p.redraw(numbers[:n], steps); err != nil {
			b.stain(index.Change{Devices: todo})
			return err
		}
	}
	b.take(steps)
	return nil
}

// warm finds the answers of many devices on all processors, so that drawing them one after the other is quick.
func (p *Planner) warm(todo *roaring.Bitmap) error {
	if todo.GetCardinality() <= chunk {
		return nil
	}
	group, parts := new(errgroup.Group), make(chan []uint32)
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() (err error) {
			for numbers := range parts { // to the end, whatever fails: somebody waits to hand over the next part
				if err == nil {
					err = p.answers(numbers)
				}
			}
			return err
		})
	}
	for numbers := range slices.Chunk(todo.ToArray(), chunk) {
		parts <- numbers
	}
	close(parts)
	return group.Wait()
}

// answers finds the answers of some devices.
func (p *Planner) answers(numbers []uint32) (err error) {
	p.index.View(func(v *index.View) {
		for _, n := range numbers {
			if _, err = p.answer(v, n); err != nil {
				return
			}
		}
	})
	return err
}

func (p *Planner) devices() (n uint64) {
	p.index.View(func(v *index.View) { n = uint64(v.NumberOfDevices()) })
	return n
}

// todo takes the stains, where there were so many devices a moment ago. A device that came since then is among them, and is
// behind the others.
func (b *board) todo(devices uint64, now time.Time) *roaring.Bitmap {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.until.IsZero() && !now.Before(b.until) {
		b.all, b.until = true, time.Time{}
	}
	todo := b.stained
	if b.all {
		todo.AddRange(0, devices)
	}
	if !todo.IsEmpty() {
		devices = max(devices, uint64(todo.Maximum())+1)
	}
	for uint64(len(b.devices)) < devices {
		b.devices = append(b.devices, drawn{})
	}
	b.all, b.stained = false, roaring.New()
	return todo
}

// redraw looks at some devices. Those that share lines are put down as steps, to be taken together.
func (p *Planner) redraw(numbers []uint32, steps map[step]*roaring.Bitmap) (err error) {
	b := &p.board
	p.index.View(func(v *index.View) {
		for _, number := range numbers {
			var a *answer
			if a, err = p.answer(v, number); err != nil {
				return
			}
			b.ends(a.due())
			was := b.devices[number] // only Refresh changes it
			if v.Reported(number) {
				own := p.lines(v, v.Numbered(number), a)
				b.put(number, drawn{own: own, pending: a.pending, told: tell(own)})
				continue
			}
			if was.from == a {
				continue
			}
			s := step{was.from, a}
			if steps[s] == nil {
				steps[s] = roaring.New()
			}
			steps[s].Add(number)
		}
	})
	return err
}

// take moves whole sets of devices from the lines of one answer to those of another.
func (b *board) take(steps map[step]*roaring.Bitmap) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for s, devices := range steps {
		if s.from != nil {
			for _, l := range s.from.lines {
				b.tallies[l.Update].drop(l, devices)
			}
		}
		for _, l := range s.to.lines {
			b.tally(l.Update).add(l, devices)
		}
		for it := devices.Iterator(); it.HasNext(); {
			b.devices[it.Next()] = drawn{from: s.to, pending: s.to.pending, told: s.to.told}
		}
	}
}

// put gives a device lines of its own.
func (b *board) put(number uint32, to drawn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	one := roaring.BitmapOf(number)
	for _, l := range b.devices[number].lines() {
		b.tallies[l.Update].drop(l, one)
	}
	b.devices[number] = to
	for _, l := range to.own {
		b.tally(l.Update).add(l, one)
	}
}

// tally returns the tally of an update, made on first use.
func (b *board) tally(update uint32) *Tally {
	t := b.tallies[update]
	if t == nil {
		t = &Tally{Planned: roaring.New(), Against: roaring.New(), States: map[installation.State]*roaring.Bitmap{}}
		b.tallies[update] = t
	}
	return t
}

func (t *Tally) drop(l Line, devices *roaring.Bitmap) {
	t.Planned.AndNot(devices)
	t.Against.AndNot(devices)
	if s := t.States[l.State]; s != nil {
		s.AndNot(devices)
	}
}

func (t *Tally) add(l Line, devices *roaring.Bitmap) {
	if l.Action == plan.Install {
		t.Planned.Or(devices)
	}
	if l.Against {
		t.Against.Or(devices)
	}
	if t.States[l.State] == nil {
		t.States[l.State] = roaring.New()
	}
	t.States[l.State].Or(devices)
}

// shared are the lines that all devices with an answer have that reported nothing; d is one of them.
func shared(v *index.View, d index.Device, notable []plan.Verdict) []Line {
	if d.Retired() {
		return nil
	}
	d.EnrolledAt = time.Time{} // differs between them; Line.Overdue sees to it
	var out []Line
	for _, verdict := range notable {
		if u, ok := v.Update(verdict.Update); ok {
			out = append(out, line(u, verdict, standing(store.InstallRow{}, false, d, u, verdict)))
		}
	}
	return out
}

func line(u index.Update, v plan.Verdict, s Stand) Line {
	return Line{Update: u.Number, Action: v.Action, State: s.State, Cause: s.Cause, Against: Against(v), Download: v.Download, Deadline: s.Deadline}
}

// lines computes what asks for something on a device that has reported states.
func (p *Planner) lines(v *index.View, d index.Device, a *answer) []Line {
	if d.Retired() {
		return nil
	}
	var out []Line
	judged := map[catalog.UpdateID]bool{}
	for _, verdict := range a.notable {
		judged[verdict.Update] = true
		if u, ok := v.Update(verdict.Update); ok {
			out = append(out, line(u, verdict, Standing(d, u, verdict)))
		}
	}
	for row := range d.Installs() {
		u, ok := v.Update(row.Update)
		if !ok || judged[row.Update] {
			continue
		}
		none := plan.Verdict{Action: plan.None}
		if s := Standing(d, u, none); notableState(s.State) {
			out = append(out, line(u, none, s))
		}
	}
	return out
}

// ends notes when an answer that the board rests on ends by itself.
func (b *board) ends(at time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !at.IsZero() && (b.until.IsZero() || at.Before(b.until)) {
		b.until = at
	}
}

// notableState are the states that do not follow from the index's bitmaps.
func notableState(s installation.State) bool {
	switch s {
	case installation.Installed, installation.Applicable, installation.NotApplicable, installation.Unknown:
		return false
	}
	return true
}

// Board is the board at one moment, as of the last Refresh. It must not be kept.
type Board struct{ b *board }

// Read calls f with the board. f must be short and must not call the planner.
func (p *Planner) Read(f func(Board)) {
	p.board.mu.Lock()
	defer p.board.mu.Unlock()
	f(Board{&p.board})
}

// Lines lists what asks for something on a device. They must not be changed.
func (b Board) Lines(device uint32) []Line {
	if int(device) >= len(b.b.devices) {
		return nil
	}
	return b.b.devices[device].lines()
}

// Pending is how many releases a device could take that nobody decided on.
func (b Board) Pending(device uint32) int {
	if int(device) >= len(b.b.devices) {
		return 0
	}
	return b.b.devices[device].pending
}

// Told are the numbers of a device.
func (b Board) Told(device uint32) Told {
	if int(device) >= len(b.b.devices) {
		return Told{}
	}
	return b.b.devices[device].told
}

// Tally returns what the board knows of an update; the zero Tally when nothing asks for anything.
func (b Board) Tally(update uint32) Tally {
	if t := b.b.tallies[update]; t != nil {
		return *t
	}
	return Tally{}
}

// Notable returns the verdicts of a device that ask for something, from the same computation as its plan.
func (p *Planner) Notable(v *index.View, d index.Device) ([]plan.Verdict, error) {
	a, err := p.answer(v, d.Number)
	if err != nil {
		return nil, err
	}
	return a.notable, nil
}

// Digest names the plan of a device as it is now, from the same computation.
func (p *Planner) Digest(v *index.View, d index.Device) (string, error) {
	a, err := p.answer(v, d.Number)
	if err != nil {
		return "", err
	}
	return a.digest, nil
}

// Verdicts computes every verdict of a device, with all reasons.
func (p *Planner) Verdicts(v *index.View, d index.Device) []plan.Verdict {
	return plan.Compute(v.PlanInput(d, p.index.Now().UTC())).Verdicts
}
