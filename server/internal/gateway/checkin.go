package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"assent/fault"
	"assent/fleet"
	"assent/wire"
)

// maxWait is the longest that a reply is held.
const maxWait = 300 * time.Second

var errCheckIn = fault.New(fault.Invalid, "checkin_invalid", "The check-in lacks a boot id, a run or a sequence, or one of its digests is none.")

// checkIn answers a device's steady message: what it shall upload, a new statement, or nothing, held
// back until there is something if the device asked for that.
func (g *Gateway) checkIn(c *call) error {
	in := &c.in
	if err := g.readCheckIn(c, in); err != nil {
		return err
	}
	now := g.Now()
	if c.device.State != fleet.Active {
		c.session.reset(now, 0)
		g.mark(c.session)
		g.metrics.checkIns.quarantined.Inc()
		return errQuarantined
	}
	switch word, why := c.session.judge(in, now); word {
	case clone:
		return g.quarantine(c, why)
	case stale:
		g.metrics.checkIns.stale.Inc()
		return g.reply(c, wire.CheckInReply{Now: now, Next: 1})
	}
	need, err := g.contact(c, in.Digests)
	if err != nil {
		return err
	}
	if len(need) > 0 {
		g.metrics.checkIns.incomplete.Inc()
		return g.reply(c, wire.CheckInReply{Now: now, Need: need, Next: 1})
	}
	if len(in.Digests) == 0 {
		g.metrics.checkIns.incomplete.Inc()
		return g.reply(c, wire.CheckInReply{Now: now, Resend: true, Next: 1})
	}
	return g.answer(c, in, now)
}

// readCheckIn reads a check-in, checks its form and cuts what is too long. Digests that the device said before were checked then.
func (g *Gateway) readCheckIn(c *call, in *wire.CheckIn) error {
	before, same := c.session.before(), false
	if err := g.readMessage(c, wire.MaxMessage, func(body []byte) (err error) {
		var ok bool
		if same, ok = scanCheckIn(body, before, in); !ok {
			*in, same = wire.CheckIn{}, false
			err = decode(body, in)
		}
		return err
	}); err != nil {
		return err
	}
	if !same {
		if err := tidyDigests(in.Digests); err != nil {
			return err
		}
	}
	return tidy(in)
}

// tidy checks the rest.
func tidy(in *wire.CheckIn) error {
	if !isName(in.BootID) || !isName(in.Run) || in.Sequence < 1 || in.Sequence > 1<<62 {
		return errCheckIn
	}
	cut(&in.Plan, 64)
	cut(&in.Progress.Doing, 512)
	cut(&in.Progress.Error, wire.MaxString)
	return nil
}

// tidyDigests checks digests and leaves out those of documents that this build does not know.
func tidyDigests(digests map[wire.Kind]string) error {
	for k, d := range digests {
		switch {
		case d == "" || !isKind(k):
			delete(digests, k)
		case !isDigest(d):
			return errCheckIn.On("digests")
		}
	}
	return nil
}

// isKind reports whether this build knows the kind of document; newer agents may have more.
func isKind(k wire.Kind) bool {
	return k == wire.KindFacts || k == wire.KindInventory || k == wire.KindAvailable
}

// isDigest reports whether s is a SHA-256 in hex.
func isDigest(s string) bool {
	if len(s) != 64 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// cut shortens a text to n bytes.
func cut(s *string, n int) {
	if len(*s) > n {
		*s = (*s)[:n-len("…")] + "…"
	}
}

// contact passes the check-in on and finds out which announced documents the server lacks.
func (g *Gateway) contact(c *call, digests map[wire.Kind]string) ([]wire.Kind, error) {
	contact := c.session.announcing(digests)
	var need []wire.Kind
	take := func() (err error) {
		need, err = g.Facts.Contact(c.r.Context(), contact)
		return err
	}
	var err error
	if c.session.steady(digests) {
		err = take() // from memory
	} else {
		err = g.durably(c, take)
	}
	if err != nil {
		return nil, fmt.Errorf("take the check-in of device %s: %w", c.device.ID, err)
	}
	if len(need) == 0 && c.session.counts(digests) && g.Others != nil {
		g.hurry()
	}
	g.mark(c.session)
	return need, nil
}

// answer gives the device its statement, at once or as soon as there is a new one within its wait.
func (g *Gateway) answer(c *call, in *wire.CheckIn, now time.Time) error {
	held, plan, told, err := g.news(c, in.Counter, in.Plan, now)
	if told || err != nil {
		return err
	}
	left := min(time.Duration(max(in.Wait, 0))*time.Second, maxWait)
	if left == 0 {
		return g.nothing(c, now)
	}
	return g.park(c, in, held, plan, now, left)
}

// news answers with the device's statement if it should be given one now: a device that has seen so much of the ledger and
// has that plan. Otherwise it returns the statement, which the device has, and the digest of its plan.
func (g *Gateway) news(c *call, seen int64, held string, now time.Time) (stmt wire.Statement, plan string, told bool, err error) {
	if stmt, plan, err = g.statement(c, seen); err != nil {
		return stmt, plan, false, fmt.Errorf("plan for a device: %w", err)
	}
	if !c.session.due(stmt, plan, held, now) {
		return stmt, plan, false, nil
	}
	proof, err := g.proof(c, seen, stmt)
	if err != nil {
		return stmt, plan, false, err
	}
	g.metrics.checkIns.statement.Inc()
	if g.Delivered != nil {
		g.Delivered(c.r.Context(), c.device.ID, stmt, plan)
	}
	return stmt, plan, true, g.reply(c, wire.CheckInReply{Now: now, Statement: &stmt, Proof: proof, Next: g.next(), Refresh: c.session.takeRefresh(), Rehearse: c.session.takeRehearsal()})
}

// nothing is the answer of a steady check-in.
func (g *Gateway) nothing(c *call, now time.Time) error {
	g.metrics.checkIns.steady.Inc()
	if c.session.asked() {
		return g.reply(c, wire.CheckInReply{Now: now, Next: g.next(), Refresh: c.session.takeRefresh(), Rehearse: c.session.takeRehearsal()})
	}
	c.w.Header()["Content-Type"] = g.json
	return g.write(c, appendNothing(make([]byte, 0, 64), now, g.next()))
}

// next tells agents when to come again. While the server stops, that is soon, but not all at once.
func (g *Gateway) next() int {
	if g.ending.Load() {
		return 1 + rand.IntN(10)
	}
	return int(g.Next.Seconds())
}

// quarantine takes a cloned device out, loudly: an act in the ledger, an event, a warning and a count.
func (g *Gateway) quarantine(c *call, why string) error {
	g.metrics.checkIns.cloned.Inc()
	if err := g.expel(context.WithoutCancel(c.r.Context()), c.session, c.r.RemoteAddr, why); err != nil { // it must stick even if the clone hangs up
		return err
	}
	return errQuarantined.Because(errors.New(why))
}

// expel takes a device out whose certificate two agents use.
func (g *Gateway) expel(ctx context.Context, s *session, remote, why string) error {
	reason := "Its identity is used by two agents: " + why + "."
	d, _ := g.Roster.Device(s.id)
	if d.State == fleet.Active {
		g.Log.Warn("quarantined a device", "device", s.id, "name", d.Name, "remote", remote, "reason", reason)
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := g.Acts.Quarantine(ctx, s.id, reason); err != nil {
		return fmt.Errorf("quarantine device %s: %w", s.id, err)
	}
	s.reset(g.Now(), 0)
	g.mark(s)
	s.interrupt()
	return nil
}

// Forget gives devices a clean slate as of an act: what is known of their sequences and runs from before no longer counts, here
// and at the other servers. It is for devices that were taken out or let back in.
func (g *Gateway) Forget(ids []fleet.DeviceID, act int64) {
	for _, id := range ids {
		s := g.session(id)
		s.reset(time.Time{}, act)
		g.mark(s)
	}
}

// Interrupt ends the long polls of devices, so that a change of their standing reaches them at once.
func (g *Gateway) Interrupt(ids []fleet.DeviceID) {
	for _, id := range ids {
		g.session(id).interrupt()
	}
}

// Refresh has devices look for updates now: those that wait hear of it at once, at whichever server, the others with their
// next check-in.
func (g *Gateway) Refresh(ids []fleet.DeviceID) {
	at := g.Now().UTC().Truncate(time.Microsecond) // as the store keeps times
	for _, id := range ids {
		at = g.session(id).nextRefresh(at)
	}
	for _, id := range ids {
		g.session(id).askRefresh(at)
	}
	g.tellOthers(func(ctx context.Context) error { return g.Contacts.AskRefresh(ctx, ids, at) })
}

// Rehearse has devices rehearse their plans now, as Refresh has them look.
func (g *Gateway) Rehearse(ids []fleet.DeviceID) {
	at := g.Now().UTC().Truncate(time.Microsecond)
	for _, id := range ids {
		at = g.session(id).nextRehearsal(at)
	}
	for _, id := range ids {
		g.session(id).askRehearsal(at)
	}
	g.tellOthers(func(ctx context.Context) error { return g.Contacts.AskRehearsal(ctx, ids, at) })
}

// tellOthers tells the other servers what devices shall do.
func (g *Gateway) tellOthers(tell func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := tell(ctx); err != nil {
		g.Log.Error("other servers could not be told what devices shall do", "err", err)
	}
}

// proof shows that the statement's ledger extends the one that the device saw last. Where there is none, the
// ledger lost entries: the device refuses the statement and says so, and this is logged loudly too. A database that
// does not answer is no lost ledger: the device asks again.
func (g *Gateway) proof(c *call, seen int64, stmt wire.Statement) ([]string, error) {
	var body wire.StatementBody
	if g.Prove == nil || seen < 1 || json.Unmarshal(stmt.Body, &body) != nil || body.Counter == seen {
		return nil, nil //nolint:nilerr // a statement that nobody can read is refused by the device
	}
	if body.Counter < seen {
		g.Log.Error("a device saw a longer ledger than this: was the server restored from a backup?", "device", c.device.ID, "name", c.device.Name, "seen", seen, "ledger", body.Counter)
		return nil, nil
	}
	proof, err := g.Prove(c.r.Context(), seen, body.Counter)
	if err != nil {
		return nil, fmt.Errorf("prove that the ledger of %d entries extends the one of %d: %w", body.Counter, seen, err)
	}
	return proof, nil
}
