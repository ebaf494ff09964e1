package roster

import (
	"context"
	"crypto/subtle"
	"slices"
	"strings"
	"unicode"

	"assent/client"
	"assent/fault"
	"assent/fleet"
	"assent/ledger"
	"assent/server/internal/auth"
	"assent/server/internal/index"
	"assent/wire"
)

// maxEvents is how many events a device's page shows.
const maxEvents = 50

// Device returns everything about one device, with the last of what it reported.
func (s *Service) Device(ctx context.Context, who auth.Actor, ref string) (client.DeviceDetail, error) {
	d, err := s.Reader.Device(ctx, who, ref)
	if err != nil {
		return d, err
	}
	events, err := s.events.Events(ctx, who, client.EventQuery{Device: string(d.ID), Limit: maxEvents})
	d.Events = events.Items
	return d, err
}

// ChangeDevices moves devices into a group, or retires, quarantines or releases them: one act for all of
// them. Moving needs an administrator at both ends.
//
// A retired device stays retired: its certificate is refused at the handshake, so it must enrol again.
// Releasing a quarantined device (state active) gives it a clean slate: whoever keeps track of clones
// must forget what it knows of the device when its state becomes active.
func (s *Service) ChangeDevices(ctx context.Context, who auth.Actor, c client.DeviceChange) (client.Act, error) {
	if err := checkChange(c); err != nil {
		return client.Act{}, err
	}
	return s.act(ctx, who, func(v *index.View) (ledger.Body, error) {
		devices, err := named(v, who, c.Devices)
		if err != nil {
			return nil, err
		}
		if c.Group != "" {
			return move(v, who, devices, c.Group)
		}
		return setState(devices, c)
	})
}

func checkChange(c client.DeviceChange) error {
	switch {
	case len(c.Devices) == 0:
		return fault.New(fault.Invalid, "devices_missing", "Name the devices.").On("devices")
	case (c.Group == "") == (c.State == ""):
		return fault.New(fault.Invalid, "change_ambiguous", "Give a group to move the devices to, or a state, one of both.").On("state")
	case c.State != "" && !slices.Contains([]fleet.DeviceState{fleet.Active, fleet.Quarantined, fleet.Retired}, c.State):
		return fault.New(fault.Invalid, "state_unknown", "There is no device state %.80q; there are: active, quarantined, retired.", string(c.State)).On("state")
	}
	return checkText(c.Reason, "reason")
}

// named finds devices, each once, and checks that the actor may change them.
func named(v *index.View, who auth.Actor, refs []string) ([]index.Device, error) {
	var out []index.Device
	for _, ref := range refs {
		d, err := v.FindDevice(ref, who.Scope)
		if err != nil {
			return nil, err
		}
		if err := who.Can(ledger.Administrator, v.Tree(), d.Group); err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(out, func(o index.Device) bool { return o.ID == d.ID }) {
			out = append(out, d)
		}
	}
	return out, nil
}

// move builds the act that moves the devices which are not there yet; nil when all are.
func move(v *index.View, who auth.Actor, devices []index.Device, group string) (ledger.Body, error) {
	g, err := scope(v, who, ledger.Administrator, group, "")
	if err != nil {
		return nil, err
	}
	act := ledger.DeviceMove{Group: g.ID}
	for _, d := range devices {
		if d.Group != g.ID {
			act.IDs = append(act.IDs, d.ID)
		}
	}
	if len(act.IDs) == 0 {
		return nil, nil
	}
	return act, nil
}

// setState builds the act that changes the devices which are not in the state yet; nil when all are.
func setState(devices []index.Device, c client.DeviceChange) (ledger.Body, error) {
	act := ledger.DeviceState{State: c.State, Reason: c.Reason}
	for _, d := range devices {
		if d.State == fleet.Retired && c.State != fleet.Retired {
			return nil, fault.New(fault.Gone, "device_retired", "The device %s is retired; enrol it again instead.", d.Name).On("devices")
		}
		if d.State != c.State {
			act.IDs = append(act.IDs, d.ID)
		}
	}
	if len(act.IDs) == 0 {
		return nil, nil
	}
	return act, nil
}

// Enrol spends one use of a token and admits a new device with this key into the token's group. The
// device's id comes from its key; its name from what it says its host is called.
func (s *Service) Enrol(ctx context.Context, token wire.Token, key, hostname string) (fleet.Device, error) {
	if len(key) < idLength {
		return fleet.Device{}, fault.New(fault.Invalid, "key_invalid", "The device's key is not one.")
	}
	d := fleet.Device{ID: fleet.DeviceID("d" + strings.ToLower(key[:idLength])), State: fleet.Active, Key: key}
	d.Name = deviceName(hostname, d.ID)
	_, err := s.index.Act(ctx, "device:"+string(d.ID), func(v *index.View) (ledger.Body, error) {
		t, ok := v.State().Tokens[token.ID]
		same := subtle.ConstantTimeCompare([]byte(t.Secret), []byte(token.SecretHash())) == 1
		if !ok || !same {
			// One answer for a wrong id and a wrong secret: which of them was wrong helps only who guesses.
			return nil, fault.New(fault.Unauthenticated, "token_unknown", "The enrolment token is not known; make a new one with `assent token create`.").On("token")
		}
		d.Group, d.EnrolledAt = t.Group, micro(s.index.Now())
		return ledger.DeviceEnrol{Device: d, Token: token.ID}, nil
	})
	if err != nil {
		return fleet.Device{}, err
	}
	s.log.Info("device enrolled", "device", d.ID, "name", d.Name, "group", d.Group, "token", token.ID)
	return d, nil
}

// idLength is how many hex digits of the key's fingerprint make a device's id: 80 bits.
const idLength = 20

// deviceName makes a host name fit to be shown. A host that says nothing usable is called by its id.
func deviceName(hostname string, id fleet.DeviceID) string {
	name := strings.TrimSpace(strings.Map(func(r rune) rune {
		if r > unicode.MaxASCII || !unicode.IsGraphic(r) || r == ' ' {
			return -1
		}
		return r
	}, hostname))
	if r := []rune(name); len(r) > maxName {
		name = string(r[:maxName])
	}
	if name == "" {
		return string(id)
	}
	return name
}
