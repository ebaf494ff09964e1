package gateway

import (
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
	poll      *parked              // the long poll that is open; nil when none is
	sent      sent

	flight   atomic.Int32 // requests under way
	uploads  atomic.Int32 // large bodies being received
	pace     pace
	refresh  wish      // the next reply asks the device to look for updates
	rehearse wish      // the next reply asks it to rehearse its plan
	looked   time.Time // when what other servers wrote was last read for this device; guarded by mu
}

// sent is the last statement that a device was given.
type sent struct {
	sig  string
	plan string
	at   time.Time
}

func newSession(c store.Contact) *session {
	return &session{id: c.Device, contact: c, line: lineageOf(c)}
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
	s.contact.LastSeen, s.contact.Progress, s.contact.Capability, s.contact.Held = now, in.Progress, in.Capability, time.Time{}
	return fresh, ""
}

// reset forgets who used the certificate: a device that is let back in starts with a clean slate. What other servers know of
// the time before the act epoch counts no more either; 0 is no act.
func (s *session) reset(now time.Time, epoch int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.line, s.sent = lineage{epoch: max(epoch, s.line.epoch)}, sent{}
	s.contact.BootID, s.contact.Run, s.contact.Sequence, s.contact.Line = "", "", 0, s.line.line()
	if !now.IsZero() {
		s.contact.LastSeen = now
	}
}

// hold notes until when the device's long poll is held; zero: it is not.
func (s *session) hold(until time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.contact.Held = until
}

// absorb takes in what other servers heard of the device, and says how that shows that two agents use its certificate; empty
// if it does not.
func (s *session) absorb(c store.Contact) (why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if why = s.line.join(lineageOf(c)); why != "" {
		return why
	}
	s.contact = later(s.contact, c)
	s.contact.Line = s.line.line()
	if !c.Refreshed.Before(s.refresh.asked) {
		s.refresh.open.Store(false) // another server told it
	}
	if !c.Rehearsed.Before(s.rehearse.asked) {
		s.rehearse.open.Store(false)
	}
	return ""
}

// later is what counts of two contacts of a device.
func later(a, b store.Contact) store.Contact {
	if b.After(a) {
		a, b = b, a
	}
	if b.Refreshed.After(a.Refreshed) {
		a.Refreshed = b.Refreshed
	}
	if b.Rehearsed.After(a.Rehearsed) {
		a.Rehearsed = b.Rehearsed
	}
	if b.LastSeen.After(a.LastSeen) {
		a.LastSeen = b.LastSeen
	}
	return a
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

// counts records the documents that count for the device from now on, and reports whether they are others than before.
func (s *session) counts(digests map[wire.Kind]string) (news bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	news = !maps.Equal(s.contact.Digests, digests)
	s.contact.Digests = digests
	return news
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

// listen opens a long poll and ends the one before it: an agent listens on one connection.
func (s *session) listen(p *parked) {
	s.mu.Lock()
	before := s.poll
	s.poll = p
	s.mu.Unlock()
	if before != nil {
		before.end()
	}
	if s.asked() {
		p.end() // it was asked while nobody listened
	}
}

// unlisten ends what listen began.
func (s *session) unlisten(p *parked) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.poll == p {
		s.poll = nil
	}
}

// interrupt ends the open long poll, if there is one.
func (s *session) interrupt() {
	s.mu.Lock()
	p := s.poll
	s.mu.Unlock()
	if p != nil {
		p.end()
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

// wish is something that the next reply asks the device for.
type wish struct {
	open  atomic.Bool
	asked time.Time // when somebody asked for it last; guarded by the session's mu
}

// askRefresh has the next reply ask for a refresh, at once if the device waits for one. One that the device was told of already
// is over.
func (s *session) askRefresh(at time.Time) { s.ask(&s.refresh, at, &s.contact.Refreshed) }

// askRehearsal has the next reply ask for a rehearsal, likewise.
func (s *session) askRehearsal(at time.Time) { s.ask(&s.rehearse, at, &s.contact.Rehearsed) }

// nextRefresh is a time from at on that is later than all requests for a refresh so far: the clock of the server at which somebody
// asked before may have been ahead of this one's.
func (s *session) nextRefresh(at time.Time) time.Time {
	return s.next(&s.refresh, at, &s.contact.Refreshed)
}

// nextRehearsal is the same for a rehearsal.
func (s *session) nextRehearsal(at time.Time) time.Time {
	return s.next(&s.rehearse, at, &s.contact.Rehearsed)
}

func (s *session) next(w *wish, at time.Time, told *time.Time) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, before := range []time.Time{*told, w.asked} {
		if !at.After(before) {
			at = before.Add(time.Microsecond)
		}
	}
	return at
}

func (s *session) ask(w *wish, at time.Time, told *time.Time) {
	s.mu.Lock()
	news := at.After(*told) && at.After(w.asked)
	if news {
		w.asked = at
	}
	s.mu.Unlock()
	if news {
		w.open.Store(true)
		s.interrupt()
	}
}

// asked reports whether the next reply asks for something.
func (s *session) asked() bool { return s.refresh.open.Load() || s.rehearse.open.Load() }

// takeRefresh reports, once, whether a refresh was asked for.
func (s *session) takeRefresh() bool { return s.takeWish(&s.refresh, &s.contact.Refreshed) }

// takeRehearsal reports, once, whether a rehearsal was asked for.
func (s *session) takeRehearsal() bool { return s.takeWish(&s.rehearse, &s.contact.Rehearsed) }

func (s *session) takeWish(w *wish, told *time.Time) bool {
	if !w.open.Load() || !w.open.Swap(false) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	*told = w.asked
	return true
}

// mayLook reports whether what other servers wrote may be read for this device now: a device cannot make the server ask the
// database at will.
func (s *session) mayLook(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := now.Sub(s.looked); d >= 0 && d < time.Second {
		return false
	}
	s.looked = now
	return true
}
