package wire_test

import (
	"fmt"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"

	"assent/wire"
)

// tree is a tlog over texts.
type tree []tlog.Hash

func (t tree) ReadHashes(ids []int64) ([]tlog.Hash, error) {
	var out []tlog.Hash
	for _, id := range ids {
		out = append(out, t[id])
	}
	return out, nil
}

func grow(t tree, from, to int64, text string) tree {
	for n := from; n < to; n++ {
		hashes, err := tlog.StoredHashes(n, fmt.Appendf(nil, "%s %d", text, n), t)
		if err != nil {
			panic(err)
		}
		t = append(t, hashes...)
	}
	return t
}

func root(t tree, n int64) string {
	h, err := tlog.TreeHash(n, t)
	if err != nil {
		panic(err)
	}
	return h.String()
}

func prove(t tree, newer, older int64) []string {
	var out []string
	if newer == older {
		return nil
	}
	p, err := tlog.ProveTree(newer, older, t)
	if err != nil {
		panic(err)
	}
	for _, h := range p {
		out = append(out, h.String())
	}
	return out
}

func TestPromise2_OnlyALedgerThatExtendsTheSeenOneIsAccepted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		older := rapid.Int64Range(2, 40).Draw(t, "older")
		newer := rapid.Int64Range(older, 60).Draw(t, "newer")
		keep := rapid.Int64Range(0, older-1).Draw(t, "restored")
		honest := grow(nil, 0, newer, "act")
		if err := wire.Extends(older, root(honest, older), newer, root(honest, newer), prove(honest, newer, older)); err != nil {
			t.Fatalf("an honest ledger: %v", err)
		}
		// A backup with keep entries was restored, and other acts were made since.
		restored := grow(grow(nil, 0, keep, "act"), keep, newer, "other")
		if wire.Extends(older, root(honest, older), newer, root(restored, newer), prove(restored, newer, older)) == nil {
			t.Fatal("a ledger that lost acts was accepted")
		}
		if newer > older && wire.Extends(older, root(honest, older), newer, root(honest, newer), nil) == nil {
			t.Fatal("accepted without a proof")
		}
	})
	if err := wire.Extends(0, "", 5, "anything", nil); err != nil {
		t.Errorf("the first statement: %v", err)
	}
	if wire.Extends(1, root(grow(nil, 0, 1, "a"), 1), 2, "", nil) == nil {
		t.Error("a statement without a root was accepted after one with a root")
	}
}
