package dir

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// freeSpace is how many bytes of the disk this program may still take.
func freeSpace(root *os.Root) (free int64, err error) {
	f, err := root.Open(".")
	if err != nil {
		return 0, fmt.Errorf("open the directory: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return 0, fmt.Errorf("ask the file system: %w", err)
	}
	return int64(min(st.Bavail, 1<<40)) * st.Bsize, nil
}
