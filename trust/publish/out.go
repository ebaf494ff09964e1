package publish

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"assent/feed"
	"assent/trust"
	"assent/trust/internal/durable"
)

// Published says what a publication offers.
type Published struct {
	State    trust.State `json:"state"`
	Files    int         `json:"files"`
	Bytes    int64       `json:"bytes"`
	Unsigned int         `json:"unsigned"` // changes of the draft that are not signed yet, so not published
}

// memory is a store for one look.
type memory map[string][]byte

// Read implements trust.Store.
func (m memory) Read(name string) ([]byte, error) {
	if b, ok := m[name]; ok {
		return b, nil
	}
	return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
}

// Write implements trust.Store.
func (m memory) Write(name string, b []byte) error {
	m[name] = b
	return nil
}

// Publish copies the newest signed state into a folder that a web server offers. It refuses a state that clients would
// refuse. Payloads come first and the timestamp last, each file at once or not at all: a client that reads meanwhile sees
// the old state or the new one. Nothing is deleted there, for clients may be in the middle of it.
func (t *Tree) Publish(ctx context.Context, out string, now time.Time, progress Progress) (Published, error) {
	cur, err := t.current()
	if err != nil {
		return Published{}, err
	}
	if cur.timestamp == nil {
		return Published{}, errUnsigned
	}
	first, _, err := t.Root(1)
	if err != nil {
		return Published{}, err
	}
	c, err := trust.Open(first, memory{})
	if err != nil {
		return Published{}, err
	}
	if err := c.Refresh(ctx, trust.Dir(t.dir), now); err != nil {
		return Published{}, fmt.Errorf("read the feed back before it is published: %w", err)
	}
	p := Published{State: c.State()}
	targets := c.Targets()
	for _, path := range slices.SortedFunc(maps.Keys(targets), payloadsFirst) {
		target := targets[path]
		p.Files, p.Bytes = p.Files+1, p.Bytes+target.Size
		if err := copyTarget(ctx, t.path(filepath.FromSlash(trust.TargetFile(target))), out, target, progress); err != nil {
			return p, err
		}
	}
	if err := t.copyMetadata(out, p.State); err != nil {
		return p, err
	}
	p.Unsigned, err = t.unsigned(targets)
	return p, err
}

// payloadsFirst orders targets so that what a manifest names is there before it.
func payloadsFirst(a, b string) int {
	rank := func(path string) int {
		if strings.HasPrefix(path, feed.PayloadPrefix) || strings.HasPrefix(path, feed.AgreementPrefix) {
			return 0
		}
		return 1
	}
	if r := rank(a) - rank(b); r != 0 {
		return r
	}
	return strings.Compare(a, b)
}

// copyMetadata copies what clients need: targets, snapshot, all roots, and last the timestamp.
func (t *Tree) copyMetadata(out string, s trust.State) error {
	dir := filepath.Join(out, trust.MetadataDir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	names := []string{fileName(Targets, s.TargetsVersion), fileName(Snapshot, s.SnapshotVersion)}
	for v := range s.RootVersion {
		names = append(names, fileName(Root, v+1))
	}
	for _, name := range append(names, fileName(Timestamp, 0)) {
		b, err := os.ReadFile(t.path(trust.MetadataDir, name))
		if err != nil {
			return fmt.Errorf("publish %s: %w", name, err)
		}
		if err := durable.Write(filepath.Join(dir, name), b, 0o644); err != nil {
			return fmt.Errorf("publish: %w", err)
		}
	}
	return nil
}

// unsigned counts the files that the draft adds, changes or drops beyond what is signed.
func (t *Tree) unsigned(signed map[string]trust.Target) (int, error) {
	files, err := t.readDraft()
	if err != nil {
		return 0, err
	}
	n := 0
	for path, f := range files {
		if signed[path] != f.target(path) {
			n++
		}
	}
	for path := range signed {
		if _, ok := files[path]; !ok {
			n++
		}
	}
	return n, nil
}
