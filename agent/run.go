package agent

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"assent/agent/internal/selfupdate"
	"assent/feed"
)

// launch runs the version of the agent that should run: this one, if a launcher started it, and else as the launcher.
func (p *program) launch(ctx context.Context, conf Config) error {
	if child := selfupdate.Attach(); child != nil {
		ctx, end := child.Context(ctx)
		defer end()
		err := p.run(ctx, conf, child)
		if errors.Is(err, selfupdate.ErrHandOver) {
			p.code, err = selfupdate.HandOver, nil
		}
		return err
	}
	log := slog.New(slog.NewJSONHandler(p.err, &slog.HandlerOptions{Level: conf.LogLevel}))
	self, err := os.Executable()
	if err != nil {
		log.Warn("the launcher does not know where it lies", "error", err)
	}
	l := selfupdate.Launcher{Book: selfupdate.Open(p.state), Version: p.build.Version, Args: os.Args[1:], Log: log,
		Own:     func(ctx context.Context) error { return p.run(ctx, conf, nil) },
		Again:   func() error { return syscall.Exec(self, os.Args, os.Environ()) },
		Started: func() { tell(log, daemon.SdNotifyReady) }, // a version that hangs is the launcher's to end, and no failed start
		Timing:  selfupdate.Timing{Probation: time.Duration(conf.Probation)}}
	defer context.AfterFunc(ctx, func() { tell(log, daemon.SdNotifyStopping) })() // the unit ends with the launcher, not with a version
	return l.Run(ctx)
}

// component makes the managers those of a program that is a component itself.
func (m *managers) component(p *program, launched *selfupdate.Child, handOver func()) *component {
	c := &component{Manager: m, tree: m.tree, book: selfupdate.Open(p.state), version: semantic(p.build.Version), handOver: handOver,
		releases: func() []feed.Release { return nil }}
	if m.feeds != nil {
		c.releases = m.feeds.Releases
	}
	if launched != nil {
		c.payload = launched.Payload
	}
	return c
}

// await is what a version on probation waits for before it acts; nil for nothing.
func await(launched *selfupdate.Child) func(context.Context) {
	if launched == nil {
		return nil
	}
	return launched.Await
}

// handedOver is why a run ended whose context did: nil, or another version takes over.
func handedOver(ctx context.Context) error {
	if err := context.Cause(ctx); errors.Is(err, selfupdate.ErrHandOver) {
		return err
	}
	return nil
}
