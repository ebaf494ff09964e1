package trust

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// dirStore keeps metadata as files of one folder.
type dirStore struct{ dir string }

// DirStore keeps a feed's verified metadata as files of a folder, which is made when needed (mode 0700).
func DirStore(dir string) Store { return dirStore{dir} }

// Read implements Store.
func (s dirStore) Read(name string) ([]byte, error) {
	if !filepath.IsLocal(name) {
		return nil, fmt.Errorf("name %q: %w", name, os.ErrInvalid)
	}
	return os.ReadFile(filepath.Join(s.dir, name))
}

// Write implements Store: a crash leaves the old file or the new one, and what was written outlives a power cut.
func (s dirStore) Write(name string, b []byte) error {
	if !filepath.IsLocal(name) || filepath.Base(name) != name {
		return fmt.Errorf("name %q: %w", name, os.ErrInvalid)
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return fmt.Errorf("make the folder: %w", err)
	}
	f, err := os.CreateTemp(s.dir, ".new-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), filepath.Join(s.dir, name))
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, errors.Join(err, os.Remove(f.Name())))
	}
	return syncDir(s.dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return errors.Join(d.Sync(), d.Close())
}
