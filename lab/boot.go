package lab

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// mountProc mounts what needs the device's pid namespace. The kernel's switches are read-only, as they are the whole
// machine's.
const mountProc = `set -e
mount -t proc -o nosuid,nodev,noexec proc /proc
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro,nosuid,nodev,noexec /proc/sys
mount --bind /run/assent-lab/boot_id /proc/sys/kernel/random/boot_id
`

// initScript is the first process of a device without systemd. It says on descriptor 4 that the device is ready, and
// waits for the lock on descriptor 3 that the lab's owner holds as long as it lives. The shell's wait reaps orphans.
const initScript = mountProc + `echo ready >&4
exec 4>&-
flock --shared 3 &
wait $!`

// Boot switches a device on that is off. It gets a new boot id, and its services start. It returns when systemd, where
// the device runs it, has started everything that belongs to its boot, successfully or not.
func (d *Device) Boot(ctx context.Context) error {
	return d.act(ctx, "boot", request{Op: opBoot})
}

// PowerCut kills every process of the device at once, without warning. Its disk stays as it is.
func (d *Device) PowerCut(ctx context.Context) error {
	return d.act(ctx, "cut power of", request{Op: opPowerCut})
}

// Reboot is an orderly restart: services get SIGTERM and ten seconds, then systemd, where the device runs it, is asked
// to power off, and the device boots. A reboot that a process in the device asks for (reboot, shutdown -r) happens
// by itself.
func (d *Device) Reboot(ctx context.Context) error {
	return d.act(ctx, "reboot", request{Op: opReboot})
}

// SetLink connects the device to the network or takes its cable out. It is connected again after a boot.
func (d *Device) SetLink(ctx context.Context, up bool) error {
	return d.act(ctx, "set link of", request{Op: opLink, Up: up})
}

func (d *Device) act(ctx context.Context, verb string, r request) error {
	r.Device = d.name
	if err := d.lab.act(ctx, r); err != nil {
		return fmt.Errorf("%s device %s: %w", verb, d.name, err)
	}
	return nil
}

func (d *Device) setLink(ctx context.Context, up bool) error {
	r, err := d.running()
	if err != nil {
		return err
	}
	state := map[bool]string{true: "up", false: "down"}[up]
	return ip(ctx, d.lab.Net.netns, "link set "+vethName(r.IP)+" "+state)
}

func (d *Device) reboot(ctx context.Context) error {
	if !d.On() {
		return ErrOff
	}
	d.stopProcesses(ctx)
	r, err := d.record()
	if err != nil {
		return err
	}
	if r.Spec.Systemd {
		if err := d.powerOff(ctx); err != nil {
			return err
		}
	}
	if err := d.halt(); err != nil {
		return err
	}
	return d.boot(ctx)
}

func (d *Device) boot(ctx context.Context) error {
	r, err := d.record()
	if err != nil {
		return err
	}
	if !r.Spec.Systemd {
		err = d.powerOn(ctx)
	} else {
		err = d.bootSystem(ctx)
	}
	if err != nil {
		return err
	}
	return d.startServices()
}

func (d *Device) bootSystem(ctx context.Context) error {
	notice, err := d.listenNotice()
	if err != nil {
		return err
	}
	defer notice.Close()
	if err := d.powerOn(ctx); err != nil {
		return err
	}
	return d.awaitSystem(ctx, notice)
}

func (d *Device) powerOn(ctx context.Context) error {
	d.power.Lock()
	defer d.power.Unlock()
	if d.lab.life.Err() != nil {
		return errors.New("the lab is closed")
	}
	if d.On() {
		return errors.New("it is on")
	}
	r, err := d.record()
	if err != nil {
		return err
	}
	r.BootID = newUUID()
	first, err := d.launch(ctx, r)
	if err != nil {
		return err
	}
	gone := make(chan struct{})
	d.mu.Lock()
	d.gone = gone
	d.mu.Unlock()
	d.lab.ending.Go(func() { d.watch(first, gone, r.Spec.Systemd) })
	if r.Init, err = identify(first.Process.Pid); err != nil {
		return fmt.Errorf("first process: %w", err)
	}
	if r.System, err = systemOf(r); err != nil {
		return err
	}
	return d.update(func(rec *deviceRecord) { rec.Init, rec.System, rec.BootID = r.Init, r.System, r.BootID })
}

// systemOf is the process 1 that a device that has just been launched sees.
func systemOf(r deviceRecord) (initID, error) {
	if !r.Spec.Systemd {
		return r.Init, nil
	}
	pid, err := systemPID(r.Init.PID)
	if err != nil {
		return initID{}, err
	}
	return identify(pid)
}

// watch reaps the first process. If the device asked for a reboot (the kernel then ends the namespace with SIGHUP),
// it boots again.
func (d *Device) watch(first *exec.Cmd, gone chan struct{}, systemd bool) {
	_ = first.Wait() // the exit status below says it all
	if systemd {
		if err := d.removeCgroup(context.Background()); err != nil {
			d.lab.log.Error("device left control groups", "device", d.name, "err", err)
		}
	}
	close(gone)
	status, ok := first.ProcessState.Sys().(syscall.WaitStatus)
	if !ok || !rebooted(status, systemd) || d.lab.life.Err() != nil {
		return
	}
	d.lab.log.Info("device reboots itself", "device", d.name)
	if err := d.boot(d.lab.life); err != nil && d.lab.life.Err() == nil {
		d.lab.log.Error("device did not come back", "device", d.name, "err", err)
	}
}

// halt kills everything in the device and waits until it is gone. It does nothing to a device that is off.
func (d *Device) halt() error {
	d.power.Lock()
	defer d.power.Unlock()
	d.mu.Lock()
	gone := d.gone
	d.mu.Unlock()
	if gone == nil {
		return nil
	}
	r, err := d.record()
	if err != nil {
		return err
	}
	if r.Init.alive() {
		if err := unix.Kill(r.Init.PID, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("kill first process: %w", err)
		}
	}
	select {
	case <-gone: // the kernel lets the first process go only after all others
		return nil
	case <-time.After(20 * time.Second):
		return errors.New("its processes do not end")
	}
}

// launch starts the first process in namespaces of its own and waits until the device is ready.
func (d *Device) launch(ctx context.Context, r deviceRecord) (*exec.Cmd, error) {
	life, err := os.Open(filepath.Join(d.lab.dir, lifeLock))
	if err != nil {
		return nil, fmt.Errorf("open life line: %w", err)
	}
	defer life.Close()
	ready, readyIn, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make ready pipe: %w", err)
	}
	defer ready.Close()
	console, err := os.OpenFile(filepath.Join(d.dir, "log", "console.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open console log: %w", err), readyIn.Close())
	}
	defer console.Close()

	first := &exec.Cmd{
		Path: "/bin/sh", Args: []string{"sh", "-c", initScript}, Env: cleanEnv(), Dir: "/",
		Stdout: console, Stderr: console, ExtraFiles: []*os.File{life, readyIn},
		SysProcAttr: &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID, Setsid: true},
	}
	if r.Spec.Systemd {
		group, err := d.makeCgroup(ctx)
		if err != nil {
			return nil, errors.Join(err, readyIn.Close())
		}
		defer group.Close()
		first.Args, first.Env = []string{"sh", "-c", systemdScript, "sh", systemInit}, systemdEnv()
		first.SysProcAttr.UseCgroupFD, first.SysProcAttr.CgroupFD = true, int(group.Fd())
	}
	err = onDoomedThread(func() error {
		if err := d.enterNewRoot(ctx, r); err != nil {
			return err
		}
		return first.Start()
	})
	_ = readyIn.Close() // the first process has its own now
	if err != nil {
		return nil, err
	}
	if err := awaitReady(ready); err != nil {
		_ = first.Process.Kill()
		_ = first.Wait()
		return nil, fmt.Errorf("%w; see %s", err, console.Name())
	}
	if err := ip(ctx, d.lab.Net.netns, "link set "+vethName(r.IP)+" master br0 up"); err != nil {
		_ = first.Process.Kill()
		_ = first.Wait()
		return nil, fmt.Errorf("connect: %w", err)
	}
	return first, nil
}

func awaitReady(ready *os.File) error {
	if err := ready.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return fmt.Errorf("wait for first process: %w", err)
	}
	said, err := bufio.NewReader(ready).ReadString('\n')
	if errors.Is(err, io.EOF) {
		return errors.New("the first process ended before the device was ready")
	}
	if err == nil && said != "ready\n" {
		err = fmt.Errorf("it says %q", said)
	}
	if err != nil {
		return fmt.Errorf("wait for first process: %w", err)
	}
	return nil
}

// enterNewRoot moves the calling thread into the device: new namespaces but for pids, the device's disk as root,
// nothing of the host left in sight. The mounts exist nowhere else and vanish with the device.
func (d *Device) enterNewRoot(ctx context.Context, r deviceRecord) error {
	err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWNET)
	if err != nil {
		return fmt.Errorf("make namespaces: %w", err)
	}
	unix.Umask(0) // this thread's own since the unshare above
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Sethostname([]byte(d.name)); err != nil {
		return fmt.Errorf("set hostname: %w", err)
	}
	if err := connect(ctx, d.lab.Net.netns, r.IP); err != nil {
		return err
	}
	root := filepath.Join(d.dir, "mnt")
	if err := unix.Mount("assent-lab", root, "overlay", 0, d.overlayOptions(r.Spec)); err != nil {
		return fmt.Errorf("mount disk: %w", err)
	}
	if err := mountSystem(root); err != nil {
		return err
	}
	if err := writeBootID(root, r.BootID); err != nil {
		return err
	}
	if r.Spec.Systemd {
		if err := d.bindNotice(root); err != nil {
			return err
		}
	}
	return pivot(root)
}

func (d *Device) overlayOptions(s DeviceSpec) string {
	disk := filepath.Join(d.dir, "disk")
	return fmt.Sprintf("lowerdir=%s,upperdir=%s/up,workdir=%s/work", lowerDirs(s), disk, disk)
}

// lowerDirs lists the topmost layer first, as overlayfs wants it.
func lowerDirs(s DeviceSpec) string {
	all := append([]string{s.Base}, s.Layers...)
	slices.Reverse(all)
	return strings.Join(all, ":")
}

// connect gives the calling thread's network namespace its interface. The hardware address follows from the IP
// address, so that neighbours need not forget it when the device reboots.
func connect(ctx context.Context, netns, addr string) error {
	a, err := netip.ParseAddr(addr)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	b := a.As4()
	mac := fmt.Sprintf("02:4c:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3])
	// A device that was just cut off may still hold the other end for a moment.
	_ = ip(ctx, netns, "link del "+vethName(addr))
	err = ip(ctx, "", "link set lo up",
		"link add eth0 address "+mac+" type veth peer name "+vethName(addr)+" netns "+netns,
		"addr add "+addr+"/16 dev eth0", "link set eth0 up")
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	return nil
}

func vethName(addr string) string {
	parts := strings.SplitN(addr, ".", 3)
	return "v-" + strings.ReplaceAll(parts[len(parts)-1], ".", "-")
}

func mountSystem(root string) error {
	const quiet = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	for _, m := range []struct {
		dir, kind string
		flags     uintptr
		options   string
	}{
		{"sys", "sysfs", quiet | unix.MS_RDONLY, ""},
		{"dev", "tmpfs", unix.MS_NOSUID, "mode=755,size=1m"},
		{"dev/pts", "devpts", unix.MS_NOSUID | unix.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620,gid=5"},
		{"dev/shm", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=1777"},
		{"run", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=755"},
		{"tmp", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=1777"}, // apt's user _apt needs it open
	} {
		dir := filepath.Join(root, m.dir)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("make %s: %w", m.dir, err)
		}
		if err := unix.Mount(m.kind, dir, m.kind, m.flags, m.options); err != nil {
			return fmt.Errorf("mount %s: %w", m.dir, err)
		}
	}
	if err := os.MkdirAll(filepath.Join(root, "run/lock"), 0o755); err != nil {
		return fmt.Errorf("make run/lock: %w", err)
	}
	return fillDev(filepath.Join(root, "dev"))
}

func fillDev(dev string) error {
	for name, minor := range map[string]uint32{"null": 3, "zero": 5, "full": 7, "random": 8, "urandom": 9} {
		if err := unix.Mknod(filepath.Join(dev, name), unix.S_IFCHR|0o666, int(unix.Mkdev(1, minor))); err != nil {
			return fmt.Errorf("make /dev/%s: %w", name, err)
		}
	}
	if err := unix.Mknod(filepath.Join(dev, "tty"), unix.S_IFCHR|0o666, int(unix.Mkdev(5, 0))); err != nil {
		return fmt.Errorf("make /dev/tty: %w", err)
	}
	for name, target := range map[string]string{
		"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2", "ptmx": "pts/ptmx",
	} {
		if err := os.Symlink(target, filepath.Join(dev, name)); err != nil {
			return fmt.Errorf("make /dev/%s: %w", name, err)
		}
	}
	return nil
}

func writeBootID(root, id string) error {
	dir := filepath.Join(root, "run/assent-lab")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write boot id: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "boot_id"), []byte(id+"\n"), 0o444); err != nil {
		return fmt.Errorf("write boot id: %w", err)
	}
	return nil
}

// pivot makes root the calling thread's root and lets go of everything outside it.
func pivot(root string) error {
	if err := unix.Chdir(root); err != nil {
		return fmt.Errorf("enter disk: %w", err)
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("change root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("let go of the host: %w", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return fmt.Errorf("enter root: %w", err)
	}
	return nil
}

// cleanEnv is the environment of every process in a device.
func cleanEnv() []string {
	return []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/root", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive",
	}
}

func newUUID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // documented never to fail
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
