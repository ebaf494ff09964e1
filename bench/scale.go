package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"assent/approval"
	"assent/bench/process"
	"assent/client"
	"assent/server/seed"
)

// words says what a site is.
func (s *site) words() string {
	z := s.fleet.Size
	return fmt.Sprintf("%s devices in %d groups, %d of %s updates applicable to each, %d source packages of Debian's own archive on each; %s different sets of packages and of updates, facts of its own for each device; %s",
		thousands(z.Devices), seed.Groups, z.Each, thousands(z.Updates), z.Packages, thousands(z.Kinds), s.engine)
}

func thousands(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// large runs the server of the large fleet for f.
func (b *bench) large(ctx context.Context, f func(*site) error) (err error) {
	s, err := b.site(ctx, seed.SQLite, fleetOf(b.devices))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	return f(s)
}

// starts measures P7.
func starts(ctx context.Context, b *bench) (rows []Row, err error) {
	var samples, cpu []time.Duration
	for range min(b.rounds, 3) {
		if err := b.quiet(ctx); err != nil {
			return nil, err
		}
		err := b.large(ctx, func(s *site) error {
			samples, cpu = append(samples, s.took), append(cpu, s.startCPU)
			rows = []Row{{ID: "P7", What: "server with " + thousands(b.devices) + " devices: start to the first correct answer", Unit: "s", Target: Target{Of: Value, Limit: 5},
				Note: "from the start of the process to a sorted, counted page of updates and a device's page that are right; " + s.words()}}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	rows[0].Value = median(samples).Seconds()
	rows[0].Constants = map[string]float64{"fleet_start_s": median(cpu).Seconds()}
	rows[0].Note += "; starts: " + spread(samples) + "; CPU " + spread(cpu)
	return rows, nil
}

// serverMemory measures P4: after the start, after each list was read, and after an act on everything.
func serverMemory(ctx context.Context, b *bench) (rows []Row, err error) {
	err = b.large(ctx, func(s *site) error {
		atStart, err := process.Memory(s.PID)
		if err != nil {
			return err
		}
		if _, err := s.answers(ctx, 3); err != nil {
			return err
		}
		if _, err := s.bulk(ctx, approval.Approved); err != nil {
			return err
		}
		after, err := process.Memory(s.PID)
		if err != nil {
			return err
		}
		if _, err := s.bulk(ctx, approval.Undefined); err != nil { // as it was
			return err
		}
		file, err := os.Stat(s.dsn)
		if err != nil {
			return fmt.Errorf("look at the database: %w", err)
		}
		z := s.fleet.Size
		rows = []Row{{Constants: map[string]float64{"fleet_devices": float64(z.Devices), "fleet_updates": float64(z.Updates), "fleet_memory_mib": after["VmRSS"], "fleet_database_mib": float64(file.Size()) / mebibyte},
			ID: "P4", What: "memory of a server with " + thousands(b.devices) + " devices and " + thousands(s.fleet.Size.Updates) + " updates", Value: after["VmRSS"] / 1024, Unit: "GiB",
			Target: Target{Of: Value, Limit: 1.5}, Note: fmt.Sprintf("VmRSS after lists, pages and an act on all updates; after the start %s MiB; at most it had %s MiB; %s",
				number(atStart["VmRSS"]), number(after["VmHWM"]), s.words())}}
		return nil
	})
	return rows, err
}

// question is something that is asked of the API.
type question struct {
	name string
	ask  func(context.Context, *site, int) error
}

// questions are those of P5.
func questions() []question {
	needed := true
	return []question{
		{"updates, filtered, by devices that need them", func(ctx context.Context, s *site, _ int) error {
			list, err := s.api.Updates(ctx, client.Filter{Status: []approval.Status{approval.Undefined, approval.Approved}, Needed: &needed}, client.Page{Sort: "-needed"})
			return counted(list.Total, s.fleet.Size.Updates, err)
		}},
		{"updates of one group, searched", func(ctx context.Context, s *site, i int) error {
			list, err := s.api.Updates(ctx, client.Filter{Group: string(seed.Group(i)), Search: "lib"}, client.Page{Sort: "-installed"})
			return counted(min(list.Total, 1), 1, err)
		}},
		{"devices, by name", func(ctx context.Context, s *site, _ int) error {
			list, err := s.api.Devices(ctx, client.DeviceQuery{}, client.Page{})
			return counted(list.Total, s.fleet.Size.Devices, err)
		}},
		{"devices, by what is pending", func(ctx context.Context, s *site, _ int) error {
			list, err := s.api.Devices(ctx, client.DeviceQuery{}, client.Page{Sort: "-pending"})
			return counted(list.Total, s.fleet.Size.Devices, err)
		}},
		{"one device", func(ctx context.Context, s *site, i int) error {
			d, err := s.api.Device(ctx, string(seed.DeviceID(i*37)))
			return counted(min(len(d.Updates), s.fleet.Size.Each), s.fleet.Size.Each, err)
		}},
		{"why", func(ctx context.Context, s *site, i int) error {
			kind := s.fleet.KindOf(i * 41)
			w, err := s.api.Why(ctx, string(seed.DeviceID(i*41)), s.fleet.Release(s.fleet.Update(kind)))
			return counted(min(len(w.Sentence), 1), 1, err)
		}},
	}
}

func counted(got, want int, err error) error {
	if err == nil && got != want {
		err = fmt.Errorf("the answer has %d instead of %d", got, want)
	}
	return err
}

// latencies are the times of one question's answers.
type latencies struct {
	name  string
	times []time.Duration
	cpu   time.Duration // of the server, on average
}

func (l latencies) at(share float64) time.Duration {
	sorted := slices.Sorted(slices.Values(l.times))
	return sorted[min(int(share*float64(len(sorted))), len(sorted)-1)]
}

// answers asks each question so many times.
func (s *site) answers(ctx context.Context, times int) ([]latencies, error) {
	var out []latencies
	for _, q := range questions() {
		l := latencies{name: q.name}
		before := process.CPU(s.PID)
		for i := range times {
			begin := time.Now()
			if err := q.ask(ctx, s, i); err != nil {
				return nil, fmt.Errorf("%s: %w", q.name, err)
			}
			l.times = append(l.times, time.Since(begin))
		}
		l.cpu = (process.CPU(s.PID) - before) / time.Duration(times)
		out = append(out, l)
	}
	return out, nil
}

// asked is how often each question of P5 is asked.
const asked = 40

// answers measures P5.
func answers(ctx context.Context, b *bench) (rows []Row, err error) {
	err = b.large(ctx, func(s *site) error {
		if _, err := s.answers(ctx, 2); err != nil { // a server that has served before
			return err
		}
		if err := b.quiet(ctx); err != nil {
			return err
		}
		all, err := s.answers(ctx, asked)
		if err != nil {
			return err
		}
		rows = []Row{answerRow(s, all)}
		return nil
	})
	return rows, err
}

func answerRow(s *site, all []latencies) Row {
	slowest := slices.MaxFunc(all, func(a, b latencies) int { return int(a.at(0.95) - b.at(0.95)) })
	var each []string
	for _, l := range all {
		each = append(each, fmt.Sprintf("%s %s/%s (%s)", l.name, number(milliseconds(l.at(0.5))), number(milliseconds(l.at(0.95))), number(milliseconds(l.cpu))))
	}
	return Row{ID: "P5", What: "slowest answer of the API, " + slowest.name + ", p95", Value: milliseconds(slowest.at(0.95)), Unit: "ms", Target: Target{Of: Value, Limit: 50},
		Note: fmt.Sprintf("as the client on the same cores sees it, its decoding included; each %d times, p50/p95 in ms (CPU of the server, mean): %s; %s", asked, strings.Join(each, ", "), s.words())}
}

// bulkActs measures P3.
func bulkActs(ctx context.Context, b *bench) (rows []Row, err error) {
	err = b.large(ctx, func(s *site) error {
		var durable, right, answered, cpu []time.Duration
		for i := range 2 * max(b.rounds/2, 1) { // as it was in the end
			if err := b.quiet(ctx); err != nil {
				return err
			}
			var a acted
			if err := b.profile(ctx, s.Daemon, fmt.Sprint("P3-", i), 10*time.Second, func() (err error) {
				a, err = s.bulk(ctx, []approval.Status{approval.Approved, approval.Undefined}[i%2])
				return err
			}); err != nil {
				return err
			}
			durable, right, answered = append(durable, a.durable), append(right, a.right), append(answered, a.answered)
			cpu = append(cpu, a.cpu)
		}
		base, err := b.oneRowEach(ctx, s)
		if err != nil {
			return err
		}
		z := s.fleet.Size
		rows = []Row{{ID: "P3", What: fmt.Sprintf("one act on %s updates for %s devices: to durable and visible", thousands(z.Updates), thousands(z.Devices)), Value: median(durable).Seconds(), Unit: "s",
			Baseline: base.Seconds(), Against: fmt.Sprintf("one row for each of %s pairs of device and update, inserted by hundreds in one transaction of the same engine", thousands(z.Devices*z.Each)),
			Target: Target{Of: Value, Limit: 1}, Note: fmt.Sprintf("through the API, approved and set back in turns; the next list and device's page show the right counts after %s s more; the answer with what it means comes after %s s and %s s of CPU; acts: %s; %s",
				number(median(right).Seconds()), number(median(answered).Seconds()), number(median(cpu).Seconds()), spread(durable), s.words())}}
		return nil
	})
	return rows, err
}

// acted is how one act went.
type acted struct {
	cpu      time.Duration // of the server until it had answered
	durable  time.Duration // until it was durable and everybody saw it
	answered time.Duration // until its caller had the answer with its preview
	right    time.Duration // until the next list and the next page of a device showed it
}

// bulk sets the status of all updates in one act and checks the counts afterwards.
func (s *site) bulk(ctx context.Context, status approval.Status) (a acted, err error) {
	from, err := s.api.Changes(ctx, 0, 0)
	if err != nil {
		return a, err
	}
	changed, before := make(chan error, 1), process.CPU(s.PID)
	begin := time.Now()
	go func() {
		_, err := s.api.Changes(ctx, from.Seq, time.Minute)
		a.durable = time.Since(begin)
		changed <- err
	}()
	out, err := s.api.Decide(ctx, client.Decide{Matching: &client.Filter{}, Status: status, Reason: "measured"})
	a.answered, a.cpu = time.Since(begin), process.CPU(s.PID)-before
	if err := errors.Join(err, <-changed); err != nil {
		return a, err
	}
	if len(out.Changed) != s.fleet.Size.Updates {
		return a, fmt.Errorf("the act changed %d updates instead of %d", len(out.Changed), s.fleet.Size.Updates)
	}
	begin = time.Now()
	list, err := s.api.Updates(ctx, client.Filter{Status: []approval.Status{status}}, client.Page{Limit: 1})
	if err := counted(list.Total, s.fleet.Size.Updates, err); err != nil {
		return a, err
	}
	d, err := s.api.Device(ctx, string(seed.DeviceID(1)))
	want := map[bool]int{true: s.fleet.Size.Each}[status == approval.Approved]
	a.right = time.Since(begin)
	return a, counted(d.Planned, want, err)
}
