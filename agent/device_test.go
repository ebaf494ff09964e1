package agent

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"assent/catalog"
	"assent/installation"
	"assent/lab"
	"assent/trust/trusttest"
	"assent/wire"
)

// realDevice is a Debian device with the real agent, against the simulated server.
type realDevice struct {
	t     *testing.T
	d     *lab.Device
	s     *simServer
	agent *lab.Process
}

// newRealDevice enrols a device that has version 1.0 of the Acme packages while their updates are out. The server has a
// copy of the feeds.
func newRealDevice(t *testing.T, feeds ...*trusttest.Feed) *realDevice {
	t.Helper()
	ctx := t.Context()
	bin := filepath.Join(t.TempDir(), "assent-agent")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", bin, "assent/cmd/assent-agent")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the agent: %v\n%s", err, out)
	}
	if info, err := os.Stat(bin); err != nil || info.Size() > 15<<20 {
		t.Errorf("the agent is %d bytes long, %v; want 15 MiB at most (P11)", info.Size(), err)
	}
	l, err := lab.Open(ctx, lab.Config{})
	must(t, err)
	t.Cleanup(func() { must(t, l.Close()) })
	base, err := lab.Base(ctx, lab.StandardBase())
	must(t, err)
	d, err := l.NewDevice(ctx, lab.DeviceSpec{Name: "d1", Base: base})
	must(t, err)
	repo, source, err := l.AcmeRepo()
	must(t, err)
	must(t, d.SetSources(source))
	must(t, d.InstallAcme(ctx))
	must(t, lab.PublishAcme(repo, 1))
	must(t, d.Install(bin, "/usr/bin/assent-agent"))
	r := &realDevice{t: t, d: d, s: newServer(t)}
	r.s.copies = map[string]string{}
	for _, f := range feeds {
		r.s.copies[f.ID] = f.Dir
		r.s.feeds = append(r.s.feeds, wire.FeedRoot{ID: f.ID, Root: f.Root()})
	}
	ln, err := l.Net.Listen(lab.Gateway + ":8443")
	must(t, err)
	url := r.s.serve(t, ln)
	_, err = d.Output(ctx, "/usr/bin/assent-agent", "enrol", "--server", url, "--token", r.s.token.String())
	must(t, err)
	r.start()
	return r
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (r *realDevice) start() {
	r.t.Helper()
	p, err := r.d.Start(r.t.Context(), "agent", "/usr/bin/assent-agent", "run", "--quiet", "1ms", "--scan", "2s")
	must(r.t, err)
	r.agent = p
}

// offers waits until the server knows what the device could take and returns it by source name and version.
func (r *realDevice) offers() map[string]wire.PlanInstall {
	r.t.Helper()
	out := map[string]wire.PlanInstall{}
	r.s.wait(r.t, "the device offers its Acme updates", func() bool {
		var av wire.Available
		if b := r.s.bodies[r.s.docs[wire.KindAvailable]]; b == nil || json.Unmarshal(b, &av) != nil {
			return false
		}
		for _, u := range av.Updates {
			rel := catalog.Release{Software: catalog.Software{Ecosystem: "deb", Namespace: u.Namespace, Name: u.Name}, Version: u.Version}
			in := wire.PlanInstall{Update: rel.ID(), Release: rel}
			for _, it := range u.Items {
				in.Items = append(in.Items, it.Item)
			}
			out[u.Name+" "+u.Version] = in
		}
		return len(out) > 10
	})
	return out
}

func (r *realDevice) version(name string) string {
	r.t.Helper()
	out, err := r.d.Output(r.t.Context(), "dpkg-query", "-W", "-f", "${db:Status-Abbrev}${Version}", name)
	must(r.t, err)
	return out
}

func (r *realDevice) log() string {
	text, err := r.agent.Log()
	if err != nil {
		return err.Error()
	}
	return text
}

func TestOnARealDeviceApprovedUpdatesAreInstalledAndTheOthersSayWhyNot(t *testing.T) {
	r := newRealDevice(t)
	o := r.offers()
	app, lib, conf, svc, db := o["acme-app 2.0"], o["acme-lib 2.0"], o["acme-conf 1.1"], o["acme-svc 1.1"], o["acme-db 1.1"]
	decline := o["acme-tool 1.1"]
	for _, in := range []wire.PlanInstall{app, lib, conf, svc, db, decline} {
		if len(in.Items) == 0 {
			t.Fatalf("not offered: have %v", o)
		}
	}
	app.Closure = []string{string(lib.Update)}
	r.s.set(wire.Plan{Install: []wire.PlanInstall{app, lib, conf, svc, db},
		Deny: []wire.PlanDeny{{Update: decline.Update, Software: decline.Release.Software, Version: "1.1", Items: decline.Items, Reason: "breaks mail", By: "ann", Act: 3}}})
	defer func() {
		if t.Failed() {
			t.Logf("agent:\n%s", r.log())
		}
	}()
	for _, in := range []wire.PlanInstall{app, lib, conf} {
		r.s.wait(t, in.Release.Name+" is installed", r.s.at(in, installation.Installed))
	}
	r.s.wait(t, "acme-svc failed", r.s.at(svc, installation.Failed))
	r.s.wait(t, "acme-db is blocked", r.s.at(db, installation.Blocked))
	for name, want := range map[string]string{"acme-app": "ii 2.0", "acme-lib": "ii 2.0", "acme-conf": "ii 1.1", "acme-db": "ii 1.0", "acme-tool": "ii 1.0"} {
		if got := r.version(name); got != want {
			t.Errorf("%s is %q; want %q", name, got, want)
		}
	}
	if b := r.s.last(db); b.Cause != installation.UnapprovedDependency || len(b.Needs) != 1 || !strings.Contains(b.Needs[0], "acme-newdep@") {
		t.Errorf("acme-db: %s %q needs %v", b.Cause, b.Detail, b.Needs)
	}
	if p := r.s.last(app).Proof; p == nil || p.Transaction == "" || len(p.Items) != 1 || p.Items[0].Previous != "1.0" || p.Items[0].SHA256 != app.Items[0].SHA256 {
		t.Errorf("proof of acme-app: %+v", p)
	}
	_, stderr, code, err := r.d.Run(t.Context(), "apt-get", "-y", "install", "acme-tool=1.1")
	if err != nil || code == 0 || !strings.Contains(stderr, "declined by ann") {
		t.Errorf("the declined update by hand: exit code %d, %v\n%s", code, err, stderr)
	}
	r.s.wait(t, "the guard's refusal is reported", func() bool { return strings.Contains(r.s.story(), "guard_refused") })
	out, err := r.d.Output(t.Context(), "/usr/bin/assent-agent", "why", "acme-tool")
	if err != nil || !strings.Contains(out, "breaks mail") {
		t.Errorf("why: %v\n%s", err, out)
	}
	if len(r.s.illegal) > 0 {
		t.Errorf("transitions outside the table: %v", r.s.illegal)
	}
	r.memory()
	must(t, r.agent.Stop(t.Context()))
	_, err = r.d.Output(t.Context(), "/usr/bin/assent-agent", "leave", "--yes")
	must(t, err)
	left, err := r.d.Output(t.Context(), "find", "/etc", "/var", "-xdev", "-name", "*assent*")
	if err != nil || left != "" {
		t.Errorf("leave left traces: %s %v", left, err)
	}
}

// memory checks the resident memory of the running agent (P10).
func (r *realDevice) memory() {
	r.t.Helper()
	pid, err := r.agent.PID()
	must(r.t, err)
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	must(r.t, err)
	var kib int
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			if _, err := fmt.Sscan(rest, &kib); err != nil {
				r.t.Fatal(err)
			}
		}
	}
	r.t.Logf("resident memory of the agent: %d KiB", kib)
	if kib == 0 || kib > 25<<10 {
		r.t.Errorf("resident memory %d KiB; want at most 25 MiB (P10)", kib)
	}
}

func TestF17_OnARealDeviceATransactionSurvivesTheKilledAgentAndIsReportedTruly(t *testing.T) {
	r := newRealDevice(t)
	defer func() {
		if t.Failed() {
			t.Logf("agent:\n%s", r.log())
		}
	}()
	must(t, r.d.WriteFile("/etc/acme-slow.hold", nil, 0o644))
	slow := r.offers()["acme-slow 1.1"]
	r.s.set(wire.Plan{Install: []wire.PlanInstall{slow}})
	r.s.wait(t, "acme-slow is being installed", r.s.at(slow, installation.Installing))
	for limit := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if _, err := r.d.ReadFile("/run/acme-slow.started"); err == nil {
			break
		}
		if time.Now().After(limit) {
			t.Fatal("the package manager never came to the slow package")
		}
	}
	must(t, r.agent.Signal(syscall.SIGKILL))
	_ = r.agent.Wait(t.Context()) // it was killed
	r.start()
	must(t, r.d.Remove("/etc/acme-slow.hold"))
	r.s.wait(t, "acme-slow is installed", r.s.at(slow, installation.Installed))
	if got := r.version("acme-slow"); got != "ii 1.1" {
		t.Errorf("acme-slow is %q", got)
	}
	history, err := r.d.ReadFile("/var/log/apt/history.log")
	must(t, err)
	if n := strings.Count(string(history), "Upgrade: acme-slow"); n != 1 {
		t.Errorf("the package manager upgraded it %d times", n)
	}
	if h := r.s.history(slow); h[len(h)-1] != installation.Installed || len(r.s.illegal) > 0 {
		t.Errorf("history %v, illegal %v", h, r.s.illegal)
	}
}
