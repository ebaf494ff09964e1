package store_test

import (
	"path/filepath"
	"testing"

	"assent/server/internal/store"
	"assent/server/internal/store/storetest"
)

// sqliteConfig is a new database in a directory whose name needs escaping.
func sqliteConfig(t testing.TB) store.Config {
	return store.Config{Engine: store.SQLite, DSN: filepath.Join(t.TempDir(), "a store?#%20.db")}
}

func TestSQLite(t *testing.T) { storetest.Run(t, sqliteConfig) }
