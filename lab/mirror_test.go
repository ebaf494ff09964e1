package lab

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// fakeArchive serves one body and counts the answers by status.
type fakeArchive struct {
	body     []byte
	full     atomic.Int32
	hold     chan struct{} // if not nil, the second half waits for it
	modified time.Time
}

func (a *fakeArchive) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.Contains(r.URL.Path, "missing") {
		http.NotFound(w, r)
		return
	}
	if r.Header.Get("If-Modified-Since") == a.modified.UTC().Format(http.TimeFormat) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	a.full.Add(1)
	w.Header().Set("Last-Modified", a.modified.UTC().Format(http.TimeFormat))
	w.Header().Set("Content-Length", fmt.Sprint(len(a.body)))
	_, _ = w.Write(a.body[:len(a.body)/2])
	_ = http.NewResponseController(w).Flush()
	if a.hold != nil {
		<-a.hold
	}
	_, _ = w.Write(a.body[len(a.body)/2:])
}

func startFake(t *testing.T, a *fakeArchive) (mirror *httptest.Server, upstream *httptest.Server) {
	t.Helper()
	upstream = httptest.NewServer(a)
	t.Cleanup(upstream.Close)
	m := newMirror(Archive{Main: upstream.URL, Security: upstream.URL}, t.TempDir(), slog.New(slog.DiscardHandler))
	mirror = httptest.NewServer(m)
	t.Cleanup(mirror.Close)
	return mirror, upstream
}

func get(t *testing.T, url string) (int, []byte) {
	t.Helper()
	res, err := http.Get(url)
	must(t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	must(t, err)
	return res.StatusCode, body
}

func TestMirror_FetchesOnceForManyAndServesWhileFetching(t *testing.T) {
	t.Parallel()
	a := &fakeArchive{body: bytes.Repeat([]byte("0123456789"), 100_000), hold: make(chan struct{}), modified: time.Unix(1e9, 0)}
	mirror, _ := startFake(t, a)
	url := mirror.URL + "/debian/pool/main/a/a.deb"
	var wg, started sync.WaitGroup
	sums := make([][32]byte, 8)
	for i := range sums {
		started.Add(1)
		wg.Go(func() {
			res, err := http.Get(url)
			if err != nil {
				t.Error(err)
				started.Done()
				return
			}
			defer res.Body.Close()
			first := make([]byte, len(a.body)/2)
			if _, err := io.ReadFull(res.Body, first); err != nil { // arrives although the fetch is held half way
				t.Error(err)
			}
			started.Done()
			rest, err := io.ReadAll(res.Body)
			if err != nil {
				t.Error(err)
			}
			sums[i] = sha256.Sum256(append(first, rest...))
		})
	}
	started.Wait()
	close(a.hold)
	wg.Wait()
	for i, s := range sums {
		if s != sha256.Sum256(a.body) {
			t.Errorf("reader %d got something else", i)
		}
	}
	if code, body := get(t, url); code != 200 || !bytes.Equal(body, a.body) {
		t.Errorf("from the cache: %d, %d bytes", code, len(body))
	}
	if n := a.full.Load(); n != 1 {
		t.Errorf("fetched %d times", n)
	}
}

func TestMirror_KeepsServingAnIndexWhenTheArchiveIsDownAndAsksAgainWhenItIsOld(t *testing.T) {
	t.Parallel()
	a := &fakeArchive{body: []byte("release one"), modified: time.Unix(1e9, 0)}
	upstream := httptest.NewServer(a)
	m := newMirror(Archive{Main: upstream.URL, Security: upstream.URL}, t.TempDir(), slog.New(slog.DiscardHandler))
	mirror := httptest.NewServer(m)
	defer mirror.Close()
	url := mirror.URL + "/debian/dists/bookworm/InRelease"
	file := m.dir + "/debian/dists/bookworm/InRelease"
	get(t, url)
	get(t, url)
	if n := a.full.Load(); n != 1 {
		t.Errorf("fetched %d times while fresh", n)
	}
	age := func() {
		old := time.Now().Add(-2 * indexAge)
		must(t, os.Chtimes(file+checkedSuffix, old, old))
	}
	age()
	get(t, url)
	if n := a.full.Load(); n != 1 {
		t.Errorf("fetched %d times though not modified", n)
	}
	a.body, a.modified = []byte("release two"), time.Unix(1e9+5, 0)
	age()
	if _, body := get(t, url); string(body) != "release two" {
		t.Errorf("old index got %q", body)
	}
	age()
	upstream.Close()
	if code, body := get(t, url); code != 200 || string(body) != "release two" {
		t.Errorf("with the archive down: %d %q", code, body)
	}
	if code, _ := get(t, mirror.URL+"/debian/dists/bookworm/other"); code != http.StatusBadGateway {
		t.Errorf("unknown file with the archive down: %d", code)
	}
}

func TestMirror_RefusesWhatIsNotOfTheArchive(t *testing.T) {
	t.Parallel()
	mirror, _ := startFake(t, &fakeArchive{body: []byte("x"), modified: time.Unix(1e9, 0)})
	for _, path := range []string{"/", "/debian", "/other/x", "/debian/missing"} {
		if code, _ := get(t, mirror.URL+path); code != http.StatusNotFound {
			t.Errorf("%s: %d", path, code)
		}
	}
}

func TestDebianUpdates_AreManyAndSomeAreSecurity(t *testing.T) {
	t.Parallel()
	l := openLab(t)
	must(t, l.StartMirror(t.Context()))
	d := newDevice(t, l, DeviceSpec{Name: "d1"})
	must(t, d.SetSources(l.DebianSource("bookworm", "bookworm-updates", "bookworm-security")))
	if out, code := apt(t, d, "--error-on=any", "update"); code != 0 {
		t.Fatalf("update: %d\n%s", code, out)
	}
	plan := mustOutput(t, d, "apt-get", "-s", "upgrade")
	pending, security := strings.Count(plan, "\nInst "), strings.Count(plan, "Debian-Security:")
	t.Logf("%d updates pending", pending)
	if pending < 12 || security == 0 {
		t.Errorf("%d updates pending:\n%s", pending, plan)
	}
	if out, code := apt(t, d, "install", "ca-certificates"); code != 0 || !strings.Contains(out, "Setting up ca-certificates") {
		t.Errorf("install a real update: %d\n%s", code, out)
	}
}

func TestHostArchive_ReadsBothForms(t *testing.T) {
	t.Parallel()
	deb822 := "Types: deb-src\nURIs: http://a.example/debian\nSuites: x\n\n# comment\nTypes: deb\nURIs: http://b.example/debian/\nSuites: y\n\n" +
		"Types: deb\nURIs: http://c.example/debian-security\nSuites: z\n\nTypes: deb\nEnabled: no\nURIs: http://d.example/debian\nSuites: x\n"
	oneLine := "# deb http://a.example/debian x main\ndeb [arch=amd64 signed-by=/k] http://b.example/debian y main\ndeb http://c.example/debian-security z main\n"
	for name, text := range map[string]string{"sources.list.d/debian.sources": deb822, "sources.list": oneLine} {
		dir := t.TempDir()
		must(t, os.MkdirAll(dir+"/sources.list.d", 0o755))
		must(t, os.WriteFile(dir+"/"+name, []byte(text), 0o644))
		got, err := hostArchive(dir)
		if want := (Archive{"http://b.example/debian", "http://c.example/debian-security"}); err != nil || got != want {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if _, err := hostArchive(t.TempDir()); err == nil {
		t.Error("a machine without an archive has one")
	}
}
