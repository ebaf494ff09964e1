package index

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"github.com/RoaringBitmap/roaring/v2"

	"assent/fault"
	"assent/server/internal/store"
	"assent/wire"
)

// loadDocuments reads the documents that contacts name, each once, and gives them to their devices. A
// document that is missing or malformed is left out: the device will be asked for it.
func (x *Index) loadDocuments(ctx context.Context) error {
	held := map[documentKey]*roaring.Bitmap{}
	err := x.store.LoadContacts(ctx, func(c store.Contact) error {
		n, ok := x.numbers[c.Device]
		if !ok {
			return nil
		}
		x.devices[n].contact.Store(&c)
		for _, kind := range wire.Kinds() {
			key := documentKey{kind, c.Digests[kind]}
			if key.digest == "" {
				continue
			}
			if held[key] == nil {
				held[key] = roaring.New()
			}
			held[key].Add(n)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("load contacts: %w", err)
	}
	return x.loadHeld(ctx, held)
}

// loaded is a document read at start, or why it was not.
type loaded struct {
	doc *document
	key documentKey
	err error
}

// loadHeld reads the documents in one pass over the store, parses them on all processors and links them one after the
// other.
func (x *Index) loadHeld(ctx context.Context, held map[documentKey]*roaring.Bitmap) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	packed, read, passed := make(chan store.Packed, 64), make(chan loaded, 64), make(chan error, 1)
	go func() {
		defer close(packed)
		passed <- x.store.LoadDocuments(ctx, func(p store.Packed) error {
			if held[documentKey{p.Kind, p.Digest}] == nil {
				return nil
			}
			select {
			case packed <- p:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	var group sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() {
			for p := range packed {
				select {
				case read <- unpack(p):
				case <-ctx.Done():
				}
			}
		})
	}
	go func() { group.Wait(); close(read) }()
	for l := range read {
		if err := x.adoptLoaded(ctx, l, held[l.key]); err != nil {
			return err
		}
	}
	if err := <-passed; err != nil {
		return fmt.Errorf("load documents: %w", err)
	}
	x.spreadLoaded(held)
	return ctx.Err()
}

func unpack(p store.Packed) loaded {
	l := loaded{key: documentKey{p.Kind, p.Digest}}
	body, err := p.Body()
	if err == nil {
		l.doc, err = parse(p.Kind, p.Digest, body)
	}
	l.err = err
	return l
}

// adoptLoaded gives a document to its devices, all but the sets that they are counted in.
func (x *Index) adoptLoaded(ctx context.Context, l loaded, devices *roaring.Bitmap) error {
	if errors.Is(l.err, fault.Invalid) {
		return nil // told as missing
	}
	if l.err != nil {
		return l.err
	}
	grown, err := x.save(ctx, grow(l.doc))
	if err != nil {
		return err
	}
	x.publishGrowth(grown)
	x.link(l.doc)
	x.documents[l.key] = l.doc
	for it := devices.Iterator(); it.HasNext(); {
		*x.devices[it.Next()].slot(l.key.kind) = l.doc
		l.doc.refs++
	}
	return nil
}

// spreadLoaded counts all devices in the sets that their documents speak of, each set in one go.
func (x *Index) spreadLoaded(held map[documentKey]*roaring.Bitmap) {
	s := spreading{parts: map[*roaring.Bitmap]*part{}, devices: len(x.devices)}
	for key, devices := range held {
		doc := x.documents[key]
		if doc == nil {
			x.log.Warn("a document is missing or cannot be read; its devices will be asked for it", "kind", key.kind, "digest", key.digest, "devices", devices.GetCardinality())
			continue
		}
		numbers := devices.ToArray()
		x.spread(doc, func(b *roaring.Bitmap) { s.add(b, numbers) })
	}
	s.flush()
}

// spreading gathers which devices go into which set.
type spreading struct {
	parts   map[*roaring.Bitmap]*part
	devices int // numbers are below it
	pending int // lists gathered
}

// part are the devices of one set.
type part struct {
	lists [][]uint32
	total int
}

// maxPending bounds the memory that gathering takes.
const maxPending = 4 << 20

func (s *spreading) add(b *roaring.Bitmap, numbers []uint32) {
	if s.pending++; s.pending > maxPending {
		s.flush()
	}
	p := s.parts[b]
	if p == nil {
		p = &part{}
		s.parts[b] = p
	}
	p.lists = append(p.lists, numbers)
	p.total += len(numbers)
}

// flush builds the sets, each on one processor.
func (s *spreading) flush() {
	type job struct {
		set *roaring.Bitmap
		*part
	}
	jobs := make(chan job, 64)
	var group sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() {
			for j := range jobs {
				j.build(j.set, s.devices)
			}
		})
	}
	for set, p := range s.parts {
		jobs <- job{set, p}
	}
	close(jobs)
	group.Wait()
	s.pending = 0
	clear(s.parts)
}

// build adds the devices to a set: bit by bit where they are many, else in the order of their numbers, because adding
// at the end of a set is cheap.
func (p *part) build(set *roaring.Bitmap, devices int) {
	if p.total > devices/64 {
		bits := make([]uint64, (devices+63)/64)
		for _, list := range p.lists {
			for _, n := range list {
				bits[n/64] |= 1 << (n % 64)
			}
		}
		set.Or(roaring.FromDense(bits, false))
		return
	}
	all := slices.Concat(p.lists...)
	slices.Sort(all)
	set.AddMany(all)
}
