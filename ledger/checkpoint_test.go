package ledger_test

import (
	"bytes"
	"crypto/ed25519"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"

	"assent/ledger"
	"assent/ledger/ledgertest"
)

func signedCheckpoint(t *testing.T) (c ledger.Checkpoint, signed []byte, verifier string) {
	t.Helper()
	s, v := keys(t, "org", 1)
	c = ledger.Checkpoint{Org: "org", Size: 12, Root: tlog.RecordHash([]byte("x"))}
	signed, err := c.Sign(s)
	if err != nil {
		t.Fatal(err)
	}
	return c, signed, v
}

func TestACheckpointIsASignedNoteOfThreeLines(t *testing.T) {
	c, signed, v := signedCheckpoint(t)
	const want = "assent-ledger/org\n12\nPH6byTDck/AfppmF7yQtn56GHzxTVaokzl70tLinDMs=\n"
	if c.Text() != want || !bytes.HasPrefix(signed, []byte(want+"\n\u2014 assent-ledger/org ")) {
		t.Errorf("the form changed, so kept checkpoints no longer verify: %q", signed)
	}
	got, err := ledger.VerifyCheckpoint(signed, v)
	if err != nil || got != c {
		t.Errorf("verified as %+v, %v", got, err)
	}
}

func TestEveryChangedByteOfACheckpointIsRefused(t *testing.T) {
	_, signed, v := signedCheckpoint(t)
	for i := range signed {
		for _, flip := range []byte{1, 2, 4, 32, 128} {
			bad := bytes.Clone(signed)
			bad[i] ^= flip
			if _, err := ledger.VerifyCheckpoint(bad, v); err == nil {
				t.Errorf("byte %d (%q to %q) was changed and the note verified", i, signed[i], bad[i])
			}
		}
		if _, err := ledger.VerifyCheckpoint(append(bytes.Clone(signed[:i]), signed[i+1:]...), v); err == nil {
			t.Errorf("byte %d was removed and the note verified", i)
		}
	}
	other, _ := keys(t, "org", 2)
	foreign, err := ledger.Checkpoint{Org: "org"}.Sign(other)
	if err != nil {
		t.Fatal(err)
	}
	line := foreign[bytes.LastIndexByte(bytes.TrimSpace(foreign), '\n')+1:]
	if _, err := ledger.VerifyCheckpoint(append(bytes.Clone(signed), line...), v); err == nil {
		t.Error("a foreign signature was added and the note verified")
	}
}

func TestAKeyIsGoodForOneOrganisationOnly(t *testing.T) {
	_, signed, _ := signedCheckpoint(t)
	other, otherKey := keys(t, "other", 1)
	if _, err := (ledger.Checkpoint{Org: "org"}).Sign(other); err == nil {
		t.Error("the key of another organisation signed")
	}
	if _, err := ledger.VerifyCheckpoint(signed, otherKey); err == nil {
		t.Error("the key of another organisation verified")
	}
	stolen, err := note.Sign(&note.Note{Text: ledger.Checkpoint{Org: "org"}.Text()}, other)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ledger.VerifyCheckpoint(stolen, otherKey); err == nil {
		t.Error("the checkpoint of one organisation verified under the key of another that signed it")
	}
	for _, org := range []string{"", "a b", "a+b", "a\nb"} {
		if _, err := ledger.NewSigner(org, ed25519.NewKeyFromSeed(make([]byte, 32))); (err == nil) != (org == "") {
			t.Errorf("organisation %q: %v", org, err)
		}
	}
	if _, err := ledger.NewSigner("org", []byte("short")); err == nil {
		t.Error("a key of 5 bytes was taken")
	}
	if _, err := ledger.VerifyCheckpoint(signed, "nonsense"); err == nil {
		t.Error("a nonsensical key verified")
	}
}

func TestOnlyTheOneFormOfACheckpointIsRead(t *testing.T) {
	root := "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
	if _, err := ledger.ParseCheckpoint("assent-ledger/o\n3\n" + root + "\n"); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "assent-ledger/o\n3\n" + root, "assent-ledger/o\n03\n" + root + "\n", "assent-ledger/o\n+3\n" + root + "\n",
		"assent-ledger/o\n-3\n" + root + "\n", "other/o\n3\n" + root + "\n", "assent-ledger/o\n3\n" + root[:43] + "\n", "assent-ledger/o\n3\n" + root[4:] + "\n",
		"assent-ledger/o\n3\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB=\n", "assent-ledger/o\n3\n" + root + "\nmore\n", "assent-ledger/o\r\n3\n" + root + "\r\n"} {
		if c, err := ledger.ParseCheckpoint(bad); err == nil {
			t.Errorf("%q was read as %+v", bad, c)
		}
	}
}

func TestALaterCheckpointProvesThatItExtendsAnEarlierOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := write(t, ledgertest.Acts(60).Draw(t, "acts"))
		older := rapid.IntRange(0, len(b.lines)).Draw(t, "older")
		newer := rapid.IntRange(older, len(b.lines)).Draw(t, "newer")
		proof, err := ledger.ProveConsistency(int64(older), int64(newer), b.tree(t, newer))
		if err != nil {
			t.Fatal(err)
		}
		a, z := b.checkpoint(t, older), b.checkpoint(t, newer)
		if err := ledger.CheckConsistency(a, z, proof); err != nil {
			t.Fatal(err)
		}
		if newer == 0 {
			return
		}
		// The same history with one entry altered: no proof may connect the two.
		forged := book{lines: append([][]byte(nil), b.lines...)}
		at := rapid.IntRange(0, newer-1).Draw(t, "altered")
		forged.lines[at] = append([]byte(" "), forged.lines[at]...)
		if at >= older {
			return
		}
		other := forged.checkpoint(t, newer)
		otherProof, err := ledger.ProveConsistency(int64(older), int64(newer), forged.tree(t, newer))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range []tlog.TreeProof{proof, otherProof, nil} {
			if ledger.CheckConsistency(a, other, p) == nil {
				t.Fatalf("%d entries with entry %d altered pass as an extension of %d", newer, at+1, older)
			}
		}
	})
}

func TestCheckpointsThatCannotFollowEachOtherAreRefused(t *testing.T) {
	b := write(t, ledgertest.Acts(60).Example(2))
	c := func(n int) ledger.Checkpoint { return b.checkpoint(t, n) }
	foreign, forked, empty := c(8), c(8), c(0)
	foreign.Org = "other"
	forked.Root[0] ^= 1
	empty.Root[0] ^= 1
	for name, pair := range map[string][2]ledger.Checkpoint{"shrunk": {c(8), c(5)}, "foreign": {c(5), foreign}, "forked": {c(8), forked}, "not empty": {empty, c(5)}} {
		if err := ledger.CheckConsistency(pair[0], pair[1], nil); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if err := ledger.CheckConsistency(c(5), c(5), tlog.TreeProof{{}}); err == nil {
		t.Error("a proof with a superfluous hash was taken")
	}
	for _, sizes := range [][2]int64{{-1, 5}, {6, 5}} {
		if _, err := ledger.ProveConsistency(sizes[0], sizes[1], b.tree(t, 8)); err == nil {
			t.Errorf("sizes %v were proved", sizes)
		}
	}
	if _, err := ledger.ProveConsistency(5, 1000, b.tree(t, 8)); err == nil {
		t.Error("a tree that is too small gave a proof")
	}
}
