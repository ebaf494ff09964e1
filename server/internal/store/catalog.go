package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"assent/catalog"
)

// SaveCatalog writes whole updates, new or grown. Item sets only grow: if the database has an item that one
// of the given updates lacks (another server saw it first), nothing is written and ErrMoved returned.
func (d *DB) SaveCatalog(ctx context.Context, updates []catalog.Update) error {
	updates = latest(updates, func(u catalog.Update) string { return string(u.ID) })
	rows := make([][]any, len(updates))
	for i, u := range updates {
		b, err := body(u)
		if err != nil {
			return err
		}
		rows[i] = []any{key(string(u.ID)), b}
	}
	return d.write(ctx, "save catalog", func(t tx) error {
		// On PostgreSQL this row's lock lets one server at a time compare and write.
		if _, err := t.exec(ctx, `UPDATE catalog_version SET version = version + 1`); err != nil {
			return err
		}
		for _, u := range updates {
			if err := t.grows(ctx, u); err != nil {
				return err
			}
		}
		_, err := t.many(ctx, `INSERT INTO updates (id, body) VALUES :rows ON CONFLICT (id) DO UPDATE SET body = excluded.body`, rows)
		return err
	})
}

// grows checks that an update has all items that the database knows of it.
func (t tx) grows(ctx context.Context, u catalog.Update) error {
	var known catalog.Update
	var data []byte
	err := t.QueryRowContext(ctx, t.bind(`SELECT body FROM updates WHERE id = ?`), key(string(u.ID))).Scan(&data)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, &known); err != nil {
		return fmt.Errorf("decode update %s: %w", u.ID, err)
	}
	has := make(map[catalog.Bound]bool, len(u.Items))
	for _, it := range u.Items {
		it.Origin = "" // where it was seen is not what it is
		has[it] = true
	}
	for _, it := range known.Items {
		it.Origin = ""
		if !has[it] {
			return ErrMoved
		}
	}
	return nil
}

// LoadCatalog calls fn with every known update. fn must not call the store.
func (d *DB) LoadCatalog(ctx context.Context, fn func(catalog.Update) error) error {
	return d.load(ctx, "load catalog", func(t tx) error {
		return bodies(ctx, t, `SELECT body FROM updates`, fn)
	})
}
