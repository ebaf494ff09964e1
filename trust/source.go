package trust

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"

	"assent/fault"
)

// httpSource reads a feed from a static web server.
type httpSource struct {
	base   *url.URL
	client *http.Client
}

// HTTP reads a feed from a static web server. Redirects to another host are not followed, and no answer is believed:
// everything read is checked against signatures. Deadlines come with each call's context and from client (nil: the
// default transport); its CheckRedirect is replaced.
func HTTP(base string, client *http.Client) (Source, error) {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fault.New(fault.Invalid, "feed_address", "A feed's address is like https://updates.example.com/feed, without a user, query or fragment.").On("url")
	}
	own := http.Client{}
	if client != nil {
		own = *client
	}
	own.CheckRedirect = func(r *http.Request, via []*http.Request) error {
		if len(via) > 5 || r.URL.Host != u.Host || r.URL.Scheme != u.Scheme {
			return fmt.Errorf("the feed's server redirects to %s://%s", r.URL.Scheme, r.URL.Host)
		}
		return nil
	}
	return httpSource{base: u, client: &own}, nil
}

// Read implements Source.
func (s httpSource) Read(ctx context.Context, path string, max int64) (b []byte, err error) {
	body, err := s.open(ctx, path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	return capped(body, path, max)
}

func (s httpSource) open(ctx context.Context, path string) (io.ReadCloser, error) {
	parts := strings.Split(path, "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i]) // JoinPath takes them as escaped
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base.JoinPath(parts...).String(), nil)
	if err != nil {
		return nil, fmt.Errorf("ask for %s: %w", path, err)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask for %s: %w", path, err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	err = fmt.Errorf("ask for %s: the server answered %s", path, resp.Status)
	if resp.StatusCode == http.StatusNotFound || resp.StatusCode == http.StatusGone {
		err = fmt.Errorf("%w: %w", err, fs.ErrNotExist)
	}
	return nil, errors.Join(err, resp.Body.Close())
}

// dirSource reads a feed from a folder.
type dirSource struct{ dir string }

// Dir reads a feed from a published folder. Symbolic links out of the folder are not followed.
func Dir(dir string) Source { return dirSource{dir} }

// Read implements Source.
func (s dirSource) Read(_ context.Context, path string, max int64) (b []byte, err error) {
	f, err := s.open(path)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return capped(f, path, max)
}

func (s dirSource) open(path string) (*os.File, error) {
	return os.OpenInRoot(s.dir, filepath.FromSlash(path))
}

func capped(r io.Reader, path string, max int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, max+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if int64(len(b)) > max {
		return nil, ErrTooLarge.Because(fmt.Errorf("%s has more than %d bytes", path, max))
	}
	return b, nil
}

// Stream opens a target of any size at a source of this package. The reader is not verified: pass it through a Verifier.
func Stream(ctx context.Context, src Source, t Target) (io.ReadCloser, error) {
	name := TargetFile(t)
	switch s := src.(type) {
	case httpSource:
		r, err := s.open(ctx, name)
		return r, unreachable(ctx, name, err)
	case dirSource:
		f, err := s.open(name)
		if err != nil {
			return nil, unreachable(ctx, name, err)
		}
		return f, nil
	}
	return nil, fault.New(fault.Internal, "feed_source", "This source cannot stream %s.", path.Base(name))
}

func unreachable(ctx context.Context, name string, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("read %s of the feed: %w", name, ctx.Err())
	}
	return ErrUnreachable.Because(fmt.Errorf("%s: %w", name, err))
}
