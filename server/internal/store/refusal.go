package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"assent/fault"
)

// How a transaction went before its error.
type phase int

const (
	reading    phase = iota
	writing          // before the commit: nothing of it is left
	committing       // the engine says whether it is open
)

// refuse turns an error of the database itself into a refusal that people can act on, and logs it: it is
// nobody's bug, so the log would not name it otherwise. Any other error is returned as it is, as is one of a
// caller who gave up. bounded is the caller's context with the database's own limit.
func (d *DB) refuse(caller, bounded context.Context, err error, at phase) error {
	if caller.Err() != nil {
		return err
	}
	f, open := d.diagnose(err)
	if bounded.Err() != nil {
		f, open = fault.New(fault.Unavailable, "storage_unavailable", "The server's database does not answer; try again."), true
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = errors.New(err.Error()) // the database's time is up, not the caller's
	}
	if f == nil {
		return err
	}
	if f.Cause != nil {
		err = fmt.Errorf("%w; %w", err, f.Cause)
	}
	switch {
	case at == committing && open:
		f = fault.New(fault.Unavailable, "storage_uncertain", "The database failed in the middle of writing, so it is open whether this was done; when the server works again, look at the ledger before you repeat it.")
	case at != reading:
		f.Message += " Nothing was changed."
	}
	d.health.failed(d, f.Code, err)
	return f.Because(err)
}

// tellAgain is how often a lasting trouble is logged.
const tellAgain = time.Minute

// health remembers since when the database has refused to work, so that the log says it once in a while
// and says when it is over.
type health struct {
	mu          sync.Mutex
	code        string // empty: all is well
	since, told time.Time
}

func (h *health) failed(d *DB, code string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := d.now()
	if h.code == "" {
		h.since = now
	}
	if h.code == code && now.Sub(h.told) < tellAgain {
		return
	}
	h.code, h.told = code, now
	d.log.Error("the database refuses to work", "code", code, "since", h.since, "err", err)
}

// Trouble is the code of what keeps the database from its work since the last write that went well, or empty.
func (d *DB) Trouble() string {
	d.health.mu.Lock()
	defer d.health.mu.Unlock()
	return d.health.code
}

// worked notes a write that is durable.
func (h *health) worked(d *DB) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.code != "" {
		d.log.Info("the database works again", "was", h.code, "for", d.now().Sub(h.since).Round(time.Second))
		h.code = ""
	}
}

// patience is how long a transaction may take when Config does not say. Without a bound, a database
// behind a network that swallows packets would hold up every act until the kernel gives up, which takes a
// quarter of an hour.
const patience = time.Minute
