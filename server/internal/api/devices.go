package api

import (
	"context"

	"assent/client"
	"assent/fault"
	"assent/fleet"
	"assent/server/internal/auth"
)

type devicesInput struct {
	Group  string `query:"group" maxLength:"200"`
	Search string `query:"search" maxLength:"500"`
	State  string `query:"state" enum:"active,quarantined,retired"`
	Only   string `query:"only" enum:"connected,silent,restart,stale" doc:"Only active devices of which this can be said."`
	Here   bool   `query:"here" doc:"Only those in the very group, none from below it."`
	Paging
}

func (s *server) devices(ctx context.Context, who auth.Session, in *devicesInput) (client.List[client.DeviceRow], error) {
	q := client.DeviceQuery{Group: in.Group, Search: in.Search, State: fleet.DeviceState(in.State), Only: client.DeviceOnly(in.Only), Here: in.Here}
	return s.Roster.Devices(ctx, who.Actor, q, in.page())
}

type deviceInput struct {
	Device string `path:"device" maxLength:"200" doc:"Id, unique beginning of an id, or name."`
}

func (s *server) device(ctx context.Context, who auth.Session, in *deviceInput) (client.DeviceDetail, error) {
	return s.Roster.Device(ctx, who.Actor, in.Device)
}

type inventoryInput struct {
	Device string `path:"device" maxLength:"200" doc:"Id, unique beginning of an id, or name."`
	Search string `query:"search" maxLength:"500" doc:"Words, each found in name, version or source."`
	Auto   yesNo  `query:"auto" enum:"true,false" doc:"It came as a dependency only."`
	Hold   yesNo  `query:"hold" enum:"true,false"`
	Paging
}

func (s *server) inventory(ctx context.Context, who auth.Session, in *inventoryInput) (client.List[client.PackageInfo], error) {
	return s.Roster.Inventory(ctx, who.Actor, in.Device, client.InventoryQuery{Search: in.Search, Auto: in.Auto.value(), Hold: in.Hold.value()}, in.page())
}

func (s *server) changeDevices(ctx context.Context, who auth.Session, in *in[client.DeviceChange]) (client.Act, error) {
	c := in.Body
	switch {
	case len(c.Devices) == 0:
		return client.Act{}, fault.New(fault.Invalid, "devices_missing", "Name at least one device.").On("devices")
	case (c.Group == "") == (c.State == ""):
		return client.Act{}, fault.New(fault.Invalid, "change_unclear", "Give a group to move to or a state to set, and not both.").On("group")
	case c.State != "":
		if err := known("state", []fleet.DeviceState{c.State}, fleet.Active, fleet.Quarantined, fleet.Retired); err != nil {
			return client.Act{}, err
		}
	}
	return s.Roster.ChangeDevices(ctx, who.Actor, c)
}

func (s *server) refreshDevices(ctx context.Context, who auth.Session, in *in[client.RefreshRequest]) (client.Refreshed, error) {
	return s.Roster.RefreshDevices(ctx, who.Actor, in.Body)
}
