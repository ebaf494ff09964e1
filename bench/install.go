package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"assent/bench/process"
	"assent/client"
	"assent/e2e/stage"
	"assent/installation"
	"assent/lab"
	"assent/lab/debrepo"
	"assent/wire"
)

// installs measures P8: an agent installing approved updates against plain apt-get on another device of the same
// overlay, both with the files downloaded before. P8b is the way there: from the decision to the last proof.
func installs(ctx context.Context, b *bench) ([]Row, error) {
	rows, err := b.race(ctx, made{b.count})
	if err != nil || !b.real {
		return rows, err
	}
	debian, err := b.race(ctx, debian{})
	return append(rows, debian...), err
}

// course is what both devices install.
type course interface {
	// config is the stage that it needs.
	config() stage.Config
	// publish puts the packages into the stage's repository.
	publish(*stage.Stage) error
	// before are the commands that make a device ready for the updates, after a refresh.
	before() []string
	// words describe it in a row, and mark its rows.
	words() (what, mark string)
	// laps is how often it is run at least: a short run is disturbed by little.
	laps() int
}

// made is a number of packages made for this, of twenty files and 200 kB each.
type made struct{ count int }

func (made) config() stage.Config { return stage.Config{Acme: true} }

func (m made) words() (what, mark string) {
	return fmt.Sprintf("%d updates of 20 files and 200 kB", m.count), ""
}

func (made) laps() int { return 7 }

func (m made) names(suffix string) []string {
	var out []string
	for i := range m.count {
		out = append(out, fmt.Sprintf("bench-%03d%s", i, suffix))
	}
	return out
}

func (m made) before() []string {
	return append([]string{"apt-get", "-y", "-q", "install", "--"}, m.names("=1.0")...)
}

func (m made) publish(s *stage.Stage) error {
	old, _ := lab.AcmeSuites(0)
	for _, name := range m.names("") {
		for _, version := range []string{"1.0", "1.1"} {
			p := debrepo.Package{Name: name, Version: version, Arch: debrepo.HostArch(), Description: "made for measuring", Pad: 100_000, Files: map[string]string{}}
			for i := range 20 {
				p.Files[fmt.Sprintf("/usr/share/%s/%02d", name, i)] = strings.Repeat(name+" "+version+"\n", 350)
			}
			old.Packages = append(old.Packages, p)
		}
	}
	return s.Repo.Publish(old)
}

// debian is what Debian's own archive offers to a device.
type debian struct{}

func (debian) config() stage.Config       { return stage.Config{Real: true} }
func (debian) publish(*stage.Stage) error { return nil }
func (debian) before() []string           { return nil }
func (debian) laps() int                  { return 3 }
func (debian) words() (what, mark string) { return "all updates of Debian 12.0's base", "r" }

// lap is what one pair of devices needed.
type lap struct {
	run    time.Duration // the package manager, run by the agent
	whole  time.Duration // from the decision to the last proof
	plain  time.Duration // apt-get
	ownCPU time.Duration // of the agent and all it started, from the decision to a second after the last proof
	aptCPU time.Duration // of apt-get and all it started
	runs   int           // transactions of the agent
	update int           // approved updates
}

// diskMB is the size of each device's disk, which is in memory: dpkg syncs each file, and how long that takes on a disk
// that others use says nothing about either side. It makes the baseline faster, so what the agent adds shows the more.
const diskMB = 2048

// race runs all laps of a course and makes its rows.
func (b *bench) race(ctx context.Context, c course) (rows []Row, err error) {
	cfg, rounds := c.config(), max(b.rounds, c.laps())
	for i := range rounds {
		cfg.Devices = append(cfg.Devices, stage.DeviceSpec{Name: agentDevice(i), DiskMB: diskMB}, stage.DeviceSpec{Name: plainDevice(i), DiskMB: diskMB})
	}
	s, err := b.stage(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := c.publish(s); err != nil {
		return nil, err
	}
	var laps []lap
	for i := range rounds {
		l, err := b.lap(ctx, s, c, i)
		if err != nil {
			return nil, fmt.Errorf("lap %d: %w", i+1, err)
		}
		b.sayf("  lap %d: agent's run %v, from the decision %v, plain %v", i+1, l.run, l.whole, l.plain)
		laps = append(laps, l)
	}
	return lapRows(c, laps), nil
}

func agentDevice(i int) string { return fmt.Sprintf("agent-%d", i+1) }
func plainDevice(i int) string { return fmt.Sprintf("plain-%d", i+1) }

func lapRows(c course, laps []lap) []Row {
	var run, whole, plain, ownCPU, aptCPU []time.Duration
	for _, l := range laps {
		ownCPU, aptCPU = append(ownCPU, l.ownCPU), append(aptCPU, l.aptCPU)
		run, whole, plain = append(run, l.run), append(whole, l.whole), append(plain, l.plain)
	}
	what, mark := c.words()
	against := "`apt-get -y install name=version …` on another device of the same overlay, files downloaded before"
	last := laps[len(laps)-1]
	best := fmt.Sprintf("the best laps: %s against %s (ratio %s)", spread([]time.Duration{slices.Min(run)}), spread([]time.Duration{slices.Min(plain)}),
		number(slices.Min(run).Seconds()/slices.Min(plain).Seconds()))
	return []Row{
		{ID: "P8" + mark, What: "agent's run of the package manager: " + what, Value: median(run).Seconds(), Unit: "s", Baseline: median(plain).Seconds(), Paired: paired(run, plain), Against: against,
			Target: Target{Of: Ratio, Limit: 1.05}, Note: fmt.Sprintf("%d approved updates, %d transactions, by started and finished of the proof; disks in memory; both devices had the same packages afterwards; laps: %s against %s; %s",
				last.update, last.runs, spread(run), spread(plain), best)},
		{ID: "P8b" + mark, What: "the same from the decision to the last proof", Value: median(whole).Seconds(), Unit: "s", Baseline: median(plain).Seconds(), Paired: paired(whole, plain), Against: against,
			Note: "the command line's start, the plan, simulation, digests, the run, verification; laps: " + spread(whole)},
		{ID: "P8c" + mark, What: "CPU on the device from the decision to the last proof", Value: median(ownCPU).Seconds(), Unit: "s CPU", Baseline: median(aptCPU).Seconds(), Paired: paired(ownCPU, aptCPU),
			Against: "CPU of the same apt-get", Note: "agent, guard, apt and dpkg, with simulation, verification and the scan afterwards; hardly disturbed by what else the machine does; laps: " +
				spread(ownCPU) + " against " + spread(aptCPU)},
	}
}

// lap makes both devices ready, lets them install one after the other, and compares what came of it. Who goes first
// changes from lap to lap, since the second finds more in the machine's caches.
func (b *bench) lap(ctx context.Context, s *stage.Stage, c course, i int) (lap, error) {
	var l lap
	own, plain := s.Device(agentDevice(i)), s.Device(plainDevice(i))
	group := fmt.Sprintf("Lap %d", i+1)
	if err := s.Must(ctx, "group", "create", group); err != nil {
		return l, err
	}
	targets, err := prepare(ctx, c, own, plain)
	if err != nil {
		return l, err
	}
	if err := own.Enrol(ctx, group); err != nil {
		return l, err
	}
	if _, err := b.settle(ctx, own); err != nil {
		return l, err
	}
	sides := []func() error{
		func() error { return l.approve(ctx, s, own, group) },
		func() (err error) { l.plain, l.aptCPU, err = plainInstall(ctx, plain, targets); return err },
	}
	if i%2 == 1 {
		slices.Reverse(sides)
	}
	for _, side := range sides {
		if err := b.quiet(ctx); err != nil {
			return l, err
		}
		if err := side(); err != nil {
			return l, err
		}
	}
	return l, errors.Join(own.Agent().Stop(ctx), same(ctx, own, plain))
}

// prepare brings both devices to the same state with all files downloaded, and says what is to be installed.
func prepare(ctx context.Context, c course, devices ...*stage.Device) ([]string, error) {
	var targets []string
	for _, d := range devices {
		if _, err := d.Output(ctx, "apt-get", "-q", "--error-on=any", "update"); err != nil {
			return nil, err
		}
		if first := c.before(); first != nil {
			if _, err := d.Output(ctx, first...); err != nil {
				return nil, err
			}
		}
		pending, err := upgradable(ctx, d)
		if err != nil {
			return nil, err
		}
		if len(pending) == 0 || targets != nil && !slices.Equal(targets, pending) {
			return nil, fmt.Errorf("%s has %d pending packages and the other device %d", d.Name(), len(pending), len(targets))
		}
		targets = pending
		if _, err := d.Output(ctx, append([]string{"apt-get", "-y", "-q", "-d", "install", "--"}, targets...)...); err != nil {
			return nil, err
		}
	}
	return targets, nil
}

// upgradable lists what apt would upgrade, as arguments of apt-get install.
func upgradable(ctx context.Context, d *stage.Device) ([]string, error) {
	out, err := d.Output(ctx, "apt", "list", "--upgradable")
	if err != nil {
		return nil, err
	}
	var all []string
	for line := range strings.Lines(out) {
		// name/suite version arch [upgradable from: old]
		if f := strings.Fields(line); len(f) > 3 && strings.Contains(line, "[upgradable from") {
			name, _, _ := strings.Cut(f[0], "/")
			all = append(all, name+"="+f[1])
		}
	}
	return all, nil
}

// plainInstall is the baseline.
func plainInstall(ctx context.Context, d *stage.Device, targets []string) (wall, cpu time.Duration, err error) {
	argv := append([]string{"apt-get", "-y", "-q", "-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold", "install", "--"}, targets...)
	cmd := d.Command(ctx, argv...)
	cmd.Env = append(cmd.Env, "DEBIAN_FRONTEND=noninteractive")
	begin := time.Now()
	if err := cmd.Run(); err != nil {
		return 0, 0, fmt.Errorf("apt-get install on %s: %w", d.Name(), err)
	}
	return time.Since(begin), cpuTime(cmd), nil
}

// approve approves all that the group needs, waits until it is installed, and reads the times out of the proofs.
func (l *lap) approve(ctx context.Context, s *stage.Stage, d *stage.Device, group string) error {
	pid, err := d.Agent().PID()
	if err != nil {
		return err
	}
	begin, before := time.Now(), process.CPU(pid)
	out, err := s.Output(ctx, "update", "approve", "--all-matching", "--needed", "--group", group, "--yes", "--reason", "measured", "--json")
	if err != nil {
		return err
	}
	var act client.Outcome
	if err := json.Unmarshal([]byte(out), &act); err != nil {
		return fmt.Errorf("read what was approved: %w", err)
	}
	for limit := time.Now().Add(installLimit); time.Now().Before(limit); {
		if err := sleep(ctx, lookEvery); err != nil {
			return err
		}
		l.ownCPU = process.CPU(pid) - before
		done, err := l.read(ctx, s, d, act, begin)
		if err != nil || done {
			return err
		}
	}
	text, err := d.Agent().Log()
	return errors.Join(fmt.Errorf("%s has %d proofs for %d updates; its agent said: %s", d.Name(), l.update, len(act.Changed), text[max(0, len(text)-2000):]), err)
}

const (
	installLimit = 10 * time.Minute
	// lookEvery is seldom enough not to disturb what is measured; the times come from the device.
	lookEvery = time.Second
)

// read takes the times out of the proofs and says whether all updates of the act have one.
func (l *lap) read(ctx context.Context, s *stage.Stage, d *stage.Device, act client.Outcome, begin time.Time) (bool, error) {
	l.update, l.run, l.whole = 0, 0, 0
	transactions := map[string]*wire.Proof{}
	for _, ref := range act.Changed {
		out, err := s.Output(ctx, "why", d.Name(), string(ref.ID), "--json")
		if err != nil {
			return false, err
		}
		var why client.Why
		if err := json.Unmarshal([]byte(out), &why); err != nil {
			return false, fmt.Errorf("read what became of %s: %w", ref.Name, err)
		}
		u := why.State
		switch {
		case u.State == installation.Failed || u.State == installation.Blocked:
			return false, fmt.Errorf("%s %s on %s is %s: %s", ref.Name, ref.Version, d.Name(), u.State, u.Detail)
		case u.Proof == nil:
			return false, nil // the others will not be there either: one look is one question
		}
		l.update++
		transactions[u.Proof.Transaction] = u.Proof
		l.whole = max(l.whole, u.Since.Sub(begin))
	}
	for _, p := range transactions {
		l.run += p.Finished.Sub(p.Started)
	}
	l.runs = len(transactions)
	return l.runs > 0, nil
}

// same fails unless both devices have the same packages.
func same(ctx context.Context, a, b *stage.Device) error {
	var found []string
	for _, d := range []*stage.Device{a, b} {
		out, err := d.Output(ctx, "dpkg-query", "-W")
		if err != nil {
			return err
		}
		found = append(found, out)
	}
	if found[0] == found[1] {
		return nil
	}
	var differ []string
	others := strings.Split(found[1], "\n")
	for line := range strings.Lines(found[0]) {
		if line = strings.TrimSpace(line); !slices.Contains(others, line) {
			differ = append(differ, line)
		}
	}
	return fmt.Errorf("%s and %s have not the same packages: only the first has %s", a.Name(), b.Name(), strings.Join(differ, ", "))
}
