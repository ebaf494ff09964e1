package store_test

import (
	"testing"

	"assent/server/internal/store"
	"assent/server/internal/store/storetest"
	"assent/server/pgtest"
)

func TestPostgres(t *testing.T) {
	server, err := pgtest.Start(pgtest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	fresh := func(t testing.TB) store.Config {
		return store.Config{Engine: store.Postgres, DSN: server.Database(t)}
	}
	storetest.Run(t, fresh)
	t.Run("KillingTheServerAtAnyMomentLosesNoAcknowledgedAct_N47", func(t *testing.T) { killRepeatedly(t, fresh(t)) })
}
