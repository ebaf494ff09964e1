package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"assent/approval"
	"assent/bench/process"
	"assent/bench/swarm"
	"assent/server/seed"
)

// point is one fleet of P6.
type point struct {
	devices int
	cost    map[string]float64 // milliseconds of the server's CPU
}

// curves are what P6 follows, with the largest slope that is allowed: how much more it costs with ten times as many
// devices, as a power of ten. Flat ones may wander a little.
func curves() []struct {
	name  string
	limit float64
} {
	return []struct {
		name  string
		limit float64
	}{{"check-in", 0.15}, {"why", 0.15}, {"one device", 0.15}, {"updates, filtered, by devices that need them", 1}, {"devices, by name", 1}, {"bulk act, to durable", 1}}
}

// growth measures P6: the same questions and acts for larger and larger fleets, on both engines.
func growth(ctx context.Context, b *bench) (rows []Row, err error) {
	for _, engine := range []string{seed.SQLite, seed.Postgres} {
		var points []point
		for _, n := range b.growth {
			p, err := b.grown(ctx, engine, n)
			if err != nil {
				return rows, fmt.Errorf("%s with %d devices: %w", engine, n, err)
			}
			points = append(points, p)
		}
		for _, c := range curves() {
			rows = append(rows, growthRow(engine, c.name, c.limit, points))
		}
		if b.write {
			name := filepath.Join(b.root, "docs", "pictures", "growth-"+engine+".svg")
			if err := os.WriteFile(name, []byte(plot(engine, points)), 0o644); err != nil {
				return rows, fmt.Errorf("write the plot: %w", err)
			}
		}
	}
	return rows, nil
}

// grown measures one fleet.
func (b *bench) grown(ctx context.Context, engine string, devices int) (p point, err error) {
	s, err := b.site(ctx, engine, fleetOf(devices))
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	p = point{devices, map[string]float64{}}
	if _, err := s.answers(ctx, 2); err != nil {
		return p, err
	}
	all, err := s.answers(ctx, 20)
	if err != nil {
		return p, err
	}
	for _, l := range all {
		p.cost[l.name] = milliseconds(l.cpu)
	}
	var durable []time.Duration
	for i := range 4 {
		a, err := s.bulk(ctx, []approval.Status{approval.Approved, approval.Undefined}[i%2])
		if err != nil {
			return p, err
		}
		durable = append(durable, a.durable)
	}
	p.cost["bulk act, to durable"] = milliseconds(median(durable))
	p.cost["check-in"], err = b.beside(ctx, s) // last: it adds devices
	return p, err
}

// beside is what a steady check-in costs a server that has a large fleet already, in milliseconds of its CPU.
func (b *bench) beside(ctx context.Context, s *site) (float64, error) {
	size := common(8)
	size.Updates, size.Each = 5, 5
	f, err := b.population(ctx, size)
	if err != nil {
		return 0, err
	}
	c := &crowd{Daemon: s.Daemon}
	if err := c.enrol(ctx, b, f); err != nil {
		return 0, err
	}
	defer c.Swarm.Close()
	before := process.CPU(s.PID)
	const each = 300 // within what the server takes from one device in a row
	var n int64
	err = c.Each(ctx, len(c.Swarm.Agents), func(ctx context.Context, i int) error {
		for range each {
			if err := swarm.Steady(ctx, c.Swarm.Agents[i]); err != nil {
				return err
			}
		}
		return nil
	})
	n = each * int64(len(c.Swarm.Agents))
	return milliseconds(process.CPU(s.PID)-before) / float64(n), err
}

// slope is how much more something costs with ten times as many devices, as a power of ten, over all points.
func slope(name string, points []point) float64 {
	var x, y, xx, xy float64
	n := float64(len(points))
	for _, p := range points {
		lx, ly := math.Log10(float64(p.devices)), math.Log10(max(p.cost[name], 1e-6))
		x, y, xx, xy = x+lx, y+ly, xx+lx*lx, xy+lx*ly
	}
	if d := n*xx - x*x; d != 0 {
		return (n*xy - x*y) / d
	}
	return 0
}

func growthRow(engine, name string, limit float64, points []point) Row {
	var each []string
	for _, p := range points {
		each = append(each, thousands(p.devices)+": "+number(p.cost[name])+" ms")
	}
	return Row{ID: "P6", What: "growth of " + name + ", " + engine, Value: slope(name, points), Unit: "(power of the number of devices)", Target: Target{Of: Value, Limit: limit},
		Note: "0: flat, 1: in proportion; CPU of the server, the act's wall time; " + strings.Join(each, ", ")}
}

// sizesOf reads a list such as 1000,10000.
func sizesOf(text string) (out []int, err error) {
	for part := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(part))
		if err != nil || n < 1000 || n > 2_000_000 || len(out) > 0 && n <= out[len(out)-1] {
			return nil, fmt.Errorf("%q is no ascending list of sizes from 1000 to 2000000", text)
		}
		out = append(out, n)
	}
	if len(out) < 2 {
		return nil, errors.New("growth needs two sizes at least")
	}
	return out, nil
}
