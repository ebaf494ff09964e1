package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"assent/fault"
)

// Password is what is kept of an operator's password.
type Password struct {
	Operator string    `json:"operator"`
	Hash     string    `json:"hash"` // with its salt and parameters
	Set      time.Time `json:"set"`
}

// Passkey is a registered passkey: a public key and what came with it.
type Passkey struct {
	ID         string          `json:"id"` // names it in lists and in the ledger; no secret
	Operator   string          `json:"operator"`
	Name       string          `json:"-"`          // may change
	Handle     []byte          `json:"handle"`     // by which authenticators know the operator
	Credential []byte          `json:"credential"` // the id that the authenticator gave it
	Record     json.RawMessage `json:"record"`     // as whoever verifies it wrote it
	Created    time.Time       `json:"created"`
	Count      uint32          `json:"-"` // of its signatures, as it last said
	Used       time.Time       `json:"-"` // zero: never
}

// errPasskeyKnown refuses to register an authenticator's credential twice.
var errPasskeyKnown = fault.New(fault.Conflict, "passkey_known", "This passkey is registered already.")

// Password returns what is kept of an operator's password, if there is one.
func (d *DB) Password(ctx context.Context, operator string) (p Password, ok bool, err error) {
	err = d.read(ctx, "read a password's hash", func(t tx) error {
		ok, err = t.one(ctx, `SELECT body FROM passwords WHERE operator = ?`, []any{key(operator)}, &p)
		return err
	})
	return p, ok, err
}

// one reads the one body that a query finds, if it does, and further columns.
func (t tx) one(ctx context.Context, query string, args []any, into any, columns ...any) (bool, error) {
	var data []byte
	err := t.QueryRowContext(ctx, t.bind(query), args...).Scan(append([]any{&data}, columns...)...)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return false, fmt.Errorf("decode row: %w", err)
	}
	return true, nil
}

// PutPassword writes what is kept of a password, in place of an earlier one.
func PutPassword(p Password) Beside {
	return Beside{func(ctx context.Context, t tx) error {
		b, err := body(p)
		if err != nil {
			return err
		}
		if _, err = t.exec(ctx, `INSERT INTO passwords (operator, body) VALUES (?, ?) ON CONFLICT (operator) DO UPDATE SET body = excluded.body`, key(p.Operator), b); err != nil {
			return fmt.Errorf("write a password's hash: %w", err)
		}
		return nil
	}}
}

// DropPassword removes an operator's password; fault.NotFound if there is none.
func DropPassword(operator string) Beside {
	return Beside{func(ctx context.Context, t tx) error {
		return t.must(ctx, fault.New(fault.NotFound, "password_unknown", "There is no password to remove."), `DELETE FROM passwords WHERE operator = ?`, key(operator))
	}}
}

// must runs a statement that has to change something; otherwise it is refused.
func (t tx) must(ctx context.Context, refusal error, query string, args ...any) error {
	n, err := t.exec(ctx, query, args...)
	if err == nil && n == 0 {
		return refusal
	}
	return err
}

// Rehash replaces the hash of a password that is the same as before. If the password was changed meanwhile, nothing
// happens.
func (d *DB) Rehash(ctx context.Context, old, fresh Password) error {
	was, err := body(old)
	if err != nil {
		return err
	}
	is, err := body(fresh)
	if err != nil {
		return err
	}
	return d.write(ctx, "rehash a password", func(t tx) error {
		_, err := t.exec(ctx, `UPDATE passwords SET body = ? WHERE operator = ? AND body = ?`, is, key(old.Operator), was)
		return err
	})
}

// AddPasskey registers a passkey; fault.Conflict if the authenticator's credential is registered already.
func AddPasskey(p Passkey) Beside {
	return Beside{func(ctx context.Context, t tx) error {
		b, err := body(p)
		if err != nil {
			return err
		}
		return t.must(ctx, errPasskeyKnown, `INSERT INTO passkeys (id, operator, credential, name, count, used, body) VALUES (?, ?, ?, ?, ?, 0, ?) ON CONFLICT DO NOTHING`,
			key(p.ID), key(p.Operator), credentialKey(p.Credential), quoted(p.Name), int64(p.Count), b)
	}}
}

func credentialKey(id []byte) string { return key(base64.RawURLEncoding.EncodeToString(id)) }

var errPasskeyUnknown = fault.New(fault.NotFound, "passkey_unknown", "There is no such passkey.").On("passkey")

// DropPasskey ends a passkey of an operator; fault.NotFound if there is none of this id.
func DropPasskey(operator, id string) Beside {
	return Beside{func(ctx context.Context, t tx) error {
		return t.must(ctx, errPasskeyUnknown, `DELETE FROM passkeys WHERE id = ? AND operator = ?`, key(id), key(operator))
	}}
}

// RenamePasskey gives an operator's passkey another name; fault.NotFound if there is none of this id.
func (d *DB) RenamePasskey(ctx context.Context, operator, id, name string) error {
	return d.write(ctx, "rename a passkey", func(t tx) error {
		return t.must(ctx, errPasskeyUnknown, `UPDATE passkeys SET name = ? WHERE id = ? AND operator = ?`, quoted(name), key(id), key(operator))
	})
}

const passkeyColumns = `SELECT body, name, count, used FROM passkeys `

// Passkeys lists an operator's passkeys, the oldest first.
func (d *DB) Passkeys(ctx context.Context, operator string) (out []Passkey, err error) {
	err = d.read(ctx, "read passkeys", func(t tx) error {
		return t.each(ctx, passkeyColumns+`WHERE operator = ? ORDER BY id`, []any{key(operator)}, func(scan func(...any) error) error {
			var p Passkey
			var data []byte
			var used int64
			if err := scan(&data, (*quoted)(&p.Name), &p.Count, &used); err != nil {
				return err
			}
			if err := json.Unmarshal(data, &p); err != nil {
				return fmt.Errorf("decode row: %w", err)
			}
			p.Used = moment(used)
			out = append(out, p)
			return nil
		})
	})
	return out, err
}

// PasskeyOf finds a passkey by the id that its authenticator gave it.
func (d *DB) PasskeyOf(ctx context.Context, credential []byte) (p Passkey, ok bool, err error) {
	var used int64
	err = d.read(ctx, "read a passkey", func(t tx) error {
		ok, err = t.one(ctx, passkeyColumns+`WHERE credential = ?`, []any{credentialKey(credential)}, &p, (*quoted)(&p.Name), &p.Count, &used)
		return err
	})
	p.Used = moment(used)
	return p, ok, err
}

// UsePasskey notes a use with the count that the authenticator gave. It reports false, and notes nothing, if the count
// does not go up, unless it has never left 0: not every authenticator counts.
func (d *DB) UsePasskey(ctx context.Context, id string, count uint32, at time.Time) (ok bool, err error) {
	err = d.write(ctx, "note the use of a passkey", func(t tx) error {
		n, err := t.exec(ctx, `UPDATE passkeys SET count = ?, used = ? WHERE id = ? AND (count < ? OR count = 0 AND CAST(? AS BIGINT) = 0)`,
			int64(count), at.UnixMicro(), key(id), int64(count), int64(count))
		ok = n > 0
		return err
	})
	return ok, err
}

// moment reads a time as it stands in a column; 0 is none.
func moment(micro int64) time.Time {
	if micro == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micro).UTC()
}

// quoted is a text of its own column that may be anything, NUL among it: it is written as JSON.
type quoted string

// Value is how it is written.
func (q quoted) Value() (driver.Value, error) { return body(string(q)) }

// Scan is how it is read.
func (q *quoted) Scan(src any) error {
	switch v := src.(type) {
	case string:
		return json.Unmarshal([]byte(v), (*string)(q))
	case []byte:
		return json.Unmarshal(v, (*string)(q))
	}
	return fmt.Errorf("decode text: it came as %T", src)
}
