package postgres_test

import (
	"bytes"
	"database/sql"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"testing"

	"assent/server/internal/store/postgres"
	"assent/server/pgtest"
)

func start(t *testing.T) *pgtest.Server {
	t.Helper()
	server, err := pgtest.Start(pgtest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	return server
}

func TestOnAServer(t *testing.T) {
	server := start(t)
	t.Run("CommitsWaitForTheDiskWhateverTheServersDefaultIs", func(t *testing.T) {
		for setting, want := range map[string]string{"off": "on", "on": "on", "remote_apply": "remote_apply"} {
			db := server.Database(t)
			admin, err := sql.Open("pgx", db)
			if err != nil {
				t.Fatal(err)
			}
			defer admin.Close()
			name := db[strings.LastIndex(db, "/")+1 : strings.Index(db, "?")]
			if _, err := admin.Exec("ALTER DATABASE " + name + " SET synchronous_commit = " + setting); err != nil {
				t.Fatal(err)
			}
			pool, err := postgres.Open(t.Context(), db, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			defer pool.Close()
			var got string
			if err := pool.QueryRow("SHOW synchronous_commit").Scan(&got); err != nil || got != want {
				t.Errorf("with the default %s it is %q (%v), want %q", setting, got, err, want)
			}
		}
	})
	t.Run("AServerThatDoesNotSyncIsLogged", func(t *testing.T) {
		var log bytes.Buffer
		pool, err := postgres.Open(t.Context(), server.Database(t), slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		defer pool.Close()
		if !strings.Contains(log.String(), "fsync off") { // pgtest's server runs like that
			t.Errorf("the log says %q", log.String())
		}
	})
	t.Run("AnotherEncodingThanUTF8IsRefused", func(t *testing.T) {
		db := server.Database(t)
		admin, err := sql.Open("pgx", db)
		if err != nil {
			t.Fatal(err)
		}
		defer admin.Close()
		if _, err := admin.Exec("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0"); err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(db)
		if err != nil {
			t.Fatal(err)
		}
		u.Path = "/latin"
		if pool, err := postgres.Open(t.Context(), u.String(), slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "UTF8") {
			if err == nil {
				pool.Close()
			}
			t.Errorf("a LATIN1 database: %v, want an error that says UTF8", err)
		}
	})
}

func TestErrorsNeverHoldThePassword(t *testing.T) {
	for _, u := range []string{"postgres://u:hunter2@%zz/db", "postgres://u:hunter2@127.0.0.1:1/db?sslmode=odd", "postgres://u:hunter2@127.0.0.1:1/db?connect_timeout=1"} {
		pool, err := postgres.Open(t.Context(), u, slog.New(slog.DiscardHandler))
		if err == nil {
			pool.Close()
			t.Errorf("%s was opened", u)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error holds the password: %v", err)
		}
	}
}

func TestBindNumbersPlaceholders(t *testing.T) {
	for in, want := range map[string]string{"": "", "SELECT 1": "SELECT 1", "a = ? AND (b, c) IN ((?, ?))": "a = $1 AND (b, c) IN (($2, $3))"} {
		if got := postgres.Bind(in); got != want {
			t.Errorf("Bind(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestNothingIsLeftOfAStoppedServer(t *testing.T) {
	server, err := pgtest.Start(pgtest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(server.Database(noCleanup{t}))
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	if dir := u.Query().Get("host"); dir == "" {
		t.Error("the server does not listen in its own directory")
	} else if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("%s is still there", dir)
	}
}

// noCleanup is a test in which the server goes before its databases are dropped.
type noCleanup struct{ testing.TB }

func (noCleanup) Cleanup(func()) {}
