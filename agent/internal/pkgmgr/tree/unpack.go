package tree

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"syscall"

	"assent/agent/internal/journal"
	"assent/archive"
	"assent/catalog"
)

// unpacker writes the entries of an archive below a directory.
type unpacker struct {
	root  *os.Root
	files []entry
	at    map[string]int // index in files by name
}

// unpack writes a payload into the staging directory of an application, all of it on disk when it returns, and gives
// what is there. A failure leaves nothing.
func (t *Tree) unpack(ctx context.Context, home *os.Root, k key, payload *os.File, size int64) (files []entry, err error) {
	const dir = versions + "/" + staging
	if err := home.RemoveAll(dir); err != nil { // left by a crash
		return nil, err
	}
	if err := home.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, home.RemoveAll(dir)) // a full disk must get its bytes back
		}
	}()
	root, err := home.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	u := unpacker{root: root, at: map[string]int{}}
	if err := t.walk(ctx, k, payload, size, u.put); err != nil {
		return nil, err
	}
	if err := u.finish(); err != nil {
		return nil, err
	}
	if err := home.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	return u.files, syncDir(home, dir)
}

// walk hands out what is in a payload: content may be a single file.
func (t *Tree) walk(ctx context.Context, k key, payload *os.File, size int64, to archive.Sink) error {
	if k.format == catalog.ContentFile {
		return archive.WalkContent(ctx, payload, size, k.app, t.cfg.Limits, to)
	}
	return archive.Walk(ctx, payload, size, t.cfg.Limits, to)
}

// put writes one entry.
func (u *unpacker) put(is archive.Entry, r io.Reader) (err error) {
	e := entry{Entry: is}
	switch {
	case e.Type == archive.Dir:
		if err = u.root.Mkdir(e.Name, 0o700); err == nil {
			err = u.root.Chmod(e.Name, e.Perm) // whatever the umask
		}
	case e.Type == archive.Link:
		err = u.root.Symlink(e.Target, e.Name)
	case e.Same != "":
		first := u.files[u.at[e.Same]]
		e.Perm, e.Size, e.SHA256 = first.Perm, first.Size, first.SHA256
		err = u.root.Link(e.Same, e.Name)
	default:
		e.SHA256, err = u.file(e, r)
	}
	if err != nil {
		return err
	}
	u.at[e.Name] = len(u.files)
	u.files = append(u.files, e)
	journal.CrashPoint(unpackHalf)
	return nil
}

func (u *unpacker) file(e entry, r io.Reader) (sum string, err error) {
	f, err := u.root.OpenFile(e.Name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	h := sha256.New()
	if _, err := io.Copy(io.MultiWriter(f, h), r); err != nil {
		return "", err
	}
	if err := f.Chmod(e.Perm); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), f.Sync()
}

// finish makes the names durable, the deepest first, and notes when each file was last right.
func (u *unpacker) finish() error {
	for i := range u.files {
		if u.files[i].Type != archive.File {
			continue
		}
		info, err := u.root.Lstat(u.files[i].Name)
		if err != nil {
			return err
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			u.files[i].Ctime = st.Ctim.Nano()
		}
	}
	for _, e := range slices.Backward(u.files) { // parents come first, so backwards is deepest first
		if e.Type == archive.Dir {
			if err := syncDir(u.root, e.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

// measure is what a payload needs on disk: whole blocks, and one inode for each entry.
type measure struct {
	bytes  int64
	inodes uint64
}

// judgePayload reads a payload whole without writing any of it.
func (t *Tree) judgePayload(ctx context.Context, k key, payload *os.File, size int64) (m measure, err error) {
	names := int64(0)
	err = t.walk(ctx, k, payload, size, func(e archive.Entry, _ io.Reader) error {
		m.bytes += (e.Size + 4095) &^ 4095
		m.inodes++
		names += int64(len(path.Base(e.Name))) + 16
		if e.Type == archive.Dir {
			m.bytes += 4096
		}
		return nil
	})
	m.bytes += names
	return m, err
}

// room is what the file system of a directory, or of its nearest parent that is there, has left.
func room(dir string) (bytes int64, inodes uint64, counts bool, err error) {
	var s syscall.Statfs_t
	for {
		err = syscall.Statfs(dir, &s)
		if !errors.Is(err, fs.ErrNotExist) || dir == "/" || dir == "." {
			break
		}
		dir = path.Dir(dir)
	}
	return int64(s.Bavail) * s.Bsize, s.Ffree, s.Files > 0, err
}
