package payload

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"strings"
	"unicode"
	"unicode/utf8"

	"assent/fault"
)

// Limits of a tree, as devices have them.
const (
	maxEntries = 200_000
	maxBytes   = 64 << 30 // of all files together
	maxRatio   = 100      // unpacked to packed
	freeBytes  = 64 << 20 // that are allowed whatever the ratio
	maxName    = 1024     // bytes of a path
)

// Types of what an archive has under a name.
type kind int

const (
	none kind = iota
	file
	dir
	implied // a directory that only what lies below it made so far
	link
)

// judge is the state of looking at one archive.
type judge struct {
	seen map[string]kind
	left int64 // bytes that files may still have
}

// CheckTree reads an archive of size bytes (tar, also compressed with gzip, zstd or xz) and refuses what devices would not
// unpack: names and links that lead out of it, devices, setuid files, bombs.
func CheckTree(ctx context.Context, r io.Reader, size int64) error {
	z, done, err := decompress(bufio.NewReaderSize(r, 256<<10))
	if err != nil {
		return bad("it cannot be unpacked (%v)", err)
	}
	defer done()
	j := judge{seen: map[string]kind{}, left: min(maxBytes, max(freeBytes, size*maxRatio))}
	archive := tar.NewReader(&capped{z, j.left + 2048*maxEntries})
	for n := 0; ; n++ {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("look at the archive: %w", err)
		}
		h, err := archive.Next()
		switch {
		case errors.Is(err, io.EOF) && len(j.seen) == 0:
			return bad("there is nothing in the archive")
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return unreadable(err)
		case n > maxEntries:
			return bad("it has more than %d entries", maxEntries)
		}
		if err := j.entry(h); err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, archive); err != nil {
			return unreadable(err)
		}
	}
}

func unreadable(err error) error {
	var known *fault.Error
	if errors.As(err, &known) {
		return err
	}
	return bad("it is no sound archive (%v)", err)
}

func (j *judge) entry(h *tar.Header) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	name, ok := entryName(h.Name)
	switch {
	case !ok:
		return bad("%.200q is no name inside a tree", h.Name)
	case h.Mode&0o7000 != 0:
		return bad("%.200q would be setuid, setgid or sticky", name)
	}
	for k := range h.PAXRecords {
		if strings.HasPrefix(k, "SCHILY.xattr.security.") || strings.HasPrefix(k, "LIBARCHIVE.xattr.security.") {
			return bad("%.200q carries privileges (%.60q)", name, k)
		}
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return j.put(name, dir)
	case tar.TypeReg:
		if j.left -= h.Size; j.left < 0 {
			return bad("it unpacks to more than it may")
		}
		return j.put(name, file)
	case tar.TypeSymlink:
		if !staysInside(name, h.Linkname) {
			return bad("the link %.200q leads out of the tree, to %.200q", name, h.Linkname)
		}
		return j.put(name, link)
	case tar.TypeLink:
		to, ok := entryName(h.Linkname)
		if !ok || j.seen[to] != file {
			return bad("%.200q is a hard link to %.200q, which is no file before it in the archive", name, h.Linkname)
		}
		return j.put(name, file)
	}
	return bad("%.200q is a device, a pipe or of another kind that no tree has (%q)", name, h.Typeflag)
}

// put notes a name. Each is there once (a directory may come after what lies below it), and lies below directories only.
func (j *judge) put(name string, k kind) error {
	if name == "." {
		if k == dir {
			return nil
		}
		return bad("the tree itself is no directory")
	}
	if have := j.seen[name]; have != none && (have != implied || k != dir) {
		return bad("%.200q is in it twice", name)
	}
	for parent := path.Dir(name); parent != "."; parent = path.Dir(parent) {
		switch j.seen[parent] {
		case none:
			j.seen[parent] = implied
		case file, link:
			return bad("%.200q lies below %.200q, which is no directory", name, parent)
		}
	}
	j.seen[name] = k
	return nil
}

func entryName(raw string) (string, bool) {
	name := strings.TrimSuffix(raw, "/")
	for strings.HasPrefix(name, "./") {
		name = name[2:]
	}
	if name == "" && (raw == "./" || raw == ".") {
		name = "."
	}
	return name, filepath.IsLocal(name) && path.Clean(name) == name && len(name) <= maxName && text(name)
}

// staysInside reports whether a symbolic link cannot lead out of the tree, whatever other links there are: first it goes
// up, no further than the tree, and then only down.
func staysInside(name, target string) bool {
	if target == "" || len(target) > maxName || strings.HasPrefix(target, "/") || !text(target) {
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

func text(s string) bool { return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl) }
