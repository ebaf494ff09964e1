package api

import (
	"context"

	"assent/client"
	"assent/installation"
	"assent/server/internal/auth"
)

type rehearsalsInput struct {
	Group  string `query:"group" maxLength:"200"`
	Device string `query:"device" maxLength:"200"`
	Update string `query:"update" maxLength:"400" doc:"Id, package URL or name@version."`
	Cause  string `query:"cause" maxLength:"64" doc:"Why it would not install."`
	Only   string `query:"only" enum:"kept,all" doc:"What keeps configuration files of the device, or all; without it what would fail."`
	Paging
}

func (s *server) rehearsals(ctx context.Context, who auth.Session, in *rehearsalsInput) (client.List[client.RehearsalRow], error) {
	q := client.RehearsalQuery{Group: in.Group, Device: in.Device, Update: in.Update, Cause: installation.Cause(in.Cause), Only: client.RehearsalOnly(in.Only)}
	return s.Decide.Rehearsals(ctx, who.Actor, q, in.page())
}

func (s *server) rehearseDevices(ctx context.Context, who auth.Session, in *in[client.RefreshRequest]) (client.Refreshed, error) {
	return s.Roster.RehearseDevices(ctx, who.Actor, in.Body)
}
