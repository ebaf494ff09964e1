package pkgmgrtest

import (
	"strings"
	"testing"

	"assent/catalog"
	"assent/wire"
)

// declineLib is a plan with a wall against acme-lib 2.0.
func declineLib(d *Device) wire.Plan {
	lib := d.Item("acme-lib", "2.0")
	return wire.Plan{Format: 1, Guard: "block_declined", Deny: []wire.PlanDeny{{
		Update: "udeclined", Software: catalog.Software{Ecosystem: "deb", Namespace: "acme", Name: "acme-lib"}, Version: "2.0",
		Items: []catalog.Item{lib}, Reason: "breaks\nVPN \x1b[31m", By: "alice", Act: 17}}}
}

// declinedStaysOut is promise 2 at the device: pins keep apt from choosing it, and
// the guard ends what names it.
func declinedStaysOut(t *testing.T, d *Device) {
	before := d.Sh("find /etc/apt -type f | sort | xargs sha256sum")
	d.Fence(declineLib(d))
	fenced := d.Sh("find /etc/apt -type f | xargs ls -li --time-style=full-iso")
	d.Fence(declineLib(d))
	if again := d.Sh("find /etc/apt -type f | xargs ls -li --time-style=full-iso"); again != fenced {
		t.Errorf("fencing twice changed files:\n%s\n%s", fenced, again)
	}
	if out := d.Sh("apt-cache policy acme-lib"); !strings.Contains(out, "Candidate: 1.1") {
		t.Errorf("candidate: %s", out)
	}
	out, code := d.Try("apt-get -y -q install acme-lib=2.0")
	if code == 0 || !strings.Contains(out, "declined by alice") || !strings.Contains(out, "decision 17") || strings.Contains(out, "\x1b[31m") {
		t.Errorf("exit code %d:\n%s", code, out)
	}
	out, code = d.Try("cd /tmp && apt-get -q download acme-lib=2.0 && apt-get -y -q install ./acme-lib_2.0_*.deb")
	if code == 0 || !strings.Contains(out, "declined by alice") {
		t.Errorf("a local file: exit code %d:\n%s", code, out)
	}
	if out, code := d.Try("apt-get -y -q install acme-app=2.0"); code == 0 {
		t.Errorf("as a dependency: %s", out)
	}
	if v := d.Version("acme-lib"); v != "ii 1.0" {
		t.Errorf("acme-lib is %s", v)
	}
	d.Sh("apt-get -y -q install --only-upgrade acme-lib")
	if v := d.Version("acme-lib"); v != "ii 1.1" {
		t.Errorf("the next best version did not come instead: acme-lib %s", v)
	}
	if out := d.Sh("apt-mark showhold"); out != "" {
		t.Errorf("held: %s", out)
	}
	d.must(d.Call(request{Method: "Unfence"}).err())
	if after := d.Sh("find /etc/apt -type f | sort | xargs sha256sum; ls -d /var/cache/assent-agent 2>/dev/null || true"); after != before {
		t.Errorf("a trace is left:\n%s\n%s", before, after)
	}
}

func agentGone(t *testing.T, d *Device) {
	d.Fence(declineLib(d))
	d.Sh("rm /usr/bin/assent-agent && apt-get -y -q install acme-tool=1.1")
	if v := d.Version("acme-tool"); v != "ii 1.1" {
		t.Errorf("acme-tool is %s", v)
	}
}

func unreadablePlan(t *testing.T, d *Device) {
	d.Fence(declineLib(d))
	d.Sh("echo '{' > /var/lib/assent-agent/plan.json")
	if out, code := d.Try("apt-get -y -q install acme-tool=1.1"); code == 0 || !strings.Contains(out, "cannot be checked") {
		t.Errorf("exit code %d: %s", code, out)
	}
	d.Sh("rm /var/lib/assent-agent/plan.json && apt-get -y -q install acme-tool=1.1")
}

// unattendedUpgrades uses the real unattended-upgrade: it asks apt through python, where the pins count, and
// installs through libapt, where the guard does.
func unattendedUpgrades(t *testing.T, d *Device) {
	conf := "Unattended-Upgrade::Origins-Pattern { \"origin=Acme\"; };\nUnattended-Upgrade::Package-Blacklist {\"acme-(svc|slow|removes|conf)\";};\n" +
		"Unattended-Upgrade::DevRelease \"false\";\nUnattended-Upgrade::InstallOnShutdown \"false\";\n"
	d.must(d.WriteFile("/etc/apt/apt.conf.d/52unattended", []byte(conf), 0o644))
	d.Fence(declineLib(d))
	out, _ := d.Try("unattended-upgrade -v 2>&1")
	if lib, data := d.Version("acme-lib"), d.Version("acme-data"); lib != "ii 1.1" || data != "ii 1.1" {
		t.Errorf("acme-lib %s, acme-data %s, want 1.1 of both:\n%s", lib, data, out)
	}
	// Without the pins it would choose the declined version, and the guard ends that.
	d.Sh("rm /etc/apt/preferences.d/assent-declined")
	out, _ = d.Try("unattended-upgrade -v 2>&1; cat /var/log/unattended-upgrades/*.log")
	if v := d.Version("acme-lib"); v != "ii 1.1" {
		t.Errorf("acme-lib is %s:\n%s", v, out)
	}
	if events := d.Sh("cat /var/lib/assent-agent/events/*.json"); !strings.Contains(events, "guard_refused") {
		t.Errorf("events: %s", events)
	}
}
