package server

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	"assent/fault"
)

// advise says in front of an error of the start what to do about the disk of the data directory, where the
// error itself only has the kernel's words.
func advise(err error, data string) error {
	var said *fault.Error
	switch {
	case errors.As(err, &said) && strings.HasPrefix(said.Code, "storage_"):
		return err
	case errors.Is(err, syscall.EROFS):
		return fmt.Errorf("the disk with %s can only be read: make it writable and start assentd again: %w", data, err)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("the disk with %s is full: free space on it and start assentd again: %w", data, err)
	}
	return err
}
