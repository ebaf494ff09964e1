package index

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"assent/approval"
	"assent/catalog"
	"assent/fleet"
)

// PlanKey names everything but decisions that plan.Compute looks at for a device: devices with equal keys
// and equal Version have the same plan.
type PlanKey struct {
	Available string // digest
	Inventory string // digest
	Group     fleet.GroupID
	Tree      int64 // when the tree changed last
	State     fleet.DeviceState
	Rollbacks string // acts that are still to be done
	Deploys   string // acts that name the very device
	Unfit     string // updates whose probes failed on it
	Slots     string // whose turn it is, and until when, where tasks have a cap
	Selected  string // who it is, where tasks look at more than groups
}

// PlanKey returns the key of the device with a number, and a version that grows whenever a decision, an
// exception or a new file may have changed what plan.Compute says to this key. It is cheap: it is asked for
// every device after every change.
func (v *View) PlanKey(number uint32) (key PlanKey, version int64) {
	rec := v.x.devices[number]
	d := &rec.decided
	key = PlanKey{Group: d.Group, Tree: v.x.grown, State: d.State, Rollbacks: v.pending(number), Deploys: v.named(rec.id), Unfit: rec.unfitKey(), Slots: v.slotsKey(rec.id)}
	if v.x.tasks.selects {
		key.Selected = string(rec.id)
		if rec.facts != nil {
			key.Selected += " " + rec.facts.digest
		}
	}
	if rec.available != nil {
		key.Available = rec.available.digest
	}
	if rec.inventory != nil {
		key.Inventory = rec.inventory.digest
	}
	return key, v.version(rec, d.Group)
}

// Reported reports whether the device with a number ever reported a state.
func (v *View) Reported(number uint32) bool { return len(v.x.devices[number].installs) > 0 }

// version is the tick of the last change that matters to a device.
func (v *View) version(rec *device, group fleet.GroupID) int64 {
	last := max(v.x.newest(rec.available), v.x.newest(rec.inventory), v.x.managed)
	for _, g := range v.x.tree.Path(group) {
		last = max(last, v.x.decisions.walls[g])
	}
	if v.x.tree.Guard(group) == fleet.ApprovedOnly {
		last = max(last, v.x.decisions.granted)
	}
	return last
}

// pending names the rollbacks that are still to be done.
func (v *View) pending(number uint32) string {
	if len(v.x.rollbacks[number]) == 0 {
		return ""
	}
	var b strings.Builder
	for _, rb := range v.rollbacks(number) {
		fmt.Fprintf(&b, "%d ", rb.Act)
	}
	return b.String()
}

// expiry is a decision or exception that ends by itself.
type expiry struct {
	at       time.Time
	scope    fleet.GroupID
	software catalog.Software
	wall     bool // it concerns every device of the scope
}

// listExpiries lists what ends by itself. The caller holds x.mu.
func (x *Index) listExpiries() {
	var out []expiry
	for _, items := range [][]approval.Decision{x.decisions.declines.items, x.decisions.approvals.items} {
		for i := range items {
			if d := &items[i]; !d.Expires.IsZero() {
				out = append(out, expiry{at: d.Expires, scope: d.Scope, software: d.Release.Software, wall: d.Status == approval.Declined})
			}
		}
	}
	for _, list := range x.decisions.exceptions {
		for _, e := range list {
			out = append(out, expiry{at: e.Expires, scope: e.Scope, wall: true})
		}
	}
	slices.SortFunc(out, func(a, b expiry) int { return a.at.Compare(b.at) })
	x.decisions.expiring = out
}

// NextExpiry is the first moment after now at which a decision or exception that concerns the device ends
// by itself; zero when none will.
func (v *View) NextExpiry(d Device, now time.Time) time.Time {
	var path []fleet.GroupID
	for _, e := range v.x.decisions.expiring {
		if !e.at.After(now) {
			continue
		}
		if path == nil {
			path = v.x.tree.Path(d.Group)
		}
		if slices.Contains(path, e.scope) && (e.wall || v.x.tree.Guard(d.Group) == fleet.ApprovedOnly || v.speaksOf(d, e.software)) {
			return e.at
		}
	}
	return time.Time{}
}

// speaksOf reports whether the device's documents mention a piece of software.
func (v *View) speaksOf(d Device, s catalog.Software) bool {
	n, ok := v.x.software.numbers[nameKey{s.Ecosystem, s.Name}]
	return ok && v.x.software.devices[n].Contains(d.Number)
}
