package store

import (
	"context"
	"encoding/json"
	"fmt"

	"assent/rollout"
	"assent/slot"
)

// BesideRollout writes the state of a rollout with the act that took it there. It is asked for after the act was built.
func BesideRollout(state func() rollout.State) Beside {
	return Beside{write: func(ctx context.Context, t tx) error { return t.putRollouts(ctx, []rollout.State{state()}) }}
}

// SaveRollouts writes the states of rollouts.
func (d *DB) SaveRollouts(ctx context.Context, states []rollout.State) error {
	return d.write(ctx, "save rollouts", func(t tx) error { return t.putRollouts(ctx, states) })
}

func (t tx) putRollouts(ctx context.Context, states []rollout.State) error {
	rows := make([][]any, len(states))
	for i, s := range states {
		b, err := rollout.Encode(s)
		if err != nil {
			return fmt.Errorf("encode the rollout of %s: %w", s.Update, err)
		}
		rows[i] = []any{key(s.Task), key(string(s.Update)), string(b)}
	}
	_, err := t.many(ctx, `INSERT INTO rollouts (task_id, update_id, state) VALUES :rows
		ON CONFLICT (task_id, update_id) DO UPDATE SET state = excluded.state`, rows)
	return err
}

// LoadRollouts calls each with every state.
func (d *DB) LoadRollouts(ctx context.Context, each func(rollout.State) error) error {
	return d.read(ctx, "load rollouts", func(t tx) error {
		return t.each(ctx, `SELECT state FROM rollouts WHERE update_id <> '' ORDER BY task_id, update_id`, nil, func(scan func(...any) error) error {
			var text string
			if err := scan(&text); err != nil {
				return err
			}
			s, err := rollout.Decode([]byte(text))
			if err != nil {
				return fmt.Errorf("read a rollout: %w", err)
			}
			return each(s)
		})
	})
}

// SaveSlots writes who has a turn in a task. It stands in the task's own row among its rollouts, the one of no update, and goes
// with them.
func (d *DB) SaveSlots(ctx context.Context, s slot.State) error {
	return d.write(ctx, "save slots", func(t tx) error {
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
		return t.each(ctx, `SELECT state FROM rollouts WHERE update_id = '' ORDER BY task_id`, nil, func(scan func(...any) error) error {
			var text string
			if err := scan(&text); err != nil {
				return err
			}
			var s slot.State
			if err := json.Unmarshal([]byte(text), &s); err != nil {
				return fmt.Errorf("read the slots of a task: %w", err)
			}
			return each(s)
		})
	})
}

// dropRollouts forgets the rollouts of a task that is gone.
func (t tx) dropRollouts(ctx context.Context, task string) error {
	if _, err := t.exec(ctx, `DELETE FROM rollouts WHERE task_id = ?`, key(task)); err != nil {
		return fmt.Errorf("forget the rollouts of a task: %w", err)
	}
	return nil
}
