package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"assent/lab"
)

const (
	aptPackage = "./agent/internal/pkgmgr/apt"
	agentPath  = "/usr/bin/assent-agent"
	// bothTools is what a scan is measured against.
	bothTools = "apt list --upgradable && dpkg-query -W"
)

// scans measures P9: the agent's scan as a process on a real device, and inside the running agent.
func scans(ctx context.Context, b *bench) ([]Row, error) {
	rows, err := b.processScans(ctx)
	if err != nil {
		return rows, err
	}
	samples, err := b.goBench(ctx, aptPackage, "BenchmarkP9_FullScanAgainstAptAndDpkg", "20x", 3)
	if err != nil {
		return rows, err
	}
	m, err := middle(samples, "ratio")
	if err != nil {
		return rows, err
	}
	return append(rows, Row{
		ID: "P9b", What: "full scan inside the running agent", Value: m["cpu-ms/scan"], Unit: "ms CPU", Baseline: m["cpu-ms/tools"],
		Against: bothTools + ", caches warm", Target: Target{Of: Ratio, Limit: 0.25},
		Note: "Go benchmark of package apt: no start of a process and no printing",
	}), nil
}

func (b *bench) processScans(ctx context.Context) (rows []Row, err error) {
	dir, err := b.programs(ctx, agentProgram)
	if err != nil {
		return nil, err
	}
	l, err := lab.Open(ctx, lab.Config{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	d, err := debianDevice(ctx, l, dir+"/"+agentProgram)
	if err != nil {
		return nil, err
	}
	warm, err := b.scanTurns(ctx, d, nil)
	if err != nil {
		return nil, err
	}
	changed, err := b.scanTurns(ctx, d, toggleHold())
	if err != nil {
		return nil, err
	}
	seen, err := scanned(ctx, d)
	return []Row{
		warm.row("P9", "full scan, `assent-agent scan`", bothTools+" on the same device, caches warm", seen),
		changed.row("P9a", "the same right after a change of dpkg's status", bothTools+" after the same change: apt builds its cache anew", seen),
	}, err
}

// debianDevice is a device with Debian's archive as its source and apt's caches warm.
func debianDevice(ctx context.Context, l *lab.Lab, agent string) (*lab.Device, error) {
	if err := l.StartMirror(ctx); err != nil {
		return nil, err
	}
	base, err := lab.Base(ctx, lab.StandardBase())
	if err != nil {
		return nil, err
	}
	d, err := l.NewDevice(ctx, lab.DeviceSpec{Name: "scanned", Base: base})
	if err != nil {
		return nil, err
	}
	if err := d.SetSources(l.DebianSource("bookworm", "bookworm-updates", "bookworm-security")); err != nil {
		return nil, err
	}
	if err := d.Install(agent, agentPath); err != nil {
		return nil, err
	}
	for _, argv := range [][]string{{"apt-get", "-q", "--error-on=any", "update"}, {"sh", "-c", bothTools}, {agentPath, "scan"}} {
		if _, err := d.Output(ctx, argv...); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// turns are the CPU times of both sides.
type turns struct{ own, tools []time.Duration }

// scanTurns lets both sides take turns. The change, if any, is made before each of them.
func (b *bench) scanTurns(ctx context.Context, d *lab.Device, change func() []string) (turns, error) {
	var t turns
	b.sayf("  %d turns of a scan and apt on a device", b.rounds)
	entry, err := cpuOf(ctx, d, "true") // what it costs to enter the device, on both sides
	if err != nil {
		return t, err
	}
	for range b.rounds {
		for _, side := range []struct {
			argv    []string
			samples *[]time.Duration
		}{{[]string{agentPath, "scan"}, &t.own}, {[]string{"sh", "-c", bothTools}, &t.tools}} {
			if change != nil {
				if _, err := d.Output(ctx, change()...); err != nil {
					return t, err
				}
			}
			spent, err := cpuOf(ctx, d, side.argv...)
			if err != nil {
				return t, err
			}
			*side.samples = append(*side.samples, max(0, spent-entry))
		}
	}
	return t, nil
}

func (t turns) row(id, what, against, seen string) Row {
	return Row{ID: id, What: what, Value: milliseconds(median(t.own)), Unit: "ms CPU", Baseline: milliseconds(median(t.tools)), Paired: paired(t.own, t.tools), Against: against,
		Target: Target{Of: Ratio, Limit: 0.25}, Note: fmt.Sprintf("user and system time of the process, its start and printing included; %s; turns: %s against %s",
			seen, spread(t.own), spread(t.tools))}
}

// toggleHold changes dpkg's status a little each time.
func toggleHold() func() []string {
	verb := "unhold"
	return func() []string {
		if verb == "hold" {
			verb = "unhold"
		} else {
			verb = "hold"
		}
		return []string{"apt-mark", verb, "jq"}
	}
}

// cpuOf is the CPU time of a command in the device and all it waited for.
func cpuOf(ctx context.Context, d *lab.Device, argv ...string) (time.Duration, error) {
	cmd := d.Command(ctx, argv...)
	if err := cmd.Run(); err != nil {
		return 0, fmt.Errorf("%s: %w", strings.Join(argv, " "), err)
	}
	return cpuTime(cmd), nil
}

func cpuTime(cmd *exec.Cmd) time.Duration {
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
}

// scanned says what both sides found, for the reader to see that they did the same work.
func scanned(ctx context.Context, d *lab.Device) (string, error) {
	own, err := d.Output(ctx, agentPath, "scan")
	if err != nil {
		return "", err
	}
	first, _, _ := strings.Cut(own, "\n")
	list, err := d.Output(ctx, "apt", "list", "--upgradable")
	return fmt.Sprintf("the scan says %q by source package, apt lists %d binary packages", first, strings.Count(list, "upgradable from")), err
}
