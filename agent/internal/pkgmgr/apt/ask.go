package apt

import (
	"context"
	"crypto/tls"
	"crypto/x509"
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

	"assent/agent/internal/pkgmgr"
	"assent/installation"
	"assent/wire"
)

const (
	// askTimeout bounds one question to a package source.
	askTimeout = 20 * time.Second
	// maxAsked caps how many files are asked for at once.
	maxAsked = 1000
)

// errUnknown says that a package source cannot be asked the way apt would, or does not answer such questions.
var errUnknown = errors.New("not known")

// asking asks package sources whether they still have files, without fetching them, through the proxy that apt uses.
type asking struct {
	root string
	http *http.Client
	down map[string]error // hosts that did not answer, by name
}

func newAsking(root string, conf aptConfig) *asking {
	return &asking{root: root, down: map[string]error{}, http: &http.Client{Timeout: askTimeout, Transport: &http.Transport{
		Proxy:                  func(r *http.Request) (*url.URL, error) { return proxyFor(conf, r.URL) },
		DialContext:            (&net.Dialer{Timeout: askTimeout / 2}).DialContext,
		TLSHandshakeTimeout:    askTimeout / 2,
		DisableCompression:     true, // the size of the very file is asked for
		MaxIdleConnsPerHost:    1,
		IdleConnTimeout:        time.Second,
		MaxResponseHeaderBytes: 64 << 10,
	}}}
}

// proxyFor is the proxy that apt's configuration names for an address; nil for none.
func proxyFor(conf aptConfig, u *url.URL) (*url.URL, error) {
	for _, name := range []string{"Acquire::" + u.Scheme + "::Proxy::" + u.Hostname(), "Acquire::" + u.Scheme + "::Proxy",
		"Acquire::http::Proxy::" + u.Hostname(), "Acquire::http::Proxy"} {
		switch v := conf.find(name); {
		case strings.EqualFold(v, "DIRECT") || strings.EqualFold(v, "false"):
			return nil, nil
		case v != "":
			return url.Parse(v)
		}
	}
	return nil, nil
}

// all asks for the file of each change, and lists those that could not be had as approved.
func (q *asking) all(ctx context.Context, changes []wire.Change, uris map[string]uri) ([]pkgmgr.Refusal, error) {
	defer q.http.CloseIdleConnections()
	var out []pkgmgr.Refusal
	for _, c := range changes[:min(len(changes), maxAsked)] {
		u, ok := uris[archiveName(c.Name, c.Arch, c.Version)]
		if !ok {
			continue // apt has it somewhere
		}
		size, err := q.size(ctx, u.address)
		key := c.Name + ":" + c.Arch + "=" + c.Version
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.Is(err, errUnknown):
		case errors.Is(err, fs.ErrNotExist):
			out = append(out, unavailable(c, "The package source lists %s and does not have its file any more: %s.", key, plain(u.address, 300)))
		case err != nil:
			out = append(out, unavailable(c, "The package source of %s cannot be reached: %s.", key, plain(err.Error(), 300)))
		case size >= 0 && c.Size > 0 && size != c.Size:
			out = append(out, *refuse(installation.DigestMismatch, []wire.Change{c}, "%s has other content in its package source than was approved: %d bytes instead of %d.", key, size, c.Size))
		}
	}
	return out, nil
}

// size is how long the file at an address is; -1 where that is not told. The errors are fs.ErrNotExist where there is none,
// errUnknown where it cannot be found out, and else why the source does not answer.
func (q *asking) size(ctx context.Context, address string) (int64, error) {
	u, err := url.Parse(address)
	if err != nil {
		return 0, errUnknown
	}
	switch u.Scheme {
	case "file", "copy":
		info, err := os.Stat(filepath.Join(q.root, filepath.Clean("/"+u.Path)))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return 0, errUnknown
		}
		if err != nil {
			return 0, err
		}
		return info.Size(), nil
	case "http", "https":
		if err := q.down[u.Host]; err != nil {
			return 0, err
		}
		return q.head(ctx, u)
	}
	return 0, errUnknown
}

// head asks over HTTP. A source that wants to know who asks, or that answers no such questions, is not known; a certificate that
// only apt is told to trust is no fault either.
func (q *asking) head(ctx context.Context, u *url.URL) (int64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, u.String(), nil)
	if err != nil {
		return 0, errUnknown
	}
	req.Header.Set("User-Agent", "assent-agent")
	resp, err := q.http.Do(req)
	if err != nil {
		if foreign(err) {
			return 0, errUnknown
		}
		var reason *url.Error
		if errors.As(err, &reason) {
			err = reason.Err
		}
		q.down[u.Host] = fmt.Errorf("%s does not answer: %w", u.Host, err)
		return 0, q.down[u.Host]
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<10))
	_ = resp.Body.Close()
	switch code := resp.StatusCode; {
	case code == http.StatusOK:
		return resp.ContentLength, nil
	case code == http.StatusNotFound || code == http.StatusGone:
		return 0, fs.ErrNotExist
	case code >= http.StatusInternalServerError && code != http.StatusNotImplemented:
		return 0, fmt.Errorf("%s answers %s", u.Host, plain(resp.Status, 100))
	}
	return 0, errUnknown
}

// foreign reports whether an error is about whom to trust.
func foreign(err error) bool {
	var verify *tls.CertificateVerificationError
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	return errors.As(err, &verify) || errors.As(err, &unknown) || errors.As(err, &name)
}
