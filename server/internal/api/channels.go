package api

import (
	"context"
	"net/http"

	"assent/client"
	"assent/server/internal/auth"
)

// Channels are the ways to tell people what happened.
type Channels interface {
	Channels(ctx context.Context, who auth.Actor) (client.List[client.ChannelRow], error)
	Channel(ctx context.Context, who auth.Actor, ref string) (client.ChannelDetail, error)
	CreateChannel(ctx context.Context, who auth.Actor, r client.ChannelRequest) (client.ChannelAct, error)
	ChangeChannel(ctx context.Context, who auth.Actor, ref string, r client.ChannelRequest) (client.ChannelAct, error)
	DeleteChannel(ctx context.Context, who auth.Actor, ref string) (client.Act, error)
	// TestChannel sends a message, which takes as long as its receiver does.
	TestChannel(ctx context.Context, who auth.Actor, ref string) (client.Delivery, error)
}

// channelRoutes are the part of the table about channels. They tell of the whole installation.
func (s *server) channelRoutes() []Route {
	return []Route{
		route(AdministratorOfAll, http.MethodGet, "/channels", "list-channels", "List the channels by which people are told", s.channels),
		route(AdministratorOfAll, http.MethodGet, "/channels/{channel}", "get-channel", "Show a channel with its last messages", s.channel),
		route(AdministratorOfAll, http.MethodPost, "/channels", "create-channel", "Make a channel", s.createChannel),
		route(AdministratorOfAll, http.MethodPut, "/channels/{channel}", "change-channel", "Change a channel", s.changeChannel),
		route(AdministratorOfAll, http.MethodDelete, "/channels/{channel}", "delete-channel", "Remove a channel with what waits to be sent by it", s.deleteChannel),
		patient(route(AdministratorOfAll, http.MethodPost, "/channels/{channel}/test", "test-channel", "Send a test message", s.testChannel)),
	}
}

type channelInput struct {
	Channel string `path:"channel" maxLength:"200" doc:"Id or name."`
}

type channelChangeInput struct {
	Channel string `path:"channel" maxLength:"200" doc:"Id or name."`
	Body    client.ChannelRequest
}

func (s *server) channels(ctx context.Context, who auth.Session, _ *none) (client.List[client.ChannelRow], error) {
	return s.Channels.Channels(ctx, who.Actor)
}

func (s *server) channel(ctx context.Context, who auth.Session, in *channelInput) (client.ChannelDetail, error) {
	return s.Channels.Channel(ctx, who.Actor, in.Channel)
}

func (s *server) createChannel(ctx context.Context, who auth.Session, in *in[client.ChannelRequest]) (client.ChannelAct, error) {
	return s.Channels.CreateChannel(ctx, who.Actor, in.Body)
}

func (s *server) changeChannel(ctx context.Context, who auth.Session, in *channelChangeInput) (client.ChannelAct, error) {
	return s.Channels.ChangeChannel(ctx, who.Actor, in.Channel, in.Body)
}

func (s *server) deleteChannel(ctx context.Context, who auth.Session, in *channelInput) (client.Act, error) {
	return s.Channels.DeleteChannel(ctx, who.Actor, in.Channel)
}

func (s *server) testChannel(ctx context.Context, who auth.Session, in *channelInput) (client.Delivery, error) {
	return s.Channels.TestChannel(ctx, who.Actor, in.Channel)
}
