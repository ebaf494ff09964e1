package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"assent/e2e/stage"
)

// agentBuild builds the agent as a version.
func agentBuild(t *testing.T, version string) []byte {
	t.Helper()
	to := filepath.Join(t.TempDir(), "assent-agent")
	build := exec.CommandContext(t.Context(), "go", "build", "-ldflags", "-s -w -X main.version="+version, "-o", to, "assent/cmd/assent-agent")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the agent %s: %v\n%s", version, err, out)
	}
	b, err := os.ReadFile(to)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// maker publishes Assent itself as components.
type maker struct {
	*script
	*stage.Vendor
	followed bool
}

// maker opens the feed of Assent's maker; the server follows it.
func (s *script) maker() *maker {
	s.t.Helper()
	v, err := s.NewVendor("assent")
	s.try(err)
	m := &maker{script: s, Vendor: v}
	s.assent("feed", "init", v.Dir, "--name", v.Name)
	return m
}

// agent publishes a version of the agent. What is no ELF file is a script.
func (m *maker) agent(version, program string) {
	m.t.Helper()
	file, err := m.Tree("assent-agent-"+version+".tar", map[string]string{"assent-agent": program})
	m.try(err)
	m.component("assent-agent", version, file)
}

func (m *maker) component(application, version, file string) {
	m.t.Helper()
	m.assent("feed", "add", m.Dir, file, "--application", application, "--version", version, "--class", "component", "--platform", "linux///amd64",
		"--not-removable", "it is Assent itself")
	m.release()
}

// release signs what was added and has the server look.
func (m *maker) release() {
	m.t.Helper()
	m.try(m.Publish(m.t.Context()))
	if !m.followed {
		m.assent("feed", "subscribe", m.Name, m.URL, "--root", m.Root())
		m.followed = true
	}
	m.assent("feed", "refresh", m.Name, "--wait")
}

// approve approves a version once the devices say that they could take it.
func (m *maker) approve(update string) {
	m.t.Helper()
	m.until(update+" can be decided", func() bool {
		var o struct {
			Preview struct{ Devices, Unclear int }
		}
		return m.knows(&o, "update", "approve", update, "--dry-run") && o.Preview.Devices == 1 && o.Preview.Unclear == 0
	})
	m.assent("update", "approve", update)
}

// runs waits until the server hears from a version of the agent.
func (m *maker) runs(version string) {
	m.t.Helper()
	m.until("the agent "+version+" runs", func() bool {
		var d struct{ Agent string }
		m.ask(&d, "device", "show", "web1")
		return d.Agent == version
	})
}

// selfUpdate tells the story of the agent's own versions on a device whose agent is of version 0.1.0.
func (m *maker) selfUpdate() {
	m.t.Helper()
	m.runs("0.1.0")
	m.agent("0.2.0", string(agentBuild(m.t, "0.2.0")))
	m.approve("assent-agent@0.2.0")
	m.runs("0.2.0")
	m.becomes("web1", "assent-agent@0.2.0", "installed")

	// A version that runs and never reaches the server, and one that cannot even start.
	for version, program := range map[string]string{"0.3.0": "#!/bin/sh\nexec sleep 1000\n", "0.3.1": "#!/bin/sh\nexit 1\n"} {
		m.agent(version, program)
		m.approve("assent-agent@" + version)
		st := m.becomes("web1", "assent-agent@"+version, "failed")
		if !strings.Contains(st.Detail, "went back to 0.2.0") {
			m.t.Errorf("%s failed with %q", version, st.Detail)
		}
		m.runs("0.2.0")
		m.assent("update", "decline", "assent-agent@"+version, "--reason", "it does not work")
	}
	m.assent("update", "approve", "acme-data@1.1") // the old one works as before
	m.proven("web1", "acme-data@1.1")
	m.until("what runs is known", func() bool {
		out := m.run("web1", "readlink", "/opt/assent/assent/assent-agent/current")
		return strings.TrimSpace(out) == "versions/0.2.0"
	})

	// C5: declined is blocked, and not uninstalled.
	m.assent("update", "decline", "assent-agent@0.2.0", "--reason", "we stay with what we know")
	m.assent("device", "refresh")
	if text := m.assent("why", "web1", "assent-agent@0.2.0"); !strings.Contains(text, "C5") || !strings.Contains(text, "never uninstalled") {
		m.t.Errorf("why: %s", text)
	}
	m.runs("0.2.0")
	m.agent("0.4.0", string(agentBuild(m.t, "0.4.0")))
	m.approve("assent-agent@0.4.0")
	m.runs("0.4.0")
	m.becomes("web1", "assent-agent@0.4.0", "installed")
}

const quick = `{"scan": "1s", "probation": "15s"}`

func TestN36_TheAgentKeepsItselfCurrentOnADevice(t *testing.T) {
	s := &script{open(t, "web1"), t}
	d := s.Device("web1")
	s.try(d.WriteFile("/etc/assent-agent/config.json", []byte(quick), 0o644))
	s.try(d.Enrol(t.Context(), "All devices"))
	s.updates()
	s.maker().selfUpdate()
}

func TestN36_TheAgentKeepsItselfCurrentAsAUnitOfSystemd(t *testing.T) {
	packages := debs(t, "0.1.0")
	s := installed(t)
	built := packages()
	s.installServer(built)
	_, err := stage.InstallPackages(t.Context(), s.web1.Device, built["assent-agent"])
	s.try(err)
	s.try(s.web1.WriteFile("/etc/assent-agent/config.json", []byte(quick), 0o644))
	s.run("web1", "systemctl", "restart", "assent-agent")
	s.try(s.all.EnrolUnit(t.Context(), s.web1, "All devices"))
	s.updates()
	m := s.maker()
	m.selfUpdate()
	s.is(s.web1.Device, "assent-agent", "NRestarts", "0")
	s.is(s.web1.Device, "assent-agent", "ActiveState", "active")
	s.reboot()
	m.runs("0.4.0")
	s.assent("update", "approve", "acme-lib@1.1", "--allow-superseded")
	s.proven("web1", "acme-lib@1.1")
	s.run("web1", "systemctl", "restart", "assent-agent")
	s.until("the version runs again below its launcher", func() bool {
		return strings.Contains(s.run("web1", "systemctl", "status", "assent-agent"), "/opt/assent/assent/assent-agent/versions/0.4.0/assent-agent")
	})
	s.purge()
}
