package ledger

import (
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

// Tree is the Merkle tree over a ledger's encoded entries, held in memory; the store keeps the same
// hashes under the same numbers. The zero value is the tree of the empty ledger.
type Tree struct {
	size   int64
	hashes []tlog.Hash
}

// Append adds the next entry's bytes.
func (t *Tree) Append(data []byte) error { return t.appendHash(tlog.RecordHash(data)) }

// appendHash adds the next entry by its hash.
func (t *Tree) appendHash(record tlog.Hash) error {
	hashes, err := tlog.StoredHashesForRecordHash(t.size, record, t)
	if err != nil {
		return fmt.Errorf("hash ledger entry %d: %w", t.size+1, err)
	}
	t.hashes = append(t.hashes, hashes...)
	t.size++
	return nil
}

// Size is the number of entries.
func (t *Tree) Size() int64 { return t.size }

// Root is the hash of the whole tree.
func (t *Tree) Root() (tlog.Hash, error) { return tlog.TreeHash(t.size, t) }

// ReadHashes makes the tree a tlog.HashReader.
func (t *Tree) ReadHashes(ids []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(ids))
	for i, id := range ids {
		if id < 0 || id >= int64(len(t.hashes)) {
			return nil, fmt.Errorf("ledger tree of size %d has no hash %d", t.size, id)
		}
		out[i] = t.hashes[id]
	}
	return out, nil
}

// record is the hash of entry seq.
func (t *Tree) record(seq int64) tlog.Hash { return t.hashes[tlog.StoredHashIndex(0, seq-1)] }

// FirstHash is the number of the first hash that entry seq adds to the tree.
func FirstHash(seq int64) int64 { return tlog.StoredHashCount(seq - 1) }

// NextHashes returns the hashes that the entry with number seq adds to the tree, to be stored under the
// numbers from FirstHash(seq) on. It reads at most about log2(seq) earlier hashes from r.
func NextHashes(seq int64, data []byte, r tlog.HashReader) ([]tlog.Hash, error) {
	hashes, err := tlog.StoredHashes(seq-1, data, r)
	if err != nil {
		return nil, fmt.Errorf("hash ledger entry %d: %w", seq, err)
	}
	return hashes, nil
}
