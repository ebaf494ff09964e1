package tree

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"testing/iotest"

	"assent/agent/internal/pkgmgr"
	"assent/catalog"
	"assent/installation"
)

// blind is a transaction for an item as if it had been simulated.
func (w *world) blind(it catalog.Item) pkgmgr.Transaction {
	return pkgmgr.Transaction{ID: "t", Want: install(it)}
}

func (w *world) payload(it catalog.Item) []byte {
	w.Helper()
	b, err := os.ReadFile(filepath.Join(w.feed.dir, "payloads", it.SHA256))
	w.must(err)
	return b
}

// cache lists what lies in the cache of payloads.
func (w *world) cache() map[string]int64 {
	w.Helper()
	entries, err := os.ReadDir(filepath.Join(w.state, "tree/payloads"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		w.Fatal(err)
	}
	out := map[string]int64{}
	for _, e := range entries {
		info, err := e.Info()
		w.must(err)
		out[e.Name()] = info.Size()
	}
	return out
}

func TestFetchTakesABrokenDownloadUpWhereItEnded(t *testing.T) {
	w := newWorld(t, t.TempDir())
	it := w.release("1.0")
	b := w.payload(it)
	for _, broken := range []error{io.ErrUnexpectedEOF, errors.New("connection reset")} {
		w.feed.fault = func(offset int64) (io.ReadCloser, error) {
			return io.NopCloser(io.MultiReader(bytes.NewReader(b[offset:offset+700]), iotest.ErrReader(broken))), nil
		}
		w.start()
		w.refused(install(it), installation.ContentUnavailable)
	}
	var from int64
	w.feed.fault = func(offset int64) (io.ReadCloser, error) {
		from = offset
		return io.NopCloser(bytes.NewReader(b[offset:])), nil
	}
	w.start()
	w.ok(install(it))
	if from != 1400 {
		t.Errorf("taken up at %d, want 1400", from)
	}
}

func TestN03_OtherContentThanWasApprovedNeverGetsIn(t *testing.T) {
	for name, serve := range map[string]func(b []byte) []byte{
		"one bit":  func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
		"longer":   func(b []byte) []byte { return append(b, 'x') },
		"endless":  func(b []byte) []byte { return append(b, make([]byte, 1<<20)...) },
		"of other": func(b []byte) []byte { return bytes.Repeat([]byte("x"), len(b)) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, t.TempDir())
			it := w.release("1.0")
			b := serve(w.payload(it))
			w.feed.fault = func(offset int64) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b[offset:])), nil }
			w.start()
			w.refused(install(it), installation.DigestMismatch)
			if left := w.cache(); len(left) != 0 {
				t.Errorf("left %v", left)
			}
		})
	}
}

func TestFetchBeginsAnewWhenWhatWasLeftIsWrong(t *testing.T) {
	w := newWorld(t, t.TempDir())
	it := w.release("1.0")
	part := filepath.Join(w.state, "tree/payloads", it.SHA256+partSuffix)
	w.must(os.MkdirAll(filepath.Dir(part), 0o700))
	for _, left := range [][]byte{[]byte("garbage"), bytes.Repeat([]byte("x"), int(it.Size)), bytes.Repeat([]byte("x"), int(it.Size)+5)} {
		w.must(os.WriteFile(part, left, 0o600))
		w.must(w.tree.Fetch(t.Context(), w.blind(it), nil))
		if got := w.cache(); len(got) != 1 || got[it.SHA256] != it.Size {
			t.Errorf("cache %v", got)
		}
		w.must(os.Remove(filepath.Join(w.state, "tree/payloads", it.SHA256)))
	}
}

func TestN57_NothingToBeHadIsContentUnavailable(t *testing.T) {
	w := newWorld(t, t.TempDir())
	it := w.release("1.0")
	w.feed.fault = func(int64) (io.ReadCloser, error) { return nil, errors.New("404") }
	w.start()
	w.refused(install(it), installation.ContentUnavailable)
	if _, err := w.tree.Apply(t.Context(), w.blind(it), nil); err == nil {
		t.Error("applied without a payload")
	}
}

func TestN03_PayloadSwappedAfterTheFetchIsNotUnpacked(t *testing.T) {
	w := newWorld(t, t.TempDir())
	v1, v2 := w.release("1.0"), w.release("2.0")
	w.ok(install(v1))
	w.must(w.tree.Fetch(t.Context(), w.blind(v2), nil))
	w.must(os.WriteFile(filepath.Join(w.state, "tree/payloads", v2.SHA256), w.payload(w.release("6.6")), 0o600))
	if _, err := w.tree.Apply(t.Context(), w.blind(v2), nil); err == nil {
		t.Error("applied")
	}
	w.there(v1)
	w.ok(install(v2))
}

func TestFetchReportsProgressAndEndsWithItsContext(t *testing.T) {
	w := newWorld(t, t.TempDir())
	it := w.release("1.0")
	var last float64
	w.must(w.tree.Fetch(t.Context(), w.blind(it), func(p pkgmgr.Progress) {
		if p.Phase != "download" || p.Percent < last {
			t.Errorf("%+v after %v", p, last)
		}
		last = p.Percent
	}))
	if last != 100 {
		t.Errorf("progress ends at %v", last)
	}
	next := w.release("2.0")
	ctx, cancel := context.WithCancel(t.Context())
	b := w.payload(next)
	w.feed.fault = func(int64) (io.ReadCloser, error) {
		return io.NopCloser(io.MultiReader(bytes.NewReader(b[:500]), readerFunc(func([]byte) (int, error) { cancel(); return 0, nil }))), nil
	}
	w.start()
	if err := w.tree.Fetch(ctx, w.blind(next), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if got := w.cache()[next.SHA256+partSuffix]; got != 500 {
		t.Errorf("%d bytes kept, want what had come", got)
	}
	ended, stop := context.WithCancel(t.Context())
	stop()
	if _, err := w.tree.Apply(ended, w.blind(it), nil); err == nil || len(w.onDisk()) != 0 {
		t.Errorf("applied though it was cancelled: %v, %v", err, w.onDisk())
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestDownloadsThatNobodyComesBackForAreGivenUp(t *testing.T) {
	w := newWorld(t, t.TempDir())
	it := w.release("1.0")
	w.force(it)
	w.force(w.release("2.0"))
	old := w.clock.Add(-2 * staleAfter)
	w.must(os.Chtimes(filepath.Join(w.state, "tree/payloads", it.SHA256), old, old))
	_, err := w.tree.Recover(t.Context())
	w.must(err)
	if got := w.cache(); len(got) != 1 || got[it.SHA256] != 0 {
		t.Errorf("%v", got)
	}
}
