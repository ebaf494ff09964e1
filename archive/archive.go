// Package archive reads the archives that trees are published in: tar, also compressed with gzip, zstd or xz. It holds the
// one set of rules of what may be in them, which the publisher asks before a release is signed and the device before a file is
// unpacked.
//
// It guarantees: what Walk hands out lies inside the tree whatever order it is unpacked in, parents first and each name once;
// no entry is a device, carries privileges or leads out by a link; entries, bytes and the memory that the compression asks for
// are bounded; whatever the bytes are, the answer is an error and never a panic.
//
// What it does not do: it writes nothing, and it does not know whether a payload is the one that was approved.
package archive

import (
	"archive/tar"
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// Limits bound what a payload may become. Zero values are the defaults.
type Limits struct {
	Entries int   // files, directories and links; 200,000
	Bytes   int64 // of all files together; 64 GiB
	Ratio   int64 // of all files together, in sizes of the payload; 100
	Free    int64 // bytes that are allowed whatever the ratio; 64 MiB
}

func (l Limits) orDefaults() Limits {
	return Limits{Entries: cmp.Or(l.Entries, 200_000), Bytes: cmp.Or(l.Bytes, 64<<30), Ratio: cmp.Or(l.Ratio, 100), Free: cmp.Or(l.Free, 64<<20)}
}

// Total is how many bytes a payload of a size may unpack to.
func (l Limits) Total(payload int64) int64 {
	l = l.orDefaults()
	return min(l.Bytes, max(l.Free, payload*l.Ratio))
}

// Refusal says why an archive must not be used.
type Refusal struct {
	Detail string // names the entry where it is one
}

// Error implements error.
func (r *Refusal) Error() string { return "the payload is refused: " + r.Detail }

func refuse(format string, args ...any) error { return &Refusal{fmt.Sprintf(format, args...)} }

// Types of entries.
const (
	Dir  = "dir"
	File = "file"
	Link = "link" // symbolic
)

// Entry is one thing of a tree.
type Entry struct {
	Name   string      `json:"name"` // below the tree, clean
	Type   string      `json:"type"`
	Perm   fs.FileMode `json:"perm,omitempty"`
	Size   int64       `json:"size,omitempty"`
	Target string      `json:"target,omitempty"` // of a symbolic link
	Same   string      `json:"same,omitempty"`   // the file of the tree that this one is a second name of
}

// Sink takes the entries of an archive, parents first. r is the content of a file; a Sink need not read it.
type Sink func(e Entry, r io.Reader) error

// sinkError is a failure of the Sink, which says nothing about the archive.
type sinkError struct{ error }

func (e sinkError) Unwrap() error { return e.error }

// Walk reads an archive of size bytes and hands out what is in it. A *Refusal says that it must not be used; any other error is
// the Sink's own or the context's.
func Walk(ctx context.Context, payload io.Reader, size int64, limits Limits, to Sink) error {
	w := newWalker(ctx, size, limits, to)
	z, done, err := Decompress(bufio.NewReaderSize(payload, readAhead))
	if err != nil {
		return w.judge(err)
	}
	defer done()
	return w.judge(w.archive(w.stream(z)))
}

// WalkContent is Walk for a payload that need not be an archive: one that is none is a single file under name.
func WalkContent(ctx context.Context, payload io.ReadSeeker, size int64, name string, limits Limits, to Sink) error {
	w := newWalker(ctx, size, limits, to)
	z, done, err := Decompress(bufio.NewReaderSize(payload, readAhead))
	if err == nil {
		defer done()
		stream := w.stream(z)
		if head, err := stream.Peek(tarMagicEnd); err == nil && IsTar(head) {
			return w.judge(w.archive(stream))
		}
	}
	if _, err := payload.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("read the payload again: %w", err)
	}
	return w.judge(w.single(name, size, payload))
}

const readAhead = 256 << 10 // bytes

// walker is the state of reading one payload.
type walker struct {
	ctx    context.Context
	limits Limits
	bytes  int64 // that may still come
	count  int
	seen   map[string]string // type by name; a directory that no entry has made yet has the type implied
	to     Sink
}

func newWalker(ctx context.Context, size int64, limits Limits, to Sink) *walker {
	limits = limits.orDefaults()
	return &walker{ctx: ctx, limits: limits, bytes: limits.Total(size), seen: map[string]string{}, to: to}
}

// stream bounds what is unpacked: padding and headers of entries come on top of their content.
func (w *walker) stream(r io.Reader) *bufio.Reader {
	return bufio.NewReaderSize(Capped(r, w.bytes+2048*int64(w.limits.Entries)+1<<20), 64<<10)
}

// judge tells what an error says about the payload.
func (w *walker) judge(err error) error {
	var s sinkError
	var r *Refusal
	switch {
	case err == nil || errors.As(err, &r):
		return err
	case errors.As(err, &s):
		return s.error
	case w.ctx.Err() != nil:
		return w.ctx.Err()
	}
	return refuse("it cannot be read: %v", err)
}

// single takes a payload as one file.
func (w *walker) single(name string, size int64, r io.Reader) error {
	if size > w.bytes {
		return refuse("it has more than %d bytes", w.bytes)
	}
	return w.emit(Entry{Name: name, Type: File, Perm: 0o644, Size: size}, r)
}

func (w *walker) archive(stream io.Reader) error {
	r := tar.NewReader(stream)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) && w.count == 0 {
			return refuse("there is nothing in it")
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := w.entry(h, r); err != nil {
			return err
		}
	}
}

// emit counts an entry and hands it to the Sink.
func (w *walker) emit(e Entry, r io.Reader) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	if w.count++; w.count > w.limits.Entries {
		return refuse("it has more than %d entries", w.limits.Entries)
	}
	if w.bytes -= e.Size; w.bytes < 0 {
		return refuse("it unpacks to more than it may")
	}
	w.seen[e.Name] = e.Type
	if r == nil {
		r = bytes.NewReader(nil)
	}
	src := NewWhole(r, e.Size)
	if err := w.to(e, src); err != nil && src.Err() == nil {
		return sinkError{err}
	}
	if src.Err() != nil {
		return src.Err()
	}
	_, err := io.Copy(io.Discard, src) // that the content is all there is seen here
	return cmp.Or(err, src.Err())
}
