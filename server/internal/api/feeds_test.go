package api_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"assent/client"
	"assent/fleet"
	"assent/ledger"
	"assent/server/internal/auth"
)

// feeds is apart because its short names would not tell in one list with all others.
type feeds struct{ *services }

func (f feeds) Feeds(_ context.Context, x0 auth.Actor) (client.List[client.FeedRow], error) {
	return answer[client.List[client.FeedRow]](f.services, "Feeds", x0)
}

func (f feeds) Feed(_ context.Context, x0 auth.Actor, x1 string) (client.FeedRow, error) {
	return answer[client.FeedRow](f.services, "Feed", x0, x1)
}

func (f feeds) Subscribe(_ context.Context, x0 auth.Actor, x1 client.FeedRequest) (client.FeedAct, error) {
	return answer[client.FeedAct](f.services, "Subscribe", x0, x1)
}

func (f feeds) Unsubscribe(_ context.Context, x0 auth.Actor, x1 string) (client.Act, error) {
	return answer[client.Act](f.services, "Unsubscribe", x0, x1)
}

func (f feeds) Refresh(_ context.Context, x0 auth.Actor, x1 string, x2 client.FeedRefresh) (client.FeedRow, error) {
	return answer[client.FeedRow](f.services, "Refresh", x0, x1, x2)
}

// feedRows are the rows about feeds of the table of N07.
func feedRows() []row {
	return []row{
		{"GET", "/feeds", wholeAdmin, "", "Feeds", 200},
		{"GET", "/feeds/acme", wholeAdmin, "", "Feed", 200},
		{"POST", "/feeds", wholeAdmin, `{"name":"acme","url":"https://feed.test/","root":"e30="}`, "Subscribe", 200},
		{"DELETE", "/feeds/acme", wholeAdmin, "", "Unsubscribe", 200},
		{"POST", "/feeds/acme/refresh", wholeAdmin, `{"wait":true}`, "Refresh", 200},
	}
}

// TestFeedCallsReachTheirServiceWithEverythingTheyWereGiven: the largest root too.
func TestFeedCallsReachTheirServiceWithEverythingTheyWereGiven(t *testing.T) {
	w := newWorld(t)
	c := w.connect(t, "administrator")
	who := auth.Actor{Name: "administrator", Role: ledger.Administrator, Scope: fleet.Root}
	ask := client.FeedRequest{Name: "acme", URL: "https://feed.test/x y", Root: make([]byte, 512<<10)}
	byDigest := client.FeedRequest{Name: "acme", URL: "file:///srv/feed", RootSHA256: "00"}
	ctx := t.Context()
	for i, err := range []error{first(c.Feeds(ctx)), first(c.Feed(ctx, "a/b")), first(c.SubscribeFeed(ctx, ask)), first(c.SubscribeFeed(ctx, byDigest)),
		first(c.UnsubscribeFeed(ctx, "acme")), first(c.RefreshFeed(ctx, "acme", client.FeedRefresh{Wait: true}))} {
		if err != nil {
			t.Errorf("call %d: %v", i, err)
		}
	}
	calls := []string{"Feeds", "Feed", "Subscribe", "Subscribe", "Unsubscribe", "Refresh"}
	args := [][]any{{who}, {who, "a/b"}, {who, ask}, {who, byDigest}, {who, "acme"}, {who, "acme", client.FeedRefresh{Wait: true}}}
	if diff := cmp.Diff(calls, w.calls) + cmp.Diff(args, w.all); diff != "" {
		t.Errorf("they got other arguments (-given +received):\n%s", diff)
	}
}
