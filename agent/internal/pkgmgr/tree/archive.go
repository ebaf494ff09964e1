package tree

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
	"path"
	"path/filepath"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"assent/catalog"
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

// total is how many bytes a payload of a size may unpack to.
func (l Limits) total(payload int64) int64 {
	return min(l.Bytes, max(l.Free, payload*l.Ratio))
}

const (
	maxEntryName = 1024      // bytes of a path in an archive
	maxWindow    = 128 << 20 // memory, in bytes, that a compressed payload may ask for
)

// errArchive is the refusal of an archive for what is in it.
var errArchive = errors.New("the payload is refused")

func bad(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errArchive, fmt.Sprintf(format, args...))
}

// Types of entries.
const (
	typeDir  = "dir"
	typeFile = "file"
	typeLink = "link" // symbolic
)

// entry is one thing of a tree.
type entry struct {
	Name   string      `json:"name"` // below the tree, clean
	Type   string      `json:"type"`
	Perm   fs.FileMode `json:"perm,omitempty"`
	Size   int64       `json:"size,omitempty"`
	SHA256 string      `json:"sha256,omitempty"`
	Target string      `json:"target,omitempty"` // of a symbolic link
	Same   string      `json:"same,omitempty"`   // the file of the tree that this one is a second name of
	Ctime  int64       `json:"ctime,omitempty"`  // nanoseconds, when its content was last known to be right
}

// sink takes the entries of an archive, parents first. r is the content of a file.
type sink func(e entry, r io.Reader) error

// sinkError is a failure of the sink, which says nothing about the archive.
type sinkError struct{ error }

func (e sinkError) Unwrap() error { return e.error }

// walk reads a payload and hands out what is in it. An error that is errArchive says that the payload must not be
// used, any other that it could not be read or taken.
func walk(ctx context.Context, payload io.ReadSeeker, size int64, k key, limits Limits, to sink) error {
	w := walker{ctx: ctx, limits: limits, bytes: limits.total(size), seen: map[string]string{}, to: to}
	r, done, err := decompress(bufio.NewReaderSize(payload, 256<<10))
	if err != nil && k.format == catalog.Tar {
		return w.judge(err)
	}
	if err == nil {
		defer done()
	}
	// Padding and headers of entries come on top of their content.
	stream := bufio.NewReaderSize(&capped{r, w.bytes + 2048*int64(limits.Entries) + 1<<20}, 64<<10)
	if k.format == catalog.ContentFile && (err != nil || !isTar(stream)) {
		if _, err := payload.Seek(0, io.SeekStart); err != nil {
			return err
		}
		return w.judge(w.single(k.app, size, payload))
	}
	return w.judge(w.archive(tar.NewReader(stream)))
}

// isTar reports whether a stream begins as every tar since 1988 does.
func isTar(r *bufio.Reader) bool {
	b, err := r.Peek(262)
	return err == nil && string(b[257:262]) == "ustar"
}

// decompress undoes the compression of a payload, if it has one that it begins like.
func decompress(r *bufio.Reader) (io.Reader, func(), error) {
	magic, err := r.Peek(6)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, err
	}
	nothing := func() {}
	switch {
	case bytes.HasPrefix(magic, []byte("\x1f\x8b")):
		z, err := gzip.NewReader(r)
		return z, nothing, err
	case bytes.HasPrefix(magic, []byte("\x28\xb5\x2f\xfd")):
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, nil, err
		}
		return z, z.Close, nil
	case bytes.HasPrefix(magic, []byte("\xfd7zXZ\x00")):
		if err := checkXZ(r); err != nil {
			return nil, nil, err
		}
		z, err := xz.NewReader(r)
		return z, nothing, err
	}
	return r, nothing, nil
}

// checkXZ looks at the dictionary that the first block asks for, which the library would reserve without question. The
// format: a header of 12 bytes, then the block's length, flags, sizes if flagged, and its filter LZMA2: 0x21, 1, dictionary.
func checkXZ(r *bufio.Reader) error {
	head, err := r.Peek(12 + 32)
	if err != nil {
		return nil // too short to hold a block: for the decoder to say
	}
	at := 12 + 2
	for _, flag := range []byte{0x40, 0x80} {
		if head[13]&flag != 0 {
			for at < len(head)-4 && head[at]&0x80 != 0 {
				at++
			}
			at++
		}
	}
	bits := head[at+2] & 0x3f
	if head[at] != 0x21 || bits > 40 || (2|uint64(bits&1))<<(bits/2+11) > maxWindow {
		return fmt.Errorf("its compression asks for more than %d MiB of memory", maxWindow>>20)
	}
	return nil
}

// capped is an io.LimitedReader that says when it cut something off.
type capped struct {
	r    io.Reader
	left int64
}

// Read implements io.Reader.
func (c *capped) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, bad("it unpacks to more than it may")
	}
	n, err := c.r.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	return n, err
}

// walker is the state of reading one payload.
type walker struct {
	ctx    context.Context
	limits Limits
	bytes  int64 // that may still come
	count  int
	seen   map[string]string // type by name; a directory that no entry has made yet has the type implied
	to     sink
}

const implied = "implied"

// judge tells what an error says about the payload.
func (w *walker) judge(err error) error {
	var s sinkError
	switch {
	case err == nil || errors.Is(err, errArchive):
		return err
	case errors.As(err, &s):
		return s.error
	case w.ctx.Err() != nil:
		return w.ctx.Err()
	}
	return bad("it cannot be read: %v", err)
}

// single takes a payload as one file under the application's name.
func (w *walker) single(name string, size int64, r io.Reader) error {
	if size > w.bytes {
		return bad("it has more than %d bytes", w.bytes)
	}
	return w.emit(entry{Name: name, Type: typeFile, Perm: 0o644, Size: size}, r)
}

func (w *walker) archive(r *tar.Reader) error {
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) && w.count == 0 {
			return bad("there is nothing in it")
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

// entry judges one entry and hands it on.
func (w *walker) entry(h *tar.Header, r io.Reader) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil // a comment, as git leaves one
	}
	name, err := entryName(h.Name)
	if err != nil {
		return err
	}
	if h.Mode&0o7000 != 0 {
		return bad("%.200q would be setuid, setgid or sticky", name)
	}
	for k := range h.PAXRecords {
		if strings.HasPrefix(k, "SCHILY.xattr.security.") || strings.HasPrefix(k, "LIBARCHIVE.xattr.security.") {
			return bad("%.200q carries privileges (%.60q)", name, k)
		}
	}
	e := entry{Name: name, Perm: fs.FileMode(h.Mode) & 0o755}
	switch h.Typeflag {
	case tar.TypeDir:
		return w.dir(e)
	case tar.TypeReg:
		e.Type, e.Size = typeFile, h.Size
		return w.put(e, r)
	case tar.TypeSymlink:
		e.Type, e.Perm, e.Target = typeLink, 0, h.Linkname
		if !staysInside(name, e.Target) {
			return bad("the link %.200q leads out of the tree, to %.200q", name, e.Target)
		}
		return w.put(e, nil)
	case tar.TypeLink:
		target, err := entryName(h.Linkname)
		if err != nil || w.seen[target] != typeFile {
			return bad("%.200q is a hard link to %.200q, which is no file before it in the archive", name, h.Linkname)
		}
		e.Type, e.Same = typeFile, target
		return w.put(e, nil)
	}
	return bad("%.200q is a device, a pipe or of another kind that no tree has (%q)", name, h.Typeflag)
}

// entryName is the name of an entry as a clean path below the tree; "." is the tree itself.
func entryName(raw string) (string, error) {
	name := strings.TrimSuffix(raw, "/")
	for strings.HasPrefix(name, "./") {
		name = name[2:]
	}
	if name == "" && strings.Trim(raw, "./") == "" && !strings.HasPrefix(raw, "/") && raw != "" {
		name = "."
	}
	odd := func(r rune) bool { return unicode.IsControl(r) }
	if !filepath.IsLocal(name) || path.Clean(name) != name || len(name) > maxEntryName || !utf8.ValidString(name) || strings.ContainsFunc(name, odd) {
		return "", bad("%.200q is no name inside a tree", raw)
	}
	return name, nil
}

// staysInside reports whether a symbolic link cannot lead out of the tree, whatever other links there are: first
// it goes up, no further than the tree, and then only down.
func staysInside(name, target string) bool {
	if target == "" || len(target) > maxEntryName || !utf8.ValidString(target) || strings.HasPrefix(target, "/") || strings.ContainsFunc(target, unicode.IsControl) {
		return false
	}
	depth, down := strings.Count(name, "/"), false
	for part := range strings.SplitSeq(target, "/") {
		switch {
		case part == "" || part == ".":
		case part == ".." && down:
			return false
		case part == "..":
			depth--
		default:
			down = true
		}
	}
	return depth >= 0
}

// dir takes a directory. One that files implied before it is there already, and keeps its mode.
func (w *walker) dir(e entry) error {
	e.Type, e.Perm = typeDir, e.Perm|0o700
	if e.Name == "." {
		return nil
	}
	if w.seen[e.Name] == implied {
		w.seen[e.Name] = typeDir
		return nil
	}
	return w.put(e, nil)
}

// put takes an entry after its parents.
func (w *walker) put(e entry, r io.Reader) error {
	if e.Name == "." || w.seen[e.Name] != "" {
		return bad("%.200q is in it twice", e.Name)
	}
	for at := 0; ; {
		i := strings.IndexByte(e.Name[at:], '/')
		if i < 0 {
			break
		}
		at += i + 1
		parent := e.Name[:at-1]
		switch w.seen[parent] {
		case typeDir, implied:
		case "":
			if err := w.emit(entry{Name: parent, Type: typeDir, Perm: 0o755}, nil); err != nil {
				return err
			}
			w.seen[parent] = implied
		default:
			return bad("%.200q lies below %.200q, which is no directory", e.Name, parent)
		}
	}
	return w.emit(e, r)
}

// emit counts an entry and hands it to the sink.
func (w *walker) emit(e entry, r io.Reader) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	if w.count++; w.count > w.limits.Entries {
		return bad("it has more than %d entries", w.limits.Entries)
	}
	if w.bytes -= e.Size; w.bytes < 0 {
		return bad("it unpacks to more than it may")
	}
	w.seen[e.Name] = e.Type
	if r == nil {
		r = bytes.NewReader(nil)
	}
	src := &source{r: r, left: e.Size}
	if err := w.to(e, src); err != nil && src.err == nil {
		return sinkError{err}
	}
	if src.err != nil {
		return src.err
	}
	_, err := io.Copy(io.Discard, src) // a sink need not read: that the content is all there is seen here
	return cmp.Or(err, src.err)
}

// source is the content of one entry, which has to be all there. It remembers its own failure, so that it is not taken for the sink's.
type source struct {
	r    io.Reader
	left int64
	err  error
}

// Read implements io.Reader.
func (s *source) Read(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	if s.left == 0 {
		return 0, io.EOF
	}
	n, err := s.r.Read(p[:min(int64(len(p)), s.left)])
	s.left -= int64(n)
	switch {
	case s.left > 0 && errors.Is(err, io.EOF):
		s.err = io.ErrUnexpectedEOF
	case err != nil && !errors.Is(err, io.EOF):
		s.err = err
	}
	return n, s.err
}
