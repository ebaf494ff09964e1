// Package swarm simulates many agents against one assentd: mutual TLS 1.3, enrolment, documents, check-ins with long
// polls, signed plans, reports. Each agent is what a device would be to the server, with an inventory drawn from a real
// archive (package population); there are no package managers.
//
// Guarantees: it speaks to loopback addresses only and refuses all others; how many agents there are and how long it
// takes is bounded; an agent verifies what the server signs, and anything the server refuses is an error. It shares no
// code with assent-agent but the messages.
package swarm

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"

	"assent/bench/population"
	"assent/bench/process"
	"assent/wire"
)

// MaxAgents is the most that one swarm may have.
const MaxAgents = 100_000

// Config says which swarm to make.
type Config struct {
	Agents   string     // the server's address for devices, on loopback
	Token    wire.Token // for as many enrolments as there are agents
	Fleet    *population.Fleet
	Parallel int    // agents that enrol at once; 32 by default
	Prefix   string // of host names; "swarm" by default
	Say      func(format string, args ...any)
}

// Swarm is a number of agents.
type Swarm struct {
	Agents []*Agent
	CA     []byte // DER

	cfg   Config
	begun time.Time
	enc   *zstd.Encoder
	dec   *zstd.Decoder

	mu    sync.Mutex
	roots *x509.CertPool
	times []time.Duration // of check-ins that were answered at once
}

// ErrAddress is the refusal of a server elsewhere.
var ErrAddress = errors.New("the swarm speaks to loopback addresses only")

// Loopback refuses every address that is not on this machine.
func Loopback(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("%w: %q: %w", ErrAddress, addr, err)
	}
	if ip, err := netip.ParseAddr(host); err != nil || !ip.IsLoopback() {
		return fmt.Errorf("%w, not to %q", ErrAddress, addr)
	}
	return nil
}

// Gather enrols all devices of the fleet and settles them: the server knows what they have and could take, and they have
// their plan. On an error it ends what was begun.
func Gather(ctx context.Context, cfg Config) (_ *Swarm, err error) {
	if err := Loopback(cfg.Agents); err != nil {
		return nil, err
	}
	n := cfg.Fleet.Size.Devices
	if n > MaxAgents {
		return nil, fmt.Errorf("%d agents are more than the %d of one swarm", n, MaxAgents)
	}
	if err := process.AllowFiles(n); err != nil {
		return nil, err
	}
	if cfg.Parallel <= 0 {
		cfg.Parallel = 32
	}
	if cfg.Prefix == "" {
		cfg.Prefix = "swarm"
	}
	if cfg.Say == nil {
		cfg.Say = func(string, ...any) {}
	}
	s := &Swarm{cfg: cfg, begun: time.Now().UTC().Truncate(time.Second), Agents: make([]*Agent, n)}
	if s.enc, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest)); err != nil {
		return nil, err
	}
	if s.dec, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(wire.MaxDocument)); err != nil {
		return nil, err
	}
	if err := s.Each(ctx, cfg.Parallel, s.settle); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Swarm) settle(ctx context.Context, i int) error {
	a, err := s.enrol(ctx, i)
	if err != nil {
		return err
	}
	s.Agents[i] = a
	if i%1000 == 999 {
		s.cfg.Say("  %d agents are enrolled", i+1)
	}
	return a.patiently(ctx, a.Settle)
}

// patiently tries again where the server says that it is busy, as agents do.
func (a *Agent) patiently(ctx context.Context, act func(context.Context) error) error {
	for try := time.Duration(1); ; try++ {
		err := act(ctx)
		var refused *Refused
		if !errors.As(err, &refused) || refused.Status != 503 || try > 20 {
			return err
		}
		select {
		case <-time.After(try * 50 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Each calls f for every agent's number, for so many at once, and ends with the first error.
func (s *Swarm) Each(ctx context.Context, parallel int, f func(context.Context, int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for i := range s.Agents {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error { return f(ctx, i) })
	}
	return group.Wait()
}

// Close ends all connections.
func (s *Swarm) Close() {
	for _, a := range s.Agents {
		if a != nil {
			a.Close()
		}
	}
}

func (s *Swarm) hostname(number int) string { return fmt.Sprintf("%s%06d", s.cfg.Prefix, number) }

func (s *Swarm) pack(body []byte) []byte { return s.enc.EncodeAll(body, nil) }

// note keeps how long a check-in took.
func (s *Swarm) note(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.times = append(s.times, d)
}

// Times are how long check-ins took since the last call, ascending.
func (s *Swarm) Times() []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.times
	s.times = nil
	slices.Sort(out)
	return out
}
