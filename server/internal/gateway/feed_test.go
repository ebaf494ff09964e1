package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"assent/content"
	"assent/fault"
	"assent/fleet"
	"assent/wire"
)

// shelf simulates the server's copy of a feed named acme.
type shelf struct {
	files  map[string]string
	coming error         // of the file "coming"
	large  int64         // bytes of the file "large", zeros
	closed chan struct{} // a token for each file that was closed
}

func newShelf() *shelf {
	return &shelf{files: map[string]string{"root.json": `{"signed":{}}`, "metadata/timestamp.json": "{}", "targets/payloads/aa.aa": "0123456789"},
		coming: fault.New(fault.Unavailable, "feed_file_coming", "Later."), closed: make(chan struct{}, 100)}
}

func (s *shelf) Roots() []wire.FeedRoot {
	return []wire.FeedRoot{{ID: "acme", Root: []byte(`{"signed":{}}`)}}
}

func (s *shelf) File(_ context.Context, feed, path string) (content.File, string, error) {
	b, ok := s.files[path]
	switch {
	case feed == "acme" && path == "large":
		return shelved{io.NewSectionReader(zeros{}, 0, s.large), s}, "large", nil
	case feed == "acme" && path == "coming":
		return nil, "", s.coming
	case feed == "acme" && path == "broken":
		return nil, "", errors.New("the disk is on fire at /secret/path")
	case feed != "acme" || !ok:
		return nil, "", fault.New(fault.NotFound, "feed_file_unknown", "No such file.")
	}
	return shelved{io.NewSectionReader(strings.NewReader(b), 0, int64(len(b))), s}, content.Digest([]byte(b)), nil
}

type shelved struct {
	*io.SectionReader
	s *shelf
}

func (f shelved) Close() error { f.s.closed <- struct{}{}; return nil }

type zeros struct{}

func (zeros) ReadAt(p []byte, _ int64) (int, error) { clear(p); return len(p), nil }

// fetch gets a file of a feed with headers.
func (a *agent) fetch(ctx context.Context, path string, headers ...string) *http.Response {
	a.b.t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.b.url(wire.PathFeed+path), nil)
	if err != nil {
		a.b.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := a.http.Do(req)
	if err != nil {
		a.b.t.Fatalf("GET %s: %v", path, err)
	}
	a.b.t.Cleanup(func() { resp.Body.Close() })
	return resp
}

func TestADeviceReadsFilesOfAFeedWholeAndInParts(t *testing.T) {
	b := newBench(t, Limits{})
	a := b.agent()
	tag := `"` + content.Digest([]byte("0123456789")) + `"`
	for _, test := range []struct {
		headers []string
		status  int
		body    string
	}{
		{nil, 200, "0123456789"},
		{[]string{"Range", "bytes=4-"}, 206, "456789"},
		{[]string{"Range", "bytes=4-5"}, 206, "45"},
		{[]string{"Range", "bytes=4-", "If-Range", tag}, 206, "456789"},
		{[]string{"Range", "bytes=4-", "If-Range", `"other"`}, 200, "0123456789"},
		{[]string{"Range", "bytes=10-"}, 416, "invalid range: failed to overlap\n"},
		{[]string{"If-None-Match", tag}, 304, ""},
	} {
		resp := a.fetch(t.Context(), "/acme/targets/payloads/aa.aa", test.headers...)
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != test.status || string(body) != test.body || test.status < 300 && resp.Header.Get("Etag") != tag {
			t.Errorf("%v: %d %q, %v; want %d %q", test.headers, resp.StatusCode, body, err, test.status, test.body)
		}
		if enc := resp.Header.Get("Content-Encoding"); enc != "" {
			t.Errorf("%v: encoded as %s", test.headers, enc)
		}
	}
}

func TestF11_NoSpellingOfAPathLeavesTheFeed(t *testing.T) {
	b := newBench(t, Limits{})
	a := b.agent()
	for _, path := range []string{"/acme", "/acme/", "/acme/none", "/other/root.json", "/acme/../acme/root.json", "/acme/%2e%2e/root.json", "/acme/metadata/%2e%2e/root.json", "/acme//root.json",
		"/acme/./root.json", "/acme/metadata%2ftimestamp.json", "/acme/root.json/", "/acme/root.json%00", "/acme/" + strings.Repeat("a", 600), "//root.json", "/%2e/root.json"} {
		resp := a.fetch(t.Context(), path)
		if body, _ := io.ReadAll(resp.Body); resp.StatusCode != 404 {
			t.Errorf("%s: %d %q", path, resp.StatusCode, body)
		}
	}
}

func TestWhatCannotBeServedNowIsSaidAndNothingMore(t *testing.T) {
	b := newBench(t, Limits{})
	a := b.agent()
	resp := a.fetch(t.Context(), "/acme/coming")
	if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("on its way: %d, Retry-After %q", resp.StatusCode, resp.Header.Get("Retry-After"))
	}
	resp = a.fetch(t.Context(), "/acme/broken")
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != 500 || bytes.Contains(body, []byte("secret")) {
		t.Errorf("broken: %d %s", resp.StatusCode, body)
	}
}

func TestRootsOfFeedsComeWithEveryCertificate(t *testing.T) {
	b := newBench(t, Limits{})
	want := newShelf().Roots()
	_, csr := newKey(t)
	var enrolled, renewed wire.EnrolResponse
	if code, problem := b.post(b.client(), wire.PathEnrol, wire.EnrolRequest{Token: b.token(1).String(), CSR: csr}, &enrolled); code != 200 {
		t.Fatal(code, problem)
	}
	_, csr = newKey(t)
	if code, problem := b.post(b.agent().http, wire.PathRenew, wire.RenewRequest{CSR: csr}, &renewed); code != 200 {
		t.Fatal(code, problem)
	}
	if diff := cmp.Diff(want, enrolled.Feeds) + cmp.Diff(want, renewed.Feeds); diff != "" {
		t.Errorf("other roots came:\n%s", diff)
	}
}

func TestAServerWithoutFeedsHasNoFileOfOne(t *testing.T) {
	b := openBench(&bench{t: t, w: newWorld(), clock: &clock{}, behind: func(c *Config) { c.Feeds = nil }})
	if resp := b.agent().fetch(t.Context(), "/acme/root.json"); resp.StatusCode != 404 {
		t.Errorf("got %d", resp.StatusCode)
	}
}

// large is a bench with a file that no buffer of a connection holds.
func large(t *testing.T, limits Limits) (*bench, *shelf) {
	s := newShelf()
	s.large = 64 << 20
	return openBench(&bench{t: t, w: newWorld(), clock: &clock{}, limits: limits, behind: func(c *Config) { c.Feeds = s }}), s
}

// TestA17_DevicesThatLoadPayloadsKeepNobodyFromCheckingIn: there is one working place, and two slow downloads.
func TestA17_DevicesThatLoadPayloadsKeepNobodyFromCheckingIn(t *testing.T) {
	b, _ := large(t, Limits{Requests: 1})
	for range 2 {
		resp := b.agent().fetch(t.Context(), "/acme/large")
		if _, err := io.ReadFull(resp.Body, make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
	}
	b.agent().settle()
	if n := b.gw.inFlight.Load(); n != 0 {
		t.Errorf("%d working places are taken", n)
	}
}

// TestADownloadLastsAsLongAsItMovesAndNoLonger: one device reads steadily for longer than the time in which an answer
// must move, another one stops.
func TestADownloadLastsAsLongAsItMovesAndNoLonger(t *testing.T) {
	b, s := large(t, Limits{WriteTimeout: 500 * time.Millisecond, HeaderTimeout: time.Second})
	start := time.Now()
	resp := b.agent().fetch(t.Context(), "/acme/large")
	buf := make([]byte, 2<<20)
	var got int64
	for {
		n, err := io.ReadFull(resp.Body, buf)
		got += int64(n)
		if err != nil {
			break
		}
		time.Sleep(50 * time.Millisecond) // a slow line
	}
	if took := time.Since(start); got != s.large || took < time.Second {
		t.Errorf("%d of %d bytes came in %s", got, s.large, took)
	}
	<-s.closed
	conn := b.agent().stall(t)
	defer conn.Close()
	select {
	case <-s.closed:
	case <-time.After(10 * time.Second):
		t.Error("a device that reads nothing is still waited for")
	}
}

// stall asks for the large file and reads none of it.
func (a *agent) stall(t *testing.T) io.Closer {
	t.Helper()
	resp := a.fetch(t.Context(), "/acme/large")
	if resp.StatusCode != 200 {
		t.Fatal(resp.StatusCode)
	}
	return resp.Body
}

func TestAQuarantinedDeviceGetsNoFiles(t *testing.T) {
	b := newBench(t, Limits{})
	a := b.agent()
	b.w.setState(a.id, fleet.Quarantined)
	if resp := a.fetch(t.Context(), "/acme/root.json"); resp.StatusCode != 403 {
		t.Errorf("got %d", resp.StatusCode)
	}
}

// TestMoreDownloadsThanThereArePlacesAreToldToComeAgain.
func TestMoreDownloadsThanThereArePlacesAreToldToComeAgain(t *testing.T) {
	b := newBench(t, Limits{})
	a := b.agent()
	b.gw.downloads.Store(maxDownloads)
	resp := a.fetch(t.Context(), "/acme/root.json")
	if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" || b.gw.downloads.Load() != maxDownloads {
		t.Errorf("got %d, Retry-After %q, %d places", resp.StatusCode, resp.Header.Get("Retry-After"), b.gw.downloads.Load())
	}
	b.gw.downloads.Store(0)
	if resp := a.fetch(t.Context(), "/acme/root.json"); resp.StatusCode != 200 {
		t.Errorf("with a place: %d", resp.StatusCode)
	}
}
