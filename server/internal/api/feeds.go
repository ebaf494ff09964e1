package api

import (
	"context"
	"net/http"

	"assent/client"
	"assent/server/internal/auth"
)

// Feeds are the subscribed feeds of managed applications.
type Feeds interface {
	Feeds(ctx context.Context, who auth.Actor) (client.List[client.FeedRow], error)
	Feed(ctx context.Context, who auth.Actor, name string) (client.FeedRow, error)
	// Subscribe verifies the feed first, which takes as long as the feed's server does.
	Subscribe(ctx context.Context, who auth.Actor, r client.FeedRequest) (client.FeedAct, error)
	Unsubscribe(ctx context.Context, who auth.Actor, name string) (client.Act, error)
	Refresh(ctx context.Context, who auth.Actor, name string, r client.FeedRefresh) (client.FeedRow, error)
}

// feedRoutes are the part of the table about feeds. They concern all devices.
func (s *server) feedRoutes() []Route {
	return []Route{
		route(AdministratorOfAll, http.MethodGet, "/feeds", "list-feeds", "List the subscribed feeds", s.feeds),
		route(AdministratorOfAll, http.MethodGet, "/feeds/{feed}", "get-feed", "Show a subscribed feed", s.feed),
		patient(route(AdministratorOfAll, http.MethodPost, "/feeds", "subscribe-feed", "Follow a feed, once it was verified", s.subscribe)),
		route(AdministratorOfAll, http.MethodDelete, "/feeds/{feed}", "unsubscribe-feed", "Stop following a feed", s.unsubscribe),
		patient(route(AdministratorOfAll, http.MethodPost, "/feeds/{feed}/refresh", "refresh-feed", "Look at a feed now", s.refreshFeed)),
	}
}

type feedInput struct {
	Feed string `path:"feed" maxLength:"40" doc:"The feed's name."`
}

type feedRefreshInput struct {
	Feed string `path:"feed" maxLength:"40" doc:"The feed's name."`
	Body client.FeedRefresh
}

func (s *server) feeds(ctx context.Context, who auth.Session, _ *none) (client.List[client.FeedRow], error) {
	return s.Feeds.Feeds(ctx, who.Actor)
}

func (s *server) feed(ctx context.Context, who auth.Session, in *feedInput) (client.FeedRow, error) {
	return s.Feeds.Feed(ctx, who.Actor, in.Feed)
}

func (s *server) subscribe(ctx context.Context, who auth.Session, in *in[client.FeedRequest]) (client.FeedAct, error) {
	return s.Feeds.Subscribe(ctx, who.Actor, in.Body)
}

func (s *server) unsubscribe(ctx context.Context, who auth.Session, in *feedInput) (client.Act, error) {
	return s.Feeds.Unsubscribe(ctx, who.Actor, in.Feed)
}

func (s *server) refreshFeed(ctx context.Context, who auth.Session, in *feedRefreshInput) (client.FeedRow, error) {
	return s.Feeds.Refresh(ctx, who.Actor, in.Feed, in.Body)
}
