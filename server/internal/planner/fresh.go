package planner

import (
	"time"

	"assent/server/internal/index"
)

// manyDevices is from how many devices on a change counts as one of all of them.
const manyDevices = 4096

// ticks remembers which change was the last that may concern a device. It spares a device that nothing
// happened to the work of looking for its answer: that is nearly every check-in.
type ticks struct {
	now     uint64
	all     uint64   // the last change that may concern any device
	devices []uint64 // by number; those beyond its end: never
}

// note takes in a change.
func (t *ticks) note(c index.Change) {
	t.now++
	if c.All || c.Devices != nil && c.Devices.GetCardinality() >= manyDevices {
		t.all = t.now
		return
	}
	if c.Devices == nil || c.Devices.IsEmpty() {
		return
	}
	if n := int(c.Devices.Maximum()) + 1; n > len(t.devices) {
		t.devices = append(t.devices, make([]uint64, n-len(t.devices))...)
	}
	for it := c.Devices.Iterator(); it.HasNext(); {
		t.devices[it.Next()] = t.now
	}
}

// since reports whether a change after the tick may concern the device with a number.
func (t *ticks) since(tick uint64, number uint32) bool {
	return t.all > tick || int(number) < len(t.devices) && t.devices[number] > tick
}

// fresh reports whether a statement is certainly the device's current one: no change concerned the device and
// neither its answer nor half of its life has ended. The caller holds p.mu.
func (p *Planner) fresh(s issued, now time.Time) bool {
	return s.plan != "" && !p.ticks.since(s.tick, s.number) && now.Before(s.renew()) && (s.until.IsZero() || now.Before(s.until))
}
