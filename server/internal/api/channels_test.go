package api_test

import (
	"context"

	"assent/client"
	"assent/server/internal/auth"
)

// channels are the channels of services.
type channels struct{ *services }

func (c channels) Channels(_ context.Context, x0 auth.Actor) (client.List[client.ChannelRow], error) {
	return answer[client.List[client.ChannelRow]](c.services, "Channels", x0)
}

func (c channels) Channel(_ context.Context, x0 auth.Actor, x1 string) (client.ChannelDetail, error) {
	return answer[client.ChannelDetail](c.services, "Channel", x0, x1)
}

func (c channels) CreateChannel(_ context.Context, x0 auth.Actor, x1 client.ChannelRequest) (client.ChannelAct, error) {
	return answer[client.ChannelAct](c.services, "CreateChannel", x0, x1)
}

func (c channels) ChangeChannel(_ context.Context, x0 auth.Actor, x1 string, x2 client.ChannelRequest) (client.ChannelAct, error) {
	return answer[client.ChannelAct](c.services, "ChangeChannel", x0, x1, x2)
}

func (c channels) DeleteChannel(_ context.Context, x0 auth.Actor, x1 string) (client.Act, error) {
	return answer[client.Act](c.services, "DeleteChannel", x0, x1)
}

func (c channels) TestChannel(_ context.Context, x0 auth.Actor, x1 string) (client.Delivery, error) {
	return answer[client.Delivery](c.services, "TestChannel", x0, x1)
}
