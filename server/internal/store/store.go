// Package store is the durable truth of a server: the ledger of decisions with the tables that it amounts
// to, and the facts that devices report. One SQL text serves both engines (store/sqlite, the embedded
// default, and store/postgres); one file holds one capability.
//
// The server works on its copy in memory (package index), so the tables are made for being loaded whole
// and written row by row: a row is its key columns and the value as JSON. A column of its own has only
// what SQL looks at.
//
// Guarantees: one method is one act and one transaction; when a method returns nil, what it wrote
// survives a crash and a power cut; an act is in the ledger and in the tables, or in neither; two servers
// on one database cannot both write an act that follows the same one, nor a row that follows the same one (ErrMoved); what
// one writes the others find (Changes). All methods may be called concurrently. A database that cannot work now (full disk, broken disk, no connection) is a
// fault.Unavailable whose code starts with "storage_" and whose message says whether anything was changed;
// once it can work again, so does the store. Any string can be stored: NUL is kept, bytes that are not UTF-8 come back as U+FFFD.
//
// It does not check whether an act is allowed (ledger.State.Apply does), holds no secrets but hashes, and
// keeps no private keys.
package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/pressly/goose/v3"

	"assent/fault"
	"assent/server/internal/store/postgres"
	"assent/server/internal/store/sqlite"
	"assent/wire"
)

// The engines.
const (
	SQLite   = "sqlite"
	Postgres = "postgres"
)

// Config says which database to use.
type Config struct {
	Engine string           // SQLite or Postgres; SQLite when empty
	DSN    string           // SQLite: the file's path, made when it is not there; Postgres: a postgres:// URL
	Log    *slog.Logger     // nil: no log
	Now    func() time.Time // nil: time.Now
	// Patience is how long one transaction may take; a minute when zero. Loading everything at the start may take longer.
	Patience time.Duration
	// Observe is told how long each transaction took, waiting for its connection included; nil: nobody is.
	Observe func(write bool, took time.Duration)
}

// DB is an open database.
type DB struct {
	engine  string
	writer  *sql.DB
	readers *sql.DB
	bind    func(query string) string // puts the engine's placeholders for ?
	// diagnose is the engine's explanation of an error that is the database's own.
	diagnose func(error) (f *fault.Error, open bool)
	stale    func(error) bool // is it only that the pool's connection was cut?
	listen   func(ctx context.Context, heard func()) error
	bell     *bell // nil: nobody else hears
	now      func() time.Time
	patience time.Duration
	observe  func(write bool, took time.Duration)
	log      *slog.Logger
	health   health

	applying  gather[*applying]
	documents gather[packed]

	pack   *zstd.Encoder
	unpack *zstd.Decoder
}

// Open opens the database and brings its schema up to date. It refuses a database whose schema is newer
// than this build, and one that cannot keep what the package promises.
func Open(ctx context.Context, cfg Config) (*DB, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Patience <= 0 {
		cfg.Patience = patience
	}
	d, err := connect(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(d.prepare(), d.migrate(ctx, cfg)); err != nil {
		return nil, errors.Join(explain(err, d.diagnose), d.Close())
	}
	if err := d.restamp(ctx); err != nil {
		return nil, errors.Join(explain(err, d.diagnose), d.Close())
	}
	return d, nil
}

// explain puts in front of an error at the start what the engine says about it.
func explain(err error, diagnose func(error) (*fault.Error, bool)) error {
	if f, _ := diagnose(err); f != nil {
		return f.Because(err)
	}
	return err
}

// connect opens the engine's pools.
func connect(ctx context.Context, cfg Config) (*DB, error) {
	d := &DB{now: cfg.Now, log: cfg.Log, patience: cfg.Patience, observe: cfg.Observe}
	d.applying.write, d.documents.write = d.apply, d.putDocuments
	switch cfg.Engine {
	case SQLite, "":
		d.stale = func(error) bool { return false } // there is nothing in between
		d.diagnose = func(err error) (*fault.Error, bool) { return sqlite.Refusal(cfg.DSN, err) }
		w, r, err := sqlite.Open(cfg.DSN)
		if err != nil {
			return nil, explain(fmt.Errorf("open the database %s: %w", cfg.DSN, err), d.diagnose)
		}
		d.engine, d.writer, d.readers, d.bind = SQLite, w, r, func(q string) string { return q }
	case Postgres:
		pool, err := postgres.Open(ctx, cfg.DSN, cfg.Log)
		if err != nil {
			return nil, explain(fmt.Errorf("open the PostgreSQL database: %w", err), postgres.Refusal) // never with the URL: it may hold a password
		}
		d.engine, d.writer, d.readers, d.bind = Postgres, pool, pool, postgres.Bind
		d.diagnose, d.stale = postgres.Refusal, postgres.Stale
		self := rand.Text()
		d.bell = newBell(func(ctx context.Context) error { return postgres.Notify(ctx, pool, self) })
		d.listen = func(ctx context.Context, heard func()) error { return postgres.Listen(ctx, cfg.DSN, self, heard) }
	default:
		return nil, fmt.Errorf("open the database: there is no engine %q; use %q or %q", cfg.Engine, SQLite, Postgres)
	}
	return d, nil
}

// prepare makes what documents are packed with.
func (d *DB) prepare() (err error) {
	if d.pack, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1)); err != nil {
		return fmt.Errorf("prepare compression: %w", err)
	}
	if d.unpack, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(wire.MaxDocument)); err != nil {
		return fmt.Errorf("prepare decompression: %w", err)
	}
	return nil
}

// provider knows the engine's migrations. Only one server at a time runs them.
func (d *DB) provider() (*goose.Provider, error) {
	opts := []goose.ProviderOption{goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger())}
	if d.engine == SQLite {
		return goose.NewProvider(goose.DialectSQLite3, d.writer, sqlite.Migrations(), opts...)
	}
	lock, err := postgres.MigrationLock()
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(goose.DialectPostgres, d.writer, postgres.Migrations(), append(opts, goose.WithSessionLocker(lock))...)
}

// migrate brings the schema to this build's version.
func (d *DB) migrate(ctx context.Context, cfg Config) (err error) {
	if d.engine == SQLite {
		release, failed := sqlite.Alone(cfg.DSN)
		if failed != nil {
			return failed
		}
		defer func() { err = errors.Join(err, release()) }()
	}
	p, err := d.provider()
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	have, want, err := p.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("read the schema's version: %w", err)
	}
	if have > want {
		return fmt.Errorf("the database has schema version %d, this build knows %d: run the newer server", have, want)
	}
	done, err := p.Up(ctx)
	if err != nil {
		return fmt.Errorf("migrate the schema from version %d to %d: %w", have, want, err)
	}
	for _, m := range done {
		cfg.Log.Info("schema migrated", "version", m.Source.Version, "took", m.Duration)
	}
	return nil
}

// Shared reports whether several servers may be at work on the database.
func (d *DB) Shared() bool { return d.engine == Postgres }

// Engine names the engine: SQLite or Postgres.
func (d *DB) Engine() string { return d.engine }

// Ping checks that the database answers.
func (d *DB) Ping(ctx context.Context) error {
	return d.read(ctx, "ping the database", func(t tx) error {
		var one int
		return t.QueryRowContext(ctx, "SELECT 1").Scan(&one)
	})
}

// Close closes the database. Whatever a method has acknowledged is durable without it.
func (d *DB) Close() error {
	d.bell.close()
	if d.unpack != nil {
		d.unpack.Close()
	}
	// The writer goes last: on SQLite the last connection folds the log into the file.
	if err := errors.Join(d.readers.Close(), d.writer.Close()); err != nil {
		return fmt.Errorf("close the database: %w", err)
	}
	return nil
}
