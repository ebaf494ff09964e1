package planner

import (
	"sync"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"assent/catalog"
	"assent/installation"
	"assent/plan"
	"assent/server/internal/index"
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

// Overdue reports whether the state lasts longer than it may (V1).
func (l Line) Overdue(now time.Time) bool { return !l.Deadline.IsZero() && !now.Before(l.Deadline) }

// board keeps, for all devices, the updates that ask for something: planned, held, under way, failed, or
// installed though declined. Everything else follows from the index's bitmaps. It is brought up to date
// when it is read, and only for devices that a change may have concerned.
type board struct {
	reading sync.Mutex // one reader brings it up to date at a time

	mu      sync.Mutex
	all     bool
	stained *roaring.Bitmap
	until   time.Time // when a decision that the board rests on ends by itself; zero: never
	lines   [][]Line  // by device number
	from    []*answer // by device number: the answer its lines follow from; nil when not from it alone
	tallies map[uint32]*Tally
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
const chunk = 64

// Refresh brings the board up to date with everything that changed before the call.
func (p *Planner) Refresh() error {
	b := &p.board
	b.reading.Lock()
	defer b.reading.Unlock()
	todo := b.todo(p.devices(), p.index.Now())
	for it := todo.ManyIterator(); ; {
		numbers := make([]uint32, chunk)
		n := it.NextMany(numbers)
		if n == 0 {
			return nil
		}
		var err error
		p.index.View(func(v *index.View) {
			for _, number := range numbers[:n] {
				if err = p.redraw(v, number); err != nil {
					return
				}
			}
		})
		if err != nil {
			b.stain(index.Change{Devices: todo})
			return err
		}
	}
}

func (p *Planner) devices() (n uint64) {
	p.index.View(func(v *index.View) { n = uint64(v.NumberOfDevices()) })
	return n
}

// todo takes the stains.
func (b *board) todo(devices uint64, now time.Time) *roaring.Bitmap {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.until.IsZero() && !now.Before(b.until) {
		b.all, b.until = true, time.Time{}
	}
	todo := b.stained
	if b.all {
		todo = roaring.New()
		todo.AddRange(0, devices)
	}
	b.all, b.stained = false, roaring.New()
	return todo
}

// redraw brings one device's lines up to date. A device that never reported a state has the same lines as
// long as it has the same answer.
func (p *Planner) redraw(v *index.View, number uint32) error {
	a, err := p.answer(v, number)
	if err != nil {
		return err
	}
	b := &p.board
	reported := v.Reported(number)
	if !reported && b.shows(number, a) {
		return nil
	}
	b.ends(a.until)
	lines := p.lines(v, v.Numbered(number), a)
	if reported {
		a = nil // its lines follow from more than the answer
	}
	b.put(number, lines, a)
	return nil
}

// shows reports whether a device's lines were drawn from this answer and nothing else.
func (b *board) shows(number uint32, a *answer) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return int(number) < len(b.from) && b.from[number] == a
}

// lines computes what asks for something on a device.
func (p *Planner) lines(v *index.View, d index.Device, a *answer) []Line {
	if d.Retired() {
		return nil
	}
	var out []Line
	judged := map[catalog.UpdateID]bool{}
	for _, verdict := range a.notable {
		judged[verdict.Update] = true
		if u, ok := v.Update(verdict.Update); ok {
			s := Standing(d, u, verdict)
			out = append(out, Line{Update: u.Number, Action: verdict.Action, State: s.State, Cause: s.Cause, Against: Against(verdict), Download: verdict.Download, Deadline: s.Deadline})
		}
	}
	for row := range d.Installs() {
		u, ok := v.Update(row.Update)
		if !ok || judged[row.Update] {
			continue
		}
		if s := Standing(d, u, plan.Verdict{Action: plan.None}); notableState(s.State) {
			out = append(out, Line{Update: u.Number, Action: plan.None, State: s.State, Cause: s.Cause, Deadline: s.Deadline})
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

// put replaces the lines of a device.
func (b *board) put(number uint32, lines []Line, from *answer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for int(number) >= len(b.lines) {
		b.lines, b.from = append(b.lines, nil), append(b.from, nil)
	}
	b.from[number] = from
	for _, l := range b.lines[number] {
		b.tallies[l.Update].drop(number)
	}
	b.lines[number] = lines
	for _, l := range lines {
		t := b.tallies[l.Update]
		if t == nil {
			t = &Tally{Planned: roaring.New(), Against: roaring.New(), States: map[installation.State]*roaring.Bitmap{}}
			b.tallies[l.Update] = t
		}
		t.add(number, l)
	}
}

func (t *Tally) drop(number uint32) {
	t.Planned.Remove(number)
	t.Against.Remove(number)
	for _, s := range t.States {
		s.Remove(number)
	}
}

func (t *Tally) add(number uint32, l Line) {
	if l.Action == plan.Install {
		t.Planned.Add(number)
	}
	if l.Against {
		t.Against.Add(number)
	}
	if t.States[l.State] == nil {
		t.States[l.State] = roaring.New()
	}
	t.States[l.State].Add(number)
}

// Board is the board at one moment, as of the last Refresh. It must not be kept.
type Board struct{ b *board }

// Read calls f with the board. f must be short and must not call the planner.
func (p *Planner) Read(f func(Board)) {
	p.board.mu.Lock()
	defer p.board.mu.Unlock()
	f(Board{&p.board})
}

// Lines lists what asks for something on a device.
func (b Board) Lines(device uint32) []Line {
	if int(device) >= len(b.b.lines) {
		return nil
	}
	return b.b.lines[device]
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

// Verdicts computes every verdict of a device, with all reasons.
func (p *Planner) Verdicts(v *index.View, d index.Device) []plan.Verdict {
	return plan.Compute(v.PlanInput(d, p.index.Now().UTC())).Verdicts
}
