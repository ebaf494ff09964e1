package index

import (
	"context"
	"fmt"

	"github.com/RoaringBitmap/roaring/v2"

	"assent/fault"
	"assent/fleet"
	"assent/installation"
	"assent/server/internal/store"
	"assent/wire"
)

// Rehearsed keeps what a device found when it rehearsed its plan, in place of what it found before.
func (x *Index) Rehearsed(ctx context.Context, id fleet.DeviceID, r wire.Rehearsal) error {
	x.mu.RLock()
	n, ok := x.numbers[id]
	var rec *device
	if ok {
		rec = x.devices[n]
	}
	x.mu.RUnlock()
	if !ok {
		return fault.New(fault.NotFound, "device_unknown", "There is no device %q.", id)
	}
	if now := x.now().UTC(); r.At.After(now) {
		r.At = now // a fast clock must not make it stay for ever
	}
	rec.rehearsing.Lock()
	defer rec.rehearsing.Unlock()
	if err := x.store.SaveRehearsal(ctx, store.Rehearsal{Device: id, Rehearsal: r}); err != nil {
		return fmt.Errorf("keep the rehearsal of device %s: %w", id, err)
	}
	rec.rehearsal.Store(&r)
	x.changes.publish(Change{Devices: roaring.New()}) // no verdict changes by it
	return nil
}

// Rehearsal is what the device found when it last rehearsed its plan; nil: it never did. It must not be changed.
func (d Device) Rehearsal() *wire.Rehearsal { return d.record.rehearsal.Load() }

// WouldFail lists what would fail by the device's last rehearsal, without what was installed since; nothing where its inventory is
// another now. Whether its plan still orders it is the planner's to say.
func (d Device) WouldFail() []wire.Rehearsed {
	r := d.Rehearsal()
	if r == nil || d.State != fleet.Active || d.Contact.Digests[wire.KindInventory] != r.Inventory {
		return nil
	}
	var out []wire.Rehearsed
	for _, u := range r.Updates {
		if row, ok := d.Install(u.Update); u.Fails() && !(ok && row.State == installation.Installed) {
			out = append(out, u)
		}
	}
	return out
}

// loadRehearsals reads what devices found last.
func (x *Index) loadRehearsals(ctx context.Context) error {
	err := x.store.LoadRehearsals(ctx, func(r store.Rehearsal) error {
		if n, ok := x.numbers[r.Device]; ok {
			x.devices[n].rehearsal.Store(&r.Rehearsal)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("load rehearsals: %w", err)
	}
	return nil
}
