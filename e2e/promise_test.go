package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"assent/lab"
)

// swapTool publishes another content of acme-tool 1.1, correctly signed by Acme.
func (s *script) swapTool() {
	s.t.Helper()
	main, _ := lab.AcmeSuites(1)
	for i, p := range main.Packages {
		if p.Name == "acme-tool" && p.Version == "1.1" {
			main.Packages[i].Files = map[string]string{"/usr/bin/acme-tool": "#!/bin/sh\necho something else\n"}
		}
	}
	s.try(s.Repo.Publish(main))
}

// digest is the SHA-256 under which a device is offered a version.
func (s *script) digest(device, pkg, version string) string {
	s.t.Helper()
	for line := range strings.Lines(s.run(device, "apt-cache", "show", "--no-all-versions", pkg+"="+version)) {
		if sum, ok := strings.CutPrefix(line, "SHA256: "); ok {
			return strings.TrimSpace(sum)
		}
	}
	s.t.Fatalf("%s is offered no %s %s", device, pkg, version)
	return ""
}

func TestPromise1_SwappedContentUnderTheSameVersionIsRefused(t *testing.T) {
	s := fleet(t, "web1")
	approved := s.digest("web1", "acme-tool", "1.1")
	// The device is at work while the approval arrives, so that the archive can be changed before the download.
	s.hold("web1")
	s.assent("update", "approve", "acme-slow@1.1")
	s.inPostinst("web1")
	s.assent("update", "approve", "acme-tool@1.1", "--allow-superseded")
	s.swapTool()
	s.run("web1", "apt-get", "-q", "update")
	swapped := s.digest("web1", "acme-tool", "1.1")
	if swapped == approved {
		t.Fatal("the archive still has the approved content")
	}
	s.release("web1")

	now := s.becomes("web1", "acme-tool@1.1", "blocked")
	s.until("the block names both digests", func() bool {
		now = s.on("web1", "acme-tool@1.1")
		return now.Cause == "digest_mismatch" && strings.Contains(now.Detail, approved) && strings.Contains(now.Detail, swapped)
	})
	s.has("web1", "acme-tool", "1.0")
	s.fails("web1", approved, aptGet("install", "acme-tool=1.1")...)
	s.has("web1", "acme-tool", "1.0")
	s.tells("guard_refused", "acme-tool", approved, swapped)
	s.until("the status names the conflict", func() bool { // the event is faster than the scan that shows it
		status := s.assent("status")
		return strings.Contains(status, "acme-tool") && strings.Contains(status, "different contents")
	})

	s.publish(1) // Acme takes it back
	s.refresh()
	s.proven("web1", "acme-tool@1.1")
}

// unattended configures unattended-upgrades for Acme's updates but those that fail or wait by design.
const unattended = `Unattended-Upgrade::Origins-Pattern { "origin=Acme"; };
Unattended-Upgrade::Package-Blacklist {"acme-(svc|slow|removes|conf)";};
Unattended-Upgrade::DevRelease "false";
Unattended-Upgrade::InstallOnShutdown "false";
`

func TestPromise2_DeclineWall(t *testing.T) {
	s := fleet(t, "web1")
	web1 := s.Device("web1")
	s.run("web1", "apt-mark", "hold", "acme-svc", "acme-slow", "acme-removes", "acme-conf")
	s.try(web1.WriteFile("/etc/apt/apt.conf.d/52unattended", []byte(unattended), 0o644))
	s.assent("update", "decline", "acme-lib@2.0", "--reason", "loses data")
	s.walled("web1", "acme-lib", "loses data")

	out := func(how string) {
		t.Helper()
		if v := s.version("web1", "acme-lib"); v == "2.0" || v == "" {
			t.Fatalf("after %s acme-lib is %q", how, v)
		}
	}
	attack := func(when string) {
		t.Helper()
		s.fails("web1", "declined", aptGet("install", "acme-lib=2.0")...)
		out("install of the version " + when)
		s.fails("web1", "declined", aptGet("install", "acme-app=2.0", "acme-lib=2.0")...)
		out("install beside one that needs it " + when)
		s.fails("web1", "acme-lib", aptGet("install", "acme-app=2.0")...)
		out("install of one that needs it " + when)
		s.fails("web1", "declined", aptGet("-o", "Dir::Etc::Preferences=/dev/null", "-o", "Dir::Etc::PreferencesParts=/dev/null", "install", "acme-app=2.0")...)
		out("install without pins " + when)
	}
	attack("at first")
	s.run("web1", "unattended-upgrade", "-v")
	out("unattended-upgrade")
	s.run("web1", aptGet("upgrade")...)
	out("upgrade")
	s.run("web1", aptGet("dist-upgrade")...)
	out("dist-upgrade")
	s.has("web1", "acme-lib", "1.1") // the others go on
	s.has("web1", "acme-data", "1.1")
	s.tells("guard_refused", "acme-lib", "2.0", "declined")

	s.try(s.Server.Stop())
	s.try(s.Server.Start(t.Context()))
	s.try(web1.Agent().Restart(t.Context()))
	attack("after a restart of server and agent")
	s.try(s.Server.Kill())
	s.try(web1.Reboot(t.Context()))
	attack("after a restart of the device, without a server")

	s.try(s.Server.Start(t.Context()))
	s.refused(4, "declined", "update", "approve", "acme-lib@2.0")
	s.assent("update", "approve", "--all-matching", "--search", "acme-lib", "--yes")
	s.assent("update", "approve", "acme-app@2.0")
	now := s.becomes("web1", "acme-app@2.0", "blocked")
	if now.Cause != "declined_dependency" {
		t.Errorf("acme-app 2.0 needs what is declined: %+v", now)
	}
	out("bulk approval and approval of one that needs it")
}

// walled waits until a device keeps a package out for this reason.
func (s *script) walled(device, pkg, reason string) {
	s.t.Helper()
	s.until("the wall against "+pkg+" stands on "+device, func() bool {
		out, _, _, err := s.Device(device).Run(s.t.Context(), "assent-agent", "why", pkg)
		if err != nil || !strings.Contains(out, reason) {
			return false
		}
		pins, _, code, err := s.Device(device).Run(s.t.Context(), "cat", "/etc/apt/preferences.d/assent-declined")
		return err == nil && code == 0 && strings.Contains(pins, pkg)
	})
}

func TestV5_TheAgentActsOnItsLastPlanWithoutTheServer(t *testing.T) {
	s := fleet(t, "web1")
	web1 := s.Device("web1")
	s.hold("web1")
	s.assent("update", "approve", "acme-slow@1.1")
	s.inPostinst("web1")
	s.assent("update", "approve", "acme-lib@1.1", "--allow-superseded")
	s.assent("update", "decline", "acme-tool@1.1", "--reason", "not yet")
	s.walled("web1", "acme-tool", "not yet") // so the agent has the plan with both
	s.try(s.Server.Kill())
	s.has("web1", "acme-lib", "1.0")

	s.release("web1")
	s.until("the plan's next install is done without a server", func() bool { return s.version("web1", "acme-lib") == "1.1" })
	s.fails("web1", "declined", aptGet("install", "acme-tool=1.1")...)
	s.try(web1.Agent().Restart(t.Context()))

	s.try(s.Server.Start(t.Context()))
	s.proven("web1", "acme-slow@1.1")
	s.proven("web1", "acme-lib@1.1")
	s.tells("guard_refused", "acme-tool", "declined")
}

func TestV4_WhatOthersInstallIsNeitherOurSuccessNorOurFailure(t *testing.T) {
	s := fleet(t, "web1")
	web1 := s.Device("web1")
	s.try(web1.Agent().Kill(t.Context()))
	s.assent("update", "approve", "acme-lib@1.1", "--allow-superseded")
	s.run("web1", aptGet("install", "acme-lib=1.1")...)
	s.try(web1.WriteFile("/etc/apt/apt.conf.d/52unattended", []byte(strings.Replace(unattended, "svc|slow|removes|conf", "svc|slow|removes|conf|lib|app|tool", 1)), 0o644))
	s.run("web1", "unattended-upgrade")
	s.try(web1.StartAgent(t.Context()))

	now := s.becomes("web1", "acme-lib@1.1", "installed")
	s.until("the device says how acme-lib came", func() bool {
		now = s.on("web1", "acme-lib@1.1")
		return strings.HasPrefix(now.How, "by hand") && strings.Contains(now.How, "apt-get")
	})
	if now.Proof != nil {
		t.Errorf("an install by hand carries our proof: %+v", now)
	}
	if now := s.becomes("web1", "acme-data@1.1", "installed"); now.How != "unattended-upgrades" {
		t.Errorf("acme-data came by unattended-upgrades, not %q", now.How)
	}
	for _, state := range []string{"failed", "blocked", "result_unknown"} {
		var q struct{ Items []standing }
		s.ask(&q, "queue", "list", "--state", state)
		if len(q.Items) > 0 {
			t.Errorf("%s: %+v", state, q.Items)
		}
	}
}

func TestPromise2_ADeviceRefusesThePlansOfARestoredBackupAndSaysSo(t *testing.T) {
	s := fleet(t, "web1")
	s.try(s.Server.Stop())
	backup := filepath.Join(t.TempDir(), "backup")
	copyTree(t, s.Server.Data, backup)
	s.try(s.Server.Start(t.Context()))
	s.assent("update", "decline", "acme-lib@2.0", "--reason", "loses data")
	s.walled("web1", "acme-lib", "loses data")

	s.try(s.Server.Stop())
	s.try(os.RemoveAll(s.Server.Data))
	copyTree(t, backup, s.Server.Data)
	s.try(s.Server.Start(t.Context()))
	s.tells("plan_refused", "restored from a backup")
	s.fails("web1", "declined", aptGet("install", "acme-lib=2.0")...)

	// The restored ledger grows past what the device saw, by other acts; an approval of the declined update is one of them.
	for _, name := range []string{"A", "B", "C", "D"} {
		s.assent("group", "create", name)
	}
	s.assent("update", "approve", "acme-lib@2.0")
	s.tells("plan_refused", "another ledger")
	s.fails("web1", "declined", aptGet("install", "acme-lib=2.0")...)
	s.has("web1", "acme-lib", "1.0")
	if out := s.assent("status"); !strings.Contains(out, "refused its plan") {
		t.Errorf("the status says nothing of it:\n%s", out)
	}
}

// copyTree copies a directory with its modes, as a backup does.
func copyTree(t *testing.T, from, to string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "cp", "-a", "--", from, to).CombinedOutput(); err != nil {
		t.Fatalf("copy %s: %v\n%s", from, err, out)
	}
}
