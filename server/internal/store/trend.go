package store

import (
	"context"
	"time"

	"assent/client"
	"assent/fleet"
)

// Sample is what was so in a group, with all below it, on one day. It is a fact and no decision, so it is in no ledger.
type Sample struct {
	Group fleet.GroupID   `json:"group"`
	Day   client.TrendDay `json:"day"`
}

// SaveSamples writes samples; there is one for each group and day, and the last one counts.
func (d *DB) SaveSamples(ctx context.Context, samples []Sample) error {
	samples = latest(samples, func(s Sample) string { return string(s.Group) + "\x00" + s.Day.Day })
	rows := make([][]any, len(samples))
	for i, s := range samples {
		b, err := body(s)
		if err != nil {
			return err
		}
		rows[i] = []any{key(string(s.Group)), key(s.Day.Day), b}
	}
	return d.write(ctx, "save trend samples", func(t tx) error {
		_, err := t.many(ctx, `INSERT INTO trend_samples (group_id, day, body) VALUES :rows
			ON CONFLICT (group_id, day) DO UPDATE SET body = excluded.body`, rows)
		return err
	})
}

// Samples returns the samples of a group from a day on, the oldest first. Days without one are not there.
func (d *DB) Samples(ctx context.Context, group fleet.GroupID, from time.Time) (out []Sample, err error) {
	err = d.read(ctx, "read trend samples", func(t tx) error {
		return each(ctx, t, `SELECT body FROM trend_samples WHERE group_id = ? AND day >= ? ORDER BY day`, []any{key(string(group)), from.UTC().Format(time.DateOnly)},
			func(s Sample) error {
				out = append(out, s)
				return nil
			})
	})
	return out, err
}

// PruneSamples forgets the samples of the days before a day, and says how many.
func (d *DB) PruneSamples(ctx context.Context, before time.Time) (n int64, err error) {
	err = d.write(ctx, "forget old trend samples", func(t tx) error {
		n, err = t.exec(ctx, `DELETE FROM trend_samples WHERE day < ?`, before.UTC().Format(time.DateOnly))
		return err
	})
	return n, err
}
