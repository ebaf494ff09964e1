package store

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// OutState is what became of a message.
type OutState string

// What becomes of messages. All but the first are final.
const (
	Waiting OutState = "waiting"
	Sent    OutState = "sent"
	GaveUp  OutState = "gave_up"
	Failed  OutState = "failed" // a test, which is tried once
)

// Outgoing is a message to a channel with how sending it goes.
type Outgoing struct {
	ID      string          `json:"id"` // the same at every attempt
	Channel string          `json:"channel"`
	Event   string          `json:"event"`
	At      time.Time       `json:"at"` // when it was made
	Text    string          `json:"text"`
	Message json.RawMessage `json:"message"`          // the rest, as whoever sends it wrote it
	Tries   int             `json:"tries,omitempty"`  // attempts so far
	First   time.Time       `json:"first,omitzero"`   // the first attempt
	Next    time.Time       `json:"next,omitzero"`    // the next one is not before
	Error   string          `json:"error,omitempty"`  // of the last attempt
	Refused int             `json:"refused,omitzero"` // how often the receiver did not want this very message

	Seq   int64     `json:"-"` // messages of a channel are sent in this order
	State OutState  `json:"-"`
	Done  time.Time `json:"-"` // since when it is in its state
}

// Told is what a channel was told of.
type Told struct {
	Subject string    `json:"subject"`
	Mark    string    `json:"mark"` // tells one occurrence of the subject from the next
	At      time.Time `json:"at"`
}

// Queued is what Queue writes: all of it or nothing.
type Queued struct {
	Messages []Outgoing        // an id that is there already is left as it is; without a State they wait
	Told     map[string][]Told // by channel
	Forget   map[string][]string
	Ledger   int64 // how far the ledger was read; 0: not looked at
}

// PutChannelSecret writes a channel's sealed secret, in place of an earlier one.
func PutChannelSecret(channel string, sealed []byte) Beside {
	return Beside{func(ctx context.Context, t tx) error {
		b, err := body(sealed)
		if err != nil {
			return err
		}
		if _, err = t.exec(ctx, `INSERT INTO channel_secrets (channel, sealed) VALUES (?, ?) ON CONFLICT (channel) DO UPDATE SET sealed = excluded.sealed`, key(channel), b); err != nil {
			return fmt.Errorf("write a channel's secret: %w", err)
		}
		return nil
	}}
}

// ChannelSecret returns a channel's sealed secret, if it has one.
func (d *DB) ChannelSecret(ctx context.Context, channel string) (sealed []byte, ok bool, err error) {
	err = d.read(ctx, "read a channel's secret", func(t tx) error {
		ok, err = t.one(ctx, `SELECT sealed FROM channel_secrets WHERE channel = ?`, []any{key(channel)}, &sealed)
		return err
	})
	return sealed, ok, err
}

// Queue writes messages with what they tell of. Messages of channels that are gone are left out.
func (d *DB) Queue(ctx context.Context, q Queued) error {
	return d.write(ctx, "queue messages", func(t tx) error {
		if err := t.putOutgoing(ctx, q.Messages); err != nil {
			return err
		}
		for channel, all := range q.Told {
			for _, told := range all {
				b, err := body(told)
				if err != nil {
					return err
				}
				if _, err := t.exec(ctx, `INSERT INTO told (channel, subject, body) SELECT id, ?, ? FROM channels WHERE id = ?
					ON CONFLICT (channel, subject) DO UPDATE SET body = excluded.body`, key(told.Subject), b, key(channel)); err != nil {
					return err
				}
			}
		}
		for channel, all := range q.Forget {
			for _, subject := range all {
				if _, err := t.exec(ctx, `DELETE FROM told WHERE channel = ? AND subject = ?`, key(channel), key(subject)); err != nil {
					return err
				}
			}
		}
		if q.Ledger == 0 {
			return nil
		}
		_, err := t.exec(ctx, `INSERT INTO told_ledger (one, seq) VALUES (1, ?) ON CONFLICT (one) DO UPDATE SET seq = excluded.seq WHERE told_ledger.seq < excluded.seq`, q.Ledger)
		return err
	})
}

func (t tx) putOutgoing(ctx context.Context, messages []Outgoing) error {
	for _, m := range messages {
		b, err := body(m)
		if err != nil {
			return err
		}
		if _, err := t.exec(ctx, `INSERT INTO outbox (id, channel, state, at, body) SELECT ?, id, ?, CAST(? AS BIGINT), ? FROM channels WHERE id = ? ON CONFLICT (id) DO NOTHING`,
			key(m.ID), string(cmp.Or(m.State, Waiting)), latestOf(m.At, m.Done).UnixMicro(), b, key(m.Channel)); err != nil {
			return fmt.Errorf("queue a message: %w", err)
		}
	}
	return nil
}

func latestOf(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// Told lists what a channel was told of.
func (d *DB) Told(ctx context.Context, channel string) (out []Told, err error) {
	err = d.read(ctx, "read what a channel was told", func(t tx) error {
		return each(ctx, t, `SELECT body FROM told WHERE channel = ? ORDER BY subject`, []any{key(channel)}, func(told Told) error {
			out = append(out, told)
			return nil
		})
	})
	return out, err
}

// ToldLedger returns how far the ledger was read; false if it never was.
func (d *DB) ToldLedger(ctx context.Context) (seq int64, ok bool, err error) {
	err = d.read(ctx, "read how far the ledger was told of", func(t tx) error {
		err := t.QueryRowContext(ctx, `SELECT seq FROM told_ledger`).Scan(&seq)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		ok = err == nil
		return err
	})
	return seq, ok, err
}

// NextOutgoing returns the message of a channel that is to be sent first, if one waits.
func (d *DB) NextOutgoing(ctx context.Context, channel string) (m Outgoing, ok bool, err error) {
	err = d.read(ctx, "read the next message", func(t tx) error {
		var at int64
		ok, err = t.one(ctx, `SELECT body, seq, state, at FROM outbox WHERE channel = ? AND state = 'waiting' ORDER BY seq LIMIT 1`, []any{key(channel)}, &m, &m.Seq, &m.State, &at)
		m.Done = moment(at)
		return err
	})
	return m, ok, err
}

// NoteOutgoing writes what came of an attempt. A message whose state is final stays as it is.
func (d *DB) NoteOutgoing(ctx context.Context, m Outgoing) error {
	b, err := body(m)
	if err != nil {
		return err
	}
	return d.write(ctx, "note what came of a message", func(t tx) error {
		_, err := t.exec(ctx, `UPDATE outbox SET state = ?, at = ?, body = ? WHERE id = ? AND state = 'waiting'`, string(m.State), m.Done.UnixMicro(), b, key(m.ID))
		return err
	})
}

// Outgoings lists the messages of a channel, the newest first.
func (d *DB) Outgoings(ctx context.Context, channel string, limit int) (out []Outgoing, err error) {
	err = d.read(ctx, "list messages", func(t tx) error {
		return t.each(ctx, `SELECT body, seq, state, at FROM outbox WHERE channel = ? ORDER BY seq DESC LIMIT ?`, []any{key(channel), limit}, func(scan func(...any) error) error {
			var m Outgoing
			var data []byte
			var at int64
			if err := scan(&data, &m.Seq, &m.State, &at); err != nil {
				return err
			}
			if err := json.Unmarshal(data, &m); err != nil {
				return fmt.Errorf("decode row: %w", err)
			}
			m.Done = moment(at)
			out = append(out, m)
			return nil
		})
	})
	return out, err
}

// CountOutgoing counts the messages of a channel by state, those that changed since a time and those that wait.
func (d *DB) CountOutgoing(ctx context.Context, channel string, since time.Time) (map[OutState]int, error) {
	out := map[OutState]int{}
	err := d.read(ctx, "count messages", func(t tx) error {
		return t.each(ctx, `SELECT state, COUNT(*) FROM outbox WHERE channel = ? AND (state = 'waiting' OR at >= ?) GROUP BY state`, []any{key(channel), since.UnixMicro()}, func(scan func(...any) error) error {
			var state OutState
			var n int
			if err := scan(&state, &n); err != nil {
				return err
			}
			out[state] = n
			return nil
		})
	})
	return out, err
}

// PruneOutgoing forgets the messages that were done with before a time, and says how many.
func (d *DB) PruneOutgoing(ctx context.Context, before time.Time) (n int64, err error) {
	return d.inBatches(ctx, "forget old messages", func(t tx) (int64, error) {
		return t.exec(ctx, `DELETE FROM outbox WHERE seq IN (SELECT seq FROM outbox WHERE state <> 'waiting' AND at < ? LIMIT ?)`, before.UnixMicro(), pruneBatch)
	})
}
