package notify

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	"assent/ledger"
	"assent/server/internal/index"
	"assent/server/internal/store"
	"assent/window"
)

// sender sends messages of one kind of channel. It returns an error that wraps errRefused where the receiver does not
// want this very message, and no error that holds a secret.
type sender interface {
	send(ctx context.Context, c ledger.Channel, secret, id string, m message) error
	// check refuses a channel that cannot work, with a *fault.Error.
	check(c ledger.Channel, secret string) error
}

// attempt is how long one attempt may take.
const attempt = 45 * time.Second

// lane sends the messages of one channel, one after the other.
type lane struct {
	stop context.CancelFunc
	wake chan struct{} // something may be there to send
}

// open has a goroutine run for each channel, and none for those that are gone.
func (s *Service) open(ctx context.Context, running *sync.WaitGroup) {
	var channels map[string]ledger.Channel
	s.Index.View(func(v *index.View) { channels = v.State().Channels })
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.lanes, func(id string, l *lane) bool {
		_, there := channels[id]
		if !there {
			l.stop()
		}
		return !there
	})
	for id := range channels {
		if s.lanes[id] != nil {
			continue
		}
		own, stop := context.WithCancel(ctx)
		l := &lane{stop: stop, wake: make(chan struct{}, 1)}
		s.lanes[id] = l
		running.Go(func() { defer stop(); s.run(own, id, l) })
	}
}

// wake tells a channel's lane that something is there.
func (s *Service) wake(channel string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.lanes[channel]; l != nil {
		ask(l.wake)
	}
}

// run sends what waits, in order, until ctx ends.
func (s *Service) run(ctx context.Context, channel string, l *lane) {
	for ctx.Err() == nil {
		wait, err := s.next(ctx, channel)
		if err != nil && ctx.Err() == nil {
			s.Log.Error("the messages of a channel could not be handled; it is tried again", "channel", channel, "err", err)
			wait = retry
		}
		if wait <= 0 {
			continue
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-l.wake:
		case <-ctx.Done():
		}
		t.Stop()
	}
}

// next tries the message whose turn it is, if it is due, and says how long there is nothing to do then.
func (s *Service) next(ctx context.Context, channel string) (wait time.Duration, err error) {
	now := s.Now()
	c, ok := s.channel(channel)
	if !ok {
		return lookEvery, nil
	}
	if until := quietUntil(c, now); until.After(now) {
		return min(until.Sub(now), lookEvery), nil
	}
	m, ok, err := s.Outbox.NextOutgoing(ctx, channel)
	switch {
	case err != nil:
		return 0, err
	case !ok:
		return lookEvery, nil
	case m.Next.After(now):
		return m.Next.Sub(now), nil
	}
	lease, ok, err := s.Outbox.Lease(ctx, "lane/"+channel, s.Holder, leaseFor)
	if err != nil || !ok {
		return lookEvery, err
	}
	ctx = store.Fenced(ctx, lease)
	// Somebody else may have sent it before the lease was ours.
	if m, ok, err = s.Outbox.NextOutgoing(ctx, channel); err != nil || !ok || m.Next.After(now) {
		return 0, err
	}
	sent := s.try(ctx, c, m)
	if ctx.Err() != nil {
		return 0, nil //nolint:nilerr // it is stopping: the attempt counts for nothing
	}
	done := after(m, sent, s.Now(), s.jitter)
	if err := s.Outbox.NoteOutgoing(ctx, done); err != nil {
		return 0, err
	}
	if done.State == store.GaveUp {
		s.Log.Error("a message was given up", "channel", c.Name, "kind", c.Kind, "id", m.ID, "event", m.Event, "tries", done.Tries, "why", done.Error)
		s.lookSoon()
	}
	return 0, nil
}

// channel is a channel as it is now.
func (s *Service) channel(id string) (c ledger.Channel, ok bool) {
	s.Index.View(func(v *index.View) { c, ok = v.State().Channels[id] })
	return c, ok
}

// try makes one attempt.
func (s *Service) try(ctx context.Context, c ledger.Channel, out store.Outgoing) (err error) {
	defer func() { s.Observe(c.Kind, err == nil) }()
	m, err := read(out)
	if err != nil {
		return err
	}
	secret, err := s.secret(ctx, c.ID)
	if err != nil {
		return err
	}
	send, ok := s.senders[c.Kind]
	if !ok {
		return fmt.Errorf("this server knows no channel of the kind %q", c.Kind)
	}
	ctx, cancel := context.WithTimeout(ctx, attempt)
	defer cancel()
	return send.send(ctx, c, secret, out.ID, m)
}

// secret opens a channel's secret; empty if it has none.
func (s *Service) secret(ctx context.Context, channel string) (string, error) {
	sealed, ok, err := s.Outbox.ChannelSecret(ctx, channel)
	if err != nil || !ok {
		return "", err
	}
	return s.seal.open(channel, sealed)
}

// quietUntil is until when a channel sends nothing; not after now if it does.
func quietUntil(c ledger.Channel, now time.Time) time.Time {
	if c.Paused {
		return now.Add(lookEvery)
	}
	schedule, err := quiet(c)
	if err != nil {
		return now
	}
	zone, err := window.LoadZone(zoneName(c))
	if err != nil {
		return now // the zone was good when the channel was set: better loud than silent
	}
	a := schedule.At(now, zone, "")
	switch {
	case a.Open:
		return now
	case a.Next.Start.IsZero():
		return now.Add(lookEvery)
	}
	return a.Next.Start
}
