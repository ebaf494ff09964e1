package decide

import (
	"cmp"
	"context"
	"iter"
	"slices"
	"strings"

	"github.com/RoaringBitmap/roaring/v2"

	"assent/client"
	"assent/fleet"
	"assent/ledger"
	"assent/server/internal/auth"
	"assent/server/internal/index"
	"assent/wire"
)

// Devices lists the devices of a group and below (the actor's own scope by default), retired ones too.
func (s *Service) Devices(_ context.Context, who auth.Actor, q client.DeviceQuery, p client.Page) (client.List[client.DeviceRow], error) {
	out := client.List[client.DeviceRow]{Items: []client.DeviceRow{}}
	err := s.look(func(m *moment) error {
		set, err := m.devices(who, q)
		if err != nil {
			return err
		}
		page, err := m.devicePage(set, p)
		if err != nil {
			return err
		}
		out.Total, out.Next = page.total, page.next
		for _, n := range page.items {
			out.Items = append(out.Items, m.deviceRow(m.Numbered(n)))
		}
		return nil
	})
	return out, err
}

// byName is the column whose order the index keeps.
const byName = "name"

// walked is from which share of all devices on the order of the index is walked along to a page of some of them: with
// fewer, looking at each of those few is less work.
const walked = 16

// devicePage cuts a page out of a set of devices.
func (m *moment) devicePage(set *roaring.Bitmap, p client.Page) (part[uint32], error) {
	keys := m.deviceColumns()
	column := strings.TrimPrefix(cmp.Or(p.Sort, byName), "-")
	key, ok := keys[column]
	if !ok {
		return part[uint32]{}, unknownColumn(p.Sort, keys)
	}
	pick, err := newPager(func(n uint32) sortKey { return key(m.Brief(n)) }, compareKeys, func(n uint32) string { return string(m.DeviceID(n)) }, p, byName)
	if err != nil {
		return part[uint32]{}, err
	}
	total := int(set.GetCardinality())
	if column == byName && total > m.NumberOfDevices()/walked {
		pick.walk(m.ByName(), set.Contains)
	} else {
		for n := range numbers(set) {
			pick.offer(n)
		}
	}
	pick.total = total
	return pick.page(), nil
}

// numbers iterates over a set.
func numbers(set *roaring.Bitmap) iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		const many = 256
		var part [many]uint32
		for it := set.ManyIterator(); ; {
			n := it.NextMany(part[:])
			if n == 0 {
				return
			}
			for _, number := range part[:n] {
				if !yield(number) {
					return
				}
			}
		}
	}
}

// devices selects devices.
func (m *moment) devices(who auth.Actor, q client.DeviceQuery) (*roaring.Bitmap, error) {
	if q.State != "" && !slices.Contains(deviceStates(), q.State) {
		return nil, unknownValue("state", string(q.State), joined(deviceStates()))
	}
	if q.Only != "" && !slices.Contains(client.DeviceOnlies(), q.Only) {
		return nil, unknownValue("only", string(q.Only), joined(client.DeviceOnlies()))
	}
	g, err := scope(m.View, who, ledger.Viewer, q.Group, who.Scope)
	if err != nil {
		return nil, err
	}
	groups := []fleet.GroupID{g.ID}
	if !q.Here {
		groups = m.Tree().Subtree(g.ID)
	}
	set := m.Members(groups)
	if q.State != "" {
		set.And(m.InState(q.State))
	}
	if q.Only != "" {
		set.And(m.InState(fleet.Active))
		set = m.only(set, q.Only)
	}
	for word := range strings.FieldsSeq(strings.ToLower(q.Search)) {
		set = m.described(set, groups, word)
	}
	return set, nil
}

func deviceStates() []fleet.DeviceState {
	return []fleet.DeviceState{fleet.Active, fleet.Quarantined, fleet.Retired}
}

// only is the part of a set of devices of which something can be said.
func (m *moment) only(set *roaring.Bitmap, what client.DeviceOnly) *roaring.Bitmap {
	switch what {
	case client.OnlyConnected:
		return m.pick(set, func(d index.Brief) bool { return d.Connected(m.now) })
	case client.OnlySilent:
		return m.pick(set, m.isSilent)
	case client.OnlyRestart:
		return roaring.And(set, m.Restart())
	case client.OnlyStale:
		return roaring.And(set, m.Stale())
	}
	return roaring.New()
}

func (m *moment) isSilent(d index.Brief) bool {
	seen := d.LastSeen()
	if seen.IsZero() {
		seen = d.EnrolledAt()
	}
	return m.now.Sub(seen) >= m.silent && !d.Connected(m.now)
}

// pick looks at each device of a set.
func (m *moment) pick(set *roaring.Bitmap, keep func(index.Brief) bool) *roaring.Bitmap {
	var out []uint32
	for n := range numbers(set) {
		if keep(m.Brief(n)) {
			out = append(out, n)
		}
	}
	return roaring.BitmapOf(out...)
}

// described is the part of a set of devices of the groups in whose descriptions a word is found. What devices share, their
// groups and systems, is searched once.
func (m *moment) described(set *roaring.Bitmap, groups []fleet.GroupID, word string) *roaring.Bitmap {
	named := m.Members(slices.DeleteFunc(slices.Clone(groups), func(g fleet.GroupID) bool { return !strings.Contains(strings.ToLower(m.name(g)), word) }))
	named.And(set)
	systems := map[*index.System]bool{}
	found := m.pick(roaring.AndNot(set, named), func(d index.Brief) bool {
		if strings.Contains(d.Folded(), word) || strings.Contains(strings.ToLower(string(d.ID())), word) {
			return true
		}
		s := d.System()
		if s == nil {
			return false
		}
		fits, known := systems[s]
		if !known {
			fits = slices.ContainsFunc([]string{s.OS, s.OSVersion, s.Codename, s.Arch, s.Kernel}, func(text string) bool { return strings.Contains(strings.ToLower(text), word) })
			systems[s] = fits
		}
		return fits
	})
	found.Or(named)
	return found
}

// deviceColumns are the columns that devices can be sorted by.
func (m *moment) deviceColumns() map[string]func(index.Brief) sortKey {
	number := func(of func(index.Brief) int) func(index.Brief) sortKey {
		return func(d index.Brief) sortKey { return sortKey{N: int64(of(d))} }
	}
	system := func(of func(*index.System) string) func(index.Brief) sortKey {
		return func(d index.Brief) sortKey {
			if s := d.System(); s != nil {
				return sortKey{S: of(s)}
			}
			return sortKey{}
		}
	}
	return map[string]func(index.Brief) sortKey{
		"id":          func(d index.Brief) sortKey { return sortKey{S: string(d.ID())} },
		byName:        func(d index.Brief) sortKey { return sortKey{S: d.Folded()} },
		"group":       remembered(index.Brief.Group, func(g fleet.GroupID) sortKey { return sortKey{S: strings.ToLower(m.name(g))} }),
		"state":       func(d index.Brief) sortKey { return sortKey{S: string(d.State())} },
		"last_seen":   func(d index.Brief) sortKey { return sortKey{N: d.LastSeen().UnixMicro()} },
		"last_useful": func(d index.Brief) sortKey { return sortKey{N: lastUseful(d.Progress()).UnixMicro()} },
		"connected":   func(d index.Brief) sortKey { return sortKey{N: truth(d.Connected(m.now))} },
		"os": remembered(index.Brief.System, func(s *index.System) sortKey {
			if s == nil {
				return sortKey{}
			}
			return sortKey{S: systemName(s.OS, s.OSVersion, s.Codename)}
		}),
		"arch":    system(func(s *index.System) string { return s.Arch }),
		"agent":   system(func(s *index.System) string { return s.Agent }),
		"problem": func(d index.Brief) sortKey { return sortKey{S: problem(d.Progress(), d.Facts(), d.Problems())} },
		"pending": number(func(d index.Brief) int { return m.board.Pending(d.Number()) }),
		"planned": number(func(d index.Brief) int { return m.board.Told(d.Number()).Planned }),
		"blocked": number(func(d index.Brief) int { return m.board.Told(d.Number()).Blocked }),
		"failed":  number(func(d index.Brief) int { return m.board.Told(d.Number()).Failed }),
		"restart": func(d index.Brief) sortKey { return sortKey{N: truth(m.Restart().Contains(d.Number()))} },
	}
}

// remembered makes the sort key of what many devices share once.
func remembered[K comparable](of func(index.Brief) K, key func(K) sortKey) func(index.Brief) sortKey {
	made := map[K]sortKey{}
	return func(d index.Brief) sortKey {
		k := of(d)
		out, ok := made[k]
		if !ok {
			out = key(k)
			made[k] = out
		}
		return out
	}
}

// DevicesNamed returns devices by id or unambiguous name, each once, in the order in which they were named. One that is
// not there, or not in the actor's scope, is a refusal.
func (s *Service) DevicesNamed(_ context.Context, who auth.Actor, refs []string) ([]client.DeviceRow, error) {
	out := []client.DeviceRow{}
	err := s.look(func(m *moment) error {
		if _, err := scope(m.View, who, ledger.Viewer, "", who.Scope); err != nil {
			return err
		}
		seen := map[fleet.DeviceID]bool{}
		for _, ref := range refs {
			d, err := m.FindDevice(ref, who.Scope)
			if err != nil {
				return err
			}
			if !seen[d.ID] {
				seen[d.ID] = true
				out = append(out, m.deviceRow(d))
			}
		}
		return nil
	})
	return out, err
}

// Device returns everything about one device but its events.
func (s *Service) Device(_ context.Context, who auth.Actor, reference string) (client.DeviceDetail, error) {
	var out client.DeviceDetail
	err := s.look(func(m *moment) error {
		if _, err := scope(m.View, who, ledger.Viewer, "", who.Scope); err != nil {
			return err
		}
		d, err := m.FindDevice(reference, who.Scope)
		if err != nil {
			return err
		}
		out = m.deviceDetail(d)
		return nil
	})
	return out, err
}

func (m *moment) deviceDetail(d index.Device) client.DeviceDetail {
	out := client.DeviceDetail{DeviceRow: m.deviceRow(d), EnrolledAt: d.EnrolledAt, Progress: progressOf(d), Guard: m.Tree().Guard(d.Group), Updates: []client.DeviceUpdate{}, Rehearsal: m.rehearsalOf(d)}
	if d.Facts != nil {
		out.Facts = *d.Facts
	}
	for range d.Packages() {
		out.Packages++
	}
	for _, verdict := range m.planner.Verdicts(m.View, d) {
		if u, ok := m.Update(verdict.Update); ok {
			out.Updates = append(out.Updates, m.standing(d, u, verdict))
		}
	}
	return out
}

// progressOf is the device's progress, made harmless to show.
func progressOf(d index.Device) wire.Progress {
	p := d.Contact.Progress
	p.Doing, p.Error = printable(p.Doing), printable(p.Error)
	return p
}
