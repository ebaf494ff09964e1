// Package mirror follows the feeds that the installation subscribed to, verifies them, puts what they publish into the
// catalog and keeps a copy for devices.
//
// Guarantees: nothing of a feed counts before package trust verified it from the pinned root on; what was verified last
// stays in use and is served while a feed is expired, unreachable, rolled back or forged, and the status says so; devices
// are served whole editions only, which they verify again themselves; a release keeps the content with which it was first
// seen, whatever its publisher signs later; a document that cannot be read counts for nothing, and a recall that cannot be
// read recalls; a feed's server can make this one hold and store no more than bounded amounts.
//
// Each server has its own copy: metadata below its data directory, one folder for a feed and root, and files in the content
// store, which several servers may share. Large files come in the background, the smallest first; one that a device asks for comes at once.
//
// It decides nothing: which release reaches which device is for package plan.
package mirror

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"assent/catalog"
	"assent/content"
	"assent/fault"
	"assent/ledger"
	"assent/wire"
)

// Catalog is where releases go.
type Catalog interface {
	// Put takes what a feed says of releases, durably.
	Put(ctx context.Context, updates []catalog.Update) error
	// Update is a release as the catalog has it, from memory.
	Update(id catalog.UpdateID) (catalog.Update, bool)
}

// Book knows the subscriptions; IndexBook is the one of the running server.
type Book interface {
	// Feeds are the subscribed feeds by name, from memory. The map is never changed.
	Feeds() map[string]ledger.Feed
	// WaitChange returns as soon as there is a change after seen, or with ctx's error.
	WaitChange(ctx context.Context, seen uint64) (uint64, error)
	// Act makes an act that build makes of the subscriptions of that moment; none when it makes nil.
	Act(ctx context.Context, by string, build func(map[string]ledger.Feed) (ledger.Body, error)) (ledger.Entry, error)
}

// Config is what New needs. The zero value of each field below the line is usable.
type Config struct {
	Book    Book
	Catalog Catalog
	Content content.Store
	Dir     string // of the metadata; made when needed
	// ----
	Every    time.Duration // between looks at a feed; 5 min by default
	Patience time.Duration // how long a device waits for a file that is not here yet; 20 s by default
	Now      func() time.Time
	Log      *slog.Logger
	Changed  func([]wire.PlanFeed) // told what Followed says after it may have changed, one after another
	Client   *http.Client          // for feeds on web servers
}

// Mirror follows feeds. Make one with New and run it with Run; its other methods are safe for concurrent use, and before
// Run too.
type Mirror struct {
	Config

	mu        sync.Mutex
	followers map[string]*follower
	settled   chan struct{} // closed, and made anew, each time the followers are the subscriptions
	flights   flights
	proofs    proofs

	telling sync.Mutex // held while somebody is told what is followed, so that the last word is the newest
}

// New makes a Mirror and takes up what the last run kept, so that it can be served at once.
func New(c Config) (*Mirror, error) {
	if c.Book == nil || c.Catalog == nil || c.Content == nil || c.Dir == "" {
		return nil, errors.New("mirror: subscriptions, a catalog, a content store and a directory are needed")
	}
	if c.Every <= 0 {
		c.Every = 5 * time.Minute
	}
	if c.Patience <= 0 {
		c.Patience = 20 * time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Changed == nil {
		c.Changed = func([]wire.PlanFeed) {}
	}
	if c.Client == nil {
		c.Client = newHTTPClient()
	}
	m := &Mirror{Config: c, followers: map[string]*follower{}, settled: make(chan struct{})}
	m.flights.init()
	for _, f := range c.Book.Feeds() {
		m.take(f)
	}
	return m, nil
}

// take begins to know a feed: what the last run kept of it. One that cannot be taken up keeps nothing else from running; it
// is tried again when the subscription changes or the server starts.
func (m *Mirror) take(feed ledger.Feed) {
	f, err := newFollower(m, feed)
	if err != nil {
		m.Log.Error("could not take up a feed", "feed", feed.ID, "err", err)
		f = &follower{m: m, feed: feed, broken: fmt.Errorf("take up the feed %s: %w", feed.ID, err)}
		f.status.looked(m.Now(), f.broken)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.followers[feed.ID] = f
}

// Run follows the feeds until ctx ends.
func (m *Mirror) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	m.flights.open(ctx)
	defer m.flights.close()
	for seen := uint64(0); ; {
		m.reconcile(ctx, &running)
		var err error
		if seen, err = m.Book.WaitChange(ctx, seen); err != nil {
			return nil // ctx ended
		}
	}
}

// reconcile starts and stops followers so that they are the subscriptions.
func (m *Mirror) reconcile(ctx context.Context, running *sync.WaitGroup) {
	want := m.Book.Feeds()
	for id, f := range m.all() {
		if now, ok := want[id]; !ok || !same(now, f.feed) {
			m.leave(f)
		}
	}
	for id, feed := range want {
		if m.follower(id) == nil {
			m.take(feed)
		}
		m.start(ctx, m.follower(id), running)
	}
	if m.flights.first() {
		m.tidy(want)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	close(m.settled)
	m.settled = make(chan struct{})
}

// present waits until a subscription is followed.
func (m *Mirror) present(ctx context.Context, feed ledger.Feed) (*follower, error) {
	for {
		m.mu.Lock()
		f, settled := m.followers[feed.ID], m.settled
		m.mu.Unlock()
		if f != nil && same(f.feed, feed) {
			return f, nil
		}
		select {
		case <-settled:
		case <-ctx.Done():
			return nil, errLooking
		}
		if now, ok := m.Book.Feeds()[feed.ID]; !ok || !same(now, feed) {
			return nil, errLooking // it was changed meanwhile
		}
	}
}

func same(a, b ledger.Feed) bool { return a.URL == b.URL && string(a.Root) == string(b.Root) }

// start runs a follower that is not running yet.
func (m *Mirror) start(ctx context.Context, f *follower, running *sync.WaitGroup) {
	if f.stop != nil || f.broken != nil {
		return
	}
	m.Log.Info("following a feed", "feed", f.feed.ID, "url", f.feed.URL)
	ctx, f.stop = context.WithCancel(ctx)
	running.Go(func() { f.follow(ctx) })
	running.Go(func() { f.fill(ctx) })
}

// leave stops following a feed. Its metadata stays while it is only followed from another address.
func (m *Mirror) leave(f *follower) {
	if f.stop != nil {
		f.stop()
	}
	m.mu.Lock()
	delete(m.followers, f.feed.ID)
	m.mu.Unlock()
	m.Log.Info("stopped following a feed", "feed", f.feed.ID, "url", f.feed.URL)
	if now, ok := m.Book.Feeds()[f.feed.ID]; !ok || string(now.Root) != string(f.feed.Root) {
		f.forget()
	}
	m.tell()
}

// tell says what is followed now.
func (m *Mirror) tell() {
	m.telling.Lock()
	defer m.telling.Unlock()
	m.Changed(m.Followed())
}

// tidy removes what earlier runs left of feeds that nobody follows.
func (m *Mirror) tidy(want map[string]ledger.Feed) {
	entries, err := os.ReadDir(m.Dir)
	if err != nil {
		return // there is nothing yet
	}
	known := map[string]bool{}
	for _, f := range want {
		known[folderOf(f)] = true
	}
	for _, e := range entries {
		if !known[e.Name()] {
			if err := os.RemoveAll(filepath.Join(m.Dir, e.Name())); err != nil {
				m.Log.Warn("could not remove what was kept of a feed", "folder", e.Name(), "err", err)
			}
		}
	}
}

// folderOf is the folder of a feed's metadata: another root is another feed.
func folderOf(f ledger.Feed) string { return f.ID + "-" + content.Digest(f.Root)[:16] }

func (m *Mirror) all() map[string]*follower {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.followers)
}

func (m *Mirror) follower(id string) *follower {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.followers[id]
}

// sorted are the followers by name.
func (m *Mirror) sorted() []*follower {
	all := m.all()
	out := make([]*follower, 0, len(all))
	for _, id := range slices.Sorted(maps.Keys(all)) {
		out = append(out, all[id])
	}
	return out
}

// Followed lists the feeds that devices follow, sorted by name, each with the freshness of this server's copy.
func (m *Mirror) Followed() []wire.PlanFeed {
	var out []wire.PlanFeed
	for _, f := range m.sorted() {
		if e := f.edition(); e != nil {
			out = append(out, wire.PlanFeed{ID: f.feed.ID, Root: content.Digest(f.feed.Root), Timestamp: e.state.TimestampVersion})
		}
	}
	return out
}

// Roots are the first roots of all subscribed feeds, sorted by name: what a device pins.
func (m *Mirror) Roots() []wire.FeedRoot {
	feeds := m.Book.Feeds()
	var out []wire.FeedRoot
	for _, id := range slices.Sorted(maps.Keys(feeds)) {
		out = append(out, wire.FeedRoot{ID: id, Root: feeds[id].Root})
	}
	return out
}

// Keeps reports whether a file of the content store is one of a feed: a sweep must leave it.
func (m *Mirror) Keeps(sha256 string) bool {
	for _, f := range m.all() {
		if _, ok := f.edition().has(sha256); ok {
			return true
		}
	}
	return false
}

var errNoFile = fault.New(fault.NotFound, "feed_file_unknown", "There is no such file in this server's copy of the feed.")

// File opens a file of the copy of a feed, by its path below the feed's root, and says what its content can be known by.
// A target that is not here yet is fetched, and waited for a little; then it is Unavailable.
func (m *Mirror) File(ctx context.Context, feed, path string) (content.File, string, error) {
	f := m.follower(feed)
	if f == nil {
		return nil, "", errNoFile
	}
	e := f.edition()
	if e == nil {
		return nil, "", errNoFile
	}
	found, ok := e.find(path)
	switch {
	case !ok:
		return nil, "", errNoFile
	case found.body != nil:
		return inMemory(found.body), content.Digest(found.body), nil
	}
	file, err := m.target(ctx, f, found.target)
	return file, found.target.SHA256, err
}

// Open opens a file of any feed by its digest: a payload or an agreement's text. It is fetched like one of File.
func (m *Mirror) Open(ctx context.Context, sha256 string) (content.File, error) {
	for _, f := range m.sorted() {
		if t, ok := f.edition().has(sha256); ok {
			return m.target(ctx, f, t)
		}
	}
	return nil, errNoFile
}

// jitter spreads a pause by a tenth, so that servers do not come in step.
func jitter(d time.Duration) time.Duration { return d - d/20 + rand.N(d/10+1) }
