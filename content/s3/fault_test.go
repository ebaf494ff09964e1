package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"assent/content"
	"assent/content/contenttest"
	"assent/content/s3/s3test"
	"assent/fault"
)

// between puts a proxy before the storage. meddle may answer in its place: then it returns true.
func between(t *testing.T, c Config, meddle func(w http.ResponseWriter, r *http.Request) bool) Config {
	t.Helper()
	to, err := url.Parse(c.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	pass := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		r.Out.Host = r.In.Host // it is signed
	}, FlushInterval: -1, ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !meddle(w, r) {
			pass.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(front.Close)
	c.Endpoint = front.URL
	return c
}

// refuse answers as S3 does.
func refuse(w http.ResponseWriter, status int, code string) bool {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>said by a test</Message></Error>`, code)
	return true
}

// breaking cuts an answer off after some bytes of its body.
type breaking struct {
	http.ResponseWriter
	left int
}

func (b *breaking) Write(p []byte) (int, error) {
	n, err := b.ResponseWriter.Write(p[:min(len(p), b.left)])
	if b.left -= n; b.left == 0 {
		http.NewResponseController(b.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	return n, err
}

func (b *breaking) Unwrap() http.ResponseWriter { return b.ResponseWriter }

func TestADownloadThatBreaksGoesOnWhereItWas(t *testing.T) {
	c, _ := newConfig(t, storage)
	b := noise(3<<20, 6)
	digest := contenttest.Put(t, openStore(t, c), b)
	to, _ := url.Parse(storage.URL)
	var downloads, bytesAsked atomic.Int64
	s := openStore(t, between(t, c, func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, digest) {
			return false
		}
		var from int64
		fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from)
		bytesAsked.Add(int64(len(b)) - from)
		if downloads.Add(1) > 5 {
			return false
		}
		(&httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(to); p.Out.Host = p.In.Host }}).ServeHTTP(&breaking{w, 500_000}, r)
		return true
	}))
	if !bytes.Equal(contenttest.Get(t, s, digest), b) {
		t.Error("other bytes came")
	}
	if downloads.Load() != 6 || bytesAsked.Load() >= 6*int64(len(b)) {
		t.Errorf("%d downloads asked for %d bytes", downloads.Load(), bytesAsked.Load())
	}
}

func TestADownloadThatStandsStillIsBegunAgain(t *testing.T) {
	t.Parallel()
	c, _ := newConfig(t, storage)
	b := noise(1<<20, 7)
	digest := contenttest.Put(t, openStore(t, c), b)
	var downloads atomic.Int64
	end := make(chan struct{})
	t.Cleanup(func() { close(end) })
	s := openStore(t, between(t, c, func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, digest) || downloads.Add(1) > 1 {
			return false
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(b)))
		w.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
		w.Write(b[:1000])
		http.NewResponseController(w).Flush()
		select {
		case <-r.Context().Done():
		case <-end:
		}
		return true
	}))
	s.stall = 2 * time.Second // long enough for a busy machine to answer
	if !bytes.Equal(contenttest.Get(t, s, digest), b) || downloads.Load() < 2 {
		t.Errorf("other bytes came, or one download did it (%d)", downloads.Load())
	}
}

func TestAFileThatBecameAnotherOneWhileItIsReadIsNotGoneOnWith(t *testing.T) {
	s, b := newStore(t)
	digest := contenttest.Put(t, s, noise(1<<20, 8))
	f, err := s.Open(t.Context(), digest)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := os.WriteFile(filepath.Join(b.Dir, "assent", digest), noise(2<<20, 9), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Seek(700_000, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if n, err := f.Read(make([]byte, 10)); n != 0 || !errors.Is(err, content.ErrMismatch) {
		t.Errorf("%d bytes, %v", n, err)
	}
}

func TestMomentaryRefusalsAreTriedAgain(t *testing.T) {
	t.Parallel()
	c, _ := newConfig(t, storage)
	var turn atomic.Int64
	s := openStore(t, between(t, c, func(w http.ResponseWriter, r *http.Request) bool {
		if turn.Add(1)%2 == 0 {
			return refuse(w, http.StatusServiceUnavailable, "SlowDown")
		}
		return false
	}))
	b := noise(2*partSize+1, 10)
	if !bytes.Equal(contenttest.Get(t, s, contenttest.Put(t, s, b)), b) {
		t.Error("other bytes came")
	}
}

// TestStorageThatAcceptsAndSaysNothing is away, too.
func TestStorageThatAcceptsAndSaysNothing(t *testing.T) {
	c, _ := newConfig(t, storage)
	digest := contenttest.Put(t, openStore(t, c), []byte("there"))
	s := openStore(t, between(t, c, func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, digest) {
			<-r.Context().Done()
		}
		return false
	}))
	s.stall = 50 * time.Millisecond
	if _, err := s.Open(t.Context(), digest); !errors.Is(err, content.ErrAway) || errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestADownloadThatStandsStillAgainAndAgainIsGivenUp.
func TestADownloadThatStandsStillAgainAndAgainIsGivenUp(t *testing.T) {
	t.Parallel()
	c, _ := newConfig(t, storage)
	digest := contenttest.Put(t, openStore(t, c), []byte("there"))
	s := openStore(t, between(t, c, func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, digest) {
			return false
		}
		w.Header().Set("Content-Length", "5")
		w.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
		return true
	}))
	f, err := s.Open(t.Context(), digest)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s.stall = 50 * time.Millisecond
	if n, err := f.Read(make([]byte, 5)); n != 0 || !errors.Is(err, content.ErrAway) || errors.Is(err, context.Canceled) {
		t.Errorf("%d bytes, %v", n, err)
	}
}

// TestStorageWithoutConditionalWrites: some S3-compatible storage answers that it does not know them.
func TestStorageWithoutConditionalWrites(t *testing.T) {
	t.Parallel()
	contenttest.Run(t, func(t *testing.T) content.Store {
		c, _ := newConfig(t, storage)
		return openStore(t, between(t, c, func(w http.ResponseWriter, r *http.Request) bool {
			return r.Header.Get("If-None-Match") != "" && refuse(w, http.StatusNotImplemented, "NotImplemented")
		}))
	}, nil)
}

// on has a method refused from now on.
type on struct {
	method, code string
	status       int
}

func TestWhatTheStorageSaysIsSaidInWordsOfTheStore(t *testing.T) {
	t.Parallel()
	c, _ := newConfig(t, storage)
	var now atomic.Pointer[on]
	s := openStore(t, between(t, c, func(w http.ResponseWriter, r *http.Request) bool {
		o := now.Load()
		return o != nil && r.Method == o.method && refuse(w, o.status, o.code)
	}))
	digest := contenttest.Put(t, s, []byte("there"))
	put := func() error { b := []byte("new"); return s.Put(t.Context(), bytes.NewReader(b), 3, content.Digest(b)) }
	open := func() error { _, err := s.Open(t.Context(), digest); return err }
	for _, one := range []struct {
		on   on
		do   func() error
		want *fault.Error
	}{
		{on{http.MethodPut, "QuotaExceeded", 403}, put, content.ErrFull},
		{on{http.MethodPut, "XMinioStorageFull", 507}, put, content.ErrFull},
		{on{http.MethodPut, "AccessDenied", 403}, put, content.ErrRefused},
		{on{http.MethodGet, "AccessDenied", 403}, open, content.ErrRefused},
		{on{http.MethodGet, "NoSuchKey", 404}, open, content.ErrUnknown},
		{on{http.MethodGet, "InternalError", 500}, open, content.ErrAway},
		{on{http.MethodGet, "NoSuchBucket", 404}, open, content.ErrRefused},
		{on{http.MethodDelete, "AccessDenied", 403}, func() error { return s.Remove(t.Context(), digest) }, content.ErrRefused},
		{on{http.MethodHead, "", 403}, func() error { _, err := s.Has(t.Context(), digest); return err }, content.ErrRefused},
	} {
		now.Store(&one.on)
		if err := one.do(); !errors.Is(err, one.want) {
			t.Errorf("%+v: %v, want %s", one.on, err, one.want.Code)
		}
	}
}

func TestABucketThatIsAwayIsSaidAndComesBackByItself(t *testing.T) {
	t.Parallel()
	own, err := s3test.Start(s3test.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { own.Stop() })
	c, _ := newConfig(t, own)
	s := openStore(t, c)
	b := noise(1<<20, 11)
	digest := contenttest.Put(t, s, b)
	f, err := s.Open(t.Context(), digest)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Seek(900_000, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	own.Kill()
	var wg sync.WaitGroup
	for what, do := range map[string]func() error{
		"open":    func() error { _, err := s.Open(t.Context(), digest); return err },
		"has":     func() error { _, err := s.Has(t.Context(), digest); return err },
		"remove":  func() error { return s.Remove(t.Context(), digest) },
		"read on": func() error { _, err := f.Read(make([]byte, 10)); return err },
		"put":     func() error { return s.Put(t.Context(), strings.NewReader("x"), 1, content.Digest([]byte("x"))) },
		"sweep": func() error {
			_, err := s.Sweep(t.Context(), time.Now(), func(string) bool { return true })
			return err
		},
	} {
		wg.Go(func() {
			if err := do(); !errors.Is(err, content.ErrAway) {
				t.Errorf("%s: %v, want ErrAway", what, err)
			}
		})
	}
	wg.Wait()
	if err := own.Resume(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(f); err != nil || !bytes.Equal(got, b[900_000:]) {
		t.Errorf("the open file: %d bytes, %v", len(got), err)
	}
	if !bytes.Equal(contenttest.Get(t, s, digest), b) {
		t.Error("other bytes came")
	}
}
