package trust

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/theupdateframework/go-tuf/v2/metadata"
	"github.com/theupdateframework/go-tuf/v2/metadata/trustedmetadata"
)

const (
	snapshotFile = metadata.SNAPSHOT + ".json"
	targetsFile  = metadata.TARGETS + ".json"
)

// walk is one pass through the client's workflow of the specification (5.3 to 5.6): go-tuf's steps in order, guarded, and
// each followed by what this package demands beyond TUF. After a refused root a walk must not go on; the other roles fall
// back to what they were.
type walk struct {
	t *trustedmetadata.TrustedMetadata
}

// begin takes up a trusted root. Expiry is judged at now; with the zero time nothing has expired.
func begin(root []byte, now time.Time) (*walk, error) {
	w := &walk{}
	err := guarded(metadata.ROOT, func() error {
		if len(root) > MaxRoot {
			return ErrTooLarge.Because(fmt.Errorf("the root has %d bytes", len(root)))
		}
		t, err := trustedmetadata.New(root)
		if err != nil {
			return err
		}
		t.RefTime, w.t = now, t
		return soundRoot(&t.Root.Signed)
	})
	return w, err
}

func (w *walk) version() int64 { return w.t.Root.Signed.Version }

// root goes on to the next version of the root (5.3).
func (w *walk) root(b []byte) error {
	return guarded(metadata.ROOT, func() error {
		next, err := w.t.UpdateRoot(b)
		var version *metadata.ErrBadVersionNumber
		if errors.As(err, &version) {
			return ErrMismatch.Because(err) // not the version that its name says
		}
		if err != nil {
			return err
		}
		return soundRoot(&next.Signed)
	})
}

// timestamp takes up a timestamp (5.4). One with the version that is already there changes nothing, whatever is in it.
func (w *walk) timestamp(b []byte) (changed bool, err error) {
	before := w.t.Timestamp
	err = guarded(metadata.TIMESTAMP, func() error {
		next, err := w.t.UpdateTimestamp(b)
		var equal *metadata.ErrEqualVersionNumber
		if errors.As(err, &equal) {
			return nil
		}
		if err != nil {
			return errors.Join(err, w.soundTimestamp()) // an expired one may still be an anchor, but only a sound one
		}
		changed = true
		return soundMeta(&next.Signed.Version, next.Signed.SpecVersion, next.Signed.Meta[snapshotFile], MaxSnapshot)
	})
	if err != nil && w.soundTimestamp() != nil {
		w.t.Timestamp = before
	}
	return changed, err
}

func (w *walk) soundTimestamp() error {
	if w.t.Timestamp == nil {
		return nil
	}
	s := &w.t.Timestamp.Signed
	return soundMeta(&s.Version, s.SpecVersion, s.Meta[snapshotFile], MaxSnapshot)
}

// snapshot takes up a snapshot (5.5); own is one from the store, verified against a timestamp when it was written.
func (w *walk) snapshot(b []byte, own bool) error {
	before := w.t.Snapshot
	sound := func() error {
		s := &w.t.Snapshot.Signed
		return soundMeta(&s.Version, s.SpecVersion, s.Meta[targetsFile], MaxTargets)
	}
	err := guarded(metadata.SNAPSHOT, func() error {
		_, err := w.t.UpdateSnapshot(b, own)
		var version *metadata.ErrBadVersionNumber
		var gone *metadata.ErrRepository
		switch {
		case err == nil:
			return sound()
		case errors.As(err, &version) && w.t.Snapshot != before:
			return ErrMismatch.Because(err) // taken up as an anchor, but not the version that the timestamp names
		case errors.As(err, &gone):
			return ErrRolledBack.Because(err) // a role that was there is not any more
		}
		return err
	})
	if err != nil && w.t.Snapshot != before && guarded(metadata.SNAPSHOT, sound) != nil {
		w.t.Snapshot = before
	}
	return err
}

// targets takes up the targets (5.6).
func (w *walk) targets(b []byte) (map[string]Target, error) {
	var found map[string]Target
	err := guarded(metadata.TARGETS, func() error {
		next, err := w.t.UpdateTargets(b)
		var version *metadata.ErrBadVersionNumber
		if errors.As(err, &version) {
			return ErrMismatch.Because(err)
		}
		if err != nil {
			return err
		}
		found, err = soundTargets(&next.Signed)
		return err
	})
	if err != nil {
		delete(w.t.Targets, metadata.TARGETS)
	}
	return found, err
}

func unsound(format string, args ...any) error {
	return ErrMalformed.Because(fmt.Errorf(format, args...))
}

func soundRoot(r *metadata.RootType) error {
	if !strings.HasPrefix(r.SpecVersion, "1.") || r.Version < 1 || !r.ConsistentSnapshot {
		return unsound("root of specification %.20q, version %d, consistent snapshots %t", r.SpecVersion, r.Version, r.ConsistentSnapshot)
	}
	for _, name := range metadata.TOP_LEVEL_ROLE_NAMES {
		role := r.Roles[name]
		if role == nil || role.Threshold < 1 || len(role.KeyIDs) < role.Threshold || len(role.KeyIDs) > maxKeys {
			return unsound("the root's role %s has no keys, too many, or a threshold that they cannot meet", name)
		}
		for _, id := range role.KeyIDs {
			if r.Keys[id] == nil {
				return unsound("the root lacks a key of role %s", name)
			}
		}
	}
	return nil
}

// soundMeta demands that a timestamp or snapshot says exactly which file it means, so that the file can be checked before
// it is parsed.
func soundMeta(version *int64, spec string, m *metadata.MetaFiles, most int64) error {
	if !strings.HasPrefix(spec, "1.") || *version < 1 {
		return unsound("metadata of specification %.20q, version %d", spec, *version)
	}
	if m == nil || m.Version < 1 || m.Length < 1 || m.Length > most || len(m.Hashes["sha256"]) != 32 {
		return unsound("the file that it names lacks a version, a length of at most %d bytes or a SHA-256", most)
	}
	return nil
}

func soundTargets(s *metadata.TargetsType) (map[string]Target, error) {
	if !strings.HasPrefix(s.SpecVersion, "1.") || s.Version < 1 {
		return nil, unsound("targets of specification %.20q, version %d", s.SpecVersion, s.Version)
	}
	if d := s.Delegations; d != nil && (len(d.Keys) > 0 || len(d.Roles) > 0 || d.SuccinctRoles != nil) {
		return nil, unsound("the targets delegate to others; a feed has one publisher")
	}
	out := make(map[string]Target, len(s.Targets))
	for path, f := range s.Targets {
		if !soundPath(path) || f == nil || f.Length < 0 || len(f.Hashes["sha256"]) != 32 {
			return nil, unsound("target %.80q lacks a length or SHA-256, or is no path", path)
		}
		out[path] = Target{Path: path, Size: f.Length, SHA256: hex.EncodeToString(f.Hashes["sha256"])}
	}
	return out, nil
}

func soundPath(path string) bool {
	odd := func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError || r == '\\' }
	return len(path) <= maxPath && path != "." && fs.ValidPath(path) && !strings.ContainsFunc(path, odd)
}
