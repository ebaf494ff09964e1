package gateway

import (
	"context"
	"testing"

	"assent/fleet"
	"assent/ledger"
	"assent/server/internal/index"
	"assent/server/internal/index/indextest"
	"assent/server/internal/planner"
	"assent/wire"
)

// whole is a gateway's roster on a real index. It asks nobody for enrolment tokens.
type whole struct{ index *index.Index }

// newWhole is a gateway with the real index and the real planner behind it.
func newWhole(t testing.TB) *bench {
	t.Helper()
	w := indextest.New(t)
	b := &bench{t: t, w: newWorld(), clock: &clock{}, limits: Limits{DeviceEvery: 1}} // a load asks faster than any device
	p, err := planner.New(planner.Config{Index: w.Index, Signer: b.w.planKey})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	b.behind = func(c *Config) {
		c.Roster, c.Acts, c.Facts, c.Presence, c.Contacts, c.Planner = whole{w.Index}, whole{w.Index}, w.Index, w.Index, w.Store, p
	}
	return openBench(b)
}

func (x whole) Device(id fleet.DeviceID) (d fleet.Device, ok bool) {
	x.index.View(func(v *index.View) { d, ok = v.State().Devices[id] })
	return d, ok
}

func (x whole) Enrol(ctx context.Context, _ wire.Token, key, hostname string) (fleet.Device, error) {
	d := fleet.Device{ID: fleet.DeviceID("d" + key[:20]), Name: hostname, Group: fleet.Root, State: fleet.Active, Key: key, EnrolledAt: base}
	_, err := x.index.Act(ctx, "device:"+string(d.ID), func(*index.View) (ledger.Body, error) { return ledger.DeviceEnrol{Token: "test", Device: d}, nil })
	return d, err
}

func (whole) Leave(context.Context, fleet.DeviceID) error { return nil }

func (whole) Renewed(context.Context, fleet.DeviceID, string, string) error { return nil }

func (x whole) Quarantine(ctx context.Context, id fleet.DeviceID, reason string) error {
	_, err := x.index.Act(ctx, "server", func(*index.View) (ledger.Body, error) {
		return ledger.DeviceState{IDs: []fleet.DeviceID{id}, State: fleet.Quarantined, Reason: reason}, nil
	})
	return err
}
