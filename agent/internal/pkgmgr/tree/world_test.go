package tree

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"assent/agent/internal/pkgmgr"
	"assent/archive"
	"assent/archive/archivetest"
	"assent/catalog"
	"assent/feed"
	"assent/installation"
	"assent/wire"
)

// published is a feed in a directory, with the releases that a verified feed has. A child process reads the same one.
type published struct {
	dir   string
	opens *int
	fault func(offset int64) (io.ReadCloser, error) // instead of the payload
}

func (p published) Releases() []feed.Release {
	files, err := filepath.Glob(filepath.Join(p.dir, "*", "releases", "*.json"))
	if err != nil {
		panic(err)
	}
	var out []feed.Release
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			panic(err)
		}
		r, err := feed.Parse(filepath.Base(filepath.Dir(filepath.Dir(name))), b)
		if err != nil {
			panic(err)
		}
		if reason, err := os.ReadFile(name + ".revoked"); err == nil {
			r.Revoked = &catalog.Revocation{Reason: string(reason)}
		}
		out = append(out, r)
	}
	return out
}

func (p published) Open(_ context.Context, sum string, offset int64) (io.ReadCloser, error) {
	*p.opens++
	if p.fault != nil {
		return p.fault(offset)
	}
	f, err := os.Open(filepath.Join(p.dir, "payloads", sum))
	if err != nil {
		return nil, err
	}
	_, err = f.Seek(offset, io.SeekStart)
	return f, err
}

// world is a device in a directory, and what it follows.
type world struct {
	*testing.T
	root, state string
	feed        published
	tree        *Tree
	clock       time.Time
	boot        string
	limits      archive.Limits
}

func device() catalog.Platform {
	return catalog.Platform{OS: "linux", Distribution: "debian", Version: "12", Arch: "amd64"}
}

func newWorld(t *testing.T, dir string) *world {
	t.Helper()
	w := &world{T: t, root: filepath.Join(dir, "root"), state: filepath.Join(dir, "state"), clock: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC), boot: "boot-1"}
	w.feed = published{dir: filepath.Join(t.TempDir(), "feed"), opens: new(int)}
	for _, d := range []string{w.root, w.state, filepath.Join(w.feed.dir, "payloads")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	w.start()
	return w
}

// start is a new process of the agent.
func (w *world) start() {
	w.tree = New(Config{Root: w.root, StateDir: w.state, Payloads: w.feed, Platform: device, BootID: func() string { return w.boot },
		Now: func() time.Time { w.clock = w.clock.Add(time.Second); return w.clock }, Limits: w.limits, Spare: 64 << 10})
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// publish puts a release into the feed and gives its item.
func (w *world) publish(version string, payload []byte, change ...func(*feed.Manifest)) catalog.Item {
	w.Helper()
	return w.publishIn("acme", version, payload, change...)
}

func (w *world) publishIn(feedID, version string, payload []byte, change ...func(*feed.Manifest)) catalog.Item {
	w.Helper()
	sum := sha256.Sum256(payload)
	it := feed.Item{Name: "app", Arch: "amd64", Version: version, Size: int64(len(payload)), SHA256: hex.EncodeToString(sum[:]), Platform: catalog.Platform{Arch: "amd64"}}
	m := feed.Manifest{Application: "app", Version: version, Class: catalog.Managed, Kind: catalog.Full, Payload: catalog.Tar, Restart: catalog.RestartNone,
		Removal: catalog.Removal{Removable: true}, Items: []feed.Item{it}}
	for _, c := range change {
		c(&m)
	}
	b, r, err := feed.Encode(feedID, m)
	w.must(err)
	dir := filepath.Join(w.feed.dir, feedID, "releases")
	w.must(os.MkdirAll(dir, 0o755))
	w.must(os.WriteFile(filepath.Join(dir, string(r.ID())+".json"), b, 0o644))
	w.must(os.WriteFile(filepath.Join(w.feed.dir, "payloads", it.SHA256), payload, 0o644))
	f := m.Items[0]
	return catalog.Item{Name: f.Name, Arch: f.Arch, Version: f.Version, Size: f.Size, SHA256: f.SHA256, Format: m.Payload}
}

// release publishes an ordinary version of a tree.
func (w *world) release(version string, change ...func(*feed.Manifest)) catalog.Item {
	w.Helper()
	return w.publish(version, archivetest.Pack(w.T, files(version)...), change...)
}

func content(m *feed.Manifest) { m.Class, m.Payload = catalog.Content, catalog.ContentFile }

func files(version string) []archivetest.File {
	return []archivetest.File{
		{Header: tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755}},
		{Header: tar.Header{Name: "./bin/", Typeflag: tar.TypeDir, Mode: 0o755}},
		{Header: tar.Header{Name: "./bin/app", Mode: 0o755}, Body: "#!/bin/sh\necho " + version + "\n"},
		{Header: tar.Header{Name: "./bin/run", Typeflag: tar.TypeSymlink, Linkname: "app"}},
		{Header: tar.Header{Name: "./lib/deep/data", Mode: 0o666}, Body: strings.Repeat(version, 3000)},
		{Header: tar.Header{Name: "./lib/again", Typeflag: tar.TypeLink, Linkname: "./lib/deep/data", Mode: 0o644}},
	}
}

func install(items ...catalog.Item) pkgmgr.Want { return pkgmgr.Want{Items: items} }

func back(items ...catalog.Item) pkgmgr.Want { return pkgmgr.Want{Items: items, Downgrade: true} }

func remove(items ...catalog.Item) pkgmgr.Want { return pkgmgr.Want{Remove: items} }

// run carries out a Want as the agent does.
func (w *world) run(want pkgmgr.Want) (pkgmgr.Outcome, error) { return carryOut(w.tree, want) }

func carryOut(t *Tree, want pkgmgr.Want) (pkgmgr.Outcome, error) {
	ctx := context.Background()
	tx, err := t.Simulate(ctx, want)
	if err != nil {
		return pkgmgr.Outcome{}, fmt.Errorf("simulate: %w", err)
	}
	if err := t.Fetch(ctx, tx, nil); err != nil {
		return pkgmgr.Outcome{}, fmt.Errorf("fetch: %w", err)
	}
	if err := t.Remember(ctx, "u1", tx.Changes); err != nil {
		return pkgmgr.Outcome{}, fmt.Errorf("remember: %w", err)
	}
	return t.Apply(ctx, tx, nil)
}

// ok carries out a Want and has it proved.
func (w *world) ok(want pkgmgr.Want) {
	w.Helper()
	out, err := w.run(want)
	if err != nil {
		w.Fatalf("%v\n%s", err, out.Log)
	}
	for _, it := range want.Items {
		w.there(it)
	}
}

// there wants an item proved, and its files to be those of its version.
func (w *world) there(it catalog.Item) {
	w.Helper()
	p := w.proof(it)
	if p.Status != whole || p.Version != it.Version || p.SHA256 != it.SHA256 {
		w.Errorf("proof %+v, want %s", p, it.Key())
	}
	if it.Format == catalog.Tar {
		w.runs(it.Version)
	}
}

func (w *world) proof(it catalog.Item) wire.ProofItem {
	w.Helper()
	got, health, err := w.tree.Verify(w.Context(), []catalog.Item{it})
	w.must(err)
	if health.Broken != "" {
		w.Errorf("broken: %s", health.Broken)
	}
	return got[0]
}

// path is a file of the current version.
func (w *world) path(name string) string {
	return filepath.Join(w.tree.Current("acme", "app", catalog.Tar), name)
}

// runs wants the tree of an ordinary version to be there whole.
func (w *world) runs(version string) {
	w.Helper()
	for _, f := range files(version) {
		if f.Typeflag == tar.TypeDir {
			continue
		}
		want := f.Body
		switch f.Name {
		case "./bin/run":
			want = files(version)[2].Body
		case "./lib/again":
			want = strings.Repeat(version, 3000)
		}
		b, err := os.ReadFile(w.path(f.Name))
		if err != nil || string(b) != want {
			w.Errorf("%s of version %s: %v, %.60q", f.Name, version, err, b)
		}
	}
	info, err := os.Stat(w.path("lib/deep/data"))
	if err != nil || info.Mode().Perm() != 0o644 {
		w.Errorf("a file that the archive lets everybody write: %v, %v", info.Mode(), err)
	}
}

// refused wants a Want to be refused for a cause, and nothing on the device to be changed by it.
func (w *world) refused(want pkgmgr.Want, cause installation.Cause) *pkgmgr.Refusal {
	w.Helper()
	before := w.listing()
	_, err := w.run(want)
	var r *pkgmgr.Refusal
	if !errors.As(err, &r) || r.Cause != cause {
		w.Fatalf("%v, want a refusal for %s", err, cause)
	}
	if after := w.listing(); !slices.Equal(before, after) {
		w.Errorf("a refusal changed the device:\n%s\n%s", before, after)
	}
	return r
}

// listing is all that lies in the directories of applications, with where links lead.
func (w *world) listing() []string {
	w.Helper()
	var out []string
	err := filepath.WalkDir(w.root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(w.root, path)
		if d.Type()&fs.ModeSymlink != 0 {
			target, _ := os.Readlink(path)
			name += " -> " + target
		}
		out = append(out, name)
		return err
	})
	w.must(err)
	return out
}

// onDisk lists the versions of the application that are on disk.
func (w *world) onDisk() []string {
	w.Helper()
	entries, err := os.ReadDir(filepath.Join(w.root, "opt/assent/acme/app/versions"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		w.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func (w *world) scan() *pkgmgr.Snapshot {
	w.Helper()
	s, err := w.tree.Scan(w.Context())
	w.must(err)
	return s
}
