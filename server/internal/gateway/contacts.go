package gateway

import (
	"context"
	"fmt"
	"slices"
	"time"

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
			if err := g.flush(ctx); err != nil && ctx.Err() == nil {
				g.Log.Error("contacts could not be written; they are kept in memory and tried again", "err", err)
			}
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
		contacts := make([]store.Contact, len(part))
		for i, s := range part {
			contacts[i] = s.take()
		}
		if err := g.Contacts.SaveContacts(ctx, contacts); err != nil {
			for _, s := range todo {
				g.mark(s)
			}
			return fmt.Errorf("save %d contacts: %w", len(contacts), err)
		}
	}
	return nil
}

// take returns the contact and notes that it is being written.
func (s *session) take() store.Contact {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dirty = false
	return s.contact
}
