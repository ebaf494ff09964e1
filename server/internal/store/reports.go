package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"assent/catalog"
	"assent/fleet"
	"assent/wire"
)

// AppliedReport is a report with what it means for the table of installs.
type AppliedReport struct {
	Report wire.Report
	Row    *InstallRow // nil: it changes no row, as an event does
}

// Event is something a device reported that is not a state.
type Event struct {
	ID     int64     // tells events of one time apart; for EventQuery.BeforeID
	At     time.Time // the device's time, but never after the report arrived
	Device fleet.DeviceID
	Event  string
	Update catalog.UpdateID
	Detail string
}

// EventQuery selects events. Empty fields select everything.
type EventQuery struct {
	Device   fleet.DeviceID
	Update   catalog.UpdateID
	Event    string
	Before   time.Time // only events before this time …
	BeforeID int64     // … or, when set, at this time with a smaller ID: the last of one page begins the next
	Limit    int       // 100 when zero
}

// stored is the body of a report's row.
type stored struct {
	Device fleet.DeviceID `json:"device"`
	Report wire.Report    `json:"report"`
}

// applying is one call of ApplyReports.
type applying struct {
	reports []AppliedReport
	rows    [][]any // the first two columns name the report
	fresh   []string
}

// ApplyReports writes reports of a device with the rows they lead to, each exactly once: a report whose id
// the device has used before changes nothing. It returns the ids that were new, in the order given. Calls that come at
// the same time share a transaction. If another server wrote a row meanwhile that one of these follows,
// nothing is written and ErrMoved returned.
func (d *DB) ApplyReports(ctx context.Context, device fleet.DeviceID, reports []AppliedReport) (fresh []string, err error) {
	a := &applying{reports: first(reports)}
	if a.rows, err = d.reportRows(device, a.reports); err != nil {
		return nil, fmt.Errorf("apply reports: %w", err)
	}
	if _, fenced := leaseOf(ctx); fenced { // what carries a lease shares no transaction
		err = d.apply(ctx, []*applying{a})
	} else {
		err = d.applying.do(ctx, a)
	}
	if err != nil {
		return nil, err
	}
	return a.fresh, nil
}

// apply writes the reports of several calls.
func (d *DB) apply(ctx context.Context, calls []*applying) error {
	var rows [][]any
	for _, a := range calls {
		rows = append(rows, a.rows...)
	}
	// One order for all, or two servers that got the same reports could wait for each other.
	slices.SortStableFunc(rows, func(a, b []any) int {
		return cmp.Or(cmp.Compare(a[0].(string), b[0].(string)), cmp.Compare(a[1].(string), b[1].(string)))
	})
	return d.publish(ctx, "apply reports", func(t tx) error {
		applied := map[[2]string]bool{}
		if err := t.returning(ctx, `INSERT INTO reports (device, report, at, update_id, event, body) VALUES :rows
			ON CONFLICT (device, report) DO NOTHING RETURNING device, report`, rows, func(device, id string) { applied[[2]string{device, id}] = true }); err != nil {
			return err
		}
		var installs []InstallRow
		for _, a := range calls {
			installs = append(installs, a.take(applied)...)
		}
		return t.putInstalls(ctx, installs)
	})
}

// take notes which of the call's reports were written, each for one call only, and gives the rows they lead to.
func (a *applying) take(applied map[[2]string]bool) (installs []InstallRow) {
	a.fresh = nil
	for i, r := range a.reports {
		id := [2]string{a.rows[i][0].(string), a.rows[i][1].(string)}
		if !applied[id] {
			continue
		}
		delete(applied, id)
		a.fresh = append(a.fresh, r.Report.ID)
		if r.Row != nil {
			installs = append(installs, *r.Row)
		}
	}
	return installs
}

// first keeps the first report of each id.
func first(reports []AppliedReport) []AppliedReport {
	seen := map[string]bool{}
	var out []AppliedReport
	for _, r := range reports {
		if !seen[r.Report.ID] {
			seen[r.Report.ID] = true
			out = append(out, r)
		}
	}
	return out
}

func (d *DB) reportRows(device fleet.DeviceID, reports []AppliedReport) ([][]any, error) {
	now := d.now()
	rows := make([][]any, len(reports))
	for i, r := range reports {
		b, err := body(stored{Device: device, Report: r.Report})
		if err != nil {
			return nil, err
		}
		// A device with a fast clock must not stay on top of the list for ever.
		at := min(r.Report.At.UnixMicro(), now.UnixMicro())
		rows[i] = []any{key(string(device)), key(r.Report.ID), at, key(string(r.Report.Update)), key(r.Report.Event), b}
	}
	return rows, nil
}

// Events returns events, the newest first.
func (d *DB) Events(ctx context.Context, q EventQuery) (out []Event, err error) {
	query, args := q.sql()
	err = d.read(ctx, "read events", func(t tx) error {
		return t.each(ctx, query, args, func(scan func(...any) error) error {
			e, err := scanEvent(scan)
			if err != nil {
				return err
			}
			out = append(out, e)
			return nil
		})
	})
	return out, err
}

// sql writes the query.
func (q EventQuery) sql() (string, []any) {
	where, args := []string{"event <> ''"}, []any{}
	and := func(cond string, values ...any) {
		where, args = append(where, cond), append(args, values...)
	}
	if q.Device != "" {
		and("device = ?", key(string(q.Device)))
	}
	if q.Update != "" {
		and("update_id = ?", key(string(q.Update)))
	}
	if q.Event != "" {
		and("event = ?", key(q.Event))
	}
	switch at := q.Before.UnixMicro(); {
	case q.Before.IsZero():
	case q.BeforeID > 0:
		and("(at, id) < (?, ?)", at, q.BeforeID)
	default:
		and("at < ?", at)
	}
	limit := q.Limit
	if limit <= 0 {
		limit = 100
	}
	return "SELECT id, at, body FROM reports WHERE " + strings.Join(where, " AND ") + " ORDER BY at DESC, id DESC LIMIT ?", append(args, limit)
}
