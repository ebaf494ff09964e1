package gateway

import (
	"context"
	"io/fs"
	"net/http"
	"time"

	"assent/content"
	"assent/fault"
	"assent/fleet"
	"assent/wire"
)

// Feeds is the server's copy of the feeds that it follows; *mirror.Mirror is one. Its methods are safe for concurrent use.
type Feeds interface {
	// Roots are the first roots of all subscribed feeds, from memory.
	Roots() []wire.FeedRoot
	// File opens a file of the copy of a feed, by its path below the feed's root, with something that its content can be
	// known by. It may wait a little for a file that is on its way; then it is Unavailable.
	File(ctx context.Context, feed, path string) (content.File, string, error)
}

// noFeeds is a server that follows none.
type noFeeds struct{}

func (noFeeds) Roots() []wire.FeedRoot { return nil }

func (noFeeds) File(context.Context, string, string) (content.File, string, error) {
	return nil, "", errNoFeed
}

const (
	maxFeedPath  = 512 // bytes
	maxDownloads = 256 // files of feeds that are being sent
)

var (
	errNoFeed    = fault.New(fault.NotFound, "feed_file_unknown", "The server has no such file of a feed.").On("path")
	errDownloads = fault.New(fault.Unavailable, "feed_busy", "The server sends too many files at once; try again later.")
)

// feed sends a file of a feed, or ranges of it. Sending may take long, so it gives its working place back and takes one of
// its own kind: check-ins go on while all devices load a large payload. What comes is verified by the device.
func (g *Gateway) feed(c *call) error {
	if c.device.State != fleet.Active {
		return errQuarantined
	}
	feed, path := c.r.PathValue("feed"), c.r.PathValue("path")
	if len(path) > maxFeedPath || !fs.ValidPath(path) || path == "." {
		return errNoFeed
	}
	g.leave(c)
	if g.downloads.Add(1) > maxDownloads {
		g.downloads.Add(-1)
		return errDownloads
	}
	defer g.downloads.Add(-1)
	_ = c.io().SetReadDeadline(time.Time{}) // of the body; from here on only the device hanging up is listened for
	file, tag, err := g.Feeds.File(c.r.Context(), feed, path)
	if err != nil {
		return err
	}
	defer file.Close()
	h := c.w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Etag", `"`+tag+`"`)
	w := &sending{ResponseWriter: c.w, io: c.io(), within: g.Limits.WriteTimeout}
	http.ServeContent(w, c.r, "", time.Time{}, file)
	return nil
}

// sending is an answer of any size: the device must take some of it within a time, again and again.
type sending struct {
	http.ResponseWriter
	io     *http.ResponseController
	within time.Duration
	until  time.Time
}

// Write implements io.Writer. It hides the ReadFrom of the writer below, through which a whole file would be one write.
func (m *sending) Write(p []byte) (int, error) {
	if now := time.Now(); m.until.Sub(now) < m.within/2 {
		m.until = now.Add(m.within)
		_ = m.io.SetWriteDeadline(m.until) // fails only on a closed connection
	}
	return m.ResponseWriter.Write(p)
}
