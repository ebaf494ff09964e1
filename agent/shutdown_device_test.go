package agent

import (
	"os"
	"strings"
	"testing"
	"time"

	"assent/installation"
	"assent/wire"
)

func TestT3_OnARealDeviceWhatWaitsForTheShutdownIsInstalledWhileItShutsDown(t *testing.T) {
	r := newSystemdDevice(t)
	unit, err := os.ReadFile("../packaging/assent-agent/assent-agent-shutdown.service")
	must(t, err)
	must(t, r.d.WriteFile("/lib/systemd/system/assent-agent-shutdown.service", unit, 0o644))
	r.says("systemctl", "enable", "--now", "--quiet", "assent-agent-shutdown")
	o := r.offers()
	boot2, data := o["acme-boot 2.0"], o["acme-data 1.1"]
	if len(boot2.Items) == 0 || len(data.Items) == 0 {
		t.Fatalf("not offered: have %v", o)
	}
	boot2.Terms = 1
	r.s.set(wire.Plan{Install: []wire.PlanInstall{boot2}, Terms: []wire.PlanTerms{{Task: "evenings", AtShutdown: true}}})
	r.s.wait(t, "acme-boot waits for the shutdown", r.s.at(boot2, installation.Blocked))
	if got := r.s.last(boot2); got.Cause != installation.WindowClosed || got.Detail != "It installs when the device shuts down." {
		t.Errorf("%+v", got)
	}

	// Stopping the unit is no shutdown.
	r.says("systemctl", "restart", "assent-agent-shutdown")
	if got := r.says("dpkg-query", "-f", "${Version}", "-W", "acme-boot"); got != "1.0" {
		t.Errorf("acme-boot is at %s though the device did not shut down", got)
	}

	first := r.boot()
	begin := time.Now()
	r.says("systemctl", "reboot")
	r.restarts(first, 3*time.Minute)
	t.Logf("the restart took %v", time.Since(begin))
	if got := r.says("dpkg-query", "-f", "${Version} ${db:Status-Abbrev}", "-W", "acme-boot"); strings.TrimSpace(got) != "2.0 ii" {
		t.Errorf("acme-boot is %q after the shutdown", got)
	}
	r.s.wait(t, "the server hears that acme-boot is installed", r.s.at(boot2, installation.Installed))
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	for _, rep := range r.s.reports {
		if rep.Update == boot2.Update && rep.Proof != nil && rep.Proof.Started.After(begin.Add(time.Minute)) {
			t.Errorf("it began only after the restart: %v", rep.Proof.Started)
		}
		if rep.State == installation.Failed {
			t.Errorf("%+v", rep)
		}
	}
	if len(r.s.illegal) > 0 {
		t.Errorf("transitions outside the table: %v", r.s.illegal)
	}
}
