package api

import (
	"context"

	"assent/client"
	"assent/server/internal/auth"
)

type viewsInput struct {
	List string `query:"list" enum:"updates,devices,queue,events" doc:"Only views of this list."`
}

func (s *server) listViews(ctx context.Context, who auth.Session, in *viewsInput) (client.List[client.ViewRow], error) {
	return s.Views.Views(ctx, who.Actor, in.List)
}

func (s *server) saveView(ctx context.Context, who auth.Session, in *in[client.ViewRequest]) (client.ViewRow, error) {
	return s.Views.SaveView(ctx, who.Actor, in.Body)
}

type viewInput struct {
	ID string `path:"id" maxLength:"64"`
}

func (s *server) deleteView(ctx context.Context, who auth.Session, in *viewInput) (client.Act, error) {
	return s.Views.DeleteView(ctx, who.Actor, in.ID)
}
