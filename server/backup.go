package server

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"assent/server/internal/store"
	"assent/server/internal/store/sqlite"
)

// A backup is one tar archive: the files of the data directory, the database among them, and last a manifest with their
// digests, so that an archive that was cut off has none.
const (
	manifestName  = "manifest.json"
	backupFormat  = 1
	databaseName  = "assent.db" // in the archive, wherever the database is
	maxManifest   = 16 << 20
	maxBackupFile = 64 << 20 // of every file but the database
)

// backupManifest says what a backup holds.
type backupManifest struct {
	Format   int          `json:"format"`
	Made     time.Time    `json:"made"`
	Version  string       `json:"version"` // of the assentd that made it
	Database string       `json:"database"`
	Content  string       `json:"content"` // where the files of feeds are, which are not in it
	Keys     bool         `json:"keys"`    // the private keys are in it
	Files    []backupFile `json:"files"`
}

type backupFile struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"` // bytes
	SHA256 string `json:"sha256"`
}

// leavesOut reports whether no backup has an entry of the data directory: what is of this very process or machine, the
// copies of feeds' files, which can be fetched again, and the keys to a bucket.
func (c Config) leavesOut(name string) bool {
	switch name {
	case lockFile, signInFile, contentDir, backupsDir, markerFile, stagingDir, backupStamp:
		return true
	}
	if sameFile(filepath.Join(c.Data, filepath.FromSlash(name)), c.Content.S3.CredentialsFile) {
		return true // who has a backup must not get into the bucket as well
	}
	return strings.HasPrefix(name, databaseName) || strings.HasPrefix(name, filepath.Base(c.sqlitePath())) || strings.HasPrefix(name, asidePrefix)
}

// sameFile reports whether two paths lead to one file that is there.
func sameFile(a, b string) bool {
	one, err := os.Stat(a)
	if err != nil || b == "" {
		return false
	}
	other, err := os.Stat(b)
	return err == nil && os.SameFile(one, other)
}

func (c *command) backup() *cobra.Command {
	var noKeys bool
	cmd := &cobra.Command{Use: "backup FILE", Short: "Copy the server's state while it runs", Args: cobra.ExactArgs(1),
		Long: "Writes the embedded database, the private keys and the verified state of feeds to FILE, which must not exist.\n" +
			"Whoever can read FILE can be this server, unless --no-keys leaves the keys out: then nothing in it lets anybody\n" +
			"in, and it can only be restored where the keys still are. The files of feeds are left out, in the data directory\n" +
			"and in a bucket; they are fetched again. With PostgreSQL the database is left out too: back it up with pg_dump at the same time.",
		Example: "  assentd backup /srv/backup/assent-$(date +%F).tar",
		RunE: func(cmd *cobra.Command, args []string) error {
			conf, err := c.config()
			if err != nil {
				return err
			}
			if conf, err = conf.normal(); err != nil {
				return err
			}
			m, err := backup(cmd.Context(), conf, args[0], !noKeys, time.Now())
			if err != nil {
				return err
			}
			if m.Database == store.Postgres {
				fmt.Fprintln(cmd.ErrOrStderr(), "The database is PostgreSQL and not in this backup: back it up with pg_dump.")
			}
			if conf.Content.Kind == contentInS3 {
				fmt.Fprintf(cmd.ErrOrStderr(), "The files of feeds are in the %s and not in this backup, nor are the keys to it. What is missing there is fetched from the feeds again.\n", m.Content)
			}
			return nil
		}}
	cmd.Flags().BoolVar(&noKeys, "no-keys", false, "leave the private keys out")
	return cmd
}

// backup writes a backup to a new file that only its owner can read. The name appears when the file is whole.
func backup(ctx context.Context, c Config, to string, keys bool, now time.Time) (m backupManifest, err error) {
	m = backupManifest{Format: backupFormat, Made: now.UTC().Truncate(time.Second), Version: c.Version, Keys: keys, Content: c.contentPlace()}
	if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
		return m, fmt.Errorf("write the backup %s: %w", to, errors.Join(err, fs.ErrExist))
	}
	part := to + ".part"
	f, err := os.OpenFile(part, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return m, fmt.Errorf("make the backup's file: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(part))
		}
	}()
	err = c.writeBackup(ctx, f, part+".db", &m)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return m, fmt.Errorf("write the backup: %w", err)
	}
	if err := os.Rename(part, to); err != nil {
		return m, fmt.Errorf("name the backup: %w", err)
	}
	return m, errors.Join(syncPath(filepath.Dir(to)), noteBackup(c.Data, m.Made))
}

// writeBackup writes the archive. The database is copied to scratch first: that copy is of one moment.
func (c Config) writeBackup(ctx context.Context, w io.Writer, scratch string, m *backupManifest) error {
	dc, err := c.database()
	if err != nil {
		return err
	}
	out := tar.NewWriter(w)
	if m.Database = dc.Engine; m.Database == store.SQLite {
		err = copyDatabase(ctx, dc.DSN, scratch)
		if err == nil {
			err = forgetSessions(ctx, scratch)
		}
		if err == nil {
			err = m.add(out, databaseName, scratch)
		}
		if err = errors.Join(err, removeDatabase(scratch)); err != nil {
			return err
		}
	}
	if err := m.addTree(out, c); err != nil {
		return err
	}
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the manifest: %w", err)
	}
	if err := addBytes(out, manifestName, b); err != nil {
		return err
	}
	return out.Close()
}

// copyDatabase makes a consistent copy of a database that may be in use.
func copyDatabase(ctx context.Context, from, to string) (err error) {
	if _, err := os.Stat(from); err != nil {
		return fmt.Errorf("find the database: %w", err)
	}
	f, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) // an empty file is what VACUUM INTO accepts
	if err != nil {
		return fmt.Errorf("make the database's copy: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("make the database's copy: %w", err)
	}
	writer, reader, err := sqlite.Open(from)
	if err != nil {
		return fmt.Errorf("open the database: %w", err)
	}
	defer func() { err = errors.Join(err, writer.Close(), reader.Close()) }()
	if to, err = filepath.Abs(to); err != nil {
		return fmt.Errorf("find the database's copy: %w", err)
	}
	if _, err := writer.ExecContext(ctx, "VACUUM INTO ?", to); err != nil {
		return fmt.Errorf("copy the database: %w", err)
	}
	return nil
}

// forgetSessions signs everybody out of a copy: a session that was ended after the backup must not come back with it.
func forgetSessions(ctx context.Context, at string) (err error) {
	writer, reader, err := sqlite.Open(at)
	if err != nil {
		return fmt.Errorf("open the database's copy: %w", err)
	}
	defer func() { err = errors.Join(err, writer.Close(), reader.Close()) }()
	for _, table := range []string{"sessions", "ceremonies"} {
		var there int
		if err := writer.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?", table).Scan(&there); err != nil {
			return fmt.Errorf("look at the database's copy: %w", err)
		}
		if there == 0 {
			continue // the database is older than they are
		}
		if _, err := writer.ExecContext(ctx, "DELETE FROM "+table); err != nil {
			return fmt.Errorf("forget %s in the database's copy: %w", table, err)
		}
	}
	return nil
}

// removeDatabase removes a database with the files that SQLite keeps beside it.
func removeDatabase(at string) error {
	var errs []error
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
		if err := os.Remove(at + suffix); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// keyFiles are the private keys of the data directory.
func keyFiles() []string { return []string{caFile, planKeyFile, ledgerKeyFile} }

// addTree adds the files of the data directory. A file that goes while it is read was replaced by another.
func (m *backupManifest) addTree(out *tar.Writer, c Config) error {
	for _, need := range keyFiles() {
		if _, err := os.Stat(filepath.Join(c.Data, need)); err != nil {
			return fmt.Errorf("there is no server in %s: %w", c.Data, err)
		}
	}
	err := fs.WalkDir(os.DirFS(c.Data), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil || name == ".":
			return err
		case c.leavesOut(name) && d.IsDir():
			return fs.SkipDir
		case c.leavesOut(name) || !d.Type().IsRegular() || strings.HasSuffix(name, ".new"): // the last is being written
			return nil
		case !m.Keys && slices.Contains(keyFiles(), name):
			return nil
		}
		return m.add(out, name, filepath.Join(c.Data, filepath.FromSlash(name)))
	})
	if err != nil {
		return fmt.Errorf("add the files of %s: %w", c.Data, err)
	}
	return nil
}

// add adds one file.
func (m *backupManifest) add(out *tar.Writer, name, from string) (err error) {
	f, err := os.Open(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("add %s: %w", name, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("add %s: %w", name, err)
	}
	if name != databaseName && info.Size() > maxBackupFile {
		return fmt.Errorf("add %s: it is larger than %d bytes", name, maxBackupFile)
	}
	if err := out.WriteHeader(header(name, info.Size())); err != nil {
		return fmt.Errorf("add %s: %w", name, err)
	}
	h := sha256.New()
	if _, err := io.CopyN(io.MultiWriter(out, h), f, info.Size()); err != nil {
		return fmt.Errorf("add %s: %w", name, err)
	}
	m.Files = append(m.Files, backupFile{Name: name, Size: info.Size(), SHA256: hex.EncodeToString(h.Sum(nil))})
	return nil
}

func addBytes(out *tar.Writer, name string, b []byte) error {
	if err := out.WriteHeader(header(name, int64(len(b)))); err != nil {
		return fmt.Errorf("add %s: %w", name, err)
	}
	if _, err := out.Write(b); err != nil {
		return fmt.Errorf("add %s: %w", name, err)
	}
	return nil
}

func header(name string, size int64) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o600, Format: tar.FormatPAX}
}

// syncPath makes the names in a directory durable.
func syncPath(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}
