package trust_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"assent/trust"
	"assent/trust/trusttest"
)

func TestTUF_RootRotationChains(t *testing.T) {
	s := newSim(t)
	c, store := s.fresh()
	for range 5 {
		s.rotate(metadata.ROOT)
		s.nextRoot()
	}
	s.later()
	late := s.client(store)
	if err := errors.Join(s.refresh(c), s.refresh(late), s.refresh(s.client(store))); err != nil || late.State().RootVersion != 6 {
		t.Fatalf("%v %+v", err, late.State())
	}
	if again := s.client(store); string(again.Root()) != string(s.files["metadata/6.root.json"]) {
		t.Error("the chain is not taken up from the store")
	}
}

func TestTUF_ARootSignedByOldOrNewKeysAloneIsRefused(t *testing.T) {
	t.Run("new keys alone", func(t *testing.T) {
		s := newSim(t)
		c, _ := s.fresh()
		s.rotate(metadata.ROOT)
		s.old = nil
		s.nextRoot()
		refused(t, c, s.refresh(c), trust.ErrSignature)
	})
	t.Run("old keys alone", func(t *testing.T) {
		s := newSim(t)
		c, _ := s.fresh()
		old := s.signers[metadata.ROOT]
		s.rotate(metadata.ROOT)
		s.signers[metadata.ROOT] = old
		s.nextRoot()
		refused(t, c, s.refresh(c), trust.ErrSignature)
	})
	t.Run("a version left out", func(t *testing.T) {
		s := newSim(t)
		c, _ := s.fresh()
		s.root.Signed.Version = 3
		s.publishRoot()
		if err := s.refresh(c); err != nil || c.State().RootVersion != 1 {
			t.Errorf("%v %+v", err, c.State())
		}
	})
}

func TestTUF_RotationOfOtherRolesEndsWhatTheirOldKeysSign(t *testing.T) {
	for _, role := range roles[1:] {
		t.Run(role, func(t *testing.T) {
			s := newSim(t)
			c, store := s.fresh()
			old := s.signers[role]
			s.rotate(role)
			s.nextRoot()
			now := s.signers[role]
			s.signers[role] = old
			s.later()
			refused(t, c, s.refresh(c), trust.ErrSignature)
			if again := s.client(store); len(again.Targets()) != 1 {
				t.Error("the last verified state is lost by a restart after a rotation")
			}
			s.signers[role] = now
			s.next()
			if err := s.refresh(c); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestTUF_FilesThatNeverEndAreNotRead(t *testing.T) {
	for _, role := range roles {
		s := newSim(t)
		c, _ := s.fresh()
		s.nextRoot()
		s.later()
		s.files[s.name(role)] = make([]byte, 40<<20)
		if err := s.refresh(c); err == nil {
			t.Errorf("%s is taken up", role)
		}
	}
	s := newSim(t)
	c, _ := s.fresh()
	s.targets.Signed.Targets["large"] = &metadata.TargetFiles{Length: trust.MaxSmall + 1, Hashes: s.targets.Signed.Targets["file"].Hashes}
	s.next()
	s.ok(s.refresh(c))
	if _, err := c.Target(t.Context(), s, "large"); !errors.Is(err, trust.ErrTooLarge) {
		t.Error(err)
	}
}

func TestTUF_WithoutConsistentSnapshotsAFeedIsRefused(t *testing.T) {
	s := newSim(t)
	c, _ := s.fresh()
	s.root.Signed.ConsistentSnapshot = false
	s.nextRoot()
	refused(t, c, s.refresh(c), trust.ErrMalformed)
}

func TestRefresh_AStoreThatCannotWriteIsAnErrorAndNothingIsLost(t *testing.T) {
	s := newSim(t)
	c, store := s.fresh()
	s.later()
	store.Full(true)
	if err := s.refresh(c); err == nil || len(c.Targets()) != 1 {
		t.Errorf("%v %v", err, c.Targets())
	}
	store.Full(false)
	if err := s.refresh(c); err != nil || len(c.Targets()) != 2 {
		t.Errorf("%v %v", err, c.Targets())
	}
}

func TestOpen_ADamagedStoreIsAsGoodAsNone(t *testing.T) {
	s := newSim(t)
	s.rotate(metadata.ROOT)
	s.nextRoot()
	s.next()
	_, store := s.fresh()
	for name := range store.Files() {
		t.Run(name, func(t *testing.T) {
			damaged := trusttest.NewStore()
			for n, b := range store.Files() {
				if n == name {
					b = []byte(`{"signed": {"_type": "x"}, "signatures": null}`)
				}
				s.ok(damaged.Write(n, b))
			}
			if err := s.refresh(s.client(damaged)); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestOpen_TheStoreOfAnotherFeedIsNotTakenUp(t *testing.T) {
	a, b := newSim(t), newSim(t)
	b.rotate(metadata.ROOT)
	b.nextRoot()
	_, store := b.fresh()
	c := a.client(store)
	if len(c.Targets()) != 0 || c.State().RootVersion != 1 {
		t.Errorf("%+v", c.State())
	}
	if err := a.refresh(c); err != nil {
		t.Error(err)
	}
}

func TestRefresh_AnEndedContextIsNoJudgementOfTheFeed(t *testing.T) {
	s := newSim(t)
	c, _ := s.fresh()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	delete(s.files, "metadata/timestamp.json")
	if err := c.Refresh(ctx, s, s.now); !errors.Is(err, context.Canceled) || errors.Is(err, trust.ErrUnreachable) {
		t.Error(err)
	}
}

func TestVerifier_TakesTheWholeTargetAndNothingElse(t *testing.T) {
	s := newSim(t)
	c, _ := s.fresh()
	target, _ := c.Lookup("file")
	for text, want := range map[string]error{"content": nil, "conten": trust.ErrMismatch, "contents": trust.ErrMismatch, "CONTENT": trust.ErrMismatch, "": trust.ErrMismatch} {
		if err := trust.Verify(strings.NewReader(text), target); !errors.Is(err, want) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if got, want := trust.TargetFile(trust.Target{Path: "payloads/x", SHA256: "ab"}), "targets/payloads/ab.x"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got := fmt.Sprint(trust.TargetFile(trust.Target{Path: "x", SHA256: "ab"})); got != "targets/ab.x" {
		t.Error(got)
	}
}

// Versions that ran ahead (an attacker had the keys for a while) would lock clients in; new keys let them go back.
func TestTUF_FastForwardRecoveryOfEachRole(t *testing.T) {
	const far = 1<<63 - 2
	for _, tc := range []struct {
		role   string
		ahead  func(*sim)
		rotate []string
	}{
		{"timestamp", func(s *sim) { s.timestamp.Signed.Version = far }, []string{metadata.TIMESTAMP}},
		{"snapshot", func(s *sim) { s.snapshot.Signed.Version = far; s.timestamp.Signed.Version = 9 }, []string{metadata.SNAPSHOT, metadata.TIMESTAMP}},
		{"targets", func(s *sim) {
			s.targets.Signed.Version = far
			s.snapshot.Signed.Version, s.timestamp.Signed.Version = 9, 9
		}, []string{metadata.SNAPSHOT, metadata.TIMESTAMP}},
	} {
		t.Run(tc.role, func(t *testing.T) {
			s := newSim(t)
			tc.ahead(s)
			s.publish()
			_, store := s.fresh()
			s.targets.Signed.Version, s.snapshot.Signed.Version, s.timestamp.Signed.Version = 2, 2, 2
			s.publish()
			c := s.client(store)
			refused(t, c, s.refresh(c), trust.ErrRolledBack)
			for _, r := range tc.rotate {
				s.rotate(r)
			}
			s.nextRoot()
			s.publish()
			if err := s.refresh(c); err != nil || c.State().TargetsVersion != 2 || c.State().TimestampVersion != 2 {
				t.Errorf("%v %+v", err, c.State())
			}
			if err := s.refresh(s.client(store)); err != nil {
				t.Errorf("after a restart: %v", err)
			}
		})
	}
}
