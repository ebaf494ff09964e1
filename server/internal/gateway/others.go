package gateway

import (
	"time"

	"assent/wire"
)

// statement is the device's current statement. It rests on no less of the ledger than the device has seen: if another server
// told it of acts that this one does not know yet, they are read first. If they cannot be, the device is sent away: it would
// refuse an older statement as that of a server that lost its ledger, and another server may know more. A ledger that was read
// and is shorter did lose something, and the device shall say so.
func (g *Gateway) statement(c *call, seen int64) (wire.Statement, string, error) {
	stmt, plan, rests, err := g.Planner.AtLeast(c.device.ID, seen)
	if err != nil || rests >= seen || g.Others == nil {
		return stmt, plan, err
	}
	if err := g.reach(c, seen); err != nil {
		return wire.Statement{}, "", err
	}
	stmt, plan, _, err = g.Planner.AtLeast(c.device.ID, seen)
	return stmt, plan, err
}

// isCurrent reports whether a plan is the device's own, perhaps one that another server told it of a moment ago.
func (g *Gateway) isCurrent(c *call, digest string) (bool, error) {
	_, plan, err := g.statement(c, 0)
	if err != nil || plan == digest || g.Others == nil || g.reach(c, 0) != nil {
		return plan == digest, err
	}
	_, plan, err = g.statement(c, 0)
	return plan == digest, err
}

// reach reads what other servers wrote, at least up to an act; 0: whatever there is.
func (g *Gateway) reach(c *call, act int64) error {
	if !c.session.mayLook(g.Now()) {
		return errBehind
	}
	if err := g.Others.Reach(c.r.Context(), act); err != nil {
		g.Log.Warn("a device knows of acts of another server that could not be read", "device", c.device.ID, "act", act, "err", err)
		return errBehind.Because(err)
	}
	return nil
}

// present says, here and to the other servers, that the device's long poll is held, until the function it returns is called.
func (g *Gateway) present(s *session, until time.Time) (closed func()) {
	away := g.Presence.PollOpened(s.id)
	if g.Others == nil {
		return away
	}
	s.hold(until)
	g.mark(s)
	return func() {
		away()
		s.hold(time.Time{})
		g.mark(s)
	}
}
