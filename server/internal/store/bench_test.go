package store_test

import (
	"fmt"
	"testing"

	"assent/approval"
	"assent/ledger"
	"assent/ledger/ledgertest"
	"assent/server/internal/store"
	"assent/server/internal/store/storetest"
	"assent/server/pgtest"
)

// BenchmarkAppend measures acts that are on disk when they return. PostgreSQL runs with fsync off here
// (pgtest), so its numbers say what the statements cost and not what a disk does.
func BenchmarkAppend(b *testing.B) {
	b.Run("SQLite", func(b *testing.B) { benchmarkAppend(b, sqliteConfig(b)) })
	b.Run("Postgres", func(b *testing.B) {
		server, err := pgtest.Start(pgtest.Config{})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { server.Stop() })
		benchmarkAppend(b, store.Config{Engine: store.Postgres, DSN: server.Database(b)})
	})
}

func benchmarkAppend(b *testing.B, cfg store.Config) {
	db, err := store.Open(b.Context(), cfg)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { db.Close() })
	s := ledger.NewState()
	step := func(b *testing.B, body ledger.Body) ledger.Entry {
		e, err := ledger.Make(s.Seq+1, ledgertest.Start(), "admin", body)
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Apply(e); err != nil {
			b.Fatal(err)
		}
		return e
	}
	for _, n := range []int{1, 10_000} {
		b.Run(fmt.Sprint(n, "Updates"), func(b *testing.B) {
			status := approval.Approved
			for b.Loop() {
				b.StopTimer()
				e := step(b, storetest.Bulk(n, status))
				b.StartTimer()
				if err := db.Append(b.Context(), e, s); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
