package decide

import (
	"cmp"
	"context"
	"iter"
	"slices"
	"strings"

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
		rows, err := m.devices(who, q)
		if err != nil {
			return err
		}
		keys := m.deviceColumns()
		key, ok := keys[strings.TrimPrefix(cmp.Or(p.Sort, "name"), "-")]
		if !ok {
			return unknownColumn(p.Sort, keys)
		}
		page, err := paginate(rows, key, compareKeys, func(d index.Device) string { return string(d.ID) }, p, "name")
		if err != nil {
			return err
		}
		out.Total, out.Next = page.total, page.next
		for _, d := range page.items {
			out.Items = append(out.Items, m.deviceRow(d))
		}
		return nil
	})
	return out, err
}

// devices selects devices.
func (m *moment) devices(who auth.Actor, q client.DeviceQuery) (iter.Seq[index.Device], error) {
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
	inside := map[fleet.GroupID]bool{}
	for _, id := range m.Tree().Subtree(g.ID) {
		inside[id] = !q.Here || id == g.ID
	}
	words := strings.Fields(strings.ToLower(q.Search))
	return func(yield func(index.Device) bool) {
		for d := range m.All() {
			if inside[d.Group] && (q.State == "" || d.State == q.State) && (q.Only == "" || d.State == fleet.Active && m.is(d, q.Only)) && m.found(d, words) && !yield(d) {
				return
			}
		}
	}, nil
}

func deviceStates() []fleet.DeviceState {
	return []fleet.DeviceState{fleet.Active, fleet.Quarantined, fleet.Retired}
}

// is tells whether something can be said of a device.
func (m *moment) is(d index.Device, only client.DeviceOnly) bool {
	switch only {
	case client.OnlyConnected:
		return d.Connected
	case client.OnlySilent:
		seen := d.Contact.LastSeen
		if seen.IsZero() {
			seen = d.EnrolledAt
		}
		return !d.Connected && m.now.Sub(seen) >= m.silent
	case client.OnlyRestart:
		return d.Facts != nil && len(d.Facts.Restart) > 0
	case client.OnlyStale:
		return d.Facts != nil && slices.ContainsFunc(d.Facts.Origins, func(o wire.OriginHealth) bool { return o.Problem == "expired" })
	}
	return false
}

// found reports whether every word is in what describes the device.
func (m *moment) found(d index.Device, words []string) bool {
	fields := [8]string{string(d.ID), d.Name, m.name(d.Group)}
	if f := d.Facts; f != nil {
		fields[3], fields[4], fields[5], fields[6], fields[7] = f.OS, f.OSVersion, f.Codename, f.Arch, f.Kernel
	}
	return !slices.ContainsFunc(words, func(w string) bool {
		return !slices.ContainsFunc(fields[:], func(field string) bool { return strings.Contains(strings.ToLower(field), w) })
	})
}

// deviceColumns are the columns that devices can be sorted by.
func (m *moment) deviceColumns() map[string]func(index.Device) sortKey {
	number := func(of func(index.Device) int) func(index.Device) sortKey {
		return func(d index.Device) sortKey { return sortKey{N: int64(of(d))} }
	}
	text := func(of func(client.DeviceRow) string) func(index.Device) sortKey {
		return func(d index.Device) sortKey { return sortKey{S: of(m.deviceRow(d))} }
	}
	return map[string]func(index.Device) sortKey{
		"id":          func(d index.Device) sortKey { return sortKey{S: string(d.ID)} },
		"name":        func(d index.Device) sortKey { return sortKey{S: strings.ToLower(d.Name)} },
		"group":       func(d index.Device) sortKey { return sortKey{S: strings.ToLower(m.name(d.Group))} },
		"state":       func(d index.Device) sortKey { return sortKey{S: string(d.State)} },
		"last_seen":   func(d index.Device) sortKey { return sortKey{N: d.Contact.LastSeen.UnixMicro()} },
		"last_useful": func(d index.Device) sortKey { return sortKey{N: lastUseful(d).UnixMicro()} },
		"connected":   func(d index.Device) sortKey { return sortKey{N: truth(d.Connected)} },
		"os":          text(func(r client.DeviceRow) string { return r.OS }),
		"arch":        text(func(r client.DeviceRow) string { return r.Arch }),
		"agent":       text(func(r client.DeviceRow) string { return r.Agent }),
		"problem":     text(func(r client.DeviceRow) string { return r.Problem }),
		"pending":     number(func(d index.Device) int { return m.board.Pending(d.Number) }),
		"planned":     number(func(d index.Device) int { return m.tell(d).planned }),
		"blocked":     number(func(d index.Device) int { return m.tell(d).blocked }),
		"failed":      number(func(d index.Device) int { return m.tell(d).failed }),
		"restart":     number(func(d index.Device) int { return int(truth(d.Facts != nil && len(d.Facts.Restart) > 0)) }),
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
