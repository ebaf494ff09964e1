package publish

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"assent/trust"
	"assent/trust/internal/durable"
)

type (
	rootMeta      = metadata.Metadata[metadata.RootType]
	targetsMeta   = metadata.Metadata[metadata.TargetsType]
	snapshotMeta  = metadata.Metadata[metadata.SnapshotType]
	timestampMeta = metadata.Metadata[metadata.TimestampType]
)

// newRoot is the first root.
func newRoot(policies map[Role]Policy, keys map[Role][]key, now time.Time) *rootMeta {
	root := metadata.Root(expiry(now, policies[Root].Expires))
	root.Signed.Keys = map[string]*metadata.Key{}
	for _, r := range Roles() {
		role := &metadata.Role{Threshold: policies[r].Threshold, KeyIDs: []string{}}
		for _, k := range keys[r] {
			role.KeyIDs = append(role.KeyIDs, k.id)
			root.Signed.Keys[k.id] = k.public
		}
		root.Signed.Roles[string(r)] = role
	}
	return root
}

// expiry is in whole seconds, as TUF writes times.
func expiry(now time.Time, d time.Duration) time.Time {
	return now.UTC().Add(d).Truncate(time.Second)
}

// fileName is where a version of a role lies in metadata/.
func fileName(r Role, version int64) string {
	if r == Timestamp {
		return "timestamp.json"
	}
	return fmt.Sprintf("%d.%s.json", version, r)
}

// writeSigned puts metadata into the tree. Versions are never overwritten by other content: a version is made once.
func (t *Tree) writeSigned(r Role, version int64, m interface{ ToBytes(bool) ([]byte, error) }) error {
	b, err := m.ToBytes(true)
	if err != nil {
		return fmt.Errorf("encode %s: %w", r, err)
	}
	return durable.Write(t.path(trust.MetadataDir, fileName(r, version)), b, 0o644)
}

// newest is the highest version of a role in the tree; 0 when there is none.
func (t *Tree) newest(r Role) (int64, error) {
	entries, err := os.ReadDir(t.path(trust.MetadataDir))
	if err != nil {
		return 0, fmt.Errorf("look for %s: %w", r, err)
	}
	var version int64
	for _, e := range entries {
		number, ok := strings.CutSuffix(e.Name(), "."+string(r)+".json")
		if v, err := strconv.ParseInt(number, 10, 64); ok && err == nil {
			version = max(version, v)
		}
	}
	return version, nil
}

func (t *Tree) read(r Role, version int64) ([]byte, error) {
	b, err := os.ReadFile(t.path(trust.MetadataDir, fileName(r, version)))
	if err != nil {
		return nil, fmt.Errorf("read %s %d: %w", r, version, err)
	}
	return b, nil
}

// current is the newest signed state of a tree. Everything but the root may be missing.
type current struct {
	root      *rootMeta
	targets   *targetsMeta
	snapshot  *snapshotMeta
	timestamp *timestampMeta
}

func (t *Tree) current() (current, error) {
	var c current
	var err error
	if c.root, err = load(t, Root, metadata.Root()); err != nil {
		return c, err
	}
	if c.root == nil {
		return c, fmt.Errorf("open the feed: %w", fs.ErrNotExist)
	}
	if c.targets, err = load(t, Targets, metadata.Targets()); err != nil {
		return c, err
	}
	if c.snapshot, err = load(t, Snapshot, metadata.Snapshot()); err != nil {
		return c, err
	}
	c.timestamp, err = load(t, Timestamp, metadata.Timestamp())
	return c, err
}

// load reads the newest version of a role; nil when there is none.
func load[T metadata.Roles](t *Tree, r Role, into *metadata.Metadata[T]) (*metadata.Metadata[T], error) {
	var version int64
	if r != Timestamp {
		var err error
		if version, err = t.newest(r); err != nil || version == 0 {
			return nil, err
		}
	}
	b, err := t.read(r, version)
	if r == Timestamp && errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return decode(r, b, into)
}

// decode reads metadata of the publisher's own tree; damage must not panic here either.
func decode[T metadata.Roles](r Role, b []byte, into *metadata.Metadata[T]) (m *metadata.Metadata[T], err error) {
	defer func() {
		if p := recover(); p != nil {
			m, err = nil, fmt.Errorf("read %s: %v", r, p)
		}
	}()
	if m, err = into.FromBytes(b); err != nil {
		return nil, fmt.Errorf("read %s: %w", r, err)
	}
	return m, nil
}

// metaFile names exactly the file that a timestamp or snapshot means.
func metaFile(version int64, b []byte) *metadata.MetaFiles {
	sum := sha256.Sum256(b)
	return &metadata.MetaFiles{Version: version, Length: int64(len(b)), Hashes: metadata.Hashes{"sha256": sum[:]}}
}

// Root is a version of the root as clients pin it, and its SHA-256; version 0 is the newest.
func (t *Tree) Root(version int64) ([]byte, string, error) {
	if version == 0 {
		var err error
		if version, err = t.newest(Root); err != nil {
			return nil, "", err
		}
	}
	b, err := t.read(Root, version)
	return b, fingerprint(sha256.Sum256(b)), err
}

// RootFile is where a version of the root lies in the tree.
func (t *Tree) RootFile(version int64) string {
	return t.path(trust.MetadataDir, fileName(Root, version))
}

// draft is draft.json: the files of the next signed state by path.
type draft map[string]draftFile

type draftFile struct {
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

func (f draftFile) target(path string) trust.Target {
	return trust.Target{Path: path, Size: f.Size, SHA256: f.SHA256}
}

func (t *Tree) readDraft() (draft, error) {
	b, err := os.ReadFile(t.path("draft.json"))
	if err != nil {
		return nil, fmt.Errorf("read the draft: %w", err)
	}
	d := draft{}
	if err := json.Unmarshal(b, &d); err != nil {
		return nil, fmt.Errorf("read the draft: %w", err)
	}
	return d, nil
}

func (t *Tree) writeDraft(d draft) error { return t.writeJSON("draft.json", d) }
