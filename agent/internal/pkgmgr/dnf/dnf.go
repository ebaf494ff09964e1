// Package dnf is the agent's view of a device whose packages are RPM packages and whose package manager is dnf 4: what is
// installed, and carrying out exactly the transactions that feeds' releases mean there.
//
// dnf is given no repository at all (--disablerepo=*): it gets the verified files themselves, by absolute paths that hold their
// SHA-256, and can resolve with nothing but these and what is installed. So no repository can add, replace or swap anything,
// none has to answer, and nothing of a feed is ever offered to `dnf upgrade` or as somebody's dependency; what is
// missing for a release is a refusal in dnf's own words. What dnf says it would do (--assumeno) is read strictly and
// compared with the order before anything is fetched further or started; an unknown line is a refusal.
//
// It guarantees what package pkgmgr asks for; of V3 in particular: a package counts as there when exactly its version is
// in rpm's database, once, and no scriptlet of it failed when Assent installed it. (dnf ends with exit code 0 after a failed %post, and
// after a kill both versions stay in the database.)
//
// It does not offer what the device's own repositories have: updates of third parties are a later step. It keeps an
// application's data; of its configuration rpm itself keeps what was changed, as FILE.rpmsave where the package goes.
// The guard stands in dnf as a plugin: rpm by itself, dnf --noplugins, PackageKit and microdnf do not ask it.
package dnf

import (
	"context"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"assent/agent/internal/command"
	"assent/agent/internal/pkgmgr"
	"assent/catalog"
	"assent/feed"
)

// Ecosystem is the device's, as in package URLs.
const Ecosystem = "rpm"

// Payloads gives the content of the feeds that the device follows and has verified.
type Payloads interface {
	// Releases lists the releases of all feeds in their newest verified state.
	Releases() []feed.Release
	// Open streams a payload from an offset in bytes. What comes is not verified yet.
	Open(ctx context.Context, sha256 string, offset int64) (io.ReadCloser, error)
}

// Config is what a Dnf works with. Command, StateDir, Payloads and Platform are required.
type Config struct {
	Root     string                  // the device's root directory; empty means "/"
	Command  *command.Runner         // the door to dnf and rpm
	StateDir string                  // the agent's own state
	Payloads Payloads                // of the feeds
	Platform func() catalog.Platform // what the device is, all fields known
	Now      func() time.Time        // nil: the clock
	Log      *slog.Logger            // nil discards
}

// Dnf drives dnf and rpm of one device. Its methods may be called from any goroutine.
type Dnf struct {
	cfg Config

	mu   sync.Mutex
	read database         // what rpm's database held at the last look
	last *pkgmgr.Snapshot // of the last scan
}

var (
	_ pkgmgr.Scanner    = (*Dnf)(nil)
	_ pkgmgr.Transactor = (*Dnf)(nil)
	_ pkgmgr.Verifier   = (*Dnf)(nil)
	_ pkgmgr.Closer     = (*Dnf)(nil)
	_ pkgmgr.Fencer     = (*Dnf)(nil)
	_ pkgmgr.Historian  = (*Dnf)(nil)
	_ pkgmgr.Refresher  = (*Dnf)(nil)
)

// New makes a Dnf. It touches nothing yet.
func New(cfg Config) *Dnf {
	if cfg.Root == "" {
		cfg.Root = "/"
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Dnf{cfg: cfg}
}

// path is a place in the state of this package.
func (d *Dnf) path(parts ...string) string {
	return filepath.Join(append([]string{d.cfg.StateDir, "dnf"}, parts...)...)
}
