// Command bench measures Assent beside its baselines, on this machine, in one run.
//
//	go run ./bench                  measure every row and print the table
//	go run ./bench --rows P1,P9     only these
//	go run ./bench --real           also install Debian's own pending updates (row P8)
//	go run ./bench --write          also write docs/benchmarks.md
//
// Each row stands beside what it is measured against, and both sides are measured in the same minutes, taking turns.
// A target that is missed says "no". Nothing here is asserted in tests: figures are for reading, tests are for truth.
//
// It needs root and what the lab needs, and leaves nothing running. Rows that a program of this checkout cannot play
// yet are reported as not measured, and the exit code is then 1.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"assent/bench/bare"
	"assent/bench/population"
	"assent/bench/swarm"
	"assent/server/pgtest"
)

// measure is one way to fill rows of the table.
type measure struct {
	row string // the target it answers
	run func(context.Context, *bench) ([]Row, error)
}

// measures are in the order in which they run: the undisturbed ones first.
func measures() []measure {
	return []measure{
		{"P1", checkIns},
		{"P1b", stateChanges},
		{"P2", wakes},
		{"P2s", otherServers},
		{"P3", bulkActs},
		{"P4", serverMemory},
		{"P5", answers},
		{"P7", starts},
		{"P6", growth},
		{"P12", parkedPolls},
		{"P13", handshakes},
		{"P8", installs},
		{"P9", scans},
		{"P10", idleness},
		{"P11", sizes},
		{"P14", consoles},
		{"P15", downloads},
	}
}

// bench is one run of this program.
type bench struct {
	root   string // of the checkout
	tmp    string // gone at the end
	rounds int
	count  int // updates per installation
	idle   time.Duration
	real   bool
	log    io.Writer

	devices int   // of the large fleet
	agents  int   // of the swarm
	growth  []int // P6: devices
	write   bool
	// profiles is where CPU profiles of servers go; empty: nowhere.
	profiles string
	archive  []population.Source
	sites    map[string]*site
	pg       *pgtest.Server
	// databases is how many were made on it.
	databases int

	built map[string]bool
	busy  int // measurements that other things on the machine disturbed
}

// options are the command line.
type options struct {
	rows       string
	json       bool
	write      bool
	rounds     int
	updates    int
	idle       time.Duration
	realUpdate bool
	devices    int
	agents     int
	growth     []int
	constants  bool
	profiles   string
}

func main() {
	if os.Getenv(bare.Env) != "" {
		fmt.Fprintln(os.Stderr, "bare server:", bare.Main())
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parse(args []string, errOut io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(errOut)
	f.StringVar(&o.rows, "rows", "", "only these targets, such as P1,P9")
	f.BoolVar(&o.json, "json", false, "print JSON instead of a table")
	f.BoolVar(&o.constants, "constants", false, "also write what assentd sizing counts with, as far as the rows measure it")
	f.BoolVar(&o.write, "write", false, "also write docs/benchmarks.md; with --rows, the other rows stay as they were measured last")
	f.StringVar(&o.profiles, "profiles", "", "P1b, P3: keep CPU profiles of the servers in this directory")
	f.IntVar(&o.rounds, "rounds", 5, "repetitions of each measurement, of which the median counts")
	f.IntVar(&o.updates, "updates", 40, "P8: updates that one device installs")
	f.DurationVar(&o.idle, "idle", 2*time.Minute, "P10: how long an idle agent is watched")
	f.BoolVar(&o.realUpdate, "real", false, "P8: also with all pending updates of Debian's own archive")
	f.IntVar(&o.devices, "devices", 100_000, "P3, P4, P5, P7: devices of the large fleet")
	sizes := f.String("growth", "1000,10000,100000", "P6: devices of the fleets, ascending; 1000000 needs 24 GiB")
	f.IntVar(&o.agents, "agents", 10_000, "P2, P12: agents of the swarm")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	var err error
	if o.growth, err = sizesOf(*sizes); err != nil {
		return o, err
	}
	switch {
	case f.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	case o.rounds < 1 || o.updates < 1 || o.updates > 500 || o.idle < time.Second:
		return o, errors.New("--rounds, --updates (1 to 500) and --idle must be positive")
	case o.devices < 1000 || o.devices > 2_000_000:
		return o, errors.New("--devices goes from 1,000 to 2,000,000")
	case o.agents < 100 || o.agents > swarm.MaxAgents:
		return o, fmt.Errorf("--agents goes from 100 to %d", swarm.MaxAgents)
	}
	return o, nil
}

func run(ctx context.Context, args []string, out, errOut io.Writer) error {
	o, err := parse(args, errOut)
	if err != nil {
		return err
	}
	chosen, err := choose(o.rows)
	if err != nil {
		return err
	}
	b, err := open(ctx, o, errOut)
	if err != nil {
		return err
	}
	defer b.close()
	report := Report{Command: strings.TrimSpace("go run ./bench " + strings.Join(args, " ")), Machine: machine(ctx, b.root)}
	for _, m := range chosen {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		b.sayf("%s …", m.row)
		rows, err := m.run(ctx, b)
		for i := range rows {
			rows[i].Measure = m.row
		}
		report.Rows = append(report.Rows, rows...)
		if err != nil {
			report.Failed = append(report.Failed, Failure{Row: m.row, Why: err.Error()})
		}
	}
	report.Disturbed = b.busy
	return b.publish(report, o, out)
}

// publish prints the report and fails if something could not be measured.
func (b *bench) publish(r Report, o options, out io.Writer) error {
	if o.json {
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		if err := enc.Encode(r); err != nil {
			return fmt.Errorf("print: %w", err)
		}
	} else {
		r.print(out)
	}
	if o.write {
		if err := b.keep(r); err != nil {
			return err
		}
	}
	if o.constants {
		if err := b.keepConstants(r); err != nil {
			return err
		}
	}
	if len(r.Failed) > 0 {
		return fmt.Errorf("%d of the measurements could not be made", len(r.Failed))
	}
	return nil
}

// choose gives the measures of a comma-separated list; empty means all.
func choose(list string) ([]measure, error) {
	all := measures()
	if list == "" {
		return all, nil
	}
	var out []measure
	for name := range strings.SplitSeq(list, ",") {
		i := slices.IndexFunc(all, func(m measure) bool { return strings.EqualFold(m.row, strings.TrimSpace(name)) })
		if i < 0 {
			return nil, fmt.Errorf("there is no row %q to measure here", name)
		}
		out = append(out, all[i])
	}
	return out, nil
}

func open(ctx context.Context, o options, log io.Writer) (*bench, error) {
	mod, err := output(ctx, "", "go", "env", "GOMOD")
	if err != nil {
		return nil, err
	}
	tmp, err := os.MkdirTemp("", "assent-bench-")
	if err != nil {
		return nil, fmt.Errorf("make a directory: %w", err)
	}
	return &bench{root: filepath.Dir(mod), tmp: tmp, rounds: o.rounds, count: o.updates, idle: o.idle, real: o.realUpdate,
		log: log, built: map[string]bool{}, devices: o.devices, agents: o.agents, growth: o.growth, write: o.write, profiles: o.profiles, sites: map[string]*site{}}, nil
}

// close ends what runs and removes what was made.
func (b *bench) close() {
	if b.pg != nil {
		if err := b.pg.Stop(); err != nil {
			b.sayf("stop PostgreSQL: %v", err)
		}
	}
	if err := os.RemoveAll(b.tmp); err != nil {
		b.sayf("remove what was made: %v", err)
	}
}

// sayf tells whoever waits what is going on.
func (b *bench) sayf(format string, args ...any) { fmt.Fprintf(b.log, format+"\n", args...) }
