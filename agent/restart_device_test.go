package agent

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"assent/catalog"
	"assent/feed"
	"assent/installation"
	"assent/lab"
	"assent/lab/debrepo"
	"assent/trust/trusttest"
	"assent/window"
	"assent/wire"
)

// acmed is a service of its own program, which upgrades leave running as it was.
func acmed(version string, sleep []byte) debrepo.Package {
	return debrepo.Package{Name: "acmed", Version: version, Arch: debrepo.HostArch(), Description: "a daemon, made by Acme",
		Files: map[string]string{"/usr/lib/acme/acmed": string(sleep) + "\n" + version,
			"/lib/systemd/system/acmed.service": "[Service]\nExecStart=/usr/lib/acme/acmed infinity\n[Install]\nWantedBy=multi-user.target\n"},
		PostInst: "#!/bin/sh\nset -e\nchmod 755 /usr/lib/acme/acmed\nsystemctl daemon-reload\n[ -n \"$2\" ] || systemctl enable --now --quiet acmed\n"}
}

// acmeBoot asks for a restart as packages do.
func acmeBoot(version string) debrepo.Package {
	p := debrepo.Package{Name: "acme-boot", Version: version, Arch: debrepo.HostArch(), Description: "what works after a restart, made by Acme"}
	if version != "1.0" {
		p.PostInst = "#!/bin/sh\nset -e\ntouch /run/reboot-required\necho acme-boot >> /run/reboot-required.pkgs\n"
	}
	return p
}

// newSystemdDevice is a device with systemd whose agent is a unit of it, as its package installs it.
func newSystemdDevice(t *testing.T, feeds ...*trusttest.Feed) *realDevice {
	t.Helper()
	ctx := t.Context()
	bin := filepath.Join(t.TempDir(), "assent-agent")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", bin, "assent/cmd/assent-agent")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the agent: %v\n%s", err, out)
	}
	l, err := lab.Open(ctx, lab.Config{})
	must(t, err)
	t.Cleanup(func() { must(t, l.Close()) })
	base, err := lab.Base(ctx, lab.SystemdBase())
	must(t, err)
	d, err := l.NewDevice(ctx, lab.DeviceSpec{Name: "d1", Base: base, Systemd: true})
	must(t, err)
	r := &realDevice{t: t, d: d, s: newServer(t)}
	r.s.copies = map[string]string{}
	for _, f := range feeds {
		r.s.copies[f.ID] = f.Dir
		r.s.feeds = append(r.s.feeds, wire.FeedRoot{ID: f.ID, Root: f.Root()})
	}
	sleep, err := d.ReadFile("/usr/bin/sleep")
	must(t, err)
	repo, source, err := l.AcmeRepo()
	must(t, err)
	publish := func(step int, more ...debrepo.Package) {
		main, _ := lab.AcmeSuites(step)
		main.Packages = append(main.Packages, more...)
		must(t, repo.Publish(main))
	}
	publish(0, acmed("1.0", sleep), acmeBoot("1.0"))
	must(t, d.SetSources(source))
	must(t, d.InstallAcme(ctx))
	r.says("apt-get", "-y", "-q", "install", "acmed", "acme-boot")
	publish(1, acmed("2.0", sleep), acmeBoot("2.0"), acmeBoot("3.0"))
	unit, err := os.ReadFile("../packaging/assent-agent/assent-agent.service")
	must(t, err)
	must(t, d.Install(bin, "/usr/bin/assent-agent"))
	must(t, d.WriteFile("/lib/systemd/system/assent-agent.service", unit, 0o644))
	must(t, d.WriteFile("/etc/assent-agent/config.json", []byte(`{"scan": "1s", "quiet": "1ms"}`), 0o644))
	ln, err := l.Net.Listen(lab.Gateway + ":8443")
	must(t, err)
	url := r.s.serve(t, ln)
	r.says("/usr/bin/assent-agent", "enrol", "--server", url, "--token", r.s.token.String())
	r.says("systemctl", "enable", "--now", "--quiet", "assent-agent")
	t.Cleanup(func() {
		if t.Failed() {
			out, _, _, err := d.Run(context.Background(), "journalctl", "--unit=assent-agent", "--lines=60", "--no-pager", "--output=cat")
			t.Logf("journal of the agent (%v):\n%s", err, out)
		}
	})
	return r
}

// until waits for something on the device.
func (r *realDevice) until(what string, limit time.Duration, holds func() bool) {
	r.t.Helper()
	begin := time.Now()
	for !holds() {
		if time.Since(begin) > limit {
			r.t.Fatalf("never came true: %s\n%s", what, r.s.story())
		}
		time.Sleep(50 * time.Millisecond)
	}
	r.t.Logf("%4.1f s: %s", time.Since(begin).Seconds(), what)
}

func (r *realDevice) boot() string {
	r.t.Helper()
	id, err := r.d.BootID()
	must(r.t, err)
	return id
}

// restarts waits until the device is in another boot, with its agent.
func (r *realDevice) restarts(before string, limit time.Duration) {
	r.t.Helper()
	r.until("the device is in another boot", limit, func() bool { id, err := r.d.BootID(); return err == nil && id != before })
	r.until("all of its units are started", time.Minute, func() bool {
		out, _, _, err := r.d.Run(r.t.Context(), "systemctl", "is-system-running")
		return err == nil && strings.TrimSpace(out) == "running"
	})
}

func (r *realDevice) told(event, words string) func() bool {
	return func() bool {
		for _, e := range r.s.reports {
			if e.Event == event && strings.Contains(e.Detail, words) {
				return true
			}
		}
		return false
	}
}

func (r *realDevice) factsNow() (f wire.Facts) {
	r.t.Helper()
	must(r.t, json.Unmarshal(r.s.document(wire.KindFacts), &f))
	return f
}

// program is what a service runs, as /proc tells.
func (r *realDevice) program(unit string) string {
	r.t.Helper()
	return r.says("readlink", "/proc/"+r.says("systemctl", "show", "--value", "--property=MainPID", unit)+"/exe")
}

func TestT5_OnARealDeviceServicesAndTheDeviceAreRestartedAndItIsProven(t *testing.T) {
	r := newSystemdDevice(t)
	o := r.offers()
	for _, update := range []string{"acmed 2.0", "acme-boot 2.0", "acme-boot 3.0", "acme-svc 1.1"} {
		if len(o[update].Items) == 0 {
			t.Fatalf("%s is not offered: have %v", update, o)
		}
	}
	r.staleService(o["acmed 2.0"])
	r.inItsWindow(o["acme-boot 2.0"], o["acme-svc 1.1"])
	r.asksSomebody(o["acme-boot 3.0"])
	last := r.boot()
	time.Sleep(3 * time.Second)
	if r.boot() != last || len(r.s.illegal) > 0 {
		t.Errorf("it restarted once more, or %v", r.s.illegal)
	}
}

// staleService shows a service that runs the program from before an update: it is seen, and restarted when the plan says so.
func (r *realDevice) staleService(daemon wire.PlanInstall) {
	r.t.Helper()
	probes := wire.PlanTerms{Probes: []catalog.Probe{{Type: catalog.ProbeUnit, Unit: "acmed.service", Timeout: 5}, {Type: catalog.ProbeFile, Path: "/usr/lib/acme/acmed", SHA256: r.sum("/usr/lib/acme/acmed", "2.0"), Timeout: 5}}}
	r.s.set(on(wire.Plan{Install: []wire.PlanInstall{daemon}}, probes))
	r.s.wait(r.t, "acmed is installed", r.s.at(daemon, installation.Installed))
	if p := r.s.last(daemon).Proof; p.Probe != passed {
		r.t.Errorf("proof %+v", p)
	}
	r.until("the server knows that acmed is stale", time.Minute, func() bool {
		for _, why := range r.factsNow().Stale {
			if why.Kind == wire.StaleService && why.Name == "acmed.service" && strings.Contains(why.Detail, "/usr/lib/acme/acmed") {
				return true
			}
		}
		return false
	})
	if got := r.program("acmed"); got != "/usr/lib/acme/acmed (deleted)" {
		r.t.Errorf("acmed runs %s before its restart", got)
	}
	r.s.set(on(wire.Plan{Install: []wire.PlanInstall{daemon}, Restart: &wire.PlanRestart{Services: true}}, probes))
	r.s.wait(r.t, "acmed was restarted", r.told("service_restarted", "acmed.service"))
	if got := r.program("acmed"); got != "/usr/lib/acme/acmed" {
		r.t.Errorf("acmed runs %s after its restart", got)
	}
	r.probes()
}

// inItsWindow shows that the device restarts in its window, for what succeeded, though another update failed.
func (r *realDevice) inItsWindow(good, bad wire.PlanInstall) {
	r.t.Helper()
	before := r.boot()
	opens := time.Now().UTC().Add(75 * time.Second).Truncate(time.Minute)
	schedule, err := json.Marshal(window.Schedule{Rule: "FREQ=DAILY", Start: opens.Format("2006-01-02T15:04"), Length: window.Duration(time.Hour)})
	must(r.t, err)
	r.s.set(wire.Plan{Install: []wire.PlanInstall{good, bad}, Restart: &wire.PlanRestart{When: wire.RestartIfRequired, Schedule: schedule}})
	r.s.wait(r.t, "acme-boot asks for a restart", r.s.at(good, installation.RestartRequired))
	r.s.wait(r.t, "acme-svc failed", r.s.at(bad, installation.Failed))
	if r.boot() != before || time.Now().After(opens) {
		r.t.Fatalf("the device restarted before its window, or this test was too slow (%s)", time.Now())
	}
	r.until("the agent waits for the window", 30*time.Second, func() bool {
		return strings.Contains(r.says("/usr/bin/assent-agent", "restart"), "A restart is due and waits until")
	})
	r.refuses("window_closed", "--now")
	r.restarts(before, 2*time.Minute)
	if time.Now().Before(opens) {
		r.t.Error("the device restarted before its window (I8)")
	}
	r.s.wait(r.t, "acme-boot is proven", r.s.at(good, installation.Installed))
	if got := r.s.last(good); !strings.Contains(got.Detail, "is back with the kernel") || strings.Contains(got.Detail, " 0 services") {
		r.t.Errorf("%+v", got)
	}
	r.until("the agent says so on the device", time.Minute, func() bool {
		out, _, code, err := r.d.Run(r.t.Context(), "/usr/bin/assent-agent", "restart")
		return err == nil && code == 0 && strings.Contains(out, "all is well") && strings.Contains(out, "Nothing asks for a restart")
	})
}

// asksSomebody shows how somebody who is signed in is asked on the terminal, puts it off, and then has it done.
func (r *realDevice) asksSomebody(update wire.PlanInstall) {
	r.t.Helper()
	before, somebody := r.boot(), r.terminal()
	r.s.set(wire.Plan{Install: []wire.PlanInstall{update}, Restart: &wire.PlanRestart{When: wire.RestartAsked, Ask: wire.RestartAsk{Text: "Please let it restart.", Deferrals: 1}}})
	r.s.wait(r.t, "acme-boot asks again", r.s.at(update, installation.RestartRequired))
	r.until("the question is on the terminal", time.Minute, func() bool {
		text, err := r.d.ReadFile("/root/typescript")
		return err == nil && strings.Contains(string(text), "Assent: Please let it restart.") && strings.Contains(string(text), "assent-agent restart --now")
	})
	if got := r.says("/usr/bin/assent-agent", "restart", "--defer"); !strings.Contains(got, "put off until") {
		r.t.Errorf("--defer says %q", got)
	}
	r.refuses("restart_fixed", "--defer")
	if r.boot() != before {
		r.t.Fatal("the device restarted though it was put off")
	}
	_, _, _, _ = r.d.Run(r.t.Context(), "/usr/bin/assent-agent", "restart", "--now") // it may end with the device
	must(r.t, somebody.Signal(syscall.SIGKILL))                                      // or systemd gives it its time to end
	r.restarts(before, time.Minute)
	r.s.wait(r.t, "acme-boot is proven again", r.s.at(update, installation.Installed))
	for _, e := range []string{"restart_deferred", "restart_ordered"} {
		if !r.told(e, "root")() {
			r.t.Errorf("no event %s in\n%s", e, r.s.story())
		}
	}
}

// refuses demands that `assent-agent restart` refuses something with a code.
func (r *realDevice) refuses(code, flag string) {
	r.t.Helper()
	out, errOut, exit, err := r.d.Run(r.t.Context(), "/usr/bin/assent-agent", "restart", flag)
	if err != nil || exit == 0 || !strings.Contains(errOut, code) {
		r.t.Errorf("%s: exit code %d, %v\n%s", flag, exit, err, out+errOut)
	}
}

// sum is the digest that a program of acmed's will have in another version than the one that is installed.
func (r *realDevice) sum(name, version string) string {
	r.t.Helper()
	b, err := r.d.ReadFile(name)
	must(r.t, err)
	return wire.Digest([]byte(strings.TrimSuffix(string(b), "1.0") + version))
}

// probes asks the device's own probes of what is true of it, and of what is not.
func (r *realDevice) probes() {
	r.t.Helper()
	p := r.offers()["acme-data 1.1"]
	probes := wire.PlanTerms{Probes: []catalog.Probe{{Type: catalog.ProbeProcess, Path: "/usr/lib/acme/acmed", Timeout: 5}, {Type: catalog.ProbeUnit, Unit: "basic.target", Timeout: 5}, {Type: catalog.ProbeUnit, Unit: "rescue.service", Timeout: 1}}}
	r.s.set(on(wire.Plan{Install: []wire.PlanInstall{p}}, probes))
	r.s.wait(r.t, "acme-data waits for a unit that does not run", r.s.at(p, installation.Failed))
	if got := r.s.last(p); got.Cause != installation.ProbeFailed || !strings.Contains(got.Detail, "rescue.service is inactive") {
		r.t.Errorf("%+v", got)
	}
}

// terminal has somebody signed in on a terminal of the device; what is written to it goes to /root/typescript.
func (r *realDevice) terminal() *lab.Process {
	r.t.Helper()
	p, err := r.d.Start(r.t.Context(), "somebody", "script", "--quiet", "--flush", "--command", "tty > /root/terminal; exec sleep 1000", "/root/typescript")
	must(r.t, err)
	var line string
	r.until("somebody has a terminal", 10*time.Second, func() bool {
		text, err := r.d.ReadFile("/root/terminal")
		line = strings.TrimPrefix(strings.TrimSpace(string(text)), "/dev/")
		return err == nil && line != ""
	})
	entry := make([]byte, 384)
	binary.NativeEndian.PutUint16(entry, 7)
	copy(entry[8:], line)
	copy(entry[44:], "ann")
	must(r.t, r.d.WriteFile("/run/utmp", entry, 0o644))
	return p
}

// served publishes an application that runs as a service in three releases, the last of which does not start.
func served(t *testing.T, sleep []byte) *trusttest.Feed {
	t.Helper()
	f := trusttest.NewFeed(t, "vendor")
	for version, program := range map[string]string{"2.0": string(sleep), "3.0": "#!/bin/sh\nexec sleep infinity\n", "4.0": "#!/bin/sh\nexit 3\n"} {
		m := trusttest.Manifest("web", version)
		m.Restart = catalog.RestartService
		m.Items = []feed.Item{{Name: "web", Arch: debrepo.HostArch(), Version: version, Platform: catalog.Platform{OS: "linux", Arch: debrepo.HostArch()}}}
		f.Add(m, archive(t, map[string]string{"bin/web": program}))
	}
	f.Publish()
	return f
}

func TestT5_OnARealDeviceTheServicesOfATreeComeBackWithItOrItFails(t *testing.T) {
	sleep, err := os.ReadFile("/usr/bin/sleep")
	must(t, err)
	f := served(t, sleep)
	r := newSystemdDevice(t, f)
	feeds := []wire.PlanFeed{{ID: f.ID, Root: wire.Digest(f.Root()), Timestamp: 1}}
	r.s.set(wire.Plan{Feeds: feeds})
	install := func(version string) wire.PlanInstall {
		in := r.offer("web", version)
		r.s.set(wire.Plan{Feeds: feeds, Install: []wire.PlanInstall{in}})
		return in
	}
	v2 := install("2.0")
	r.s.wait(t, "web 2.0 is installed", r.s.at(v2, installation.Installed))
	must(t, r.d.WriteFile("/etc/systemd/system/web.service", []byte("[Service]\nExecStart=/opt/assent/vendor/web/current/bin/web infinity\nRestart=no\n[Install]\nWantedBy=multi-user.target\n"), 0o644))
	r.says("systemctl", "daemon-reload")
	r.says("systemctl", "enable", "--now", "--quiet", "web")
	if got := r.program("web"); got != "/opt/assent/vendor/web/versions/2.0/bin/web" {
		t.Errorf("with 2.0 the service runs %s", got)
	}
	v3 := install("3.0")
	r.s.wait(t, "web 3.0 is installed", r.s.at(v3, installation.Installed))
	if got := r.program("web"); got != "/usr/bin/sleep" {
		t.Errorf("with 3.0 the service runs %s", got)
	}
	in := install("4.0")
	r.until("web 4.0 failed", 90*time.Second, func() bool { r.s.mu.Lock(); defer r.s.mu.Unlock(); return r.s.at(in, installation.Failed)() })
	if got := r.s.last(in); got.Cause != installation.InstallFailed || !strings.Contains(got.Detail, "web.service did not come back") {
		t.Errorf("%+v", got)
	}
	back := r.back(7, in, "2.0")
	r.s.set(wire.Plan{Feeds: feeds, Rollback: []wire.PlanRollback{back}})
	r.s.wait(t, "web went back", r.s.at(in, installation.Removed))
	if got := r.program("web"); got != "/opt/assent/vendor/web/versions/2.0/bin/web" {
		t.Errorf("after the step back the service runs %s", got)
	}
	if len(r.s.illegal) > 0 {
		t.Errorf("transitions outside the table: %v", r.s.illegal)
	}
}
