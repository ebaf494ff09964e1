package index

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"assent/fleet"
	"assent/wire"
)

// roll keeps devices, retired ones too, in the sets and in the order that lists of them are made from: a list looks
// at the devices of its page and not at all. The index's lock guards it.
type roll struct {
	sorted  bool                        // names is kept in order; not yet while the index is loaded
	names   []uint32                    // by folded name, then id
	groups  map[groupID]*roaring.Bitmap // in the very group
	states  map[fleet.DeviceState]*roaring.Bitmap
	restart *roaring.Bitmap // facts say that a restart is pending
	stale   *roaring.Bitmap // facts say that a package source has expired
}

func newRoll() roll {
	return roll{groups: map[groupID]*roaring.Bitmap{}, states: map[fleet.DeviceState]*roaring.Bitmap{}, restart: roaring.New(), stale: roaring.New()}
}

// sort puts all devices in order, once they are all there; from then on put keeps them so.
func (r *roll) sort(devices []*device) {
	r.names, r.sorted = make([]uint32, len(devices)), true
	for i := range r.names {
		r.names[i] = uint32(i)
	}
	slices.SortFunc(r.names, func(a, b uint32) int { return devices[a].compareName(devices[b].folded, devices[b].id) })
}

func (d *device) compareName(folded string, id fleet.DeviceID) int {
	return cmp.Or(strings.Compare(d.folded, folded), cmp.Compare(d.id, id))
}

// put takes over what the state says of a device now; was is what it said before, without an id when it did not know it.
func (r *roll) put(devices []*device, rec *device, was fleet.Device) {
	known := was.ID != ""
	if known {
		r.groups[was.Group].Remove(rec.number)
		r.states[was.State].Remove(rec.number)
	}
	member(r.groups, rec.decided.Group).Add(rec.number)
	member(r.states, rec.decided.State).Add(rec.number)
	if known {
		return // with the name that it was enrolled with: no act changes it
	}
	rec.folded = strings.ToLower(rec.decided.Name)
	if r.sorted {
		i, _ := slices.BinarySearchFunc(r.names, rec, func(n uint32, rec *device) int { return devices[n].compareName(rec.folded, rec.id) })
		r.names = slices.Insert(r.names, i, rec.number)
	}
}

// member returns the set under a key, made on first use.
func member[K comparable](sets map[K]*roaring.Bitmap, key K) *roaring.Bitmap {
	set := sets[key]
	if set == nil {
		set = roaring.New()
		sets[key] = set
	}
	return set
}

// spread applies f to the sets in which a device with these facts stands.
func (r *roll) spread(facts *wire.Facts, f func(*roaring.Bitmap)) {
	if len(facts.Restart) > 0 {
		f(r.restart)
	}
	if slices.ContainsFunc(facts.Origins, func(o wire.OriginHealth) bool { return o.Problem == "expired" }) {
		f(r.stale)
	}
}

// System is what a device runs. It is kept once for all devices that run the same.
type System struct{ OS, OSVersion, Codename, Arch, Kernel, Agent string }

type keptSystem struct {
	System
	refs int // documents that say it
}

// keepSystem returns the one record of what facts say that a device runs. The caller holds x.mu.
func (x *Index) keepSystem(f *wire.Facts) *keptSystem {
	s := System{OS: f.OS, OSVersion: f.OSVersion, Codename: f.Codename, Arch: f.Arch, Kernel: f.Kernel, Agent: f.Agent}
	k := x.kept.systems[s]
	if k == nil {
		k = &keptSystem{System: s}
		x.kept.systems[s] = k
	}
	k.refs++
	return k
}

func (x *Index) dropSystem(k *keptSystem) {
	if k.refs--; k.refs == 0 {
		delete(x.kept.systems, k.System)
	}
}

// ByName are the numbers of all devices, retired ones too, in the order of their names in lower case, and of their ids
// where those are the same. They must not be changed.
func (v *View) ByName() []uint32 { return v.x.roll.names }

// Members is the set of devices in any of the groups themselves, retired ones too. The caller may change it.
func (v *View) Members(groups []fleet.GroupID) *roaring.Bitmap {
	out := roaring.New()
	for _, g := range groups {
		if set := v.x.roll.groups[g]; set != nil {
			out.Or(set)
		}
	}
	return out
}

// InState is the set of all devices in a state. The caller may change it.
func (v *View) InState(s fleet.DeviceState) *roaring.Bitmap {
	if set := v.x.roll.states[s]; set != nil {
		return set.Clone()
	}
	return roaring.New()
}

// Restart is the set of devices that say that a restart is pending. It must not be changed.
func (v *View) Restart() *roaring.Bitmap { return v.x.roll.restart }

// Stale is the set of devices that say that a package source has expired. It must not be changed.
func (v *View) Stale() *roaring.Bitmap { return v.x.roll.stale }

// Brief is a device in a View as one looks at very many of them: one thing at a time, and nothing is copied. What it
// points to must not be changed.
type Brief struct{ rec *device }

// Brief returns the device with a number out of a bitmap.
func (v *View) Brief(n uint32) Brief { return Brief{v.x.devices[n]} }

// Number is its place in the bitmaps.
func (b Brief) Number() uint32 { return b.rec.number }

// ID is the device's id.
func (b Brief) ID() fleet.DeviceID { return b.rec.id }

// Name is the device's name.
func (b Brief) Name() string { return b.rec.decided.Name }

// Folded is the device's name in lower case.
func (b Brief) Folded() string { return b.rec.folded }

// Group is the group it is in.
func (b Brief) Group() fleet.GroupID { return b.rec.decided.Group }

// State is what people decided about the device itself.
func (b Brief) State() fleet.DeviceState { return b.rec.decided.State }

// EnrolledAt is when it was enrolled.
func (b Brief) EnrolledAt() time.Time { return b.rec.decided.EnrolledAt }

// LastSeen is when it was heard from last; zero: never.
func (b Brief) LastSeen() time.Time {
	if c := b.rec.contact.Load(); c != nil {
		return c.LastSeen
	}
	return time.Time{}
}

// Progress is what it said last of what it does.
func (b Brief) Progress() wire.Progress {
	if c := b.rec.contact.Load(); c != nil {
		return c.Progress
	}
	return wire.Progress{}
}

// Connected reports whether a long poll is open at a time, here or at another server, or was a moment ago.
func (b Brief) Connected(now time.Time) bool {
	if b.rec.polls.Load() > 0 {
		return true
	}
	c := b.rec.contact.Load()
	return c != nil && (now.Before(c.Held) || !c.LastSeen.IsZero() && now.Sub(c.LastSeen) < connectedGrace)
}

// Refused is when it last refused a plan; zero: never.
func (b Brief) Refused() time.Time { return second(b.rec.refused.Load()) }

// Illegal is when it last reported a step that V1 does not allow; zero: never.
func (b Brief) Illegal() time.Time { return second(b.rec.illegal.Load()) }

func second(at int64) time.Time {
	if at == 0 {
		return time.Time{}
	}
	return time.Unix(at, 0).UTC()
}

// Facts are what it said of itself; nil: not known yet.
func (b Brief) Facts() *wire.Facts {
	if b.rec.facts == nil {
		return nil
	}
	return b.rec.facts.facts
}

// System is what it runs, the same for all that run the same; nil: not known yet.
func (b Brief) System() *System {
	if b.rec.facts == nil {
		return nil
	}
	return &b.rec.facts.system.System
}

// Problems are what was wrong with its documents.
func (b Brief) Problems() (out []string) {
	for _, doc := range [...]*document{b.rec.facts, b.rec.inventory, b.rec.available} {
		if doc != nil && len(doc.problems) > 0 {
			out = append(out, doc.problems...)
		}
	}
	return out
}
