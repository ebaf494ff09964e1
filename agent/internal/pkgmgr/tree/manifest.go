package tree

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"assent/archive"
)

// manifest is what a version's tree looked like when it was unpacked. It lies in the agent's own state, where no
// application reaches it, and its digest in the record.
type manifest struct {
	Format int     `json:"format"`
	Files  []entry `json:"files"` // in the archive's order: parents first
}

// entry is one thing of a tree as it was unpacked.
type entry struct {
	archive.Entry

	SHA256 string `json:"sha256,omitempty"`
	Ctime  int64  `json:"ctime,omitempty"` // nanoseconds, when its content was last known to be right
}

const maxManifest = 256 << 20

func manifestPrefix(k key) string { return k.feed + ":" + k.app + ":" }

func manifestName(k key, dir string) string { return manifestPrefix(k) + dir + ".json" }

// saveManifest writes a manifest durably and gives its digest.
func (t *Tree) saveManifest(k key, dir string, m manifest) (string, error) {
	d, err := t.store("manifests")
	if err != nil {
		return "", err
	}
	defer d.Close()
	b, err := json.Marshal(m)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]), d.Write(manifestName(k, dir), b)
}

func (t *Tree) dropManifest(k key, dir string) error {
	d, err := t.store("manifests")
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Remove(manifestName(k, dir))
}

func (t *Tree) readManifest(k key, v version) (m manifest, err error) {
	d, err := t.store("manifests")
	if err != nil {
		return m, err
	}
	defer d.Close()
	b, err := d.Read(manifestName(k, v.Dir), maxManifest)
	if err != nil {
		return m, err
	}
	if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != v.Manifest {
		return m, errors.New("its list of files is not the one that was written")
	}
	return m, json.Unmarshal(b, &m)
}

// damage says what is wrong with the files of a version; empty when nothing is. Sizes, modes and owners are always compared,
// and contents where a file was touched since it was unpacked, or of all files when full is set. Files that were added
// do not count.
func (t *Tree) damage(ctx context.Context, k key, v version, full bool) string {
	if v.Dir == "" || v.Manifest == "" {
		return "it was not put there by Assent"
	}
	m, err := t.readManifest(k, v)
	if err != nil {
		return fmt.Sprintf("its list of files cannot be read: %v", err)
	}
	home, err := t.home(k)
	if err != nil {
		return fmt.Sprintf("its directory cannot be opened: %v", err)
	}
	defer home.Close()
	root, err := home.OpenRoot(versions + "/" + v.Dir)
	if err != nil {
		return fmt.Sprintf("its directory cannot be opened: %v", err)
	}
	defer root.Close()
	for _, e := range m.Files {
		if ctx.Err() != nil {
			return ctx.Err().Error()
		}
		if d := e.damage(root, full); d != "" {
			return fmt.Sprintf("%s: %s", e.Name, d)
		}
	}
	return ""
}

func (e entry) damage(root *os.Root, full bool) string {
	info, err := root.Lstat(e.Name)
	if err != nil {
		return "it is gone"
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(st.Uid) != os.Geteuid() || typeOf(info) != e.Type || e.Type != archive.Link && info.Mode().Perm() != e.Perm || info.Mode()&(fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky) != 0 {
		return "its kind, mode or owner changed"
	}
	switch {
	case e.Type == archive.Link:
		if target, err := root.Readlink(e.Name); err != nil || target != e.Target {
			return "it leads elsewhere"
		}
	case e.Type == archive.File && info.Size() != e.Size:
		return "its size changed"
	case e.Type == archive.File && (full || st.Ctim.Nano() != e.Ctime):
		if sum, err := digestOf(root, e.Name); err != nil || sum != e.SHA256 {
			return "its content changed"
		}
	}
	return ""
}

func typeOf(info fs.FileInfo) string {
	switch {
	case info.Mode().IsRegular():
		return archive.File
	case info.IsDir():
		return archive.Dir
	case info.Mode()&fs.ModeSymlink != 0:
		return archive.Link
	}
	return ""
}

func digestOf(root *os.Root, name string) (string, error) {
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
