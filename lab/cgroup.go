package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// errNoCgroups is what a machine lacks on which devices cannot run systemd.
var errNoCgroups = errors.New("no cgroup2 file system is mounted")

// cgroupRoot is where the machine's version 2 control groups are. Where version 1 has the controllers, this
// hierarchy is there beside it and has none, which is all that systemd needs to keep its units apart.
func cgroupRoot() (string, error) {
	file, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return "", fmt.Errorf("read mounts: %w", err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		mount, kind, _ := strings.Cut(lines.Text(), " - ")
		if fields := strings.Fields(mount); len(fields) > 4 && strings.HasPrefix(kind, "cgroup2 ") {
			return fields[4], nil
		}
	}
	if err := lines.Err(); err != nil {
		return "", fmt.Errorf("read mounts: %w", err)
	}
	return "", errNoCgroups
}

// labCgroup is the control group above those of a lab's devices. Lab and network have the same name.
func labCgroup(netns string) (string, error) {
	root, err := cgroupRoot()
	return filepath.Join(root, netns), err
}

// makeCgroup makes the device's control group, without anything that an earlier boot left, and opens it.
func (d *Device) makeCgroup(ctx context.Context) (*os.File, error) {
	if err := d.removeCgroup(ctx); err != nil {
		return nil, err
	}
	dir, err := labCgroup(d.lab.Net.netns)
	if err == nil {
		dir = filepath.Join(dir, d.name)
		err = os.MkdirAll(dir, 0o755)
	}
	if err != nil {
		return nil, fmt.Errorf("make control group: %w", err)
	}
	return os.Open(dir)
}

func (d *Device) removeCgroup(ctx context.Context) error {
	dir, err := labCgroup(d.lab.Net.netns)
	if err != nil {
		return fmt.Errorf("remove control group: %w", err)
	}
	return removeCgroups(ctx, filepath.Join(dir, d.name))
}

// removeLabCgroups removes the control groups of a lab whose devices are gone. A machine without any has none to remove.
func removeLabCgroups(ctx context.Context, netns string) error {
	dir, err := labCgroup(netns)
	if errors.Is(err, errNoCgroups) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove control groups: %w", err)
	}
	return removeCgroups(ctx, dir)
}

// removeCgroups removes a tree of control groups without processes, the innermost first. The kernel counts a process
// as a member for a moment after its end.
func removeCgroups(ctx context.Context, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for {
		err := rmdirTree(dir)
		if !errors.Is(err, unix.EBUSY) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("remove control groups: %w", err)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// rmdirTree removes directories alone: the files of a control group cannot be removed and go with it.
func rmdirTree(dir string) error {
	var all []string
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && e.IsDir() {
			all = append(all, path)
		}
		return err
	})
	for _, path := range slices.Backward(all) {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return err
}
