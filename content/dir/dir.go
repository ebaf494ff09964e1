// Package dir keeps content-addressed files in a directory.
//
// A file lies at its digest below a directory named by the digest's first two digits. It is written aside, synced, renamed
// and the directory synced, so that after a power cut it is there whole or not at all. Every path goes through
// os.Root: no name and no symbolic link leads out of the directory.
//
// It keeps some space of the disk free, because the server's database mostly lies on the same one and must never be what
// runs out of space. One program at a time may use a directory: what an earlier run left half written is removed when it
// is opened.
package dir

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"sync"
	"syscall"
	"time"

	"assent/content"
)

// DefaultReserve is how many bytes of the disk stay free.
const DefaultReserve = 512 << 20

// aside is the directory of files that are being written.
const aside = "aside"

// Store is a directory of files. It is safe for concurrent use.
type Store struct {
	root    *os.Root
	reserve int64
	free    func(*os.Root) (int64, error) // bytes of the disk that are free
	now     func() time.Time

	mu      sync.Mutex
	claimed int64 // bytes that files being written still need
}

var _ content.Store = (*Store)(nil)

// Open opens the store in root, which stays the caller's to close, after all uses. reserve is how many bytes of the disk
// stay free; below zero: DefaultReserve.
func Open(root *os.Root, reserve int64) (*Store, error) {
	if reserve < 0 {
		reserve = DefaultReserve
	}
	s := &Store{root: root, reserve: reserve, free: freeSpace, now: time.Now}
	if err := root.RemoveAll(aside); err != nil {
		return nil, fmt.Errorf("remove what was left half written: %w", err)
	}
	if err := s.makeDir(aside); err != nil {
		return nil, err
	}
	return s, nil
}

// Look opens the store in root for reading, beside the program that uses it. root stays the caller's to close, after all uses.
func Look(root *os.Root) content.Source { return &Store{root: root} }

// place is where a file lies.
func place(digest string) string { return path.Join(digest[:2], digest) }

// Has implements content.Reader.
func (s *Store) Has(_ context.Context, digest string) (bool, error) {
	if err := content.CheckName(digest); err != nil {
		return false, err
	}
	info, err := s.root.Lstat(place(digest))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("look for a file: %w", err)
	}
	return err == nil && info.Mode().IsRegular(), nil
}

// file is an open file with the size it had when it was opened.
type file struct {
	*os.File
	size int64
}

func (f file) Size() int64 { return f.size }

// Open implements content.Reader.
func (s *Store) Open(_ context.Context, digest string) (content.File, error) {
	if err := content.CheckName(digest); err != nil {
		return nil, err
	}
	if info, err := s.root.Lstat(place(digest)); err == nil && !info.Mode().IsRegular() {
		return nil, content.ErrUnknown // os.Root follows links that stay inside
	}
	f, err := s.root.OpenFile(place(digest), os.O_RDONLY|syscall.O_NONBLOCK, 0) // never waits for the writer of a pipe
	if errors.Is(err, fs.ErrNotExist) {
		return nil, content.ErrUnknown
	}
	if err != nil {
		return nil, fmt.Errorf("open a file: %w", err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = content.ErrUnknown
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return file{f, info.Size()}, nil
}

// Put implements content.Writer.
func (s *Store) Put(ctx context.Context, r io.Reader, size int64, digest string) error {
	if err := content.CheckName(digest); err != nil {
		return err
	}
	if size < 0 {
		return content.ErrMismatch
	}
	if there, err := s.again(digest, size); there || err != nil {
		return err
	}
	release, err := s.claim(size)
	if err != nil {
		return err
	}
	defer release()
	err = s.write(ctx, r, size, digest)
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", content.ErrFull, err)
	}
	return err
}

// again reports whether the file is there already, and has it count as put now.
func (s *Store) again(digest string, size int64) (bool, error) {
	info, err := s.root.Lstat(place(digest))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for a file: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() != size {
		return false, nil // something else's doing: it is replaced
	}
	now := s.now()
	if err := s.root.Chtimes(place(digest), now, now); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("note that a file was put again: %w", err)
	}
	return err == nil, nil
}

// claim takes room for a file, or refuses it before a byte of it was fetched.
func (s *Store) claim(size int64) (release func(), err error) {
	free, err := s.free(s.root)
	if err != nil {
		return nil, fmt.Errorf("measure the free space: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if size > free-s.reserve-s.claimed {
		return nil, fmt.Errorf("%w: %d bytes are needed, %d are free, %d stay free, %d are being written", content.ErrFull, size, free, s.reserve, s.claimed)
	}
	s.claimed += size
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.claimed -= size
	}, nil
}

// write writes the file aside, checks it, and puts it into its place.
func (s *Store) write(ctx context.Context, r io.Reader, size int64, digest string) (err error) {
	temp := path.Join(aside, rand.Text())
	f, err := s.root.OpenFile(temp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("make a file: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.drop(temp))
		}
	}()
	_, err = io.Copy(f, content.Exactly(ctx, r, size, digest))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write a file: %w", err)
	}
	if err := s.makeDir(digest[:2]); err != nil {
		return err
	}
	if err := s.root.Rename(temp, place(digest)); err != nil {
		return fmt.Errorf("put a file into its place: %w", err)
	}
	return s.sync(digest[:2])
}

// drop removes what was written aside: a full disk must get its bytes back.
func (s *Store) drop(temp string) error {
	if err := s.root.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove what was written aside: %w", err)
	}
	return nil
}

func (s *Store) makeDir(name string) error {
	err := s.root.Mkdir(name, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	return s.sync(".")
}

func (s *Store) sync(dir string) error {
	f, err := s.root.Open(dir)
	if err != nil {
		return fmt.Errorf("open a directory: %w", err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("sync a directory: %w", err)
	}
	return nil
}

// Remove implements content.Writer.
func (s *Store) Remove(_ context.Context, digest string) error {
	if err := content.CheckName(digest); err != nil {
		return err
	}
	if err := s.root.Remove(place(digest)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove a file: %w", err)
	}
	return nil
}

// List implements content.Keeper. What has no digest for a name is not a file of this store and is passed over.
func (s *Store) List(ctx context.Context) iter.Seq2[content.Info, error] {
	return func(yield func(content.Info, error) bool) {
		for i := range 256 {
			entries, err := fs.ReadDir(s.root.FS(), fmt.Sprintf("%02x", i))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				yield(content.Info{}, fmt.Errorf("list files: %w", err))
				return
			}
			if err := ctx.Err(); err != nil {
				yield(content.Info{}, err)
				return
			}
			if !s.each(i, entries, yield) {
				return
			}
		}
	}
}

// each gives the files of one directory; false when there is enough.
func (s *Store) each(i int, entries []fs.DirEntry, yield func(content.Info, error) bool) bool {
	for _, e := range entries {
		if content.CheckName(e.Name()) != nil || e.Name()[:2] != fmt.Sprintf("%02x", i) || !e.Type().IsRegular() {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			return yield(content.Info{}, fmt.Errorf("look at a file: %w", err)) && false
		}
		if !yield(content.Info{SHA256: e.Name(), Size: info.Size(), Put: info.ModTime()}, nil) {
			return false
		}
	}
	return true
}

// Sweep implements content.Keeper.
func (s *Store) Sweep(ctx context.Context, before time.Time, keep func(string) bool) (freed int64, err error) {
	for info, err := range s.List(ctx) {
		if err != nil {
			return freed, err
		}
		if !info.Put.Before(before) || keep(info.SHA256) {
			continue
		}
		if err := s.Remove(ctx, info.SHA256); err != nil {
			return freed, err
		}
		freed += info.Size
	}
	return freed, nil
}
