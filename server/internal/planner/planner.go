// Package planner gives each device its signed plan, as soon as it changes.
//
// A plan is what plan.Compute says; the package adds no decision of its own. Devices with the same facts
// in the same group share one plan, computed once; a statement binds the plan to one device, to the
// ledger's sequence and to a time.
//
// Guarantees: after an act, Wait returns for exactly the waiting devices whose plan changed; a statement
// never outlives an approval, a decline or an exception that the plan rests on; quarantined and retired
// devices get no plan; a plan's counter never goes down.
package planner

import (
	"crypto/ed25519"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"assent/fault"
	"assent/fleet"
	"assent/server/internal/index"
	"assent/wire"
)

// PlanTTL is how long a statement counts by default.
const PlanTTL = 7 * 24 * time.Hour

// Config is what New needs.
type Config struct {
	Index  *index.Index
	Signer ed25519.PrivateKey
	TTL    time.Duration // how long a statement counts; PlanTTL when zero
	// Root is the root of the ledger's tree at a size, for statements; nil leaves it out.
	Root func(size int64) (string, error)
	// Computed is told of each plan that was computed: for whom first, on how many entries of the ledger, and how long it
	// took. It must return at once; nil: nobody is told.
	Computed func(device fleet.DeviceID, digest string, counter int64, took time.Duration)
}

// Planner makes plans. It is safe for concurrent use.
type Planner struct {
	index  *index.Index
	signer ed25519.PrivateKey
	ttl    time.Duration
	told   func(device fleet.DeviceID, digest string, counter int64, took time.Duration)
	root   func(size int64) (string, error)

	cache   cache
	waiting waiting
	board   board

	computed atomic.Int64 // plans computed since the start, cached answers not counted

	mu     sync.Mutex
	issued map[fleet.DeviceID]issued
	ticks  ticks
}

// issued is a device's current statement.
type issued struct {
	stmt    wire.Statement
	plan    string
	at      time.Time
	expires time.Time
	rests   int64 // on so many acts

	number uint32
	tick   uint64    // the change up to which it is known to be current
	until  time.Time // when its answer is to be looked for anew; zero: when something changes
}

// The refusals.
var (
	ErrUnknown     = fault.New(fault.NotFound, "device_unknown", "There is no such device.")
	ErrQuarantined = fault.New(fault.Forbidden, "device_quarantined", "The device is quarantined and gets no plan until an administrator releases it.")
	ErrRetired     = fault.New(fault.Gone, "device_retired", "The device is retired.")
)

// New makes a Planner that follows the index. Close ends that.
func New(c Config) (*Planner, error) {
	if c.Index == nil || len(c.Signer) != ed25519.PrivateKeySize {
		return nil, fmt.Errorf("planner: an index and a key to sign with are needed")
	}
	if c.TTL <= 0 {
		c.TTL = PlanTTL
	}
	p := &Planner{index: c.Index, signer: c.Signer, ttl: c.TTL, root: c.Root, told: c.Computed, issued: map[fleet.DeviceID]issued{}}
	p.cache.init()
	p.waiting.init()
	p.board.init()
	p.waiting.stop = c.Index.Subscribe(p.changed)
	return p, nil
}

// Computed is how many plans were computed since the start; devices that share facts and group share one.
func (p *Planner) Computed() int64 { return p.computed.Load() }

// Close stops following the index.
func (p *Planner) Close() { p.waiting.stop() }

// For returns the device's current statement and the digest of its plan. The statement stays the same,
// byte for byte, until the plan changes or half of its life is over.
func (p *Planner) For(id fleet.DeviceID) (wire.Statement, string, error) {
	s, err := p.atLeast(id, 0)
	return s.stmt, s.plan, err
}

// AtLeast is For, with a statement that rests on at least so many acts of the ledger, if the index has so many: a device that
// another server told of them takes no other one. It says on how many acts the statement rests.
func (p *Planner) AtLeast(id fleet.DeviceID, acts int64) (stmt wire.Statement, plan string, rests int64, err error) {
	s, err := p.atLeast(id, acts)
	return s.stmt, s.plan, s.rests, err
}

func (p *Planner) atLeast(id fleet.DeviceID, acts int64) (issued, error) {
	now := p.index.Now().UTC()
	p.mu.Lock()
	was := p.issued[id]
	tick, fresh := p.ticks.now, p.fresh(was, now)
	p.mu.Unlock()
	if fresh && was.rests >= acts {
		return was, nil
	}
	m, err := p.current(id)
	if err != nil {
		return issued{}, err
	}
	a := m.answer
	if was.plan == a.digest && !p.stale(was, a, now) && was.rests >= min(acts, m.seq) {
		p.confirm(id, was, m, tick)
		return was, nil
	}
	next := issued{plan: a.digest, rests: m.seq, at: now, expires: p.expires(a, now), number: m.number, tick: tick, until: a.due()}
	body := wire.StatementBody{Device: id, Counter: m.seq, Issued: now, Expires: next.expires, Plan: a.digest}
	if p.root != nil {
		if body.Root, err = p.root(m.seq); err != nil {
			return issued{}, fmt.Errorf("root of the ledger at %d entries: %w", m.seq, err)
		}
	}
	next.stmt, err = wire.Sign(p.signer, body)
	if err != nil {
		return issued{}, fmt.Errorf("sign the plan of device %s: %w", id, err)
	}
	return p.keep(id, was, next)
}

// confirm notes that a statement is still current as of a tick, unless there is another one already.
func (p *Planner) confirm(id fleet.DeviceID, was issued, m moment, tick uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.issued[id]; s.at.Equal(was.at) && s.plan == was.plan && s.tick <= tick {
		s.tick, s.until = tick, m.answer.due()
		p.issued[id] = s
	}
}

// keep publishes a statement unless another call was first with one that is as good.
func (p *Planner) keep(id fleet.DeviceID, was, next issued) (issued, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := p.issued[id]; now.plan == next.plan && now.at.After(was.at) && now.rests >= next.rests {
		return now, nil
	}
	p.issued[id] = next
	return next, nil
}

// expires is when a statement on an answer that is made now ends.
func (p *Planner) expires(a *answer, now time.Time) time.Time {
	end := now.Add(p.ttl)
	if !a.until.IsZero() && a.until.Before(end) {
		return a.until
	}
	return end
}

// stale reports whether a statement should be made anew: half of its life is over, and a new one would
// live longer; or it outlives what its plan rests on now.
func (p *Planner) stale(s issued, a *answer, now time.Time) bool {
	if !a.until.IsZero() && s.expires.After(a.until) {
		return true
	}
	return !now.Before(s.renew()) && p.expires(a, now).After(s.expires) || !now.Before(s.expires)
}

// renew is when half of a statement's life is over.
func (s issued) renew() time.Time { return s.at.Add(s.expires.Sub(s.at) / 2) }

// PlanBytes returns the bytes of a plan that is current for some device.
func (p *Planner) PlanBytes(digest string) ([]byte, bool) {
	if body, ok := p.cache.body(digest); ok {
		return body, true
	}
	id, ok := p.cache.example(digest)
	if !ok {
		return nil, false
	}
	body, found, err := p.compute(id)
	if err != nil || found != digest {
		return nil, false
	}
	p.cache.keepBody(digest, body)
	return body, true
}
