package dir

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"assent/content"
	"assent/content/contenttest"
)

func newStore(t *testing.T, at string) *Store {
	t.Helper()
	root, err := os.OpenRoot(at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	s, err := Open(root, 0)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStore(t *testing.T) {
	contenttest.Run(t, func(t *testing.T) content.Store { return newStore(t, t.TempDir()) },
		func(t *testing.T, s content.Store) content.Store { return newStore(t, s.(*Store).root.Name()) })
}

// asides counts what is written aside.
func asides(t *testing.T, s *Store) int {
	t.Helper()
	entries, err := fs.ReadDir(s.root.FS(), aside)
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// TestWhatWasLeftHalfWrittenIsRemoved: a process that was killed while it wrote leaves its file aside.
func TestWhatWasLeftHalfWrittenIsRemoved(t *testing.T) {
	at := t.TempDir()
	s := newStore(t, at)
	if err := os.WriteFile(filepath.Join(at, aside, "LEFT"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if asides(t, s) != 1 {
		t.Fatal("the test looks at the wrong place")
	}
	if n := asides(t, newStore(t, at)); n != 0 {
		t.Errorf("%d files are left", n)
	}
}

func TestAFailedPutLeavesNothingAside(t *testing.T) {
	s := newStore(t, t.TempDir())
	_ = s.Put(t.Context(), strings.NewReader("other"), 5, content.Digest([]byte("these")))
	if n := asides(t, s); n != 0 {
		t.Errorf("%d files are left", n)
	}
}

// TestN49_AFileThatWouldFillTheDiskIsRefusedBeforeItIsFetched: with what others are writing at the same time.
func TestN49_AFileThatWouldFillTheDiskIsRefusedBeforeItIsFetched(t *testing.T) {
	s := newStore(t, t.TempDir())
	s.reserve, s.free = 100, func(*os.Root) (int64, error) { return 1000, nil }
	b := make([]byte, 600)
	r := bytes.NewReader(make([]byte, 901))
	if err := s.Put(t.Context(), r, 901, content.Digest(make([]byte, 901))); !errors.Is(err, content.ErrFull) || r.Len() != 901 {
		t.Errorf("got %v after reading %d bytes", err, 901-r.Len())
	}
	pr, pw := io.Pipe()
	done := make(chan error)
	go func() { done <- s.Put(t.Context(), pr, 600, content.Digest(b)) }()
	if _, err := pw.Write(b[:1]); err != nil { // the first one has its claim now
		t.Fatal(err)
	}
	other := bytes.Repeat([]byte("o"), 400)
	if err := s.Put(t.Context(), bytes.NewReader(other), 400, content.Digest(other)); !errors.Is(err, content.ErrFull) {
		t.Errorf("the second one: %v", err)
	}
	if _, err := pw.Write(b[1:]); err != nil {
		t.Fatal(err)
	}
	pw.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
	contenttest.Put(t, s, other)
}

// TestN49_AFullDiskGivesItsBytesBack on a file system of 256 KiB that the store believes to be large.
func TestN49_AFullDiskGivesItsBytesBack(t *testing.T) {
	at := t.TempDir()
	if err := syscall.Mount("tmpfs", at, "tmpfs", 0, "size=256k"); err != nil {
		t.Fatalf("mount a small file system (needs root): %v", err)
	}
	s := newStore(t, at)
	t.Cleanup(func() {
		s.root.Close()
		if err := syscall.Unmount(at, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	small := contenttest.Put(t, s, bytes.Repeat([]byte("s"), 50_000))
	large := bytes.Repeat([]byte("l"), 500_000)
	if err := s.Put(t.Context(), bytes.NewReader(large), int64(len(large)), content.Digest(large)); !errors.Is(err, content.ErrFull) {
		t.Errorf("measured: %v", err)
	}
	s.free = func(*os.Root) (int64, error) { return 1 << 40, nil }
	if err := s.Put(t.Context(), bytes.NewReader(large), int64(len(large)), content.Digest(large)); !errors.Is(err, content.ErrFull) || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("written: %v", err)
	}
	if n := asides(t, s); n != 0 {
		t.Errorf("%d files are left aside", n)
	}
	if got := contenttest.Get(t, s, small); len(got) != 50_000 {
		t.Errorf("the small file has %d bytes", len(got))
	}
	contenttest.Put(t, s, bytes.Repeat([]byte("m"), 100_000))
}

// TestF11_LinksAndPipesInTheDirectoryAreNoFiles: nothing leads out, and nothing hangs.
func TestF11_LinksAndPipesInTheDirectoryAreNoFiles(t *testing.T) {
	at := t.TempDir()
	s := newStore(t, at)
	secret := []byte("secret")
	out := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(out, secret, 0o600); err != nil {
		t.Fatal(err)
	}
	inside := contenttest.Put(t, s, []byte("inside"))
	make1 := map[string]func(string) error{
		"a link out of it":   func(p string) error { return os.Symlink(out, p) },
		"a link inside":      func(p string) error { return os.Symlink(filepath.Join("..", place(inside)), p) },
		"a pipe":             func(p string) error { return syscall.Mkfifo(p, 0o600) },
		"a directory":        func(p string) error { return os.Mkdir(p, 0o700) },
		"a truncated secret": func(p string) error { return os.WriteFile(p, secret[:3], 0o600) },
	}
	digest := content.Digest(secret)
	for what, plant := range make1 {
		p := filepath.Join(at, place(digest))
		if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := plant(p); err != nil {
			t.Fatal(err)
		}
		if f, err := s.Open(t.Context(), digest); err == nil && what != "a truncated secret" {
			f.Close()
			t.Errorf("%s was opened", what)
		}
		err := s.Put(t.Context(), bytes.NewReader(secret), int64(len(secret)), digest)
		if what != "a directory" && (err != nil || string(contenttest.Get(t, s, digest)) != "secret") {
			t.Errorf("%s was not replaced: %v", what, err)
		}
		if err := os.RemoveAll(p); err != nil {
			t.Fatal(err)
		}
	}
	if b, err := os.ReadFile(out); err != nil || string(b) != "secret" {
		t.Errorf("the file outside is %q, %v", b, err)
	}
}
