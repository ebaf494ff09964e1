package trust_test

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/theupdateframework/go-tuf/v2/metadata"

	"assent/fault"
	"assent/trust"
	"assent/trust/trusttest"
)

// The client cases of the public list of TUF conformance tests, by their names there.

// refused demands a refusal, and that what was verified before still stands.
func refused(t *testing.T, c *trust.Client, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
	if f := fault.From(err); !strings.HasPrefix(f.Code, "feed_") {
		t.Errorf("code %s", f.Code)
	}
	if _, ok := c.Lookup("later"); ok {
		t.Error("what was refused was taken up")
	}
}

// later makes a next version with the target "later", which nobody may take up if it is wrong.
func (s *sim) later() {
	s.t.Helper()
	s.addTarget("later", []byte("later"))
	s.next()
}

func TestTUF_RefreshTakesUpAllRolesAndKeepsThem(t *testing.T) {
	s := newSim(t)
	c, store := s.fresh()
	want := trust.State{RootVersion: 1, TimestampVersion: 1, SnapshotVersion: 1, TargetsVersion: 1, Expires: start.Add(30 * 24 * time.Hour), Refreshed: s.now}
	if diff := cmp.Diff(want, c.State()); diff != "" {
		t.Error(diff)
	}
	for _, name := range []string{"timestamp.json", "snapshot.json", "targets.json"} {
		if store.Files()[name] == nil {
			t.Errorf("%s is not kept", name)
		}
	}
	again := s.client(store)
	want.Refreshed = time.Time{}
	if diff := cmp.Diff(want, again.State()); diff != "" || !cmp.Equal(c.Targets(), again.Targets()) {
		t.Error(diff)
	}
	s.read = nil
	if err := s.refresh(again); err != nil || !slices.Equal(s.read, []string{"metadata/2.root.json", "metadata/timestamp.json"}) {
		t.Errorf("an unchanged feed costs two requests, not %v (%v)", s.read, err)
	}
}

func TestTUF_InitialRootUnsignedInvalidOrOfAnotherTypeIsRefused(t *testing.T) {
	s := newSim(t)
	for name, root := range map[string][]byte{
		"unsigned":  encode(s, s.root, nil),
		"invalid":   []byte("{}"),
		"empty":     nil,
		"timestamp": s.files["metadata/timestamp.json"],
		"changed":   edited(t, s.first(), func(m map[string]any) { m["version"] = 7 }),
		"too large": []byte(strings.Repeat(" ", trust.MaxRoot+1)),
	} {
		if _, err := trust.Open(root, trusttest.NewStore()); err == nil {
			t.Errorf("a root that is %s is taken up", name)
		}
	}
}

func TestTUF_UnsignedMetadataOfEachRoleIsRefused(t *testing.T) {
	for _, role := range roles {
		t.Run(role, func(t *testing.T) {
			s := newSim(t)
			c, _ := s.fresh()
			if role == metadata.ROOT {
				s.root.Signed.Version++
				s.put(role, 2, encode(s, s.root, nil))
			} else {
				s.signers[role] = nil
				s.later()
			}
			refused(t, c, s.refresh(c), trust.ErrSignature)
		})
	}
}

func TestTUF_MetadataSignedByTheKeyOfAnotherRoleIsRefused(t *testing.T) {
	for _, role := range roles[1:] {
		for _, other := range roles {
			if other == role {
				continue
			}
			s := newSim(t)
			c, _ := s.fresh()
			s.signers[role] = s.signers[other]
			s.later()
			refused(t, c, s.refresh(c), trust.ErrSignature)
		}
	}
}

func TestTUF_AVersionOtherThanTheNameSaysIsRefused(t *testing.T) {
	t.Run("root", func(t *testing.T) {
		s := newSim(t)
		c, _ := s.fresh()
		s.root.Signed.Version = 3
		s.put(metadata.ROOT, 2, encode(s, s.root, s.signers[metadata.ROOT]))
		refused(t, c, s.refresh(c), trust.ErrMismatch)
	})
	t.Run("snapshot", func(t *testing.T) {
		s := newSim(t)
		c, _ := s.fresh()
		b := encode(s, s.snapshot, s.signers[metadata.SNAPSHOT]) // says 1
		s.snapshot.Signed.Version, s.timestamp.Signed.Version = 2, 2
		s.putSnapshot(b)
		refused(t, c, s.refresh(c), trust.ErrMismatch)
	})
	t.Run("targets", func(t *testing.T) {
		s := newSim(t)
		c, _ := s.fresh()
		s.addTarget("later", nil)
		b := encode(s, s.targets, s.signers[metadata.TARGETS]) // says 1
		s.targets.Signed.Version, s.snapshot.Signed.Version, s.timestamp.Signed.Version = 2, 2, 2
		s.putTargets(b)
		refused(t, c, s.refresh(c), trust.ErrMismatch)
	})
}

func TestTUF_ATimestampChangedWithoutANewVersionIsNotTakenUp(t *testing.T) {
	s := newSim(t)
	c, store := s.fresh()
	before := store.Files()["timestamp.json"]
	s.addTarget("later", nil)
	s.targets.Signed.Version, s.snapshot.Signed.Version = 2, 2
	s.publish()
	if err := s.refresh(c); err != nil {
		t.Fatal(err)
	}
	if _, ok := c.Lookup("later"); ok || string(store.Files()["timestamp.json"]) != string(before) {
		t.Error("taken up")
	}
}

func TestTUF_HashMismatchOfSnapshotAndTargetsIsRefused(t *testing.T) {
	for _, role := range []string{metadata.SNAPSHOT, metadata.TARGETS} {
		t.Run(role, func(t *testing.T) {
			s := newSim(t)
			c, _ := s.fresh()
			s.later()
			b := s.files[s.name(role)]
			s.files[s.name(role)] = slices.Concat([]byte(" "), b[:len(b)-1]) // as long, and the same JSON but for the last brace
			refused(t, c, s.refresh(c), trust.ErrMismatch)
			s.files[s.name(role)] = append(slices.Clone(b), ' ')
			if err := s.refresh(c); !errors.Is(err, trust.ErrUnreachable) { // longer than was signed: not even read
				t.Error(err)
			}
		})
	}
}

func TestTUF_AMissingFileOfEachRoleIsUnreachableAndNothingElse(t *testing.T) {
	for _, role := range roles[1:] {
		t.Run(role, func(t *testing.T) {
			s := newSim(t)
			c, store := s.fresh()
			s.later()
			delete(s.files, s.name(role))
			err := s.refresh(c)
			refused(t, c, err, trust.ErrUnreachable)
			if !errors.Is(err, fs.ErrNotExist) || c.State().TargetsVersion != 1 {
				t.Errorf("%v, %+v", err, c.State())
			}
			if again := s.client(store); len(again.Targets()) != 1 {
				t.Error("the last verified state is lost by a restart after half a refresh")
			}
		})
	}
}

func TestTUF_ARoleInTheFileOfAnotherIsRefused(t *testing.T) {
	for _, role := range roles {
		for _, other := range roles {
			if role == other {
				continue
			}
			s := newSim(t)
			c, _ := s.fresh()
			s.root.Signed.Version++
			s.publishRoot()
			s.later()
			s.files[s.name(role)] = s.files[s.name(other)]
			if err := s.refresh(c); fault.From(err).Kind == fault.Internal || err == nil {
				t.Errorf("%s for %s: %v", other, role, err)
			}
			if _, ok := c.Lookup("later"); ok {
				t.Errorf("%s for %s is taken up", other, role)
			}
		}
	}
}

func TestTUF_ExpiredMetadataOfEachRoleIsRefused(t *testing.T) {
	for _, role := range roles {
		t.Run(role, func(t *testing.T) {
			s := newSim(t)
			c, _ := s.fresh()
			old := s.now.Add(-time.Second)
			switch role {
			case metadata.ROOT:
				s.root.Signed.Expires = old
				s.nextRoot()
			case metadata.TARGETS:
				s.targets.Signed.Expires = old
			case metadata.SNAPSHOT:
				s.snapshot.Signed.Expires = old
			case metadata.TIMESTAMP:
				s.timestamp.Signed.Expires = old
			}
			s.later()
			refused(t, c, s.refresh(c), trust.ErrExpired)
		})
	}
}

func TestTUF_AFrozenFeedIsNoticedWhenItsTimestampExpires(t *testing.T) {
	s := newSim(t)
	c, _ := s.fresh()
	s.now = s.now.Add(31 * 24 * time.Hour)
	err := s.refresh(c)
	if !errors.Is(err, trust.ErrExpired) || len(c.Targets()) != 1 || !c.State().Expires.Before(s.now) {
		t.Errorf("%v %+v", err, c.State())
	}
}

func TestTUF_AnExpiredLocalRootIsATrustAnchorOnly(t *testing.T) {
	s := newSim(t)
	s.root.Signed.Expires = start.Add(time.Hour)
	s.publishRoot()
	c, store := s.fresh()
	s.now = s.now.Add(48 * time.Hour)
	if err := s.refresh(c); !errors.Is(err, trust.ErrExpired) {
		t.Fatal(err)
	}
	s.root.Signed.Expires = s.now.Add(time.Hour)
	s.nextRoot()
	if err := s.refresh(s.client(store)); err != nil {
		t.Errorf("a newer root does not follow an expired one: %v", err)
	}
}

func TestTUF_AnExpiredLocalTimestampStillProtectsFromRollback(t *testing.T) {
	s := newSim(t)
	s.timestamp.Signed.Version = 5
	s.timestamp.Signed.Expires = start.Add(time.Hour)
	s.publish()
	_, store := s.fresh()
	s.now = s.now.Add(48 * time.Hour)
	s.timestamp.Signed.Version, s.timestamp.Signed.Expires = 4, s.now.Add(time.Hour)
	s.publish()
	c := s.client(store)
	refused(t, c, s.refresh(c), trust.ErrRolledBack)
	s.timestamp.Signed.Version = 6
	s.publish()
	if err := s.refresh(c); err != nil {
		t.Errorf("a newer timestamp does not follow an expired one: %v", err)
	}
}

func TestTUF_ASubstitutedTargetFileIsRefused(t *testing.T) {
	s := newSim(t)
	c, _ := s.fresh()
	target, _ := c.Lookup("file")
	if b, err := c.Target(t.Context(), s, "file"); err != nil || string(b) != "content" {
		t.Fatalf("%q %v", b, err)
	}
	s.files[trust.TargetFile(target)] = []byte("CONTENT")
	_, err := c.Target(t.Context(), s, "file")
	refused(t, c, err, trust.ErrMismatch)
	s.files[trust.TargetFile(target)] = []byte("conten")
	_, err = c.Target(t.Context(), s, "file")
	refused(t, c, err, trust.ErrMismatch)
	delete(s.files, trust.TargetFile(target))
	_, err = c.Target(t.Context(), s, "file")
	refused(t, c, err, trust.ErrUnreachable)
	_, err = c.Target(t.Context(), s, "absent")
	refused(t, c, err, trust.ErrNoTarget)
}

func TestTUF_AnUnknownHashAlgorithmIsRefused(t *testing.T) {
	s := newSim(t)
	c, _ := s.fresh()
	s.addTarget("later", nil)
	s.targets.Signed.Targets["later"].Hashes = metadata.Hashes{"md5": []byte("0123456789abcdef")}
	s.next()
	refused(t, c, s.refresh(c), trust.ErrMalformed)
}

func TestTUF_SnapshotOrTargetsNamedWithoutDigestOrLengthAreRefused(t *testing.T) {
	for _, change := range []func(*sim){func(s *sim) { s.noHashes = true }, func(s *sim) { s.noLengths = true }} {
		s := newSim(t)
		c, _ := s.fresh()
		change(s)
		s.later()
		refused(t, c, s.refresh(c), trust.ErrMalformed)
	}
}

func TestTUF_ASnapshotBelowItsThresholdIsRefused(t *testing.T) {
	s := newSim(t)
	c, _ := s.fresh()
	s.addKey(metadata.SNAPSHOT, newSigner(t))
	s.root.Signed.Roles[metadata.SNAPSHOT].Threshold = 2
	s.nextRoot()
	all := s.signers[metadata.SNAPSHOT]
	s.signers[metadata.SNAPSHOT] = all[:1]
	s.later()
	refused(t, c, s.refresh(c), trust.ErrSignature)
	s.signers[metadata.SNAPSHOT] = all
	s.next()
	if err := s.refresh(c); err != nil {
		t.Errorf("with both signatures: %v", err)
	}
}

func TestTUF_ARoleWithFewerKeysThanItsThresholdIsRefused(t *testing.T) {
	s := newSim(t)
	c, _ := s.fresh()
	s.root.Signed.Roles[metadata.SNAPSHOT].Threshold = 2
	s.nextRoot()
	s.later()
	refused(t, c, s.refresh(c), trust.ErrMalformed)
}

func TestTUF_TheSameKeyTwiceInARoleCountsOnce(t *testing.T) {
	s := newSim(t)
	c, _ := s.fresh()
	role := s.root.Signed.Roles[metadata.SNAPSHOT]
	role.KeyIDs, role.Threshold = append(role.KeyIDs, role.KeyIDs[0]), 2
	s.nextRoot()
	s.later()
	refused(t, c, s.refresh(c), trust.ErrSignature)
}

func TestTUF_TheSameKeyUnderTwoIDsCountsOnce(t *testing.T) {
	s := newSim(t)
	c, _ := s.fresh()
	role := s.root.Signed.Roles[metadata.SNAPSHOT]
	s.root.Signed.Keys["other"] = s.root.Signed.Keys[role.KeyIDs[0]]
	role.KeyIDs, role.Threshold = append(role.KeyIDs, "other"), 2
	s.nextRoot()
	s.addTarget("later", nil)
	s.targets.Signed.Version, s.snapshot.Signed.Version, s.timestamp.Signed.Version = 2, 2, 2
	s.publish()
	encode(s, s.snapshot, s.signers[metadata.SNAPSHOT])
	s.snapshot.Signatures = append(s.snapshot.Signatures, metadata.Signature{KeyID: "other", Signature: s.snapshot.Signatures[0].Signature})
	b, err := s.snapshot.ToBytes(false)
	s.ok(err)
	s.putSnapshot(b)
	refused(t, c, s.refresh(c), trust.ErrSignature)
}

func TestTUF_TwoSignaturesOfOneKeyIDAreRefused(t *testing.T) {
	s := newSim(t)
	c, _ := s.fresh()
	s.addTarget("later", nil)
	s.signers[metadata.TIMESTAMP] = append(s.signers[metadata.TIMESTAMP], s.signers[metadata.TIMESTAMP][0])
	s.next()
	refused(t, c, s.refresh(c), trust.ErrMalformed)
}

func TestTUF_RollbackOfTimestampSnapshotAndTargetsIsRefusedAlsoAfterARestart(t *testing.T) {
	for _, role := range roles[1:] {
		t.Run(role, func(t *testing.T) {
			s := newSim(t)
			s.targets.Signed.Version, s.snapshot.Signed.Version, s.timestamp.Signed.Version = 5, 5, 5
			s.publish()
			_, store := s.fresh()
			s.targets.Signed.Version, s.snapshot.Signed.Version, s.timestamp.Signed.Version = 6, 6, 6
			switch role {
			case metadata.TARGETS:
				s.targets.Signed.Version = 4
			case metadata.SNAPSHOT:
				s.snapshot.Signed.Version = 4
			case metadata.TIMESTAMP:
				s.timestamp.Signed.Version = 4
			}
			s.addTarget("later", nil)
			s.publish()
			c := s.client(store)
			refused(t, c, s.refresh(c), trust.ErrRolledBack)
			refused(t, c, s.refresh(c), trust.ErrRolledBack)
		})
	}
}

func TestTUF_AReplayOfAnOlderStateIsRefused(t *testing.T) {
	s := newSim(t)
	replay := s.save()
	c, _ := s.fresh()
	s.later()
	if err := s.refresh(c); err != nil {
		t.Fatal(err)
	}
	replay()
	if err := s.refresh(c); !errors.Is(err, trust.ErrRolledBack) || c.State().TargetsVersion != 2 {
		t.Errorf("%v %+v", err, c.State())
	}
}

func TestTUF_ARoleRemovedFromTheSnapshotIsRefused(t *testing.T) {
	s := newSim(t)
	s.snapshot.Signed.Meta["more.json"] = s.meta(1, []byte("x"))
	s.publish()
	c, _ := s.fresh()
	delete(s.snapshot.Signed.Meta, "more.json")
	s.later()
	refused(t, c, s.refresh(c), trust.ErrRolledBack)
}

// Delegations are refused whole, so there is no graph to walk, no role that lacks its snapshot entry, and no cached role
// that would have to be verified again for each delegator.
func TestTUF_DelegationsAreRefused(t *testing.T) {
	k := newSigner(t)
	for name, d := range map[string]*metadata.Delegations{
		"a role":     {Keys: map[string]*metadata.Key{k.id: k.public}, Roles: []metadata.DelegatedRole{{Name: "team", KeyIDs: []string{k.id}, Threshold: 1, Paths: []string{"*"}}}},
		"odd quotes": {Keys: map[string]*metadata.Key{k.id: k.public}, Roles: []metadata.DelegatedRole{{Name: "../\"?#%2f\x00", KeyIDs: []string{k.id}, Threshold: 1, Paths: []string{"*"}}}},
		"hash bins":  {Keys: map[string]*metadata.Key{k.id: k.public}, SuccinctRoles: &metadata.SuccinctRoles{KeyIDs: []string{k.id}, Threshold: 1, BitLength: 2, NamePrefix: "bin"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSim(t)
			c, _ := s.fresh()
			s.targets.Signed.Delegations = d
			s.later()
			refused(t, c, s.refresh(c), trust.ErrMalformed)
		})
	}
	s := newSim(t)
	s.targets.Signed.Delegations = &metadata.Delegations{Keys: map[string]*metadata.Key{}, Roles: []metadata.DelegatedRole{}}
	s.publish()
	s.fresh() // nobody is delegated to
}

func TestTUF_UnusualTargetNamesAreReadAndPathsThatLeadElsewhereAreRefused(t *testing.T) {
	s := newSim(t)
	for _, name := range []string{"releases/a b.json", "releases/%2e%2e.json", "releases/?x#y&z.json", "releases/Ü\"'.json"} {
		s.addTarget(name, []byte(name))
	}
	s.next()
	c, _ := s.fresh()
	for name := range c.Targets() {
		if _, err := c.Target(t.Context(), s, name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{"../x", "/etc/passwd", "a//b", "a/../b", "", ".", "a\\b", "a\nb", strings.Repeat("a", 600)} {
		s := newSim(t)
		c, _ := s.fresh()
		s.targets.Signed.Targets[name] = s.targets.Signed.Targets["file"]
		s.later()
		refused(t, c, s.refresh(c), trust.ErrMalformed)
	}
}
