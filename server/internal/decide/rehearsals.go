package decide

import (
	"cmp"
	"context"
	"iter"
	"slices"
	"strings"

	"github.com/RoaringBitmap/roaring/v2"

	"assent/catalog"
	"assent/client"
	"assent/installation"
	"assent/ledger"
	"assent/plan"
	"assent/server/internal/auth"
	"assent/server/internal/index"
	"assent/server/internal/planner"
	"assent/wire"
)

// rehearsed is what a device found beforehand about an update that it has still to install.
type rehearsed struct {
	device index.Device
	update index.Update
	found  wire.Rehearsed
	stale  bool
}

// Rehearsals lists what devices found beforehand about what they have still to install.
func (s *Service) Rehearsals(_ context.Context, who auth.Actor, q client.RehearsalQuery, p client.Page) (client.List[client.RehearsalRow], error) {
	out := client.List[client.RehearsalRow]{Items: []client.RehearsalRow{}}
	err := s.look(func(m *moment) error {
		rows, err := m.rehearsals(who, q)
		if err != nil {
			return err
		}
		keys := m.rehearsalColumns()
		key, ok := keys[strings.TrimPrefix(cmp.Or(p.Sort, "device"), "-")]
		if !ok {
			return unknownColumn(p.Sort, keys)
		}
		page, err := paginate(rows, key, compareKeys, func(r rehearsed) string { return string(r.device.ID) + " " + string(r.update.ID) }, p, "device")
		if err != nil {
			return err
		}
		out.Total, out.Next = page.total, page.next
		for _, r := range page.items {
			out.Items = append(out.Items, client.RehearsalRow{Device: r.device.ID, DeviceName: r.device.Name, Group: m.name(r.device.Group),
				Update: r.update.ID, Name: r.update.Name, Version: r.update.Version, Rehearsed: *shown(r)})
		}
		return nil
	})
	return out, err
}

func (m *moment) rehearsalColumns() map[string]func(rehearsed) sortKey {
	return map[string]func(rehearsed) sortKey{
		"device": func(r rehearsed) sortKey { return sortKey{S: strings.ToLower(r.device.Name)} },
		"name":   func(r rehearsed) sortKey { return sortKey{S: r.update.Name} },
		"cause":  func(r rehearsed) sortKey { return sortKey{S: string(r.found.Cause)} },
		"opens":  func(r rehearsed) sortKey { return sortKey{N: r.found.Opens.Unix()} },
	}
}

// rehearsals selects what was asked for.
func (m *moment) rehearsals(who auth.Actor, q client.RehearsalQuery) (iter.Seq[rehearsed], error) {
	if q.Only != "" && !slices.Contains(client.RehearsalOnlies(), q.Only) {
		return nil, unknownValue("only", string(q.Only), joined(client.RehearsalOnlies()))
	}
	g, err := scope(m.View, who, ledger.Viewer, q.Group, who.Scope)
	if err != nil {
		return nil, err
	}
	devices := m.In(g.ID)
	if q.Device != "" {
		d, err := m.FindDevice(q.Device, who.Scope)
		if err != nil {
			return nil, err
		}
		devices.And(roaring.BitmapOf(d.Number))
	}
	var update catalog.UpdateID
	if q.Update != "" {
		u, err := m.Resolve(q.Update)
		if err != nil {
			return nil, err
		}
		update = u.ID
	}
	return func(yield func(rehearsed) bool) {
		for r := range m.rehearsedOn(devices) {
			wanted := q.Only == client.RehearsalAll || q.Only == client.RehearsalKept && len(r.found.Kept) > 0 || q.Only == "" && r.found.Fails()
			if wanted && (update == "" || r.update.ID == update) && (q.Cause == "" || r.found.Cause == q.Cause) && !yield(r) {
				return
			}
		}
	}, nil
}

// rehearsedOn goes through what devices found about what they have still to install.
func (m *moment) rehearsedOn(devices *roaring.Bitmap) iter.Seq[rehearsed] {
	return func(yield func(rehearsed) bool) {
		for it := devices.Iterator(); it.HasNext(); {
			d := m.Numbered(it.Next())
			r := d.Rehearsal()
			if r == nil || len(r.Updates) == 0 {
				continue
			}
			open, stale := m.toCome(d), m.stale(d, r)
			for _, found := range r.Updates {
				if u, ok := m.Update(found.Update); ok && open.Contains(u.Number) && !yield(rehearsed{d, u, found, stale}) {
					return
				}
			}
		}
	}
}

// toCome is the set of updates that a device is to install, now, once a ring opens or once it is its turn.
func (m *moment) toCome(d index.Device) *roaring.Bitmap {
	out := roaring.New()
	for _, l := range m.board.Lines(d.Number) {
		if awaited(l) {
			out.Add(l.Update)
		}
	}
	return out
}

func awaited(l planner.Line) bool {
	switch l.State {
	case installation.Installed, installation.RestartRequired:
		return false
	}
	return l.Action == plan.Install || l.Action == plan.Hold && (l.Cause == installation.RingNotOpen || l.Cause == installation.TooManyAtOnce)
}

// stale reports whether a device's plan or inventory is another than the one that was rehearsed.
func (m *moment) stale(d index.Device, r *wire.Rehearsal) bool {
	digest, err := m.planner.Digest(m.View, d)
	return err != nil || digest != r.Plan || d.Contact.Digests[wire.KindInventory] != r.Inventory
}

// shown is what was found as it is told.
func shown(r rehearsed) *client.Rehearsed {
	f := r.found
	return &client.Rehearsed{At: r.device.Rehearsal().At, Cause: f.Cause, Detail: f.Detail, Needs: f.Needs, Opens: f.Opens, Ring: f.Ring, Kept: f.Kept, Unsure: f.Unsure, Stale: r.stale}
}

// rehearsedAs is what a device found beforehand about an update; nil where it is not to install it, or never rehearsed that.
func (m *moment) rehearsedAs(d index.Device, u index.Update) *client.Rehearsed {
	r := d.Rehearsal()
	if r == nil {
		return nil
	}
	i := slices.IndexFunc(r.Updates, func(x wire.Rehearsed) bool { return x.Update == u.ID })
	if i < 0 || !slices.ContainsFunc(m.board.Lines(d.Number), func(l planner.Line) bool { return l.Update == u.Number && awaited(l) }) {
		return nil
	}
	return shown(rehearsed{d, u, r.Updates[i], m.stale(d, r)})
}

// rehearsalOf sums up a device's last rehearsal; nil: it never rehearsed.
func (m *moment) rehearsalOf(d index.Device) *client.DeviceRehearsal {
	r := d.Rehearsal()
	if r == nil {
		return nil
	}
	out := client.DeviceRehearsal{At: r.At, Left: r.Left, Stale: m.stale(d, r)}
	for x := range m.rehearsedOn(roaring.BitmapOf(d.Number)) {
		if x.found.Fails() {
			out.Fail++
		} else {
			out.Pass++
		}
	}
	return &out
}

// rehearsalFigures sums up what was rehearsed on devices and is still to come.
func (m *moment) rehearsalFigures(devices *roaring.Bitmap) client.RehearsalFigures {
	var out client.RehearsalFigures
	updates, failing, fresh, old := roaring.New(), roaring.New(), roaring.New(), roaring.New()
	for r := range m.rehearsedOn(devices) {
		if r.stale {
			old.Add(r.device.Number)
		} else {
			fresh.Add(r.device.Number)
		}
		if r.found.Fails() {
			updates.Add(r.update.Number)
			failing.Add(r.device.Number)
			out.Failures++
		} else if len(r.found.Kept) > 0 {
			out.Kept++
		}
	}
	out.Updates, out.Devices = int(updates.GetCardinality()), int(failing.GetCardinality())
	out.Rehearsed, out.Stale = int(fresh.GetCardinality()), int(old.GetCardinality())
	return out
}
