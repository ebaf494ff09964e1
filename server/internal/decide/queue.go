package decide

import (
	"cmp"
	"context"
	"strings"

	"assent/client"
	"assent/installation"
	"assent/ledger"
	"assent/plan"
	"assent/server/internal/auth"
	"assent/server/internal/index"
	"assent/server/internal/planner"
)

// queued is one line of the board with its place.
type queued struct {
	device index.Device
	update index.Update
	line   planner.Line
}

// Queue lists the installs and rollbacks that are on their way, held up or failed.
func (s *Service) Queue(_ context.Context, who auth.Actor, q client.QueueQuery, p client.Page) (client.List[client.QueueRow], error) {
	out := client.List[client.QueueRow]{Items: []client.QueueRow{}}
	err := s.look(func(m *moment) error {
		rows, err := m.queue(who, q)
		if err != nil {
			return err
		}
		keys := queueColumns()
		key, ok := keys[strings.TrimPrefix(cmp.Or(p.Sort, "device"), "-")]
		if !ok {
			return unknownColumn(p.Sort, keys)
		}
		page, err := paginate(rows, key, compareKeys, func(r queued) string { return string(r.device.ID) + " " + string(r.update.ID) }, p, "device")
		if err != nil {
			return err
		}
		out.Total, out.Next = page.total, page.next
		for _, r := range page.items {
			row, err := m.deviceUpdate(r.device, r.update)
			if err != nil {
				return err
			}
			out.Items = append(out.Items, client.QueueRow{DeviceUpdate: row, Download: r.line.Download})
		}
		return nil
	})
	return out, err
}

// queue selects lines of the board.
func (m *moment) queue(who auth.Actor, q client.QueueQuery) ([]queued, error) {
	if q.State != "" && !q.State.Valid() {
		return nil, unknownValue("state", string(q.State), joined(installation.States()))
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
		inside := devices.Contains(d.Number)
		devices.Clear()
		if inside {
			devices.Add(d.Number)
		}
	}
	var out []queued
	for it := devices.Iterator(); it.HasNext(); {
		n := it.Next()
		for _, l := range m.board.Lines(n) {
			if waits(l) && (q.State == "" || q.State == l.State) {
				out = append(out, queued{m.Numbered(n), m.UpdateNumbered(l.Update), l})
			}
		}
	}
	return out, nil
}

// waits reports whether a line belongs into the queue: an install or rollback that is wanted, under way or
// went wrong. What was removed is done.
func waits(l planner.Line) bool {
	return l.Action != plan.None || l.State != installation.Installed && l.State != installation.Removed
}

func queueColumns() map[string]func(queued) sortKey {
	return map[string]func(queued) sortKey{
		"device":   func(r queued) sortKey { return sortKey{S: strings.ToLower(r.device.Name)} },
		"name":     func(r queued) sortKey { return sortKey{S: r.update.Name} },
		"state":    func(r queued) sortKey { return sortKey{S: string(r.line.State)} },
		"cause":    func(r queued) sortKey { return sortKey{S: string(r.line.Cause)} },
		"verdict":  func(r queued) sortKey { return sortKey{S: string(r.line.Action)} },
		"deadline": func(r queued) sortKey { return sortKey{N: r.line.Deadline.Unix()} },
		"download": func(r queued) sortKey { return sortKey{N: r.line.Download} },
	}
}
