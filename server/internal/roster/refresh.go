package roster

import (
	"context"

	"assent/client"
	"assent/fault"
	"assent/fleet"
	"assent/ledger"
	"assent/server/internal/auth"
	"assent/server/internal/index"
)

// RefreshDevices asks devices to fetch their package lists now, without waiting for their own time. It
// changes nothing that devices may take, so it needs an approver and leaves no entry in the ledger.
func (s *Service) RefreshDevices(_ context.Context, who auth.Actor, r client.RefreshRequest) (client.Refreshed, error) {
	return s.ask(who, r, s.refresh, "refresh")
}

// RehearseDevices asks devices to rehearse their plans now, likewise.
func (s *Service) RehearseDevices(_ context.Context, who auth.Actor, r client.RefreshRequest) (client.Refreshed, error) {
	return s.ask(who, r, s.rehearse, "rehearse")
}

// ask passes a question on to devices.
func (s *Service) ask(who auth.Actor, r client.RefreshRequest, pass func([]fleet.DeviceID), what string) (client.Refreshed, error) {
	if pass == nil {
		return client.Refreshed{}, fault.New(fault.Unavailable, "refresh_unavailable", "This server cannot ask devices; they look by themselves every few hours.")
	}
	if len(r.Devices) > 0 && r.Group != "" {
		return client.Refreshed{}, fault.New(fault.Invalid, "refresh_ambiguous", "Name devices or a group, not both.").On("group")
	}
	var out client.Refreshed
	var ids []fleet.DeviceID
	var err error
	s.index.View(func(v *index.View) {
		var devices []index.Device
		if devices, err = toRefresh(v, who, r); err != nil {
			return
		}
		for _, d := range devices {
			if d.State != fleet.Active {
				continue
			}
			ids = append(ids, d.ID)
			if d.Connected {
				out.Connected++
			}
		}
	})
	if err != nil {
		return client.Refreshed{}, err
	}
	out.Devices = len(ids)
	pass(ids)
	s.log.Info("asked devices to "+what, "devices", len(ids), "by", who.Name)
	return out, nil
}

// toRefresh finds the devices that are meant and checks that the actor may ask them.
func toRefresh(v *index.View, who auth.Actor, r client.RefreshRequest) ([]index.Device, error) {
	var out []index.Device
	if len(r.Devices) == 0 {
		g, err := scope(v, who, ledger.Approver, r.Group, who.Scope)
		if err != nil {
			return nil, err
		}
		for d := range v.Devices(g.ID) {
			out = append(out, d)
		}
		return out, nil
	}
	for _, ref := range r.Devices {
		d, err := v.FindDevice(ref, who.Scope)
		if err != nil {
			return nil, err
		}
		if err := who.Can(ledger.Approver, v.Tree(), d.Group); err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	return out, nil
}
