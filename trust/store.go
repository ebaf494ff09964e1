package trust

import (
	"fmt"
	"os"
	"path/filepath"

	"assent/trust/internal/durable"
)

// dirStore keeps metadata as files of one folder.
type dirStore struct{ dir string }

// DirStore keeps a feed's verified metadata as files of a folder, which is made when needed (mode 0700).
func DirStore(dir string) Store { return dirStore{dir} }

// Read implements Store.
func (s dirStore) Read(name string) ([]byte, error) {
	if !flat(name) {
		return nil, fmt.Errorf("name %q: %w", name, os.ErrInvalid)
	}
	return os.ReadFile(filepath.Join(s.dir, name))
}

// Write implements Store.
func (s dirStore) Write(name string, b []byte) error {
	if !flat(name) {
		return fmt.Errorf("name %q: %w", name, os.ErrInvalid)
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return fmt.Errorf("make the folder: %w", err)
	}
	return durable.Write(filepath.Join(s.dir, name), b, 0o600)
}

func flat(name string) bool {
	return filepath.IsLocal(name) && filepath.Base(name) == name && name != "."
}
