package server

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"time"

	"assent/fault"
	"assent/fleet"
	"assent/ledger"
	"assent/server/internal/gateway"
	"assent/server/internal/index"
	"assent/server/internal/peers"
	"assent/server/internal/planner"
	"assent/server/internal/store"
	"assent/wire"
)

// enroller admits devices; *roster.Service is one.
type enroller interface {
	Enrol(ctx context.Context, token wire.Token, key, hostname string) (fleet.Device, error)
}

// devices is what the gateway stands on: the index and the roster in the gateway's words.
type devices struct {
	index  *index.Index
	roster enroller
	now    func() time.Time
}

var (
	_ gateway.Roster   = devices{}
	_ gateway.Acts     = devices{}
	_ gateway.Facts    = (*index.Index)(nil)
	_ gateway.Presence = (*index.Index)(nil)
	_ gateway.Contacts = contacts{}
	_ gateway.Planner  = (*planner.Planner)(nil)
	_ gateway.Others   = (*peers.Peers)(nil)
)

// contacts keeps contacts in the database and reads them from memory, where the index has them since the start.
type contacts struct {
	*store.DB
	index *index.Index
}

// LoadContacts calls each with all contacts. each must not call the index.
func (c contacts) LoadContacts(_ context.Context, each func(store.Contact) error) (err error) {
	c.index.View(func(v *index.View) {
		for contact := range v.Contacts() {
			if err = each(contact); err != nil {
				return
			}
		}
	})
	return err
}

// Device answers from memory.
func (d devices) Device(id fleet.DeviceID) (dev fleet.Device, ok bool) {
	d.index.View(func(v *index.View) { dev, ok = v.State().Devices[id] })
	return dev, ok
}

// again is how long a device whose enrolment's reply was lost may ask for it once more.
const again = 15 * time.Minute

// Enrol admits a device. A device that was admitted moments ago with this very key and token gets the
// same answer again: its key proves that it is the same one, and the first reply was lost.
func (d devices) Enrol(ctx context.Context, token wire.Token, key, hostname string) (fleet.Device, error) {
	dev, err := d.roster.Enrol(ctx, token, key, hostname)
	if err == nil || !errors.Is(err, fault.Gone) && !errors.Is(err, fault.Conflict) {
		return dev, err
	}
	found := false
	d.index.View(func(v *index.View) {
		t, ok := v.State().Tokens[token.ID]
		same := subtle.ConstantTimeCompare([]byte(t.Secret), []byte(token.SecretHash())) == 1
		if !ok || !same || t.Revoked || !d.now().Before(t.Expires) {
			return
		}
		for _, old := range v.State().Devices {
			if old.Key == key && old.State == fleet.Active && d.now().Sub(old.EnrolledAt) < again {
				dev, found = old, true
			}
		}
	})
	if found {
		return dev, nil
	}
	return fleet.Device{}, err
}

// Renewed replaces a device's key, once.
func (d devices) Renewed(ctx context.Context, id fleet.DeviceID, old, key string) error {
	_, err := d.index.Act(ctx, "device:"+string(id), func(v *index.View) (ledger.Body, error) {
		switch v.State().Devices[id].Key {
		case key:
			return nil, nil
		case old:
			return ledger.DeviceRenew{ID: id, Key: key}, nil
		}
		return nil, fault.New(fault.Conflict, "certificate_superseded", "The device's key changed meanwhile; connect again.")
	})
	if err != nil {
		return fmt.Errorf("record the new key of device %s: %w", id, err)
	}
	return nil
}

// Quarantine takes a device out, once, and leaves an event.
func (d devices) Quarantine(ctx context.Context, id fleet.DeviceID, reason string) error {
	entry, err := d.index.Act(ctx, "server", func(v *index.View) (ledger.Body, error) {
		if v.State().Devices[id].State != fleet.Active {
			return nil, nil
		}
		return ledger.DeviceState{IDs: []fleet.DeviceID{id}, State: fleet.Quarantined, Reason: reason}, nil
	})
	if err != nil || entry.Seq == 0 {
		return err
	}
	return d.index.Record(ctx, id, "clone_quarantined", reason)
}

// Leave retires a device as its own act, once.
func (d devices) Leave(ctx context.Context, id fleet.DeviceID) error {
	_, err := d.index.Act(ctx, "device:"+string(id), func(v *index.View) (ledger.Body, error) {
		if v.State().Devices[id].State != fleet.Active {
			return nil, nil
		}
		return ledger.DeviceState{IDs: []fleet.DeviceID{id}, State: fleet.Retired, Reason: "It left by itself (assent-agent leave)."}, nil
	})
	return err
}

// standing tells the gateway when devices leave or come back, so that open connections of a retired or
// quarantined device end at once and a released one starts with a clean slate.
type standing struct {
	index *index.Index
	gw    *gateway.Gateway
}

// follow compares the devices that are not active with those of the moment before, after every act that may have changed
// them, until ctx ends. Other acts, and changes that are none (documents, reports), cost it next to nothing.
func (s standing) follow(ctx context.Context) error {
	out, _, standings := s.out()
	for seen := s.index.Seq(); ; {
		var err error
		if seen, err = s.index.WaitChange(ctx, seen); err != nil {
			return nil //nolint:nilerr // ctx ended: the server stops
		}
		if s.standings() == standings {
			continue
		}
		var now map[fleet.DeviceID]bool
		var act int64
		now, act, standings = s.out()
		s.gw.Forget(missing(now, out), act)
		s.gw.Interrupt(missing(now, out))
		s.gw.Forget(missing(out, now), act)
		out = now
	}
}

// standings is how often a device stopped being active or was active again.
func (s standing) standings() (n int64) {
	s.index.View(func(v *index.View) { n = v.Standings() })
	return n
}

// out is the set of devices that are not active, as of the act.
func (s standing) out() (out map[fleet.DeviceID]bool, act, standings int64) {
	out = map[fleet.DeviceID]bool{}
	s.index.View(func(v *index.View) {
		act, standings = v.State().Seq, v.Standings()
		for id, d := range v.State().Devices {
			if d.State != fleet.Active {
				out[id] = true
			}
		}
	})
	return out, act, standings
}

// missing lists what is in a and not in b.
func missing(a, b map[fleet.DeviceID]bool) []fleet.DeviceID {
	var out []fleet.DeviceID
	for id := range a {
		if !b[id] {
			out = append(out, id)
		}
	}
	return out
}
