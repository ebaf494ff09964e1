package store

import (
	"context"
	"time"

	"assent/catalog"
	"assent/fleet"
	"assent/installation"
	"assent/wire"
)

// InstallRow is where an update stands on a device (V1).
type InstallRow struct {
	Device   fleet.DeviceID     `json:"device"`
	Update   catalog.UpdateID   `json:"update"`
	State    installation.State `json:"state"`
	Cause    installation.Cause `json:"cause,omitempty"`
	Detail   string             `json:"detail,omitempty"`
	Needs    []string           `json:"needs,omitempty"`
	Since    time.Time          `json:"since"`
	Deadline time.Time          `json:"deadline"` // zero for terminal states
	Proof    *wire.Proof        `json:"proof,omitempty"`
}

// SaveInstalls writes rows; of two for one device and update the last counts.
func (d *DB) SaveInstalls(ctx context.Context, rows []InstallRow) error {
	return d.write(ctx, "save installs", func(t tx) error { return t.putInstalls(ctx, rows) })
}

func (t tx) putInstalls(ctx context.Context, installs []InstallRow) error {
	installs = latest(installs, func(r InstallRow) string { return string(r.Device) + "\x00" + string(r.Update) })
	rows := make([][]any, len(installs))
	for i, r := range installs {
		b, err := body(r)
		if err != nil {
			return err
		}
		rows[i] = []any{key(string(r.Device)), key(string(r.Update)), b}
	}
	_, err := t.many(ctx, `INSERT INTO installs (device, update_id, body) VALUES :rows
		ON CONFLICT (device, update_id) DO UPDATE SET body = excluded.body`, rows)
	return err
}

// LoadInstalls calls fn with every row. fn must not call the store.
func (d *DB) LoadInstalls(ctx context.Context, fn func(InstallRow) error) error {
	return d.load(ctx, "load installs", func(t tx) error {
		return bodies(ctx, t, `SELECT body FROM installs`, fn)
	})
}
