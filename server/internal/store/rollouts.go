package store

import (
	"context"
	"encoding/json"
	"fmt"

	"assent/catalog"
	"assent/rollout"
	"assent/slot"
)

// RolloutRow is the state of a rollout with how often it was written when it was read; 0: never.
type RolloutRow struct {
	rollout.State
	Version int64
}

// BesideRollout writes the state of a rollout with the act that took it there. It is asked for after the act was built. If
// another server wrote the state since it was read, the act is refused with ErrMoved.
func BesideRollout(state func() RolloutRow) Beside {
	return Beside{write: func(ctx context.Context, t tx) error { return t.putRollouts(ctx, []RolloutRow{state()}) }}
}

// SaveRollouts writes the states of rollouts. If another server wrote one of them since it was read, nothing is written
// and ErrMoved returned.
func (d *DB) SaveRollouts(ctx context.Context, states []RolloutRow) error {
	return d.publish(ctx, "save rollouts", func(t tx) error { return t.putRollouts(ctx, states) })
}

func (t tx) putRollouts(ctx context.Context, states []RolloutRow) error {
	rows := make([][]any, len(states))
	for i, s := range states {
		b, err := rollout.Encode(s.State)
		if err != nil {
			return fmt.Errorf("encode the rollout of %s: %w", s.Update, err)
		}
		rows[i] = []any{key(s.Task), key(string(s.Update)), s.Version + 1, string(b)}
	}
	return t.follow(ctx, `INSERT INTO rollouts (task_id, update_id, version, state) VALUES :rows
		ON CONFLICT (task_id, update_id) DO UPDATE SET state = excluded.state, version = excluded.version WHERE rollouts.version = excluded.version - 1`, rows)
}

const rolloutColumns = `SELECT state, version FROM rollouts `

// LoadRollouts calls each with every state.
func (d *DB) LoadRollouts(ctx context.Context, each func(RolloutRow) error) error {
	return d.read(ctx, "load rollouts", func(t tx) error {
		return t.rollouts(ctx, rolloutColumns+`WHERE update_id <> '' ORDER BY task_id, update_id`, nil, each)
	})
}

// Rollout returns the state of one rollout; false if it has not begun, or its task is gone.
func (d *DB) Rollout(ctx context.Context, task string, update catalog.UpdateID) (row RolloutRow, found bool, err error) {
	err = d.read(ctx, "read a rollout", func(t tx) error {
		return t.rollouts(ctx, rolloutColumns+`WHERE task_id = ? AND update_id = ?`, []any{key(task), key(string(update))}, func(r RolloutRow) error {
			row, found = r, true
			return nil
		})
	})
	return row, found, err
}

func (t tx) rollouts(ctx context.Context, query string, args []any, fn func(RolloutRow) error) error {
	return t.each(ctx, query, args, func(scan func(...any) error) error {
		var text string
		var version int64
		if err := scan(&text, &version); err != nil {
			return err
		}
		s, err := rollout.Decode([]byte(text))
		if err != nil {
			return fmt.Errorf("read a rollout: %w", err)
		}
		return fn(RolloutRow{s, version})
	})
}

// SaveSlots writes who has a turn in a task. It stands in the task's own row among its rollouts, the one of no update, and goes
// with them.
func (d *DB) SaveSlots(ctx context.Context, s slot.State) error {
	return d.publish(ctx, "save slots", func(t tx) error {
		text, err := body(s)
		if err != nil {
			return err
		}
		_, err = t.exec(ctx, `INSERT INTO rollouts (task_id, update_id, state) VALUES (?, '', ?)
			ON CONFLICT (task_id, update_id) DO UPDATE SET state = excluded.state`, key(s.Task), text)
		return err
	})
}

// LoadSlots calls each with who has a turn in every task that has a row of its own.
func (d *DB) LoadSlots(ctx context.Context, each func(slot.State) error) error {
	return d.read(ctx, "load slots", func(t tx) error {
		return t.slots(ctx, `WHERE update_id = '' ORDER BY task_id`, nil, each)
	})
}

func (t tx) slots(ctx context.Context, where string, args []any, fn func(slot.State) error) error {
	return t.each(ctx, `SELECT state FROM rollouts `+where, args, func(scan func(...any) error) error {
		var text string
		if err := scan(&text); err != nil {
			return err
		}
		var s slot.State
		if err := json.Unmarshal([]byte(text), &s); err != nil {
			return fmt.Errorf("read the slots of a task: %w", err)
		}
		return fn(s)
	})
}

// dropRollouts forgets the rollouts of a task that is gone.
func (t tx) dropRollouts(ctx context.Context, task string) error {
	if _, err := t.exec(ctx, `DELETE FROM rollouts WHERE task_id = ?`, key(task)); err != nil {
		return fmt.Errorf("forget the rollouts of a task: %w", err)
	}
	return nil
}
