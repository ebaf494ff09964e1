package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"assent/bench/process"
	"assent/e2e/stage"
)

const (
	settleLimit = 10 * time.Minute
	// calm is how long an agent must have done next to nothing to count as settled.
	calm = 10 * time.Second
	// nothing is the CPU time in which an agent does next to nothing: less than a scan after a change needs.
	nothing = 10 * time.Millisecond
)

// idleness measures P10: the unchanged rescan, and the memory and CPU of an agent that has nothing to do.
func idleness(ctx context.Context, b *bench) ([]Row, error) {
	samples, err := b.goBench(ctx, aptPackage, "BenchmarkP10_UnchangedRescan", "1s", 3)
	if err != nil {
		return nil, err
	}
	m, err := middle(samples, "ns/op")
	if err != nil {
		return nil, err
	}
	rows := []Row{{ID: "P10", What: "unchanged rescan", Value: m["ns/op"] / 1e6, Unit: "ms", Target: Target{Of: Value, Limit: 5},
		Note: "wall time, Go benchmark of package apt on a Debian root with its real lists"}}
	idle, err := b.idleAgent(ctx)
	return append(rows, idle...), err
}

// idleAgent watches the agent of one enrolled device that knows Debian's archive.
func (b *bench) idleAgent(ctx context.Context) (rows []Row, err error) {
	s, err := b.stage(ctx, stage.Config{Real: true, Devices: []stage.DeviceSpec{{Name: "idle"}}})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	d := s.Device("idle")
	if err := errors.Join(s.Must(ctx, "group", "create", "Idle"), d.Enrol(ctx, "Idle")); err != nil {
		return nil, err
	}
	pid, err := b.settle(ctx, d)
	if err != nil {
		return nil, err
	}
	b.sayf("  watching the idle agent for %v", b.idle)
	before, begin, err := process.CPU(pid), time.Now(), sleep(ctx, b.idle)
	if err != nil {
		return nil, err
	}
	used, took := process.CPU(pid)-before, time.Since(begin)
	memory, err := process.Memory(pid)
	if err != nil {
		return nil, err
	}
	return []Row{
		{ID: "P10", What: "idle agent: resident memory", Value: memory["VmRSS"], Unit: "MiB", Target: Target{Of: Value, Limit: 25},
			Note: fmt.Sprintf("VmRSS of an enrolled, settled agent with Debian's lists; of it %s MiB anonymous and %s MiB of files, the program itself; at most it had %s MiB",
				number(memory["RssAnon"]), number(memory["RssFile"]), number(memory["VmHWM"]))},
		{ID: "P10", What: "idle agent: CPU", Value: 100 * used.Seconds() / took.Seconds(), Unit: "% of a core", Target: Target{Of: Value, Limit: 0.02},
			Note: fmt.Sprintf("%s ms in %s s by the process's CPU clock, with what it waited for; long poll open, a rescan each minute", number(milliseconds(used)), number(took.Seconds()))},
	}, nil
}

// stage opens a stage with a running server and a signed-in operator.
func (b *bench) stage(ctx context.Context, cfg stage.Config) (*stage.Stage, error) {
	dir, err := b.programs(ctx, serverProgram, agentProgram, cliProgram)
	if err != nil {
		return nil, err
	}
	cfg.Bin = dir
	b.sayf("  setting up %d devices and a server", len(cfg.Devices))
	s, err := stage.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	err = s.Server.Start(ctx)
	if err == nil {
		err = s.SignIn(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// settle waits until an agent has a plan, has refreshed, and then does nothing for a while. It gives its process id.
func (b *bench) settle(ctx context.Context, d *stage.Device) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	b.sayf("  waiting until the agent of %s has settled", d.Name())
	for {
		pid, err := d.Agent().PID()
		if err != nil {
			return 0, err
		}
		before := process.CPU(pid)
		if err := sleep(ctx, calm); err != nil {
			return 0, fmt.Errorf("the agent of %s did not settle: %w", d.Name(), err)
		}
		if process.CPU(pid)-before > nothing {
			continue
		}
		ready, err := ready(ctx, d)
		if err != nil || ready {
			return pid, err
		}
	}
}

// ready asks the agent whether it has a plan and fresh package lists.
func ready(ctx context.Context, d *stage.Device) (bool, error) {
	out, err := d.Output(ctx, agentPath, "status", "--json")
	if err != nil {
		return false, err
	}
	var status struct {
		Plan     *struct{} `json:"plan"`
		Progress struct {
			LastRefresh time.Time `json:"last_refresh"`
		} `json:"progress"`
	}
	if err := json.Unmarshal([]byte(out), &status); err != nil {
		return false, fmt.Errorf("read the agent's status: %w", err)
	}
	return status.Plan != nil && !status.Progress.LastRefresh.IsZero(), nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
