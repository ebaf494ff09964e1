package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	_ "modernc.org/sqlite"             // the driver "sqlite"

	"assent/server/seed"
)

// together is how many rows stand in one statement of the baseline: the most that made it faster.
const together = 100

// oneRowEach is the baseline of P3: what a server would write that keeps a row for each device and update.
func (b *bench) oneRowEach(ctx context.Context, s *site) (took time.Duration, err error) {
	driver, dsn := "sqlite", "file:"+filepath.Join(b.tmp, "rows.db")+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)"
	if s.engine == seed.Postgres {
		driver, dsn = "pgx", s.dsn
	}
	db, err := sql.Open(driver, dsn)
	if err != nil {
		return 0, fmt.Errorf("open the baseline's database: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if _, err := db.ExecContext(ctx, "CREATE TABLE baseline_rows (device TEXT, update_id INTEGER, status TEXT, act INTEGER, PRIMARY KEY (device, update_id))"); err != nil {
		return 0, fmt.Errorf("make the baseline's table: %w", err)
	}
	begin := time.Now()
	if err := insertEach(ctx, db, s); err != nil {
		return 0, fmt.Errorf("write the baseline's rows: %w", err)
	}
	took = time.Since(begin)
	_, err = db.ExecContext(ctx, "DROP TABLE baseline_rows")
	return took, err
}

func insertEach(ctx context.Context, db *sql.DB, s *site) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // does nothing after the commit
	stmt, err := tx.PrepareContext(ctx, "INSERT INTO baseline_rows VALUES "+values(s.engine, together))
	if err != nil {
		return err
	}
	defer stmt.Close()
	z, args := s.fleet.Size, make([]any, 0, 4*together)
	for i := range z.Devices {
		id := string(seed.DeviceID(i))
		for u := range z.Each {
			args = append(args, id, u, "approved", 1)
			if len(args) < cap(args) {
				continue
			}
			if _, err := stmt.ExecContext(ctx, args...); err != nil {
				return err
			}
			args = args[:0]
		}
	}
	return tx.Commit()
}

// values writes the placeholders of so many rows.
func values(engine string, rows int) string {
	var out []string
	for i := range rows {
		row := "(?, ?, ?, ?)"
		if engine == seed.Postgres {
			row = fmt.Sprintf("($%d, $%d, $%d, $%d)", 4*i+1, 4*i+2, 4*i+3, 4*i+4)
		}
		out = append(out, row)
	}
	return strings.Join(out, ", ")
}
