package wire

import (
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

// maxProof caps the hashes of a proof: a ledger of 2^62 entries needs no more.
const maxProof = 128

// Extends checks that the ledger of size newer with root newerRoot has, as its beginning, the ledger of size
// older with root olderRoot: that no decision which the device ever saw was changed or left out (promise 2:
// not by a restored backup either). Roots and proof are in tlog's text form. An empty olderRoot is what a
// device has before its first statement: everything extends that.
func Extends(older int64, olderRoot string, newer int64, newerRoot string, proof []string) error {
	if olderRoot == "" {
		return nil
	}
	was, err := tlog.ParseHash(olderRoot)
	if err != nil {
		return fmt.Errorf("the root at %d entries: %w", older, err)
	}
	is, err := tlog.ParseHash(newerRoot)
	if err != nil {
		return fmt.Errorf("the root at %d entries: %w", newer, err)
	}
	if older == newer {
		if was != is {
			return fmt.Errorf("there are two ledgers of %d entries", older)
		}
		return nil
	}
	if len(proof) > maxProof {
		return fmt.Errorf("a proof of %d hashes", len(proof))
	}
	var p tlog.TreeProof
	for _, s := range proof {
		h, err := tlog.ParseHash(s)
		if err != nil {
			return fmt.Errorf("proof: %w", err)
		}
		p = append(p, h)
	}
	if err := tlog.CheckTree(p, newer, is, older, was); err != nil {
		return fmt.Errorf("the ledger of %d entries does not extend the one of %d: %w", newer, older, err)
	}
	return nil
}
