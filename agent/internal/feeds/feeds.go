// Package feeds follows the signed feeds of a device: it pins their roots, verifies what the server's copy says, keeps the
// last verified state, tells what releases there are, and hands out their payloads. What is published as Debian packages
// it puts before apt as a local repository (package aptrepo); trees and content files are package tree's.
//
// Parties: the publisher signs; the server keeps a copy and is not trusted with its content; the device trusts only the
// chain of roots from the one that it pinned.
//
// It guarantees: a root is pinned once, at the enrolment or when a signed plan first names the feed with that root's digest,
// and afterwards only the feed's own keys change it; what is expired, rolled back, forged or out of reach changes
// nothing and is told as the feed's health; releases and payloads are used only as signed; state is kept across
// restarts and works without the server; a payload gets its name only after size and SHA-256 were right. It decides
// nothing: what installs is the plan's business.
package feeds

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"assent/agent/internal/command"
	"assent/catalog"
	"assent/feed"
	"assent/wire"
)

// Source opens files of the server's copy of a feed, by their path below the feed's root and from an offset on. A missing
// file is an error that wraps fs.ErrNotExist. uplink.Client is one.
type Source interface {
	Feed(ctx context.Context, feed, path string, offset int64) (body io.ReadCloser, size int64, err error)
}

// The events, as wire.Report.Event spells them.
const (
	EventRefused     = "feed_refused"      // a feed that this device's settings do not admit, or what the server has of one
	EventRootRefused = "feed_root_refused" // another root for a feed that is pinned
)

// Event is a refusal that somebody should know of. Each is told once by a process.
type Event struct {
	Kind   string
	Feed   string
	Detail string // one sentence for people
}

// Config is what Feeds work with. StateDir, Source and Platform are required.
type Config struct {
	StateDir string // the agent's; what is kept of feeds lies in its directory "feeds"
	Root     string // the device's root directory; empty means "/"
	Source   Source
	// Command runs apt-get. nil: the device has no apt, and nothing is put before it.
	Command *command.Runner
	// Platform says what the device is; all fields are known.
	Platform func() catalog.Platform
	// EnrolmentOnly refuses feeds that were not pinned at the enrolment, though a signed plan names them: the setting
	// "feeds": "enrolment".
	EnrolmentOnly bool
	Event         func(Event) // nil: nobody listens
	Now           func() time.Time
	Log           *slog.Logger // nil discards
}

// maxFeeds caps how many feeds a device follows.
const maxFeeds = 100

// Feeds are all feeds of the device. Its methods may be called from any goroutine.
type Feeds struct {
	cfg Config

	turn sync.Mutex // held while feeds are pinned, followed, refreshed or put before apt

	mu    sync.Mutex
	feeds map[string]*follower // by id; all that are pinned
	told  map[Event]bool
}

// Open takes up what is kept. It fails where a pinned root cannot be read: forgetting it would let another one be pinned.
func Open(cfg Config) (*Feeds, error) {
	if cfg.Root == "" {
		cfg.Root = "/"
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	f := &Feeds{cfg: cfg, feeds: map[string]*follower{}, told: map[Event]bool{}}
	entries, err := os.ReadDir(f.dir())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("open feeds: %w", err)
	}
	wanted, all, err := f.readWanted()
	if err != nil {
		return nil, fmt.Errorf("open feeds: %w", err)
	}
	for _, e := range entries {
		if !e.IsDir() || feed.CheckID(e.Name()) != nil {
			continue
		}
		one, err := openFollower(f.path(e.Name()), e.Name())
		if err != nil {
			return nil, fmt.Errorf("open feed %s: %w", e.Name(), err)
		}
		if one == nil {
			continue // a crash before its root was pinned
		}
		one.wanted = all || slices.Contains(wanted, one.id)
		f.feeds[one.id] = one
	}
	return f, nil
}

func (f *Feeds) dir() string           { return filepath.Join(f.cfg.StateDir, "feeds") }
func (f *Feeds) path(id string) string { return filepath.Join(f.dir(), id) }

// followed are the feeds that the device follows, sorted.
func (f *Feeds) followed() []*follower {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []*follower
	for _, one := range f.feeds {
		if one.wanted {
			out = append(out, one)
		}
	}
	slices.SortFunc(out, func(a, b *follower) int { return strings.Compare(a.id, b.id) })
	return out
}

func (f *Feeds) find(id string) *follower {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.feeds[id]
}

// Releases are the verified releases of all feeds that the device follows, recalled ones with Revoked set, sorted by feed
// and id. The result is the caller's, what it points to is not to be changed.
func (f *Feeds) Releases() []feed.Release {
	var out []feed.Release
	for _, one := range f.followed() {
		out = append(out, one.known()...)
	}
	return out
}

// Following reports whether the device follows any feed.
func (f *Feeds) Following() bool { return len(f.followed()) > 0 }

// Health says how each feed that the device follows is, as that of a package source: Origin is "feed:NAME", Date is when it
// was last verified. A problem is an alarm and no loss: the last verified state stays in use.
func (f *Feeds) Health() []wire.OriginHealth {
	now := f.cfg.Now()
	var out []wire.OriginHealth
	for _, one := range f.followed() {
		out = append(out, one.health(now))
	}
	return out
}

// Refresh looks at every followed feed anew and says how they are. A feed that does not answer is given up on after a few
// minutes.
func (f *Feeds) Refresh(ctx context.Context) []wire.OriginHealth {
	f.turn.Lock()
	defer f.turn.Unlock()
	for _, one := range f.followed() {
		if err := f.sync(ctx, one); err != nil {
			f.cfg.Log.Warn("a feed was not brought up to date", "feed", one.id, "error", err)
		}
	}
	if err := f.publish(ctx); err != nil {
		f.cfg.Log.Warn("feeds were not put before apt", "error", err)
	}
	return f.Health()
}

// sync brings a feed up to date, and tells of a copy that only an attacker, or a publisher in trouble, brings about.
func (f *Feeds) sync(ctx context.Context, one *follower) error {
	err := one.sync(ctx, f.cfg.Source, f.cfg.Now())
	if err == nil {
		return nil
	}
	switch problemOf(err) {
	case "rolled_back", "tampered", "bad_signature":
		f.tell(Event{Kind: EventRefused, Feed: one.id, Detail: fmt.Sprintf("What the server has of the feed %s is refused: %s", one.id, sentence(err))})
	}
	return err
}

// tell passes an event on, once.
func (f *Feeds) tell(e Event) {
	f.mu.Lock()
	known := f.told[e]
	f.told[e] = true
	f.mu.Unlock()
	if known {
		return
	}
	f.cfg.Log.Warn("a feed was refused", "event", e.Kind, "feed", e.Feed, "detail", e.Detail)
	if f.cfg.Event != nil {
		f.cfg.Event(e)
	}
}
