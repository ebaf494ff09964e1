package store

import (
	"context"

	"assent/catalog"
)

// SaveCatalog writes whole updates, new or grown. Item sets only grow: if the database knows more items of
// one of the updates than given (another server was first), nothing is written and ErrMoved returned.
func (d *DB) SaveCatalog(ctx context.Context, updates []catalog.Update) error {
	updates = latest(updates, func(u catalog.Update) string { return string(u.ID) })
	rows := make([][]any, len(updates))
	for i, u := range updates {
		b, err := body(u)
		if err != nil {
			return err
		}
		rows[i] = []any{key(string(u.ID)), len(u.Items), b}
	}
	return d.write(ctx, "save catalog", func(t tx) error {
		n, err := t.many(ctx, `INSERT INTO updates (id, items, body) VALUES :rows
			ON CONFLICT (id) DO UPDATE SET items = excluded.items, body = excluded.body
			WHERE updates.items <= excluded.items`, rows)
		if err == nil && n != int64(len(rows)) {
			return ErrMoved
		}
		return err
	})
}

// LoadCatalog calls fn with every known update. fn must not call the store.
func (d *DB) LoadCatalog(ctx context.Context, fn func(catalog.Update) error) error {
	return d.read(ctx, "load catalog", func(t tx) error {
		return bodies(ctx, t, `SELECT body FROM updates`, fn)
	})
}
