package trust

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"path"
	"sync"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// Client follows one feed from a pinned root. It is safe for concurrent use.
type Client struct {
	store Store
	turn  sync.Mutex // one refresh at a time

	mu      sync.RWMutex
	root    []byte // the newest verified root
	targets map[string]Target
	state   State
}

// Open takes up what the store holds, verified again from the pinned root on. What cannot be verified, or is damaged, is
// as good as not there; what has expired is taken up, for State says so and a refresh will not go below it.
func Open(root []byte, store Store) (*Client, error) {
	w, err := begin(root, time.Time{})
	if err != nil {
		return nil, fmt.Errorf("take up the pinned root: %w", err)
	}
	c := &Client{store: store, root: bytes.Clone(root)}
	chain := []*metadata.Metadata[metadata.RootType]{w.t.Root}
	for len(chain) <= maxRotations {
		b, err := c.stored(rootName(w.version()+1), MaxRoot)
		if err != nil {
			return nil, err
		}
		if b == nil || w.root(b) != nil {
			break
		}
		c.root, chain = b, append(chain, w.t.Root)
	}
	return c, c.recall(chain)
}

// recall takes up what the last run left. The stored targets are those of its last successful refresh: nothing writes them
// earlier. They stand under the root that they were verified with even if a later root names other keys.
func (c *Client) recall(chain []*metadata.Metadata[metadata.RootType]) error {
	w, err := begin(c.root, time.Time{})
	if err != nil {
		return err
	}
	if err := c.anchors(w); err != nil {
		return err
	}
	c.state = stateOf(w, nil)
	b, err := c.stored(targetsFile, MaxTargets)
	if err != nil || b == nil {
		return err
	}
	_ = guarded(metadata.TARGETS, func() error {
		m, err := metadata.Targets().FromBytes(b)
		if err != nil {
			return err
		}
		for i := len(chain) - 1; i >= 0; i-- {
			if err = chain[i].VerifyDelegate(metadata.TARGETS, m); err == nil {
				break
			}
		}
		if err != nil {
			return err
		}
		found, err := soundTargets(&m.Signed)
		if err == nil {
			c.targets, c.state = found, stateOf(w, &m.Signed)
		}
		return err
	})
	return nil
}

// anchors loads the store's timestamp and snapshot: expired or not final, they only keep the feed from going back.
// Refusals are left aside (keys were rotated, or the file is damaged); errors of the store are not.
func (c *Client) anchors(w *walk) error {
	b, err := c.stored("timestamp.json", MaxTimestamp)
	if err != nil {
		return err
	}
	if b != nil {
		_, _ = w.timestamp(b)
	}
	return c.anchorSnapshot(w)
}

func (c *Client) anchorSnapshot(w *walk) error {
	b, err := c.stored(snapshotFile, MaxSnapshot)
	if err == nil && b != nil && w.t.Timestamp != nil {
		_ = w.snapshot(b, true)
	}
	return err
}

// stored reads from the store; nil when it is not there or larger than anything that was ever written.
func (c *Client) stored(name string, max int) ([]byte, error) {
	b, err := c.store.Read(name)
	switch {
	case missing(err) || err == nil && len(b) > max:
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read %s of the feed's verified state: %w", name, err)
	}
	return b, nil
}

func rootName(version int64) string { return fmt.Sprintf("%d.root.json", version) }

// Refresh follows the feed to its newest state: the chain of roots, then timestamp, snapshot and targets, each kept in the
// store as soon as it is verified. now is the clock that expiry is judged by. A refusal has one of the codes of this
// package and leaves Targets and State as they were; roots that were verified stay verified.
func (c *Client) Refresh(ctx context.Context, src Source, now time.Time) error {
	c.turn.Lock()
	defer c.turn.Unlock()
	w, err := begin(c.Root(), now)
	if err != nil {
		return err
	}
	for _, step := range []func(context.Context, Source, *walk) error{c.followRoots, c.takeTimestamp, c.takeSnapshot} {
		if err := step(ctx, src, w); err != nil {
			return err
		}
	}
	found, err := c.takeTargets(ctx, src, w)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.targets, c.state = found, stateOf(w, &w.t.Targets[metadata.TARGETS].Signed)
	c.state.Refreshed = now
	return nil
}

// followRoots walks to the newest root: version by version, each signed by the keys of the one before and by its own.
func (c *Client) followRoots(ctx context.Context, src Source, w *walk) error {
	for range maxRotations {
		name := rootName(w.version() + 1)
		b, err := fetch(ctx, src, path.Join(MetadataDir, name), MaxRoot)
		if missing(err) {
			return nil
		}
		if err == nil {
			err = w.root(b)
		}
		if err == nil {
			err = c.keep(name, b)
		}
		if err != nil {
			return err
		}
		c.mu.Lock()
		c.root = b
		c.mu.Unlock()
	}
	return nil // the rest at the next refresh
}

func (c *Client) takeTimestamp(ctx context.Context, src Source, w *walk) error {
	if b, err := c.stored("timestamp.json", MaxTimestamp); err != nil {
		return err
	} else if b != nil {
		_, _ = w.timestamp(b) // expired or signed by keys of before: an anchor or nothing
	}
	b, err := fetch(ctx, src, path.Join(MetadataDir, "timestamp.json"), MaxTimestamp)
	if err != nil {
		return err
	}
	if changed, err := w.timestamp(b); err != nil || !changed {
		return err
	}
	return c.keep("timestamp.json", b)
}

func (c *Client) takeSnapshot(ctx context.Context, src Source, w *walk) error {
	b, err := c.stored(snapshotFile, MaxSnapshot)
	if err != nil {
		return err
	}
	if b != nil && w.snapshot(b, true) == nil {
		return nil
	}
	meta := w.t.Timestamp.Signed.Meta[snapshotFile]
	b, err = fetch(ctx, src, path.Join(MetadataDir, fmt.Sprintf("%d.%s", meta.Version, snapshotFile)), meta.Length)
	if err == nil {
		err = w.snapshot(b, false)
	}
	if err != nil {
		return err
	}
	return c.keep(snapshotFile, b)
}

func (c *Client) takeTargets(ctx context.Context, src Source, w *walk) (map[string]Target, error) {
	b, err := c.stored(targetsFile, MaxTargets)
	if err != nil {
		return nil, err
	}
	if b != nil {
		if found, err := w.targets(b); err == nil {
			return found, nil
		}
	}
	meta := w.t.Snapshot.Signed.Meta[targetsFile]
	b, err = fetch(ctx, src, path.Join(MetadataDir, fmt.Sprintf("%d.%s", meta.Version, targetsFile)), meta.Length)
	if err != nil {
		return nil, err
	}
	found, err := w.targets(b)
	if err != nil {
		return nil, err
	}
	return found, c.keep(targetsFile, b)
}

func (c *Client) keep(name string, b []byte) error {
	if err := c.store.Write(name, b); err != nil {
		return fmt.Errorf("keep %s of the feed: %w", name, err)
	}
	return nil
}

// Root is the newest verified root, to be pinned by others.
func (c *Client) Root() []byte {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.root
}

// Targets are the verified targets by path, of the last successful refresh of this run or, before it, of the last one.
func (c *Client) Targets() map[string]Target {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return maps.Clone(c.targets)
}

// Lookup is one verified target.
func (c *Client) Lookup(path string) (Target, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	t, ok := c.targets[path]
	return t, ok
}

// Target reads a small target (at most MaxSmall bytes) and checks it. ErrNoTarget: the publisher signed no such file.
func (c *Client) Target(ctx context.Context, src Source, path string) ([]byte, error) {
	t, ok := c.Lookup(path)
	if !ok {
		return nil, ErrNoTarget.Because(fmt.Errorf("no target %.200q", path))
	}
	if t.Size > MaxSmall {
		return nil, ErrTooLarge.Because(fmt.Errorf("target %s has %d bytes; it must be streamed", path, t.Size))
	}
	b, err := fetch(ctx, src, TargetFile(t), t.Size)
	if err != nil {
		return nil, err
	}
	if err := Verify(bytes.NewReader(b), t); err != nil {
		return nil, err
	}
	return b, nil
}

// State says how far the client is.
func (c *Client) State() State {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.state
}

// stateOf reads versions and the earliest expiry off a walk; targets may be those of an earlier one.
func stateOf(w *walk, targets *metadata.TargetsType) State {
	s := State{RootVersion: w.version(), Expires: w.t.Root.Signed.Expires}
	earliest := func(t time.Time) {
		if t.Before(s.Expires) {
			s.Expires = t
		}
	}
	if w.t.Timestamp != nil {
		s.TimestampVersion = w.t.Timestamp.Signed.Version
		earliest(w.t.Timestamp.Signed.Expires)
	}
	if w.t.Snapshot != nil {
		s.SnapshotVersion = w.t.Snapshot.Signed.Version
		earliest(w.t.Snapshot.Signed.Expires)
	}
	if targets != nil {
		s.TargetsVersion = targets.Version
		earliest(targets.Expires)
	}
	return s
}
