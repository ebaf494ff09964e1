// Package tree installs what no package manager of the device knows: the trees (catalog.Tar) and content files
// (catalog.ContentFile) of feeds. Versions lie side by side, and a link says which one is in force:
//
//	/opt/assent/FEED/APPLICATION/versions/VERSION/…           trees
//	/var/lib/assent-content/FEED/APPLICATION/versions/VERSION/…  content
//	…/current -> versions/VERSION                             what everything else should name
//
// It guarantees: only bytes with the SHA-256 of a verified release, or of a version that this device had and Assent
// recorded, ever come into force; an archive is judged whole before any of it is written, and nothing in it can reach
// outside its own directory (os.Root), be a device, carry privileges, or unpack without bound; the switch is one rename,
// after everything it leads to is on disk, so that a kill or a power cut at any moment leaves the old or the new version, whole,
// and Recover says which; the newest versions stay on disk, so that going back needs no download (C1).
//
// An application's data and configuration have no place in the tree: they belong below /var/lib and /etc, are never
// touched here and so survive every step forward, back and off the device. A file of the tree that an application
// changes counts as damage; files that it adds are ignored, and go with their version.
//
// Services whose main process runs from an application's directory are restarted after the switch where its publisher asks for
// that, and the version counts as whole only once they are active again. Nothing else is run: no scripts, no probes (package
// probe). Prerequisites and the versions that a release applies to are judged by the server.
package tree

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"assent/agent/internal/pkgmgr"
	"assent/agent/internal/statedir"
	"assent/archive"
	"assent/catalog"
	"assent/feed"
)

// Payloads gives the content of the feeds that the device follows and has verified.
type Payloads interface {
	// Releases lists the releases of all feeds in their newest verified state.
	Releases() []feed.Release
	// Open streams a payload from an offset in bytes. What comes is not verified yet.
	Open(ctx context.Context, sha256 string, offset int64) (io.ReadCloser, error)
}

// Config is what a Tree works with.
type Config struct {
	Root     string // the device's root directory; empty means "/"
	StateDir string // the agent's own state; required
	Payloads Payloads
	Platform func() catalog.Platform // what the device is, all fields known
	Now      func() time.Time        // nil: the clock
	BootID   func() string           // nil: the kernel's
	Log      *slog.Logger            // nil discards
	Limits   archive.Limits
	Own      Own      // the program that asks, if feeds may publish it
	Services Services // nil: no service is ever restarted
	// Spare is how many bytes stay free on every file system; zero means 32 MiB.
	Spare int64
}

// Tree manages the applications of feeds on one device. Its methods may be called from any goroutine; transactions
// take turns, across processes too.
type Tree struct {
	cfg Config

	act sync.Mutex // one transaction at a time

	mu     sync.Mutex // guards what follows
	last   *pkgmgr.Snapshot
	looked map[string]look // by path of a version: when its files were looked at last
}

// look is what was found in a version's files.
type look struct {
	at     time.Time
	stamp  string // of the record and the link that it belongs to
	damage string
}

// keep is how many versions of an application stay on disk, the current one included.
const keep = 3

var (
	_ pkgmgr.Scanner    = (*Tree)(nil)
	_ pkgmgr.Transactor = (*Tree)(nil)
	_ pkgmgr.Verifier   = (*Tree)(nil)
	_ pkgmgr.Closer     = (*Tree)(nil)
	_ pkgmgr.Historian  = (*Tree)(nil)
)

// New makes a Tree. It touches nothing yet.
func New(cfg Config) *Tree {
	if cfg.Root == "" {
		cfg.Root = "/"
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.BootID == nil {
		cfg.BootID = bootID
	}
	if cfg.Spare == 0 {
		cfg.Spare = 32 << 20
	}
	return &Tree{cfg: cfg, looked: map[string]look{}}
}

// bootID names the boot of the running kernel; empty when it cannot be read, and then no restart is asked for.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// key names an application on this device.
type key struct {
	feed, app string
	format    catalog.Format
}

func (k key) String() string { return k.feed + "/" + k.app }

// base is the directory, below the device's root, of everything in a format.
func base(f catalog.Format) string {
	if f == catalog.ContentFile {
		return "var/lib/assent-content"
	}
	return "opt/assent"
}

// Current is the directory through which an application of a feed is reached, for probes.
func (t *Tree) Current(feedID, app string, format catalog.Format) string {
	return filepath.Join(t.cfg.Root, base(format), feedID, app, current)
}

// Names in an application's directory.
const (
	current  = "current"
	newLink  = ".current.new"
	versions = "versions"
	staging  = ".new" // below versions; no version begins with a dot
)

// home opens the directory of an application; fs.ErrNotExist when it has none.
func (t *Tree) home(k key) (*os.Root, error) {
	root, err := os.OpenRoot(filepath.Join(t.cfg.Root, base(k.format)))
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return root.OpenRoot(k.feed + "/" + k.app)
}

// makeHome makes the directory of an application durably and opens it.
func (t *Tree) makeHome(k key) (*os.Root, error) {
	path := filepath.Join(t.cfg.Root, base(k.format))
	if err := os.MkdirAll(path, 0o755); err != nil {
		return nil, err
	}
	if err := ours(path); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	for _, dir := range []string{".", k.feed, k.feed + "/" + k.app, k.feed + "/" + k.app + "/" + versions} {
		if err := root.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		if err := root.Chmod(dir, 0o755); err != nil { // whatever the umask
			return nil, err
		}
		if err := syncDir(root, filepath.Dir(dir)); err != nil {
			return nil, err
		}
	}
	return root.OpenRoot(k.feed + "/" + k.app)
}

// ours refuses a directory that others could change under our feet.
func ours(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || !ok || int(st.Uid) != os.Geteuid() || info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s is not a directory that belongs to the agent alone", path)
	}
	return nil
}

func syncDir(root *os.Root, name string) error {
	f, err := root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// store opens a directory of the agent's own state.
func (t *Tree) store(name string) (*statedir.Dir, error) {
	if t.cfg.StateDir == "" {
		return nil, errors.New("no state directory")
	}
	return statedir.Open(filepath.Join(t.cfg.StateDir, "tree", name))
}

// hold takes the right to change trees, from other processes too.
func (t *Tree) hold() (release func(), err error) {
	t.act.Lock()
	d, err := t.store("")
	if err != nil {
		t.act.Unlock()
		return nil, err
	}
	unlock, err := d.Lock()
	if err != nil {
		d.Close()
		t.act.Unlock()
		return nil, err
	}
	return func() {
		unlock()
		d.Close()
		t.act.Unlock()
	}, nil
}
