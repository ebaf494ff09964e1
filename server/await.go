package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	"assent/fault"
	"assent/server/internal/store"
)

// How a start waits for a database that does not answer. At a boot both may come up at once, and a server that waits tells
// more than one that ends and is started again.
const (
	startPatience = 2 * time.Minute
	startRetry    = time.Second
)

// awaitStore opens the database, and waits for one that does not answer yet. Any other trouble does not pass by waiting.
func awaitStore(ctx context.Context, conf store.Config, patience time.Duration) (*store.DB, error) {
	if patience <= 0 {
		patience = startPatience
	}
	began := time.Now()
	var told time.Time
	for {
		db, err := store.Open(ctx, conf)
		var said *fault.Error
		if err == nil || !errors.As(err, &said) || said.Code != "storage_unavailable" || ctx.Err() != nil {
			return db, err
		}
		if time.Since(began) >= patience {
			return nil, fmt.Errorf("the database did not answer for %v; start PostgreSQL, or mend its address in database.url_file or %s: %w", patience, databaseURL, err)
		}
		if time.Since(told) >= 10*time.Second {
			told = time.Now()
			conf.Log.Warn("waiting for the database, which does not answer", "for_at_most", patience, "err", err)
		}
		retry := time.NewTimer(min(startRetry, patience/10))
		select {
		case <-retry.C:
		case <-ctx.Done():
			retry.Stop()
			return nil, err
		}
	}
}
