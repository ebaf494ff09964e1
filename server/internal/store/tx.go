package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/sync/errgroup"

	"assent/server/internal/store/postgres"
)

// tx is a transaction with the engine's placeholders.
type tx struct {
	*sql.Tx
	bind   func(string) string
	shared bool // several servers may be at work on the database
}

// write runs act in a transaction that is durable once write returns nil. In a context of Fenced it is refused with
// ErrFenced once somebody else holds the lease.
func (d *DB) write(ctx context.Context, what string, act func(tx) error) error {
	bounded, cancel := context.WithTimeout(ctx, d.patience)
	defer cancel()
	at, err := d.within(bounded, d.writer, nil, func(t tx) error {
		if err := t.fence(bounded); err != nil {
			return err
		}
		return act(t)
	})
	if err != nil {
		return fmt.Errorf("%s: %w", what, d.refuse(ctx, bounded, err, max(at, writing)))
	}
	d.health.worked(d)
	return nil
}

// publish is write for what other servers hold in memory too: they are told that there is something new.
func (d *DB) publish(ctx context.Context, what string, act func(tx) error) error {
	err := d.write(ctx, what, act)
	if err == nil {
		d.bell.ring()
	}
	return err
}

// read runs act on one consistent moment of the database.
func (d *DB) read(ctx context.Context, what string, act func(tx) error) error {
	bounded, cancel := context.WithTimeout(ctx, d.patience)
	defer cancel()
	return d.look(ctx, bounded, what, act)
}

// load is read for a whole table: that takes as long as it takes.
func (d *DB) load(ctx context.Context, what string, act func(tx) error) error {
	return d.look(ctx, ctx, what, act)
}

func (d *DB) look(ctx, bounded context.Context, what string, act func(tx) error) error {
	_, err := d.within(bounded, d.readers, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}, act)
	if err != nil {
		return fmt.Errorf("%s: %w", what, d.refuse(ctx, bounded, err, reading))
	}
	return nil
}

// within runs act in a transaction and says how far it came.
func (d *DB) within(ctx context.Context, pool *sql.DB, opts *sql.TxOptions, act func(tx) error) (phase, error) {
	if d.observe != nil {
		began := time.Now()
		defer func() { d.observe(opts == nil, time.Since(began)) }()
	}
	t, err := d.begin(ctx, pool, opts)
	if err != nil {
		return reading, fmt.Errorf("begin: %w", err)
	}
	defer func() { _ = t.Rollback() }() // does nothing after Commit
	if err := act(tx{Tx: t, bind: d.bind, shared: d.Shared()}); err != nil {
		return writing, err
	}
	if err := t.Commit(); err != nil {
		return committing, fmt.Errorf("commit: %w", err)
	}
	return committing, nil
}

// begin begins a transaction. After a restart of the database every connection of the pool is a dead one;
// nothing was done on it yet, so people need not hear of that.
func (d *DB) begin(ctx context.Context, pool *sql.DB, opts *sql.TxOptions) (*sql.Tx, error) {
	for try := 0; ; try++ {
		t, err := pool.BeginTx(ctx, opts)
		if err == nil || try >= 2*postgres.Connections || !d.stale(err) || ctx.Err() != nil {
			return t, err
		}
	}
}

// exec runs a statement and returns how many rows it changed.
func (t tx) exec(ctx context.Context, query string, args ...any) (int64, error) {
	res, err := t.ExecContext(ctx, t.bind(query), args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// each runs a query and calls fn for each row.
func (t tx) each(ctx context.Context, query string, args []any, fn func(scan func(...any) error) error) error {
	rows, err := t.QueryContext(ctx, t.bind(query), args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := fn(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

// latest keeps the last value for each key, in the order of the keys: PostgreSQL refuses to write a row
// twice in one statement, and writers that take rows in one order cannot deadlock.
func latest[T any](values []T, key func(T) string) []T {
	last := make(map[string]T, len(values))
	keys := make([]string, 0, len(values))
	for _, v := range values {
		k := key(v)
		if _, seen := last[k]; !seen {
			keys = append(keys, k)
		}
		last[k] = v
	}
	slices.Sort(keys)
	out := make([]T, len(keys))
	for i, k := range keys {
		out[i] = last[k]
	}
	return out
}

// maxKey is the longest string that stands in a key column as it is. PostgreSQL's indexes take rows of
// 2704 bytes, and three keys must fit.
const maxKey = 512

// key makes a string fit for a key column: what PostgreSQL's text does not take (NUL, bytes that are not
// UTF-8, more than an index holds) is replaced by its hash. Key columns are looked up and never read
// back, so nothing is lost: the value itself stands in the row's body.
func key(s string) string {
	if len(s) <= maxKey && !strings.HasPrefix(s, `\`) && utf8.ValidString(s) && !strings.ContainsRune(s, 0) {
		return s
	}
	sum := sha256.Sum256([]byte(s))
	return `\` + hex.EncodeToString(sum[:])
}

// body encodes a row's value. JSON holds NUL as an escape and is always UTF-8, so both engines take it.
func body(v any) (string, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("encode row: %w", err)
	}
	return string(data), nil
}

// bodies calls fn with the decoded value of each row of a query for one body column, in any order and one at a time.
// Whole tables are read like this, so they are decoded on all processors.
func bodies[T any](ctx context.Context, t tx, query string, fn func(T) error) error {
	group, ctx := errgroup.WithContext(ctx)
	texts, values := make(chan [][]byte, 4), make(chan []T, 4)
	group.Go(func() error {
		defer close(texts)
		return t.texts(ctx, query, texts)
	})
	var decoders sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		decoders.Add(1)
		group.Go(func() error {
			defer decoders.Done()
			return decodeAll(ctx, texts, values)
		})
	}
	go func() { decoders.Wait(); close(values) }()
	var failed error
	for batch := range values {
		for i := 0; i < len(batch) && failed == nil; i++ {
			failed = fn(batch[i])
		}
	}
	return errors.Join(failed, group.Wait())
}

// texts sends what a query returns in its one column, many rows at a time.
func (t tx) texts(ctx context.Context, query string, out chan<- [][]byte) error {
	var batchOf [][]byte
	send := func() error {
		select {
		case out <- batchOf:
			batchOf = nil
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	err := t.each(ctx, query, nil, func(scan func(...any) error) error {
		var data []byte
		if err := scan(&data); err != nil {
			return err
		}
		if batchOf = append(batchOf, data); len(batchOf) < batch {
			return nil
		}
		return send()
	})
	if err != nil {
		return err
	}
	return send()
}

// decodeAll decodes what comes until there is no more.
func decodeAll[T any](ctx context.Context, texts <-chan [][]byte, out chan<- []T) error {
	for text := range texts {
		values := make([]T, len(text))
		for i, data := range text {
			if err := json.Unmarshal(data, &values[i]); err != nil {
				return fmt.Errorf("decode row: %w", err)
			}
		}
		select {
		case out <- values:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// each is bodies for a query with arguments.
func each[T any](ctx context.Context, t tx, query string, args []any, fn func(T) error) error {
	return t.each(ctx, query, args, func(scan func(...any) error) error {
		var data []byte
		if err := scan(&data); err != nil {
			return err
		}
		var v T
		if err := json.Unmarshal(data, &v); err != nil {
			return fmt.Errorf("decode row: %w", err)
		}
		return fn(v)
	})
}

// eachVersion is each for rows with their version.
func eachVersion[T any](ctx context.Context, t tx, query string, args []any, fn func(T, int64) error) error {
	return t.each(ctx, query, args, func(scan func(...any) error) error {
		var data []byte
		var version int64
		if err := scan(&data, &version); err != nil {
			return err
		}
		var v T
		if err := json.Unmarshal(data, &v); err != nil {
			return fmt.Errorf("decode row: %w", err)
		}
		return fn(v, version)
	})
}
