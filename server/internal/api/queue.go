package api

import (
	"context"

	"assent/client"
	"assent/installation"
	"assent/server/internal/auth"
)

type queueInput struct {
	Group  string `query:"group" maxLength:"200"`
	Device string `query:"device" maxLength:"200"`
	State  string `query:"state" maxLength:"32"`
	Paging
}

func (s *server) queue(ctx context.Context, who auth.Session, in *queueInput) (client.List[client.QueueRow], error) {
	if in.State != "" {
		if err := known("state", []installation.State{installation.State(in.State)}, installation.States()...); err != nil {
			return client.List[client.QueueRow]{}, err
		}
	}
	return s.Decide.Queue(ctx, who.Actor, client.QueueQuery{Group: in.Group, Device: in.Device, State: installation.State(in.State)}, in.page())
}
