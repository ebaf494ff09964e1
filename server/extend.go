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

// prove makes the proof that the ledger's first newer entries extend its first older ones. After an act every connected
// device asks for nearly the same one, so they are kept until the next.
func (r *running) prove(ctx context.Context, older, newer int64) ([]string, error) {
	return r.proofs.get(older, newer, func() ([]string, error) {
		proof, err := ledger.ProveConsistency(older, newer, r.db.HashReader(ctx))
		if err != nil {
			return nil, err
		}
		out := make([]string, len(proof))
		for i, h := range proof {
			out[i] = h.String()
		}
		return out, nil
	})
}

// maxProofs bounds how many are kept.
const maxProofs = 1024

// proofs keeps the proofs to one size of the ledger: what is written never changes, so neither do they.
type proofs struct {
	mu    sync.Mutex
	newer int64
	known map[int64][]string
}

// get returns a proof that was made before, or makes it. Those who ask meanwhile wait for it.
func (p *proofs) get(older, newer int64, make func() ([]string, error)) ([]string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if out, ok := p.known[older]; ok && p.newer == newer {
		return out, nil
	}
	out, err := make()
	if err != nil {
		return nil, err
	}
	if p.newer != newer || len(p.known) >= maxProofs {
		p.newer, p.known = newer, map[int64][]string{}
	}
	p.known[older] = out
	return out, nil
}
