package uplink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"assent/wire"
)

// feedStall is how long the server may send nothing of a feed's file. There is no deadline for the whole: a payload may have
// gigabytes and the line may be slow.
const feedStall = time.Minute

// Feed opens a file of the server's copy of a feed, from offset on, for reading. What comes is not verified: that is the
// business of whoever reads it. size is that of the whole file, -1 where the server does not say. A file that the server
// does not have is an error that wraps fs.ErrNotExist. Reading fails when nothing comes for a minute or ctx is done; the
// caller closes.
func (c *Client) Feed(ctx context.Context, feed, path string, offset int64) (body io.ReadCloser, size int64, err error) {
	if !fs.ValidPath(path) || !fs.ValidPath(feed) || strings.Contains(feed, "/") || offset < 0 {
		return nil, 0, fmt.Errorf("read feed: %.80q is no file of %.80q", path, feed)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	s := newStalling(cancel)
	resp, err := c.askFeed(ctx, feed, path, offset) //nolint:bodyclose // s closes it, here or by the caller
	if err != nil {
		s.stop()
		return nil, 0, fmt.Errorf("read %s of feed %s: %w", path, feed, err)
	}
	s.body = resp.Body
	if size, err = wholeSize(resp, offset); err == nil && resp.StatusCode == http.StatusOK && offset > 0 {
		_, err = io.CopyN(io.Discard, s, offset) // a server that knows no ranges
	}
	if err != nil {
		return nil, 0, errors.Join(fmt.Errorf("read %s of feed %s: %w", path, feed, err), s.Close())
	}
	return s, size, nil
}

// askFeed makes the request. Only a success has a body to close.
func (c *Client) askFeed(ctx context.Context, feed, path string, offset int64) (*http.Response, error) {
	var escaped strings.Builder
	for part := range strings.SplitSeq(path, "/") {
		escaped.WriteString("/" + url.PathEscape(part))
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+wire.PathFeed+"/"+url.PathEscape(feed)+escaped.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "assent-agent")
	if offset > 0 {
		req.Header.Set("Range", "bytes="+strconv.FormatInt(offset, 10)+"-")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("call server: %w", err)
	}
	if resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusPartialContent {
		return resp, nil
	}
	err = c.refused(resp)
	if resp.StatusCode == http.StatusNotFound {
		err = fmt.Errorf("%w: %w", err, fs.ErrNotExist)
	}
	return nil, errors.Join(err, resp.Body.Close())
}

// wholeSize is the size of the whole file behind an answer, which must begin at offset.
func wholeSize(resp *http.Response, offset int64) (int64, error) {
	if encoding := resp.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return 0, fmt.Errorf("the server's answer is encoded, which nobody asked for")
	}
	if resp.StatusCode == http.StatusOK {
		return resp.ContentLength, nil
	}
	span, total, ok := strings.Cut(strings.TrimPrefix(resp.Header.Get("Content-Range"), "bytes "), "/")
	first, _, dash := strings.Cut(span, "-")
	if n, err := strconv.ParseInt(first, 10, 64); !ok || !dash || err != nil || n != offset {
		return 0, fmt.Errorf("the server's answer does not begin at byte %d", offset)
	}
	if n, err := strconv.ParseInt(total, 10, 64); err == nil && n >= offset {
		return n, nil
	}
	return -1, nil
}

var errStalled = errors.New("the server sent nothing for too long")

// stalling ends a body that does not move.
type stalling struct {
	body   io.ReadCloser
	timer  *time.Timer
	cancel context.CancelCauseFunc
}

func newStalling(cancel context.CancelCauseFunc) *stalling {
	return &stalling{cancel: cancel, timer: time.AfterFunc(feedStall, func() { cancel(errStalled) })}
}

// Read gives the next bytes. Only the wait for them counts, not what the reader does in between.
func (s *stalling) Read(p []byte) (int, error) {
	s.timer.Reset(feedStall)
	defer s.timer.Stop()
	return s.body.Read(p)
}

// Close lets go of the connection.
func (s *stalling) Close() error {
	err := s.body.Close()
	s.stop()
	return err
}

func (s *stalling) stop() {
	s.timer.Stop()
	s.cancel(nil)
}
