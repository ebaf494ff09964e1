package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"

	"assent/ledger"
	"assent/server/internal/store"
)

// kinds remembers where in the ledger the entries of each kind stand, so that a list of one kind does not read
// everything else again. Entries never change, so what it knows stays true; it knows those from low to high, which is
// what lists have asked for so far.
type kinds struct {
	mu        sync.Mutex
	low, high int64 // the first and the last entry that it knows; 0: none
	at        map[ledger.Kind][]int64
}

// cover makes it know the entries from from to to, and those between them and what it knows already.
func (k *kinds) cover(ctx context.Context, s Store, from, to int64) error {
	if k.at == nil {
		k.at = map[ledger.Kind][]int64{}
	}
	if k.high == 0 {
		k.low, k.high = to+1, to
	}
	for k.high < to {
		raw, err := s.Entries(ctx, k.high+1, min(batch, to-k.high))
		if err != nil {
			return err
		}
		if err := k.note(raw, k.high+1, func(kind ledger.Kind, seq int64) { k.at[kind] = append(k.at[kind], seq) }); err != nil {
			return err
		}
		k.high += int64(len(raw))
	}
	for k.low > from {
		begin := max(from, k.low-batch)
		raw, err := s.Entries(ctx, begin, k.low-begin)
		if err != nil {
			return err
		}
		before := map[ledger.Kind][]int64{}
		if err := k.note(raw, begin, func(kind ledger.Kind, seq int64) { before[kind] = append(before[kind], seq) }); err != nil {
			return err
		}
		for kind, seqs := range before {
			k.at[kind] = append(seqs, k.at[kind]...)
		}
		k.low = begin
	}
	return nil
}

// note reads the kinds of a run of entries that begins with first.
func (k *kinds) note(raw []store.RawEntry, first int64, put func(ledger.Kind, int64)) error {
	if len(raw) == 0 {
		return fmt.Errorf("the entries from %d on are not there", first)
	}
	for i, r := range raw {
		if r.Seq != first+int64(i) {
			return fmt.Errorf("entry %d is not there", first+int64(i))
		}
		var e struct {
			Kind ledger.Kind `json:"kind"`
		}
		if err := json.Unmarshal(r.Data, &e); err != nil {
			return fmt.Errorf("entry %d: %w", r.Seq, err)
		}
		put(e.Kind, r.Seq)
	}
	return nil
}

// last are the numbers of the last most entries of a kind among those from from to to, the newest first.
func (k *kinds) last(ctx context.Context, s Store, kind ledger.Kind, from, to int64, most int) ([]int64, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.cover(ctx, s, from, to); err != nil {
		return nil, err
	}
	all := k.at[kind]
	end, _ := slices.BinarySearch(all, to+1)
	begin, _ := slices.BinarySearch(all[:end], from)
	out := slices.Clone(all[max(begin, end-most):end])
	slices.Reverse(out)
	return out, nil
}
