// Package contenttest is the behaviour suite of content stores: what package content promises, as tests that every
// implementation runs. What only one of them has (power cuts, full disks, buckets that answer late) is tested beside it.
package contenttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"assent/content"
)

// Run runs the suite. open makes an empty store; reopen, which may be nil, is the store as the next run of the program
// finds it.
func Run(t *testing.T, open func(t *testing.T) content.Store, reopen func(t *testing.T, s content.Store) content.Store) {
	for name, test := range map[string]func(*testing.T, content.Store){
		"AFileIsReadBackFromAnyPlace":                 readBack,
		"AnEmptyFileIsAFile":                          empty,
		"WhatIsNotAnnouncedIsNoFile":                  mismatch,
		"ATornFileIsNoFile":                           torn,
		"NothingIsReadFarBehindTheAnnouncedSize":      endless,
		"HostileNamesAreRefused":                      names,
		"TheSameFileAtTheSameTimeIsOneFile":           concurrent,
		"APutThatFailsBesideOneThatWorksHarmsNothing": besides,
		"AFileThatIsThereIsNotReadAgain":              again,
		"RemovedIsGone":                               removed,
		"AnOpenFileOutlivesItsRemoval":                open1,
		"AListNamesAllSorted":                         list,
		"ASweepLeavesWhatIsKeptAndWhatIsNew":          sweep,
		"AnEndedContextEndsAPut":                      cancelled,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
	if reopen != nil {
		t.Run("ItIsThereAfterARestart", func(t *testing.T) { restart(t, open(t), reopen) })
	}
}

// Put puts a file and returns its name.
func Put(t *testing.T, s content.Writer, b []byte) string {
	t.Helper()
	if err := s.Put(t.Context(), bytes.NewReader(b), int64(len(b)), content.Digest(b)); err != nil {
		t.Fatalf("put %d bytes: %v", len(b), err)
	}
	return content.Digest(b)
}

// Get reads a file whole.
func Get(t *testing.T, s content.Reader, digest string) []byte {
	t.Helper()
	f, err := s.Open(t.Context(), digest)
	if err != nil {
		t.Fatalf("open %.8s: %v", digest, err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatalf("read %.8s: %v", digest, err)
	}
	if f.Size() != int64(len(b)) {
		t.Errorf("%.8s says it has %d bytes and has %d", digest, f.Size(), len(b))
	}
	return b
}

// absent checks that there is no such file in any way of looking.
func absent(t *testing.T, s content.Store, digest string) {
	t.Helper()
	if has, err := s.Has(t.Context(), digest); has || err != nil {
		t.Errorf("Has(%.8s) = %v, %v", digest, has, err)
	}
	if _, err := s.Open(t.Context(), digest); !errors.Is(err, content.ErrUnknown) {
		t.Errorf("Open(%.8s): %v, want ErrUnknown", digest, err)
	}
	if slices.Contains(all(t, s), digest) {
		t.Errorf("%.8s is listed", digest)
	}
}

func all(t *testing.T, s content.Store) []string {
	t.Helper()
	var out []string
	for info, err := range s.List(t.Context()) {
		if err != nil {
			t.Fatalf("list: %v", err)
		}
		out = append(out, info.SHA256)
	}
	return out
}

func readBack(t *testing.T, s content.Store) {
	b := bytes.Repeat([]byte("0123456789"), 30_000)
	digest := Put(t, s, b)
	if has, err := s.Has(t.Context(), digest); !has || err != nil {
		t.Errorf("Has = %v, %v", has, err)
	}
	if !bytes.Equal(Get(t, s, digest), b) {
		t.Error("other bytes came back")
	}
	f, err := s.Open(t.Context(), digest)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Seek(250_003, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	part := make([]byte, 5)
	if _, err := io.ReadFull(f, part); err != nil || string(part) != "34567" {
		t.Errorf("from the middle came %q, %v", part, err)
	}
}

func empty(t *testing.T, s content.Store) {
	if got := Get(t, s, Put(t, s, nil)); len(got) != 0 {
		t.Errorf("an empty file has %d bytes", len(got))
	}
}

func mismatch(t *testing.T, s content.Store) {
	good := []byte("what was announced")
	digest := content.Digest(good)
	for what, bad := range map[string][]byte{"another": []byte("what was swapped!!"), "a longer": append(slices.Clone(good), '!'), "a shorter": good[:5], "no": nil} {
		if err := s.Put(t.Context(), bytes.NewReader(bad), int64(len(good)), digest); !errors.Is(err, content.ErrMismatch) {
			t.Errorf("%s file: %v, want ErrMismatch", what, err)
		}
		absent(t, s, digest)
	}
	for _, size := range []int64{0, int64(len(good)) - 1, int64(len(good)) + 1, -1} {
		if err := s.Put(t.Context(), bytes.NewReader(good), size, digest); !errors.Is(err, content.ErrMismatch) {
			t.Errorf("announced with %d bytes: %v, want ErrMismatch", size, err)
		}
		absent(t, s, digest)
	}
	Put(t, s, good)
}

func torn(t *testing.T, s content.Store) {
	b := bytes.Repeat([]byte("x"), 100_000)
	cut := errors.New("the connection broke")
	err := s.Put(t.Context(), io.MultiReader(bytes.NewReader(b[:60_000]), iotest.ErrReader(cut)), int64(len(b)), content.Digest(b))
	if !errors.Is(err, cut) {
		t.Errorf("got %v, want the reader's error", err)
	}
	absent(t, s, content.Digest(b))
	Put(t, s, b)
}

// counter counts what is read of it; it never ends.
type counter struct{ n int64 }

func (c *counter) Read(p []byte) (int, error) {
	c.n += int64(len(p))
	clear(p)
	return len(p), nil
}

func endless(t *testing.T, s content.Store) {
	c := &counter{}
	digest := content.Digest(make([]byte, 1000))
	if err := s.Put(t.Context(), c, 1000, digest); !errors.Is(err, content.ErrMismatch) {
		t.Errorf("got %v, want ErrMismatch", err)
	}
	if c.n > 1001 {
		t.Errorf("%d bytes were read of a file of 1000", c.n)
	}
	absent(t, s, digest)
}

func names(t *testing.T, s content.Store) {
	good := content.Digest(nil)
	for _, name := range []string{"", ".", "..", "/etc/passwd", "../../etc/passwd", strings.ToUpper(good), good[:63], good + "0", good[:62] + "/.", good[:61] + "\x00ab",
		strings.Repeat("../", 21) + "a", "aside", strings.Repeat("g", 64), good[:63] + "é"} {
		if err := s.Put(t.Context(), strings.NewReader(""), 0, name); !errors.Is(err, content.ErrName) {
			t.Errorf("put %q: %v", name, err)
		}
		if _, err := s.Open(t.Context(), name); !errors.Is(err, content.ErrName) {
			t.Errorf("open %q: %v", name, err)
		}
		if _, err := s.Has(t.Context(), name); !errors.Is(err, content.ErrName) {
			t.Errorf("has %q: %v", name, err)
		}
		if err := s.Remove(t.Context(), name); !errors.Is(err, content.ErrName) {
			t.Errorf("remove %q: %v", name, err)
		}
	}
	if got := all(t, s); len(got) != 0 {
		t.Errorf("they left %v", got)
	}
}

func concurrent(t *testing.T, s content.Store) {
	b := bytes.Repeat([]byte("together"), 20_000)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := s.Put(t.Context(), iotest.HalfReader(bytes.NewReader(b)), int64(len(b)), content.Digest(b)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := all(t, s); len(got) != 1 || !bytes.Equal(Get(t, s, got[0]), b) {
		t.Errorf("there are %d files", len(got))
	}
}

func besides(t *testing.T, s content.Store) {
	b := bytes.Repeat([]byte("beside"), 20_000)
	digest, cut := content.Digest(b), errors.New("cut")
	started, finish := make(chan struct{}), make(chan struct{})
	slow := io.MultiReader(bytes.NewReader(b[:10]), readerFunc(func([]byte) (int, error) { close(started); <-finish; return 0, cut }))
	failed := make(chan error)
	go func() { failed <- s.Put(t.Context(), slow, int64(len(b)), digest) }()
	<-started
	Put(t, s, b)
	close(finish)
	if err := <-failed; !errors.Is(err, cut) {
		t.Errorf("the other one: %v", err)
	}
	if !bytes.Equal(Get(t, s, digest), b) {
		t.Error("other bytes came back")
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func again(t *testing.T, s content.Store) {
	b := []byte("once")
	Put(t, s, b)
	r := bytes.NewReader(b)
	if err := s.Put(t.Context(), r, int64(len(b)), content.Digest(b)); err != nil || r.Len() != len(b) {
		t.Errorf("%v; %d bytes were read again", err, len(b)-r.Len())
	}
}

func removed(t *testing.T, s content.Store) {
	digest := Put(t, s, []byte("to be removed"))
	for range 2 {
		if err := s.Remove(t.Context(), digest); err != nil {
			t.Fatal(err)
		}
		absent(t, s, digest)
	}
}

func open1(t *testing.T, s content.Store) {
	b := bytes.Repeat([]byte("open"), 100_000)
	digest := Put(t, s, b)
	f, err := s.Open(t.Context(), digest)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := s.Remove(t.Context(), digest); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(f); err != nil || !bytes.Equal(got, b) {
		t.Errorf("%d of %d bytes came, %v", len(got), len(b), err)
	}
}

func list(t *testing.T, s content.Store) {
	var want []string
	for i := range 50 {
		want = append(want, Put(t, s, fmt.Appendf(nil, "file %d", i)))
	}
	slices.Sort(want)
	if got := all(t, s); !slices.Equal(got, want) {
		t.Errorf("listed %d of %d, or not sorted", len(got), len(want))
	}
	for info, err := range s.List(t.Context()) {
		if err != nil || info.Size < 6 || time.Since(info.Put).Abs() > time.Hour {
			t.Errorf("%+v, %v", info, err)
		}
		break // a caller may stop
	}
}

func sweep(t *testing.T, s content.Store) {
	kept, gone := Put(t, s, []byte("kept")), Put(t, s, []byte("gone"))
	keep := func(d string) bool { return d == kept }
	if freed, err := s.Sweep(t.Context(), time.Now().Add(-time.Hour), keep); err != nil || freed != 0 {
		t.Errorf("what is new was swept: %d bytes, %v", freed, err)
	}
	if freed, err := s.Sweep(t.Context(), time.Now().Add(time.Hour), keep); err != nil || freed != 4 {
		t.Errorf("freed %d bytes, %v", freed, err)
	}
	absent(t, s, gone)
	if got := all(t, s); !slices.Equal(got, []string{kept}) {
		t.Errorf("left %v", got)
	}
}

func cancelled(t *testing.T, s content.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	b := []byte("too late")
	if err := s.Put(ctx, bytes.NewReader(b), int64(len(b)), content.Digest(b)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	absent(t, s, content.Digest(b))
}

func restart(t *testing.T, s content.Store, reopen func(*testing.T, content.Store) content.Store) {
	b := []byte("kept across a restart")
	digest := Put(t, s, b)
	s = reopen(t, s)
	if !bytes.Equal(Get(t, s, digest), b) {
		t.Error("other bytes came back")
	}
	if got := all(t, s); !slices.Equal(got, []string{digest}) {
		t.Errorf("found %v", got)
	}
}
