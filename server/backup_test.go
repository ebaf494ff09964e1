package server

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"assent/client"
	"assent/server/internal/store"
)

// kept is a server's data directory as a configuration for commands.
func kept(t *testing.T, data string) Config {
	t.Helper()
	c, err := Config{Data: data, Version: "test", Log: slog.New(slog.DiscardHandler)}.normal()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// worked is the data directory of a server that has groups to remember, and is stopped.
func worked(t *testing.T, groups ...string) string {
	t.Helper()
	data := t.TempDir()
	l := start(t, data, nil)
	admin := l.admin()
	for _, g := range groups {
		l.group(admin, g)
	}
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	return data
}

func (l *live) group(admin, name string) {
	l.t.Helper()
	if code := l.call(http.MethodPost, "/api/v1/groups", admin, client.GroupRequest{Name: name}, nil); code/100 != 2 {
		l.t.Fatalf("create the group %s: %d", name, code)
	}
}

// groupsIn lists the groups that a stopped server would know.
func groupsIn(t *testing.T, data string) (names []string) {
	t.Helper()
	db, err := store.Open(t.Context(), store.Config{DSN: data + "/assent.db"})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	s, err := db.LoadState(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range s.Groups {
		names = append(names, g.Name)
	}
	slices.Sort(names)
	return names
}

// photograph is every file of a directory with its digest, but for the lock and what SQLite keeps beside its file.
func photograph(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || name == lockFile {
			return err
		}
		b, err := os.ReadFile(filepath.Join(dir, name))
		out[name] = fmt.Sprintf("%x", sha256.Sum256(b))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func save(t *testing.T, data string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "backup.tar")
	if _, err := backup(t.Context(), kept(t, data), to, true, time.Now()); err != nil {
		t.Fatal(err)
	}
	return to
}

func TestN44_ABackupOfARunningServerIsRestoredWithEveryActAndKeyAndTheOldStateStaysAside(t *testing.T) {
	data := t.TempDir()
	l := start(t, data, nil)
	admin := l.admin()
	l.group(admin, "before")
	file := save(t, data)
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the backup has mode %v, %v; want 0600", info.Mode(), err)
	}
	l.group(admin, "after")
	if _, err := restore(t.Context(), kept(t, data), file, time.Now()); err == nil || !strings.Contains(err.Error(), "stop the server first") {
		t.Errorf("restore over a running server: %v", err)
	}
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	keys := photograph(t, data)
	done, err := restore(t.Context(), kept(t, data), file, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := groupsIn(t, data), []string{"All devices", "before"}; !slices.Equal(got, want) {
		t.Errorf("groups after the restore: %q, want %q", got, want)
	}
	if got, want := groupsIn(t, done.aside), []string{"All devices", "after", "before"}; !slices.Equal(got, want) {
		t.Errorf("groups set aside: %q, want %q", got, want)
	}
	now := photograph(t, data)
	for _, key := range []string{caFile, planKeyFile, ledgerKeyFile} {
		if now[key] != keys[key] {
			t.Errorf("%s is another one after the restore", key)
		}
	}
	l = start(t, data, nil)
	l.group(admin, "again") // the sign-in of before the backup still counts
}

func TestABackupIsRestoredIntoAnEmptyDirectory(t *testing.T) {
	file := save(t, worked(t, "one"))
	fresh := filepath.Join(t.TempDir(), "new", "data")
	if _, err := restore(t.Context(), kept(t, fresh), file, time.Now()); err != nil {
		t.Fatal(err)
	}
	if got := groupsIn(t, fresh); !slices.Contains(got, "one") {
		t.Errorf("groups: %q", got)
	}
	start(t, fresh, nil)
}

// entries reads an archive.
func entries(t *testing.T, file string) (names []string, files map[string][]byte) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	files = map[string][]byte{}
	in := tar.NewReader(f)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return names, files
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[h.Name], err = io.ReadAll(in); err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
	}
}

// forged is an archive with other files and, where sealed is set, a manifest that fits them.
func forged(t *testing.T, file string, sealed bool, change func(map[string][]byte)) string {
	t.Helper()
	names, files := entries(t, file)
	change(files)
	if sealed {
		var m backupManifest
		if err := json.Unmarshal(files[manifestName], &m); err != nil {
			t.Fatal(err)
		}
		m.Files = nil
		for _, name := range names {
			if b, ok := files[name]; ok && name != manifestName {
				sum := sha256.Sum256(b)
				m.Files = append(m.Files, backupFile{name, int64(len(b)), hex.EncodeToString(sum[:])})
			}
		}
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		files[manifestName] = b
	}
	var buf bytes.Buffer
	out := tar.NewWriter(&buf)
	for _, name := range names {
		if b, ok := files[name]; ok {
			if err := addBytes(out, name, b); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), "forged.tar")
	if err := os.WriteFile(to, buf.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return to
}

// sqlIn changes a database in an archive.
func sqlIn(t *testing.T, statement string) func(map[string][]byte) {
	return func(files map[string][]byte) {
		at := filepath.Join(t.TempDir(), "x.db")
		if err := os.WriteFile(at, files[databaseName], 0o600); err != nil {
			t.Fatal(err)
		}
		db, err := sql.Open("sqlite", at)
		if err != nil {
			t.Fatal(err)
		}
		dropTriggers(t, db) // they keep the program from changing what was written, and no forger
		if r, err := db.Exec(statement); err != nil {
			t.Fatal(err)
		} else if n, err := r.RowsAffected(); err != nil || n == 0 {
			t.Fatalf("%s changed %d rows, %v", statement, n, err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		if files[databaseName], err = os.ReadFile(at); err != nil {
			t.Fatal(err)
		}
	}
}

func dropTriggers(t *testing.T, db *sql.DB) {
	t.Helper()
	rows, err := db.Query(`SELECT name FROM sqlite_master WHERE type = 'trigger'`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var names []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if _, err := db.Exec("DROP TRIGGER " + name); err != nil {
			t.Fatal(err)
		}
	}
}

func TestA14_WhatIsNoWholeTrueBackupIsRefusedAndNothingIsTouched(t *testing.T) {
	data := worked(t, "mine")
	file := save(t, data)
	other := save(t, worked(t, "theirs"))
	_, stranger := entries(t, other)
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	cut := filepath.Join(t.TempDir(), "cut.tar")
	if err := os.WriteFile(cut, whole[:len(whole)*2/3], 0o600); err != nil {
		t.Fatal(err)
	}
	flip := func(name string) func(map[string][]byte) {
		return func(f map[string][]byte) { f[name][len(f[name])/2] ^= 1 }
	}
	for _, c := range []struct{ name, file, says string }{
		{"cut off", cut, "read the backup"},
		{"no archive", writeTemp(t, "hello"), "read the backup"},
		{"empty", writeTemp(t, ""), "no manifest"},
		{"a flipped bit in the database", forged(t, file, false, flip(databaseName)), "not the file that was backed up"},
		{"a flipped bit in a key", forged(t, file, false, flip(planKeyFile)), "not the file that was backed up"},
		{"a file that is not in the manifest", forged(t, file, false, func(f map[string][]byte) {
			var m backupManifest
			if err := json.Unmarshal(f[manifestName], &m); err != nil {
				t.Fatal(err)
			}
			m.Files = m.Files[:len(m.Files)-1]
			f[manifestName], _ = json.Marshal(m)
		}), "not in the manifest"},
		{"no key", forged(t, file, true, func(f map[string][]byte) { delete(f, ledgerKeyFile) }), "ledger.key is missing"},
		{"the keys of another server", forged(t, file, true, func(f map[string][]byte) { f[planKeyFile] = stranger[planKeyFile] }), "not those of this ledger"},
		{"a database that is none", forged(t, file, true, func(f map[string][]byte) { f[databaseName] = []byte("no database") }), "database"},
		{"a changed ledger entry", forged(t, file, true, sqlIn(t, `UPDATE ledger_entries SET data = CAST(replace(CAST(data AS TEXT), '"mine"', '"mime"') AS BLOB) WHERE CAST(data AS TEXT) LIKE '%"mine"%'`)), "hashes"},
		{"a ledger cut short", forged(t, file, true, sqlIn(t, `DELETE FROM ledger_entries WHERE seq = (SELECT max(seq) FROM ledger_entries)`)), "hashes"},
		{"a changed table", forged(t, file, true, sqlIn(t, `UPDATE device_groups SET body = replace(body, 'mine', 'mime') WHERE body LIKE '%mine%'`)), "Groups"},
		{"a row too many", forged(t, file, true, sqlIn(t, `INSERT INTO operators (name, body) SELECT name || 'x', replace(body, 'admin', 'adminx') FROM operators`)), "Operators"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := photograph(t, data)
			_, err := restore(t.Context(), kept(t, data), c.file, time.Now())
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("restore: %v; want %q", err, c.says)
			}
			if diff := cmp.Diff(before, photograph(t, data)); diff != "" {
				t.Errorf("the data directory changed:\n%s", diff)
			}
		})
	}
	if _, err := restore(t.Context(), kept(t, data), file, time.Now()); err != nil {
		t.Errorf("the true backup: %v", err)
	}
}

func writeTemp(t *testing.T, text string) string {
	t.Helper()
	at := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(at, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return at
}

func TestAnArchiveCannotReachOutsideTheDataDirectory(t *testing.T) {
	for _, name := range []string{"../evil", "/etc/evil", "feeds/../../evil", "./x", "a//b"} {
		var buf bytes.Buffer
		out := tar.NewWriter(&buf)
		if err := addBytes(out, name, []byte("x")); err != nil {
			t.Fatal(err)
		}
		if err := out.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := restore(t.Context(), kept(t, t.TempDir()), writeTemp(t, buf.String()), time.Now()); err == nil || !strings.Contains(err.Error(), "nothing that a backup has") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestARestoreThatIsInterruptedBetweenAnyTwoMovesIsFinishedByTheNextStart(t *testing.T) {
	file := save(t, worked(t, "restored"))
	for steps := 0; ; steps++ {
		data := worked(t, "old")
		dir, err := openData(data)
		if err != nil {
			t.Fatal(err)
		}
		p := placing{conf: kept(t, data), dir: dir, database: data + "/assent.db"}
		m, err := p.unpack(file)
		if err == nil {
			err = p.place(m, data+"/replaced-x")
		}
		if err != nil {
			t.Fatal(err)
		}
		moves, err := readMarker(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, mv := range moves[:min(steps, len(moves))] {
			if err := mv.carry(); err != nil {
				t.Fatal(err)
			}
		}
		if steps < len(moves) && moves[steps].From != "" { // and half of the next one
			if err := os.Rename(moves[steps].To, moves[steps].Aside); err != nil {
				t.Fatal(err)
			}
		}
		if err := dir.Close(); err != nil {
			t.Fatal(err)
		}
		if err := start(t, data, nil).stop(); err != nil {
			t.Fatal(err)
		}
		if got := groupsIn(t, data); !slices.Contains(got, "restored") || slices.Contains(got, "old") {
			t.Errorf("after %d moves: groups %q", steps, got)
		}
		if got := groupsIn(t, data+"/replaced-x"); !slices.Contains(got, "old") {
			t.Errorf("after %d moves: set aside: %q", steps, got)
		}
		if steps == len(moves) {
			return
		}
	}
}

func TestABackupNeverReplacesAFileAndOfPostgreSQLSaysWhatToUse(t *testing.T) {
	data := worked(t)
	there := writeTemp(t, "precious")
	if _, err := backup(t.Context(), kept(t, data), there, true, time.Now()); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over a file: %v", err)
	}
	if b, err := os.ReadFile(there); err != nil || string(b) != "precious" {
		t.Errorf("the file is %q, %v", b, err)
	}
	t.Setenv(databaseURL, "postgres://db.invalid/assent")
	out, errOut := &bytes.Buffer{}, &bytes.Buffer{}
	cmd := Command("test")
	to := filepath.Join(t.TempDir(), "b.tar")
	cmd.SetArgs([]string{"--data", data, "backup", to})
	cmd.SetOut(out)
	cmd.SetErr(errOut)
	if err := cmd.ExecuteContext(context.Background()); err != nil || !strings.Contains(errOut.String(), "pg_dump") {
		t.Errorf("backup with PostgreSQL: %v, %s", err, errOut)
	}
	names, _ := entries(t, to)
	if slices.Contains(names, databaseName) || !slices.Contains(names, planKeyFile) {
		t.Errorf("a backup beside PostgreSQL has %q", names)
	}
}
