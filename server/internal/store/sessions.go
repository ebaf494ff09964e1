package store

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Session is a browser in which somebody is signed in.
type Session struct {
	Key      string    `json:"-"`  // SHA-256 of the cookie's value, hex; the value itself is kept nowhere
	ID       string    `json:"id"` // names it in lists; no secret
	Operator string    `json:"operator"`
	Access   string    `json:"access,omitempty"` // id of the access token that it stands on; it ends with that
	Own      bool      `json:"own,omitempty"`    // the access token was made for this session
	Means    string    `json:"means"`            // what the person signed in with
	Remote   string    `json:"remote"`           // from where
	Agent    string    `json:"agent"`            // the browser, as it calls itself
	Created  time.Time `json:"created"`

	Seen      time.Time `json:"-"` // last use, to about a minute
	Confirmed time.Time `json:"-"` // when the person last proved who they are
	Until     time.Time `json:"-"` // it ends then, whatever it does
	Scope     string    `json:"-"` // the group that the person looks from; empty: the top of theirs
}

const sessionColumns = `SELECT body, key, seen, confirmed, until, scope FROM sessions `

// AddSession writes a session. Of an operator's sessions only the last used are kept, as many as most.
func (d *DB) AddSession(ctx context.Context, s Session, most int) error {
	b, err := body(s)
	if err != nil {
		return err
	}
	var access any
	if s.Access != "" {
		access = key(s.Access)
	}
	return d.write(ctx, "begin a session", func(t tx) error {
		_, err := t.exec(ctx, `INSERT INTO sessions (key, id, operator, access, seen, confirmed, until, scope, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			s.Key, s.ID, key(s.Operator), access, s.Seen.UnixMicro(), s.Confirmed.UnixMicro(), s.Until.UnixMicro(), quoted(s.Scope), b)
		if err != nil {
			return err
		}
		_, err = t.exec(ctx, `DELETE FROM sessions WHERE operator = ? AND key <> ? AND key NOT IN (
			SELECT key FROM sessions WHERE operator = ? AND key <> ? ORDER BY seen DESC, key LIMIT ?)`, key(s.Operator), s.Key, key(s.Operator), s.Key, most-1)
		return err
	})
}

// Session finds a session by its key. Whether it still counts is for the caller to say.
func (d *DB) Session(ctx context.Context, key string) (s Session, ok bool, err error) {
	var seen, confirmed, until int64
	err = d.read(ctx, "read a session", func(t tx) error {
		ok, err = t.one(ctx, sessionColumns+`WHERE key = ?`, []any{key}, &s, &s.Key, &seen, &confirmed, &until, (*quoted)(&s.Scope))
		return err
	})
	s.Seen, s.Confirmed, s.Until = moment(seen), moment(confirmed), moment(until)
	return s, ok, err
}

// Sessions lists an operator's sessions, the last used first.
func (d *DB) Sessions(ctx context.Context, operator string) (out []Session, err error) {
	err = d.read(ctx, "read sessions", func(t tx) error {
		return t.each(ctx, sessionColumns+`WHERE operator = ? ORDER BY seen DESC, key`, []any{key(operator)}, func(scan func(...any) error) error {
			var s Session
			var data []byte
			var seen, confirmed, until int64
			if err := scan(&data, &s.Key, &seen, &confirmed, &until, (*quoted)(&s.Scope)); err != nil {
				return err
			}
			if err := json.Unmarshal(data, &s); err != nil {
				return fmt.Errorf("decode row: %w", err)
			}
			s.Seen, s.Confirmed, s.Until = moment(seen), moment(confirmed), moment(until)
			out = append(out, s)
			return nil
		})
	})
	return out, err
}

// SeeSessions writes down when sessions were last used. What is later in the database stays.
func (d *DB) SeeSessions(ctx context.Context, seen map[string]time.Time) error {
	return d.write(ctx, "note the use of sessions", func(t tx) error {
		for _, key := range slices.Sorted(maps.Keys(seen)) { // one order for all, so that two servers do not wait for each other
			at := seen[key].UnixMicro()
			if _, err := t.exec(ctx, `UPDATE sessions SET seen = ? WHERE key = ? AND seen < ?`, at, key, at); err != nil {
				return err
			}
		}
		return nil
	})
}

// ConfirmSession notes when the person last proved who they are.
func (d *DB) ConfirmSession(ctx context.Context, key string, at time.Time) error {
	return d.write(ctx, "confirm a session", func(t tx) error {
		_, err := t.exec(ctx, `UPDATE sessions SET confirmed = ? WHERE key = ?`, at.UnixMicro(), key)
		return err
	})
}

// ScopeSession notes the group that the person looks from.
func (d *DB) ScopeSession(ctx context.Context, key, scope string) error {
	return d.write(ctx, "note the group of a session", func(t tx) error {
		_, err := t.exec(ctx, `UPDATE sessions SET scope = ? WHERE key = ?`, quoted(scope), key)
		return err
	})
}

// EndSession ends a session.
func (d *DB) EndSession(ctx context.Context, key string) error {
	return d.write(ctx, "end a session", func(t tx) error {
		_, err := t.exec(ctx, `DELETE FROM sessions WHERE key = ?`, key)
		return err
	})
}

// EndSessions ends an operator's sessions but the one with the key keep; none is kept if that is empty. It returns how
// many ended.
func (d *DB) EndSessions(ctx context.Context, operator, keep string) (n int64, err error) {
	err = d.write(ctx, "end sessions", func(t tx) error {
		n, err = t.endSessions(ctx, operator, keep)
		return err
	})
	return n, err
}

// DropSessions is EndSessions in the transaction of an act.
func DropSessions(operator, keep string) Beside {
	return Beside{func(ctx context.Context, t tx) error {
		_, err := t.endSessions(ctx, operator, keep)
		return err
	}}
}

func (t tx) endSessions(ctx context.Context, operator, keep string) (int64, error) {
	return t.exec(ctx, `DELETE FROM sessions WHERE operator = ? AND key <> ?`, key(operator), keep)
}

// SweepSessions forgets sessions that were not used since a time or ended by themselves, and challenges that nobody
// answered.
func (d *DB) SweepSessions(ctx context.Context, unused, now time.Time) error {
	return d.write(ctx, "forget ended sessions", func(t tx) error {
		if _, err := t.exec(ctx, `DELETE FROM sessions WHERE seen < ? OR until <= ?`, unused.UnixMicro(), now.UnixMicro()); err != nil {
			return err
		}
		_, err := t.exec(ctx, `DELETE FROM ceremonies WHERE until <= ?`, now.UnixMicro())
		return err
	})
}

// PutCeremony keeps a challenge until its answer comes. Of all only the latest are kept, as many as most.
func (d *DB) PutCeremony(ctx context.Context, id string, until time.Time, value any, most int) error {
	b, err := body(value)
	if err != nil {
		return err
	}
	return d.write(ctx, "keep a challenge", func(t tx) error {
		if _, err := t.exec(ctx, `INSERT INTO ceremonies (id, until, body) VALUES (?, ?, ?)`, id, until.UnixMicro(), b); err != nil {
			return err
		}
		_, err := t.exec(ctx, `DELETE FROM ceremonies WHERE id IN (SELECT id FROM ceremonies ORDER BY until DESC, id LIMIT 1000 OFFSET ?)`, most)
		return err
	})
}

// TakeCeremony takes a challenge out: of several answers to it one finds it. Whether its time is over is for the caller
// to say.
func (d *DB) TakeCeremony(ctx context.Context, id string, into any) (until time.Time, ok bool, err error) {
	var at int64
	err = d.write(ctx, "take a challenge", func(t tx) error {
		ok, err = t.one(ctx, `DELETE FROM ceremonies WHERE id = ? RETURNING body, until`, []any{key(id)}, into, &at)
		return err
	})
	return moment(at), ok, err
}
