package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"assent/server/internal/ca"
)

func writeMarker(dir *os.Root, b []byte) error {
	if err := ca.WriteSynced(dir, markerFile, b, 0o600); err != nil {
		return fmt.Errorf("begin to put the backup in place: %w", err)
	}
	return nil
}

// finishRestore ends a restore that was begun, also one that a crash or a power cut interrupted: without it a server could
// start on half of it, and make new keys where the old ones had just been moved away. Every step looks whether it was done.
func finishRestore(dir *os.Root, say func(string, ...any)) error {
	moves, err := readMarker(dir)
	if err != nil || moves == nil {
		return err
	}
	say("putting a backup in place", "directory", dir.Name())
	dirs := map[string]bool{}
	for _, m := range moves {
		if err := m.carry(); err != nil {
			return fmt.Errorf("put the backup in place: %w", err)
		}
		dirs[filepath.Dir(m.To)], dirs[filepath.Dir(m.Aside)] = true, true
	}
	for d := range dirs {
		if err := syncPath(d); err != nil {
			return err
		}
	}
	if err := errors.Join(dir.RemoveAll(stagingDir), dir.Remove(markerFile)); err != nil {
		return fmt.Errorf("end the restore: %w", err)
	}
	return syncPath(dir.Name())
}

func readMarker(dir *os.Root) ([]move, error) {
	f, err := dir.Open(markerFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for an interrupted restore: %w", err)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxManifest))
	moves := []move{}
	if err = errors.Join(err, f.Close()); err == nil {
		err = json.Unmarshal(b, &moves)
	}
	if err != nil {
		return nil, fmt.Errorf("read what an interrupted restore was doing: %w", err)
	}
	return moves, nil
}

// carry makes one move. It may have been made, or half.
func (m move) carry() error {
	there := func(path string) (bool, error) {
		_, err := os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		return err == nil, err
	}
	if m.From != "" {
		if waits, err := there(m.From); err != nil || !waits {
			return err // it is in its place
		}
	}
	old, err := there(m.To)
	if err == nil && old {
		err = os.Rename(m.To, m.Aside)
	}
	if err == nil && m.From != "" {
		err = os.Rename(m.From, m.To)
	}
	return err
}
