package mirror

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"assent/content"
	"assent/fault"
	"assent/trust"
	"assent/trust/trusttest"
)

// payloads is a handler that treats payloads in its own way.
func payloads(f func(w http.ResponseWriter, r *http.Request, next http.Handler)) func(http.ResponseWriter, *http.Request, http.Handler) {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if strings.HasPrefix(r.URL.Path, "/targets/payloads/") {
			f(w, r, next)
			return
		}
		next.ServeHTTP(w, r)
	}
}

func (s *site) payload(b []byte) (content.File, error) {
	f, _, err := s.m.File(s.t.Context(), s.ID, trusttest.Payload(b))
	return f, err
}

// TestAFileThatADeviceAsksForComesOnceForAll: many devices ask while it is on its way; those that lose patience are told to
// come again, the feed's server is asked once.
func TestAFileThatADeviceAsksForComesOnceForAll(t *testing.T) {
	s := newSite(t)
	s.Add(trusttest.Manifest("ledger", "1.0"), payload)
	s.Publish()
	arrived, release := make(chan struct{}, 10), make(chan struct{})
	s.handle(payloads(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		arrived <- struct{}{}
		select {
		case <-release:
			next.ServeHTTP(w, r)
		case <-r.Context().Done():
		}
	}))
	s.start(func(c *Config) { c.Patience = 50 * time.Millisecond })
	s.subscribe()
	<-arrived
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			if _, err := s.payload(payload); !errors.Is(err, fault.Unavailable) {
				t.Errorf("got %v, want to be told to come again", err)
			}
		})
	}
	wg.Wait()
	if r := s.row(); !r.Fetching || r.FilesHere != 0 || r.Files != 1 {
		t.Errorf("the status is %+v", r)
	}
	s.m.Patience = time.Minute
	close(release)
	f, err := s.payload(payload)
	s.must(err)
	defer f.Close()
	if b, err := io.ReadAll(f); err != nil || !bytes.Equal(b, payload) {
		t.Errorf("%d bytes came, %v", len(b), err)
	}
	if n := len(arrived); n != 0 {
		t.Errorf("the feed's server was asked %d times more", n)
	}
}

// TestAnAskedForFileDoesNotWaitForLargerOnesBeforeIt: the background is busy with another one.
func TestAnAskedForFileDoesNotWaitForTheOneUnderWay(t *testing.T) {
	s := newSite(t)
	small, large := []byte("small and stuck"), payload
	s.Add(trusttest.Manifest("ledger", "1.0"), small)
	s.Add(trusttest.Manifest("ledger", "1.1"), large)
	s.Publish()
	stuck := make(chan struct{}, 10)
	s.handle(payloads(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if strings.HasSuffix(r.URL.Path, content.Digest(small)) {
			stuck <- struct{}{}
			<-r.Context().Done()
			return
		}
		next.ServeHTTP(w, r)
	}))
	s.start()
	s.subscribe()
	<-stuck
	f, err := s.payload(large)
	s.must(err)
	f.Close()
}

// TestABrokenConnectionIsTakenUpWhereItBroke with a server that knows ranges and with one that does not.
func TestABrokenConnectionIsTakenUpWhereItBroke(t *testing.T) {
	for _, ranges := range []bool{true, false} {
		s := newSite(t)
		b := make([]byte, 1<<20)
		rand.Read(b)
		s.Add(trusttest.Manifest("ledger", "1.0"), b)
		s.Publish()
		var asked []string
		s.handle(payloads(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			asked = append(asked, r.Header.Get("Range"))
			if !ranges {
				r.Header.Del("Range")
			}
			if len(asked) < 3 {
				w = &cutting{ResponseWriter: w, left: 700_000}
			}
			next.ServeHTTP(w, r)
		}))
		s.start()
		s.subscribe()
		s.filled()
		if len(asked) < 2 || asked[0] != "" || !strings.HasPrefix(asked[1], "bytes=") || asked[1] == "bytes=0-" {
			t.Errorf("it asked for %q", asked)
		}
		s.verify()
		s.end()
	}
}

// cutting breaks the connection after some bytes.
type cutting struct {
	http.ResponseWriter
	left int
}

func (c *cutting) Write(p []byte) (int, error) {
	if c.left -= len(p); c.left < 0 {
		_ = http.NewResponseController(c.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	return c.ResponseWriter.Write(p)
}

// TestAFileThatIsNotTheSignedOneIsNeverKept: swapped, too long, too short, endless, missing; the others come all the same.
func TestAFileThatIsNotTheSignedOneIsNeverKept(t *testing.T) {
	for name, test := range map[string]struct {
		code   string
		answer func(w http.ResponseWriter, r *http.Request)
	}{
		"swapped":  {"feed_mismatch", func(w http.ResponseWriter, _ *http.Request) { w.Write(bytes.Repeat([]byte("x"), len(payload))) }},
		"too long": {"feed_mismatch", func(w http.ResponseWriter, _ *http.Request) { w.Write(append(slices.Clone(payload), 'x')) }},
		"short":    {"feed_mismatch", func(w http.ResponseWriter, _ *http.Request) { w.Write(payload[:100]) }},
		"endless": {"feed_mismatch", func(w http.ResponseWriter, _ *http.Request) {
			for {
				if _, err := w.Write(make([]byte, 32<<10)); err != nil {
					return
				}
			}
		}},
		"missing": {"feed_unreachable", http.NotFound},
		"a bad range": {"feed_unreachable", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusPartialContent)
			w.Write(payload)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			other := bytes.Repeat([]byte("larger, so it comes later "), 1000)
			s.Add(trusttest.Manifest("ledger", "1.0"), payload)
			s.Add(trusttest.Manifest("ledger", "1.1"), other)
			s.Publish()
			s.handle(payloads(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				if strings.HasSuffix(r.URL.Path, content.Digest(payload)) {
					test.answer(w, r)
					return
				}
				next.ServeHTTP(w, r)
			}))
			s.start()
			s.subscribe()
			for r := s.row(); r.FilesHere != 1 || r.Fetching; r = s.row() {
				time.Sleep(5 * time.Millisecond) // there is no signal for it
			}
			if has, err := s.files.Has(t.Context(), content.Digest(payload)); has || err != nil {
				t.Errorf("it is kept: %v", err)
			}
			if r := s.row(); r.Error == nil || r.Error.Code != test.code || r.Files != 2 {
				t.Errorf("the status is %+v (%+v)", r, r.Error)
			}
			if _, err := s.payload(payload); !errors.Is(err, fault.Unavailable) {
				t.Errorf("a device gets %v", err)
			}
		})
	}
}

// full is a content store without room for payloads.
type full struct{ content.Store }

func (f full) Put(ctx context.Context, r io.Reader, size int64, sha256 string) error {
	if size == int64(len(payload)) {
		return fmt.Errorf("put: %w", content.ErrFull)
	}
	return f.Store.Put(ctx, r, size, sha256)
}

func TestN49_AFullDiskIsAnAlarmAndTheFeedIsFollowedAllTheSame(t *testing.T) {
	s := newSite(t)
	s.Add(trusttest.Manifest("ledger", "1.0"), payload)
	s.Publish()
	s.start(func(c *Config) { c.Content = full{c.Content} })
	s.subscribe()
	for len(s.m.Alarms()) == 0 {
		time.Sleep(5 * time.Millisecond) // there is no signal for it
	}
	if a := s.m.Alarms(); a[0].Code != content.ErrFull.Code || a[0].Feed != "acme" || len(s.shelf.versions("ledger")) != 1 {
		t.Errorf("alarms %+v", a)
	}
	s.restart()
	s.filled()
	if a := s.m.Alarms(); len(a) != 0 {
		t.Errorf("with room again: %+v", a)
	}
}

// pipes is a listener and a dialer without a network, so that a test's clock can be made to jump.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	c, ok := <-p
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (p pipes) Close() error   { close(p); return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p pipes) client() *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		here, there := net.Pipe()
		p <- there
		return here, nil
	}}}
}

// slowly serves a file as a handler likes, in a bubble of virtual time, and reads it.
func slowly(t *testing.T, handle http.HandlerFunc, read func(t *testing.T, src source)) {
	synctest.Test(t, func(t *testing.T) {
		p := make(pipes)
		server := &http.Server{Handler: handle}
		served := make(chan struct{})
		go func() { defer close(served); _ = server.Serve(p) }()
		client := p.client()
		src, err := newSource("http://feed.test/", client)
		if err != nil {
			t.Fatal(err)
		}
		read(t, src)
		client.CloseIdleConnections()
		_ = server.Close()
		<-served
	})
}

// TestF18_AServerThatStopsSendingIsLeftAfterAMinute instead of holding a follower for ever.
func TestF18_AServerThatStopsSendingIsLeftAfterAMinute(t *testing.T) {
	slowly(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1000")
		fmt.Fprint(w, "a beginning")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}, func(t *testing.T, src source) {
		start := time.Now()
		_, err := src.Read(t.Context(), "metadata/timestamp.json", trust.MaxTimestamp)
		if took := time.Since(start); err == nil || took > 2*time.Minute {
			t.Errorf("%v after %s", err, took)
		}
		body, err := src.Open(t.Context(), "targets/payloads/x", 0)
		if err != nil {
			t.Fatal(err)
		}
		start = time.Now()
		if _, err := io.ReadAll(body); !errors.Is(err, errStalled) || time.Since(start) != stallAfter {
			t.Errorf("%v after %s", err, time.Since(start))
		}
		body.Close()
	})
}

// TestF18_AServerThatDripsIsLeftInTime: a byte now and then keeps no follower for ever either.
func TestF18_AServerThatDripsIsLeftInTime(t *testing.T) {
	slowly(t, func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			select {
			case <-time.After(10 * time.Second):
			case <-r.Context().Done():
			}
			if _, err := w.Write([]byte("x")); err != nil {
				return
			}
			_ = http.NewResponseController(w).Flush()
		}
	}, func(t *testing.T, src source) {
		start := time.Now()
		_, err := src.Read(t.Context(), "metadata/2.root.json", trust.MaxRoot)
		if took := time.Since(start); err == nil || took > 2*time.Minute {
			t.Errorf("%v after %s", err, took)
		}
	})
}

func TestAddressesOfFeeds(t *testing.T) {
	dir := t.TempDir()
	for address, good := range map[string]bool{
		"https://feed.test": true, "http://feed.test/a/b": true, "https://feed.test:8443/x/": true, "file://" + dir: true,
		"": false, "feed.test": false, "ftp://feed.test": false, "https://": false, "https://u:p@feed.test": false, "https://feed.test/?a": false, "https://feed.test/?": false,
		"https://feed.test/#a": false, "file://host/x": false, "file:relative": false, "file:///a/../etc": false, "https://" + strings.Repeat("a", 2000): false, "javascript:1": false,
	} {
		if _, err := newSource(address, newHTTPClient()); (err == nil) != good {
			t.Errorf("%q: %v", address, err)
		}
	}
}

// TestF11_AFolderGivesNothingFromOutsideIt.
func TestF11_AFolderGivesNothingFromOutsideIt(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink("/etc/passwd", dir+"/link"); err != nil {
		t.Fatal(err)
	}
	src, err := newSource("file://"+dir, newHTTPClient())
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"link", "../../etc/passwd", "/etc/passwd", "."} {
		if b, err := src.Read(t.Context(), path, 1<<20); err == nil {
			t.Errorf("%s: read %d bytes", path, len(b))
		}
		if f, err := src.Open(t.Context(), path, 0); err == nil {
			f.Close()
			t.Errorf("%s: opened", path)
		}
	}
}
