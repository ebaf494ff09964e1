// Package trust says whether what a feed offers is what its publisher signed. It is the only place that calls go-tuf, and
// it calls only go-tuf's pure steps: fetching, keeping and capping are done here.
//
// Parties: the publisher holds the root and targets keys (offline) and the snapshot and timestamp keys (online); a mirror
// or web server holds files; a client pinned one version of the root.
//
// It guarantees to a client: only metadata that a chain of roots from the pinned one leads to is taken up; no role ever
// goes back to an older version (a rotation of the online keys is the one way to recover from versions that ran ahead);
// what has expired is not taken up; every file is checked against a signed length and SHA-256; everything read is capped,
// and before its signature or signed digest was checked nothing larger than a root is parsed; hostile input makes a typed
// refusal and never a panic. After a refusal the targets of the last successful refresh still stand, also after a restart.
//
// It is narrower than TUF allows. Refused are: metadata without consistent snapshots, snapshot or targets metadata without
// length and SHA-256 of what it names, and delegations: a feed has one publisher. A feed's layout is fixed: metadata/ and
// targets/ below its root.
//
// What it cannot do: protect from a publisher whose threshold of keys is stolen, or tell freshness without a clock.
package trust

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"path"
	"time"
)

// Caps on what is read from a feed.
const (
	MaxRoot      = 512 << 10 // bytes of one version of the root
	MaxTimestamp = 16 << 10  // bytes
	MaxSnapshot  = 1 << 20   // bytes
	MaxTargets   = 32 << 20  // bytes
	MaxSmall     = 4 << 20   // bytes of a target that Client.Target reads into memory
	maxRotations = 256       // versions of the root that one refresh follows
	maxKeys      = 32        // keys of one role
	maxPath      = 512       // bytes of a target's path
)

// Folders of a feed, below its root.
const (
	MetadataDir = "metadata"
	TargetsDir  = "targets"
)

// Source reads a file of a feed by its path below the feed's root; at most max bytes (more is an error). Not found: an
// error that wraps fs.ErrNotExist. It is used by one goroutine at a time for each Refresh or Target.
type Source interface {
	Read(ctx context.Context, path string, max int64) ([]byte, error)
}

// Store keeps verified metadata between runs, one for each feed. Names are flat: "timestamp.json", "snapshot.json",
// "targets.json" and, for each version N of the root after the pinned one, "N.root.json". Read of a missing name is an
// error that wraps fs.ErrNotExist. Write is atomic and durable when it returns: rollback protection rests on it.
type Store interface {
	Read(name string) ([]byte, error)
	Write(name string, b []byte) error
}

// Target is a file that the publisher signed.
type Target struct {
	Path   string // as the publisher names it, without the digest: "payloads/…"
	Size   int64  // bytes
	SHA256 string // lower-case hex
}

// TargetFile is the path below the feed's root at which a static web server has a target:
// "targets/<dir>/<sha256>.<base>".
func TargetFile(t Target) string {
	return path.Join(TargetsDir, path.Dir(t.Path), t.SHA256+"."+path.Base(t.Path))
}

// State says how far a client is.
type State struct {
	RootVersion      int64     `json:"root_version"`
	TimestampVersion int64     `json:"timestamp_version"`
	SnapshotVersion  int64     `json:"snapshot_version"`
	TargetsVersion   int64     `json:"targets_version"`
	Expires          time.Time `json:"expires"`   // the earliest expiry of all roles
	Refreshed        time.Time `json:"refreshed"` // the last successful refresh since Open; zero before it
}

// Verifier checks a stream against a target. It fails as soon as there are more bytes than were signed.
type Verifier struct {
	target Target
	sum    hash.Hash
	n      int64
}

// NewVerifier begins the check of one target.
func NewVerifier(t Target) *Verifier { return &Verifier{target: t, sum: sha256.New()} }

// Write takes the next bytes of the file.
func (v *Verifier) Write(b []byte) (int, error) {
	if v.n += int64(len(b)); v.n > v.target.Size {
		return 0, ErrMismatch.Because(fmt.Errorf("%s has more than the %d bytes that were signed", v.target.Path, v.target.Size))
	}
	return v.sum.Write(b)
}

// Verify is nil if what was written is the whole target and nothing else.
func (v *Verifier) Verify() error {
	if v.n != v.target.Size {
		return ErrMismatch.Because(fmt.Errorf("%s has %d bytes, signed were %d", v.target.Path, v.n, v.target.Size))
	}
	if got := hex.EncodeToString(v.sum.Sum(nil)); got != v.target.SHA256 {
		return ErrMismatch.Because(fmt.Errorf("%s has SHA-256 %s, signed was %s", v.target.Path, got, v.target.SHA256))
	}
	return nil
}

// Verify reads r to its end, at most one byte more than was signed, and checks it against a target.
func Verify(r io.Reader, t Target) error {
	v := NewVerifier(t)
	if _, err := io.Copy(v, r); err != nil {
		if errors.Is(err, ErrMismatch) {
			return err
		}
		return fmt.Errorf("read %s: %w", t.Path, err)
	}
	return v.Verify()
}
