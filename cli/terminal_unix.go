//go:build unix

package cli

import (
	"os"

	"golang.org/x/sys/unix"
)

// terminal tells whether f is a terminal, and how wide.
func terminal(f *os.File) (width int, ok bool) {
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0, false
	}
	if size.Col == 0 {
		return 80, true
	}
	return int(size.Col), true
}
