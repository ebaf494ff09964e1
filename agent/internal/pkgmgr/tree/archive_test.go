package tree

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"pgregory.net/rapid"

	"assent/archive"
	"assent/archive/archivetest"
	"assent/catalog"
	"assent/installation"
)

func TestN11_HostileArchivesAreRefusedBeforeAnythingIsUnpacked(t *testing.T) {
	for name, list := range archivetest.Hostile() {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, t.TempDir())
			v1 := w.release("1.0")
			w.ok(install(v1))
			evil := w.publish("2.0", archivetest.Pack(t, append([]archivetest.File{archivetest.Regular("first")}, list...)...))
			if len(list) == 0 {
				evil = w.publish("2.1", archivetest.Pack(t))
			}
			r := w.refused(install(evil), installation.UnknownData)
			if !strings.Contains(r.Detail, "app") {
				t.Errorf("%s", r.Detail)
			}
			w.force(evil) // and should it get past the fetch, Apply refuses it
			if _, err := w.tree.Apply(t.Context(), w.blind(evil), nil); err == nil {
				t.Error("applied")
			}
			w.there(v1)
			if got := w.onDisk(); len(got) != 1 {
				t.Errorf("on disk %v", got)
			}
		})
	}
}

func bomb(t *testing.T, list func(a *tar.Writer) error) []byte {
	t.Helper()
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	a := tar.NewWriter(z)
	if err := list(a); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil { // without the archive's end, which a bomb need not have
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestN11_BombsAreRefused(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.limits = archive.Limits{Free: 4 << 20}
	w.start()
	zeros := bomb(t, func(a *tar.Writer) error {
		if err := a.WriteHeader(&tar.Header{Name: "zeros", Mode: 0o644, Size: 8 << 20}); err != nil {
			return err
		}
		_, err := io.CopyN(a, zero{}, 8<<20)
		return err
	})
	w.refused(install(w.publish("1.0", zeros)), installation.UnknownData)
	many := bomb(t, func(a *tar.Writer) error {
		for i := range 250_000 { // beyond the limit of 200,000: what would follow is not read any more
			name := hex.EncodeToString([]byte{byte(i >> 16), byte(i >> 8), byte(i)})
			if err := a.WriteHeader(&tar.Header{Name: name[:2] + "/" + name, Mode: 0o644}); err != nil {
				return err
			}
		}
		return nil
	})
	w.limits = archive.Limits{} // the limits of every device
	w.start()
	w.refused(install(w.publish("2.0", many)), installation.UnknownData)
}

type zero struct{}

func (zero) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestXZThatAsksForAllMemoryIsRefused(t *testing.T) {
	w := newWorld(t, t.TempDir())
	head := append([]byte("\xfd7zXZ\x00\x00\x04\xe6\xd6\xb4\x46"), 0x02, 0x00, 0x21, 0x01, 40) // a dictionary of 4 GiB
	r := w.refused(install(w.publish("1.0", append(head, make([]byte, 100)...))), installation.UnknownData)
	if !strings.Contains(r.Detail, "memory") {
		t.Error(r.Detail)
	}
}

// TestNoArchiveReachesOutside unpacks archives of random names and links: whatever is accepted stays inside, and what
// is on disk is what the list of files says.
func TestNoArchiveReachesOutside(t *testing.T) {
	name := rapid.SampledFrom([]string{"a", "b", "a/b", "a/b/c", "b/a", "../a", "/a", "a/..", "./a", "a//b", ".", "..", "c/../../d"})
	dir := t.TempDir()
	n := 0
	rapid.Check(t, func(r *rapid.T) {
		var list []archivetest.File
		for range rapid.IntRange(1, 6).Draw(r, "entries") {
			kind := rapid.SampledFrom([]byte{tar.TypeReg, tar.TypeDir, tar.TypeSymlink, tar.TypeLink}).Draw(r, "kind")
			f := archivetest.Entry(name.Draw(r, "name"), kind, "", 0o644)
			switch kind {
			case tar.TypeReg:
				f.Body = "inside"
			case tar.TypeSymlink, tar.TypeLink:
				f.Linkname = rapid.OneOf(name, rapid.SampledFrom([]string{"../..", "../b", "../../a", "b/..", "a/../.."})).Draw(r, "target")
			}
			list = append(list, f)
		}
		n++
		outside := filepath.Join(dir, hex.EncodeToString([]byte{byte(n >> 8), byte(n)}))
		inside := filepath.Join(outside, "1", "2", "3", "home")
		if err := os.MkdirAll(filepath.Join(inside, versions), 0o755); err != nil {
			r.Fatal(err)
		}
		home, err := os.OpenRoot(inside)
		if err != nil {
			r.Fatal(err)
		}
		defer home.Close()
		payload := filepath.Join(dir, "payload")
		body := archivetest.Pack(t, list...)
		if err := os.WriteFile(payload, body, 0o600); err != nil {
			r.Fatal(err)
		}
		f, err := os.Open(payload)
		if err != nil {
			r.Fatal(err)
		}
		defer f.Close()
		tree := New(Config{Root: outside})
		_, err = tree.unpack(t.Context(), home, key{"acme", "app", catalog.Tar}, f, int64(len(body)))
		top := filepath.Join(inside, versions, staging)
		if err != nil {
			if _, err := os.Lstat(top); err == nil {
				r.Fatal("a refused archive left something")
			}
			top = ""
		}
		_ = filepath.WalkDir(outside, func(path string, d fs.DirEntry, err error) error {
			if d.Type()&fs.ModeSymlink != 0 {
				real, err := filepath.EvalSymlinks(path)
				if err == nil && real != top && !strings.HasPrefix(real, top+"/") {
					r.Errorf("%s leads to %s", path, real)
				}
			}
			if d.Type().IsRegular() && !strings.HasPrefix(path, top+"/") {
				r.Errorf("%s is outside of the tree", path)
			}
			return nil
		})
	})
}

// force puts a payload into the cache as if it had been fetched.
func (w *world) force(it catalog.Item) {
	w.Helper()
	b, err := os.ReadFile(filepath.Join(w.feed.dir, "payloads", it.SHA256))
	w.must(err)
	sum := sha256.Sum256(b)
	w.must(os.MkdirAll(filepath.Join(w.state, "tree/payloads"), 0o700))
	w.must(os.WriteFile(filepath.Join(w.state, "tree/payloads", hex.EncodeToString(sum[:])), b, 0o600))
}
