package store_test

import (
	"database/sql"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"assent/server/internal/store"
)

func TestN47_KillingTheServerAtAnyMomentLosesNoAcknowledgedAct(t *testing.T) {
	killRepeatedly(t, sqliteConfig(t))
}

// killRepeatedly lets one writer after the other go on with the same database and kills each at a random
// moment: from before it opened the database to far into its acts.
func killRepeatedly(t *testing.T, cfg store.Config) {
	acks := filepath.Join(t.TempDir(), "acks")
	const rounds, enough = 12, 100
	for round := 0; round < rounds || acknowledged(t, acks) < enough && round < 10*rounds; round++ {
		writer := start(t, order{Engine: cfg.Engine, DSN: cfg.DSN, Acks: acks})
		longer := time.Duration(1 + round/rounds)           // on a busy machine the writers get nowhere at first
		time.Sleep(rand.N(longer * 250 * time.Millisecond)) // the moment is what is random
		if err := writer.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := writer.Wait(); err == nil || writer.ProcessState.Exited() {
			t.Fatalf("round %d: the writer ended by itself: %v", round, err)
		}
		check := func() {
			db, err := store.Open(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			settle(t, cfg)
			acked := acknowledged(t, acks)
			if acts, reports := lost(t, db, acked); acts+reports > 0 {
				t.Errorf("round %d: of %d acknowledged acts %d are lost, and %d reports", round, acked, acts, reports)
			}
		}
		check()
	}
	if n := acknowledged(t, acks); n < enough {
		t.Errorf("only %d acts were acknowledged in all rounds: the writers were killed too early to prove anything", n)
	}
	t.Logf("%d acts acknowledged", acknowledged(t, acks))
}

// settle waits until the act that a killed writer had under way is made or not: PostgreSQL finishes a commit
// that it was told of, and holds the head's lock until then.
func settle(t *testing.T, cfg store.Config) {
	t.Helper()
	if cfg.Engine != store.Postgres {
		return
	}
	raw, err := sql.Open("pgx", cfg.DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	var seq int64
	if err := raw.QueryRowContext(t.Context(), "SELECT seq FROM ledger_head FOR UPDATE").Scan(&seq); err != nil {
		t.Fatal(err)
	}
}
