// Command assent-swarm lets simulated agents live on a server of this machine, for a time: they enrol, check in, take
// what is approved and report it. It says what the server did in that time, and what it used.
//
//	go run ./bench/cmd/assent-swarm --server 127.0.0.1:8443 --token-file TOKEN --agents 500 --for 1m
//
// It speaks to loopback addresses only. TOKEN is a file with the text of an enrolment token (`assent token create`).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"assent/bench/population"
	"assent/bench/process"
	"assent/bench/swarm"
	"assent/wire"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "assent-swarm:", err)
		os.Exit(1)
	}
}

// options are the command line.
type options struct {
	server, tokenFile string
	size              population.Size
	share             int
	time              time.Duration
	every             time.Duration
	away              int
	pid               int
}

// maxTime is the longest that a swarm lives.
const maxTime = 24 * time.Hour

func parse(args []string, errOut io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("assent-swarm", flag.ContinueOnError)
	f.SetOutput(errOut)
	f.StringVar(&o.server, "server", "127.0.0.1:8443", "the server's address for devices, on loopback")
	f.StringVar(&o.tokenFile, "token-file", "", "file with the text of an enrolment token for as many devices")
	f.IntVar(&o.size.Devices, "agents", 100, "agents")
	f.IntVar(&o.share, "share", 20, "agents that have the same packages, as machines of one image do; 1: all differ")
	f.IntVar(&o.size.Updates, "updates", 500, "distinct updates in the fleet")
	f.IntVar(&o.size.Each, "each", 20, "updates that one agent could take")
	f.IntVar(&o.size.Packages, "packages", 200, "source packages on each agent")
	f.DurationVar(&o.time, "for", time.Minute, "how long")
	f.DurationVar(&o.every, "every", 5*time.Second, "time between two check-ins of one agent")
	f.IntVar(&o.away, "away", 5, "percent of the agents that are away at any time")
	f.IntVar(&o.pid, "pid", 0, "process id of assentd, to say what it used")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	switch {
	case f.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	case o.tokenFile == "":
		return o, errors.New("--token-file is needed; make a token with `assent token create --uses N`")
	case o.share < 1 || o.away < 0 || o.away > 90 || o.time <= 0 || o.time > maxTime || o.every < 10*time.Millisecond:
		return o, fmt.Errorf("--share is at least 1, --away 0 to 90, --for at most %v, --every at least 10ms", maxTime)
	}
	o.size.Kinds = max(o.size.Devices/o.share, 1)
	return o, swarm.Loopback(o.server)
}

func run(ctx context.Context, args []string, out, errOut io.Writer) error {
	o, err := parse(args, errOut)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(o.tokenFile)
	if err != nil {
		return fmt.Errorf("read the token: %w", err)
	}
	token, err := wire.ParseToken(strings.TrimSpace(string(text)))
	if err != nil {
		return err
	}
	archive, err := population.ReadArchive(ctx)
	if err != nil {
		return err
	}
	fleet, err := population.New(archive, o.size)
	if err != nil {
		return err
	}
	begin := time.Now()
	s, err := swarm.Gather(ctx, swarm.Config{Agents: o.server, Token: token, Fleet: fleet, Say: func(format string, args ...any) { fmt.Fprintf(errOut, format+"\n", args...) }})
	if err != nil {
		return err
	}
	defer s.Close()
	fmt.Fprintf(out, "%d agents enrolled and settled in %v\n", o.size.Devices, time.Since(begin).Round(time.Millisecond))
	return o.live(ctx, s, out)
}

// live lets the agents live, and says what happened.
func (o options) live(ctx context.Context, s *swarm.Swarm, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, o.time)
	defer cancel()
	s.Times()
	var rounds, installed atomic.Int64
	before, begin := process.CPU(o.pid), time.Now()
	err := s.Each(ctx, len(s.Agents), func(ctx context.Context, i int) error {
		return s.Live(ctx, i, swarm.Life{Every: o.every, Away: o.away, Round: func(n int) { rounds.Add(1); installed.Add(int64(n)) }})
	})
	if ctx.Err() == nil || err != nil && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
		return err
	}
	took, times := time.Since(begin), s.Times()
	fmt.Fprintf(out, "%d check-ins in %v: %.0f/s; %d updates installed\n", rounds.Load(), took.Round(time.Second), float64(rounds.Load())/took.Seconds(), installed.Load())
	if n := len(times); n > 0 {
		fmt.Fprintf(out, "answers: p50 %v, p95 %v, p99 %v, at most %v\n", times[n/2], times[n*95/100], times[n*99/100], times[n-1])
	}
	if o.pid == 0 {
		return nil
	}
	memory, err := process.Memory(o.pid)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "the server used %v of CPU and has %.0f MiB of memory\n", (process.CPU(o.pid) - before).Round(time.Millisecond), memory["VmRSS"])
	return nil
}
