package api

import (
	"context"

	"assent/client"
	"assent/server/internal/auth"
)

func (s *server) status(ctx context.Context, who auth.Session, _ *none) (client.Status, error) {
	return s.Decide.Status(ctx, who.Actor)
}

type trendInput struct {
	Group string `query:"group" maxLength:"200" doc:"Id or name; the caller's scope by default."`
	Days  int    `query:"days" minimum:"0" maximum:"731" doc:"90 by default."`
}

func (s *server) trend(ctx context.Context, who auth.Session, in *trendInput) (client.Trend, error) {
	return s.Trends.Trend(ctx, who.Actor, client.TrendQuery{Group: in.Group, Days: in.Days})
}
