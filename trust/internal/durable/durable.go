// Package durable writes files so that a crash leaves the old content or the new one, and what was written outlives a
// power cut. It is for the packages below trust, on whose files rollback protection and private keys rest.
package durable

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Write puts b at path, whose folder must exist.
func Write(path string, b []byte, mode os.FileMode) error {
	return Fill(path, mode, func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	})
}

// Fill puts at path what fill writes. If fill fails nothing changes.
func Fill(path string, mode os.FileMode, fill func(io.Writer) error) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	err = fill(f)
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, errors.Join(err, os.Remove(f.Name())))
	}
	return Sync(dir)
}

// Sync makes the names in a folder durable.
func Sync(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return errors.Join(d.Sync(), d.Close())
}
