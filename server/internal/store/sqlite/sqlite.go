// Package sqlite opens the embedded database and holds its schema.
//
// Guarantees: a commit is on disk when it returns (write-ahead log, synchronous=FULL: with NORMAL a power
// cut takes acknowledged acts along); there is one writer, so writers wait in a queue and never see
// "database is locked"; readers see one moment and do not wait for the writer; the file is readable by its
// owner only. It knows nothing of what is stored.
package sqlite

import (
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"syscall"

	driver "modernc.org/sqlite"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrations are the numbered steps of the schema.
func Migrations() fs.FS {
	dir, err := fs.Sub(migrations, "migrations")
	if err != nil {
		panic("sqlite: the embedded migrations are gone: " + err.Error()) // fixed at build time
	}
	return dir
}

// readers is how many connections may read at a time.
const readers = 8

// Open opens the database file, makes it when it is not there, and returns the pool that writes and the
// pool that reads.
func Open(path string) (writer, reader *sql.DB, err error) {
	if path == "" {
		return nil, nil, fmt.Errorf("the path is empty")
	}
	if path, err = filepath.Abs(path); err != nil {
		return nil, nil, err
	}
	if err := create(path); err != nil {
		return nil, nil, err
	}
	w, err := driver.NewConnector(dsn(path, "immediate",
		"temp_store(MEMORY)",       // what a statement would undo is for this process alone and needs no file
		"cache_size(-32768)",       // KiB
		"wal_autocheckpoint(4000)", // pages: a page that is written again and again is copied once
	))
	if err != nil {
		return nil, nil, err
	}
	r, err := driver.NewConnector(dsn(path, "deferred", "query_only(1)"))
	if err != nil {
		return nil, nil, err
	}
	writer, reader = sql.OpenDB(w), sql.OpenDB(r)
	writer.SetMaxOpenConns(1)
	reader.SetMaxOpenConns(readers)
	reader.SetMaxIdleConns(readers)
	return writer, reader, nil
}

// create makes the file for its owner only; SQLite gives its other files the same mode. It must not open
// the file: closing it again would drop the locks of every connection that this process has to it.
func create(path string) error {
	err := syscall.Mknod(path, syscall.S_IFREG|0o600, 0)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("create the file: %w", err)
	}
	return nil
}

// Alone makes processes that open the same new database at the same time do so one after the other, by a
// lock on the file's directory, which the kernel lets go when the process dies. It is needed from the first
// connection on: while one makes the write-ahead log, SQLite turns all others away and does not wait.
func Alone(path string) (release func() error, err error) {
	dir := filepath.Dir(path)
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", dir, err), f.Close())
	}
	return f.Close, nil
}

// dsn is the address of the file with the settings that every connection gets.
func dsn(path, lock string, pragmas ...string) string {
	q := url.Values{"_txlock": {lock}, "_pragma": append([]string{
		"busy_timeout(15000)", // another process, such as a backup, may hold the lock for a while
		"journal_mode(WAL)",
		"synchronous(FULL)",
		"foreign_keys(1)",
		"journal_size_limit(67108864)",
	}, pragmas...)}
	return (&url.URL{Scheme: "file", Path: path, RawQuery: q.Encode(), OmitHost: true}).String()
}
