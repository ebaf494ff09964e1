package gateway

import (
	"context"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"assent/fleet"
	"assent/server/internal/store"
	"assent/wire"
)

// session is what the server holds in memory of one device.
type session struct {
	id fleet.DeviceID

	mu        sync.Mutex
	line      lineage
	contact   store.Contact
	announced map[wire.Kind]string // what the last check-in said it has
	dirty     bool                 // the contact awaits writing
	endPoll   context.CancelFunc   // ends the long poll that is open; nil when none is
	sent      sent

	flight   atomic.Int32 // requests under way
	uploads  atomic.Int32 // large bodies being received
	pace     pace
	refresh  atomic.Bool // the next reply asks the device to look for updates
	rehearse atomic.Bool // the next reply asks it to rehearse its plan
}

// sent is the last statement that a device was given.
type sent struct {
	sig  string
	plan string
	at   time.Time
}

func newSession(c store.Contact) *session {
	s := &session{id: c.Device, contact: c}
	if c.Run != "" {
		s.line = lineage{boot: c.BootID, run: c.Run, high: c.Sequence, seen: ^uint64(0)}
	}
	return s
}

// session finds or starts the session of a device that the roster knows.
func (g *Gateway) session(id fleet.DeviceID) *session {
	g.mu.Lock()
	defer g.mu.Unlock()
	s, ok := g.sessions[id]
	if !ok {
		s = newSession(store.Contact{Device: id})
		g.sessions[id] = s
	}
	return s
}

// sessionOn is session, looked up once for each connection.
func (g *Gateway) sessionOn(c *conn, id fleet.DeviceID) *session {
	s := c.session.Load()
	if s == nil {
		s = g.session(id)
		c.session.Store(s)
	}
	return s
}

// enter takes one of the device's places.
func (s *session) enter(places int) bool {
	if s.flight.Add(1) > int32(places) {
		s.flight.Add(-1)
		return false
	}
	return true
}

func (s *session) leave() { s.flight.Add(-1) }

// judge takes a check-in into the lineage and, when it counts, into the contact.
func (s *session) judge(in *wire.CheckIn, now time.Time) (word, string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w, why := s.line.judge(in.BootID, in.Run, in.Sequence)
	if w != fresh {
		return w, why
	}
	s.announced = in.Digests
	s.contact.BootID, s.contact.Run, s.contact.Sequence = in.BootID, in.Run, s.line.high
	s.contact.LastSeen, s.contact.Progress, s.contact.Capability = now, in.Progress, in.Capability
	return fresh, ""
}

// reset forgets who used the certificate: a released device starts with a clean slate.
func (s *session) reset(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.line, s.sent = lineage{}, sent{}
	s.contact.BootID, s.contact.Run, s.contact.Sequence = "", "", 0
	if !now.IsZero() {
		s.contact.LastSeen = now
	}
}

// announcing is the contact as of the last check-in, with the documents that it announced.
func (s *session) announcing(digests map[wire.Kind]string) store.Contact {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.contact
	c.Digests = digests
	return c
}

// steady reports whether these documents count for the device already.
func (s *session) steady(digests map[wire.Kind]string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Equal(s.contact.Digests, digests)
}

// counts records the documents that count for the device from now on.
func (s *session) counts(digests map[wire.Kind]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.contact.Digests = digests
}

// before returns what the check-in before this one said, and the plan that the device should hold.
func (s *session) before() known {
	s.mu.Lock()
	defer s.mu.Unlock()
	return known{boot: s.contact.BootID, run: s.contact.Run, plan: s.sent.plan, digests: s.announced}
}

// announces reports whether the device's last check-in named this document.
func (s *session) announces(kind wire.Kind, digest string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return digest != "" && s.announced[kind] == digest
}

// poll opens a long poll and ends the one before it: an agent listens on one connection.
func (s *session) poll(ctx context.Context, wait time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.endPoll != nil {
		s.endPoll()
	}
	s.endPoll = cancel
	if s.asked() {
		cancel() // it was asked while nobody listened
	}
	return ctx, cancel
}

// interrupt ends the open long poll, if there is one.
func (s *session) interrupt() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.endPoll != nil {
		s.endPoll()
		s.endPoll = nil
	}
}

// Bounds on repeating a statement.
const (
	repeatSoon = 5 * time.Second // to a device that does not have the plan: its reply may have been lost
	repeatLate = 24 * time.Hour  // to a device that has the plan: the statement around it may have been lost
)

// due reports whether the device should be given this statement now, and notes that it was.
func (s *session) due(stmt wire.Statement, plan, held string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	after := repeatLate
	if held != plan {
		after = repeatSoon
	}
	if s.sent.sig == string(stmt.Sig) && now.Sub(s.sent.at) < after {
		return false
	}
	s.sent = sent{sig: string(stmt.Sig), plan: plan, at: now}
	return true
}

// given returns the digest of the plan that the device was last told of.
func (s *session) given() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent.plan
}

// ask has the next reply ask for something, at once if the device waits for one.
func (s *session) ask(flag *atomic.Bool) {
	flag.Store(true)
	s.interrupt()
}

// asked reports whether the next reply asks for something.
func (s *session) asked() bool { return s.refresh.Load() || s.rehearse.Load() }

// take reports, once, whether something was asked for.
func take(flag *atomic.Bool) bool { return flag.Load() && flag.Swap(false) }
