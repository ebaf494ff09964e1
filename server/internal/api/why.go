package api

import (
	"context"

	"assent/client"
	"assent/server/internal/auth"
)

type whyInput struct {
	Device string `path:"device" maxLength:"200" doc:"Id, unique beginning of an id, or name."`
	Update string `path:"update" maxLength:"1000" doc:"Id, package URL or name@version."`
}

func (s *server) why(ctx context.Context, who auth.Session, in *whyInput) (client.Why, error) {
	return s.Decide.Why(ctx, who.Actor, in.Device, in.Update)
}
