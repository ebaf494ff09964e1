package mirror

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"assent/fault"
	"assent/trust"
)

// source is where a feed is published.
type source interface {
	trust.Source
	// Open reads a file from an offset on; nothing is verified. It fails when nothing comes for a while.
	Open(ctx context.Context, path string, offset int64) (io.ReadCloser, error)
}

var errAddress = fault.New(fault.Invalid, "feed_address",
	"A feed's address is like https://updates.example.com/feed, without a user, query or fragment, or file:///srv/feed for a folder of the server.").On("url")

// newSource finds the source at an address. Nothing is connected to.
func newSource(address string, client *http.Client) (source, error) {
	u, err := url.Parse(address)
	if err != nil || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || len(address) > 2000 {
		return nil, errAddress
	}
	switch {
	case (u.Scheme == "http" || u.Scheme == "https") && u.Host != "":
		own := *client
		own.CheckRedirect = stay
		return &web{base: u, client: &own}, nil
	case u.Scheme == "file" && u.Host == "" && filepath.IsAbs(u.Path) && filepath.Clean(u.Path) == u.Path:
		return folder{trust.Dir(u.Path), u.Path}, nil
	}
	return nil, errAddress
}

// stay follows redirects on one host only: who answers for a feed is what the administrator wrote down.
func stay(r *http.Request, via []*http.Request) error {
	if first := via[0].URL; r.URL.Host != first.Host || r.URL.Scheme != first.Scheme || len(via) > 5 {
		return fmt.Errorf("the feed's server redirects to %s://%s", r.URL.Scheme, r.URL.Host)
	}
	return nil
}

// Patience with a feed's server.
const (
	stallAfter = time.Minute // without a byte
	slowest    = 32 << 10    // bytes per second over a whole file, after the first minute
)

// newHTTPClient is the client for all feeds: no proxy from the environment, no cookies, no decompression behind our back.
func newHTTPClient() *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext, TLSHandshakeTimeout: 10 * time.Second,
		ResponseHeaderTimeout: 30 * time.Second, IdleConnTimeout: time.Minute, MaxIdleConns: 32, MaxConnsPerHost: 32,
		MaxResponseHeaderBytes: 64 << 10, DisableCompression: true, ForceAttemptHTTP2: true,
	}}
}

// web is a feed on a static web server.
type web struct {
	base   *url.URL
	client *http.Client
}

// Read implements trust.Source.
func (w *web) Read(ctx context.Context, path string, most int64) (b []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, budget(most))
	defer cancel()
	body, err := w.Open(ctx, path, 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	b, err = io.ReadAll(io.LimitReader(body, most+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if int64(len(b)) > most {
		return nil, trust.ErrTooLarge.Because(fmt.Errorf("%s has more than %d bytes", path, most))
	}
	return b, nil
}

// budget is how long a file of this size may take.
func budget(size int64) time.Duration {
	return time.Minute + time.Duration(size/slowest)*time.Second
}

// Open implements source.
func (w *web) Open(ctx context.Context, path string, offset int64) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	body, err := w.request(ctx, path, offset)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	watched := &watched{ReadCloser: body, ctx: ctx, cancel: cancel}
	watched.timer = time.AfterFunc(stallAfter, func() { cancel(errStalled) })
	return watched, nil
}

func (w *web) request(ctx context.Context, path string, offset int64) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.base.JoinPath(strings.Split(path, "/")...).String(), nil)
	if err != nil {
		return nil, fmt.Errorf("ask for %s: %w", path, err)
	}
	req.Header.Set("User-Agent", "assent")
	if offset > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	resp, err := w.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask for %s: %w", path, err)
	}
	if err := begins(resp, path, offset); err != nil {
		return nil, errors.Join(err, resp.Body.Close())
	}
	return resp.Body, nil
}

// begins makes sure that the answer's body is the file from the offset on.
func begins(resp *http.Response, path string, offset int64) error {
	switch resp.StatusCode {
	case http.StatusOK:
		if _, err := io.CopyN(io.Discard, resp.Body, offset); err != nil { // it knows no ranges
			return fmt.Errorf("read %s up to byte %d: %w", path, offset, err)
		}
		return nil
	case http.StatusPartialContent:
		if got := resp.Header.Get("Content-Range"); offset == 0 || !strings.HasPrefix(got, fmt.Sprintf("bytes %d-", offset)) {
			return fmt.Errorf("ask for %s from byte %d: the server answered with %.80q", path, offset, got)
		}
		return nil
	case http.StatusNotFound, http.StatusGone, http.StatusForbidden: // object stores forbid what is not there
		return fmt.Errorf("ask for %s: the server answered %s: %w", path, resp.Status, fs.ErrNotExist)
	}
	return fmt.Errorf("ask for %s: the server answered %s", path, resp.Status)
}

var errStalled = errors.New("the feed's server stopped sending")

// watched is a body that must go on coming.
type watched struct {
	io.ReadCloser
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
}

// Read implements io.Reader.
func (w *watched) Read(p []byte) (int, error) {
	w.timer.Reset(stallAfter)
	n, err := w.ReadCloser.Read(p)
	if err != nil && err != io.EOF && context.Cause(w.ctx) == errStalled { //nolint:errorlint // sentinels
		err = errStalled
	}
	return n, err
}

// Close implements io.Closer.
func (w *watched) Close() error {
	w.timer.Stop()
	defer w.cancel(nil)
	return w.ReadCloser.Close()
}

// folder is a feed in a folder of the server.
type folder struct {
	trust.Source
	dir string
}

// Open implements source.
func (f folder) Open(_ context.Context, path string, offset int64) (io.ReadCloser, error) {
	file, err := os.OpenInRoot(f.dir, filepath.FromSlash(path))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fs.ErrNotExist
	}
	if err == nil {
		_, err = file.Seek(offset, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read %s: %w", path, err), file.Close())
	}
	return file, nil
}

// resuming reads a file across broken connections, from where the last one broke.
type resuming struct {
	ctx   context.Context
	src   source
	path  string
	body  io.ReadCloser
	at    int64
	tries int // since the last byte
	count func(n int)
}

// A connection may break so often in a row without a byte having come; in between is a pause that grows.
const (
	maxTries   = 3
	retryAfter = 500 * time.Millisecond
)

// Read implements io.Reader.
func (r *resuming) Read(p []byte) (int, error) {
	for {
		n, err := r.read(p)
		if n > 0 {
			r.at += int64(n)
			r.tries = 0
			r.count(n)
		}
		if n > 0 && !errors.Is(err, io.EOF) {
			return n, nil
		}
		if err == nil || errors.Is(err, io.EOF) || errors.Is(err, fs.ErrNotExist) {
			return n, err
		}
		if err := r.again(err); err != nil {
			return 0, err
		}
	}
}

func (r *resuming) read(p []byte) (n int, err error) {
	if r.body == nil {
		if r.body, err = r.src.Open(r.ctx, r.path, r.at); err != nil {
			r.body = nil
			return 0, err
		}
	}
	if n, err = r.body.Read(p); err != nil && err != io.EOF { //nolint:errorlint // io.Reader's own end
		_ = r.Close() // broken already
	}
	return n, err
}

// again waits a little before the next connection, or gives up.
func (r *resuming) again(cause error) error {
	if r.tries++; r.tries > maxTries || r.ctx.Err() != nil {
		return cause
	}
	select {
	case <-time.After(time.Duration(r.tries) * retryAfter):
		return nil
	case <-r.ctx.Done():
		return cause
	}
}

// Close ends the connection that is open.
func (r *resuming) Close() error {
	if r.body == nil {
		return nil
	}
	body := r.body
	r.body = nil
	return body.Close()
}
