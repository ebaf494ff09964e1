package decide

import (
	"cmp"
	"context"
	"iter"
	"slices"
	"strings"

	"assent/client"
	"assent/installation"
	"assent/ledger"
	"assent/plan"
	"assent/server/internal/auth"
	"assent/server/internal/planner"
)

// queued is one line of the board with its place.
type queued struct {
	device uint32
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
		keys := m.queueColumns()
		key, ok := keys[strings.TrimPrefix(cmp.Or(p.Sort, "device"), "-")]
		if !ok {
			return unknownColumn(p.Sort, keys)
		}
		page, err := paginate(rows, key, compareKeys, func(r queued) string {
			return string(m.DeviceID(r.device)) + " " + string(m.UpdateNumbered(r.line.Update).ID)
		}, p, "device")
		if err != nil {
			return err
		}
		out.Total, out.Next = page.total, page.next
		for _, r := range page.items {
			row, err := m.deviceUpdate(m.Numbered(r.device), m.UpdateNumbered(r.line.Update))
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
func (m *moment) queue(who auth.Actor, q client.QueueQuery) (iter.Seq[queued], error) {
	for _, st := range q.State {
		if !st.Valid() {
			return nil, unknownValue("state", string(st), joined(installation.States()))
		}
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
	return func(yield func(queued) bool) {
		for it := devices.Iterator(); it.HasNext(); {
			n := it.Next()
			for _, l := range m.board.Lines(n) {
				if waits(l) && asked(q, l) && (q.Overdue == nil || *q.Overdue == l.Overdue(m.now, m.Numbered(n).EnrolledAt)) && !yield(queued{n, l}) {
					return
				}
			}
		}
	}, nil
}

// asked tells whether a line is of the states and the cause that were asked for.
func asked(q client.QueueQuery, l planner.Line) bool {
	return (len(q.State) == 0 || slices.Contains(q.State, l.State)) && (q.Cause == "" || q.Cause == l.Cause)
}

// waits reports whether a line belongs into the queue: an install or rollback that is wanted, under way or
// went wrong. What was removed is done.
func waits(l planner.Line) bool {
	return l.Action != plan.None || l.State != installation.Installed && l.State != installation.Removed
}

func (m *moment) queueColumns() map[string]func(queued) sortKey {
	return map[string]func(queued) sortKey{
		"device": func(r queued) sortKey {
			return sortKey{S: strings.ToLower(m.State().Devices[m.DeviceID(r.device)].Name)}
		},
		"name":     func(r queued) sortKey { return sortKey{S: m.UpdateNumbered(r.line.Update).Name} },
		"state":    func(r queued) sortKey { return sortKey{S: string(r.line.State)} },
		"cause":    func(r queued) sortKey { return sortKey{S: string(r.line.Cause)} },
		"verdict":  func(r queued) sortKey { return sortKey{S: string(r.line.Action)} },
		"deadline": func(r queued) sortKey { return sortKey{N: r.line.Deadline.Unix()} },
		"download": func(r queued) sortKey { return sortKey{N: r.line.Download} },
	}
}
