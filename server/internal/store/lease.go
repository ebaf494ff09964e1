package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"time"

	"assent/fault"
)

// Lease says who of several servers does something now.
type Lease struct {
	Name   string
	Holder string
	Token  int64 // grows each time that the lease changes hands
}

// ErrFenced is the refusal of a write by a holder whose lease somebody else has by now.
var ErrFenced = fault.New(fault.Conflict, "lease_lost", "Another server has taken this work over; nothing was changed.")

// Lease makes holder the one who does something for a while, unless somebody else is at now. Whoever holds it may take it
// again. Time is the database's, so the servers' clocks do not matter.
func (d *DB) Lease(ctx context.Context, name, holder string, life time.Duration) (l Lease, ok bool, err error) {
	l = Lease{Name: name, Holder: holder}
	err = d.write(ctx, "take a lease", func(t tx) error {
		now := d.clock()
		err := t.QueryRowContext(ctx, t.bind(`INSERT INTO leases (name, holder, until, token) VALUES (?, ?, `+now+` + CAST(? AS BIGINT), 1)
			ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until,
			token = leases.token + CASE WHEN leases.holder = excluded.holder THEN 0 ELSE 1 END
			WHERE leases.holder = excluded.holder OR leases.until <= `+now+` RETURNING token`), key(name), key(holder), life.Microseconds()).Scan(&l.Token)
		ok = err == nil
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		return err
	})
	return l, ok && err == nil, err
}

// Release gives a lease back, so that others need not wait for its end. One that was lost is left alone.
func (d *DB) Release(ctx context.Context, l Lease) error {
	return d.write(ctx, "give back a lease", func(t tx) error {
		_, err := t.exec(ctx, `UPDATE leases SET until = 0 WHERE name = ? AND holder = ? AND token = ?`, key(l.Name), key(l.Holder), l.Token)
		return err
	})
}

// clock is the database's time in microseconds since 1970, as SQL. SQLite's is that of the process.
func (d *DB) clock() string {
	if d.Shared() {
		return `(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000)::BIGINT`
	}
	return strconv.FormatInt(d.now().UnixMicro(), 10)
}

type leaseKey struct{}

// Fenced returns a context in which whatever is written carries the lease: if somebody else has it by the time of the
// write, the write is refused with ErrFenced. That is checked in the transaction itself, so a holder that stood still for
// a while cannot write after another one has begun.
func Fenced(ctx context.Context, l Lease) context.Context {
	return context.WithValue(ctx, leaseKey{}, l)
}

func leaseOf(ctx context.Context) (Lease, bool) {
	l, ok := ctx.Value(leaseKey{}).(Lease)
	return l, ok
}

// fence refuses the transaction if its context's lease is lost. The share of the row's lock keeps the lease from changing hands
// before the transaction has ended.
func (t tx) fence(ctx context.Context) error {
	l, ok := leaseOf(ctx)
	if !ok {
		return nil
	}
	query := `SELECT token FROM leases WHERE name = ? AND holder = ?`
	if t.shared {
		query += ` FOR SHARE`
	}
	var token int64
	err := t.QueryRowContext(ctx, t.bind(query), key(l.Name), key(l.Holder)).Scan(&token)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return ErrFenced
	case err != nil:
		return fmt.Errorf("look at the lease %s: %w", l.Name, err)
	case token != l.Token:
		return ErrFenced
	}
	return nil
}
