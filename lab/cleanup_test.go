package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestMain lets the test binary play a second process that opens a lab; see victim.
func TestMain(m *testing.M) {
	if name := os.Getenv("ASSENT_LAB_VICTIM"); name != "" {
		if err := victim(name); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// victim opens a lab with a device, says so, and waits to be killed.
func victim(name string) error {
	l, err := Open(context.Background(), Config{Name: name})
	if err != nil {
		return err
	}
	spec, systemd := StandardBase(), os.Getenv("ASSENT_LAB_VICTIM_SYSTEMD") != ""
	if systemd {
		spec = SystemdBase()
	}
	base, err := Base(context.Background(), spec)
	if err != nil {
		return err
	}
	d, err := l.NewDevice(context.Background(), DeviceSpec{Name: "d1", Base: base, DiskMB: 50, Systemd: systemd})
	if err != nil {
		return err
	}
	if _, err := d.Start(context.Background(), "sleeper", "sleep", "4242"); err != nil {
		return err
	}
	if err := l.Net.Command(context.Background(), "sleep", "4243").Start(); err != nil {
		return err
	}
	r, err := d.record()
	if err != nil {
		return err
	}
	fmt.Println("ready", r.Init.PID)
	select {}
}

// startVictim gives the process and the pid of its device's first process.
func startVictim(t *testing.T, name string, env ...string) (*exec.Cmd, initID) {
	t.Helper()
	standardBase(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), "ASSENT_LAB_VICTIM="+name), env...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // most tests have done so
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	must(t, err)
	var pid int
	if _, err := fmt.Sscanf(line, "ready %d", &pid); err != nil {
		t.Fatalf("victim said %q: %v", line, err)
	}
	id, err := identify(pid)
	must(t, err)
	return cmd, id
}

// traces lists everything on the machine that belongs to a lab.
func traces(t *testing.T, name string) []string {
	t.Helper()
	var out []string
	l := newLab(Config{Name: name})
	group, err := labCgroup(l.Net.netns)
	must(t, err)
	for _, path := range []string{l.dir, l.Net.file(), group} {
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			out = append(out, path)
		}
	}
	// Every process's view, as a device or a leaked thread could hold a mount that ours does not show.
	files, err := filepath.Glob("/proc/[0-9]*/mountinfo")
	must(t, err)
	for _, f := range files {
		text, _ := os.ReadFile(f) // the process may have ended
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, l.dir+"/") || strings.Contains(line, l.Net.netns+" ") {
				out = append(out, f+": "+strings.TrimSpace(line))
			}
		}
	}
	return out
}

func TestClose_LeavesNothing(t *testing.T) {
	t.Parallel()
	l := openLab(t)
	small := newDevice(t, l, DeviceSpec{Name: "d1", DiskMB: 20})
	newDevice(t, l, DeviceSpec{Name: "d2"})
	_, err := small.Start(t.Context(), "sleeper", "sleep", "1000")
	must(t, err)
	server := l.Net.Command(context.Background(), "sleep", "1000")
	must(t, server.Start())
	var inits []initID
	for _, name := range []string{"d1", "d2"} {
		d, err := l.Device(name)
		must(t, err)
		r, err := d.record()
		must(t, err)
		inits = append(inits, r.Init)
	}
	if len(traces(t, l.Name())) == 0 {
		t.Fatal("a running lab leaves no traces, so this test sees nothing")
	}
	must(t, l.Close())
	must(t, l.Close())
	if err := server.Wait(); err == nil {
		t.Error("a process in the lab's network outlived the lab")
	}
	for _, i := range inits {
		if i.alive() {
			t.Errorf("device process %d is alive", i.PID)
		}
	}
	if left := traces(t, l.Name()); len(left) > 0 {
		t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
	}
	if _, err := l.NewDevice(t.Context(), DeviceSpec{Name: "d3", Base: standardBase(t)}); err == nil {
		t.Error("a closed lab made a device")
	}
}

func TestKilledOwner_TakesItsDevicesAlongAndTheNextOpenRemovesTheRest(t *testing.T) {
	t.Parallel()
	name := fmt.Sprintf("victim-%d", os.Getpid())
	cmd, id := startVictim(t, name)
	if _, err := Open(t.Context(), Config{Name: name}); !errors.Is(err, ErrInUse) {
		t.Errorf("open of a running lab: %v", err)
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
	if _, err := Attach(name); !errors.Is(err, ErrNotRunning) {
		t.Errorf("attach to a dead lab: %v", err)
	}
	l, err := Open(t.Context(), Config{Name: name})
	must(t, err)
	if devices, err := l.Devices(); err != nil || len(devices) != 0 {
		t.Errorf("the new lab has %d devices of the dead one, %v", len(devices), err)
	}
	must(t, l.Close())
	if left := traces(t, name); len(left) > 0 {
		t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
	}
}

func TestAttach_UsesAndChangesTheDevicesOfAnotherProcess(t *testing.T) {
	t.Parallel()
	name := fmt.Sprintf("attach-%d", os.Getpid())
	cmd, _ := startVictim(t, name)
	l, err := Attach(name)
	must(t, err)
	defer l.Close()
	if s := l.State(); s.PID != cmd.Process.Pid || s.NetNS != l.Net.NetNS() {
		t.Errorf("state %+v", s)
	}
	d, err := l.Device("d1")
	must(t, err)
	if got := mustOutput(t, d, "hostname"); got != "d1\n" {
		t.Errorf("hostname %q", got)
	}
	before, err := d.BootID()
	must(t, err)
	must(t, d.PowerCut(t.Context()))
	if err := d.SetLink(t.Context(), true); !errors.Is(err, ErrOff) {
		t.Errorf("link of a device that is off: %v", err)
	}
	must(t, d.Boot(t.Context()))
	if after, err := d.BootID(); err != nil || after == before {
		t.Errorf("boot id %s after %s, %v", after, before, err)
	}
	_, source, err := l.AcmeRepo() // published here, served there
	must(t, err)
	d2, err := l.NewDevice(t.Context(), DeviceSpec{Name: "d2", Base: standardBase(t)})
	must(t, err)
	must(t, d2.SetSources(source))
	if out, code := apt(t, d2, "--error-on=any", "update"); code != 0 {
		t.Errorf("update: %d\n%s", code, out)
	}
	p, err := d2.Start(t.Context(), "sleeper", "sleep", "1000")
	must(t, err)
	must(t, p.Stop(t.Context()))
	if _, err := l.Device("d3"); err == nil {
		t.Error("found a device that is not there")
	}
	if devices, err := l.Devices(); err != nil || len(devices) != 2 {
		t.Errorf("%d devices, %v", len(devices), err)
	}
}
