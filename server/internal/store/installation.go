package store

import "context"

// Installation is what all servers on one database have in common and no act says.
type Installation struct {
	LedgerKey string `json:"ledger_key"` // fingerprint of the key that signs checkpoints; secrets are sealed with one derived from it
}

// Pin keeps what the first server said of the installation, and returns it to that one and to all later ones.
func (d *DB) Pin(ctx context.Context, first Installation) (pinned Installation, err error) {
	b, err := body(first)
	if err != nil {
		return pinned, err
	}
	err = d.write(ctx, "pin the installation", func(t tx) error {
		if _, err := t.exec(ctx, `INSERT INTO installation (one, body) VALUES (1, ?) ON CONFLICT (one) DO NOTHING`, b); err != nil {
			return err
		}
		_, err := t.one(ctx, `SELECT body FROM installation`, nil, &pinned)
		return err
	})
	return pinned, err
}
