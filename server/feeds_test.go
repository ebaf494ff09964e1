package server

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"testing"
	"time"

	"assent/client"
	"assent/feed"
	"assent/trust"
	"assent/trust/trusttest"
	"assent/wire"
)

// copied is the server's copy of a feed as an enrolled device reads it.
type copied struct {
	http *http.Client
	base string
}

// Read implements trust.Source.
func (c copied) Read(ctx context.Context, path string, most int64) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
		return io.ReadAll(io.LimitReader(resp.Body, most+1))
	case http.StatusNotFound:
		return nil, fs.ErrNotExist
	}
	return nil, fmt.Errorf("GET %s: %s", path, resp.Status)
}

// TestADeviceVerifiesTheServersCopyOfAFeedAcrossARestartWithoutTheFeed: subscribed over the API, pinned at enrolment, named
// in the plan, verified over mutual TLS by the device itself, and served by the next run of the server while the feed is
// away.
func TestADeviceVerifiesTheServersCopyOfAFeedAcrossARestartWithoutTheFeed(t *testing.T) {
	vendor := trusttest.NewFeed(t, "acme")
	payload := bytes.Repeat([]byte("payload "), 100_000)
	id := vendor.Add(trusttest.Manifest("ledger", "1.0"), payload)
	vendor.Publish()
	data := t.TempDir()
	l := start(t, data, nil)
	admin := l.admin()
	var act client.FeedAct
	if code := l.call(http.MethodPost, "/api/v1/feeds", admin, client.FeedRequest{Name: "acme", URL: vendor.URL(), Root: vendor.Root()}, &act); code != 200 {
		t.Fatalf("subscribe: %d", code)
	}
	_, device, enrolled := l.enrol(admin)
	if len(enrolled.Feeds) != 1 || enrolled.Feeds[0].ID != "acme" || !bytes.Equal(enrolled.Feeds[0].Root, vendor.Root()) {
		t.Fatalf("the enrolment pins %+v", enrolled.Feeds)
	}
	l.followed(admin)
	l.verifies(device, enrolled.Feeds[0].Root, payload)
	var listed client.UpdateDetail
	if code := l.call(http.MethodGet, "/api/v1/updates/"+string(id), admin, nil, &listed); code != 200 || listed.Published == nil || listed.Published.Feed != "acme" {
		t.Errorf("the update is listed as %+v (%d)", listed, code)
	}
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	vendor.Break()
	l = start(t, data, nil)
	l.verifies(device, vendor.Root(), payload)
	var row client.FeedRow
	if code := l.call(http.MethodGet, "/api/v1/feeds/acme", admin, nil, &row); code != 200 || row.Releases != 1 || row.LastSuccess.IsZero() {
		t.Errorf("after the restart the feed is %+v (%d)", row, code)
	}
	if code := l.call(http.MethodDelete, "/api/v1/feeds/acme", admin, nil, nil); code != 200 {
		t.Fatalf("unsubscribe: %d", code)
	}
	for l.feed(device).has("root.json") {
		time.Sleep(5 * time.Millisecond) // the act is made; the copy goes a moment later
	}
}

// followed waits until the server has looked at the feed and has its files.
func (l *live) followed(admin string) {
	l.t.Helper()
	for range 1000 {
		var row client.FeedRow
		l.call(http.MethodPost, "/api/v1/feeds/acme/refresh", admin, client.FeedRefresh{Wait: true}, nil)
		if code := l.call(http.MethodGet, "/api/v1/feeds/acme", admin, nil, &row); code == 200 && row.Files > 0 && row.FilesHere == row.Files {
			return
		}
		time.Sleep(5 * time.Millisecond) // there is no signal for it
	}
	l.t.Fatal("the feed is not followed")
}

func (l *live) feed(device *http.Client) copied {
	return copied{device, "https://" + l.agents + wire.PathFeed + "/acme/"}
}

func (c copied) has(path string) bool {
	_, err := c.Read(context.Background(), path, 1<<20)
	return err == nil
}

// verifies follows the copy as a device does and reads the payload of its only release.
func (l *live) verifies(device *http.Client, root, payload []byte) {
	l.t.Helper()
	c, err := trust.Open(root, trusttest.NewStore())
	if err != nil {
		l.t.Fatal(err)
	}
	src := l.feed(device)
	if err := c.Refresh(l.t.Context(), src, time.Now()); err != nil {
		l.t.Fatalf("the device cannot verify the copy: %v", err)
	}
	for path := range c.Targets() {
		if path == feed.PayloadTarget(wire.Digest(payload)) {
			b, err := src.Read(l.t.Context(), trusttest.Payload(payload), int64(len(payload)))
			if err != nil || !bytes.Equal(b, payload) {
				l.t.Errorf("the payload came as %d bytes, %v", len(b), err)
			}
			return
		}
	}
	l.t.Error("the copy has no payload")
}
