package store

import (
	"context"
	"time"
)

// SetSynchronous changes how SQLite waits for the disk, to prove that tests of power cuts can fail.
func (d *DB) SetSynchronous(ctx context.Context, mode string) error {
	_, err := d.writer.ExecContext(ctx, "PRAGMA synchronous="+mode) // there is one connection, so it lasts
	return err
}

// Hold holds the writer's lock from when it closes held until the test closes free.
func (d *DB) Hold(ctx context.Context, held, free chan struct{}) error {
	return d.write(ctx, "hold", func(t tx) error {
		close(held)
		<-free
		return nil
	})
}

// SetPatience changes how long a transaction may take; nothing else may be under way.
func (d *DB) SetPatience(p time.Duration) { d.patience = p }
