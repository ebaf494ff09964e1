package store

import (
	"context"

	"assent/fleet"
	"assent/wire"
)

// Rehearsal is what a device found when it last rehearsed its plan.
type Rehearsal struct {
	Device    fleet.DeviceID `json:"device"`
	Rehearsal wire.Rehearsal `json:"rehearsal"`
}

// SaveRehearsal keeps a device's rehearsal in place of the one before.
func (d *DB) SaveRehearsal(ctx context.Context, r Rehearsal) error {
	b, err := body(r)
	if err != nil {
		return err
	}
	return d.publish(ctx, "save a rehearsal", func(t tx) error {
		_, err := t.many(ctx, `INSERT INTO rehearsals (device, body) VALUES :rows
			ON CONFLICT (device) DO UPDATE SET body = excluded.body`, [][]any{{key(string(r.Device)), b}})
		return err
	})
}

// LoadRehearsals calls each with every device's rehearsal. each must not call the store.
func (d *DB) LoadRehearsals(ctx context.Context, each func(Rehearsal) error) error {
	return d.load(ctx, "load rehearsals", func(t tx) error {
		return bodies(ctx, t, `SELECT body FROM rehearsals`, each)
	})
}
