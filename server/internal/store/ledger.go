package store

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"assent/fleet"
	"assent/ledger"
)

// ErrMoved says that another act was written first: load what is new, decide again, try again.
var ErrMoved = errors.New("the database has moved on; reload and try again")

// RawEntry is an entry as it was hashed.
type RawEntry struct {
	Seq  int64
	Data []byte
}

// Append writes an act: the entry, its hashes, and the rows of everything that the entry touches, taken
// from after, which must be the state with the entry applied. It returns ErrMoved, and has written
// nothing, if e does not exactly follow the last entry in the database. After any other error it is open
// whether the act was written, as when the connection broke during the commit: reload the tail.
func (d *DB) Append(ctx context.Context, e ledger.Entry, after *ledger.State) error {
	return d.AppendBeside(ctx, e, after)
}

// Beside is something that is written in the transaction of an act and is not in the ledger: what people sign in with
// and who is signed in. A refusal of it refuses the act.
type Beside struct {
	write func(context.Context, tx) error
}

// AppendBeside is Append with what goes beside the act: all of it is written, or nothing.
func (d *DB) AppendBeside(ctx context.Context, e ledger.Entry, after *ledger.State, beside ...Beside) error {
	if after.Seq != e.Seq {
		return fmt.Errorf("append entry %d: the state given is the one after entry %d", e.Seq, after.Seq)
	}
	data, err := ledger.Encode(e)
	if err != nil {
		return fmt.Errorf("append: %w", err)
	}
	what, err := e.Decode()
	if err != nil {
		return fmt.Errorf("append: %w", err)
	}
	return d.publish(ctx, fmt.Sprintf("append entry %d", e.Seq), func(t tx) error {
		if err := t.advance(ctx, e.Seq); err != nil {
			return err
		}
		if err := t.putEntry(ctx, e.Seq, data); err != nil {
			return err
		}
		if err := t.putState(ctx, e.Seq, what, after); err != nil {
			return err
		}
		for _, b := range beside {
			if err := b.write(ctx, t); err != nil {
				return err
			}
		}
		return nil
	})
}

// AppendEnrolments is Append for devices that are admitted one after another with one token, in one transaction: all of
// them are written, or none. after is the state with all of them applied. Measurements fill large fleets with it.
func (d *DB) AppendEnrolments(ctx context.Context, entries []ledger.Entry, after *ledger.State) error {
	if len(entries) == 0 || after.Seq != entries[len(entries)-1].Seq {
		return fmt.Errorf("append %d enrolments: the state given is the one after entry %d", len(entries), after.Seq)
	}
	raw, ids := make([]RawEntry, len(entries)), make([]fleet.DeviceID, len(entries))
	token := ""
	for i, e := range entries {
		data, err := ledger.Encode(e)
		if err != nil {
			return fmt.Errorf("append: %w", err)
		}
		body, err := e.Decode()
		if err != nil {
			return fmt.Errorf("append: %w", err)
		}
		enrol, ok := body.(ledger.DeviceEnrol)
		if !ok || e.Seq != entries[0].Seq+int64(i) || i > 0 && enrol.Token != token {
			return fmt.Errorf("append entry %d: it is not the next device with the same token", e.Seq)
		}
		raw[i], ids[i], token = RawEntry{e.Seq, data}, enrol.Device.ID, enrol.Token
	}
	return d.publish(ctx, fmt.Sprintf("append %d enrolments", len(entries)), func(t tx) error {
		if err := t.advanceFrom(ctx, entries[0].Seq-1, after.Seq); err != nil {
			return err
		}
		if err := t.putEntries(ctx, raw); err != nil {
			return err
		}
		if err := tokens().write(ctx, t, after, token); err != nil {
			return err
		}
		return devices().write(ctx, t, after, ids...)
	})
}

// advance moves the head from seq-1 to seq. On PostgreSQL it locks the head's row, so that a second
// server waits here and then finds that the head has moved; on SQLite the transaction holds the lock.
func (t tx) advance(ctx context.Context, seq int64) error { return t.advanceFrom(ctx, seq-1, seq) }

func (t tx) advanceFrom(ctx context.Context, from, to int64) error {
	n, err := t.exec(ctx, `UPDATE ledger_head SET seq = ? WHERE seq = ?`, to, from)
	if err != nil {
		return fmt.Errorf("advance the ledger's head: %w", err)
	}
	if n == 0 {
		return ErrMoved
	}
	return nil
}

func (t tx) putEntry(ctx context.Context, seq int64, data []byte) error {
	return t.putEntries(ctx, []RawEntry{{seq, data}})
}

// putEntries writes entries that follow one another, and their hashes.
func (t tx) putEntries(ctx context.Context, raw []RawEntry) error {
	var entries, rows [][]any
	fresh := map[int64]tlog.Hash{}
	read := t.hashesOver(ctx, fresh)
	for _, e := range raw {
		hashes, err := ledger.NextHashes(e.Seq, e.Data, read)
		if err != nil {
			return err
		}
		entries = append(entries, []any{e.Seq, e.Data})
		for i, h := range hashes {
			id := ledger.FirstHash(e.Seq) + int64(i)
			fresh[id] = h
			rows = append(rows, []any{id, h[:]})
		}
	}
	if _, err := t.many(ctx, `INSERT INTO ledger_entries (seq, data) VALUES :rows`, entries); err != nil {
		return fmt.Errorf("write the entry: %w", err)
	}
	if _, err := t.many(ctx, `INSERT INTO ledger_hashes (id, hash) VALUES :rows`, rows); err != nil {
		return fmt.Errorf("write the entry's hashes: %w", err)
	}
	return nil
}

// hashesOver reads hashes that are about to be written, and the others from the database.
func (t tx) hashesOver(ctx context.Context, fresh map[int64]tlog.Hash) tlog.HashReaderFunc {
	stored := t.hashes(ctx)
	return func(ids []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(ids))
		for i, id := range ids {
			h, ok := fresh[id]
			if !ok {
				one, err := stored([]int64{id})
				if err != nil {
					return nil, err
				}
				h = one[0]
			}
			out[i] = h
		}
		return out, nil
	}
}

// hashes reads stored hashes.
func (t tx) hashes(ctx context.Context) tlog.HashReaderFunc {
	return func(ids []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(ids))
		for i, id := range ids {
			var h []byte
			if err := t.QueryRowContext(ctx, t.bind(`SELECT hash FROM ledger_hashes WHERE id = ?`), id).Scan(&h); err != nil {
				return nil, fmt.Errorf("read ledger hash %d: %w", id, err)
			}
			if len(h) != tlog.HashSize {
				return nil, fmt.Errorf("ledger hash %d has %d bytes", id, len(h))
			}
			out[i] = tlog.Hash(h)
		}
		return out, nil
	}
}

// HashReader reads the hashes of the ledger's tree, for proofs.
func (d *DB) HashReader(ctx context.Context) tlog.HashReader {
	return tlog.HashReaderFunc(func(ids []int64) (out []tlog.Hash, err error) {
		err = d.read(ctx, "read ledger hashes", func(t tx) error {
			out, err = t.hashes(ctx)(ids)
			return err
		})
		return out, err
	})
}

// Head returns the number of the last entry, 0 when there is none, and the root over all entries.
func (d *DB) Head(ctx context.Context) (seq int64, root tlog.Hash, err error) {
	err = d.read(ctx, "read the ledger's head", func(t tx) error {
		if seq, err = t.head(ctx); err != nil {
			return err
		}
		root, err = tlog.TreeHash(seq, t.hashes(ctx))
		return err
	})
	return seq, root, err
}

func (t tx) head(ctx context.Context) (seq int64, err error) {
	err = t.QueryRowContext(ctx, `SELECT seq FROM ledger_head`).Scan(&seq)
	return seq, err
}

// Entries returns at most limit entries from number from on, in order, with exactly the bytes that were
// hashed.
func (d *DB) Entries(ctx context.Context, from, limit int64) ([]RawEntry, error) {
	var out []RawEntry
	err := d.read(ctx, "read ledger entries", func(t tx) error {
		return t.each(ctx, `SELECT seq, data FROM ledger_entries WHERE seq >= ? ORDER BY seq LIMIT ?`, []any{from, limit},
			func(scan func(...any) error) error {
				var e RawEntry
				if err := scan(&e.Seq, &e.Data); err != nil {
					return err
				}
				out = append(out, e)
				return nil
			})
	})
	return out, err
}
