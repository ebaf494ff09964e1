package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// initPackage is what makes systemd the init of a Debian system.
const initPackage = "systemd-sysv"

// SystemdBase is Debian 12 with systemd as its init, for devices with DeviceSpec.Systemd.
func SystemdBase() BaseSpec {
	return BaseSpec{Suite: "bookworm", Include: []string{initPackage, "dbus", "procps", "iproute2", "ca-certificates"}}
}

func (s BaseSpec) systemd() bool { return slices.Contains(s.Include, initPackage) }

// systemdScript is the first process of a device that runs systemd. It does what the kernel of a machine does for
// init: it starts it, as process 1 of a further namespace, and ends with it. Like initScript it ends
// with the lab's owner. The control group that it is started in becomes the device's root of control groups.
// Its exit code is 128 and the signal by which the kernel says what reboot(2) was asked for. It is no systemd-nspawn,
// which would want a root of its own and not the disk, network and boot id that every device of the lab has.
const systemdScript = `env --default-signal=HUP,INT unshare --cgroup --mount --pid --fork sh -c "$1" &
system=$!
(flock --shared 3; kill -KILL $system) 4>&- &
exec 3>&- 4>&-
wait $system`

// systemInit becomes systemd. What a container may not do to its machine is taken away first; file systems that are
// mounted already are what systemd goes by.
const systemInit = mountProc + `
mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 /sys/fs/cgroup
echo ready >&4
exec 3>&- 4>&-
exec setpriv --bounding-set=-sys_module,-sys_time,-sys_rawio,-audit_control,-audit_read,-wake_alarm,-block_suspend -- \
	/sbin/init systemd.show_status=0`

// Signals to systemd, and what its end by reboot(2) looks like from outside.
const (
	orderlyPowerOff = 34 + 4 // SIGRTMIN+4; the C library keeps 32 and 33
	rebootExit      = 128 + int(syscall.SIGHUP)
)

// bootPatience is how long systemd may take to start everything.
const bootPatience = 2 * time.Minute

// systemdEnv is the environment of a device's systemd, as a container manager gives it.
func systemdEnv() []string {
	return append(cleanEnv()[:1], "container=assent-lab", "NOTIFY_SOCKET=/"+noticeInside)
}

// systemPID finds the process 1 that the device's first process started.
func systemPID(first int) (int, error) {
	for _, unshare := range children(first) {
		for _, pid := range children(unshare) {
			if innermostPID(pid) == "1" {
				return pid, nil
			}
		}
	}
	return 0, errors.New("systemd has ended")
}

// innermostPID is a process's number in its own namespace.
func innermostPID(pid int) string {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return "" // it has ended
	}
	for line := range strings.Lines(string(text)) {
		if list, ok := strings.CutPrefix(line, "NSpid:"); ok {
			numbers := strings.Fields(list)
			return numbers[len(numbers)-1]
		}
	}
	return ""
}

// rebooted tells whether the end of a first process was the device's own wish to start again.
func rebooted(status syscall.WaitStatus, systemd bool) bool {
	if systemd {
		return status.Exited() && status.ExitStatus() == rebootExit
	}
	return status.Signaled() && status.Signal() == syscall.SIGHUP
}

// powerOff shuts systemd down in an orderly way, which ends with the end of the device.
func (d *Device) powerOff(ctx context.Context) error {
	r, err := d.running()
	if err != nil {
		return err
	}
	d.mu.Lock()
	gone := d.gone
	d.mu.Unlock()
	if err := unix.Kill(r.System.PID, unix.Signal(orderlyPowerOff)); err != nil {
		return fmt.Errorf("ask systemd to power off: %w", err)
	}
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// noticeInside is where systemd says that it has started everything, noticeFile the same socket on the host.
const (
	noticeInside = "run/host/notify"
	noticeFile   = "notify"
)

// listenNotice makes the socket on which systemd tells how far it is. A device's directory may have a name that is
// too long for a socket, so it is reached by its descriptor.
func (d *Device) listenNotice() (*net.UnixConn, error) {
	if err := os.Remove(filepath.Join(d.dir, noticeFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("make notice socket: %w", err)
	}
	dir, err := os.Open(d.dir)
	if err != nil {
		return nil, fmt.Errorf("make notice socket: %w", err)
	}
	defer dir.Close()
	name := fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), noticeFile)
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: name})
	if err != nil {
		return nil, fmt.Errorf("make notice socket: %w", err)
	}
	return conn, nil
}

// bindNotice shows the socket to the device.
func (d *Device) bindNotice(root string) error {
	target := filepath.Join(root, noticeInside)
	err := os.MkdirAll(filepath.Dir(target), 0o755)
	if err == nil {
		err = os.WriteFile(target, nil, 0o644)
	}
	if err == nil {
		err = unix.Mount(filepath.Join(d.dir, noticeFile), target, "", unix.MS_BIND, "")
	}
	if err != nil {
		return fmt.Errorf("show notice socket: %w", err)
	}
	return nil
}

// awaitSystem waits until systemd has started everything that belongs to a boot.
func (d *Device) awaitSystem(ctx context.Context, notice *net.UnixConn) error {
	ctx, cancel := context.WithTimeout(ctx, bootPatience)
	defer cancel()
	d.mu.Lock()
	gone := d.gone
	d.mu.Unlock()
	over := make(chan struct{})
	defer close(over)
	go func() {
		select {
		case <-gone:
		case <-ctx.Done():
		case <-over:
		}
		_ = notice.SetReadDeadline(time.Unix(1, 0)) // wakes the reader below
	}()
	for message := make([]byte, 4096); ; {
		n, err := notice.Read(message)
		if err != nil {
			return fmt.Errorf("systemd did not finish its start: %w", errors.Join(ctx.Err(), err))
		}
		if slices.Contains(strings.Split(string(message[:n]), "\n"), "READY=1") {
			return nil
		}
	}
}
