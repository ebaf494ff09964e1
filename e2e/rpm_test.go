package e2e

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"assent/e2e/stage"
	"assent/lab"
)

// rpmFleet is a stage with a vendor and devices whose packages are RPM packages.
type rpmFleet struct {
	*script
	vendor  *stage.Vendor
	devices map[string]*lab.Device
}

// rpmDevices opens a stage without Debian devices and enrols devices with dnf.
func rpmDevices(t *testing.T, names ...string) *rpmFleet {
	t.Helper()
	s := &rpmFleet{script: &script{openWith(t), t}, devices: map[string]*lab.Device{}}
	base, err := lab.Base(t.Context(), lab.RPMBase())
	s.try(err)
	golden, err := s.Lab.NewDevice(t.Context(), lab.DeviceSpec{Name: "golden-rpm", Base: base})
	s.try(err)
	s.try(golden.BecomeRPM(t.Context()))
	s.try(golden.Install(filepath.Join(bin, "assent-agent"), "/usr/bin/assent-agent"))
	s.try(golden.WriteFile("/etc/assent-agent/config.json", []byte(`{"scan": "1s"}`), 0o644))
	layer, err := golden.Freeze(t.Context())
	s.try(err)
	for _, name := range names {
		d, err := s.Lab.NewDevice(t.Context(), lab.DeviceSpec{Name: name, Base: base, Layers: []string{layer}})
		s.try(err)
		s.devices[name] = d
		t.Cleanup(func() {
			if text, err := d.Process("agent").Log(); t.Failed() && err == nil {
				t.Logf("%s agent:\n%s", name, text[max(0, len(text)-6000):])
			}
		})
		s.enrolRPM(d)
	}
	s.vendor, err = s.NewVendor("acme")
	s.try(err)
	s.assent("feed", "init", s.vendor.Dir, "--name", s.vendor.Name)
	return s
}

func (s *rpmFleet) enrolRPM(d *lab.Device) {
	s.t.Helper()
	var token struct{ Text string }
	s.try(json.Unmarshal([]byte(s.assent("token", "create", "--group", "All devices", "--uses", "1", "--json")), &token))
	_, err := d.Output(s.t.Context(), "assent-agent", "enrol", "--server", "https://10.77.0.1:8443", "--token", token.Text)
	s.try(err)
	_, err = d.StartProcess(s.t.Context(), lab.ProcessSpec{Name: "agent", Argv: []string{"/usr/bin/assent-agent", "run"}, AtBoot: true})
	s.try(err)
}

// ledgerRPM is a release of the vendor's application.
func ledgerRPM(version string) lab.RPM {
	return lab.RPM{Name: "ledger", Version: version, Summary: "Acme's ledger", Conffiles: []string{"/etc/ledger.conf"},
		Files: map[string]string{"/usr/share/ledger/version": version + "\n", "/etc/ledger.conf": "currency=EUR\n"},
		Post:  "mkdir -p /var/lib/ledger; [ -e /var/lib/ledger/books ] || echo opened > /var/lib/ledger/books"}
}

// build makes a package and returns its file.
func (s *rpmFleet) build(p lab.RPM) string {
	s.t.Helper()
	b, err := lab.BuildRPM(s.t.Context(), p)
	s.try(err)
	file, err := s.vendor.File(p.Name+"-"+p.Version+"-1.noarch.rpm", b)
	s.try(err)
	return file
}

// publish adds releases, each of one package, to the feed and has the server look.
func (s *rpmFleet) publish(packages ...lab.RPM) {
	s.t.Helper()
	for _, p := range packages {
		s.assent("feed", "add", s.vendor.Dir, s.build(p))
	}
	s.try(s.vendor.Publish(s.t.Context()))
}

// subscribe has the server follow the feed.
func (s *rpmFleet) subscribe() {
	s.t.Helper()
	s.assent("feed", "subscribe", "acme", s.vendor.URL, "--root", s.vendor.Root())
}

// deploy approves a release and puts it onto all devices.
func (s *rpmFleet) deploy(name, version string) {
	s.t.Helper()
	ref := name + "@" + version
	s.until("the release is in the list", func() bool {
		return strings.Contains(s.assent("update", "list", "--view", "seamless"), name)
	})
	s.assent("update", "approve", ref)
	s.assent("package", "create", "--update", ref, "--name", name)
	s.offered(ref)
	s.assent("package", "deploy", name, "--to", "All devices")
}

// rpm is the versions of a package in a device's rpm database.
func (s *rpmFleet) rpm(device, name string) string {
	s.t.Helper()
	out, _, code, err := s.devices[device].Run(s.t.Context(), "rpm", "-q", "--qf", "%{VERSION}\n", name)
	s.try(err)
	if code != 0 {
		return ""
	}
	return strings.Join(strings.Fields(out), " ")
}

// hasRPM waits until a device has exactly these versions of a package.
func (s *rpmFleet) hasRPM(device, name, versions string) {
	s.t.Helper()
	s.until(device+" has "+name+" "+versions, func() bool { return s.rpm(device, name) == versions })
}

// offered waits until the devices say that they could take an application that they lack.
func (s *rpmFleet) offered(ref string) {
	s.t.Helper()
	s.until("the devices say that they could take "+ref, func() bool {
		for name := range s.devices {
			a, err := s.CLI(s.t.Context(), "why", name, ref)
			if err != nil || !strings.Contains(a.Stdout, "package deploy") {
				return false
			}
		}
		return true
	})
}

// onDevice runs a command on a device, whatever it ends with.
func (s *rpmFleet) onDevice(device string, argv ...string) (output string, code int) {
	s.t.Helper()
	out, errs, code, err := s.devices[device].Run(s.t.Context(), argv...)
	s.try(err)
	return out + errs, code
}

func TestRPM_FeedComesUpdatesGoesBackAndGoes(t *testing.T) {
	s := rpmDevices(t, "rpm1", "rpm2")
	s.publish(ledgerRPM("1.0"))
	s.subscribe()
	s.deploy("ledger", "1.0-1")
	s.hasRPM("rpm1", "ledger", "1.0")
	s.proven("rpm1", "ledger@1.0-1")
	s.onDevice("rpm1", "sh", "-c", "echo 'Monday: 12 EUR' >> /var/lib/ledger/books; echo currency=CHF > /etc/ledger.conf")

	s.publish(ledgerRPM("1.1"), ledgerRPM("2.0"))
	s.assent("feed", "refresh", "acme", "--wait")
	s.assent("update", "approve", "ledger@1.1-1", "--allow-superseded", "--wait")
	s.hasRPM("rpm1", "ledger", "1.1")
	s.assent("update", "approve", "ledger@2.0-1", "--wait")
	s.hasRPM("rpm1", "ledger", "2.0")
	s.proven("rpm2", "ledger@2.0-1")

	// Declined: it goes back, with its data and configuration.
	s.assent("update", "decline", "ledger@2.0-1", "--reason", "adds up wrongly")
	s.hasRPM("rpm1", "ledger", "1.1")
	s.hasRPM("rpm2", "ledger", "1.1")
	s.becomes("rpm1", "ledger@2.0-1", "removed")
	if out, _ := s.onDevice("rpm1", "cat", "/var/lib/ledger/books", "/etc/ledger.conf"); !strings.Contains(out, "Monday: 12 EUR") || !strings.Contains(out, "currency=CHF") {
		t.Errorf("data or configuration were lost: %s", out)
	}

	// By hand through dnf it is refused, under whatever name the file has; other files pass.
	two, one := s.build(ledgerRPM("2.0")), s.build(lab.RPM{Name: "mine", Version: "3", Files: map[string]string{"/usr/share/mine/x": "x\n"}})
	s.try(s.devices["rpm1"].Install(two, "/root/harmless.rpm"))
	s.try(s.devices["rpm1"].Install(one, "/root/mine.rpm"))
	dnf := func(args ...string) (string, int) {
		return s.onDevice("rpm1", append([]string{"dnf", "-y", "--disablerepo=*"}, args...)...)
	}
	out, code := dnf("install", "/root/harmless.rpm")
	if code == 0 || !strings.Contains(out, "ledger 2.0-1 (noarch) was declined") || s.rpm("rpm1", "ledger") != "1.1" {
		t.Errorf("dnf installed what was declined (exit code %d): %s", code, out)
	}
	if out, code := dnf("install", "/root/mine.rpm"); code != 0 || s.rpm("rpm1", "mine") != "3" {
		t.Errorf("dnf could not install somebody else's package (exit code %d): %s", code, out)
	}
	s.tells("guard_refused", "ledger", "2.0-1", "declined")

	// rpm by itself asks nobody; it is seen, and goes back again.
	s.try(s.devices["rpm2"].Install(two, "/root/two.rpm"))
	s.onDevice("rpm2", "rpm", "-U", "/root/two.rpm")
	s.hasRPM("rpm2", "ledger", "1.1")

	// All releases declined: it goes, for there was nothing before it.
	s.assent("update", "decline", "ledger@1.1-1", "--reason", "the shop is closed")
	s.hasRPM("rpm1", "ledger", "1.0")
	s.assent("update", "decline", "ledger@1.0-1", "--reason", "the shop is closed")
	s.hasRPM("rpm1", "ledger", "")
	s.hasRPM("rpm2", "ledger", "")
	if out, _ := s.onDevice("rpm1", "cat", "/var/lib/ledger/books"); !strings.Contains(out, "Monday: 12 EUR") {
		t.Errorf("the application's data went with it: %s", out)
	}
}

// blocked waits until an update is blocked on the device by a cause.
func (s *rpmFleet) blocked(device, ref, cause, word string) {
	s.t.Helper()
	now := s.becomes(device, ref, "blocked")
	if now.Cause != cause || !strings.Contains(now.Detail, word) {
		s.t.Errorf("%s is blocked by %s: %s; want %s with %q", ref, now.Cause, now.Detail, cause, word)
	}
}

func TestRPM_FaultsAreToldAndNeverCalledSuccess(t *testing.T) {
	s := rpmDevices(t, "rpm1")
	const wait = "if [ -e /etc/slow.hold ]; then touch /run/slow.started; while [ -e /etc/slow.hold ]; do sleep 0.1; done; fi"
	slow := func(version string) lab.RPM {
		return lab.RPM{Name: "slow", Version: version, Files: map[string]string{"/usr/share/slow/version": version}, Post: wait}
	}
	s.publish(slow("1.0"), ledgerRPM("1.0"),
		lab.RPM{Name: "failing", Version: "1.0", Files: map[string]string{"/usr/share/failing/x": "x"}, Post: "exit 3"},
		lab.RPM{Name: "needy", Version: "1.0", Requires: []string{"nobody-has-this"}, Files: map[string]string{"/usr/share/needy/x": "x"}})
	s.subscribe()
	s.deploy("slow", "1.0-1")
	s.proven("rpm1", "slow@1.0-1")
	s.deploy("ledger", "1.0-1")
	s.proven("rpm1", "ledger@1.0-1")
	// dnf ends with exit code 0 after a failed %post, and rpm forgets it (V3).
	s.deploy("failing", "1.0-1")
	if now := s.becomes("rpm1", "failing@1.0-1", "failed"); !strings.Contains(now.Detail, "%post(failing-1.0-1.noarch) scriptlet failed") {
		t.Errorf("a failed scriptlet: %+v", now)
	}
	s.deploy("needy", "1.0-1")
	s.blocked("rpm1", "needy@1.0-1", "unresolvable", "nothing provides nobody-has-this")

	// What somebody else's package needs is not taken off with it.
	s.try(s.devices["rpm1"].Install(s.build(lab.RPM{Name: "uses", Version: "1", Requires: []string{"ledger"}, Files: map[string]string{"/usr/share/uses/x": "x"}}), "/root/uses.rpm"))
	if out, code := s.onDevice("rpm1", "dnf", "-y", "--disablerepo=*", "install", "/root/uses.rpm"); code != 0 {
		t.Fatal(out)
	}
	s.assent("update", "decline", "ledger@1.0-1", "--reason", "no more")
	s.blocked("rpm1", "ledger@1.0-1", "removal_needed", "uses")
	s.hasRPM("rpm1", "ledger", "1.0")
	s.onDevice("rpm1", "rpm", "-e", "uses")
	s.hasRPM("rpm1", "ledger", "")

	// Other content under an approved name.
	swapped := slow("1.0")
	swapped.Files["/usr/share/slow/version"] = "something else"
	s.try(s.devices["rpm1"].Install(s.build(swapped), "/root/swapped.rpm"))
	if out, code := s.onDevice("rpm1", "dnf", "-y", "--disablerepo=*", "reinstall", "/root/swapped.rpm"); code == 0 || !strings.Contains(out, "is not the file that Assent knows") {
		t.Errorf("swapped content came in (exit code %d): %s", code, out)
	}

	// A dnf that is killed in %post leaves both versions; the next attempt at the same order repairs it.
	s.onDevice("rpm1", "touch", "/etc/slow.hold")
	s.publish(slow("2.0"))
	s.assent("feed", "refresh", "acme", "--wait")
	s.assent("update", "approve", "slow@2.0-1")
	s.until("dnf is in %post", func() bool {
		_, code := s.onDevice("rpm1", "test", "-e", "/run/slow.started")
		return code == 0
	})
	s.onDevice("rpm1", "sh", "-c", "kill -9 $(cat /var/lib/dnf/rpmdb_lock.pid)")
	s.onDevice("rpm1", "rm", "/etc/slow.hold")
	s.hasRPM("rpm1", "slow", "1.0 2.0")
	s.becomes("rpm1", "slow@2.0-1", "failed")
	s.until("the device says that its package manager is broken", func() bool {
		return strings.Contains(s.assent("device", "show", "rpm1"), "two versions are installed at once")
	})
	s.hasRPM("rpm1", "slow", "2.0")
	s.proven("rpm1", "slow@2.0-1")

	// rpm by itself asks nobody; how it came is told (V4).
	s.publish(slow("2.1"))
	s.try(s.devices["rpm1"].Install(s.build(slow("2.1")), "/root/slow.rpm"))
	s.onDevice("rpm1", "rpm", "-U", "/root/slow.rpm")
	s.assent("feed", "refresh", "acme", "--wait")
	s.until("what came by hand is told as such", func() bool { return s.on("rpm1", "slow@2.1-1").How == "by hand" })

	// A device that leaves gives dnf back.
	s.assent("update", "decline", "slow@2.0-1", "--reason", "too slow")
	if out, code := s.onDevice("rpm1", "sh", "-c", "ls /usr/lib/python3/dist-packages/dnf-plugins"); code != 0 || !strings.Contains(out, "assent_guard.py") {
		t.Errorf("the guard is not there: %s", out)
	}
	s.try(s.devices["rpm1"].Process("agent").Stop(t.Context()))
	if out, code := s.onDevice("rpm1", "assent-agent", "leave", "--yes"); code != 0 {
		t.Fatal(out)
	}
	if out, _ := s.onDevice("rpm1", "find", "/usr/lib/python3/dist-packages/dnf-plugins", "/var/lib/assent", "-name", "*assent*", "-o", "-name", "*.rpm"); strings.Contains(out, ".rpm\n") || strings.Contains(out, "assent_guard") {
		t.Errorf("left behind: %s", out)
	}
}
