package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"assent/lab/debrepo"
)

// till is an application that says whether it is well in a file. From 2.0 on it is not where a device has the old card reader.
func till(version string) debrepo.Package {
	broken := "false"
	if version != "1.0" {
		broken = "[ -e /etc/old-card-reader ]"
	}
	return debrepo.Package{Name: "acme-till", Version: version, Description: "Acme's till",
		Files: map[string]string{"/usr/lib/acme-till/version": version + "\n"},
		PostInst: fmt.Sprintf("#!/bin/sh\nset -e\n[ \"$1\" = configure ] || exit 0\nmkdir -p /var/lib/acme-till\n"+
			"if %s; then echo no card reader > /var/lib/acme-till/health; else echo well > /var/lib/acme-till/health; fi\n", broken)}
}

// tillTask rolls the till out through Test, Pilot and Production, asks its health after every install, and takes it back where it
// is not well.
func tillTask(soak string) string {
	sum := sha256.Sum256([]byte("well\n"))
	ring := func(name, more string) string {
		return "  - name: " + name + "\n    groups: [" + name + "]\n    success_per_mille: 1000\n    failure_limit: 1\n    probes_required: true\n" + more
	}
	return "id: tills\nname: Tills\ntargets:\n  groups: [Test, Pilot, Production]\nrules:\n  - name: the till\n    admits: approved\n    criteria: name == \"acme-till\"\n" +
		"probes:\n  - type: file\n    path: /var/lib/acme-till/health\n    sha256: " + hex.EncodeToString(sum[:]) + "\n    timeout: 2\non_failure: restore\nrings:\n" +
		ring("Test", "    soak: "+soak+"\n") + ring("Pilot", "    soak: 2d\n") + ring("Production", "")
}

// TestTasks_RingsHaltABadUpdateInPilotAndTakeItBackThere is "Done means" of rings on real devices: Test takes the update and
// soaks, Pilot is where it fails, and Production never sees it.
func TestTasks_RingsHaltABadUpdateInPilotAndTakeItBackThere(t *testing.T) {
	s := enrolled(open(t, "test1", "pilot1", "prod1"), t)
	for group, device := range map[string]string{"Test": "test1", "Pilot": "pilot1", "Production": "prod1"} {
		s.assent("group", "create", group)
		s.assent("device", "move", device, "--to", group)
	}
	v := s.opens("acme")
	v.deb(till("1.0"))
	v.issue()
	s.rolledOut("acme-till@1.0", "test1", "pilot1", "prod1")
	s.try(s.Device("pilot1").WriteFile("/etc/old-card-reader", nil, 0o644))

	file := filepath.Join(t.TempDir(), "tills.yaml")
	s.try(os.WriteFile(file, []byte(tillTask("5s")), 0o600))
	s.assent("task", "create", "-f", file)
	v.deb(till("2.0"))
	v.issue()
	s.assent("update", "approve", "acme-till@2.0")

	s.until("ring Test took it", func() bool { return s.version("test1", "acme-till") == "2.0" })
	s.until("the rollout is halted at ring Pilot", func() bool {
		r, ok := s.rollout("Tills", "acme-till@2.0")
		return ok && r.Phase == "halted" && r.Ring == "Pilot"
	})
	r, _ := s.rollout("Tills", "acme-till@2.0")
	for i, want := range []string{"passed", "halted", "waiting"} {
		if r.Rings[i].Phase != want {
			t.Errorf("ring %s is %s, want %s", r.Rings[i].Ring, r.Rings[i].Phase, want)
		}
	}
	if r.Rings[0].Rate != "1 of 1" || r.Rings[1].Rate != "0 of 1" {
		t.Errorf("succeeded in Test %q, in Pilot %q", r.Rings[0].Rate, r.Rings[1].Rate)
	}
	s.goes("pilot1", "acme-till", "1.0") // by itself: the probe said so, nobody acted
	s.explains("pilot1", "acme-till@2.0", "its health probe failed on this device", "Tills")
	s.explains("prod1", "acme-till@2.0", `halted at ring "Pilot"`, "1 device failed")
	s.explains("test1", "acme-till@2.0", "is installed on test1")
	shown := s.assent("rollout", "show", "Tills", "acme-till@2.0")
	for _, word := range []string{"halted", "pilot1", "Pilot", "1 of 1"} {
		if !strings.Contains(shown, word) {
			t.Errorf("`assent rollout show` does not say %q:\n%s", word, shown)
		}
	}
	if status := s.assent("status"); !strings.Contains(status, `The rollout of acme-till 2.0 by "Tills" is halted at ring "Pilot"`) {
		t.Errorf("the status does not speak of it:\n%s", status)
	}
	if got := s.version("prod1", "acme-till"); got != "1.0" {
		t.Errorf("Production has %q", got)
	}
	if got := s.version("test1", "acme-till"); got != "2.0" {
		t.Errorf("Test has %q", got)
	}
	s.staysHalted()
}

// staysHalted restarts the server: the halt is there again with the reasons, and Production still has nothing of it.
func (s *script) staysHalted() {
	s.t.Helper()
	s.try(s.Server.Kill())
	s.try(s.Server.Start(s.t.Context()))
	r, ok := s.rollout("Tills", "acme-till@2.0")
	if !ok || r.Phase != "halted" || r.Ring != "Pilot" {
		s.t.Errorf("after the server was killed: %+v", r)
	}
	s.explains("prod1", "acme-till@2.0", `halted at ring "Pilot"`)
	if got := s.version("prod1", "acme-till"); got != "1.0" {
		s.t.Errorf("Production has %q", got)
	}
}

// rolled is what the tests read of a rollout.
type rolled struct {
	Phase, Ring string
	Rings       []struct{ Ring, Phase, Rate string }
}

func (s *script) rollout(task, update string) (r rolled, ok bool) {
	s.t.Helper()
	ok = s.knows(&r, "rollout", "show", task, update)
	return r, ok
}
