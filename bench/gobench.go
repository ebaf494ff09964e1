package main

import (
	"bufio"
	"context"
	"fmt"
	"strconv"
	"strings"
)

// sample is what one run of a Go benchmark reported, by unit.
type sample map[string]float64

// goBench runs one benchmark of a package count times and gives what each run reported.
func (b *bench) goBench(ctx context.Context, pkg, name, benchTime string, count int) ([]sample, error) {
	b.sayf("  %s in %s", name, pkg)
	out, err := output(ctx, b.root, "go", "test", "-run", "^$", "-bench", "^"+name+"$", "-benchtime", benchTime,
		"-count", strconv.Itoa(count), "-timeout", "20m", pkg)
	if err != nil {
		return nil, err
	}
	samples, err := readSamples(out, name)
	if err == nil && len(samples) != count {
		err = fmt.Errorf("%s: %d results instead of %d: %s", name, len(samples), count, out)
	}
	return samples, err
}

// readSamples reads lines such as "BenchmarkX-2  10  123 ns/op  4.5 ratio".
func readSamples(text, name string) ([]sample, error) {
	var out []sample
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 4 || f[0] != name && !strings.HasPrefix(f[0], name+"-") {
			continue
		}
		s := sample{}
		for i := 2; i+1 < len(f); i += 2 {
			v, err := strconv.ParseFloat(f[i], 64)
			if err != nil {
				return nil, fmt.Errorf("%s: read %q: %w", name, lines.Text(), err)
			}
			s[f[i+1]] = v
		}
		out = append(out, s)
	}
	return out, lines.Err()
}

// middle is the sample with the median of a unit, which all samples must have.
func middle(samples []sample, unit string) (sample, error) {
	var all []float64
	for _, s := range samples {
		v, ok := s[unit]
		if !ok {
			return nil, fmt.Errorf("the benchmark reported no %s", unit)
		}
		all = append(all, v)
	}
	want := median(all)
	for _, s := range samples {
		if s[unit] == want {
			return s, nil
		}
	}
	return nil, fmt.Errorf("no samples of %s", unit)
}

// checkIns measures P1 with the gateway's own benchmarks, which have the load in a process of its own so that only
// the server's CPU counts.
func checkIns(ctx context.Context, b *bench) ([]Row, error) {
	alone, err := b.checkIn(ctx, "P1", "steady check-in, mutual TLS, keep-alive", "BenchmarkP1")
	if err != nil {
		return nil, err
	}
	whole, err := b.checkIn(ctx, "P1w", "the same with the real index and planner behind the gateway", "BenchmarkP1Whole")
	if err != nil {
		return []Row{alone}, err
	}
	return []Row{alone, whole}, nil
}

func (b *bench) checkIn(ctx context.Context, id, what, benchmark string) (Row, error) {
	samples, err := b.goBench(ctx, "./server/internal/gateway", benchmark, "5x", b.rounds)
	if err != nil {
		return Row{}, err
	}
	m, err := middle(samples, "ratio")
	if err != nil {
		return Row{}, err
	}
	var ratios []string
	for _, s := range samples {
		ratios = append(ratios, number(s["ratio"]))
	}
	return Row{
		Constants: map[string]float64{"check_in_us": 1e6 / m["checkins/cpu-s"]},
		ID:        id, What: what, Value: m["checkins/cpu-s"], Unit: "/CPU-s", Baseline: m["bare/cpu-s"], Paired: m["ratio"],
		Against: "bare net/http handler, same TLS, 200 bytes for 300 bytes",
		Target:  Target{Of: Ratio, Least: true, Limit: 0.80},
		Note: fmt.Sprintf("a check-in's body has %.0f bytes; 8 connections, load in another process; ratios of %d runs: %s",
			m["body-B"], len(samples), strings.Join(ratios, ", ")),
	}, nil
}
