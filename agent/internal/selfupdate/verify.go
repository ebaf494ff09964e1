package selfupdate

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// verify demands that a version is exactly the file that was offered, and that nobody but the agent's user could put
// another in its place.
func (p Program) verify() error {
	if !filepath.IsAbs(p.Path) || filepath.Clean(p.Path) != p.Path {
		return fmt.Errorf("%q is no absolute path", p.Path)
	}
	for at := p.Path; ; at = filepath.Dir(at) {
		if err := alone(at, at == p.Path); err != nil {
			return err
		}
		if at == "/" {
			break
		}
	}
	f, err := os.OpenFile(p.Path, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	h := sha256.New()
	_, err = io.Copy(h, f)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if sum := hex.EncodeToString(h.Sum(nil)); sum != p.SHA256 {
		return fmt.Errorf("%s is not the file that was installed: its SHA-256 is %s and not %s", p.Path, sum, p.SHA256)
	}
	return nil
}

// alone demands that only root or the agent's user can replace what is at a path. In a directory with the sticky bit others
// cannot replace what is not theirs.
func alone(path string, program bool) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	switch mode := info.Mode(); {
	case !ok || st.Uid != 0 && int(st.Uid) != os.Geteuid():
		return fmt.Errorf("%s belongs to another user", path)
	case program && (!mode.IsRegular() || mode.Perm()&0o111 == 0):
		return fmt.Errorf("%s is no program", path)
	case !program && !mode.IsDir():
		return fmt.Errorf("%s is not a directory", path)
	case mode.Perm()&0o022 != 0 && (program || mode&os.ModeSticky == 0):
		return fmt.Errorf("%s can be changed by others", path)
	}
	return nil
}
