package archive

import (
	"archive/tar"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxName = 1024      // bytes of a path
	implied = "implied" // a directory that only what lies below it made so far
)

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
		return refuse("%.200q would be setuid, setgid or sticky", name)
	}
	for k := range h.PAXRecords {
		if strings.HasPrefix(k, "SCHILY.xattr.security.") || strings.HasPrefix(k, "LIBARCHIVE.xattr.security.") {
			return refuse("%.200q carries privileges (%.60q)", name, k)
		}
	}
	e := Entry{Name: name, Perm: fs.FileMode(h.Mode) & 0o755}
	switch h.Typeflag {
	case tar.TypeDir:
		return w.dir(e)
	case tar.TypeReg:
		e.Type, e.Size = File, h.Size
		return w.put(e, r)
	case tar.TypeSymlink:
		e.Type, e.Perm, e.Target = Link, 0, h.Linkname
		if !staysInside(name, e.Target) {
			return refuse("the link %.200q leads out of the tree, to %.200q", name, e.Target)
		}
		return w.put(e, nil)
	case tar.TypeLink:
		target, err := entryName(h.Linkname)
		if err != nil || w.seen[target] != File {
			return refuse("%.200q is a hard link to %.200q, which is no file before it in the archive", name, h.Linkname)
		}
		e.Type, e.Same = File, target
		return w.put(e, nil)
	}
	return refuse("%.200q is a device, a pipe or of another kind that no tree has (%q)", name, h.Typeflag)
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
	if !filepath.IsLocal(name) || path.Clean(name) != name || !printed(name) {
		return "", refuse("%.200q is no name inside a tree", raw)
	}
	return name, nil
}

// printed reports whether a path is text of an acceptable length.
func printed(s string) bool {
	return len(s) <= maxName && utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

// staysInside reports whether a symbolic link cannot lead out of the tree, whatever other links there are: first
// it goes up, no further than the tree, and then only down.
func staysInside(name, target string) bool {
	if target == "" || strings.HasPrefix(target, "/") || !printed(target) {
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
func (w *walker) dir(e Entry) error {
	e.Type, e.Perm = Dir, e.Perm|0o700
	if e.Name == "." {
		return nil
	}
	if w.seen[e.Name] == implied {
		w.seen[e.Name] = Dir
		return nil
	}
	return w.put(e, nil)
}

// put takes an entry after its parents.
func (w *walker) put(e Entry, r io.Reader) error {
	if e.Name == "." || w.seen[e.Name] != "" {
		return refuse("%.200q is in it twice", e.Name)
	}
	for at := 0; ; {
		i := strings.IndexByte(e.Name[at:], '/')
		if i < 0 {
			break
		}
		at += i + 1
		parent := e.Name[:at-1]
		switch w.seen[parent] {
		case Dir, implied:
		case "":
			if err := w.emit(Entry{Name: parent, Type: Dir, Perm: 0o755}, nil); err != nil {
				return err
			}
			w.seen[parent] = implied
		default:
			return refuse("%.200q lies below %.200q, which is no directory", e.Name, parent)
		}
	}
	return w.emit(e, r)
}
