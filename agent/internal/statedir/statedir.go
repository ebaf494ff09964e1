// Package statedir is the agent's door to its own directory on disk.
//
// It guarantees that the directory belongs to the agent alone (mode 0700, not a symbolic link), that no
// name leads out of it (os.Root), that a written file is either the old or the new one after a power cut
// (write aside, fsync, rename, fsync of the directory), and that one process at a time holds it for
// writing. It does not interpret what is in the files.
package statedir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Default is where the agent keeps its state.
const Default = "/var/lib/assent-agent"

// ErrLocked says that another agent process holds the directory.
var ErrLocked = errors.New("another assent-agent is already running on this state directory")

// Dir is an open state directory. It is safe for concurrent use; writes of one name must not overlap.
type Dir struct {
	root *os.Root
	path string
}

// Open opens the directory, which is made when it is not there.
func Open(path string) (*Dir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("make state directory: %w", err)
	}
	info, err := os.Lstat(path)
	if err != nil {
		return nil, fmt.Errorf("look at state directory: %w", err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("state directory %s is not a directory (a symbolic link is not followed)", path)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() {
		return nil, fmt.Errorf("state directory %s belongs to user %d and not to the agent", path, st.Uid)
	}
	if info.Mode().Perm()&0o077 != 0 {
		if err := os.Chmod(path, 0o700); err != nil {
			return nil, fmt.Errorf("close state directory to others: %w", err)
		}
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, fmt.Errorf("open state directory: %w", err)
	}
	return &Dir{root: root, path: path}, nil
}

// Close releases the directory.
func (d *Dir) Close() error { return d.root.Close() }

// Path is the absolute name of a file in the directory, for handing to others.
func (d *Dir) Path(name string) string { return filepath.Join(d.path, name) }

// Root gives access below the directory and nowhere else.
func (d *Dir) Root() *os.Root { return d.root }

// Lock takes the directory for this process until release is called or the process ends.
func (d *Dir) Lock() (release func(), err error) {
	f, err := d.root.OpenFile("lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock of state directory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, ErrLocked
		}
		return nil, fmt.Errorf("lock state directory: %w", err)
	}
	return func() {
		// Closing alone would not do: a process that is being started somewhere in this program holds a copy of the
		// descriptor until it becomes its program, and with it the lock.
		_ = syscall.Flock(int(f.Fd()), syscall.LOCK_UN)
		f.Close()
	}, nil
}

// Write replaces the file durably: when it returns nil the new content survives a power cut, and at no
// moment is there anything but the whole old or the whole new content under the name.
func (d *Dir) Write(name string, data []byte) error {
	if err := d.replace(name, data, true); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// WriteSoft is Write without waiting for the disk, for what may be lost in a power cut.
func (d *Dir) WriteSoft(name string, data []byte) error {
	if err := d.replace(name, data, false); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

func (d *Dir) replace(name string, data []byte, durable bool) error {
	aside := name + ".new"
	if err := d.Remove(aside); err != nil { // left by a crash
		return err
	}
	f, err := d.root.OpenFile(aside, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil && durable {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, d.Remove(aside)) // a full disk must get its bytes back
	}
	if err := d.root.Rename(aside, name); err != nil {
		return err
	}
	if !durable {
		return nil
	}
	return d.Sync()
}

// Sync makes names in the directory durable.
func (d *Dir) Sync() error {
	f, err := d.root.Open(".")
	if err != nil {
		return fmt.Errorf("open state directory for sync: %w", err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync state directory: %w", err)
	}
	return nil
}

// Read returns the content of a file of at most limit bytes. A missing file is fs.ErrNotExist.
func (d *Dir) Read(name string, limit int64) ([]byte, error) {
	f, err := d.root.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("read %s: longer than %d bytes", name, limit)
	}
	return b, nil
}

// Remove deletes a file; a missing one is no error.
func (d *Dir) Remove(name string) error {
	if err := d.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	return nil
}

// Wipe removes everything in the directory and the directory itself.
func (d *Dir) Wipe() error {
	if err := os.RemoveAll(d.path); err != nil {
		return fmt.Errorf("remove state directory: %w", err)
	}
	return nil
}
