package content

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
)

// Source is what files can be looked through, to copy or to verify them.
type Source interface {
	Reader
	List(ctx context.Context) iter.Seq2[Info, error]
}

// Sink is what files can be copied into.
type Sink interface {
	Has(ctx context.Context, sha256 string) (bool, error)
	Put(ctx context.Context, r io.Reader, size int64, sha256 string) error
}

// Transfer says how far looking through a store is.
type Transfer struct {
	Files       int      `json:"files"`        // of the store that is looked through
	Bytes       int64    `json:"bytes"`        // of these
	Done        int      `json:"done"`         // files that were looked at
	BytesDone   int64    `json:"bytes_done"`   // of these
	Copied      int      `json:"copied"`       // files that were not there yet
	BytesCopied int64    `json:"bytes_copied"` // of these
	Gone        int      `json:"gone"`         // files that were removed meanwhile
	Damaged     []string `json:"damaged"`      // digests of files that are not what their name says, sorted; never copied
}

// atOnce is how many files are looked at at the same time.
const atOnce = 4

// transfer is a Transfer that several files change at the same time.
type transfer struct {
	mu   sync.Mutex
	now  Transfer
	tell func(Transfer)
}

// Copy puts every file of a store into another one. What is there already is passed over, so a copy that broke off goes on
// where it was. A damaged file is named and not copied. tell, which may be nil, hears of every file.
func Copy(ctx context.Context, to Sink, from Source, tell func(Transfer)) (Transfer, error) {
	return each(ctx, from, tell, func(ctx context.Context, info Info) (copied bool, err error) {
		if there, err := to.Has(ctx, info.SHA256); there || err != nil {
			return false, err
		}
		err = with(ctx, from, info, func(f File) error { return to.Put(ctx, f, f.Size(), info.SHA256) })
		return err == nil, err
	})
}

// Verify reads every file of a store through and names those that are not what their name says.
func Verify(ctx context.Context, in Source, tell func(Transfer)) (Transfer, error) {
	return each(ctx, in, tell, func(ctx context.Context, info Info) (bool, error) {
		return false, with(ctx, in, info, func(f File) error {
			_, err := io.Copy(io.Discard, Exactly(ctx, f, f.Size(), info.SHA256))
			return err
		})
	})
}

// with opens a file for use.
func with(ctx context.Context, from Reader, info Info, use func(File) error) (err error) {
	f, err := from.Open(ctx, info.SHA256)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return use(f)
}

// each looks at all files that are there at its beginning.
func each(ctx context.Context, from Source, tell func(Transfer), look func(context.Context, Info) (copied bool, err error)) (Transfer, error) {
	t := &transfer{tell: tell, now: Transfer{Damaged: []string{}}}
	var all []Info
	for info, err := range from.List(ctx) {
		if err != nil {
			return t.now, err
		}
		all = append(all, info)
		t.now.Bytes += info.Size
	}
	t.now.Files = len(all)
	outer := ctx
	group, ctx := errgroup.WithContext(outer)
	group.SetLimit(atOnce)
	for _, info := range all {
		if ctx.Err() != nil {
			break // one failed
		}
		group.Go(func() error {
			copied, err := look(ctx, info)
			return t.note(info, copied, err)
		})
	}
	err := cmp.Or(group.Wait(), outer.Err())
	slices.Sort(t.now.Damaged)
	return t.now, err
}

// note notes what became of a file. Only what concerns the store, and not this file alone, is an error.
func (t *transfer) note(info Info, copied bool, err error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case errors.Is(err, ErrMismatch):
		t.now.Damaged = append(t.now.Damaged, info.SHA256)
	case errors.Is(err, ErrUnknown):
		t.now.Gone++
	case err != nil:
		return fmt.Errorf("look at the file %s: %w", info.SHA256, err)
	case copied:
		t.now.Copied++
		t.now.BytesCopied += info.Size
	}
	t.now.Done++
	t.now.BytesDone += info.Size
	if t.tell != nil {
		t.tell(t.now)
	}
	return nil
}
