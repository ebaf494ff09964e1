package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// pruneBatch is how many rows go in one transaction: others' writes wait for no more than that.
const pruneBatch = 1000

// PruneReports forgets reports and events that came before a time, some at a time, and says how many. What a device
// said last of each update stays, in the rows of installs.
//
// A report bears the device's time, which may be wrong, but never one after its arrival. So every report that was stored
// before the first one of that time or later came before it, and those are the ones that go. A report whose id was
// forgotten would count as new if its device repeated it; devices repeat for as long as they are not answered, so the
// time should be longer than a device may be away.
func (d *DB) PruneReports(ctx context.Context, before time.Time) (total int64, err error) {
	var first int64
	err = d.read(ctx, "find old reports", func(t tx) error {
		return t.QueryRowContext(ctx, t.bind(`SELECT id FROM reports WHERE at >= ? ORDER BY id LIMIT 1`), before.UnixMicro()).Scan(&first)
	})
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil // nobody reported since: nothing grows
	}
	if err != nil {
		return 0, err
	}
	return d.inBatches(ctx, "forget old reports", func(t tx) (int64, error) {
		return t.exec(ctx, `DELETE FROM reports WHERE id IN (SELECT id FROM reports WHERE id < ? ORDER BY id LIMIT ?)`, first, pruneBatch)
	})
}

// inBatches repeats a deletion, each time in its own transaction, until it finds less than a batch.
func (d *DB) inBatches(ctx context.Context, what string, some func(tx) (int64, error)) (total int64, err error) {
	for {
		var n int64
		err := d.write(ctx, what, func(t tx) (err error) {
			n, err = some(t)
			return err
		})
		if err != nil {
			return total, err
		}
		if total += n; n < pruneBatch {
			return total, nil
		}
	}
}

// Size is what the database takes, in bytes, and how much of that is free for what comes next. A SQLite file does not
// shrink: the pages of what was forgotten are used again. PostgreSQL does the same by its autovacuum and does not say how much.
func (d *DB) Size(ctx context.Context) (taken, free int64, err error) {
	query := `SELECT page_count * page_size, freelist_count * page_size FROM pragma_page_count, pragma_page_size, pragma_freelist_count`
	if d.engine == Postgres {
		query = `SELECT pg_database_size(current_database()), 0`
	}
	err = d.read(ctx, "measure the database", func(t tx) error { return t.QueryRowContext(ctx, query).Scan(&taken, &free) })
	if err != nil {
		return 0, 0, fmt.Errorf("measure the database: %w", err)
	}
	return taken, free, nil
}
