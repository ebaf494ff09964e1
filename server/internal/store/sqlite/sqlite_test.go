package sqlite_test

import (
	"database/sql"
	"os"
	"path/filepath"
	"testing"

	"assent/server/internal/store/sqlite"
)

func TestEveryConnectionWaitsForTheDiskAndChecksReferences(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a?b#c%20.db")
	writer, reader, err := sqlite.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	defer reader.Close()
	if _, err := writer.Exec("CREATE TABLE t (x)"); err != nil {
		t.Fatal(err)
	}
	for name, pool := range map[string]*sql.DB{"writer": writer, "reader": reader} {
		for pragma, want := range map[string]string{"synchronous": "2", "journal_mode": "wal", "foreign_keys": "1"} {
			var got string
			if err := pool.QueryRow("PRAGMA " + pragma).Scan(&got); err != nil || got != want {
				t.Errorf("%s: %s is %q (%v), want %q", name, pragma, got, err, want)
			}
		}
	}
	if _, err := reader.Exec("INSERT INTO t VALUES (1)"); err == nil {
		t.Error("a reader wrote")
	}
	for _, file := range []string{path, path + "-wal", path + "-shm"} {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if mode := info.Mode(); mode != 0o600 {
			t.Errorf("%s has mode %v, want 0600", filepath.Base(file), mode)
		}
	}
}

func TestAReaderKeepsItsMomentWhileTheWriterGoesOn(t *testing.T) {
	writer, reader, err := sqlite.Open(filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	defer reader.Close()
	exec := func(q string) {
		t.Helper()
		if _, err := writer.Exec(q); err != nil {
			t.Fatal(err)
		}
	}
	exec("CREATE TABLE t (x)")
	tx, err := reader.BeginTx(t.Context(), &sql.TxOptions{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	for _, when := range []string{"before", "after"} {
		var n int
		if err := tx.QueryRow("SELECT count(*) FROM t").Scan(&n); err != nil || n != 0 {
			t.Errorf("%s the write the reader counts %d rows (%v), want 0", when, n, err)
		}
		exec("INSERT INTO t VALUES (1)")
	}
}

func TestAPathThatCannotBeUsedIsAnError(t *testing.T) {
	for _, path := range []string{"", filepath.Join(t.TempDir(), "no", "such", "dir", "db")} {
		if w, r, err := sqlite.Open(path); err == nil {
			w.Close()
			r.Close()
			t.Errorf("%q was opened", path)
		}
	}
}
