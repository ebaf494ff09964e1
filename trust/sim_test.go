package trust_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"strconv"
	"testing"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"

	"assent/trust"
	"assent/trust/trusttest"
)

// The roles in the order of publishing.
var roles = []string{metadata.ROOT, metadata.TARGETS, metadata.SNAPSHOT, metadata.TIMESTAMP}

// signer is a key of the simulator.
type signer struct {
	id string
	signature.Signer
	public *metadata.Key
}

func newSigner(t testing.TB) signer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := signature.LoadED25519Signer(private)
	if err != nil {
		t.Fatal(err)
	}
	k, err := metadata.KeyFromPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	id, err := k.ID()
	if err != nil {
		t.Fatal(err)
	}
	return signer{id, s, k}
}

// sim is a repository in memory that can be made wrong in every way. Its metadata are go-tuf's own values, to be changed by
// a test before they are published. It is the Source that clients read, and notes what they read.
type sim struct {
	t         testing.TB
	now       time.Time
	root      *metadata.Metadata[metadata.RootType]
	targets   *metadata.Metadata[metadata.TargetsType]
	snapshot  *metadata.Metadata[metadata.SnapshotType]
	timestamp *metadata.Metadata[metadata.TimestampType]
	signers   map[string][]signer
	old       []signer // root keys of the last root, which sign the next one too
	files     map[string][]byte
	read      []string
	noHashes  bool // names files without their digests
	noLengths bool // names files without their lengths
}

var start = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// newSim is a repository at version 1 of all roles with one target, "file".
func newSim(t testing.TB) *sim {
	t.Helper()
	soon := start.Add(30 * 24 * time.Hour)
	s := &sim{t: t, now: start, root: metadata.Root(soon), targets: metadata.Targets(soon), snapshot: metadata.Snapshot(soon), timestamp: metadata.Timestamp(soon),
		signers: map[string][]signer{}, files: map[string][]byte{}}
	for _, r := range roles {
		s.addKey(r, newSigner(t))
	}
	s.addTarget("file", []byte("content"))
	s.publishRoot()
	s.publish()
	return s
}

func (s *sim) ok(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *sim) addKey(role string, k signer) {
	s.t.Helper()
	s.ok(s.root.Signed.AddKey(k.public, role))
	s.signers[role] = append(s.signers[role], k)
}

// rotate replaces the keys of a role; the root is to be published then.
func (s *sim) rotate(role string) {
	s.t.Helper()
	if role == metadata.ROOT {
		s.old = s.signers[role]
	}
	for _, k := range s.signers[role] {
		s.ok(s.root.Signed.RevokeKey(k.id, role))
	}
	s.signers[role] = nil
	s.addKey(role, newSigner(s.t))
}

func (s *sim) addTarget(name string, b []byte) {
	f, err := metadata.TargetFile().FromBytes(name, b, "sha256")
	s.ok(err)
	s.targets.Signed.Targets[name] = f
	s.files[trust.TargetFile(trust.Target{Path: name, SHA256: fmt.Sprintf("%x", sha256.Sum256(b))})] = b
}

func encode[T metadata.Roles](s *sim, m *metadata.Metadata[T], signers []signer) []byte {
	s.t.Helper()
	m.Signatures = []metadata.Signature{}
	for _, k := range signers {
		_, err := m.Sign(k)
		s.ok(err)
	}
	b, err := m.ToBytes(true)
	s.ok(err)
	return b
}

// publishRoot publishes the root under its version.
func (s *sim) publishRoot() {
	s.t.Helper()
	all := map[string]signer{}
	for _, k := range append(s.old, s.signers[metadata.ROOT]...) {
		all[k.id] = k
	}
	var signers []signer
	for _, k := range all {
		signers = append(signers, k)
	}
	s.put(metadata.ROOT, s.root.Signed.Version, encode(s, s.root, signers))
	s.old = nil
}

// nextRoot publishes the root as its next version.
func (s *sim) nextRoot() {
	s.t.Helper()
	s.root.Signed.Version++
	s.publishRoot()
}

func (s *sim) put(role string, version int64, b []byte) {
	name := strconv.FormatInt(version, 10) + "." + role + ".json"
	if role == metadata.TIMESTAMP {
		name = "timestamp.json"
	}
	s.files[path.Join(trust.MetadataDir, name)] = b
}

// publish publishes targets, snapshot and timestamp as they are, each naming the one before.
func (s *sim) publish() {
	s.t.Helper()
	s.putTargets(encode(s, s.targets, s.signers[metadata.TARGETS]))
}

// putTargets publishes targets with these bytes, and what names them.
func (s *sim) putTargets(b []byte) {
	s.t.Helper()
	s.put(metadata.TARGETS, s.targets.Signed.Version, b)
	s.snapshot.Signed.Meta["targets.json"] = s.meta(s.targets.Signed.Version, b)
	s.putSnapshot(encode(s, s.snapshot, s.signers[metadata.SNAPSHOT]))
}

func (s *sim) putSnapshot(b []byte) {
	s.t.Helper()
	s.put(metadata.SNAPSHOT, s.snapshot.Signed.Version, b)
	s.timestamp.Signed.Meta["snapshot.json"] = s.meta(s.snapshot.Signed.Version, b)
	s.put(metadata.TIMESTAMP, s.timestamp.Signed.Version, encode(s, s.timestamp, s.signers[metadata.TIMESTAMP]))
}

func (s *sim) meta(version int64, b []byte) *metadata.MetaFiles {
	sum := sha256.Sum256(b)
	m := &metadata.MetaFiles{Version: version, Length: int64(len(b)), Hashes: metadata.Hashes{"sha256": sum[:]}}
	if s.noHashes {
		m.Hashes = nil
	}
	if s.noLengths {
		m.Length = 0
	}
	return m
}

// next is the next version of everything but the root.
func (s *sim) next() {
	s.t.Helper()
	s.targets.Signed.Version++
	s.snapshot.Signed.Version++
	s.timestamp.Signed.Version++
	s.publish()
}

// Read implements trust.Source.
func (s *sim) Read(_ context.Context, name string, most int64) ([]byte, error) {
	s.read = append(s.read, name)
	b, ok := s.files[name]
	if !ok {
		return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	if int64(len(b)) > most {
		return nil, fmt.Errorf("%s is too large", name)
	}
	return b, nil
}

// first is the root that clients pin.
func (s *sim) first() []byte { return s.files["metadata/1.root.json"] }

// client opens a client on a store.
func (s *sim) client(store trust.Store) *trust.Client {
	s.t.Helper()
	c, err := trust.Open(s.first(), store)
	s.ok(err)
	return c
}

// fresh is a client that has refreshed once.
func (s *sim) fresh() (*trust.Client, *trusttest.Store) {
	s.t.Helper()
	store := trusttest.NewStore()
	c := s.client(store)
	s.ok(c.Refresh(s.t.Context(), s, s.now))
	return c, store
}

func (s *sim) refresh(c *trust.Client) error { return c.Refresh(s.t.Context(), s, s.now) }

// edited is published metadata with its JSON changed and its signatures left as they were.
func edited(t testing.TB, b []byte, change func(signed map[string]any)) []byte {
	t.Helper()
	var doc map[string]any
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	change(doc["signed"].(map[string]any))
	out, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// name is where the newest version of a role is published.
func (s *sim) name(role string) string {
	version := map[string]int64{metadata.ROOT: s.root.Signed.Version, metadata.TARGETS: s.targets.Signed.Version, metadata.SNAPSHOT: s.snapshot.Signed.Version}[role]
	if role == metadata.TIMESTAMP {
		return "metadata/timestamp.json"
	}
	return fmt.Sprintf("metadata/%d.%s.json", version, role)
}

// save keeps the files; the function it returns puts them back.
func (s *sim) save() func() {
	kept := maps.Clone(s.files)
	return func() { s.files = maps.Clone(kept) }
}
