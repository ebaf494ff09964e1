package notify

import (
	"context"
	"time"

	"assent/fleet"
	"assent/ledger"
	"assent/server/internal/auth"
	"assent/server/internal/store"
)

// Look looks once for what to tell.
func (s *Service) Look(ctx context.Context) error { return s.look(ctx) }

// Soon has Run look now.
func (s *Service) Soon() { s.lookSoon() }

// Wake has the lane of a channel look for messages now.
func (s *Service) Wake(name string) {
	list, err := s.find(root(), name)
	if err == nil {
		s.wake(list.ID)
	}
}

// ToldOf is what an entry gives a channel to tell.
func ToldOf(e ledger.Entry, c ledger.Channel, tree fleet.Tree) (Notice, bool) {
	return told(e, c, tree, "")
}

// After is a message after an attempt.
func After(m store.Outgoing, err error, now time.Time) store.Outgoing {
	return after(m, err, now, jitter)
}

// Backoff, Plain and the markups are tested by themselves.
func Backoff(n int) time.Duration             { return backoff(n) }
func Plain(s string, n int) string            { return plain(s, n) }
func Markups() map[string]func(string) string { return chats() }
func Refused() error                          { return errRefused }
func Permitted(a string) error                { return permitted(a) }

func root() auth.Actor {
	return auth.Actor{Name: "root", Role: ledger.Administrator, Scope: fleet.Root}
}
