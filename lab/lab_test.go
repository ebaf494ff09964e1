package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"assent/lab/debrepo"
)

func openLab(t *testing.T) *Lab {
	t.Helper()
	l, err := Open(t.Context(), Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func standardBase(t *testing.T) string {
	t.Helper()
	base, err := Base(t.Context(), StandardBase())
	if err != nil {
		t.Fatal(err)
	}
	return base
}

func newDevice(t *testing.T, l *Lab, spec DeviceSpec) *Device {
	t.Helper()
	spec.Base = standardBase(t)
	d, err := l.NewDevice(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// acmeDevice is a device with the Acme source and version 1.0 of everything.
func acmeDevice(t *testing.T, l *Lab, name string) (*Device, *debrepo.Repo) {
	t.Helper()
	repo, source, err := l.AcmeRepo()
	must(t, err)
	d := newDevice(t, l, DeviceSpec{Name: name})
	must(t, d.SetSources(source))
	must(t, d.InstallAcme(t.Context()))
	return d, repo
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mustOutput(t *testing.T, d *Device, argv ...string) string {
	t.Helper()
	out, err := d.Output(t.Context(), argv...)
	must(t, err)
	return out
}

// apt runs apt-get without retries and gives all that it wrote, with its exit code.
func apt(t *testing.T, d *Device, args ...string) (string, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	argv := append([]string{"apt-get", "-q", "-y", "-o", "Acquire::Retries=0", "-o", "Acquire::http::Timeout=2", "-o", "Dpkg::Use-Pty=0"}, args...)
	out, errOut, code, err := d.Run(ctx, argv...)
	must(t, err)
	return out + errOut, code
}

func version(t *testing.T, d *Device, name string) string {
	t.Helper()
	return strings.TrimSpace(mustOutput(t, d, "dpkg-query", "-W", "-f=${db:Status-Abbrev} ${Version}", name))
}

func TestFourDevices_SeeAndInstallPublishedUpdates(t *testing.T) {
	t.Parallel()
	l := openLab(t)
	template, repo := acmeDevice(t, l, "template")
	layer, err := template.Freeze(t.Context())
	must(t, err)
	began := time.Now()
	var devices []*Device
	for i := range 4 {
		d := newDevice(t, l, DeviceSpec{Name: fmt.Sprint("d", i), Layers: []string{layer}})
		devices = append(devices, d)
	}
	t.Logf("4 devices created in %v", time.Since(began))
	must(t, PublishAcme(repo, 1))

	ids := map[string]bool{}
	for _, d := range devices {
		ids[mustOutput(t, d, "cat", "/etc/machine-id")] = true
		if got := strings.TrimSpace(mustOutput(t, d, "hostname")); got != d.Name() {
			t.Errorf("hostname of %s is %s", d.Name(), got)
		}
		if out, code := apt(t, d, "--error-on=any", "update"); code != 0 {
			t.Fatalf("update: %d\n%s", code, out)
		}
		plan := mustOutput(t, d, "apt-get", "-s", "upgrade")
		for _, want := range []string{
			"Inst acme-app [1.0] (2.0 Acme:acme [", "Inst acme-sec [1.0] (1.1 Acme-Security:acme-security [",
			"Inst acme-data [1.0] (1.1 Acme:acme [all])",
		} {
			if !strings.Contains(plan, want) {
				t.Errorf("plan of %s lacks %q:\n%s", d.Name(), want, plan)
			}
		}
		if strings.Contains(plan, "Inst acme-removes") || strings.Contains(plan, "Inst acme-newdep") {
			t.Errorf("upgrade would remove or add packages:\n%s", plan)
		}
	}
	if len(ids) != 4 {
		t.Errorf("4 devices have %d machine ids", len(ids))
	}
	d := devices[0]
	if out, code := apt(t, d, "install", "acme-app=1.1", "acme-lib=1.1"); code != 0 {
		t.Errorf("exact install: %d\n%s", code, out)
	}
	if got := version(t, d, "acme-app"); got != "ii  1.1" {
		t.Errorf("acme-app is %q", got)
	}
	if out, code := apt(t, d, "install", "acme-svc"); code != 100 || !strings.Contains(out, "exit status 7") {
		t.Errorf("broken postinst: %d\n%s", code, out)
	}
	if got := version(t, devices[1], "acme-app"); got != "ii  1.0" {
		t.Errorf("an update on one device reached another: %q", got)
	}
}

func TestPowerCutInTheMiddleOfAnInstallation_LeavesItHalfConfiguredAndBootGivesANewBootID(t *testing.T) {
	t.Parallel()
	l := openLab(t)
	d, repo := acmeDevice(t, l, "d1")
	must(t, PublishAcme(repo, 1))
	if out, code := apt(t, d, "update"); code != 0 {
		t.Fatal(out)
	}
	before := mustOutput(t, d, "cat", "/proc/sys/kernel/random/boot_id")
	must(t, d.WriteFile("/etc/acme-slow.hold", nil, 0o644))
	upgrade, err := d.Start(t.Context(), "upgrade", "apt-get", "-y", "install", "acme-slow=1.1")
	must(t, err)
	awaitFile(t, d, "/run/acme-slow.started")
	must(t, d.PowerCut(t.Context()))
	must(t, upgrade.Wait(t.Context()))
	if d.On() {
		t.Error("device is on after a power cut")
	}
	if _, _, _, err := d.Run(t.Context(), "true"); !errors.Is(err, ErrOff) {
		t.Errorf("command in a device that is off: %v", err)
	}
	must(t, d.Remove("/etc/acme-slow.hold")) // the disk of a device that is off can be changed

	must(t, d.Boot(t.Context()))
	after := mustOutput(t, d, "cat", "/proc/sys/kernel/random/boot_id")
	if id, err := d.BootID(); err != nil || before == after || strings.TrimSpace(after) != id {
		t.Errorf("boot ids: before %s after %s recorded %s, %v", before, after, id, err)
	}
	if got := version(t, d, "acme-slow"); !strings.HasPrefix(got, "iF") {
		t.Errorf("acme-slow is %q, want half-configured", got)
	}
	if out, code := apt(t, d, "install", "acme-tool"); code != 100 || !strings.Contains(out, "dpkg was interrupted") {
		t.Errorf("apt after a power cut: %d\n%s", code, out)
	}
	mustOutput(t, d, "dpkg", "--configure", "-a")
	if got := version(t, d, "acme-slow"); got != "ii  1.1" {
		t.Errorf("acme-slow is %q after repair", got)
	}
}

// awaitFile waits until a file is there; devices have no event that could be waited on.
func awaitFile(t *testing.T, d *Device, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	_, err := d.Output(ctx, "sh", "-c", `while [ ! -e "$0" ]; do sleep 0.02; done`, name)
	must(t, err)
}

func TestRebootFromInside_BootsAgainAndServicesStart(t *testing.T) {
	t.Parallel()
	l := openLab(t)
	d := newDevice(t, l, DeviceSpec{Name: "d1"})
	p, err := d.StartProcess(t.Context(), ProcessSpec{
		Name: "agent", AtBoot: true, Env: []string{"WORD=hello"},
		Argv: []string{"sh", "-c", "echo $WORD; touch /run/up; exec sleep 1000"},
	})
	must(t, err)
	awaitFile(t, d, "/run/up")
	first, err := p.PID()
	must(t, err)
	boot, err := d.BootID()
	must(t, err)
	// The command dies with the device, so it has no result of its own.
	_, _, _, _ = d.Run(t.Context(), "shutdown", "-r", "now")
	deadline := time.Now().Add(20 * time.Second)
	for {
		now, err := d.BootID()
		second, pidErr := p.PID()
		if err == nil && now != boot && pidErr == nil && second != first {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the device did not come back: boot %v, service %v", err, pidErr)
		}
		time.Sleep(5 * time.Millisecond) // the state of the lab is all there is to watch
	}
	awaitFile(t, d, "/run/up")
	if log, err := p.Log(); err != nil || log != "hello\nhello\n" {
		t.Errorf("log %q, %v", log, err)
	}
	must(t, p.Stop(t.Context()))
	must(t, d.Reboot(t.Context()))
	if _, err := p.PID(); err == nil {
		t.Error("a stopped service came back at boot")
	}
	_, _, _, _ = d.Run(t.Context(), "poweroff")
	for d.On() {
		if time.Now().After(deadline) {
			t.Fatal("the device did not go off")
		}
		time.Sleep(5 * time.Millisecond)
	}
	must(t, d.Boot(t.Context()))
}

func TestProcess_SignalsKillAndRestart(t *testing.T) {
	t.Parallel()
	l := openLab(t)
	d := newDevice(t, l, DeviceSpec{Name: "d1"})
	p, err := d.Start(t.Context(), "p", "sh", "-c", "trap 'echo bye; exit 0' TERM; touch /run/p; while :; do sleep 0.05; done")
	must(t, err)
	awaitFile(t, d, "/run/p")
	if _, err := d.Start(t.Context(), "p", "true"); err == nil {
		t.Error("a second process of the same name started")
	}
	must(t, p.Restart(t.Context()))
	if log, err := p.Log(); err != nil || log != "bye\n" {
		t.Errorf("SIGTERM was not handled: %q %v", log, err)
	}
	must(t, p.Kill(t.Context()))
	if _, err := p.PID(); err == nil {
		t.Error("killed process has a pid")
	}
	must(t, p.Stop(t.Context()))
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, _, _, err := d.Run(ctx, "sleep", "777"); err == nil {
		t.Error("a command outlived its context")
	}
	if out := mustOutput(t, d, "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"); strings.Contains(out, "sleep 777") {
		t.Errorf("the cancelled command still runs:\n%s", out)
	}
	if _, _, code, err := d.Run(t.Context(), "sh", "-c", "exit 3"); code != 3 || err != nil {
		t.Errorf("exit code %d, %v", code, err)
	}
}

func TestClone_SharesIdentityButNotAddress(t *testing.T) {
	t.Parallel()
	l := openLab(t)
	d := newDevice(t, l, DeviceSpec{Name: "d1"})
	must(t, d.WriteFile("/var/lib/agent/key", []byte("secret"), 0o600))
	must(t, d.Remove("/etc/motd"))
	twin, err := d.Clone(t.Context(), "d2")
	must(t, err)
	for _, cmd := range []string{"cat /etc/machine-id", "cat /var/lib/agent/key", "ls /etc"} {
		if a, b := mustOutput(t, d, "sh", "-c", cmd), mustOutput(t, twin, "sh", "-c", cmd); a != b {
			t.Errorf("%s: %q and %q", cmd, a, b)
		}
	}
	a, err := d.IP()
	must(t, err)
	b, err := twin.IP()
	must(t, err)
	if a == b {
		t.Errorf("both have the address %s", a)
	}
	must(t, twin.Destroy(t.Context()))
	if _, err := l.Device("d2"); err == nil {
		t.Error("a destroyed device is still known")
	}
}

func TestSmallDisk_IsFullForAptAndSurvivesAPowerCut(t *testing.T) {
	t.Parallel()
	l := openLab(t)
	repo, source, err := l.AcmeRepo()
	must(t, err)
	must(t, PublishAcme(repo, 1))
	d := newDevice(t, l, DeviceSpec{Name: "d1", DiskMB: 4})
	must(t, d.SetSources(source))
	if out, code := apt(t, d, "update"); code != 0 {
		t.Fatal(out)
	}
	out, code := apt(t, d, "install", "acme-big=1.1")
	if code != 100 || !strings.Contains(out, "space") {
		t.Errorf("install on a small disk: %d\n%s", code, out)
	}
	must(t, d.WriteFile("/root/note", []byte("here"), 0o644))
	must(t, d.PowerCut(t.Context()))
	must(t, d.Boot(t.Context()))
	if got, err := d.ReadFile("/root/note"); err != nil || string(got) != "here" {
		t.Errorf("after the power cut: %q %v", got, err)
	}
}

func TestNet_ListensDialsAndCanBeCutOff(t *testing.T) {
	t.Parallel()
	l := openLab(t)
	d := newDevice(t, l, DeviceSpec{Name: "d1"})
	ln, err := l.Net.Listen(Gateway + ":8080")
	must(t, err)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "hello %s", r.RemoteAddr)
	})}
	go srv.Serve(ln)
	defer srv.Close()
	addr, err := d.IP()
	must(t, err)
	if got := mustOutput(t, d, "curl", "-sS", "http://lab.internal:8080/"); !strings.HasPrefix(got, "hello "+addr+":") {
		t.Errorf("from the device: %q", got)
	}
	client := http.Client{Transport: &http.Transport{DialContext: l.Net.DialContext}}
	res, err := client.Get("http://" + Gateway + ":8080/")
	must(t, err)
	body, err := io.ReadAll(res.Body)
	must(t, err)
	res.Body.Close()
	if !strings.HasPrefix(string(body), "hello 10.77.") {
		t.Errorf("from the host: %q", body)
	}
	outside := http.Client{Timeout: time.Second} // something else may have that address out there
	if res, err := outside.Get("http://" + Gateway + ":8080/"); err == nil {
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || strings.HasPrefix(string(body), "hello") {
			t.Errorf("the lab's server answers outside the lab: %q, %v", body, err)
		}
	}
	out, err := l.Net.Command(t.Context(), "ip", "-br", "addr").Output()
	if err != nil || !strings.Contains(string(out), "10.77.0.1/16") {
		t.Errorf("command in the lab: %v\n%s", err, out)
	}
	must(t, d.SetLink(t.Context(), false))
	if _, _, code, err := d.Run(t.Context(), "curl", "-sS", "-m", "1", "http://10.77.0.1:8080/"); err != nil || code == 0 {
		t.Errorf("without a link: %d %v", code, err)
	}
	must(t, d.SetLink(t.Context(), true))
	mustOutput(t, d, "curl", "-sS", "-m", "10", "http://10.77.0.1:8080/")
	if _, _, code, err := d.Run(t.Context(), "curl", "-sS", "-m", "2", "http://192.0.2.1/"); err != nil || code == 0 {
		t.Errorf("the device has an uplink: %d %v", code, err)
	}
}

func TestFiles_LinksDoNotLeadOutOfTheDevice(t *testing.T) {
	t.Parallel()
	l := openLab(t)
	d := newDevice(t, l, DeviceSpec{Name: "d1"})
	mustOutput(t, d, "ln", "-s", "../../../../../../../../../../tmp", "/root/out")
	name := "assent-lab-escape-" + l.Name()
	if err := d.WriteFile("/root/out/"+name, []byte("x"), 0o644); err == nil {
		t.Error("wrote through a link that leads out")
	}
	if _, err := os.Stat("/tmp/" + name); err == nil {
		t.Error("the host was written to")
	}
}
