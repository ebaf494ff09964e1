package lab

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// withRoot calls fn with the device's file system, whether it is on or off. Links that lead out of the device, and
// absolute links, are not followed.
func (d *Device) withRoot(fn func(*os.Root) error) error {
	r, err := d.record()
	if err != nil {
		return err
	}
	dir := "/proc/" + strconv.Itoa(r.System.PID) + "/root"
	if !r.Init.alive() {
		disk, err := d.mountDetached(r.Spec)
		if err != nil {
			return fmt.Errorf("device %s: %w", d.name, err)
		}
		defer unix.Close(disk)
		dir = "/proc/self/fd/" + strconv.Itoa(disk)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("device %s: open disk: %w", d.name, err)
	}
	defer root.Close()
	if err := fn(root); err != nil {
		return fmt.Errorf("device %s: %w", d.name, err)
	}
	return nil
}

// mountDetached mounts the disk of a device that is off, nowhere: it is reached through the descriptor alone and
// unmounted when that is closed, also if the process is killed.
func (d *Device) mountDetached(s DeviceSpec) (int, error) {
	fsfd, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("mount disk: %w", err)
	}
	defer unix.Close(fsfd)
	for option := range strings.SplitSeq(d.overlayOptions(s), ",") {
		key, value, _ := strings.Cut(option, "=")
		if err := unix.FsconfigSetString(fsfd, key, value); err != nil {
			return -1, fmt.Errorf("mount disk: %s: %w", option, err)
		}
	}
	if err := unix.FsconfigCreate(fsfd); err != nil {
		return -1, fmt.Errorf("mount disk: %w", err)
	}
	disk, err := unix.Fsmount(fsfd, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("mount disk: %w", err)
	}
	return disk, nil
}

// inside turns a path of the device into one below its root.
func inside(name string) string {
	return strings.TrimPrefix(path.Clean("/"+name), "/")
}

// WriteFile writes a file in the device and makes the directories that lead to it. The file is replaced as a whole.
func (d *Device) WriteFile(name string, data []byte, mode fs.FileMode) error {
	return d.writeFrom(name, strings.NewReader(string(data)), mode)
}

func (d *Device) writeFrom(name string, src io.Reader, mode fs.FileMode) error {
	name = inside(name)
	return d.withRoot(func(root *os.Root) error {
		if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
			return err
		}
		tmp := name + ".lab-new"
		file, err := root.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, mode)
		if err != nil {
			return err
		}
		_, err = io.Copy(file, src)
		if err := errors.Join(err, file.Chmod(mode), file.Close()); err != nil {
			return errors.Join(err, root.Remove(tmp))
		}
		return root.Rename(tmp, name)
	})
}

// ReadFile reads a file of the device.
func (d *Device) ReadFile(name string) ([]byte, error) {
	var data []byte
	err := d.withRoot(func(root *os.Root) (err error) {
		data, err = root.ReadFile(inside(name))
		return err
	})
	return data, err
}

// Remove removes a file or directory of the device with all that is in it. One that is not there is no error.
func (d *Device) Remove(name string) error {
	return d.withRoot(func(root *os.Root) error { return root.RemoveAll(inside(name)) })
}

// Install copies a file of the host into the device and makes it executable.
func (d *Device) Install(hostFile, name string) error {
	src, err := os.Open(hostFile)
	if err != nil {
		return fmt.Errorf("device %s: install: %w", d.name, err)
	}
	defer src.Close()
	return d.writeFrom(name, src, 0o755)
}

// Source is one apt source of a device.
type Source struct {
	Name  string // of the file in sources.list.d
	Entry string // deb822
	// KeyPath and Key are the trusted key, if the device does not have it by itself.
	KeyPath string
	Key     []byte
}

// SetSources makes these the device's only apt sources. Downloaded lists stay.
func (d *Device) SetSources(sources ...Source) error {
	for _, old := range []string{"/etc/apt/sources.list", "/etc/apt/sources.list.d"} {
		if err := d.Remove(old); err != nil {
			return err
		}
	}
	for _, s := range sources {
		if s.KeyPath != "" {
			if err := d.WriteFile(s.KeyPath, s.Key, 0o644); err != nil {
				return err
			}
		}
		if err := d.WriteFile("/etc/apt/sources.list.d/"+s.Name+".sources", []byte(s.Entry), 0o644); err != nil {
			return err
		}
	}
	return nil
}
