package store

import (
	"context"

	"assent/catalog"
)

// CatalogRow is an update with how often it was written when it was read; 0: never.
type CatalogRow struct {
	catalog.Update
	Version int64
}

// SaveCatalog writes whole updates, new or grown. If another server wrote one of them since it was read, nothing is
// written and ErrMoved returned: it knows of files, or of a recall, that these lack.
func (d *DB) SaveCatalog(ctx context.Context, updates []CatalogRow) error {
	updates = latest(updates, func(u CatalogRow) string { return string(u.ID) })
	rows := make([][]any, len(updates))
	for i, u := range updates {
		b, err := body(u.Update)
		if err != nil {
			return err
		}
		rows[i] = []any{key(string(u.ID)), u.Version + 1, b}
	}
	return d.publish(ctx, "save catalog", func(t tx) error {
		// A server of the release before compares and writes under this row's lock.
		if _, err := t.exec(ctx, `UPDATE catalog_version SET version = version + 1`); err != nil {
			return err
		}
		return t.follow(ctx, `INSERT INTO updates (id, version, body) VALUES :rows
			ON CONFLICT (id) DO UPDATE SET body = excluded.body, version = excluded.version WHERE updates.version = excluded.version - 1`, rows)
	})
}

const catalogColumns = `SELECT body, version FROM updates `

// LoadCatalog calls fn with every known update. fn must not call the store.
func (d *DB) LoadCatalog(ctx context.Context, fn func(CatalogRow) error) error {
	return d.load(ctx, "load catalog", func(t tx) error { return t.catalog(ctx, catalogColumns, nil, fn) })
}

// CatalogRows returns those of some updates that are known.
func (d *DB) CatalogRows(ctx context.Context, updates []catalog.UpdateID) (out []CatalogRow, err error) {
	err = d.read(ctx, "read updates", func(t tx) error {
		for _, id := range updates {
			if err := t.catalog(ctx, catalogColumns+`WHERE id = ?`, []any{key(string(id))}, func(u CatalogRow) error { out = append(out, u); return nil }); err != nil {
				return err
			}
		}
		return nil
	})
	return out, err
}

func (t tx) catalog(ctx context.Context, query string, args []any, fn func(CatalogRow) error) error {
	return eachVersion(ctx, t, query, args, func(u catalog.Update, version int64) error { return fn(CatalogRow{u, version}) })
}
