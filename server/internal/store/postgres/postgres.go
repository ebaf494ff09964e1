// Package postgres opens a PostgreSQL database and holds its schema.
//
// Guarantees: a commit is on disk when it returns, whatever the server's default for synchronous_commit
// is; text is UTF-8. It cannot help a server that runs with fsync off; it says so in the log. It knows
// nothing of what is stored.
package postgres

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3/lock"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrations are the numbered steps of the schema.
func Migrations() fs.FS {
	dir, err := fs.Sub(migrations, "migrations")
	if err != nil {
		panic("postgres: the embedded migrations are gone: " + err.Error()) // fixed at build time
	}
	return dir
}

// MigrationLock makes servers that start at the same time migrate one after the other.
func MigrationLock() (lock.SessionLocker, error) {
	return lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 120))
}

// Connections is how many connections one server opens at most.
const Connections = 16

// Open connects to the database that url names and checks that it can keep what is stored. Its errors
// never hold the password.
func Open(ctx context.Context, url string, log *slog.Logger) (*sql.DB, error) {
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, errors.New("the database URL cannot be read; it looks like postgres://user@host/name")
	}
	pool := stdlib.OpenDB(*cfg, stdlib.OptionAfterConnect(durable))
	pool.SetMaxOpenConns(Connections)
	pool.SetMaxIdleConns(Connections)
	if err := check(ctx, pool, log); err != nil {
		return nil, errors.Join(err, pool.Close())
	}
	return pool, nil
}

// durable makes commits wait for the disk where the server's default is not to.
func durable(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.Exec(ctx, `SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'`)
	if err != nil {
		return fmt.Errorf("make commits durable: %w", err)
	}
	return nil
}

func check(ctx context.Context, pool *sql.DB, log *slog.Logger) error {
	var encoding, fsync string
	err := pool.QueryRowContext(ctx, `SELECT current_setting('server_encoding'), current_setting('fsync')`).Scan(&encoding, &fsync)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	if encoding != "UTF8" {
		return fmt.Errorf("the database's encoding is %s; create it with ENCODING 'UTF8'", encoding)
	}
	if fsync != "on" {
		log.Warn("PostgreSQL runs with fsync off: a power cut can take acknowledged decisions along")
	}
	return nil
}

// Bind writes PostgreSQL's placeholders ($1, $2, …) for question marks. The store's SQL has no other
// question marks.
func Bind(query string) string {
	var b strings.Builder
	b.Grow(len(query) + 64)
	n := 0
	for part := range strings.SplitSeq(query, "?") {
		if n > 0 {
			b.WriteByte('$')
			b.WriteString(strconv.Itoa(n))
		}
		b.WriteString(part)
		n++
	}
	return b.String()
}
