package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"assent/fleet"
	"assent/wire"
)

// parked is a long poll that waits. Its connection is taken out of net/http, which would keep two goroutines and some 20 KiB
// of buffers for the request: what is left is the connection, this, and one goroutine in a shallow read, which notices that the
// device says something or hangs up. The answer is written here, and when the device's next request begins, the
// connection goes back to net/http through the listener.
type parked struct {
	g       *Gateway
	tls     *tls.Conn
	conn    *conn
	peer    *peer
	session *session
	plan    string         // digest of the plan that the device has
	counter int64          // how much of the ledger it has seen
	held    wire.Statement // what it was told of last
	named   string         // digest of the plan that this names
	began   time.Time
	until   time.Time // when it is answered anyway; of the machine's clock
	last    bool      // the connection ends with the answer
	leave   func()    // ends listening to the planner; nil before
	absent  func()    // ends the device's presence

	mu      sync.Mutex
	reading bool // who wakes it has to interrupt a read
	woken   bool // what it waits for may have come
	over    bool // it is to be answered, whatever with
}

// again has the long poll looked at anew. It may be called when that is over already.
func (p *parked) again() { p.interrupt(false) }

// end has the long poll answered now.
func (p *parked) end() { p.interrupt(true) }

func (p *parked) interrupt(over bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.woken, p.over = true, p.over || over
	if p.reading {
		_ = p.conn.SetReadDeadline(past) // fails only on a closed connection
	}
}

// past is earlier than every read.
var past = time.Unix(1, 0)

// park takes a check-in that waits out of its request, which then is over without an answer. What is parked begins when
// the handler has returned all that it holds.
func (g *Gateway) park(c *call, in *wire.CheckIn, held wire.Statement, plan string, now time.Time, left time.Duration) error {
	p := &parked{g: g, conn: connOf(c.r.Context()), peer: c.peer, session: c.session, plan: in.Plan, counter: in.Counter,
		held: held, named: plan, until: time.Now().Add(left), last: c.r.Close}
	if !g.polls.add(p) {
		return g.nothing(c, now)
	}
	rwc, buffered, err := c.io().Hijack()
	if err != nil {
		g.polls.remove(p)
		return fmt.Errorf("take a long poll out of its request: %w", err)
	}
	p.tls = rwc.(*tls.Conn)              // the listener makes no others
	if buffered.Reader.Buffered() != 0 { // its next request is here before the answer: it is sent again on another connection
		p.last = true
		p.end()
	}
	if c.r.Context().Err() != nil { // it hung up, which the answer will show
		p.end()
	}
	c.parked = p
	return nil
}

// begin is called when the request is over.
func (p *parked) begin(began time.Time) {
	p.began = began
	p.g.parked.Add(1)
	p.absent = p.g.present(p.session, p.g.Now().Add(time.Until(p.until)))
	p.session.listen(p)
	p.listen()
}

// sign is what came from the device.
type sign int

const (
	silence sign = iota
	words        // the beginning of a request, or of a farewell
	hungUp
)

// wait sleeps in a goroutine of its own, whose stack stays small.
func (p *parked) wait(until time.Time) { p.look(p.sleep(until)) }

// sleep ends when somebody wakes it, when its time is over, or when there is a sign of the device.
func (p *parked) sleep(until time.Time) sign {
	if !p.lie(until) {
		return silence
	}
	err := p.conn.peek()
	p.mu.Lock()
	p.reading, p.woken = false, false
	p.mu.Unlock()
	_ = p.conn.SetReadDeadline(time.Time{}) // fails only on a closed connection
	switch {
	case err == nil:
		return words
	case errors.Is(err, os.ErrDeadlineExceeded):
		return silence
	}
	return hungUp
}

// lie gets ready to sleep, unless it was woken already.
func (p *parked) lie(until time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.woken {
		p.woken = false
		return false
	}
	p.reading = true
	_ = p.conn.SetReadDeadline(until) // fails only on a closed connection
	return true
}

// look answers the long poll if it is time to, or has it wait on.
func (p *parked) look(s sign) {
	defer func() {
		if v := recover(); v != nil {
			p.g.Log.Error("a long poll panicked", "device", p.peer.Device, "panic", v, "stack", string(debug.Stack()))
			p.finish()
			p.close()
		}
	}()
	if p.leave != nil {
		p.leave()
		p.leave = nil
	}
	if s == hungUp {
		p.finish()
		p.close()
		return
	}
	answer := newSheet(p.tls)
	ctx, cancel := context.WithTimeout(context.Background(), answerTime) // it is answered also while the server stops
	defer cancel()
	c := &call{w: answer, r: (&http.Request{RemoteAddr: p.conn.RemoteAddr().String()}).WithContext(ctx), peer: p.peer, session: p.session}
	waits, err := p.answer(c, s)
	if waits {
		return
	}
	if err != nil {
		p.g.problem(answer, c.r, p.g.steady.name, err)
	}
	p.finish()
	p.send(answer, s)
}

// answerTime bounds the work on the answer of a long poll.
const answerTime = 30 * time.Second

// answer writes the answer of the long poll, or has it wait on.
func (p *parked) answer(c *call, s sign) (waits bool, err error) {
	g := p.g
	if c.device, err = g.current(p.peer); err != nil {
		return false, err
	}
	if c.device.State != fleet.Active {
		return false, errQuarantined
	}
	now := g.Now()
	p.mu.Lock()
	over := p.over
	p.mu.Unlock()
	if over || s != silence || !time.Now().Before(p.until) {
		return false, g.nothing(c, now)
	}
	var told bool
	if p.held, p.named, told, err = g.news(c, p.counter, p.plan, now); told || err != nil {
		return false, err
	}
	p.listen()
	return true, nil
}

// listen sleeps until the planner wakes it, for as long as nothing can change by time alone.
func (p *parked) listen() {
	rest, leave := p.g.Planner.Listen(p.peer.Device, p.held, p.named, p.again)
	p.leave = leave
	if p.named != p.plan {
		rest = min(rest, repeatSoon) // it lacks the plan that it was told of moments ago: that may be repeated soon
	}
	go p.wait(time.Now().Add(min(rest, time.Until(p.until))))
}

// finish ends what the long poll counted as.
func (p *parked) finish() {
	if p.absent != nil {
		p.absent()
		p.absent = nil
	}
	p.session.unlisten(p)
	p.session.leave()
	p.g.parked.Add(-1)
	p.g.steady.seconds.Observe(time.Since(p.began).Seconds())
}

// send sends the answer and keeps the connection for the next request.
func (p *parked) send(answer *sheet, s sign) {
	last := p.last || p.g.ending.Load()
	if err := answer.send(last); err != nil {
		p.g.Log.Debug("an answer did not reach its device", "device", p.peer.Device, "err", err)
		last = true
	}
	switch {
	case last:
		p.close()
	case s == words:
		p.giveBack()
	default:
		go p.rest()
	}
}

// rest waits for the next request, again with a small stack: most devices open another long poll, at their next turn.
func (p *parked) rest() {
	until := time.Now().Add(p.g.Limits.IdleTimeout)
	s := silence
	for s == silence && !p.g.ending.Load() && time.Now().Before(until) {
		s = p.sleep(until) // who woke the long poll late wakes this, too
	}
	if s == words {
		p.giveBack()
	} else {
		p.close()
	}
}

// giveBack hands the connection to net/http again.
func (p *parked) giveBack() {
	p.g.polls.remove(p)
	p.conn.home.giveBack(p.tls)
}

func (p *parked) close() {
	_ = p.tls.Close() // nothing can be done about it
	p.g.polls.remove(p)
}

// polls are the connections of long polls that are held.
type polls struct {
	mu     sync.Mutex
	held   map[*parked]struct{}
	ending bool
	none   chan struct{} // closed when it is ending and nothing is held
}

func newPolls() *polls { return &polls{held: map[*parked]struct{}{}, none: make(chan struct{})} }

// add holds one more, unless it is ending.
func (l *polls) add(p *parked) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ending {
		l.held[p] = struct{}{}
	}
	return !l.ending
}

func (l *polls) remove(p *parked) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.held[p]; !ok {
		return
	}
	delete(l.held, p)
	if l.ending && len(l.held) == 0 {
		close(l.none)
	}
}

// end has all answered and lets nobody in any more.
func (l *polls) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ending {
		return
	}
	l.ending = true
	for p := range l.held {
		p.end()
	}
	if len(l.held) == 0 {
		close(l.none)
	}
}

// drain waits until all were answered, and cuts off those that were not in time.
func (l *polls) drain(ctx context.Context) error {
	select {
	case <-l.none:
		return nil
	case <-ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for p := range l.held {
		_ = p.conn.Close() // what goes on with it ends
	}
	return ctx.Err()
}
