package gateway

import (
	"context"
	"fmt"
	"slices"
	"time"

	"assent/fleet"
	"assent/server/internal/store"
)

// batch is how many contacts are saved in one call.
const batch = 500

// mark puts a session's contact on the list of those to be written.
func (g *Gateway) mark(s *session) {
	s.mu.Lock()
	first := !s.dirty
	s.dirty = true
	s.mu.Unlock()
	if first {
		g.mu.Lock()
		g.dirty = append(g.dirty, s)
		g.mu.Unlock()
	}
}

// writeBehind writes contacts every few seconds until ctx ends.
func (g *Gateway) writeBehind(ctx context.Context) {
	tick := time.NewTicker(g.Flush)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-g.soon:
		}
		if err := g.flush(ctx); err != nil && ctx.Err() == nil {
			g.Log.Error("contacts could not be written; they are kept in memory and tried again", "err", err)
		}
	}
}

// flush writes all contacts that changed. What could not be written stays on the list.
func (g *Gateway) flush(ctx context.Context) error {
	g.mu.Lock()
	todo := g.dirty
	g.dirty = nil
	g.mu.Unlock()
	for part := range slices.Chunk(todo, batch) {
		if err := g.save(ctx, part); err != nil {
			for _, s := range todo {
				g.mark(s)
			}
			return err
		}
	}
	return nil
}

// save writes the contacts of some sessions, put together with what other servers wrote of the devices meanwhile.
func (g *Gateway) save(ctx context.Context, part []*session) error {
	contacts, taken := make([]store.Contact, len(part)), make(map[fleet.DeviceID]*lineage, len(part))
	for i, s := range part {
		var l lineage
		contacts[i], l = s.take()
		taken[s.id] = &l
	}
	clones := map[fleet.DeviceID]string{}
	merged, err := g.Contacts.MergeContacts(ctx, contacts, func(stored, mine store.Contact) store.Contact {
		l := *taken[mine.Device] // merge may be called again
		if why := l.join(lineageOf(stored)); why != "" {
			clones[mine.Device] = why
		}
		out := later(mine, stored)
		out.BootID, out.Run, out.Sequence, out.Line = l.boot, l.run, l.high, l.line()
		return out
	})
	if err != nil {
		for _, s := range part {
			s.putBack(taken[s.id])
		}
		return fmt.Errorf("save %d contacts: %w", len(contacts), err)
	}
	g.Heard(ctx, merged)
	for id, why := range clones {
		if err := g.expel(ctx, g.session(id), "", why); err != nil {
			g.Log.Error("a cloned device could not be quarantined; it is tried again", "device", id, "err", err)
		}
	}
	return nil
}

// hurry has contacts written soon: other servers wait for what is in them.
func (g *Gateway) hurry() {
	select {
	case g.soon <- struct{}{}:
	default:
	}
}

// Heard takes in what other servers heard of devices.
func (g *Gateway) Heard(ctx context.Context, contacts []store.Contact) {
	for _, c := range contacts {
		s := g.session(c.Device)
		why := s.absorb(c)
		if !c.Refresh.IsZero() {
			s.askRefresh(c.Refresh)
		}
		if !c.Rehearse.IsZero() {
			s.askRehearsal(c.Rehearse)
		}
		if d, ok := g.Roster.Device(c.Device); why == "" || !ok || d.State != fleet.Active {
			continue
		}
		if err := g.expel(ctx, s, "", why); err != nil {
			g.Log.Error("a cloned device could not be quarantined; it is tried again", "device", c.Device, "err", err)
		}
	}
}

// take returns the contact and the lineage, and notes that they are being written.
func (s *session) take() (store.Contact, lineage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dirty = false
	s.contact.Line = s.line.line()
	l := s.line
	s.line.own = 0
	return s.contact, l
}

// putBack notes that what was taken was not written.
func (s *session) putBack(l *lineage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l.epoch == s.line.epoch && s.line.high >= l.high {
		s.line.own |= l.own << uint64(s.line.high-l.high)
	}
}
