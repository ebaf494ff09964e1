package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"assent/slot"
)

// Mark is a moment of the database: what was written and visible then. The zero Mark is none.
//
// It is PostgreSQL's own description of a snapshot: which transactions had ended. A number that grows would not do: of two
// transactions the one with the smaller number may end later, and whoever has read up to the larger one would never see
// it.
type Mark struct{ snapshot string }

// Changes is what became visible between two moments, with the last values of everything. What this server itself wrote is
// among it.
type Changes struct {
	Mark       Mark  // the moment that it leads to
	Head       int64 // the ledger's last entry then
	Updates    []CatalogRow
	Rollouts   []RolloutRow
	Slots      []slot.State
	Installs   []InstallRow
	Contacts   []Contact
	Events     []Event // of the kinds that servers remember
	Rehearsals []Rehearsal
}

// Empty reports whether nothing changed but, maybe, the ledger.
func (c Changes) Empty() bool {
	return len(c.Updates)+len(c.Slots)+len(c.Rollouts)+len(c.Installs)+len(c.Contacts)+len(c.Events)+len(c.Rehearsals) == 0
}

// The events that servers remember of devices. They stand in the index reports_stamp too.
const (
	EventIllegal      = "illegal_transition" // a report that V1's table does not allow
	EventRefused      = "plan_refused"       // a device's own: it did not accept a plan
	EventRollbackDone = "rollback_done"
)

// since selects rows that became visible after a snapshot. The first condition is there for the index.
const since = ` stamp >= pg_snapshot_xmin(CAST(CAST(? AS TEXT) AS pg_snapshot)) AND NOT pg_visible_in_snapshot(stamp, CAST(CAST(? AS TEXT) AS pg_snapshot))`

// remembered selects the events that servers remember.
const remembered = ` event IN ('` + EventIllegal + `', '` + EventRefused + `', '` + EventRollbackDone + `')`

// Changes returns what became visible since a moment; with the zero Mark, only what moment it is now. On SQLite, which has
// one server, there is never anything but the ledger's head: other processes make acts there too.
func (d *DB) Changes(ctx context.Context, from Mark) (c Changes, err error) {
	err = d.read(ctx, "read what other servers wrote", func(t tx) error {
		if !t.shared {
			c.Head, err = t.head(ctx)
			return err
		}
		if from.snapshot == "" {
			return t.QueryRowContext(ctx, `SELECT pg_current_snapshot()::text, (SELECT seq FROM ledger_head)`).Scan(&c.Mark.snapshot, &c.Head)
		}
		return t.changes(ctx, from, &c)
	})
	return c, err
}

// changes asks once what there is, and only then for it: mostly there is nothing.
func (t tx) changes(ctx context.Context, from Mark, c *Changes) error {
	mark := []any{from.snapshot, from.snapshot}
	parts := []struct {
		from string
		read func() error
	}{
		{"updates WHERE" + since, func() error {
			return t.catalog(ctx, catalogColumns+`WHERE`+since, mark, func(u CatalogRow) error { c.Updates = append(c.Updates, u); return nil })
		}},
		{"rollouts WHERE" + since, func() error {
			if err := t.slots(ctx, `WHERE update_id = '' AND`+since, mark, func(s slot.State) error { c.Slots = append(c.Slots, s); return nil }); err != nil {
				return err
			}
			return t.rollouts(ctx, rolloutColumns+`WHERE update_id <> '' AND`+since, mark, func(r RolloutRow) error { c.Rollouts = append(c.Rollouts, r); return nil })
		}},
		{"installs WHERE" + since, func() error {
			return t.installs(ctx, installColumns+`WHERE`+since, mark, func(r InstallRow) error { c.Installs = append(c.Installs, r); return nil })
		}},
		{"contacts WHERE" + since, func() error {
			return t.contacts(ctx, contactColumns+`WHERE`+since, mark, func(k Contact) error { c.Contacts = append(c.Contacts, k); return nil })
		}},
		{"rehearsals WHERE" + since, func() error {
			return each(ctx, t, `SELECT body FROM rehearsals WHERE`+since, mark, func(r Rehearsal) error { c.Rehearsals = append(c.Rehearsals, r); return nil })
		}},
		{"reports WHERE" + since + " AND" + remembered, func() error { return t.rememberedSince(ctx, mark, c) }},
	}
	query, args, there := `SELECT pg_current_snapshot()::text, (SELECT seq FROM ledger_head)`, []any{}, make([]bool, len(parts))
	into := []any{&c.Mark.snapshot, &c.Head}
	for i, p := range parts {
		query += `, EXISTS (SELECT 1 FROM ` + p.from + `)`
		args, into = append(args, mark...), append(into, &there[i])
	}
	if err := t.QueryRowContext(ctx, t.bind(query), args...).Scan(into...); err != nil {
		return err
	}
	for i, p := range parts {
		if !there[i] {
			continue
		}
		if err := p.read(); err != nil {
			return err
		}
	}
	return nil
}

func (t tx) rememberedSince(ctx context.Context, mark []any, c *Changes) error {
	return t.each(ctx, `SELECT id, at, body FROM reports WHERE`+since+` AND`+remembered+` ORDER BY at, id`, mark, func(scan func(...any) error) error {
		e, err := scanEvent(scan)
		c.Events = append(c.Events, e)
		return err
	})
}

// scanEvent reads a row of reports: id, at, body.
func scanEvent(scan func(...any) error) (e Event, err error) {
	var at int64
	var data []byte
	if err := scan(&e.ID, &at, &data); err != nil {
		return e, err
	}
	var s stored
	if err := json.Unmarshal(data, &s); err != nil {
		return e, fmt.Errorf("decode event %d: %w", e.ID, err)
	}
	e.At, e.Device, e.Event = time.UnixMicro(at).UTC(), s.Device, s.Report.Event
	e.Update, e.Detail = s.Report.Update, s.Report.Detail
	return e, nil
}

// restamp stamps rows anew whose stamps lie in the future, as they do after a dump was restored into another PostgreSQL
// cluster: transactions are counted from the beginning there.
func (d *DB) restamp(ctx context.Context) error {
	if !d.Shared() {
		return nil
	}
	return d.write(ctx, "stamp rows of a restored database", func(t tx) error {
		for table, set := range map[string]string{"contacts": "body = body", "installs": "body = body", "updates": "body = body", "rollouts": "state = state", "rehearsals": "body = body", "reports": "stamp = pg_current_xact_id()"} {
			where := ` WHERE stamp >= pg_snapshot_xmax(pg_current_snapshot())`
			if table == "reports" {
				where += ` AND` + remembered
			}
			if _, err := t.exec(ctx, `UPDATE `+table+` SET `+set+where); err != nil {
				return err
			}
		}
		return nil
	})
}

// Listen calls heard whenever another server may have written something; it returns when its connection breaks or ctx
// ends. On SQLite nobody else writes, so it waits for ctx.
func (d *DB) Listen(ctx context.Context, heard func()) error {
	if d.listen == nil {
		<-ctx.Done()
		return ctx.Err()
	}
	return d.listen(ctx, heard)
}
