package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"assent/bench/bare"
	"assent/bench/process"
	"assent/bench/swarm"
	"assent/server/seed"
)

// inUse is what heap and stacks of the server take after it looked for garbage, in bytes.
func (c *crowd) inUse(ctx context.Context) (float64, error) {
	for range 2 { // stacks shrink with it, and caches go the second time
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.URL+"/debug/pprof/heap?gc=1", nil)
		if err != nil {
			return 0, err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return 0, fmt.Errorf("have the server look for garbage: %w", err)
		}
		resp.Body.Close()
	}
	heap, err := c.metric(ctx, "go_memstats_heap_inuse_bytes")
	if err != nil {
		return 0, err
	}
	stacks, err := c.metric(ctx, "go_memstats_stack_inuse_bytes")
	return heap + stacks, err
}

// parkedPolls measures P12: what one more connection takes, on either side.
func parkedPolls(ctx context.Context, b *bench) (rows []Row, err error) {
	c, err := b.gather(ctx, seed.SQLite, common(b.agents))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	n := float64(len(c.Swarm.Agents))
	c.Swarm.Close()
	if err := until(ctx, "closed connections", 0, func(ctx context.Context) (float64, error) {
		open, err := c.metric(ctx, "assent_connected_devices")
		return -open, err
	}); err != nil {
		return nil, err
	}
	without, err := c.inUse(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.Each(ctx, 32, func(ctx context.Context, i int) error { return c.Swarm.Agents[i].Settle(ctx) }); err != nil {
		return nil, err
	}
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	c.Park(waiting)
	if err := c.parked(ctx); err != nil {
		return nil, err
	}
	with, err := c.inUse(ctx)
	if err != nil {
		return nil, err
	}
	idle, parked, err := b.bareMemory(ctx, c)
	if err != nil {
		return nil, err
	}
	own := (with - without) / n
	return []Row{{Constants: map[string]float64{"parked_poll_kib": own / 1024}, ID: "P12", What: "memory of a parked long poll", Value: own / 1024, Unit: "KiB", Baseline: idle / 1024, Against: "an idle connection of a bare net/http server with the same mutual TLS, after one request",
		Target: Target{Of: Ratio, Limit: 1}, Note: fmt.Sprintf("heap and stacks in use after a search for garbage, with %s connections less without, divided; a request parked in the bare server's handler takes %s KiB; the kernel's buffers are not counted on either side",
			thousands(int(n)), number(parked/1024))}}, nil
}

// bareMemory is what one idle connection and one parked request take in a bare server.
func (b *bench) bareMemory(ctx context.Context, c *crowd) (idle, parked float64, err error) {
	s, err := bare.Start(ctx, c.CA)
	if err != nil {
		return 0, 0, err
	}
	defer s.Stop()
	before, err := s.Memory(ctx)
	if err != nil {
		return 0, 0, err
	}
	conns, err := c.bareConns(ctx, s)
	if err != nil {
		return 0, 0, err
	}
	atRest, err := s.Memory(ctx)
	if err != nil {
		return 0, 0, err
	}
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	for _, conn := range conns {
		go func() { _, _ = conn.Post(waiting, "/park", nil) }() // it ends with waiting
	}
	if err := until(ctx, "parked requests", float64(len(conns)), func(ctx context.Context) (float64, error) { n, err := s.Parked(ctx); return float64(n), err }); err != nil {
		return 0, 0, err
	}
	busy, err := s.Memory(ctx)
	n := float64(len(conns))
	return float64(atRest-before) / n, float64(busy-before) / n, err
}

// Shape of P13.
const (
	shakers   = 16 // agents that connect again and again
	shakeTurn = 2 * time.Second
)

// handshakes measures P13, full and resumed, in turns with the baseline.
func handshakes(ctx context.Context, b *bench) (rows []Row, err error) {
	c, err := b.gather(ctx, seed.SQLite, common(shakers))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	s, err := bare.Start(ctx, c.CA)
	if err != nil {
		return nil, err
	}
	defer s.Stop()
	conns, err := c.bareConns(ctx, s)
	if err != nil {
		return nil, err
	}
	for _, full := range []bool{true, false} {
		var own, other []float64
		var ratios []float64
		for range max(b.rounds, 3) {
			mine, err := shake(ctx, c, c.PID, full, func(i int) (*swarm.Conn, func(context.Context) error) {
				a := c.Swarm.Agents[i]
				return a.Own(), func(ctx context.Context) error { return swarm.Steady(ctx, a) }
			})
			if err != nil {
				return nil, err
			}
			plain, err := shake(ctx, c, s.PID, full, func(i int) (*swarm.Conn, func(context.Context) error) {
				return conns[i], func(ctx context.Context) error { _, err := conns[i].Post(ctx, "/", make([]byte, 300)); return err }
			})
			if err != nil {
				return nil, err
			}
			own, other, ratios = append(own, mine), append(other, plain), append(ratios, mine/plain)
		}
		what := map[bool]string{true: "full", false: "resumed"}[full]
		constant := map[bool]string{true: "handshake_us", false: "handshake_resumed_us"}[full]
		rows = append(rows, Row{Constants: map[string]float64{constant: 1e6 / median(own)}, ID: "P13" + map[bool]string{true: "", false: "r"}[full], What: what + " handshakes with device certificates, one check-in on each connection", Value: median(own), Unit: "/CPU-s", Baseline: median(other), Paired: median(ratios),
			Against: "a bare net/http handler with the same TLS, one request on each connection", Target: Target{Of: Ratio, Least: true, Limit: 0.9}, Note: fmt.Sprintf("%d agents at once, CPU of the server's process; ratios: %.3f", shakers, ratios)})
	}
	return rows, nil
}

// shake has all agents connect, send one request and hang up, again and again, and gives connections per CPU-second of
// the server's process.
func shake(ctx context.Context, c *crowd, pid int, full bool, of func(i int) (*swarm.Conn, func(context.Context) error)) (float64, error) {
	before := process.CPU(pid)
	r, err := c.Hammer(ctx, shakeTurn, func(ctx context.Context, a *swarm.Agent) error {
		conn, send := of(a.Number)
		if err := send(ctx); err != nil {
			return err
		}
		if full {
			conn.Forget()
		} else {
			conn.Close()
		}
		return nil
	})
	return float64(r.Done) / (process.CPU(pid) - before).Seconds(), err
}
