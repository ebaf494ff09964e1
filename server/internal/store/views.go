package store

import (
	"context"

	"assent/ledger"
)

// sharedViews are the saved views that everybody sees: acts of the ledger.
func sharedViews() table[string, ledger.View] {
	return keyed("shared_views", "id", text[string],
		func(s *ledger.State) map[string]ledger.View { return s.Views },
		func(v ledger.View) string { return v.ID })
}

// SaveView keeps a view of one operator, in the place of one with its id. It goes when the operator does.
func (d *DB) SaveView(ctx context.Context, operator string, v ledger.View) error {
	b, err := body(v)
	if err != nil {
		return err
	}
	return d.write(ctx, "save a view", func(t tx) error {
		_, err := t.exec(ctx, `INSERT INTO personal_views (owner, id, body) VALUES (?, ?, ?)
			ON CONFLICT (owner, id) DO UPDATE SET body = excluded.body`, key(operator), key(v.ID), b)
		return err
	})
}

// Views returns the views of one operator, in no order.
func (d *DB) Views(ctx context.Context, operator string) (out []ledger.View, err error) {
	err = d.read(ctx, "read saved views", func(t tx) error {
		return each(ctx, t, `SELECT body FROM personal_views WHERE owner = ?`, []any{key(operator)}, func(v ledger.View) error {
			out = append(out, v)
			return nil
		})
	})
	return out, err
}

// DeleteView removes a view of one operator, and says whether there was one.
func (d *DB) DeleteView(ctx context.Context, operator, id string) (found bool, err error) {
	err = d.write(ctx, "delete a view", func(t tx) error {
		n, err := t.exec(ctx, `DELETE FROM personal_views WHERE owner = ? AND id = ?`, key(operator), key(id))
		found = n > 0
		return err
	})
	return found, err
}
