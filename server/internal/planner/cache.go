package planner

import (
	"container/list"
	"fmt"
	"sync"
	"time"

	"assent/approval"
	"assent/fleet"
	"assent/plan"
	"assent/server/internal/index"
	"assent/wire"
)

// answer is what plan.Compute says to one key, without the bulk: the plan's digest and the verdicts that
// ask for something.
type answer struct {
	version int64
	until   time.Time // when a decision it rests on ends by itself; zero: never
	turns   time.Time // when a task may answer differently by itself, because an age is reached; zero: never
	digest  string
	notable []plan.Verdict // install, hold, remove, and installed though declined; the last reason only
	lines   []Line         // the same on the board, for devices that have reported nothing
	pending int            // releases that the device could take and that nobody decided on
	told    Told           // the numbers of lines
}

// earlier is the earlier of two times of which zero means never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// due is when the answer has to be looked for anew; zero: when something changes.
func (a *answer) due() time.Time {
	return earlier(a.until, a.turns)
}

// slot holds the answer of a key. Its lock makes devices with the same key wait for one computation.
type slot struct {
	mu     sync.Mutex
	answer *answer
	used   bool // since the last sweep
}

// maxBodies bounds the memory of plan bodies; what is not kept is computed again when it is asked for.
const maxBodies = 64 << 20

// cache keeps answers by key and some bodies by digest.
type cache struct {
	mu       sync.Mutex
	slots    map[index.PlanKey]*slot
	limit    int                       // slots before the next sweep
	examples map[string]fleet.DeviceID // digest -> a device that has this plan
	bodies   map[string]*list.Element  // digest -> *body in order
	order    *list.List                // most recently used first
	bytes    int
}

type body struct {
	digest string
	data   []byte
}

func (c *cache) init() {
	c.slots, c.examples = map[index.PlanKey]*slot{}, map[string]fleet.DeviceID{}
	c.bodies, c.order, c.limit = map[string]*list.Element{}, list.New(), 1024
}

// slot returns the slot of a key. Now and then it forgets the slots that nobody asked for.
func (c *cache) slot(key index.PlanKey) *slot {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.slots[key]
	if s == nil {
		if len(c.slots) >= c.limit {
			c.sweep()
		}
		s = &slot{}
		c.slots[key] = s
	}
	s.used = true
	return s
}

// sweep forgets slots that were not used since the last sweep. The caller holds c.mu.
func (c *cache) sweep() {
	for key, s := range c.slots {
		if !s.used {
			delete(c.slots, key)
		}
		s.used = false
	}
	c.limit = max(1024, 2*len(c.slots))
	if len(c.examples) > 2*c.limit {
		clear(c.examples) // the next answers name theirs again
	}
}

func (c *cache) body(digest string) ([]byte, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.bodies[digest]
	if !ok {
		return nil, false
	}
	c.order.MoveToFront(e)
	return e.Value.(*body).data, true
}

func (c *cache) keepBody(digest string, data []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.bodies[digest]; ok {
		return
	}
	c.bodies[digest] = c.order.PushFront(&body{digest, data})
	c.bytes += len(data)
	for c.bytes > maxBodies && c.order.Len() > 1 {
		last := c.order.Remove(c.order.Back()).(*body)
		delete(c.bodies, last.digest)
		c.bytes -= len(last.data)
	}
}

func (c *cache) example(digest string) (fleet.DeviceID, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	id, ok := c.examples[digest]
	return id, ok
}

func (c *cache) noteExample(digest string, id fleet.DeviceID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.examples[digest] = id
}

// moment is the answer for a device at a moment.
type moment struct {
	answer *answer
	seq    int64 // the ledger's
	number uint32
}

// current returns the answer for a device now.
func (p *Planner) current(id fleet.DeviceID) (m moment, err error) {
	p.index.View(func(v *index.View) {
		d, ok := v.Device(id)
		switch {
		case !ok:
			err = ErrUnknown
		case d.State == fleet.Quarantined:
			err = ErrQuarantined
		case d.State == fleet.Retired:
			err = ErrRetired
		default:
			m.answer, err = p.answer(v, d.Number)
			m.seq, m.number = v.State().Seq, d.Number
		}
	})
	return m, err
}

// answer finds or computes what plan.Compute says to the device with a number.
func (p *Planner) answer(v *index.View, number uint32) (*answer, error) {
	key, version := v.PlanKey(number)
	now := p.index.Now().UTC()
	s := p.cache.slot(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.answer; a != nil && a.version == version && (a.due().IsZero() || now.Before(a.due())) {
		return a, nil
	}
	d := v.Numbered(number)
	p.computed.Add(1)
	began := time.Now()
	result := plan.Compute(v.PlanInput(d, now))
	data, digest, err := wire.Encode(result.Plan)
	if err != nil {
		return nil, fmt.Errorf("encode the plan of device %s: %w", d.ID, err)
	}
	s.answer = &answer{version: version, until: earlier(v.NextExpiry(d, now), result.Ends), turns: result.Turns, digest: digest, notable: notable(result.Verdicts)}
	s.answer.lines, s.answer.pending = shared(v, d, s.answer.notable), undecided(v, d, now)
	s.answer.told = tell(s.answer.lines)
	if p.told != nil {
		p.told(d.ID, digest, v.State().Seq, time.Since(began))
	}
	if d.State == fleet.Active {
		p.cache.noteExample(digest, d.ID)
		p.cache.keepBody(digest, data)
	}
	return s.answer, nil
}

// undecided counts the releases that a device could take and that nobody decided on.
func undecided(v *index.View, d index.Device, now time.Time) (n int) {
	for u := range v.Offered(d) {
		if v.Judged(u, d.Group, now).Status == approval.Undefined {
			n++
		}
	}
	return n
}

// notable picks the verdicts that ask for something and drops what only "why" needs.
func notable(all []plan.Verdict) []plan.Verdict {
	var out []plan.Verdict
	for _, v := range all {
		if v.Action == plan.None && !(v.Installed && v.Status == approval.Declined) {
			continue
		}
		v.Reasons = v.Reasons[max(0, len(v.Reasons)-1):]
		v.Approval.Trace, v.Items, v.Extras = nil, nil, nil
		out = append(out, v)
	}
	return out
}

// compute computes a device's plan afresh.
func (p *Planner) compute(id fleet.DeviceID) (data []byte, digest string, err error) {
	err = ErrUnknown
	p.index.View(func(v *index.View) {
		if d, ok := v.Device(id); ok && d.State == fleet.Active {
			data, digest, err = wire.Encode(plan.Compute(v.PlanInput(d, p.index.Now().UTC())).Plan)
		}
	})
	return data, digest, err
}
