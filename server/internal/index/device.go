package index

import (
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"assent/catalog"
	"assent/fault"
	"assent/fleet"
	"assent/server/internal/store"
	"assent/wire"
)

type groupID = fleet.GroupID

// device is what the index keeps for a device besides the ledger's state. Its number is its place.
type device struct {
	id      fleet.DeviceID
	number  uint32
	decided fleet.Device // as in the ledger's state; replaced by place
	folded  string       // its name in lower case
	contact atomic.Pointer[store.Contact]
	polls   atomic.Int32 // open long polls
	refused atomic.Int64 // when it last refused a plan, Unix seconds; 0: never
	illegal atomic.Int64 // when it last reported what V1 does not allow, Unix seconds; 0: never

	rows     sync.Mutex // held while its installation states change
	installs map[catalog.UpdateID]*store.InstallRow
	recent   []string                       // ids of the last reports
	unsaved  []store.InstallRow             // what a scan established and the store did not take yet
	owes     atomic.Bool                    // there is such
	group    groupID                        // the bitmap it stands in; empty: none
	unfit    map[catalog.UpdateID]time.Time // updates whose probes failed here, by when; replaced by putInstall only

	rehearsing sync.Mutex // held while its rehearsal changes
	rehearsal  atomic.Pointer[wire.Rehearsal]

	facts     *document
	inventory *document
	available *document
}

// slot is where the device keeps its document of a kind.
func (d *device) slot(kind wire.Kind) **document {
	switch kind {
	case wire.KindFacts:
		return &d.facts
	case wire.KindInventory:
		return &d.inventory
	case wire.KindAvailable:
		return &d.available
	}
	return nil
}

// documents lists the documents the device has.
func (d *device) documents() []*document {
	return slices.DeleteFunc([]*document{d.facts, d.inventory, d.available}, func(doc *document) bool { return doc == nil })
}

// Device is a device in a View. What it points to is shared and must not be changed.
type Device struct {
	fleet.Device
	Number    uint32 // its place in the bitmaps; not stable across restarts
	Contact   store.Contact
	Facts     *wire.Facts // nil: not known yet
	Connected bool        // a long poll is open now, here or at another server, or was a moment ago
	Problems  []string    // what was wrong with its documents
	Refused   time.Time   // when it last refused a plan; zero: never
	Illegal   time.Time   // when it last reported a step that V1 does not allow; zero: never
	record    *device
}

// connectedGrace bridges the moment between two long polls.
const connectedGrace = 10 * time.Second

// view builds the Device of a record.
func (v *View) view(rec *device) Device {
	d := Device{Device: rec.decided, Number: rec.number, record: rec}
	if c := rec.contact.Load(); c != nil {
		d.Contact = *c
	}
	d.Connected = Brief{rec}.Connected(v.x.now())
	b := Brief{rec}
	d.Refused, d.Illegal, d.Facts, d.Problems = b.Refused(), b.Illegal(), b.Facts(), b.Problems()
	return d
}

// Scanned reports whether the device has said what is installed and what it could take.
func (d Device) Scanned() bool { return d.record.inventory != nil && d.record.available != nil }

// Inventory is what the device reported as installed, as a copy; nil when it is not known yet.
func (d Device) Inventory() *wire.Inventory { return d.record.inventory.readInventory() }

// Available is what the device reported that it could take, as a copy; nil when it is not known yet.
func (d Device) Available() *wire.Available { return d.record.available.readAvailable() }

// Packages iterates over the installed packages without copying them; it yields nothing while they are not
// known.
func (d Device) Packages() iter.Seq[wire.Package] {
	return func(yield func(wire.Package) bool) {
		if d.record.inventory == nil {
			return
		}
		for _, k := range d.record.inventory.packages {
			if !yield(k.Package) {
				return
			}
		}
	}
}

// Device returns a device.
func (v *View) Device(id fleet.DeviceID) (Device, bool) {
	n, ok := v.x.numbers[id]
	if !ok {
		return Device{}, false
	}
	return v.view(v.x.devices[n]), true
}

// Numbered returns the device with a number out of a bitmap.
func (v *View) Numbered(n uint32) Device { return v.view(v.x.devices[n]) }

// DeviceID returns the id of the device with a number.
func (v *View) DeviceID(n uint32) fleet.DeviceID { return v.x.devices[n].id }

// Devices iterates over the devices in a group and below, retired ones left out.
func (v *View) Devices(scope fleet.GroupID) iter.Seq[Device] {
	return func(yield func(Device) bool) {
		for it := v.In(scope).Iterator(); it.HasNext(); {
			if !yield(v.Numbered(it.Next())) {
				return
			}
		}
	}
}

// All iterates over all devices, retired ones too.
func (v *View) All() iter.Seq[Device] {
	return func(yield func(Device) bool) {
		for _, rec := range v.x.devices {
			if !yield(v.view(rec)) {
				return
			}
		}
	}
}

// Contacts iterates over the last that was heard from each device, retired ones too.
func (v *View) Contacts() iter.Seq[store.Contact] {
	return func(yield func(store.Contact) bool) {
		for _, rec := range v.x.devices {
			if c := rec.contact.Load(); c != nil && !yield(*c) {
				return
			}
		}
	}
}

// In is the set of devices in a group and below, retired ones left out. The caller may change it.
func (v *View) In(scope fleet.GroupID) *roaring.Bitmap { return v.x.in(scope) }

// Installs iterates over the recorded installation states of a device.
func (d Device) Installs() iter.Seq[store.InstallRow] {
	return func(yield func(store.InstallRow) bool) {
		for _, row := range d.record.installs {
			if !yield(*row) {
				return
			}
		}
	}
}

// Install returns the recorded installation state of an update, if one was ever reported.
func (d Device) Install(id catalog.UpdateID) (store.InstallRow, bool) {
	row, ok := d.record.installs[id]
	if !ok {
		return store.InstallRow{}, false
	}
	return *row, true
}

// FindDevice returns the device in scope or below with this id, unambiguous beginning of an id, or
// unambiguous name; a retired device does not stand in the way of one that took its name. The refusals
// are fault.NotFound and, with the candidates, fault.Invalid. Devices outside the scope do not exist here.
func (v *View) FindDevice(ref string, scope fleet.GroupID) (Device, error) {
	inside := map[groupID]bool{}
	for _, g := range v.x.tree.Subtree(scope) {
		inside[g] = true
	}
	if d, ok := v.Device(fleet.DeviceID(ref)); ok && inside[d.Group] {
		return d, nil
	}
	found := v.match(ref, inside)
	switch len(found) {
	case 0:
		return Device{}, fault.New(fault.NotFound, "device_unknown", "There is no device %q; `assent device list` shows all.", clip(ref)).On("device")
	case 1:
		return v.view(found[0]), nil
	}
	return Device{}, fault.New(fault.Invalid, "device_ambiguous", "%q names %d devices: %s. Give the id of one of them.", clip(ref), len(found), v.candidates(found)).On("device")
}

// match finds devices by name or, failing that, by the beginning of their ids.
func (v *View) match(ref string, inside map[groupID]bool) []*device {
	var named, retired, begun []*device
	for _, rec := range v.x.devices {
		d := &rec.decided
		switch {
		case !inside[d.Group]:
		case strings.EqualFold(d.Name, ref) && d.State == fleet.Retired:
			retired = append(retired, rec)
		case strings.EqualFold(d.Name, ref):
			named = append(named, rec)
		case len(ref) >= minPrefix && strings.HasPrefix(string(rec.id), ref):
			begun = append(begun, rec)
		}
	}
	for _, found := range [][]*device{named, retired, begun} {
		if len(found) > 0 {
			return found
		}
	}
	return nil
}

// candidates names up to five devices.
func (v *View) candidates(found []*device) string {
	var out []string
	for i, rec := range found {
		if i == maxCandidates {
			out = append(out, "…")
			break
		}
		d := &rec.decided
		group := v.x.state.Groups[d.Group]
		out = append(out, fmt.Sprintf("%s (%s in %s, %s)", d.ID, d.Name, group.Name, d.State))
	}
	return strings.Join(out, ", ")
}

const (
	minPrefix     = 4 // shortest beginning of an id that may stand for it
	maxCandidates = 5
)

// clip shortens what a caller gave before it is put into a message.
func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}

// enlist gives a device of the state its number. The caller holds x.mu.
func (x *Index) enlist(id fleet.DeviceID) *device {
	if n, ok := x.numbers[id]; ok {
		return x.devices[n]
	}
	rec := &device{id: id, number: uint32(len(x.devices)), installs: map[catalog.UpdateID]*store.InstallRow{}}
	x.numbers[id] = rec.number
	x.devices = append(x.devices, rec)
	return rec
}

// place takes over what the state says of a device, and puts it into the bitmap of its group and out of all others. The caller holds x.mu.
func (x *Index) place(id fleet.DeviceID) {
	rec, d := x.enlist(id), x.state.Devices[id]
	was := rec.decided
	if was.State != d.State && (was.State != "" || d.State != fleet.Active) {
		x.standings++
	}
	rec.decided = d
	x.roll.put(x.devices, rec, was)
	if b := x.groups[rec.group]; b != nil {
		b.Remove(rec.number)
	}
	rec.group = ""
	if d.State == fleet.Retired {
		return
	}
	b := x.groups[d.Group]
	if b == nil {
		b = roaring.New()
		x.groups[d.Group] = b
	}
	b.Add(rec.number)
	rec.group = d.Group
}

// PollOpened marks a device as connected until closed is called.
func (x *Index) PollOpened(id fleet.DeviceID) (closed func()) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	n, ok := x.numbers[id]
	if !ok {
		return func() {}
	}
	rec := x.devices[n]
	rec.polls.Add(1)
	return func() { rec.polls.Add(-1) }
}

// NumberOfDevices is how many devices there are, retired ones too; all Device.Number are below it.
func (v *View) NumberOfDevices() int { return len(v.x.devices) }

// Standings grows whenever a device stops being active or is active again, and not when one enrols.
func (v *View) Standings() int64 { return v.x.standings }

// Retired reports whether the device is.
func (d Device) Retired() bool { return d.State == fleet.Retired }

// Offered iterates over the updates that a device could take for something it has.
func (v *View) Offered(d Device) iter.Seq[Update] {
	return func(yield func(Update) bool) {
		if d.record.available == nil {
			return
		}
		for _, k := range d.record.available.offers {
			if k.known && !k.New && !yield(v.x.updates.entries[k.update].view()) {
				return
			}
		}
	}
}

// Own is the set of devices in the very group, retired ones left out; nil when there are none. It must not
// be changed.
func (v *View) Own(g fleet.GroupID) *roaring.Bitmap { return v.x.groups[g] }
