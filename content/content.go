// Package content says how files are kept by what is in them: the payloads and texts of feeds, which a server keeps for
// its devices. A file's name is its SHA-256, so a name can be no path, two feeds with one file keep it once, and whoever
// reads one can check it.
//
// Every implementation guarantees: a file is there whole or not at all, after a crash and a power cut too; what is not
// exactly the size and the digest that were announced never becomes a file; putting the same file twice, at the same
// time too, is one file; a name that is no digest is refused. Package contenttest holds what each must pass.
//
// It does not guarantee that the disk or the bucket gives back what was put: readers that cannot trust it check the digest
// (devices do). It knows nothing of who may read a file.
package content

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"iter"
	"time"

	"assent/fault"
)

// The refusals of stores.
var (
	// ErrName refuses a name that is no SHA-256 in lower-case hex.
	ErrName = fault.New(fault.Invalid, "content_name", "A file is named by its SHA-256: 64 lower-case hex digits.")
	// ErrUnknown says that there is no such file.
	ErrUnknown = fault.New(fault.NotFound, "content_unknown", "There is no such file.")
	// ErrMismatch says that what came is not what was announced.
	ErrMismatch = fault.New(fault.Conflict, "content_mismatch", "The file is not the one that was announced: its size or its digest differs.")
	// ErrFull says that there is no room, or none that files may take.
	ErrFull = fault.New(fault.Unavailable, "content_full", "There is not enough space for the file where the server keeps files.")
	// ErrAway says that the place where files are kept does not answer. It is worth another try.
	ErrAway = fault.New(fault.Unavailable, "content_away", "The place where the server keeps files does not answer; it goes on by itself when that is back.")
	// ErrRefused says that the place where files are kept refuses this server: somebody has to look at its rights.
	ErrRefused = fault.New(fault.Unavailable, "content_refused", "The place where the server keeps files refuses the server: its bucket or its credentials are not right.")
)

// Unusable reports whether an error is about the place where files are kept and says nothing of the file itself.
func Unusable(err error) bool {
	return errors.Is(err, ErrAway) || errors.Is(err, ErrRefused) || errors.Is(err, ErrFull)
}

// Info is a file that is kept.
type Info struct {
	SHA256 string
	Size   int64     // bytes
	Put    time.Time // when it was put, or put again
}

// Reader finds and reads files.
type Reader interface {
	Has(ctx context.Context, sha256 string) (bool, error)
	// Open opens a file for reading from any place; ErrUnknown when it is not there. It is open until it is closed or ctx
	// ends. A file that is removed while somebody reads it from its beginning can be read to its end; a store over a
	// network may have to fail such a reader (ErrUnknown), but never gives it other bytes.
	Open(ctx context.Context, sha256 string) (File, error)
}

// File is an open file.
type File interface {
	io.ReadSeekCloser
	Size() int64
}

// Writer puts and removes files.
type Writer interface {
	// Put reads a file of this size and digest from r and keeps it: durable when Put returns nil. A longer or a shorter one,
	// or one of another digest, is ErrMismatch; r is not read further than one byte behind size. Errors of r come
	// back wrapped. A file that is there already is not read again, but counts as put now.
	Put(ctx context.Context, r io.Reader, size int64, sha256 string) error
	// Remove removes a file; removing one that is not there is no error.
	Remove(ctx context.Context, sha256 string) error
}

// Keeper looks at all files.
type Keeper interface {
	// List names every file, sorted by digest.
	List(ctx context.Context) iter.Seq2[Info, error]
	// Sweep removes the files that were put before a time and that keep does not want, and says how many bytes that
	// freed. What was put later stays: another server may have put it a moment before it needs it.
	Sweep(ctx context.Context, before time.Time, keep func(sha256 string) bool) (freed int64, err error)
}

// Store is all of it.
type Store interface {
	Reader
	Writer
	Keeper
}

// CheckName refuses what is no digest.
func CheckName(digest string) error {
	if len(digest) != 2*sha256.Size {
		return ErrName
	}
	for _, c := range []byte(digest) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return ErrName
		}
	}
	return nil
}

// Digest is the name of a file.
func Digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Exactly returns a reader of r that ends in io.EOF only if it gave exactly these bytes; else in ErrMismatch. It stops when
// ctx ends.
func Exactly(ctx context.Context, r io.Reader, size int64, digest string) io.Reader {
	return &exact{ctx: ctx, r: io.LimitReader(r, size+1), left: size, digest: digest, sum: sha256.New()}
}

type exact struct {
	ctx    context.Context
	r      io.Reader
	left   int64
	digest string
	sum    hash.Hash
}

// Read implements io.Reader. A byte too many is never given on.
func (e *exact) Read(p []byte) (int, error) {
	if err := e.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := e.r.Read(p)
	if int64(n) > e.left {
		return 0, ErrMismatch
	}
	e.left -= int64(n)
	e.sum.Write(p[:n])
	if err == io.EOF && (e.left != 0 || hex.EncodeToString(e.sum.Sum(nil)) != e.digest) { //nolint:errorlint // io.Reader's own end
		return n, ErrMismatch
	}
	return n, err
}
