// Package audit reads what happened, for people: the ledger of decisions in sentences, its checkpoint and
// its export, and the events that devices reported.
//
// Guarantees: a list is bounded however much there is and whatever an entry holds; names are those of now,
// and where a thing is gone its id; text that people or devices wrote is quoted, so that it cannot pass for
// ours; the export is made from the very bytes that were hashed, under a checkpoint over exactly them.
// It changes nothing and decides nothing; permission to read the ledger is the caller's to check.
package audit

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"assent/client"
	"assent/ledger"
	"assent/server/internal/store"
)

// Store is where the ledger and the events are.
type Store interface {
	// Head is the number of the last entry and the root over all entries, of one moment.
	Head(ctx context.Context) (seq int64, root tlog.Hash, err error)
	// Entries lists entries from the number on, in order, byte for byte as they were hashed.
	Entries(ctx context.Context, from, limit int64) ([]store.RawEntry, error)
	Events(ctx context.Context, q store.EventQuery) ([]store.Event, error)
}

// Config is what New needs; all of it is required.
type Config struct {
	Store  Store
	Fleet  Fleet
	Signer note.Signer // of checkpoints, from ledger.NewSigner
	Key    string      // its verifier key, from ledger.VerifierKey
}

// Service reads. It is safe for concurrent use.
type Service struct {
	Config
	kinds kinds
}

// New makes a Service.
func New(c Config) (*Service, error) {
	if c.Store == nil || c.Fleet == nil || c.Signer == nil || c.Key == "" {
		return nil, errors.New("audit needs a store, a fleet, a signer and its verifier key")
	}
	return &Service{Config: c}, nil
}

// Bounds of a list.
const (
	batch       = 500     // entries read at a time
	maxScan     = 20_000  // entries looked at for one page, however few match
	defaultRows = 100     // in a page
	maxRows     = 1000    // in a page
	maxBody     = 8 << 10 // bytes of an entry's body in a list
)

// Entries lists the ledger, newest first. Total is the number of all entries. Next is the number to give as
// Before for the next page; a page may be short, or empty, and still have a next one when few entries match.
func (s *Service) Entries(ctx context.Context, q client.LedgerQuery) (client.List[client.LedgerRow], error) {
	head, _, err := s.Store.Head(ctx)
	if err != nil {
		return client.List[client.LedgerRow]{}, fmt.Errorf("list the ledger: %w", err)
	}
	out := client.List[client.LedgerRow]{Items: []client.LedgerRow{}, Total: int(head)}
	before := head + 1
	if q.Before > 0 {
		before = min(q.Before, before)
	}
	if q.Kind != "" && q.By == "" {
		return s.ofKind(ctx, q, out, before)
	}
	want, scanned := rows(q.Limit), 0
	for before > 1 && scanned < maxScan {
		from := max(1, before-batch)
		raw, err := s.Store.Entries(ctx, from, before-from)
		if err != nil {
			return out, fmt.Errorf("list the ledger before entry %d: %w", before, err)
		}
		for _, r := range slices.Backward(raw) {
			before = r.Seq
			scanned++
			if err := s.take(&out, r, q); err != nil {
				return out, err
			}
			if len(out.Items) == want {
				return next(out, before), nil
			}
		}
		if len(raw) == 0 {
			return out, fmt.Errorf("list the ledger: the entries from %d to %d are not there", from, before-1)
		}
	}
	return next(out, before), nil
}

// ofKind is Entries for one kind: it reads only the entries that it shows.
func (s *Service) ofKind(ctx context.Context, q client.LedgerQuery, out client.List[client.LedgerRow], before int64) (client.List[client.LedgerRow], error) {
	from, want := max(1, before-maxScan), rows(q.Limit)
	seqs, err := s.kinds.last(ctx, s.Store, q.Kind, from, before-1, want)
	if err != nil {
		return out, fmt.Errorf("list the ledger before entry %d: %w", before, err)
	}
	for _, seq := range seqs {
		raw, err := s.Store.Entries(ctx, seq, 1)
		if err == nil && (len(raw) != 1 || raw[0].Seq != seq) {
			err = errors.New("it is not there")
		}
		if err == nil {
			err = s.take(&out, raw[0], q)
		}
		if err != nil {
			return out, fmt.Errorf("list the ledger: entry %d: %w", seq, err)
		}
	}
	if len(seqs) == want {
		return next(out, seqs[want-1]), nil
	}
	return next(out, from), nil
}

func next(l client.List[client.LedgerRow], before int64) client.List[client.LedgerRow] {
	if before > 1 {
		l.Next = fmt.Sprint(before)
	}
	return l
}

func rows(limit int) int { return min(cmp.Or(max(limit, 0), defaultRows), maxRows) }

// take adds an entry to the list if the query asks for it.
func (s *Service) take(out *client.List[client.LedgerRow], raw store.RawEntry, q client.LedgerQuery) error {
	e, err := ledger.Decode(raw.Data)
	if err != nil {
		return fmt.Errorf("list the ledger: entry %d: %w", raw.Seq, err)
	}
	if q.Kind != "" && e.Kind != q.Kind || q.By != "" && e.By != q.By {
		return nil
	}
	row := client.LedgerRow{Entry: e, Text: sentence(e, s.Fleet.Names())}
	if len(e.Body) > maxBody {
		row.Body, row.Omitted = nil, true
	}
	out.Items = append(out.Items, row)
	return nil
}

// Checkpoint signs the ledger's head of this moment.
func (s *Service) Checkpoint(ctx context.Context) (client.Checkpoint, error) {
	cp, signed, err := s.sign(ctx)
	if err != nil {
		return client.Checkpoint{}, err
	}
	return client.Checkpoint{Size: cp.Size, Root: base64.StdEncoding.EncodeToString(cp.Root[:]), Note: string(signed), Key: s.Key}, nil
}

func (s *Service) sign(ctx context.Context) (ledger.Checkpoint, []byte, error) {
	size, root, err := s.Store.Head(ctx)
	if err != nil {
		return ledger.Checkpoint{}, nil, fmt.Errorf("make a checkpoint: %w", err)
	}
	cp := ledger.Checkpoint{Org: s.Fleet.Org(), Size: size, Root: root}
	signed, err := cp.Sign(s.Signer)
	return cp, signed, err
}

// Export writes the ledger up to now. It asks live before each batch and stops with its error.
func (s *Service) Export(ctx context.Context, w io.Writer, live func() error) error {
	cp, signed, err := s.sign(ctx)
	if err != nil {
		return err
	}
	return ledger.Export(w, signed, s.all(ctx, cp.Size, live))
}

// all gives the bytes of the first size entries.
func (s *Service) all(ctx context.Context, size int64, live func() error) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for from := int64(1); from <= size; {
			if err := live(); err != nil {
				yield(nil, err)
				return
			}
			raw, err := s.Store.Entries(ctx, from, min(batch, size-from+1))
			if err == nil && (len(raw) == 0 || raw[0].Seq != from) {
				err = fmt.Errorf("entry %d is not there", from)
			}
			if err != nil {
				yield(nil, err)
				return
			}
			for _, r := range raw {
				if !yield(r.Data, nil) {
					return
				}
			}
			from += int64(len(raw))
		}
	}
}
