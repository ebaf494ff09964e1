package guard

import (
	"context"
	"fmt"
	"os"
	"syscall"
)

// Watch calls left whenever the guard has left an event in dir, until ctx ends. Events that are left while left runs
// are answered by one more call. It fails where the kernel cannot watch the directory.
func Watch(ctx context.Context, dir string, left func()) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("watch for the guard's events: %w", err)
	}
	fd, err := syscall.InotifyInit1(syscall.IN_CLOEXEC | syscall.IN_NONBLOCK)
	if err != nil {
		return fmt.Errorf("watch for the guard's events: %w", err)
	}
	f := os.NewFile(uintptr(fd), "inotify")
	defer f.Close()
	if _, err := syscall.InotifyAddWatch(fd, dir, syscall.IN_MOVED_TO|syscall.IN_ONLYDIR); err != nil {
		return fmt.Errorf("watch for the guard's events in %s: %w", dir, err)
	}
	defer context.AfterFunc(ctx, func() { f.Close() })()
	left() // what came before the watch
	for buf := make([]byte, 4096); ; {
		if _, err := f.Read(buf); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("watch for the guard's events: %w", err)
		}
		left()
	}
}
