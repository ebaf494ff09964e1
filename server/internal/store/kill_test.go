package store_test

import (
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
	for round := range 12 {
		writer := start(t, order{Engine: cfg.Engine, DSN: cfg.DSN, Acks: acks})
		time.Sleep(rand.N(250 * time.Millisecond)) // the moment is what is random
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
			acked := acknowledged(t, acks)
			if acts, reports := lost(t, db, acked); acts+reports > 0 {
				t.Errorf("round %d: of %d acknowledged acts %d are lost, and %d reports", round, acked, acts, reports)
			}
		}
		check()
	}
	if n := acknowledged(t, acks); n < 100 {
		t.Errorf("only %d acts were acknowledged in all rounds: the writers were killed too early to prove anything", n)
	}
	t.Logf("%d acts acknowledged", acknowledged(t, acks))
}
