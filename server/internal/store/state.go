package store

import (
	"context"
	"fmt"

	"assent/approval"
	"assent/fleet"
	"assent/ledger"
)

// table is the place of one map of ledger.State in the database.
type table[K comparable, V any] struct {
	name   string
	of     func(*ledger.State) map[K]V
	id     func(V) K        // the key that stands in a value
	put    string           // writes :rows, made by row
	row    func(K, V) []any // key columns and columns that refer to other tables; the body follows
	remove string           // deletes :rows, made by key
	key    func(K) []any    // key columns
}

// write writes the rows of some keys as they are in the state: puts what is there, removes what is not.
func (tab table[K, V]) write(ctx context.Context, t tx, after *ledger.State, keys ...K) error {
	var puts, removes [][]any
	seen := make(map[K]bool, len(keys))
	for _, k := range keys {
		if seen[k] {
			continue
		}
		seen[k] = true
		v, ok := tab.of(after)[k]
		if !ok {
			removes = append(removes, tab.key(k))
			continue
		}
		b, err := body(v)
		if err != nil {
			return fmt.Errorf("%s: %w", tab.name, err)
		}
		puts = append(puts, append(tab.row(k, v), b))
	}
	if _, err := t.many(ctx, tab.put, puts); err != nil {
		return fmt.Errorf("write %s: %w", tab.name, err)
	}
	if _, err := t.many(ctx, tab.remove, removes); err != nil {
		return fmt.Errorf("remove %s: %w", tab.name, err)
	}
	return nil
}

// load reads the whole table into the state.
func (tab table[K, V]) load(ctx context.Context, t tx, into *ledger.State) error {
	m := tab.of(into)
	err := bodies(ctx, t, `SELECT body FROM `+tab.name, func(v V) error {
		m[tab.id(v)] = v
		return nil
	})
	if err != nil {
		return fmt.Errorf("load %s: %w", tab.name, err)
	}
	return nil
}

// keyed is a table with one key column whose rows have nothing besides it but their body.
func keyed[K comparable, V any](name, column string, cell func(K) any, of func(*ledger.State) map[K]V, id func(V) K) table[K, V] {
	return table[K, V]{
		name:   name,
		of:     of,
		id:     id,
		put:    `INSERT INTO ` + name + ` (` + column + `, body) VALUES :rows ON CONFLICT (` + column + `) DO UPDATE SET body = excluded.body`,
		row:    func(k K, _ V) []any { return []any{cell(k)} },
		remove: `DELETE FROM ` + name + ` WHERE ` + column + ` IN (:rows)`,
		key:    func(k K) []any { return []any{cell(k)} },
	}
}

func text[K ~string](k K) any { return key(string(k)) }

func number(k int64) any { return k }

// The tables of the state. They are functions because the package keeps no variables.

func groups() table[fleet.GroupID, fleet.Group] {
	return keyed("device_groups", "id", text[fleet.GroupID],
		func(s *ledger.State) map[fleet.GroupID]fleet.Group { return s.Groups },
		func(g fleet.Group) fleet.GroupID { return g.ID })
}

func devices() table[fleet.DeviceID, fleet.Device] {
	return table[fleet.DeviceID, fleet.Device]{
		name: "devices",
		of:   func(s *ledger.State) map[fleet.DeviceID]fleet.Device { return s.Devices },
		id:   func(d fleet.Device) fleet.DeviceID { return d.ID },
		put: `INSERT INTO devices (id, group_id, body) VALUES :rows
			ON CONFLICT (id) DO UPDATE SET group_id = excluded.group_id, body = excluded.body`,
		row:    func(id fleet.DeviceID, d fleet.Device) []any { return []any{key(string(id)), key(string(d.Group))} },
		remove: `DELETE FROM devices WHERE id IN (:rows)`,
		key:    func(id fleet.DeviceID) []any { return []any{key(string(id))} },
	}
}

func decisions() table[ledger.DecisionKey, approval.Decision] {
	columns := func(k ledger.DecisionKey) []any { return []any{key(string(k.Update)), key(string(k.Scope))} }
	return table[ledger.DecisionKey, approval.Decision]{
		name: "decisions",
		of:   func(s *ledger.State) map[ledger.DecisionKey]approval.Decision { return s.Decisions },
		id: func(d approval.Decision) ledger.DecisionKey {
			return ledger.DecisionKey{Update: d.Update, Scope: d.Scope}
		},
		put: `INSERT INTO decisions (update_id, scope, body) VALUES :rows
			ON CONFLICT (update_id, scope) DO UPDATE SET body = excluded.body`,
		row:    func(k ledger.DecisionKey, _ approval.Decision) []any { return columns(k) },
		remove: `DELETE FROM decisions WHERE (update_id, scope) IN (VALUES :rows)`,
		key:    columns,
	}
}

func exceptions() table[int64, approval.Exception] {
	return keyed("exceptions", "act", number,
		func(s *ledger.State) map[int64]approval.Exception { return s.Exceptions },
		func(x approval.Exception) int64 { return x.Act })
}

func rollbacks() table[int64, ledger.Rollback] {
	return keyed("rollbacks", "act", number,
		func(s *ledger.State) map[int64]ledger.Rollback { return s.Rollbacks },
		func(r ledger.Rollback) int64 { return r.Act })
}

func tokens() table[string, ledger.Token] {
	return keyed("tokens", "id", text[string],
		func(s *ledger.State) map[string]ledger.Token { return s.Tokens },
		func(t ledger.Token) string { return t.ID })
}

// operators: who is removed loses the accesses with it, by the table that refers to this one.
func operators() table[string, ledger.Operator] {
	return keyed("operators", "name", text[string],
		func(s *ledger.State) map[string]ledger.Operator { return s.Operators },
		func(o ledger.Operator) string { return o.Name })
}

func accesses() table[string, ledger.Access] {
	return table[string, ledger.Access]{
		name: "accesses",
		of:   func(s *ledger.State) map[string]ledger.Access { return s.Accesses },
		id:   func(a ledger.Access) string { return a.ID },
		put: `INSERT INTO accesses (id, operator, body) VALUES :rows
			ON CONFLICT (id) DO UPDATE SET operator = excluded.operator, body = excluded.body`,
		row:    func(id string, a ledger.Access) []any { return []any{key(id), key(a.Operator)} },
		remove: `DELETE FROM accesses WHERE id IN (:rows)`,
		key:    func(id string) []any { return []any{key(id)} },
	}
}

// putState writes the rows that an act touches as they are after it.
func (t tx) putState(ctx context.Context, seq int64, act ledger.Body, after *ledger.State) error {
	if seq == 1 { // the root group is there without an act
		if err := groups().write(ctx, t, after, fleet.Root); err != nil {
			return err
		}
	}
	switch b := act.(type) {
	case ledger.ServerInit:
		return t.putServer(ctx, after.Server)
	case ledger.GroupCreate:
		return groups().write(ctx, t, after, b.Group.ID)
	case ledger.GroupChange:
		return groups().write(ctx, t, after, b.Group.ID)
	case ledger.GroupDelete:
		return groups().write(ctx, t, after, b.ID)
	case ledger.DeviceEnrol:
		if err := tokens().write(ctx, t, after, b.Token); err != nil {
			return err
		}
		return devices().write(ctx, t, after, b.Device.ID)
	case ledger.DeviceRenew:
		return devices().write(ctx, t, after, b.ID)
	case ledger.DeviceMove:
		return devices().write(ctx, t, after, b.IDs...)
	case ledger.DeviceState:
		return devices().write(ctx, t, after, b.IDs...)
	case ledger.UpdateDecide:
		if err := agreements().write(ctx, t, after, digests(b.Accepts)...); err != nil {
			return err
		}
		return decisions().write(ctx, t, after, decided(b)...)
	case ledger.ExceptionAdd:
		return exceptions().write(ctx, t, after, seq)
	case ledger.ExceptionRemove:
		return exceptions().write(ctx, t, after, b.Exception)
	case ledger.UpdateRollback:
		return rollbacks().write(ctx, t, after, seq)
	case ledger.TokenCreate:
		return tokens().write(ctx, t, after, b.ID)
	case ledger.TokenRevoke:
		return tokens().write(ctx, t, after, b.ID)
	case ledger.OperatorSet:
		return operators().write(ctx, t, after, b.Operator.Name)
	case ledger.OperatorRemove:
		return operators().write(ctx, t, after, b.Name)
	case ledger.AccessCreate:
		return accesses().write(ctx, t, after, b.Access.ID)
	case ledger.AccessRevoke:
		return accesses().write(ctx, t, after, b.ID)
	}
	return t.putManaged(ctx, seq, act, after)
}

// decided lists the keys of an act's decisions.
func decided(b ledger.UpdateDecide) []ledger.DecisionKey {
	keys := make([]ledger.DecisionKey, len(b.Updates))
	for i, u := range b.Updates {
		keys[i] = ledger.DecisionKey{Update: u.Update, Scope: b.Scope}
	}
	return keys
}

func (t tx) putServer(ctx context.Context, s ledger.ServerInit) error {
	b, err := body(s)
	if err != nil {
		return err
	}
	_, err = t.exec(ctx, `INSERT INTO server (one, body) VALUES (1, ?) ON CONFLICT (one) DO UPDATE SET body = excluded.body`, b)
	if err != nil {
		return fmt.Errorf("write server: %w", err)
	}
	return nil
}

// LoadState reads the state from the tables. It is what replaying the ledger gives (ledger.Replay).
func (d *DB) LoadState(ctx context.Context) (*ledger.State, error) {
	s := ledger.NewState()
	err := d.load(ctx, "load the state", func(t tx) (err error) {
		if s.Seq, err = t.head(ctx); err != nil {
			return fmt.Errorf("read the ledger's head: %w", err)
		}
		if err := bodies(ctx, t, `SELECT body FROM server`, func(b ledger.ServerInit) error { s.Server = b; return nil }); err != nil {
			return fmt.Errorf("load server: %w", err)
		}
		for _, load := range []func(context.Context, tx, *ledger.State) error{
			groups().load, devices().load, decisions().load, exceptions().load, rollbacks().load,
			tokens().load, operators().load, accesses().load,
			feeds().load, agreements().load, deploys().load, packages().load, contents().load, sharedViews().load, tasks().load, channels().load,
		} {
			if err := load(ctx, t, s); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}
