package lab

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// DeviceSpec says what device to make. Name and Base are required.
type DeviceSpec struct {
	Name string // lower-case letters, digits and dashes; it becomes the hostname
	Base string // what Base returned
	// Layers are what Freeze returned, lowest first: file trees between the base and the device's own disk.
	Layers []string `json:",omitempty"`
	// DiskMB limits the device's own disk to that many MiB; zero means the space of the state directory.
	DiskMB int `json:",omitempty"`
	// Systemd makes systemd the device's process 1, with control groups of its own. Base must have it as its init, as
	// SystemdBase has. Else process 1 is a small shell that reaps orphans.
	Systemd bool `json:",omitempty"`
	// Off leaves the device switched off.
	Off bool `json:",omitempty"`
}

// ErrOff is returned where a device must be running and is not.
var ErrOff = errors.New("device is off")

// deviceRecord is what is kept on disk of a device; other processes read it.
type deviceRecord struct {
	Spec     DeviceSpec
	IP       string
	Init     initID // zero before the first boot
	System   initID // what the device sees as process 1; Init, or the systemd below it
	BootID   string
	Services []ProcessSpec `json:",omitempty"` // started at each boot
}

// initID names a device's first process. The start time tells it from a later process with the same pid.
type initID struct {
	PID   int
	Start string
}

func identify(pid int) (initID, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return initID{}, err
	}
	// The command name is in parentheses and may hold anything; field 22 is the start time, field 3 the state.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return initID{}, fmt.Errorf("process %d has ended", pid)
	}
	return initID{pid, fields[19]}, nil
}

func (i initID) alive() bool {
	if i.PID == 0 {
		return false
	}
	now, err := identify(i.PID)
	return err == nil && now == i
}

// Device is one device of a lab. All methods may be called from any goroutine, and from a process that attached to
// the lab: what changes the device is then done by the process that opened it.
type Device struct {
	lab  *Lab
	name string
	dir  string

	// Only the owner of the lab uses these.
	power sync.Mutex // held while the device goes on or off
	mu    sync.Mutex
	gone  chan struct{} // closed when the running first process was reaped; nil while off
	procs map[string]*process
}

func (l *Lab) device(name string) *Device {
	return &Device{lab: l, name: name, dir: filepath.Join(l.dir, "devices", name), procs: map[string]*process{}}
}

// Device finds a device by name.
func (l *Lab) Device(name string) (*Device, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if d, ok := l.devices[name]; ok {
		return d, nil
	}
	if !l.owner && deviceName.MatchString(name) {
		d := l.device(name)
		if _, err := d.record(); err == nil {
			l.devices[name] = d
			return d, nil
		}
	}
	return nil, fmt.Errorf("lab %s has no device %q", l.state.Name, name)
}

// Devices gives all devices by name.
func (l *Lab) Devices() ([]*Device, error) {
	entries, err := os.ReadDir(filepath.Join(l.dir, "devices"))
	if err != nil {
		return nil, fmt.Errorf("list devices: %w", err)
	}
	var out []*Device
	for _, e := range entries {
		if d, err := l.Device(e.Name()); err == nil { // one that is being made or destroyed is not there
			out = append(out, d)
		}
	}
	slices.SortFunc(out, func(a, b *Device) int { return strings.Compare(a.name, b.name) })
	return out, nil
}

// NewDevice makes a device with an identity of its own and switches it on.
func (l *Lab) NewDevice(ctx context.Context, spec DeviceSpec) (*Device, error) {
	if err := l.act(ctx, request{Op: opNew, Device: spec.Name, Spec: &spec}); err != nil {
		return nil, fmt.Errorf("make device %s: %w", spec.Name, err)
	}
	return l.Device(spec.Name)
}

func (l *Lab) newDevice(ctx context.Context, spec DeviceSpec) error {
	d, err := l.layOut(ctx, spec)
	if err != nil {
		return err
	}
	if err := d.writeIdentity(); err != nil {
		return err
	}
	return l.enlist(ctx, d)
}

// enlist makes a laid-out device known and boots it.
func (l *Lab) enlist(ctx context.Context, d *Device) error {
	r, err := d.record()
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.devices[d.name] = d
	l.mu.Unlock()
	if r.Spec.Off {
		return nil
	}
	return d.boot(ctx)
}

// layOut makes the directories, the disk and the record of a device.
func (l *Lab) layOut(ctx context.Context, spec DeviceSpec) (*Device, error) {
	if !deviceName.MatchString(spec.Name) {
		return nil, fmt.Errorf("device name %q is not valid", spec.Name)
	}
	for _, lower := range append(slices.Clone(spec.Layers), spec.Base) {
		if !filepath.IsAbs(lower) || strings.ContainsAny(lower, ":,\\") {
			return nil, fmt.Errorf("%q cannot be a layer of a device", lower)
		}
		if _, err := os.Stat(lower); err != nil {
			return nil, fmt.Errorf("layer of the device: %w", err)
		}
	}
	if _, err := os.Lstat(filepath.Join(spec.Base, "sbin/init")); spec.Systemd && err != nil {
		return nil, fmt.Errorf("the base has no init: %w", err)
	}
	d := l.device(spec.Name)
	addr, err := l.reserve(d)
	if err != nil {
		return nil, err
	}
	for _, sub := range []string{"disk", "mnt", "log"} {
		if err := os.Mkdir(filepath.Join(d.dir, sub), 0o755); err != nil {
			return nil, fmt.Errorf("create device directory: %w", err)
		}
	}
	if err := d.makeDisk(spec.DiskMB); err != nil {
		return nil, err
	}
	return d, d.save(deviceRecord{Spec: spec, IP: addr.String()})
}

// reserve makes the device's directory and picks a free address.
func (l *Lab) reserve(d *Device) (netip.Addr, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := os.Mkdir(d.dir, 0o755); err != nil {
		return netip.Addr{}, fmt.Errorf("create device directory: %w", err)
	}
	l.lastAddr++
	n := l.lastAddr // 10.77.1.1 to 10.77.1.250, then 10.77.2.1 and so on
	third := 1 + (n-1)/250
	if third > 254 {
		return netip.Addr{}, errors.New("the lab has no more addresses")
	}
	return netip.AddrFrom4([4]byte{10, 77, byte(third), byte(1 + (n-1)%250)}), nil
}

// makeDisk prepares where the device's changes go. The work directory must be on the same file system.
func (d *Device) makeDisk(sizeMB int) error {
	disk := filepath.Join(d.dir, "disk")
	if sizeMB > 0 {
		if err := unix.Mount("assent-lab-disk", disk, "tmpfs", 0, fmt.Sprintf("size=%dm,mode=755", sizeMB)); err != nil {
			return fmt.Errorf("mount small disk: %w", err)
		}
	}
	for _, sub := range []string{"up", "work"} {
		if err := os.Mkdir(filepath.Join(disk, sub), 0o755); err != nil {
			return fmt.Errorf("create device disk: %w", err)
		}
	}
	return nil
}

// writeIdentity gives a device that is off a hostname and machine id of its own.
func (d *Device) writeIdentity() error {
	var hosts strings.Builder
	fmt.Fprintf(&hosts, "127.0.0.1 localhost\n127.0.1.1 %s\n%s lab.internal\n", d.name, Gateway)
	for name, addr := range d.lab.State().Hosts {
		fmt.Fprintf(&hosts, "%s %s\n", addr, name)
	}
	id := make([]byte, 16)
	if _, err := rand.Read(id); err != nil {
		return fmt.Errorf("make machine id: %w", err)
	}
	for name, text := range map[string]string{
		"/etc/hostname": d.name + "\n", "/etc/hosts": hosts.String(), "/etc/resolv.conf": "",
		"/etc/machine-id": fmt.Sprintf("%x\n", id),
	} {
		if err := d.Remove(name); err != nil { // it may be a link out of the base
			return err
		}
		if err := d.WriteFile(name, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// Name is the device's name and hostname.
func (d *Device) Name() string { return d.name }

// IP is the device's address in the lab.
func (d *Device) IP() (string, error) {
	r, err := d.record()
	return r.IP, err
}

// BootID is the id of the boot that the device is in, as it reads itself; ErrOff while it is off.
func (d *Device) BootID() (string, error) {
	r, err := d.running()
	return r.BootID, err
}

// On tells whether the device is running.
func (d *Device) On() bool {
	_, err := d.running()
	return err == nil
}

func (d *Device) record() (deviceRecord, error) {
	var r deviceRecord
	if err := readJSON(filepath.Join(d.dir, "device.json"), &r); err != nil {
		return r, fmt.Errorf("device %s: %w", d.name, err)
	}
	return r, nil
}

// running is the record of a device that must be on.
func (d *Device) running() (deviceRecord, error) {
	r, err := d.record()
	if err == nil && !r.Init.alive() {
		err = fmt.Errorf("device %s: %w", d.name, ErrOff)
	}
	return r, err
}

func (d *Device) save(r deviceRecord) error { return writeJSON(filepath.Join(d.dir, "device.json"), r) }

// update changes the record; only the owner does.
func (d *Device) update(change func(*deviceRecord)) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	r, err := d.record()
	if err != nil {
		return err
	}
	change(&r)
	return d.save(r)
}

// Clone makes a second device with a copy of this one's disk: the same machine id and keys on purpose, as when
// somebody images a machine. Only the address differs. A disk that is in use is copied as it is at the moment.
func (d *Device) Clone(ctx context.Context, name string) (*Device, error) {
	if err := d.lab.act(ctx, request{Op: opClone, Device: d.name, Arg: name}); err != nil {
		return nil, fmt.Errorf("clone device %s: %w", d.name, err)
	}
	return d.lab.Device(name)
}

func (d *Device) clone(ctx context.Context, name string) error {
	r, err := d.record()
	if err != nil {
		return err
	}
	spec := r.Spec
	spec.Name = name
	twin, err := d.lab.layOut(ctx, spec)
	if err != nil {
		return err
	}
	if _, err := output(ctx, "", "cp", "-a", "--", d.upper()+"/.", twin.upper()); err != nil {
		return fmt.Errorf("copy disk: %w", err)
	}
	if err := twin.update(func(t *deviceRecord) { t.Services = r.Services }); err != nil {
		return err
	}
	return d.lab.enlist(ctx, twin)
}

func (d *Device) upper() string { return filepath.Join(d.dir, "disk", "up") }

// Freeze switches the device off for good and turns its disk into a layer for other devices, whose path it returns.
// Identity is not part of the layer as devices overwrite it. It makes large fleets cheap: prepare one, freeze it,
// and make the others on top.
func (d *Device) Freeze(ctx context.Context) (string, error) {
	if err := d.lab.act(ctx, request{Op: opFreeze, Device: d.name}); err != nil {
		return "", fmt.Errorf("freeze device %s: %w", d.name, err)
	}
	return d.lab.layer(d.name), nil
}

func (l *Lab) layer(name string) string { return filepath.Join(l.dir, "layers", name) }

func (d *Device) freeze() error {
	r, err := d.record()
	if err != nil {
		return err
	}
	if r.Spec.DiskMB > 0 || len(r.Spec.Layers) > 0 {
		return errors.New("only a device with a plain disk on a base can be frozen")
	}
	if err := d.halt(); err != nil {
		return err
	}
	if err := os.Rename(d.upper(), d.lab.layer(d.name)); err != nil {
		return fmt.Errorf("move disk: %w", err)
	}
	return d.destroy()
}

// Destroy switches the device off and removes it.
func (d *Device) Destroy(ctx context.Context) error {
	if err := d.lab.act(ctx, request{Op: opDestroy, Device: d.name}); err != nil {
		return fmt.Errorf("destroy device %s: %w", d.name, err)
	}
	d.lab.mu.Lock()
	defer d.lab.mu.Unlock()
	delete(d.lab.devices, d.name)
	return nil
}

func (d *Device) destroy() error {
	if err := d.halt(); err != nil {
		return err
	}
	d.lab.mu.Lock()
	delete(d.lab.devices, d.name)
	d.lab.mu.Unlock()
	if err := unmountBelow(d.dir); err != nil {
		return err
	}
	if err := os.RemoveAll(d.dir); err != nil {
		return fmt.Errorf("remove device directory: %w", err)
	}
	return nil
}
