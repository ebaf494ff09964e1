package tree

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"assent/agent/internal/pkgmgr"
	"assent/archive/archivetest"
	"assent/catalog"
	"assent/installation"
)

// tmpfs mounts a small file system for a device.
func tmpfs(t *testing.T, options string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "small")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", path, "tmpfs", 0, options); err != nil {
		t.Fatal("needs root: ", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(path, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return path
}

// noise is a tree that does not compress.
func noise(t *testing.T, version string, size int) []byte {
	t.Helper()
	b := make([]byte, size)
	r := rand.NewChaCha8([32]byte{byte(size)})
	if _, err := r.Read(b); err != nil {
		t.Fatal(err)
	}
	return archivetest.Pack(t, append(files(version), archivetest.File{Header: archivetest.Regular("noise").Header, Body: string(b)})...)
}

func TestN49_DiskTooSmallIsRefusedBeforeAnythingIsFetched(t *testing.T) {
	w := newWorld(t, tmpfs(t, "size=1m"))
	v1 := w.release("1.0")
	w.ok(install(v1))
	w.refused(install(w.publish("2.0", noise(t, "2.0", 2<<20))), installation.NoSpace)
	if left := w.cache(); *w.feed.opens != 1 || len(left) != 0 {
		t.Errorf("%d downloads, left %v", *w.feed.opens, left)
	}
	// It can be fetched, but not unpacked beside its payload: known when it is measured, before any of it is written.
	w.refused(install(w.publish("3.0", noise(t, "3.0", 550<<10))), installation.NoSpace)
	w.there(v1)
}

func TestN49_TooFewInodesAreFoundBeforeUnpacking(t *testing.T) {
	w := newWorld(t, tmpfs(t, "size=8m,nr_inodes=70"))
	v1 := w.release("1.0")
	w.ok(install(v1))
	var many []archivetest.File
	for i := range 40 {
		many = append(many, archivetest.Regular(string(rune('A'+i))+".txt"))
	}
	w.refused(install(w.publish("2.0", archivetest.Pack(t, many...))), installation.NoSpace)
	w.there(v1)
}

// TestN49_DiskThatFillsAtAnyMomentLeavesTheOldVersionWhole fills the disk, byte by byte in its last blocks and inode by inode, right
// before the transaction: it fails while unpacking, while writing the list of files, the record or the link, or not at all.
func TestN49_DiskThatFillsAtAnyMomentLeavesTheOldVersionWhole(t *testing.T) {
	w := newWorld(t, tmpfs(t, "size=1m,nr_inodes=300"))
	v1, v2 := w.release("1.0"), w.publish("2.0", noise(t, "2.0", 100<<10))
	outcomes := map[installation.Cause]int{}
	fails := func(free func() error) {
		t.Helper()
		w.must(w.tree.Fetch(t.Context(), w.blind(v2), nil))
		w.must(free())
		out, err := w.tree.Apply(t.Context(), w.blind(v2), nil)
		var r *pkgmgr.Refusal
		switch {
		case err == nil:
			outcomes[""]++
			w.there(v2)
		case errors.As(err, &r) && r.Cause == installation.NoSpace:
			outcomes[r.Cause]++
			w.there(v1)
		default:
			t.Fatalf("%v\n%s", err, out.Log)
		}
		w.must(os.RemoveAll(filepath.Join(w.root, "ballast")))
		if h, err := w.tree.Recover(t.Context()); err != nil || h.Broken != "" {
			t.Fatalf("%+v, %v", h, err)
		}
		w.reset(v1, v2)
	}
	w.ok(install(v1))
	for left := int64(0); left <= 200<<10; left += 4 << 10 {
		fails(func() error { return w.fillBytes(left) })
	}
	for left := range 24 {
		fails(func() error { return w.fillInodes(left) })
	}
	if outcomes[""] < 5 || outcomes[installation.NoSpace] < 20 {
		t.Errorf("outcomes %v: this test does not reach what it is for", outcomes)
	}
	t.Log(outcomes)
}

// reset brings the device back to only its first version.
func (w *world) reset(v1, v2 catalog.Item) {
	w.Helper()
	if w.proof(v1).Status == whole {
		return
	}
	if _, err := w.run(remove(v2)); err != nil {
		w.Fatal(err)
	}
	w.ok(install(v1))
	if got := w.onDisk(); len(got) != 1 {
		w.Fatalf("on disk %v", got)
	}
}

// fillBytes leaves so many bytes free.
func (w *world) fillBytes(left int64) error {
	free, _, _, err := room(w.root)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(w.root, "ballast"), make([]byte, max(0, free-left)), 0o600)
}

// fillInodes leaves so many inodes free.
func (w *world) fillInodes(left int) error {
	dir := filepath.Join(w.root, "ballast")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	_, free, _, err := room(w.root)
	for i := uint64(left); i < free && err == nil; i++ {
		err = os.WriteFile(filepath.Join(dir, string(rune('A'+i))), nil, 0o600)
	}
	return err
}
