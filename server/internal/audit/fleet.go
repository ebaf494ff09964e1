package audit

import (
	"assent/catalog"
	"assent/fleet"
	"assent/server/internal/auth"
	"assent/server/internal/index"
)

// Fleet knows the names of things, and who may see which device.
type Fleet interface {
	Org() string
	// Names is a consistent moment's names, cheap to ask for.
	Names() Names
	// Device finds a device that who may see by id, unique beginning of an id, or name.
	Device(who auth.Actor, ref string) (fleet.DeviceID, error)
	// Update finds an update by id, package URL or name@version.
	Update(ref string) (catalog.UpdateID, error)
	// Sees tells whether who may see a device.
	Sees(who auth.Actor, id fleet.DeviceID) bool
}

// Names says what things are called now. For what is gone it gives the id.
type Names interface {
	Group(fleet.GroupID) string
	Device(fleet.DeviceID) string
	Update(catalog.UpdateID) string
}

// IndexFleet is the Fleet of the running server.
type IndexFleet struct{ Index *index.Index }

// Org is the id of this installation.
func (f IndexFleet) Org() (org string) {
	f.Index.View(func(v *index.View) { org = v.State().Server.Org })
	return org
}

// Names looks each name up when it is asked for.
func (f IndexFleet) Names() Names { return indexNames(f) }

// Device finds a device inside the actor's scope; outside it there is none.
func (f IndexFleet) Device(who auth.Actor, ref string) (id fleet.DeviceID, err error) {
	f.Index.View(func(v *index.View) {
		var d index.Device
		d, err = v.FindDevice(ref, who.Scope)
		id = d.ID
	})
	return id, err
}

// Update finds an update.
func (f IndexFleet) Update(ref string) (id catalog.UpdateID, err error) {
	f.Index.View(func(v *index.View) {
		var u index.Update
		u, err = v.Resolve(ref)
		id = u.ID
	})
	return id, err
}

// Sees tells whether a device is in the actor's scope. A device that is gone is seen by those who see all.
func (f IndexFleet) Sees(who auth.Actor, id fleet.DeviceID) (sees bool) {
	f.Index.View(func(v *index.View) {
		d, ok := v.State().Devices[id]
		sees = who.Scope == fleet.Root || ok && v.Tree().Contains(who.Scope, d.Group)
	})
	return sees
}

type indexNames struct{ Index *index.Index }

func (n indexNames) Group(id fleet.GroupID) (name string) {
	n.Index.View(func(v *index.View) {
		name = string(id)
		if g, ok := v.State().Groups[id]; ok {
			name = g.Name
		}
	})
	return name
}

func (n indexNames) Device(id fleet.DeviceID) (name string) {
	n.Index.View(func(v *index.View) {
		name = string(id)
		if d, ok := v.State().Devices[id]; ok {
			name = d.Name
		}
	})
	return name
}

func (n indexNames) Update(id catalog.UpdateID) (name string) {
	n.Index.View(func(v *index.View) {
		name = string(id)
		if u, ok := v.Update(id); ok {
			name = u.Name + " " + u.Version
		}
	})
	return name
}
