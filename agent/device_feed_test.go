package agent

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"assent/catalog"
	"assent/feed"
	"assent/installation"
	"assent/lab/debrepo"
	"assent/trust/trusttest"
	"assent/wire"
)

// vendor publishes two applications in three releases each: "desk" as Debian packages, "ledger" as trees whose last
// release does not contain what its health probe asks for.
func vendor(t *testing.T) *trusttest.Feed {
	t.Helper()
	f := trusttest.NewFeed(t, "vendor")
	for _, v := range []string{"1.0", "2.0", "3.0"} {
		deb, err := debrepo.Deb(debrepo.Package{Name: "desk", Version: v, Arch: debrepo.HostArch(), Description: "a desk",
			Files: map[string]string{"/usr/bin/desk": "#!/bin/sh\necho " + v + "\n", "/etc/desk.conf": "level=1\n"}, Conffiles: []string{"/etc/desk.conf"}})
		must(t, err)
		path := filepath.Join(t.TempDir(), "desk.deb")
		must(t, os.WriteFile(path, deb, 0o600))
		control, err := exec.CommandContext(t.Context(), "dpkg-deb", "-f", path).Output()
		must(t, err)
		m := trusttest.Manifest("desk", v)
		m.Payload = catalog.Deb
		m.Items = []feed.Item{{Name: "desk", Arch: debrepo.HostArch(), Version: v, Control: strings.TrimSpace(string(control)), Platform: catalog.Platform{OS: "linux", Arch: debrepo.HostArch()}}}
		f.Add(m, deb)

		m = trusttest.Manifest("ledger", v)
		m.Items = []feed.Item{{Name: "ledger", Arch: debrepo.HostArch(), Version: v, Platform: catalog.Platform{OS: "linux", Arch: debrepo.HostArch()}}}
		f.Add(m, archive(t, map[string]string{"bin/ledger": "#!/bin/sh\necho ledger " + v + "\n"}))
	}
	f.Publish()
	return f
}

// archive is a compressed tree.
func archive(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for name, text := range files {
		must(t, w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(text))}))
		_, err := w.Write([]byte(text))
		must(t, err)
	}
	must(t, w.Close())
	must(t, z.Close())
	return b.Bytes()
}

// available is what the device last said it could take.
func (r *realDevice) available() (av wire.Available) {
	b := r.s.bodies[r.s.docs[wire.KindAvailable]]
	if b != nil && json.Unmarshal(b, &av) != nil {
		return wire.Available{}
	}
	return av
}

// offer waits until the device offers a release of the feed and returns it as an order.
func (r *realDevice) offer(name, version string) wire.PlanInstall {
	r.t.Helper()
	var in wire.PlanInstall
	r.s.wait(r.t, name+" "+version+" is offered", func() bool {
		av := r.available()
		for _, o := range av.Updates {
			if rel := o.In(av.Ecosystem); o.Name == name && o.Version == version && o.Namespace == "feed.vendor" {
				in = wire.PlanInstall{Update: rel.ID(), Release: rel}
				for _, it := range o.Items {
					in.Items = append(in.Items, it.Item)
				}
				return av.Agent != ""
			}
		}
		return false
	})
	return in
}

// back waits until the device can go back from a release and orders the step to an earlier version.
func (r *realDevice) back(act int64, from wire.PlanInstall, to string) wire.PlanRollback {
	r.t.Helper()
	out := wire.PlanRollback{Act: act, Update: from.Update}
	r.s.wait(r.t, from.Release.Name+" can go back to "+to, func() bool {
		out.Items = nil
		for _, it := range r.available().Restore {
			if it.Update == from.Update && it.Release == to && it.From != "" {
				out.Items = append(out.Items, it)
			}
		}
		return len(out.Items) > 0
	})
	return out
}

func (r *realDevice) says(command ...string) string {
	r.t.Helper()
	out, err := r.d.Output(r.t.Context(), command...)
	must(r.t, err)
	return strings.TrimSpace(out)
}

func declined(in wire.PlanInstall) wire.PlanDeny {
	return wire.PlanDeny{Update: in.Update, Software: in.Release.Software, Version: in.Release.Version, Items: in.Items, Reason: "loses entries", By: "ann", Act: 5}
}

func TestC1_OnARealDeviceApplicationsOfAFeedComeGoBackAndGo(t *testing.T) {
	f := vendor(t)
	r := newRealDevice(t, f)
	defer func() {
		if t.Failed() {
			t.Logf("agent:\n%s", r.log())
		}
	}()
	feeds := []wire.PlanFeed{{ID: f.ID, Root: wire.Digest(f.Root()), Timestamp: 1}}
	r.s.set(wire.Plan{Feeds: feeds})
	desk1, ledger1 := r.offer("desk", "1.0"), r.offer("ledger", "1.0")
	ledger1.Closure = []string{string(desk1.Update)} // a package first, then the tree
	ledger1.Probe = &catalog.Probe{Type: catalog.ProbeFile, Path: "bin/ledger", SHA256: wire.Digest([]byte("#!/bin/sh\necho ledger 1.0\n")), Timeout: 5}
	r.s.set(wire.Plan{Feeds: feeds, Install: []wire.PlanInstall{ledger1, desk1}})
	r.s.wait(t, "desk 1.0 is installed", r.s.at(desk1, installation.Installed))
	r.s.wait(t, "ledger 1.0 is installed", r.s.at(ledger1, installation.Installed))
	if p := r.s.last(ledger1).Proof; p == nil || p.Probe != "passed" {
		t.Errorf("proof of ledger: %+v", p)
	}

	desk2, ledger2 := r.offer("desk", "2.0"), r.offer("ledger", "2.0")
	ledger2.Probe = &catalog.Probe{Type: catalog.ProbeFile, Path: "bin/missing", SHA256: wire.Digest(nil), Timeout: 1}
	r.s.set(wire.Plan{Feeds: feeds, Install: []wire.PlanInstall{desk2, ledger2}})
	r.s.wait(t, "desk 2.0 is installed", r.s.at(desk2, installation.Installed))
	r.s.wait(t, "ledger 2.0 does not pass its probe", r.s.at(ledger2, installation.Failed))
	if rep := r.s.last(ledger2); rep.Cause != installation.ProbeFailed || rep.Proof.Probe == "" || rep.Proof.Probe == "passed" {
		t.Errorf("ledger 2.0: %s %+v", rep.Cause, rep.Proof)
	}
	must(t, r.d.WriteFile("/etc/desk.conf", []byte("level=9\n"), 0o644))
	if got := r.says("desk") + ", " + r.says("/opt/assent/vendor/ledger/current/bin/ledger"); got != "2.0, ledger 2.0" {
		t.Errorf("after the update: %s", got)
	}

	r.s.set(wire.Plan{Feeds: feeds, Deny: []wire.PlanDeny{declined(desk2), declined(ledger2)}, Rollback: []wire.PlanRollback{r.back(5, desk2, "1.0"), r.back(6, ledger2, "1.0")}})
	r.s.wait(t, "desk went back", r.s.at(desk2, installation.Removed))
	r.s.wait(t, "ledger went back", r.s.at(ledger2, installation.Removed))
	if got := r.says("desk") + ", " + r.says("/opt/assent/vendor/ledger/current/bin/ledger"); got != "1.0, ledger 1.0" {
		t.Errorf("after the decline: %s", got)
	}

	remove := func(act int64, in wire.PlanInstall) wire.PlanRemove {
		return wire.PlanRemove{Act: act, Update: in.Update, Items: in.Items}
	}
	r.s.set(wire.Plan{Feeds: feeds, Deny: []wire.PlanDeny{declined(desk1), declined(ledger1)}, Remove: []wire.PlanRemove{remove(7, desk1), remove(8, ledger1)}})
	r.s.wait(t, "desk is gone", r.s.at(desk1, installation.Removed))
	r.s.wait(t, "ledger is gone", r.s.at(ledger1, installation.Removed))
	if _, _, code, err := r.d.Run(t.Context(), "test", "-e", "/usr/bin/desk", "-o", "-e", "/opt/assent/vendor/ledger/current"); err != nil || code == 0 {
		t.Errorf("something of the applications is left: %d %v", code, err)
	}
	if conf, err := r.d.ReadFile("/etc/desk.conf"); err != nil || string(conf) != "level=9\n" {
		t.Errorf("the configuration did not survive: %q %v", conf, err)
	}
	want := []installation.State{installation.Removing, installation.Removed}
	for _, in := range []wire.PlanInstall{desk1, desk2, ledger1, ledger2} {
		if h := r.s.history(in); !slices.Equal(h[max(0, len(h)-2):], want) {
			t.Errorf("%s %s: history %v", in.Release.Name, in.Release.Version, h)
		}
	}
	if len(r.s.illegal) > 0 {
		t.Errorf("transitions outside the table: %v", r.s.illegal)
	}
	r.memory()
	must(t, r.agent.Stop(t.Context()))
	r.says("/usr/bin/assent-agent", "leave", "--yes")
	if left := r.says("find", "/etc", "/var", "-xdev", "-name", "*assent*"); left != "" {
		t.Errorf("leave left traces: %s", left)
	}
}
