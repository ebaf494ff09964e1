package swarm

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"assent/installation"
	"assent/wire"
)

// Poll is the longest that an agent has the server hold an answer, in seconds.
const Poll = 300

// Wake is what one agent saw of a change.
type Wake struct {
	Told    time.Time // a statement arrived
	Fetched time.Time // the plan it names was there, and it is the one that was signed
	Err     error
}

// Park opens a long poll of every agent. The channel gets a Wake of each as soon as it is told something and has
// fetched its plan. End all by ending ctx.
func (s *Swarm) Park(ctx context.Context) <-chan Wake {
	out := make(chan Wake, len(s.Agents))
	for _, a := range s.Agents {
		go func() {
			var w Wake
			var reply wire.CheckInReply
			for w.Err == nil && reply.Statement == nil {
				reply, w.Err = a.CheckIn(ctx, Poll)
			}
			w.Told = time.Now()
			if w.Err == nil {
				_, w.Err = a.Accept(ctx, reply)
				w.Fetched = time.Now()
			}
			out <- w
		}()
	}
	return out
}

// Bare is a connection of the agent to another server, with its certificate.
func (a *Agent) Bare(addr string, roots *x509.CertPool) *Conn {
	conf := a.line.conf.Clone()
	conf.RootCAs, conf.ClientSessionCache = roots, tls.NewLRUClientSessionCache(1)
	return &Conn{a.swarm.newLine(addr, conf)}
}

// Own is the agent's own connection.
func (a *Agent) Own() *Conn { return &Conn{a.line} }

// Conn is a connection that anything may be sent on.
type Conn struct{ line *line }

// Post sends a body and reads the answer.
func (c *Conn) Post(ctx context.Context, path string, body []byte) ([]byte, error) {
	return c.line.call(ctx, http.MethodPost, path, body, false)
}

// Close ends the connection.
func (c *Conn) Close() { c.line.Close() }

// Forget ends the connection and what would make the next handshake a short one.
func (c *Conn) Forget() {
	c.line.Close()
	c.line.conf.ClientSessionCache = tls.NewLRUClientSessionCache(1)
}

// SteadyBody is a check-in that says nothing new, with the next sequence.
func (a *Agent) SteadyBody() ([]byte, error) {
	a.sequence++
	if a.steady == nil {
		in := wire.CheckIn{Capability: wire.Capability, BootID: "boot", Run: "run", Sequence: steadyMark, Digests: a.digests, Plan: a.plan, Counter: a.counter,
			Progress: wire.Progress{LastScan: a.swarm.begun, LastRefresh: a.swarm.begun}}
		text, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("encode a check-in: %w", err)
		}
		a.steady = text
	}
	return bytes.Replace(a.steady, []byte(strconv.Itoa(steadyMark)), strconv.AppendInt(nil, a.sequence, 10), 1), nil
}

// steadyMark stands where the sequence goes.
const steadyMark = 777777777777777

// Result is what a load did.
type Result struct {
	Done  int64
	Took  time.Duration
	Times []time.Duration // of each, ascending; a sample where there are many
}

// Rate is how many were done in a second.
func (r Result) Rate() float64 { return float64(r.Done) / r.Took.Seconds() }

// At is the time within which so large a share was done.
func (r Result) At(share float64) time.Duration {
	if len(r.Times) == 0 {
		return 0
	}
	return r.Times[min(int(share*float64(len(r.Times))), len(r.Times)-1)]
}

// sampled is one in how many times are kept.
const sampled = 8

// Hammer has every agent do something again and again for a time, all at once. The first error ends it.
func (s *Swarm) Hammer(ctx context.Context, d time.Duration, do func(context.Context, *Agent) error) (Result, error) {
	var done atomic.Int64
	var mu sync.Mutex
	var r Result
	begin := time.Now()
	end := begin.Add(d)
	err := s.Each(ctx, len(s.Agents), func(ctx context.Context, i int) error {
		var own []time.Duration
		for n := 0; time.Now().Before(end); n++ {
			from := time.Now()
			if err := do(ctx, s.Agents[i]); err != nil {
				return err
			}
			done.Add(1)
			if n%sampled == 0 {
				own = append(own, time.Since(from))
			}
		}
		mu.Lock()
		defer mu.Unlock()
		r.Times = append(r.Times, own...)
		return nil
	})
	r.Done, r.Took = done.Load(), time.Since(begin)
	slices.Sort(r.Times)
	return r, err
}

// Steady is one check-in that says nothing new.
func Steady(ctx context.Context, a *Agent) error {
	body, err := a.SteadyBody()
	if err != nil {
		return err
	}
	_, err = a.line.call(ctx, http.MethodPost, wire.PathCheckIn, body, false)
	return err
}

// Change is one message that changes the device's state on the server and is answered when that is durable: how far
// the first update of its plan is.
func Change(ctx context.Context, a *Agent) error {
	if len(a.body.Install) == 0 {
		return fmt.Errorf("%s has nothing to install", a.ID)
	}
	state := []installation.State{installation.Downloading, installation.Downloaded}[a.reports%2]
	return a.Report(ctx, a.body.Install[0].Update, state)
}

// Tick is one round of an agent's life: a check-in; what the plan says is installed, and told.
func Tick(ctx context.Context, a *Agent) (installed int, err error) {
	reply, err := a.CheckIn(ctx, 0)
	if err != nil {
		return 0, err
	}
	if len(reply.Need) > 0 || reply.Resend {
		return 0, a.Settle(ctx)
	}
	if _, err := a.Accept(ctx, reply); err != nil {
		return 0, err
	}
	return a.Obey(ctx)
}
