// Package trusttest makes feeds for tests: a publisher with keys of its own, a clock that a test moves, a folder that is
// published and may be served over HTTP, and the means to damage it. Everything goes through package publish, so what a
// test sees is what a vendor makes.
package trusttest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"assent/catalog"
	"assent/feed"
	"assent/trust"
	"assent/trust/publish"
)

// Feed is a feed with its publisher. Failures end the test.
type Feed struct {
	ID   string
	Dir  string // what is published
	t    testing.TB
	tree *publish.Tree

	mu  sync.Mutex
	now time.Time
	url string
}

// NewFeed makes a feed without releases, signed and published, that starts at the current time.
func NewFeed(t testing.TB, id string) *Feed {
	t.Helper()
	dir := t.TempDir()
	f := &Feed{ID: id, Dir: filepath.Join(dir, "published"), t: t, now: time.Now().UTC().Truncate(time.Second)}
	var err error
	f.tree, err = publish.Init(filepath.Join(dir, "tree"), publish.Options{ID: id}, f.now)
	f.ok(err)
	t.Cleanup(func() { f.ok(f.tree.Close()) })
	f.Publish()
	return f
}

func (f *Feed) ok(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatalf("feed %s: %v", f.ID, err)
	}
}

// Root is the first root, as a client pins it.
func (f *Feed) Root() []byte {
	f.t.Helper()
	b, _, err := f.tree.Root(1)
	f.ok(err)
	return b
}

// Now is the publisher's clock; clients of the test may use it too.
func (f *Feed) Now() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

// Advance moves the clock on.
func (f *Feed) Advance(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = f.now.Add(d)
}

// Manifest is a removable managed release of a tar tree for amd64, to be changed by a test.
func Manifest(application, version string) feed.Manifest {
	return feed.Manifest{Application: application, Version: version, Class: catalog.Managed, Kind: catalog.Full, Payload: catalog.Tar,
		Restart: catalog.RestartNone, Removal: catalog.Removal{Removable: true}}
}

// Add adds a release to the draft; Publish offers it. Without items the manifest gets one for each payload: for the
// platforms linux/amd64, linux/arm64 in order. With items, payload n is that of item n; size and digest are filled in.
func (f *Feed) Add(m feed.Manifest, payloads ...[]byte) catalog.UpdateID {
	f.t.Helper()
	return f.AddWith(m, nil, payloads...)
}

// AddWith is Add with further files that the manifest names by digest: agreement texts.
func (f *Feed) AddWith(m feed.Manifest, texts [][]byte, payloads ...[]byte) catalog.UpdateID {
	f.t.Helper()
	if len(m.Items) == 0 {
		for i := range payloads {
			p := catalog.Platform{OS: "linux", Arch: []string{"amd64", "arm64"}[i]}
			m.Items = append(m.Items, feed.Item{Name: m.Application, Arch: p.String(), Version: m.Version, Platform: p})
		}
	}
	m.Items = slices.Clone(m.Items)
	files := map[string]string{}
	for i, b := range payloads {
		m.Items[i].Size, m.Items[i].SHA256 = int64(len(b)), f.file(b, files)
	}
	for _, b := range texts {
		f.file(b, files)
	}
	added, err := f.tree.Add(context.Background(), publish.Addition{Manifest: m, Files: files, Now: f.Now()})
	f.ok(err)
	return added.ID
}

// Agreement is an agreement with one English text, to be added with AddWith.
func Agreement(id, text string) catalog.Agreement {
	return catalog.Agreement{ID: id, Title: id, Texts: []catalog.AgreementText{{Language: "en", SHA256: sum([]byte(text)), Size: int64(len(text))}}}
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

func (f *Feed) file(b []byte, files map[string]string) string {
	name := filepath.Join(f.t.TempDir(), "file")
	f.ok(os.WriteFile(name, b, 0o600))
	files[sum(b)] = name
	return sum(b)
}

// Revoke recalls a release in the draft.
func (f *Feed) Revoke(application, version, reason string) {
	f.t.Helper()
	_, err := f.tree.Revoke(application, version, reason, f.Now())
	f.ok(err)
}

// Rotate replaces the keys of a role and publishes.
func (f *Feed) Rotate(r publish.Role) {
	f.t.Helper()
	f.ok(f.tree.Rotate(publish.Rotation{Role: r, Now: f.Now()}))
	f.Publish()
}

// Expiry changes how long later signatures of a role last.
func (f *Feed) Expiry(r publish.Role, d time.Duration) {
	f.t.Helper()
	f.ok(f.tree.SetExpiry(r, d))
}

// Publish signs what is due and publishes it.
func (f *Feed) Publish() {
	f.t.Helper()
	_, err := f.tree.Sign(publish.SignOptions{Now: f.Now()})
	f.ok(err)
	_, err = f.tree.Publish(context.Background(), f.Dir, f.Now(), nil)
	f.ok(err)
}

// Refresh signs a new timestamp, as a publisher's job does, and publishes it.
func (f *Feed) Refresh() {
	f.t.Helper()
	_, err := f.tree.Sign(publish.SignOptions{Now: f.Now(), Roles: []publish.Role{publish.Snapshot, publish.Timestamp}})
	f.ok(err)
	_, err = f.tree.Publish(context.Background(), f.Dir, f.Now(), nil)
	f.ok(err)
}

// Source reads the published folder.
func (f *Feed) Source() trust.Source { return trust.Dir(f.Dir) }

// URL serves the published folder over HTTP until the test ends.
func (f *Feed) URL() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.url == "" {
		s := httptest.NewServer(http.FileServerFS(os.DirFS(f.Dir)))
		f.t.Cleanup(s.Close)
		f.url = s.URL
	}
	return f.url
}

// Client is a client that pinned the first root and keeps nothing.
func (f *Feed) Client() *trust.Client {
	f.t.Helper()
	c, err := trust.Open(f.Root(), NewStore())
	f.ok(err)
	return c
}

// Corrupt changes a published file, such as "metadata/timestamp.json" or that of Payload.
func (f *Feed) Corrupt(path string, change func([]byte) []byte) {
	f.t.Helper()
	name := filepath.Join(f.Dir, filepath.FromSlash(path))
	b, err := os.ReadFile(name)
	f.ok(err)
	f.ok(os.WriteFile(name, change(b), 0o600))
}

// Payload is the path below the published folder of the payload with this content.
func Payload(b []byte) string {
	return trust.TargetFile(trust.Target{Path: feed.PayloadTarget(sum(b)), SHA256: sum(b)})
}

// Save keeps the published metadata; the function it returns puts it back, as an attacker who replays it.
func (f *Feed) Save() (replay func()) {
	f.t.Helper()
	dir := filepath.Join(f.Dir, trust.MetadataDir)
	kept := map[string][]byte{}
	entries, err := os.ReadDir(dir)
	f.ok(err)
	for _, e := range entries {
		kept[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name()))
		f.ok(err)
	}
	return func() {
		f.t.Helper()
		f.ok(os.RemoveAll(dir))
		f.ok(os.MkdirAll(dir, 0o755))
		for name, b := range kept {
			f.ok(os.WriteFile(filepath.Join(dir, name), b, 0o600))
		}
	}
}

// Break makes the feed unreachable; the function it returns brings it back.
func (f *Feed) Break() (mend func()) {
	f.t.Helper()
	away := f.Dir + ".away"
	f.ok(os.Rename(f.Dir, away))
	return func() { f.t.Helper(); f.ok(os.Rename(away, f.Dir)) }
}

// Store is a trust.Store in memory. The zero value is not ready; use NewStore.
type Store struct {
	mu    sync.Mutex
	files map[string][]byte
	fail  error
}

// NewStore is an empty store.
func NewStore() *Store { return &Store{files: map[string][]byte{}} }

// Read implements trust.Store.
func (s *Store) Read(name string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b, ok := s.files[name]; ok {
		return slices.Clone(b), nil
	}
	return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
}

// Write implements trust.Store.
func (s *Store) Write(name string, b []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return s.fail
	}
	s.files[name] = slices.Clone(b)
	return nil
}

// Full makes every Write fail, or work again.
func (s *Store) Full(full bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = nil
	if full {
		s.fail = errors.New("no space left")
	}
}

// Files is a copy of what the store holds.
func (s *Store) Files() map[string][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.files)
}
