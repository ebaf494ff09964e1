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

	Version int64 `json:"-"` // how often it was written when it was read; 0: never
}

// SaveInstalls writes rows; of two for one device and update the last counts. If another server wrote one of them since
// it was read, nothing is written and ErrMoved returned.
func (d *DB) SaveInstalls(ctx context.Context, rows []InstallRow) error {
	return d.publish(ctx, "save installs", func(t tx) error { return t.putInstalls(ctx, rows) })
}

func (t tx) putInstalls(ctx context.Context, installs []InstallRow) error {
	installs = latest(installs, func(r InstallRow) string { return string(r.Device) + "\x00" + string(r.Update) })
	rows := make([][]any, len(installs))
	for i, r := range installs {
		b, err := body(r)
		if err != nil {
			return err
		}
		rows[i] = []any{key(string(r.Device)), key(string(r.Update)), r.Version + 1, b}
	}
	return t.follow(ctx, `INSERT INTO installs (device, update_id, version, body) VALUES :rows
		ON CONFLICT (device, update_id) DO UPDATE SET body = excluded.body, version = excluded.version WHERE installs.version = excluded.version - 1`, rows)
}

// follow writes rows that follow the ones that were read: if one of them is another by now, it returns ErrMoved.
func (t tx) follow(ctx context.Context, query string, rows [][]any) error {
	n, err := t.many(ctx, query, rows)
	if err == nil && n < int64(len(rows)) {
		return ErrMoved
	}
	return err
}

const installColumns = `SELECT body, version FROM installs `

// LoadInstalls calls fn with every row. fn must not call the store.
func (d *DB) LoadInstalls(ctx context.Context, fn func(InstallRow) error) error {
	return d.load(ctx, "load installs", func(t tx) error { return t.installs(ctx, installColumns, nil, fn) })
}

// DeviceInstalls returns the rows of one device.
func (d *DB) DeviceInstalls(ctx context.Context, device fleet.DeviceID) (out []InstallRow, err error) {
	err = d.read(ctx, "read the installs of a device", func(t tx) error {
		return t.installs(ctx, installColumns+`WHERE device = ?`, []any{key(string(device))}, func(r InstallRow) error {
			out = append(out, r)
			return nil
		})
	})
	return out, err
}

func (t tx) installs(ctx context.Context, query string, args []any, fn func(InstallRow) error) error {
	return eachVersion(ctx, t, query, args, func(r InstallRow, version int64) error {
		r.Version = version
		return fn(r)
	})
}
