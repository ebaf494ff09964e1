package mirror

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"assent/content"
	"assent/feed"
	"assent/ledger"
	"assent/trust"
)

// follower follows one feed from one address.
type follower struct {
	m      *Mirror
	feed   ledger.Feed
	first  int64 // version of the pinned root
	src    source
	store  trust.Store
	client *trust.Client
	stop   context.CancelFunc // set while it runs; only Mirror.reconcile touches it
	asks   chan chan error    // a look at once, answered
	nudged chan struct{}      // a look at once
	filled chan struct{}      // there may be files to fetch
	ended  chan struct{}      // closed when it does not look any more
	broken error              // why it cannot run; nil: it can

	mu     sync.Mutex
	now    *edition // nil before the first one
	listed bool     // the catalog has what the edition says
	status status
}

// newFollower takes up what the last run kept. A damaged copy is as good as none: the next look makes it anew.
func newFollower(m *Mirror, f ledger.Feed) (*follower, error) {
	fl := &follower{m: m, feed: f, store: trust.DirStore(filepath.Join(m.Dir, folderOf(f))), asks: make(chan chan error), nudged: make(chan struct{}, 1), filled: make(chan struct{}, 1), ended: make(chan struct{})}
	var err error
	if fl.first, err = versionOf(f.Root); err != nil {
		return nil, err
	}
	if fl.src, err = newSource(f.URL, m.Client); err != nil {
		return nil, err
	}
	if fl.client, err = trust.Open(f.Root, fl.store); err != nil {
		return nil, err
	}
	if fl.now, err = load(fl.store, f.Root); err != nil {
		m.Log.Warn("the copy of a feed cannot be used", "feed", f.ID, "err", err)
	}
	fl.status.begin(fl.store, m.Now())
	return fl, nil
}

// forget removes what is kept of the feed. Its files in the content store go with the next sweep.
func (f *follower) forget() {
	if err := os.RemoveAll(filepath.Join(f.m.Dir, folderOf(f.feed))); err != nil {
		f.m.Log.Warn("could not remove what was kept of a feed", "feed", f.feed.ID, "err", err)
	}
}

// edition is what devices are served now; nil before the first one.
func (f *follower) edition() *edition {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

// follow looks at the feed again and again until ctx ends.
func (f *follower) follow(ctx context.Context) {
	defer close(f.ended)
	f.recall(ctx)
	var answer chan error
	for {
		err := f.look(ctx)
		if answer != nil {
			answer <- err // buffered
		}
		timer := time.NewTimer(f.pause())
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
			answer = nil
		case <-f.nudged:
			answer = nil
		case answer = <-f.asks:
			timer.Stop()
			f.reread()
		}
	}
}

// pause is how long until the next look: shorter, and growing, after failures.
func (f *follower) pause() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	pause := f.m.Every
	if n := f.status.failures; n > 0 {
		pause = min(pause, 15*time.Second<<min(n, 10))
	}
	return jitter(pause)
}

// nudge has the follower look now, or again after the look that is under way.
func (f *follower) nudge() {
	select {
	case f.nudged <- struct{}{}:
	default:
	}
}

// ask has the follower look now and returns how that went.
func (f *follower) ask(ctx context.Context) error {
	if f.broken != nil {
		return f.broken
	}
	answer := make(chan error, 1)
	select {
	case f.asks <- answer:
	case <-f.ended:
		return errLooking
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-answer:
		if errors.Is(err, context.Canceled) {
			return errLooking // another follower took over, or the server ends
		}
		return err
	case <-f.ended:
		return errLooking
	case <-ctx.Done():
		return ctx.Err()
	}
}

// recall lists what the kept edition says, without the network: the last run may have ended before the catalog had it,
// and the status is not kept.
func (f *follower) recall(ctx context.Context) {
	e := f.edition()
	if e == nil {
		return
	}
	offline := func(context.Context, trust.Target) ([]byte, error) { return nil, content.ErrUnknown }
	if err := f.list(ctx, e, offline); err != nil && ctx.Err() == nil && !errors.Is(err, content.ErrUnknown) {
		f.m.Log.Warn("could not list what was kept of a feed", "feed", f.feed.ID, "err", err)
	}
	f.wakeFill()
}

// look looks at the feed once.
func (f *follower) look(ctx context.Context) error {
	err := f.refresh(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	f.mu.Lock()
	news := f.status.looked(f.m.Now(), err)
	f.mu.Unlock()
	if err == nil {
		if err := (checked{At: f.m.Now()}).save(f.store); err != nil {
			f.m.Log.Warn("could not note when a feed was verified", "feed", f.feed.ID, "err", err)
		}
	}
	switch {
	case err != nil && news:
		f.m.Log.Warn("a feed could not be followed", "feed", f.feed.ID, "err", err)
	case news:
		f.m.Log.Info("a feed is followed again", "feed", f.feed.ID)
	}
	f.wakeFill()
	return err
}

// refresh verifies the feed and, when it has something new, lists and serves it.
func (f *follower) refresh(ctx context.Context) error {
	if err := f.client.Refresh(ctx, f.src, f.m.Now()); err != nil {
		return err
	}
	e := f.edition()
	if e.same(f.client.State()) {
		if f.isListed() {
			return nil
		}
		return f.list(ctx, e, f.document)
	}
	k, err := collect(f.store, f.first, f.client.State().RootVersion)
	if err != nil {
		return err
	}
	next, err := k.open(f.feed.Root)
	if err != nil {
		return err
	}
	if err := f.list(ctx, next, f.document); err != nil {
		return err
	}
	if err := k.save(f.store); err != nil {
		return err
	}
	f.mu.Lock()
	f.now = next.follows(f.now)
	f.mu.Unlock()
	f.m.Log.Info("verified a feed", "feed", f.feed.ID, "timestamp", next.state.TimestampVersion, "targets", next.state.TargetsVersion)
	f.m.tell()
	return nil
}

func (f *follower) isListed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.listed
}

// list reads the documents of an edition, puts what they say into the catalog and notes it for the status.
func (f *follower) list(ctx context.Context, e *edition, fetch func(context.Context, trust.Target) ([]byte, error)) error {
	docs, err := f.documents(ctx, e, fetch)
	if err != nil {
		return err
	}
	l := lister{feed: f.feed.ID, now: f.m.Now(), targets: e.targets, known: f.m.Catalog.Update}
	found := l.list(docs)
	if len(found.updates) > 0 {
		if err := f.m.Catalog.Put(ctx, found.updates); err != nil {
			return fmt.Errorf("put releases of the feed into the catalog: %w", err)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.listed, f.status.listing = true, found
	f.status.listing.updates = nil
	return nil
}

// documents reads all manifests and recalls, from the content store where it has them.
func (f *follower) documents(ctx context.Context, e *edition, fetch func(context.Context, trust.Target) ([]byte, error)) (map[string][]byte, error) {
	list, err := documents(e.targets)
	if err != nil {
		return nil, err
	}
	docs := make(map[string][]byte, len(list))
	for _, t := range list {
		if t.Size > feed.MaxManifest {
			docs[t.Path] = nil
			continue
		}
		b, err := read(ctx, f.m.Content, t.SHA256)
		if err != nil {
			b, err = fetch(ctx, t)
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", t.Path, err)
		}
		docs[t.Path] = b
	}
	return docs, nil
}

// document fetches a small target and keeps it.
func (f *follower) document(ctx context.Context, t trust.Target) ([]byte, error) {
	b, err := f.src.Read(ctx, trust.TargetFile(t), t.Size)
	if err != nil {
		if ctx.Err() == nil && !errors.Is(err, trust.ErrTooLarge) {
			err = trust.ErrUnreachable.Because(err)
		}
		return nil, err
	}
	if err := trust.Verify(bytes.NewReader(b), t); err != nil {
		return nil, err
	}
	if err := f.m.Content.Put(ctx, bytes.NewReader(b), t.Size, t.SHA256); err != nil {
		return nil, fmt.Errorf("keep %s: %w", t.Path, err)
	}
	return b, nil
}

// read reads a small file of the store and checks it: a disk that rots is a reason to fetch it again.
func read(ctx context.Context, store content.Reader, sha256 string) (b []byte, err error) {
	file, err := store.Open(ctx, sha256)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	b, err = io.ReadAll(io.LimitReader(file, feed.MaxManifest+1))
	if err == nil && content.Digest(b) != sha256 {
		err = content.ErrMismatch
	}
	return b, err
}

// checked is when a feed was last verified, kept across restarts.
type checked struct {
	At time.Time `json:"at"`
}

func (c checked) save(store trust.Store) error {
	b, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("encode when the feed was verified: %w", err)
	}
	return store.Write(checkedFile, b)
}
