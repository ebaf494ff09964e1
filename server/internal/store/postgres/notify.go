package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// channel is the one on which servers tell each other that there is something new.
const channel = "assent"

// keepAlive is how often a connection that hears nothing is asked whether it is still there.
const keepAlive = 30 * time.Second

// Notify tells the other servers on the database that there is something new. self names the server that wrote it.
func Notify(ctx context.Context, pool *sql.DB, self string) error {
	if _, err := pool.ExecContext(ctx, `SELECT pg_notify($1, $2)`, channel, self); err != nil {
		return fmt.Errorf("notify the other servers: %w", err)
	}
	return nil
}

// Listen calls heard whenever another server than self has written something, and once at its beginning. It has a
// connection of its own and returns when that breaks or ctx ends.
func Listen(ctx context.Context, url, self string, heard func()) (err error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return fmt.Errorf("listen to the other servers: %w", err)
	}
	defer func() {
		within, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		err = errors.Join(err, conn.Close(within))
	}()
	if _, err := conn.Exec(ctx, "LISTEN "+channel); err != nil {
		return fmt.Errorf("listen to the other servers: %w", err)
	}
	heard()
	for {
		within, cancel := context.WithTimeout(ctx, keepAlive)
		n, err := conn.WaitForNotification(within)
		quiet := within.Err() != nil
		cancel()
		switch {
		case err == nil && n.Payload != self:
			heard()
		case err == nil:
		case ctx.Err() != nil:
			return ctx.Err()
		case quiet:
			if err := conn.Ping(ctx); err != nil {
				return fmt.Errorf("listen to the other servers: %w", err)
			}
		default:
			return fmt.Errorf("listen to the other servers: %w", err)
		}
	}
}
