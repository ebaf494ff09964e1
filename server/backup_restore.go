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
)

const (
	backupsDir  = "backups"   // where upgrades of the package put theirs
	stagingDir  = ".restore"  // where an archive is unpacked and looked at
	markerFile  = "restoring" // says which files are being put in place
	asidePrefix = "replaced-" // of the directory with what was there before
	caFile      = "ca.pem"    // package ca
)

func (c *command) restore() *cobra.Command {
	return &cobra.Command{Use: "restore FILE", Short: "Put a backup in place of the server's state", Args: cobra.ExactArgs(1),
		Long: "Checks FILE whole before anything is touched: every digest, the ledger's hashes, that the tables are what the\n" +
			"ledger amounts to, and that the keys are the ledger's. What was there is kept beside it, in a directory that is\n" +
			"named at the end. It is refused while the server runs. Devices that saw a newer ledger say so and follow nothing\n" +
			"until it has grown beyond that again.",
		Example: "  assentd restore /srv/backup/assent-2026-12-01.tar",
		RunE: func(cmd *cobra.Command, args []string) error {
			conf, err := c.config()
			if err != nil {
				return err
			}
			if conf, err = conf.normal(); err != nil {
				return err
			}
			done, err := restore(cmd.Context(), conf, args[0], time.Now())
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "Restored the state of %s (assentd %s, %d acts). What was there before is in %s.\n",
				done.manifest.Made.Format(time.RFC3339), done.manifest.Version, done.acts, done.aside)
			return err
		}}
}

// restored is what a restore did.
type restored struct {
	manifest backupManifest
	acts     int64 // in the ledger
	aside    string
}

// restore puts a backup in place.
func restore(ctx context.Context, c Config, from string, now time.Time) (done restored, err error) {
	dir, err := openData(c.Data)
	if err != nil {
		return done, err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	release, err := lock(dir)
	if err != nil {
		return done, fmt.Errorf("stop the server first: %w", err)
	}
	defer func() { err = errors.Join(err, release()) }()
	if err := finishRestore(dir, c.Log.Debug); err != nil {
		return done, err
	}
	p := placing{conf: c, dir: dir, database: c.sqlitePath()}
	defer func() { err = errors.Join(err, p.clear()) }()
	if done.manifest, err = p.unpack(from); err != nil {
		return done, fmt.Errorf("read the backup %s: %w", from, err)
	}
	if done.acts, err = p.check(ctx, done.manifest); err != nil {
		return done, fmt.Errorf("check the backup %s; nothing was changed: %w", from, err)
	}
	done.aside = filepath.Join(c.Data, asidePrefix+now.UTC().Format("20060102T150405.000Z"))
	if err := p.place(done.manifest, done.aside); err != nil {
		return done, err
	}
	return done, finishRestore(dir, c.Log.Debug)
}

// placing is one restore.
type placing struct {
	conf     Config
	dir      *os.Root // the data directory
	database string   // where the database belongs
}

// staged is where the database waits: beside its place, so that a rename brings it there.
func (p placing) staged() string { return p.database + stagingDir }

// clear removes what a restore leaves; after its marker is written nothing of it may go.
func (p placing) clear() error {
	if _, err := p.dir.Lstat(markerFile); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return errors.Join(p.dir.RemoveAll(stagingDir), removeDatabase(p.staged()), removeDatabase(p.scratch()))
}

// unpack writes the archive's files into the staging place and compares them with the manifest.
func (p placing) unpack(from string) (m backupManifest, err error) {
	if err := p.clear(); err != nil {
		return m, err
	}
	if err := p.dir.Mkdir(stagingDir, 0o700); err != nil {
		return m, err
	}
	f, err := os.Open(from)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	in := tar.NewReader(f)
	found := map[string]backupFile{}
	for {
		h, err := in.Next()
		switch {
		case errors.Is(err, io.EOF):
			return m, errors.New("it has no manifest at its end: it was cut off, or is no backup of assentd")
		case err != nil:
			return m, err
		case h.Typeflag != tar.TypeReg || !filepath.IsLocal(h.Name) || h.Name != filepath.ToSlash(filepath.Clean(h.Name)):
			return m, fmt.Errorf("%.200q is nothing that a backup has", h.Name)
		case h.Name == manifestName:
			return m, readManifest(in, &m, found)
		}
		if _, twice := found[h.Name]; twice {
			return m, fmt.Errorf("%.200q is in it twice", h.Name)
		}
		if found[h.Name], err = p.stage(h, in); err != nil {
			return m, err
		}
	}
}

// readManifest reads the manifest and demands that exactly its files were found.
func readManifest(in io.Reader, m *backupManifest, found map[string]backupFile) error {
	b, err := io.ReadAll(io.LimitReader(in, maxManifest+1))
	if err != nil {
		return fmt.Errorf("read the manifest: %w", err)
	}
	if len(b) > maxManifest || json.Unmarshal(b, m) != nil {
		return errors.New("the manifest cannot be read")
	}
	if m.Format != backupFormat {
		return fmt.Errorf("it is of format %d, and this assentd %s knows %d", m.Format, m.Version, backupFormat)
	}
	for _, want := range m.Files {
		if have, ok := found[want.Name]; !ok || have != want {
			return fmt.Errorf("%q is not the file that was backed up", want.Name)
		}
		delete(found, want.Name)
	}
	for name := range found {
		return fmt.Errorf("%q is not in the manifest", name)
	}
	var need []string
	if m.Keys {
		need = keyFiles()
	}
	if m.Database == store.SQLite {
		need = append(need, databaseName)
	}
	for _, name := range need {
		if !slices.ContainsFunc(m.Files, func(f backupFile) bool { return f.Name == name }) {
			return fmt.Errorf("%s is missing", name)
		}
	}
	return nil
}

// stage writes one file durably.
func (p placing) stage(h *tar.Header, in io.Reader) (backupFile, error) {
	var f *os.File
	var err error
	if h.Name == databaseName {
		f, err = os.OpenFile(p.staged(), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	} else {
		name := filepath.Join(stagingDir, filepath.FromSlash(h.Name))
		if err = p.dir.MkdirAll(filepath.Dir(name), 0o700); err == nil {
			f, err = p.dir.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		}
	}
	if err != nil {
		return backupFile{}, fmt.Errorf("unpack %s: %w", h.Name, err)
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, sum), in)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return backupFile{}, fmt.Errorf("unpack %s: %w", h.Name, err)
	}
	return backupFile{Name: h.Name, Size: n, SHA256: hex.EncodeToString(sum.Sum(nil))}, nil
}

// move is one step of putting files in place: what is at To goes to Aside, and then what is at From comes to To. All
// are absolute paths.
type move struct {
	From  string `json:"from,omitempty"` // empty: nothing comes in its place
	To    string `json:"to"`
	Aside string `json:"aside"`
}

// place writes down what is to be moved. From then on the restore is decided: whatever happens, finishRestore ends it.
func (p placing) place(m backupManifest, aside string) error {
	data, err := filepath.Abs(p.conf.Data)
	if err == nil {
		aside, err = filepath.Abs(aside)
	}
	if err != nil {
		return fmt.Errorf("find the data directory: %w", err)
	}
	if err := os.Mkdir(aside, 0o700); err != nil {
		return fmt.Errorf("make room for what is there: %w", err)
	}
	var moves []move
	seen := map[string]bool{databaseName: true}
	for _, f := range m.Files {
		top, _, _ := strings.Cut(f.Name, "/")
		if !seen[top] {
			moves = append(moves, move{filepath.Join(data, stagingDir, top), filepath.Join(data, top), filepath.Join(aside, top)})
		}
		seen[top] = true
	}
	if m.Database == store.SQLite {
		moves = append(moves, p.databaseMoves(data, aside)...)
	}
	b, err := json.Marshal(moves)
	if err != nil {
		return fmt.Errorf("encode the restore: %w", err)
	}
	if err := syncTree(filepath.Join(data, stagingDir)); err != nil {
		return err
	}
	return writeMarker(p.dir, b)
}

// databaseMoves put the database in place. What SQLite kept beside the old one goes with it.
func (p placing) databaseMoves(data, aside string) []move {
	at, err := filepath.Abs(p.database)
	if err != nil {
		at = p.database
	}
	if filepath.Dir(at) != data { // maybe on another file system: it stays beside its old place
		aside = at + "." + filepath.Base(aside)
	} else {
		aside = filepath.Join(aside, filepath.Base(at))
	}
	return []move{{To: at + "-wal", Aside: aside + "-wal"}, {To: at + "-shm", Aside: aside + "-shm"}, {From: at + stagingDir, To: at, Aside: aside}}
}

// syncTree makes the names below a directory durable.
func syncTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		return syncPath(path)
	})
}
