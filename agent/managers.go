package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"assent/agent/internal/command"
	"assent/agent/internal/facts"
	"assent/agent/internal/feeds"
	"assent/agent/internal/feeds/aptrepo"
	"assent/agent/internal/pkgmgr/apt"
	"assent/agent/internal/pkgmgr/dnf"
	"assent/agent/internal/pkgmgr/multi"
	"assent/agent/internal/pkgmgr/tree"
	"assent/agent/internal/probe"
	"assent/agent/internal/restart"
	"assent/agent/internal/uplink"
	"assent/catalog"
	"assent/feed"
	"assent/wire"
)

// managers are the package managers of the device, and the feeds behind them.
type managers struct {
	Manager
	ahead  *multi.Manager // the same, for what looks ahead
	tree   *tree.Tree
	feeds  *feeds.Feeds // nil when what is kept of them cannot be read
	source *source
	root   string
}

// managers opens what works on the device. Feeds whose state cannot be read are left alone, and everything else works
// without them; the error says so.
func (p *program) managers(log *slog.Logger, policy FeedPolicy, event func(feeds.Event)) (*managers, error) {
	self, err := os.Executable()
	if err != nil {
		self = "/usr/bin/assent-agent"
	}
	run := command.New(self)
	m := &managers{source: &source{}, root: p.root}
	rpms := usesRPM(p.root)
	debs := run
	if rpms {
		debs = nil // nothing is put before apt
	}
	m.feeds, err = feeds.Open(feeds.Config{StateDir: p.state, Root: p.root, Source: m.source, Command: debs, Platform: p.platform,
		EnrolmentOnly: policy == EnrolmentFeeds, Event: event, Now: time.Now, Log: log})
	aptConf := apt.Config{Root: p.root, Command: run, StateDir: p.state, Log: log, Now: time.Now}
	dnfConf := dnf.Config{Root: p.root, Command: run, StateDir: p.state, Payloads: noFeeds{}, Platform: p.platform, Log: log, Now: time.Now}
	treeConf := tree.Config{Root: p.root, StateDir: p.state, Payloads: noFeeds{}, Platform: p.platform, Now: time.Now, Log: log,
		Own: tree.Own{Name: ownName, Version: semantic(p.build.Version), Arch: p.platform().Arch}, Services: restart.Host{Root: p.root, Run: run}}
	var health multi.Feeds
	if err == nil {
		aptConf.Feeds, dnfConf.Payloads, treeConf.Payloads, health = m.feeds, m.feeds, m.feeds, m.feeds
	} else {
		err = fmt.Errorf("the feeds of this device cannot be followed: %w", err)
	}
	m.tree = tree.New(treeConf)
	var native multi.Native = apt.New(aptConf)
	if rpms {
		native = dnf.New(dnfConf)
	}
	m.ahead = multi.New(native, m.tree, health)
	m.Manager = m.ahead
	return m, err
}

// usesRPM reports whether the device's own package manager is dnf 4 and not apt. Where both are there, dpkg's database says
// what the device is made of.
func usesRPM(root string) bool {
	there := func(name string) bool {
		_, err := os.Stat(filepath.Join(root, name))
		return err == nil
	}
	return there("usr/bin/dnf-3") && there("usr/bin/rpm") && !there("var/lib/dpkg/status")
}

// manager is managers for a command that is over at once.
func (p *program) manager(log *slog.Logger) Manager {
	m, err := p.managers(log, SignedFeeds, nil)
	if err != nil {
		log.Error(err.Error())
	}
	return m
}

// platform is what feeds publish for.
func (p *program) platform() catalog.Platform {
	f := facts.Read(p.root)
	return catalog.Platform{OS: "linux", Distribution: f.OS, Version: f.OSVersion, Arch: f.Arch}
}

// probe runs a health probe in the directory of its application.
func (m *managers) probe(ctx context.Context, release catalog.Release, format catalog.Format, p catalog.Probe) error {
	dir := ""
	if id, ok := catalog.FeedOf(release.Namespace); ok && format.Side() {
		dir = m.tree.Current(id, release.Name, format)
	}
	return probe.Run(ctx, p, dir)
}

// followed are the feeds as the agent's loop sees them.
func (m *managers) followed() Feeds {
	if m.feeds == nil {
		return nil
	}
	return m.feeds
}

// Unfence implements pkgmgr.Fencer for a device that leaves: with the walls go the repositories, sources and pinned roots
// of feeds. What was installed stays, as packages do.
func (m *managers) Unfence(ctx context.Context) error {
	err := m.Manager.Unfence(ctx)
	if m.feeds == nil {
		return errors.Join(err, aptrepo.Remove(m.root))
	}
	return errors.Join(err, m.feeds.Remove(ctx))
}

// pin makes the roots of feeds durable that came with an enrolment.
func (p *program) pin(roots []wire.FeedRoot) error {
	if len(roots) == 0 {
		return nil
	}
	m, err := p.managers(slog.New(slog.DiscardHandler), SignedFeeds, nil)
	if err != nil {
		return err
	}
	return m.feeds.Pin(roots)
}

// source reads files of feeds over the connection that the agent has now.
type source struct {
	mu     sync.Mutex
	client *uplink.Client
}

func (s *source) use(c *uplink.Client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.client = c
}

// errNoUplink says that a command which has no connection asked for a feed's file.
var errNoUplink = errors.New("there is no connection to the server")

// Feed implements feeds.Source.
func (s *source) Feed(ctx context.Context, feed, path string, offset int64) (io.ReadCloser, int64, error) {
	s.mu.Lock()
	c := s.client
	s.mu.Unlock()
	if c == nil {
		return nil, 0, errNoUplink
	}
	return c.Feed(ctx, feed, path, offset)
}

// noFeeds are the payloads of a device that follows no feeds.
type noFeeds struct{}

// Releases implements tree.Payloads.
func (noFeeds) Releases() []feed.Release { return nil }

// Open implements tree.Payloads.
func (noFeeds) Open(context.Context, string, int64) (io.ReadCloser, error) {
	return nil, errors.New("the device follows no feeds")
}
