package client

import (
	"context"
	"net/http"
	"time"
)

// FeedRequest subscribes to a feed, or has it followed from another address. Either Root or RootSHA256 says which root
// is trusted.
type FeedRequest struct {
	Name       string `json:"name" maxLength:"40" doc:"The name that its publisher gave it."`
	URL        string `json:"url" maxLength:"2000" doc:"Where its static folder is: https://… or file:///…"`
	Root       []byte `json:"root,omitempty" doc:"The feed's first root.json."`
	RootSHA256 string `json:"root_sha256,omitempty" maxLength:"64" doc:"Instead of root: its SHA-256; the server fetches it from the feed."`
}

// FeedRefresh asks the server to look at a feed now.
type FeedRefresh struct {
	Wait bool `json:"wait,omitempty" doc:"Answer when it is done, with an error if the feed does not verify."`
}

// FeedProblem is something wrong with a feed or a part of it.
type FeedProblem struct {
	Target  string `json:"target,omitempty"` // the file of the feed
	Code    string `json:"code"`
	Message string `json:"message"`
}

// FeedRow is a subscribed feed as this server sees it.
type FeedRow struct {
	Name        string        `json:"name"`
	URL         string        `json:"url"`
	RootSHA256  string        `json:"root_sha256"` // of the pinned first root
	LastSuccess time.Time     `json:"last_success,omitzero"`
	LastTry     time.Time     `json:"last_try,omitzero"`
	Error       *FeedProblem  `json:"error,omitempty"`  // of the last try
	Alarms      []FeedProblem `json:"alarms,omitempty"` // what somebody should look at
	Versions    FeedVersions  `json:"versions"`
	Expires     time.Time     `json:"expires,omitzero"` // the earliest expiry of its signatures
	Releases    int           `json:"releases"`
	Recalled    int           `json:"recalled"`
	Held        []FeedProblem `json:"held,omitempty"`    // releases with something that this server cannot read
	Refused     []FeedProblem `json:"refused,omitempty"` // documents that count for nothing
	Files       int           `json:"files"`             // payloads and texts of the feed …
	FilesHere   int           `json:"files_here"`        // … and how many of them the server has
	Bytes       int64         `json:"bytes"`
	BytesHere   int64         `json:"bytes_here"`
	Fetching    bool          `json:"fetching"` // files are on their way
}

// FeedVersions are the versions of a feed's verified metadata; zero: not seen yet.
type FeedVersions struct {
	Root      int64 `json:"root"`
	Timestamp int64 `json:"timestamp"`
	Snapshot  int64 `json:"snapshot"`
	Targets   int64 `json:"targets"`
}

// FeedAct is an act on a feed with how it stands then.
type FeedAct struct {
	Act
	Feed FeedRow `json:"feed"`
}

// Feeds lists the subscribed feeds.
func (c *Client) Feeds(ctx context.Context) (List[FeedRow], error) {
	return get[List[FeedRow]](ctx, c, "/feeds", nil)
}

// Feed shows a subscribed feed.
func (c *Client) Feed(ctx context.Context, name string) (FeedRow, error) {
	return get[FeedRow](ctx, c, "/feeds/"+escape(name), nil)
}

// SubscribeFeed follows a feed once the server has verified it.
func (c *Client) SubscribeFeed(ctx context.Context, r FeedRequest) (FeedAct, error) {
	return send[FeedAct](ctx, c.waiting(feedWait), http.MethodPost, "/feeds", r)
}

// UnsubscribeFeed stops following a feed. What it published stays in the list of updates.
func (c *Client) UnsubscribeFeed(ctx context.Context, name string) (Act, error) {
	return send[Act](ctx, c, http.MethodDelete, "/feeds/"+escape(name), nil)
}

// RefreshFeed has the server look at a feed now.
func (c *Client) RefreshFeed(ctx context.Context, name string, r FeedRefresh) (FeedRow, error) {
	return send[FeedRow](ctx, c.waiting(feedWait), http.MethodPost, "/feeds/"+escape(name)+"/refresh", r)
}

// feedWait is how much longer than usual an answer may take that waits for a feed's server.
const feedWait = 2 * time.Minute
