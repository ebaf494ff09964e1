package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

const mirrorPort = ":3142"

// indexAge is how long an index that may change is taken from the cache without asking the archive again.
const indexAge = 10 * time.Minute

// Mirror gives devices the Debian archive that this machine uses, under /debian and /debian-security of one address
// in the lab. What it fetches it keeps in the cache for all labs: files that never change (packages, indexes by
// hash) for good; others are checked with the archive again after ten minutes, and served as they are if the archive
// cannot be reached. Requests for one file at a time fetch it once. It serves the archive's signed indexes and
// passes on what it gets; devices verify it as they would the archive itself.
type Mirror struct {
	url       string
	upstreams map[string]string // first path element to URI
	dir       string
	client    *http.Client
	log       *slog.Logger

	mu      sync.Mutex
	flights map[string]*flight
}

// StartMirror starts the mirror of the archive that the machine's apt configuration names, unless it runs.
func (l *Lab) StartMirror(ctx context.Context) error {
	archive, err := HostArchive()
	if err != nil {
		return fmt.Errorf("start mirror: %w", err)
	}
	return l.StartMirrorOf(ctx, archive)
}

// StartMirrorOf is StartMirror with another archive behind it. A mirror that runs already stays as it is.
func (l *Lab) StartMirrorOf(ctx context.Context, a Archive) error {
	if err := l.act(ctx, request{Op: opMirror, Archive: &a}); err != nil {
		return fmt.Errorf("start mirror: %w", err)
	}
	return nil
}

func (l *Lab) startMirror(a Archive) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state.MirrorURL != "" {
		return nil
	}
	m := newMirror(a, CacheRoot(), l.log)
	if err := l.serveLocked(Gateway+mirrorPort, m); err != nil {
		return err
	}
	l.state.MirrorURL = m.url
	return l.writeState()
}

func newMirror(a Archive, cache string, log *slog.Logger) *Mirror {
	return &Mirror{
		url:       "http://" + Gateway + mirrorPort,
		upstreams: map[string]string{"debian": a.Main, "debian-security": a.Security},
		dir:       filepath.Join(cache, "mirror", shortHash(a.Main+" "+a.Security)),
		client:    &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, ResponseHeaderTimeout: 30 * time.Second}},
		log:       log,
		flights:   map[string]*flight{},
	}
}

// DebianSource is an apt source for suites of the archive behind the mirror, such as "bookworm", "bookworm-updates"
// and "bookworm-security". The archive may lag behind the clock, so validity dates of this source alone are not checked.
func (l *Lab) DebianSource(suites ...string) Source {
	var main, security []string
	for _, s := range suites {
		if strings.HasSuffix(s, "-security") {
			security = append(security, s)
		} else {
			main = append(main, s)
		}
	}
	var entries []string
	for _, part := range []struct {
		archive string
		suites  []string
	}{{"debian", main}, {"debian-security", security}} {
		if len(part.suites) > 0 {
			entries = append(entries, fmt.Sprintf("Types: deb\nURIs: http://%s%s/%s\nSuites: %s\nComponents: main\n"+
				"Check-Valid-Until: no\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n",
				Gateway, mirrorPort, part.archive, strings.Join(part.suites, " ")))
		}
	}
	return Source{Name: "debian", Entry: strings.Join(entries, "\n")}
}

// ServeHTTP serves one file of the archive.
func (m *Mirror) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	name := strings.TrimPrefix(path.Clean("/"+req.URL.Path), "/")
	archive, rest, ok := strings.Cut(name, "/")
	upstream, known := m.upstreams[archive]
	if !ok || !known || !filepath.IsLocal(name) {
		http.NotFound(w, req)
		return
	}
	if req.Method != http.MethodGet && req.Method != http.MethodHead {
		http.Error(w, "only reading is possible", http.StatusMethodNotAllowed)
		return
	}
	file := filepath.Join(m.dir, filepath.FromSlash(name))
	if fresh(file, name) {
		serveCached(w, req, file)
		return
	}
	f := m.join(file, upstream+"/"+(&url.URL{Path: rest}).EscapedPath())
	f.stream(w, req)
}

// immutable names never get other contents in a Debian archive.
func immutable(name string) bool {
	return strings.Contains(name, "/by-hash/") || strings.Contains(name, "/pool/")
}

// fresh tells whether the cached file may be served without asking. The modification time of a file is the archive's;
// when it was last checked is the time of a file beside it.
func fresh(file, name string) bool {
	if _, err := os.Stat(file); err != nil {
		return false
	}
	if immutable(name) {
		return true
	}
	info, err := os.Stat(file + checkedSuffix)
	return err == nil && time.Since(info.ModTime()) < indexAge
}

const checkedSuffix = ".checked"

func serveCached(w http.ResponseWriter, req *http.Request, name string) {
	file, err := os.Open(name)
	if err != nil {
		http.NotFound(w, req)
		return
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil || info.IsDir() {
		http.NotFound(w, req)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, req, "", info.ModTime(), file)
}

// join finds the fetch of a file that is under way, or starts one.
func (m *Mirror) join(file, uri string) *flight {
	m.mu.Lock()
	defer m.mu.Unlock()
	if f, ok := m.flights[file]; ok {
		return f
	}
	f := &flight{file: file, uri: uri, begun: make(chan struct{}), done: make(chan struct{})}
	f.more = sync.NewCond(&f.mu)
	m.flights[file] = f
	go func() {
		// Not the first asker's context: others may be reading along.
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
		defer cancel()
		err := f.fetch(ctx, m.client)
		if err != nil {
			m.log.Warn("mirror could not fetch", "uri", uri, "err", err)
		}
		m.mu.Lock()
		delete(m.flights, file)
		m.mu.Unlock()
		f.finish(err)
	}()
	return f
}

// flight is one fetch that any number of requests read along with.
type flight struct {
	file, uri string
	begun     chan struct{} // closed when the answer's head is known and is a body to read along
	done      chan struct{} // closed at the end

	head http.Header // set before begun is closed
	tmp  string

	mu      sync.Mutex
	more    *sync.Cond
	written int64
	ended   bool
	err     error // set before done is closed
}

var errNotFound = errors.New("the archive does not have it")

func (f *flight) finish(err error) {
	f.mu.Lock()
	f.ended, f.err = true, err
	f.mu.Unlock()
	f.more.Broadcast()
	close(f.done)
}

// fetch brings the file into the cache, or finds that the cached one is still good.
func (f *flight) fetch(ctx context.Context, client *http.Client) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.uri, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept-Encoding", "identity") // contents must stay as they were signed
	if info, err := os.Stat(f.file); err == nil {
		req.Header.Set("If-Modified-Since", info.ModTime().UTC().Format(http.TimeFormat))
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	switch res.StatusCode {
	case http.StatusOK:
		return f.keep(res)
	case http.StatusNotModified:
		return os.WriteFile(f.file+checkedSuffix, nil, 0o644)
	case http.StatusNotFound:
		return errNotFound
	}
	return fmt.Errorf("the archive answers %s", res.Status)
}

func (f *flight) keep(res *http.Response) error {
	if err := os.MkdirAll(filepath.Dir(f.file), 0o755); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(f.file), ".fetch-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // fails once renamed, as it should
	defer tmp.Close()
	f.head, f.tmp = res.Header.Clone(), tmp.Name()
	close(f.begun)
	if _, err := io.Copy(io.MultiWriter(tmp, (*progress)(f)), res.Body); err != nil {
		return err
	}
	if err := errors.Join(tmp.Chmod(0o644), tmp.Close()); err != nil {
		return err
	}
	if when, err := http.ParseTime(res.Header.Get("Last-Modified")); err == nil {
		if err := os.Chtimes(tmp.Name(), when, when); err != nil {
			return err
		}
	}
	if err := os.WriteFile(f.file+checkedSuffix, nil, 0o644); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), f.file)
}

// progress counts what is in the temporary file and wakes the readers.
type progress flight

func (p *progress) Write(data []byte) (int, error) {
	p.mu.Lock()
	p.written += int64(len(data))
	p.mu.Unlock()
	p.more.Broadcast()
	return len(data), nil
}

// stream answers a request from a fetch: whole from the cache if the fetch has ended, else along with it. A client
// that wants only a part waits for the end.
func (f *flight) stream(w http.ResponseWriter, req *http.Request) {
	begun := f.begun
	if req.Header.Get("Range") != "" || req.Method == http.MethodHead {
		begun = nil
	}
	select {
	case <-begun:
		if f.readAlong(w, req) {
			return
		}
	case <-req.Context().Done():
		return
	case <-f.done:
	}
	<-f.done
	if errors.Is(f.err, errNotFound) {
		http.NotFound(w, req)
		return
	}
	if _, err := os.Stat(f.file); err != nil && f.err != nil {
		http.Error(w, f.err.Error(), http.StatusBadGateway)
		return
	}
	serveCached(w, req, f.file)
}

// readAlong copies the growing file. It reports false, having sent nothing, if the file has its final name already.
func (f *flight) readAlong(w http.ResponseWriter, req *http.Request) bool {
	src, err := os.Open(f.tmp)
	if err != nil {
		return false
	}
	defer src.Close()
	for _, key := range []string{"Content-Length", "Last-Modified"} {
		if v := f.head.Get(key); v != "" {
			w.Header().Set(key, v)
		}
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	var sent int64
	for {
		have, ended, err := f.await(sent)
		n, copyErr := io.CopyN(w, src, have-sent)
		sent += n
		switch {
		case copyErr != nil || req.Context().Err() != nil:
			return true
		case ended && err != nil:
			panic(http.ErrAbortHandler) // the client must not take half for the whole
		case ended && sent == have:
			return true
		}
	}
}

// await waits until there is more than have, or the end.
func (f *flight) await(have int64) (written int64, ended bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.written == have && !f.ended {
		f.more.Wait()
	}
	return f.written, f.ended, f.err
}
