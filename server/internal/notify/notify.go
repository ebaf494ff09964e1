// Package notify tells people what needs them: by webhooks, mail and chats, called channels.
//
// Parties. An administrator of the root group manages the channels (Service). What to tell comes from two places: from
// entries of the ledger (a decline, a halt), and from what is so now (Condition: failed installs, silent devices,
// recalls). Both become messages by functions without I/O. Messages wait in the store's outbox, and one goroutine for
// each channel sends them (lane).
//
// Guarantees: a message that was queued is sent at least once, whatever is killed when, with an id that stays the same
// so that receivers can drop repetitions; messages of one channel go out in order; a channel that is slow or broken
// holds up no other; after a failure the next attempt comes later and later, with jitter, and three days after the
// first attempt, or after five refusals of the very message, it is given up, which the channel's page and the other
// channels tell; what lasts is told once, what comes and goes at most once an hour for each device and channel, and
// many at a time are told in one message. Secrets are sealed with a key that is no part of the database, are never
// shown again, and are in no entry of the ledger and in no error that anybody sees. Names and texts that came from
// devices and feeds are harmless in each medium. Requests follow no redirect to another host, are bounded in time and
// in what is read, and never go to link-local addresses.
//
// It decides nothing about updates. Several servers on one database take turns by leases, which their writes carry; a lease
// that is taken while its holder only stalled can send a message twice, with the same id.
package notify

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"log/slog"
	"sync"
	"time"

	"assent/client"
	"assent/ledger"
	"assent/server/internal/auth"
	"assent/server/internal/index"
	"assent/server/internal/job"
	"assent/server/internal/mirror"
	"assent/server/internal/store"
)

// Outbox keeps messages and what channels were told of. What it wrote is durable when it returns nil; it is safe for
// concurrent use. *store.DB is one.
type Outbox interface {
	Messages
	Memory
	// ChannelSecret returns what PutChannelSecret wrote beside an act.
	ChannelSecret(ctx context.Context, channel string) (sealed []byte, ok bool, err error)
	// Lease makes holder the one who does something for a while, unless somebody else is; what it writes carries the lease.
	Lease(ctx context.Context, name, holder string, life time.Duration) (store.Lease, bool, error)
}

// Messages are what waits to be sent, and what was.
type Messages interface {
	NextOutgoing(ctx context.Context, channel string) (store.Outgoing, bool, error)
	NoteOutgoing(ctx context.Context, m store.Outgoing) error
	Outgoings(ctx context.Context, channel string, limit int) ([]store.Outgoing, error)
	CountOutgoing(ctx context.Context, channel string, since time.Time) (map[store.OutState]int, error)
	PruneOutgoing(ctx context.Context, before time.Time) (int64, error)
}

// Memory is what channels were told of.
type Memory interface {
	Queue(ctx context.Context, q store.Queued) error
	Told(ctx context.Context, channel string) ([]store.Told, error)
	ToldLedger(ctx context.Context) (seq int64, ok bool, err error)
	Entries(ctx context.Context, from, limit int64) ([]store.RawEntry, error)
}

// Figures say where things stand in a group; *decide.Service is one.
type Figures interface {
	Status(ctx context.Context, who auth.Actor) (client.Status, error)
}

// Config is what New needs. Index, Outbox, Figures and a Key are required.
type Config struct {
	Index   *index.Index
	Outbox  Outbox
	Figures Figures
	Alarms  func() []mirror.Alarm // about feeds; nil: none
	Key     []byte                // 32 bytes that seal secrets
	Holder  string                // of leases: the same after a restart, another one for each server; random if empty
	Keep    time.Duration         // how long messages that were done with are kept; 30 days when zero
	Public  string                // address of the console, for links; empty: no links
	Roots   *x509.CertPool        // whose certificates receivers may have; nil: the system's
	Silent  time.Duration         // a device not heard of for this long is silent; 24 hours when zero
	Restart time.Duration         // a restart that is needed for this long is told of; 7 days when zero
	Now     func() time.Time
	Log     *slog.Logger
	// Observe is told of every attempt to send.
	Observe func(kind ledger.ChannelKind, ok bool)
}

// Service manages channels and runs them. It is safe for concurrent use.
type Service struct {
	Config
	seal    sealer
	senders map[ledger.ChannelKind]sender
	jitter  func(time.Duration) time.Duration

	mu    sync.Mutex
	lanes map[string]*lane // the running ones, by channel
	soon  chan struct{}    // asks for a look

	lease  store.Lease // of looking; used by Run alone
	leased time.Time   // when it was asked for; zero: it is not held
}

// New makes a Service. It does nothing until Run.
func New(c Config) (*Service, error) {
	if c.Index == nil || c.Outbox == nil || c.Figures == nil {
		return nil, errors.New("notify: an index, an outbox and figures are needed")
	}
	seal, err := newSealer(c.Key)
	if err != nil {
		return nil, err
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Observe == nil {
		c.Observe = func(ledger.ChannelKind, bool) {}
	}
	if c.Holder == "" {
		c.Holder = rand.Text()
	}
	if c.Keep <= 0 {
		c.Keep = keep
	}
	if c.Silent <= 0 {
		c.Silent = 24 * time.Hour
	}
	if c.Restart <= 0 {
		c.Restart = 7 * 24 * time.Hour
	}
	web := guarded(c.Roots)
	return &Service{Config: c, seal: seal, jitter: jitter, lanes: map[string]*lane{}, soon: make(chan struct{}, 1),
		senders: map[ledger.ChannelKind]sender{ledger.Webhook: webhook{http: web, now: c.Now}, ledger.Mail: mail{roots: c.Roots, now: c.Now}, ledger.Chat: chat{http: web}}}, nil
}

// Periods of the service's own work.
const (
	settle    = 2 * time.Second  // changes are gathered before they are looked at
	lookEvery = 30 * time.Second // also without a change: time passes
	leaseFor  = 2 * time.Minute
	keep      = 30 * 24 * time.Hour // of messages that were done with, when Config does not say
	retry     = time.Minute         // after the store failed
)

// Run looks for what to tell, and sends it, until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	var lanes sync.WaitGroup
	defer lanes.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	changed := make(chan struct{}, 1)
	defer s.Index.Subscribe(func(index.Change) { ask(changed) })()
	var pruned time.Time
	for ctx.Err() == nil {
		s.open(ctx, &lanes)
		if err := s.look(ctx); err != nil && ctx.Err() == nil {
			s.Log.Error("what channels should tell could not be found out; it is tried again", "err", err)
			job.Pause(ctx, retry)
			continue
		}
		if now := s.Now(); now.Sub(pruned) > time.Hour {
			pruned = now
			if _, err := s.Outbox.PruneOutgoing(ctx, now.Add(-s.Keep)); err != nil && ctx.Err() == nil {
				s.Log.Error("old messages could not be forgotten", "err", err)
			}
		}
		s.rest(ctx, changed)
	}
	return nil
}

// rest waits for the next change, or until it is time to look anyway.
func (s *Service) rest(ctx context.Context, changed <-chan struct{}) {
	t := time.NewTimer(lookEvery)
	defer t.Stop()
	select {
	case <-changed:
	case <-s.soon:
		return
	case <-t.C:
		return
	case <-ctx.Done():
		return
	}
	gather := time.NewTimer(settle)
	defer gather.Stop()
	select {
	case <-gather.C:
	case <-s.soon:
	case <-ctx.Done():
	}
}

// lookSoon has Run look now.
func (s *Service) lookSoon() { ask(s.soon) }

// ask leaves one request in a channel that holds one.
func ask(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
