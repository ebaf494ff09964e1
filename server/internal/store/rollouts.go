package store

import (
	"context"
	"fmt"

	"assent/rollout"
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
		return t.each(ctx, `SELECT state FROM rollouts ORDER BY task_id, update_id`, nil, func(scan func(...any) error) error {
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

// dropRollouts forgets the rollouts of a task that is gone.
func (t tx) dropRollouts(ctx context.Context, task string) error {
	if _, err := t.exec(ctx, `DELETE FROM rollouts WHERE task_id = ?`, key(task)); err != nil {
		return fmt.Errorf("forget the rollouts of a task: %w", err)
	}
	return nil
}
