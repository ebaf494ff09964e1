// Package apt is the agent's view of Debian's package manager: what is installed, what could be, and
// carrying out exactly the transactions that were asked for.
//
// The scanning half reads files and starts no process: dpkg's database, apt's lists, sources,
// preferences and configuration. Its answers equal apt's own (the tests ask apt on three releases):
// candidates under pins, holds, phasing, several origins and architectures. It guarantees that a
// scan never changes the device beyond the agent's own state directory, that an unchanged device costs only
// a few stat calls, and that nothing leaves it unchecked: names, versions and digests are validated
// on reading, texts are capped and free of control characters, and whatever had to be left out is
// named in the posture. It does not resolve dependencies; apt is asked for that.
package apt

import (
	"context"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"assent/agent/internal/command"
	"assent/agent/internal/pkgmgr"
	"assent/wire"
)

// Config is what an Apt works with.
type Config struct {
	Root     string          // the device's root directory; empty means "/"
	Command  *command.Runner // the door to apt and dpkg; a scan does not use it
	StateDir string          // the agent's own state; empty: nothing is remembered across restarts
	Log      *slog.Logger    // nil discards
	Now      func() time.Time
	Feeds    Payloads // nil: the device follows no feeds
}

// Payloads are the files of verified feeds (package feeds).
type Payloads interface {
	// Prepare puts the files of those changes that come from feeds where apt looks for them, verified. A failure is a
	// *pkgmgr.Refusal; progress may be nil.
	Prepare(ctx context.Context, changes []wire.Change, progress func(pkgmgr.Progress)) error
	// Keep drops all such files but those with these digests.
	Keep(digests map[string]bool)
}

// Apt drives apt and dpkg of one device. Its methods may be called from any goroutine.
type Apt struct {
	cfg  Config
	fsys fs.FS

	mu   sync.Mutex // held during a scan
	last *lastScan
}

// lastScan is what a scan leaves for the next one.
type lastScan struct {
	snapshot *pkgmgr.Snapshot
	inputs   stamps
	stale    time.Time // when an answer changes by the clock alone (a Valid-Until passes); zero for never
	history  historyCache
}

var _ pkgmgr.Scanner = (*Apt)(nil)

// New makes an Apt. It touches nothing yet.
func New(cfg Config) *Apt {
	if cfg.Root == "" {
		cfg.Root = "/"
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Apt{cfg: cfg, fsys: deviceFS(cfg.Root)}
}

// deviceFS is the tree below root. Links must not lead out of a root that is not this machine's own;
// on the machine itself absolute links, such as a moved /var, are ordinary.
func deviceFS(root string) fs.FS {
	if filepath.Clean(root) == "/" {
		return os.DirFS("/")
	}
	return confined(root)
}

// confined opens the root anew for each file, so that an Apt needs no closing.
type confined string

// Open implements fs.FS.
func (c confined) Open(name string) (fs.File, error) {
	root, err := os.OpenRoot(string(c))
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return root.Open(name)
}

// Stat implements fs.StatFS.
func (c confined) Stat(name string) (fs.FileInfo, error) {
	root, err := os.OpenRoot(string(c))
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return root.Stat(name)
}

// Scan implements pkgmgr.Scanner. Snapshot.Health.Holder stays empty: who holds a lock is no property of files.
func (a *Apt) Scan(ctx context.Context) (*pkgmgr.Snapshot, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.cfg.Now()
	if last := a.last; last != nil && last.inputs.unchanged(a.fsys) && (last.stale.IsZero() || now.Before(last.stale)) {
		return last.snapshot, nil
	}
	next, err := a.scan(ctx, now)
	if err != nil {
		return nil, err
	}
	a.last = next
	return next.snapshot, nil
}
