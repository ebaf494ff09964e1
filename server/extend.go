package server

import (
	"context"
	"sync"

	"golang.org/x/mod/sumdb/tlog"

	"assent/ledger"
)

// root returns the function that gives the ledger's root at a size. The last answer is kept: between two
// acts all statements rest on the same one.
func (r *running) root() func(int64) (string, error) {
	var mu sync.Mutex
	var size int64
	var text string
	return func(n int64) (string, error) {
		mu.Lock()
		defer mu.Unlock()
		if n == size && text != "" {
			return text, nil
		}
		h, err := tlog.TreeHash(n, r.db.HashReader(context.Background()))
		if err != nil {
			return "", err
		}
		size, text = n, h.String()
		return text, nil
	}
}

// prove makes the proof that the ledger's first newer entries extend its first older ones.
func (r *running) prove(ctx context.Context, older, newer int64) ([]string, error) {
	proof, err := ledger.ProveConsistency(older, newer, r.db.HashReader(ctx))
	if err != nil {
		return nil, err
	}
	out := make([]string, len(proof))
	for i, h := range proof {
		out[i] = h.String()
	}
	return out, nil
}
