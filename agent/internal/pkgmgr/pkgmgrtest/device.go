package pkgmgrtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"assent/agent/internal/pkgmgr"
	"assent/catalog"
	"assent/installation"
	"assent/lab"
	"assent/lab/debrepo"
	"assent/wire"
)

// Bench is where devices come from: a lab with one repository, and per base a layer on which the driver and version 1.0 of
// every Acme package are installed.
type Bench struct {
	lab    *lab.Lab
	driver string // built for the device
	agent  string // where it is installed

	mu     sync.Mutex
	layers map[string]string
	count  int
}

// NewBench opens a lab and builds the driver of a backend: the main package pkg. It becomes path on the devices.
func NewBench(t *testing.T, pkg, path string) *Bench {
	t.Helper()
	l, err := lab.Open(t.Context(), lab.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	// A bridge without an address of its own takes one of its ports', which changes as devices come and go, and then the
	// others lose sight of the gateway for some twenty seconds.
	if out, err := l.Net.Command(t.Context(), "ip", "link", "set", "br0", "address", "02:00:0a:4d:00:01").CombinedOutput(); err != nil {
		t.Fatalf("fix the bridge's address: %v: %s", err, out)
	}
	b := &Bench{lab: l, driver: t.TempDir() + "/driver", agent: path, layers: map[string]string{}}
	cmd := exec.Command("go", "build", "-o", b.driver, pkg)
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the driver: %v\n%s", err, out)
	}
	return b
}

// Device is a device of the lab and the backend on it.
type Device struct {
	*lab.Device
	t     *testing.T
	bench *Bench
	Repo  *debrepo.Repo // its own
}

// New makes a device that has Acme 1.0 installed and a repository of its own at step 1, where all updates are out. With
// diskMB its disk is that small.
func (b *Bench) New(t *testing.T, spec lab.BaseSpec, diskMB int) *Device {
	t.Helper()
	base, err := lab.Base(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	layer, n := b.layer(t, base, spec.Suite)
	d, err := b.lab.NewDevice(t.Context(), lab.DeviceSpec{Name: fmt.Sprintf("d%d", n), Base: base, Layers: []string{layer}, DiskMB: diskMB})
	if err != nil {
		t.Fatal(err)
	}
	repo, err := b.lab.Repo(fmt.Sprintf("acme%d", n))
	if err != nil {
		t.Fatal(err)
	}
	dev := &Device{Device: d, t: t, bench: b, Repo: repo}
	dev.Publish(1)
	source, err := b.lab.RepoSource(repo, lab.AcmeSuite, lab.AcmeSecurity)
	if err != nil {
		t.Fatal(err)
	}
	dev.must(d.SetSources(source))
	dev.Sh("apt-get -q --error-on=any update")
	return dev
}

// layer is the common part of all devices of a base, and a number for the next device.
func (b *Bench) layer(t *testing.T, base, suite string) (layer string, n int) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.count++
	if layer, ok := b.layers[base]; ok {
		return layer, b.count
	}
	_, source, err := b.lab.AcmeRepo()
	if err != nil {
		t.Fatal(err)
	}
	d, err := b.lab.NewDevice(t.Context(), lab.DeviceSpec{Name: fmt.Sprintf("base-%s-%d", suite, b.count), Base: base})
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []func() error{
		func() error { return d.SetSources(source) },
		func() error { return d.InstallAcme(t.Context()) },
		func() error { return d.Install(b.driver, b.agent) },
		func() error { b.layers[base], err = d.Freeze(t.Context()); return err },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	return b.layers[base], b.count
}

func (d *Device) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

// Publish brings the device's repository to a step of Acme's.
func (d *Device) Publish(step int) {
	d.t.Helper()
	d.must(lab.PublishAcme(d.Repo, step))
}

// Sh runs a shell script on the device, as an administrator would, and wants it to succeed.
func (d *Device) Sh(script string) string {
	d.t.Helper()
	out, code := d.Try(script)
	if code != 0 {
		d.t.Fatalf("%s: exit code %d\n%s", script, code, out)
	}
	return out
}

// Try is Sh for scripts that may fail; both outputs are in out.
func (d *Device) Try(script string) (out string, code int) {
	d.t.Helper()
	stdout, stderr, code, err := d.Run(d.t.Context(), "sh", "-c", script)
	d.must(err)
	return stdout + stderr, code
}

// Version is what dpkg says of a package: "ii 1.0", or "" if it is not there.
func (d *Device) Version(name string) string {
	d.t.Helper()
	out, _ := d.Try("dpkg-query -W -f '${db:Status-Abbrev}${Version}' " + name + " 2>/dev/null")
	return strings.TrimSpace(out)
}

// Call runs a method of the backend on the device.
func (d *Device) Call(req request) reply {
	d.t.Helper()
	rep, err := d.call(d.t.Context(), req)
	d.must(err)
	return rep
}

func (d *Device) call(ctx context.Context, req request) (reply, error) {
	replies, err := d.calls(ctx, []request{req})
	if err != nil {
		return reply{}, err
	}
	return replies[0], nil
}

// calls runs several calls in one process of the device.
func (d *Device) calls(ctx context.Context, reqs []request) ([]reply, error) {
	var in, out, errOut bytes.Buffer
	for _, req := range reqs {
		if err := json.NewEncoder(&in).Encode(req); err != nil {
			return nil, err
		}
	}
	cmd := d.Command(ctx, d.bench.agent, "call")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = &in, &out, &errOut
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s on %s: %w: %s", reqs[0].Method, d.Name(), err, errOut.String())
	}
	replies := make([]reply, len(reqs))
	answers := json.NewDecoder(&out)
	for i := range replies {
		if err := answers.Decode(&replies[i]); err != nil {
			return nil, err
		}
	}
	return replies, nil
}

// PIDs lists the processes of the device whose command line contains text, without the shell that looks.
func (d *Device) PIDs(text string) []string {
	d.t.Helper()
	return strings.Fields(d.Sh(`for p in /proc/[0-9]*; do [ $p = /proc/$$ ] || ! cat $p/cmdline 2>/dev/null | tr '\0' ' ' | grep -qF -- '` + text + `' || echo ${p#/proc/}; done`))
}

// Item describes a version of an Acme package by what the device's scan says of it, or by the repository where the
// package is not installed.
func (d *Device) Item(name, version string) catalog.Item {
	d.t.Helper()
	for _, o := range d.scan().Available.Updates {
		for _, it := range o.Items {
			if it.Name == name && it.Version == version {
				return it.Item
			}
		}
	}
	file, err := d.Repo.Pool(name, version)
	d.must(err)
	arch := strings.TrimSuffix(file[strings.LastIndexByte(file, '_')+1:], ".deb")
	sum, size := fileDigest(d.t, d.Repo.Dir()+"/public/"+file)
	return catalog.Item{Name: name, Arch: arch, Version: version, Size: size, SHA256: sum}
}

func (d *Device) scan() *pkgmgr.Snapshot {
	d.t.Helper()
	rep := d.Call(request{Method: "Scan"})
	d.must(rep.err())
	return rep.Snapshot
}

// Want makes a Want of "name=version" texts.
func (d *Device) Want(items ...string) pkgmgr.Want {
	d.t.Helper()
	var w pkgmgr.Want
	for _, text := range items {
		name, version, _ := strings.Cut(text, "=")
		w.Items = append(w.Items, d.Item(name, version))
	}
	return w
}

// Simulate wants the simulation to succeed.
func (d *Device) Simulate(want pkgmgr.Want) pkgmgr.Transaction {
	d.t.Helper()
	rep := d.Call(request{Method: "Simulate", Want: want})
	d.must(rep.err())
	return rep.Tx
}

// Refused wants the simulation to be refused for a cause, and gives the refusal.
func (d *Device) Refused(want pkgmgr.Want, cause installation.Cause) *pkgmgr.Refusal {
	d.t.Helper()
	rep := d.Call(request{Method: "Simulate", Want: want})
	var r *pkgmgr.Refusal
	if !errors.As(rep.err(), &r) || r.Cause != cause {
		d.t.Fatalf("simulation: %v, want a refusal for %s (changes %+v)", rep.err(), cause, rep.Tx.Changes)
	}
	return r
}

// Order lets the guard know a plan that orders a Want, as the agent does before it acts.
func (d *Device) Order(want pkgmgr.Want) {
	d.t.Helper()
	in := wire.PlanInstall{Update: "u1", Items: want.Items, Extras: want.Extras}
	p := wire.Plan{Format: 1, Guard: "block_declined", Install: []wire.PlanInstall{in}}
	if len(want.Removable) > 0 {
		p.Format, p.Terms, p.Install[0].Terms = wire.PlanFormat, []wire.PlanTerms{{Removable: want.Removable}}, 1
	}
	if want.Downgrade {
		p.Install = nil
		back := wire.PlanRollback{Act: 1, Update: "u1"}
		for _, it := range want.Items {
			back.Items = append(back.Items, wire.RestoreItem{Name: it.Name, Arch: it.Arch, Version: it.Version, SHA256: it.SHA256})
		}
		p.Rollback = []wire.PlanRollback{back}
	}
	d.Fence(p)
}

// Fence puts a plan in force: the guard's file, the pins and the hook.
func (d *Device) Fence(p wire.Plan) {
	d.t.Helper()
	body, err := json.Marshal(p)
	d.must(err)
	d.must(d.WriteFile("/var/lib/assent-agent/plan.json", body, 0o600))
	d.must(d.Call(request{Method: "Fence", Plan: p}).err())
}

// Install orders, simulates, fetches and applies a Want; only the last may go wrong.
func (d *Device) Install(id string, want pkgmgr.Want) reply {
	d.t.Helper()
	d.Order(want)
	tx := d.Simulate(want)
	tx.ID = id
	d.must(d.Call(request{Method: "Fetch", Tx: tx}).err())
	return d.Call(request{Method: "Apply", Tx: tx})
}

// Eventually waits for something on the device, for which there is no signal to wait on from here.
func (d *Device) Eventually(what string, cond func() bool) {
	d.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !cond(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			d.t.Fatalf("waited in vain for %s", what)
		}
	}
}

// Has reports whether a file is on the device.
func (d *Device) Has(path string) bool {
	d.t.Helper()
	_, code := d.Try("test -e " + path)
	return code == 0
}
