package api

import (
	"context"

	"assent/client"
	"assent/installation"
	"assent/server/internal/auth"
)

type queueInput struct {
	Group   string   `query:"group" maxLength:"200"`
	Device  string   `query:"device" maxLength:"200"`
	State   []string `query:"state,explode" maxItems:"20"`
	Cause   string   `query:"cause" maxLength:"64" doc:"Why it is blocked."`
	Overdue yesNo    `query:"overdue" enum:"true,false" doc:"It lasts longer than its state may."`
	Paging
}

func (s *server) queue(ctx context.Context, who auth.Session, in *queueInput) (client.List[client.QueueRow], error) {
	q := client.QueueQuery{Group: in.Group, Device: in.Device, State: list[installation.State](in.State), Cause: installation.Cause(in.Cause), Overdue: in.Overdue.value()}
	if err := known("state", q.State, installation.States()...); err != nil {
		return client.List[client.QueueRow]{}, err
	}
	return s.Decide.Queue(ctx, who.Actor, q, in.page())
}
