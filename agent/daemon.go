package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"assent/agent/internal/command"
	"assent/agent/internal/facts"
	"assent/agent/internal/feeds"
	"assent/agent/internal/guard"
	"assent/agent/internal/identity"
	"assent/agent/internal/journal"
	"assent/agent/internal/restart"
	"assent/agent/internal/selfupdate"
	"assent/agent/internal/statedir"
	"assent/agent/internal/uplink"
	"assent/catalog"
	"assent/wire"
)

const (
	eventDir = "events"
	// enrolWait is how often a program without identity looks for one.
	enrolWait = 5 * time.Second
	// The collector runs early and gives back what it can: the device needs the memory more than the agent.
	gcPercent   = 40
	memoryLimit = 128 << 20
)

func (p *program) runCommand() *cobra.Command {
	var set Config
	c := &cobra.Command{Use: "run", Short: "Run the agent until it is stopped", Args: noArgs, RunE: func(c *cobra.Command, _ []string) error {
		conf, err := ReadConfig(p.config)
		if err != nil {
			return err
		}
		conf.Server = cmp.Or(set.Server, conf.Server)
		conf.ServerName = cmp.Or(set.ServerName, conf.ServerName)
		conf.Refresh = cmp.Or(set.Refresh, conf.Refresh)
		conf.Scan = cmp.Or(set.Scan, conf.Scan)
		conf.Quiet = cmp.Or(set.Quiet, conf.Quiet)
		return p.launch(c.Context(), conf)
	}}
	f := c.Flags()
	f.StringVar(&set.Server, "server", "", "address of the server, instead of the one of the enrolment")
	f.StringVar(&set.ServerName, "server-name", "", "name in the server's certificate")
	f.DurationVar((*time.Duration)(&set.Refresh), "refresh", 0, "time between refreshes of the package lists (default 4h)")
	f.DurationVar((*time.Duration)(&set.Scan), "scan", 0, "time between cheap rescans (default 1m)")
	f.DurationVar((*time.Duration)(&set.Quiet), "quiet", 0, "time after boot before the first refresh (default 1m)")
	return c
}

// run is the long-lived program, whether it was started by a launcher or is one.
func (p *program) run(ctx context.Context, conf Config, launched *selfupdate.Child) error {
	debug.SetGCPercent(gcPercent)
	debug.SetMemoryLimit(memoryLimit)
	log := slog.New(slog.NewJSONHandler(p.err, &slog.HandlerOptions{Level: conf.LogLevel}))
	dir, err := statedir.Open(p.state)
	if err != nil {
		return err
	}
	defer dir.Close()
	id, err := p.await(ctx, dir, log)
	if err != nil || ctx.Err() != nil {
		return err
	}
	release, err := dir.Lock()
	if err != nil {
		return err
	}
	defer release()
	var a *Agent
	m, feedErr := p.managers(log, conf.Feeds, func(e feeds.Event) { a.noteFeed(e) })
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	c := m.component(p, launched, func() { end(selfupdate.ErrHandOver) })
	a, err = New(Options{
		Dir: dir, Identity: id, Manager: c, Await: await(launched), Undone: c.bad, Feeds: m.followed(), Foresee: m.ahead, Probe: m.probe, Restart: restart.Host{Root: p.root, Run: command.New("")}, Device: machine(p.root), Now: time.Now, Log: log,
		Version: p.build.Version, Built: p.build.At, EventDir: dir.Path(eventDir), Watch: guard.Watch,
		Dial: func(id identity.Identity) (Link, error) {
			c, err := uplink.New(id, uplink.Options{Server: cmp.Or(conf.Server, id.Server), ServerName: cmp.Or(conf.ServerName, id.ServerName), Now: notBefore(p.build.At)})
			if err == nil {
				m.source.use(c)
			}
			if err != nil || launched == nil {
				return c, err
			}
			return reaching{c, launched.Reached}, nil
		},
		Timing: Timing{Refresh: time.Duration(conf.Refresh), Scan: time.Duration(conf.Scan), Quiet: time.Duration(conf.Quiet)},
	})
	if err != nil {
		return err
	}
	a.fail("feed state", feedErr)
	a.fail("agent version", c.standDown(ctx))
	log.Info("started", "version", p.build.Version, "device", id.Device, "server", cmp.Or(conf.Server, id.Server))
	return cmp.Or(a.Run(ctx), handedOver(ctx))
}

// notBefore reads the clock, but never as earlier than t: a device without a battery for its clock could else not
// even connect (A15).
func notBefore(t time.Time) func() time.Time {
	return func() time.Time {
		if now := time.Now(); now.After(t) {
			return now
		}
		return t
	}
}

// await waits for an identity: the service may be started before the device is enrolled. An identity of another machine
// is an error at once. To systemd the agent is ready and well while it waits: a boot is not over before all its
// services are ready, and it must not wait for an administrator.
func (p *program) await(ctx context.Context, dir *statedir.Dir, log *slog.Logger) (identity.Identity, error) {
	for said := false; ; said = true {
		id, err := identity.Load(dir)
		if err == nil {
			return id, id.CheckMachine(facts.MachineID(p.root))
		}
		if !errors.Is(err, identity.ErrNone) {
			return id, err
		}
		if !said {
			log.Warn(identity.ErrNone.Message)
			tell(log, daemon.SdNotifyReady)
		}
		tell(log, daemon.SdNotifyWatchdog)
		if !sleep(ctx, enrolWait) {
			return id, nil
		}
	}
}

// machine is the device as the files below a root describe it.
type machine string

// Facts implements Device.
func (m machine) Facts() wire.Facts { return facts.Read(string(m)) }

// BootID implements Device. The server wants a word where the kernel gives none.
func (m machine) BootID() string { return cmp.Or(facts.BootID(string(m)), "unknown") }

// Uptime implements Device.
func (m machine) Uptime() time.Duration { return facts.Uptime(string(m)) }

func readUpdates(dir *statedir.Dir) (map[catalog.UpdateID]journal.Entry, error) {
	s, err := journal.Read(dir)
	if err != nil {
		return nil, fmt.Errorf("read the agent's journal: %w", err)
	}
	return s.Updates, nil
}
