package publish

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"assent/fault"
	"assent/trust/internal/durable"
)

// SignOptions say what Sign may use.
type SignOptions struct {
	Roles  []Role   // only these; a root or timestamp that is named gets a new version in any case. None: whatever is due
	Keys   []string // folders of private keys besides the tree's own
	Secret Secret   // for sealed keys
	Now    time.Time
}

// Signed says how a role stands after Sign.
type Signed struct {
	Role    Role      `json:"role"`
	Version int64     `json:"version"` // the newest complete version; 0: none yet
	Made    bool      `json:"made"`    // this call made it
	Missing int       `json:"missing"` // signatures that a newer version still waits for
	Expires time.Time `json:"expires"`
}

// signing is one run of Sign.
type signing struct {
	*Tree
	o   SignOptions
	now time.Time
	cur current
	out []Signed
}

// Sign makes new versions of the roles that are due, as far as keys are at hand: the root if one waits for signatures, the
// targets if the draft changed, snapshot and timestamp if what they name changed; all of them if half of their time is
// over or the root names other keys by now. What needs more signatures than there are keys waits in pending/ (root and
// targets), and is completed by a later Sign with other keys.
func (t *Tree) Sign(o SignOptions) ([]Signed, error) {
	for _, r := range o.Roles {
		if lifetime(r) == 0 {
			return nil, fault.New(fault.Invalid, "feed_role", "There is no role %q; the roles are root, targets, snapshot and timestamp.", r).On("role")
		}
	}
	s := &signing{Tree: t, o: o, now: o.Now}
	for _, step := range []struct {
		role Role
		sign func() error
	}{{Root, s.root}, {Targets, s.targets}, {Snapshot, s.snapshot}, {Timestamp, s.timestamp}} {
		if len(o.Roles) > 0 && !slices.Contains(o.Roles, step.role) {
			continue
		}
		var err error
		if s.cur, err = t.current(); err != nil {
			return s.out, err
		}
		if err := step.sign(); err != nil {
			return s.out, err
		}
	}
	return s.out, nil
}

func (s *signing) named(r Role) bool { return slices.Contains(s.o.Roles, r) }

// held finds the private keys at hand among ids.
func (s *signing) held(ids []string) ([]key, error) {
	return held(append([]string{s.KeyDir()}, s.o.Keys...), ids, s.o.Secret)
}

func (s *signing) lasts(r Role) time.Time { return expiry(s.now, time.Duration(s.config.Expires[r])) }

// aged reports whether half of a role's time is over.
func (s *signing) aged(r Role, expires time.Time) bool {
	return s.now.Add(time.Duration(s.config.Expires[r]) / 2).After(expires)
}

func noKeys(r Role, missing int) error {
	return fault.New(fault.Conflict, "feed_key_missing", "The role %s needs %d more signatures, and none of its keys is here; name their folder with --keys.", r, missing).On(string(r))
}

// sign adds signatures of keys that have not signed yet.
func sign[T metadata.Roles](m *metadata.Metadata[T], keys []key) error {
	for _, k := range keys {
		if slices.ContainsFunc(m.Signatures, func(x metadata.Signature) bool { return x.KeyID == k.id }) {
			continue
		}
		if _, err := m.Sign(k.signer()); err != nil {
			return fmt.Errorf("sign %s: %w", k.role, err)
		}
	}
	return nil
}

// lacks counts the signatures that m still needs for a role of root.
func lacks[T metadata.Roles](root *rootMeta, r Role, m *metadata.Metadata[T]) int {
	role := root.Signed.Roles[string(r)]
	if root.VerifyDelegate(string(r), m) == nil {
		return 0
	}
	have := 0
	for _, s := range m.Signatures {
		if slices.Contains(role.KeyIDs, s.KeyID) {
			have++
		}
	}
	return max(1, role.Threshold-have)
}

// pending reads metadata that waits for signatures; nil when there is none.
func pending[T metadata.Roles](t *Tree, r Role, into *metadata.Metadata[T]) (*metadata.Metadata[T], error) {
	b, err := os.ReadFile(t.path("pending", string(r)+".json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read pending %s: %w", r, err)
	}
	return decode(r, b, into)
}

func (t *Tree) writePending(r Role, m interface{ ToBytes(bool) ([]byte, error) }) error {
	b, err := m.ToBytes(true)
	if err != nil {
		return fmt.Errorf("encode %s: %w", r, err)
	}
	return durable.Write(t.path("pending", string(r)+".json"), b, 0o644)
}

func (t *Tree) dropPending(r Role) error {
	if err := os.Remove(t.path("pending", string(r)+".json")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("drop pending %s: %w", r, err)
	}
	return nil
}

func (s *signing) root() error {
	next, err := pending(s.Tree, Root, metadata.Root())
	if err != nil {
		return err
	}
	now := s.cur.root
	if next != nil && next.Signed.Version <= now.Signed.Version { // left by a crash
		next = nil
		if err := s.dropPending(Root); err != nil {
			return err
		}
	}
	if next == nil && !s.named(Root) {
		s.out = append(s.out, Signed{Role: Root, Version: now.Signed.Version, Expires: now.Signed.Expires})
		return nil
	}
	if next == nil {
		if next, err = copyRoot(now); err != nil {
			return err
		}
		next.Signed.Version, next.Signed.Expires = now.Signed.Version+1, s.lasts(Root)
	}
	return s.completeRoot(now, next)
}

// completeRoot signs a pending root with old and new keys; it is complete when both thresholds are met.
func (s *signing) completeRoot(now, next *rootMeta) error {
	keys, err := s.held(slices.Concat(now.Signed.Roles[string(Root)].KeyIDs, next.Signed.Roles[string(Root)].KeyIDs))
	if err != nil {
		return err
	}
	if err := sign(next, keys); err != nil {
		return err
	}
	result := Signed{Role: Root, Version: now.Signed.Version, Expires: now.Signed.Expires, Missing: lacks(now, Root, next) + lacks(next, Root, next)}
	if now.Signed.Roles[string(Root)].Threshold == next.Signed.Roles[string(Root)].Threshold && slices.Equal(now.Signed.Roles[string(Root)].KeyIDs, next.Signed.Roles[string(Root)].KeyIDs) {
		result.Missing = lacks(now, Root, next) // the same keys count once
	}
	return conclude(s, result, next, len(keys) > 0, next.Signed.Version, next.Signed.Expires)
}

// conclude writes a role that people sign one after the other, or keeps it for the next of them. result is what holds until it
// is complete, and how many signatures are missing; helped says that any was added.
func conclude[T metadata.Roles](s *signing, result Signed, next *metadata.Metadata[T], helped bool, version int64, expires time.Time) error {
	if result.Missing > 0 && !helped {
		return noKeys(result.Role, result.Missing)
	}
	if result.Missing > 0 {
		s.out = append(s.out, result)
		return s.writePending(result.Role, next)
	}
	if err := s.writeSigned(result.Role, version, next); err != nil {
		return err
	}
	s.out = append(s.out, Signed{Role: result.Role, Version: version, Made: true, Expires: expires})
	return s.dropPending(result.Role)
}

// copyRoot is a root without its signatures.
func copyRoot(root *rootMeta) (*rootMeta, error) {
	b, err := root.ToBytes(false)
	if err != nil {
		return nil, fmt.Errorf("copy the root: %w", err)
	}
	c, err := decode(Root, b, metadata.Root())
	if err == nil {
		c.Signatures = []metadata.Signature{}
	}
	return c, err
}

func (s *signing) targets() error {
	files, err := s.readDraft()
	if err != nil {
		return err
	}
	now := s.cur.targets
	var version int64
	var expires time.Time
	must := now == nil || !files.is(now)
	if now != nil {
		version, expires = now.Signed.Version, now.Signed.Expires
		must = must || lacks(s.cur.root, Targets, now) > 0 || !s.now.Before(expires)
	}
	result := Signed{Role: Targets, Version: version, Expires: expires}
	if !must && !s.aged(Targets, expires) {
		s.out = append(s.out, result)
		return s.dropPending(Targets)
	}
	next, err := s.nextTargets(files, version+1)
	if err != nil {
		return err
	}
	keys, err := s.held(s.cur.root.Signed.Roles[string(Targets)].KeyIDs)
	if err != nil {
		return err
	}
	if len(keys) == 0 && !must {
		s.out = append(s.out, result)
		return nil
	}
	if err := sign(next, keys); err != nil {
		return err
	}
	result.Missing = lacks(s.cur.root, Targets, next)
	return conclude(s, result, next, len(keys) > 0, next.Signed.Version, next.Signed.Expires)
}

// nextTargets takes up what waits for signatures if it says the same as the draft, and else begins anew.
func (s *signing) nextTargets(files draft, version int64) (*targetsMeta, error) {
	next, err := pending(s.Tree, Targets, metadata.Targets())
	if err != nil {
		return nil, err
	}
	if next != nil && next.Signed.Version == version && files.is(next) && s.now.Before(next.Signed.Expires) {
		return next, nil
	}
	next = metadata.Targets(s.lasts(Targets))
	next.Signed.Version = version
	for path, f := range files {
		sum, err := hex.DecodeString(f.SHA256)
		if err != nil {
			return nil, fmt.Errorf("target %s of the draft: %w", path, err)
		}
		next.Signed.Targets[path] = &metadata.TargetFiles{Length: f.Size, Hashes: metadata.Hashes{"sha256": sum}, Path: path}
	}
	return next, nil
}

// is reports whether targets say what the draft says.
func (d draft) is(m *targetsMeta) bool {
	if len(d) != len(m.Signed.Targets) {
		return false
	}
	for path, f := range m.Signed.Targets {
		if mine, ok := d[path]; !ok || mine.Size != f.Length || mine.SHA256 != hex.EncodeToString(f.Hashes["sha256"]) {
			return false
		}
	}
	return true
}

func (s *signing) snapshot() error {
	if s.cur.targets == nil {
		return nil // nothing to name yet
	}
	b, err := s.read(Targets, s.cur.targets.Signed.Version)
	if err != nil {
		return err
	}
	next := metadata.Snapshot(s.lasts(Snapshot))
	next.Signed.Meta = map[string]*metadata.MetaFiles{"targets.json": metaFile(s.cur.targets.Signed.Version, b)}
	if now := s.cur.snapshot; now != nil {
		next.Signed.Version = now.Signed.Version + 1
		same := now.Signed.Meta["targets.json"] != nil && now.Signed.Meta["targets.json"].Version == s.cur.targets.Signed.Version
		if same && lacks(s.cur.root, Snapshot, now) == 0 && !s.aged(Snapshot, now.Signed.Expires) {
			s.out = append(s.out, Signed{Role: Snapshot, Version: now.Signed.Version, Expires: now.Signed.Expires})
			return nil
		}
	}
	return finish(s, Snapshot, next, next.Signed.Version, next.Signed.Expires)
}

func (s *signing) timestamp() error {
	if s.cur.snapshot == nil {
		return nil
	}
	b, err := s.read(Snapshot, s.cur.snapshot.Signed.Version)
	if err != nil {
		return err
	}
	next := metadata.Timestamp(s.lasts(Timestamp))
	next.Signed.Meta = map[string]*metadata.MetaFiles{"snapshot.json": metaFile(s.cur.snapshot.Signed.Version, b)}
	if now := s.cur.timestamp; now != nil {
		next.Signed.Version = now.Signed.Version + 1
		same := now.Signed.Meta["snapshot.json"] != nil && now.Signed.Meta["snapshot.json"].Version == s.cur.snapshot.Signed.Version
		if same && lacks(s.cur.root, Timestamp, now) == 0 && !s.aged(Timestamp, now.Signed.Expires) && !s.named(Timestamp) {
			s.out = append(s.out, Signed{Role: Timestamp, Version: now.Signed.Version, Expires: now.Signed.Expires})
			return nil
		}
	}
	return finish(s, Timestamp, next, next.Signed.Version, next.Signed.Expires)
}

// finish signs and writes a role whose keys must be at hand together: snapshot and timestamp are signed by a job.
func finish[T metadata.Roles](s *signing, r Role, next *metadata.Metadata[T], version int64, expires time.Time) error {
	keys, err := s.held(s.cur.root.Signed.Roles[string(r)].KeyIDs)
	if err != nil {
		return err
	}
	if err := sign(next, keys); err != nil {
		return err
	}
	if n := lacks(s.cur.root, r, next); n > 0 {
		return noKeys(r, n)
	}
	if err := s.writeSigned(r, version, next); err != nil {
		return err
	}
	s.out = append(s.out, Signed{Role: r, Version: version, Made: true, Expires: expires})
	return nil
}
