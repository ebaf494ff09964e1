package store

import (
	"context"
	"time"

	"assent/fleet"
	"assent/wire"
)

// Contact is the last that was heard from a device.
type Contact struct {
	Device     fleet.DeviceID       `json:"device"`
	Digests    map[wire.Kind]string `json:"digests"` // its documents
	BootID     string               `json:"boot_id"`
	Run        string               `json:"run"`
	Sequence   int64                `json:"sequence"`
	LastSeen   time.Time            `json:"last_seen"`
	Progress   wire.Progress        `json:"progress"`
	Capability int                  `json:"capability"`
}

// SaveContacts writes contacts; of two for one device the last counts.
func (d *DB) SaveContacts(ctx context.Context, contacts []Contact) error {
	contacts = latest(contacts, func(c Contact) string { return string(c.Device) })
	rows := make([][]any, len(contacts))
	for i, c := range contacts {
		b, err := body(c)
		if err != nil {
			return err
		}
		rows[i] = []any{key(string(c.Device)), b}
	}
	return d.write(ctx, "save contacts", func(t tx) error {
		_, err := t.many(ctx, `INSERT INTO contacts (device, body) VALUES :rows
			ON CONFLICT (device) DO UPDATE SET body = excluded.body`, rows)
		return err
	})
}

// LoadContacts calls fn with every contact. fn must not call the store.
func (d *DB) LoadContacts(ctx context.Context, fn func(Contact) error) error {
	return d.load(ctx, "load contacts", func(t tx) error {
		return bodies(ctx, t, `SELECT body FROM contacts`, fn)
	})
}
