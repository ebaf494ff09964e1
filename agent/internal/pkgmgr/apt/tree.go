package apt

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"syscall"
)

// Caps on what is read from one file, in bytes. Larger ones are an error for what the device cannot work
// without, and a finding for the rest.
const (
	maxSmallFile = 8 << 20
	maxDirectory = 20_000 // entries
)

var errTooLarge = errors.New("larger than can be right")

// stamp identifies the content of one file or directory as far as stat can.
type stamp struct {
	inode  uint64
	size   int64
	mtime  int64 // nanoseconds
	ctime  int64
	absent bool
}

// stamps are the inputs of a scan by path.
type stamps map[string]stamp

func stampOf(fsys fs.FS, name string) stamp {
	info, err := fs.Stat(fsys, name)
	if err != nil {
		return stamp{absent: true}
	}
	s := stamp{size: info.Size(), mtime: info.ModTime().UnixNano()}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		s.inode, s.ctime = st.Ino, st.Ctim.Nano()
	}
	return s
}

func (s stamps) unchanged(fsys fs.FS) bool {
	for name, was := range s {
		if stampOf(fsys, name) != was {
			return false
		}
	}
	return true
}

// digest changes whenever any stamp does.
func (s stamps) digest() string {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(s)) {
		fmt.Fprintf(h, "%q %v\n", name, s[name])
	}
	return hex.EncodeToString(h.Sum(nil))[:32]
}

// tree reads the device's files and notes the stamp of each before it is read, so that a change during
// a scan shows in the next one.
type tree struct {
	fsys   fs.FS
	inputs stamps
}

func newTree(fsys fs.FS) *tree { return &tree{fsys: fsys, inputs: stamps{}} }

// clean makes a path of the device a name for fs.FS.
func clean(name string) string { return strings.TrimPrefix(path.Clean("/"+name), "/") }

func (t *tree) note(name string) (stamp, string) {
	name = clean(name)
	s, ok := t.inputs[name]
	if !ok {
		s = stampOf(t.fsys, name)
		t.inputs[name] = s
	}
	return s, name
}

func (t *tree) exists(name string) bool {
	s, _ := t.note(name)
	return !s.absent
}

// open opens a regular file. Anything else, such as a pipe that would hang the agent, is refused.
func (t *tree) open(name string) (fs.File, error) {
	s, name := t.note(name)
	if s.absent {
		return nil, &fs.PathError{Op: "open", Path: "/" + name, Err: fs.ErrNotExist}
	}
	info, err := fs.Stat(t.fsys, name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "open", Path: "/" + name, Err: errors.New("not a regular file")}
	}
	return t.fsys.Open(name)
}

// read reads a small file.
func (t *tree) read(name string, limit int64) ([]byte, error) {
	f, err := t.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read /%s: %w", clean(name), err)
	}
	if int64(len(data)) > limit {
		return nil, &fs.PathError{Op: "read", Path: "/" + clean(name), Err: errTooLarge}
	}
	return data, nil
}

// list gives the names in a directory, sorted; none if it does not exist.
func (t *tree) list(name string) ([]string, error) {
	s, name := t.note(name)
	if s.absent {
		return nil, nil
	}
	f, err := t.fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	dir, ok := f.(fs.ReadDirFile)
	if !ok {
		return nil, &fs.PathError{Op: "list", Path: "/" + name, Err: errors.New("not a directory")}
	}
	entries, err := dir.ReadDir(maxDirectory + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if len(entries) > maxDirectory {
		return nil, &fs.PathError{Op: "list", Path: "/" + name, Err: errTooLarge}
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	slices.SortFunc(names, cmp.Compare[string])
	return names, nil
}

// parts are the files of a configuration directory that apt would read, by its rules for names: one of
// the extensions ("" for none), no odd characters, nothing hidden.
func (t *tree) parts(dir string, extensions ...string) ([]string, error) {
	names, err := t.list(dir)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, name := range names {
		if partName(name, extensions) {
			out = append(out, path.Join(dir, name))
		}
	}
	return out, nil
}

func partName(name string, extensions []string) bool {
	if name == "" || name[0] == '.' || strings.HasSuffix(name, ".") {
		return false
	}
	for i := range len(name) {
		if c := name[i]; !isAlnum(c) && !strings.ContainsRune("_-:.", rune(c)) {
			return false
		}
	}
	_, ext, _ := cutLast(name, '.')
	return slices.Contains(extensions, ext)
}

// cutLast cuts around the last sep; without one, everything is before it.
func cutLast(s string, sep byte) (before, after string, found bool) {
	if i := strings.LastIndexByte(s, sep); i >= 0 {
		return s[:i], s[i+1:], true
	}
	return s, "", false
}

func isAlnum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
