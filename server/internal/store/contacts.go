package store

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"assent/fleet"
	"assent/wire"
)

// Contact is the last that was heard from a device, by whichever server.
type Contact struct {
	Device     fleet.DeviceID       `json:"device"`
	Digests    map[wire.Kind]string `json:"digests"` // its documents
	BootID     string               `json:"boot_id"`
	Run        string               `json:"run"`
	Sequence   int64                `json:"sequence"`
	LastSeen   time.Time            `json:"last_seen"`
	Progress   wire.Progress        `json:"progress"`
	Capability int                  `json:"capability"`
	Line       *Line                `json:"line,omitempty"`     // who used the device's certificate; nil: not known
	Held       time.Time            `json:"held,omitzero"`      // until when a server holds its long poll
	Refreshed  time.Time            `json:"refreshed,omitzero"` // the last request for a refresh that it was told of
	Rehearsed  time.Time            `json:"rehearsed,omitzero"` // the last request for a rehearsal that it was told of

	Refresh  time.Time `json:"-"` // when somebody asked for a refresh; written by AskRefresh only
	Rehearse time.Time `json:"-"` // when somebody asked for a rehearsal; written by AskRehearsal only
}

// After reports whether c was said later than o.
func (c Contact) After(o Contact) bool {
	if a, b := c.epoch(), o.epoch(); a != b {
		return a > b
	}
	if c.Sequence != o.Sequence {
		return c.Sequence > o.Sequence
	}
	return c.LastSeen.After(o.LastSeen)
}

func (c Contact) epoch() int64 {
	if c.Line == nil {
		return 0
	}
	return c.Line.Epoch
}

// Line is who used a device's certificate, as the gateway tells one agent that restarts from two. The sequences of check-ins
// are those that some server took in.
type Line struct {
	Epoch int64    `json:"epoch,omitempty"` // act by which the device was let back in; what is of an earlier one counts no more
	Low   int64    `json:"low"`             // first sequence of the run
	Seen  uint64   `json:"seen"`            // bit i: Sequence-i was taken in
	Twice uint64   `json:"twice,omitempty"` // bit i: Sequence-i was taken in by two servers
	Ended []Ended  `json:"ended,omitempty"` // earlier runs, the last ones
	Boots []string `json:"boots,omitempty"` // earlier boots, the last ones
}

// Ended is a run that another one followed.
type Ended struct {
	Run  string `json:"run"`
	Low  int64  `json:"low"`
	High int64  `json:"high"`
}

// SaveContacts writes contacts; of two for one device the last counts.
func (d *DB) SaveContacts(ctx context.Context, contacts []Contact) error {
	rows, err := contactRows(latest(contacts, func(c Contact) string { return string(c.Device) }))
	if err != nil {
		return err
	}
	return d.write(ctx, "save contacts", func(t tx) error { return t.putContacts(ctx, rows) })
}

// MergeContacts writes contacts, one for each device. Where another server may have written since, merge makes one of what is
// stored and what is to be written; the contacts that it made are returned.
func (d *DB) MergeContacts(ctx context.Context, contacts []Contact, merge func(stored, mine Contact) Contact) (merged []Contact, err error) {
	if !d.Shared() {
		return nil, d.SaveContacts(ctx, contacts)
	}
	contacts = latest(contacts, func(c Contact) string { return string(c.Device) })
	rows, err := contactRows(contacts)
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	err = d.write(ctx, "merge contacts", func(t tx) error {
		fresh := map[string]bool{}
		if err := t.returning(ctx, `INSERT INTO contacts (device, body) VALUES :rows ON CONFLICT (device) DO NOTHING RETURNING device, device`, rows,
			func(device, _ string) { fresh[device] = true }); err != nil {
			return err
		}
		mine := map[string]Contact{}
		for _, c := range contacts {
			if k := key(string(c.Device)); !fresh[k] {
				mine[k] = c
			}
		}
		merged, err = t.mergeContacts(ctx, mine, merge)
		return err
	})
	return merged, err
}

// mergeContacts makes one of what is stored and what is to be written, under the rows' locks.
func (t tx) mergeContacts(ctx context.Context, mine map[string]Contact, merge func(stored, mine Contact) Contact) (merged []Contact, err error) {
	if len(mine) == 0 {
		return nil, nil
	}
	keys := make([]any, 0, len(mine))
	for k := range mine {
		keys = append(keys, k)
	}
	query := contactColumns + `WHERE device IN (` + strings.Repeat("?, ", len(keys)-1) + `?) ORDER BY device FOR UPDATE`
	if err := t.contacts(ctx, query, keys, func(stored Contact) error {
		merged = append(merged, merge(stored, mine[key(string(stored.Device))]))
		return nil
	}); err != nil {
		return nil, err
	}
	rows, err := contactRows(merged)
	if err != nil {
		return nil, err
	}
	return merged, t.putContacts(ctx, rows)
}

func contactRows(contacts []Contact) ([][]any, error) {
	rows := make([][]any, len(contacts))
	for i, c := range contacts {
		b, err := body(c)
		if err != nil {
			return nil, err
		}
		rows[i] = []any{key(string(c.Device)), b}
	}
	return rows, nil
}

func (t tx) putContacts(ctx context.Context, rows [][]any) error {
	_, err := t.many(ctx, `INSERT INTO contacts (device, body) VALUES :rows
		ON CONFLICT (device) DO UPDATE SET body = excluded.body`, rows)
	return err
}

// contactColumns is for databases of several servers.
const contactColumns = `SELECT body, refresh, rehearse FROM contacts `

func (t tx) contacts(ctx context.Context, query string, args []any, fn func(Contact) error) error {
	return t.each(ctx, query, args, func(scan func(...any) error) error {
		var data []byte
		var refresh, rehearse int64
		if err := scan(&data, &refresh, &rehearse); err != nil {
			return err
		}
		var c Contact
		if err := json.Unmarshal(data, &c); err != nil {
			return fmt.Errorf("decode row: %w", err)
		}
		c.Refresh, c.Rehearse = moment(refresh), moment(rehearse)
		return fn(c)
	})
}

// LoadContacts calls fn with every contact. fn must not call the store.
func (d *DB) LoadContacts(ctx context.Context, fn func(Contact) error) error {
	return d.load(ctx, "load contacts", func(t tx) error {
		if t.shared {
			return t.contacts(ctx, contactColumns, nil, fn)
		}
		return bodies(ctx, t, `SELECT body FROM contacts`, fn)
	})
}

// AskRefresh has all servers know that devices are to look for updates now. A device that was never heard of looks anyway
// when it comes. On SQLite there is nobody else to know.
func (d *DB) AskRefresh(ctx context.Context, devices []fleet.DeviceID, at time.Time) error {
	return d.ask(ctx, "refresh", devices, at)
}

// AskRehearsal has all servers know that devices are to rehearse their plans now, as AskRefresh does.
func (d *DB) AskRehearsal(ctx context.Context, devices []fleet.DeviceID, at time.Time) error {
	return d.ask(ctx, "rehearse", devices, at)
}

func (d *DB) ask(ctx context.Context, column string, devices []fleet.DeviceID, at time.Time) error {
	if !d.Shared() || len(devices) == 0 {
		return nil
	}
	rows := make([][]any, len(devices))
	for i, id := range devices {
		rows[i] = []any{key(string(id))}
	}
	return d.publish(ctx, "ask devices for something", func(t tx) error {
		if _, err := t.many(ctx, fmt.Sprintf(`UPDATE contacts SET %s = %d WHERE device IN (:rows)`, column, at.UnixMicro()), rows); err != nil {
			return err
		}
		return nil
	})
}
