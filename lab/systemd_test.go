package lab

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

func systemdDevice(t *testing.T, l *Lab, name string) *Device {
	t.Helper()
	base, err := Base(t.Context(), SystemdBase())
	must(t, err)
	began := time.Now()
	d, err := l.NewDevice(t.Context(), DeviceSpec{Name: name, Base: base, Systemd: true})
	must(t, err)
	t.Logf("%s booted in %v", name, time.Since(began).Round(time.Millisecond))
	return d
}

// bootedAfter waits until the device is in another boot than before and systemd is through with its start.
func bootedAfter(t *testing.T, d *Device, before string) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		if id, err := d.BootID(); err == nil && id != before {
			if out, _, _, err := d.Run(t.Context(), "systemctl", "is-system-running"); err == nil && strings.TrimSpace(out) == "running" {
				return
			}
		}
		if time.Now().After(deadline) {
			out, errOut, _, err := d.Run(t.Context(), "systemctl", "--failed", "--no-pager")
			t.Fatalf("%s did not boot again: %v\n%s", d.Name(), err, out+errOut)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func TestSystemdDevice_RunsUnitsInControlGroupsOfItsOwn(t *testing.T) {
	t.Parallel()
	l := openLab(t)
	one, two := systemdDevice(t, l, "one"), systemdDevice(t, l, "two")
	for _, d := range []*Device{one, two} {
		if out, _, _, err := d.Run(t.Context(), "systemctl", "is-system-running"); err != nil || out != "running\n" {
			t.Errorf("%s is %q, %v:\n%s", d.Name(), out, err, mustOutput(t, d, "systemctl", "--failed", "--no-pager"))
		}
		if comm := mustOutput(t, d, "cat", "/proc/1/comm"); comm != "systemd\n" {
			t.Errorf("process 1 of %s is %s", d.Name(), comm)
		}
		if name := strings.TrimSpace(mustOutput(t, d, "hostname")); name != d.Name() {
			t.Errorf("hostname of %s is %s", d.Name(), name)
		}
		if id, err := d.BootID(); err != nil || strings.TrimSpace(mustOutput(t, d, "cat", "/proc/sys/kernel/random/boot_id")) != id {
			t.Errorf("boot id of %s is not %s, %v", d.Name(), id, err)
		}
	}
	group := mustOutput(t, one, "systemd-run", "--pipe", "--quiet", "--unit=probe", "cat", "/proc/self/cgroup")
	if !strings.Contains(group, "0::/system.slice/probe.service\n") {
		t.Errorf("a unit's process is in\n%s", group)
	}
	// Equal units on two devices are two units.
	for _, d := range []*Device{one, two} {
		mustOutput(t, d, "systemd-run", "--quiet", "--unit=sleeper", "sleep", "4711")
	}
	mustOutput(t, one, "systemctl", "stop", "sleeper.service")
	if out := mustOutput(t, two, "systemctl", "is-active", "sleeper.service"); out != "active\n" {
		t.Errorf("stopping a unit of one device made that of the other %s", out)
	}
	sandboxed := mustOutput(t, one, "systemd-run", "--pipe", "--quiet", "-pProtectSystem=strict", "-pPrivateDevices=yes", "-pProcSubset=pid",
		"-pProtectControlGroups=yes", "-pProtectKernelTunables=yes", "-pSystemCallFilter=@system-service", "-pPrivateTmp=yes",
		"sh", "-c", "touch /etc/x 2>/dev/null || echo read-only; ls /proc | grep -c ^sys$ || true")
	if sandboxed != "read-only\n0\n" {
		t.Errorf("a sandboxed unit says %q", sandboxed)
	}
}

func TestSystemdDevice_RebootsAndPowersOffFromInsideAndOutside(t *testing.T) {
	t.Parallel()
	l := openLab(t)
	d := systemdDevice(t, l, "one")
	unit := "[Service]\nExecStart=/bin/sleep infinity\nExecStop=/bin/sh -c 'echo orderly >> /var/stopped'\n[Install]\nWantedBy=multi-user.target\n"
	must(t, d.WriteFile("/etc/systemd/system/keeper.service", []byte(unit), 0o644))
	mustOutput(t, d, "systemctl", "enable", "--now", "--quiet", "keeper.service")
	stopped := func() int {
		text, err := d.ReadFile("/var/stopped")
		if errors.Is(err, os.ErrNotExist) {
			return 0
		}
		must(t, err)
		return strings.Count(string(text), "orderly")
	}

	first, err := d.BootID()
	must(t, err)
	_, _, _, _ = d.Run(t.Context(), "systemctl", "reboot") // the reboot may end the command
	bootedAfter(t, d, first)
	second, err := d.BootID()
	must(t, err)
	if out := mustOutput(t, d, "systemctl", "is-active", "keeper.service"); out != "active\n" || stopped() != 1 {
		t.Errorf("after a reboot from inside the service is %s, and was stopped %d times", out, stopped())
	}

	must(t, d.Reboot(t.Context()))
	bootedAfter(t, d, second)
	if stopped() != 2 {
		t.Errorf("after a reboot from outside the service was stopped %d times", stopped())
	}

	must(t, d.PowerCut(t.Context()))
	must(t, d.Boot(t.Context()))
	if stopped() != 2 {
		t.Errorf("a power cut stopped the service in an orderly way")
	}

	_, _, _, _ = d.Run(t.Context(), "systemctl", "poweroff")
	deadline := time.Now().Add(time.Minute)
	for d.On() {
		if time.Now().After(deadline) {
			t.Fatal("the device does not power off")
		}
		time.Sleep(20 * time.Millisecond)
	}
	group, err := labCgroup(l.Net.netns)
	must(t, err)
	for {
		_, err := os.Stat(group + "/one")
		if errors.Is(err, os.ErrNotExist) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("control groups of a device that is off: %v", err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	if stopped() != 3 {
		t.Errorf("power off stopped the service %d times", stopped()-2)
	}
	must(t, d.Boot(t.Context()))
}

func TestSystemdDevice_EndsWithAKilledOwnerAndLeavesNoControlGroups(t *testing.T) {
	t.Parallel()
	_, err := Base(t.Context(), SystemdBase())
	must(t, err)
	name := fmt.Sprintf("systemd-victim-%d", os.Getpid())
	cmd, id := startVictim(t, name, "ASSENT_LAB_VICTIM_SYSTEMD=1")
	group, err := labCgroup(newLab(Config{Name: name}).Net.netns)
	must(t, err)
	if _, err := os.Stat(group + "/d1/system.slice"); err != nil {
		t.Fatalf("this test would see no control groups: %v", err)
	}
	must(t, cmd.Process.Kill())
	_ = cmd.Wait() // killed
	deadline := time.Now().Add(10 * time.Second)
	for id.alive() {
		if time.Now().After(deadline) {
			t.Fatal("the device outlived the killed owner of its lab")
		}
		time.Sleep(5 * time.Millisecond)
	}
	l, err := Open(t.Context(), Config{Name: name})
	must(t, err)
	must(t, l.Close())
	if left := traces(t, name); len(left) > 0 {
		t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
	}
}
