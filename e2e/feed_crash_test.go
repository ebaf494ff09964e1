package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"assent/lab"
)

// deaths are the points of package journal at which the agents of single devices are killed, one after the other: each agent
// goes on where the last one died. Those after which a step is tried again later only (flight_filed, tree_announced) are left
// to the tests of packages agent and tree, which have a clock of their own.
var deaths = map[string][]string{
	"plan":   {"plan_stored", "plan_fenced", "fetched", "remembered"},
	"result": {"applied", "verified", "probed", "landed", "record_written:2"},
	"switch": {"record_torn", "tree_switched", "reports_sent"},
	"taking": {"tree_recorded", "tree_unlinked", "reports_forgotten"},
}

// fragile is the agent with its crash points armed.
func fragile(t *testing.T) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "assent-agent")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-tags", "crashtest", "-ldflags", "-X main.version=0.1.0", "-o", to, "assent/cmd/assent-agent")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the fragile agent: %v\n%s", err, out)
	}
	return to
}

// dies runs a device's agent until it is killed at a point.
func (s *script) dies(device, point string) {
	s.t.Helper()
	d := s.Device(device)
	p, err := d.StartProcess(s.t.Context(), lab.ProcessSpec{Name: "agent", Argv: []string{"/usr/bin/fragile-agent", "run"}, Env: []string{"ASSENT_CRASH_AT=" + point}})
	s.try(err)
	s.until(device+"'s agent dies at "+point, func() bool {
		_, err := p.PID()
		return err != nil
	})
	s.try(p.Wait(s.t.Context()))
}

func TestN46_AgentsKilledAtEachStepOfAStepBackAndARemovalConvergeWithOneEffect(t *testing.T) {
	binary := fragile(t)
	devices := []string{"plan", "result", "switch", "taking"}
	v := enrolled(open(t, devices...), t).opens("acme")
	for _, version := range []string{"1.0", "2.0"} {
		v.deb(app("desk", version))
		v.tree("ledger", version)
	}
	v.deb(app("pad", "1.0"))
	v.tree("note", "1.0")
	v.issue()
	for _, update := range []string{"desk@1.0", "ledger@1.0", "pad@1.0", "note@1.0"} {
		v.assent("update", "approve", update, "--allow-superseded")
		v.assent("package", "deploy", "--update", update, "--to", "All devices")
	}
	gone := []string{"desk@2.0", "ledger@2.0", "pad@1.0", "note@1.0"}
	for _, update := range []string{"desk@1.0", "ledger@1.0", "pad@1.0", "note@1.0"} {
		v.installed(update, devices...)
	}
	v.assent("update", "approve", gone[0], gone[1])
	v.installed(gone[0], devices...)
	v.installed(gone[1], devices...)

	for _, d := range devices {
		v.try(v.Device(d).Agent().Stop(t.Context()))
		v.try(v.Device(d).Install(binary, "/usr/bin/fragile-agent"))
	}
	v.assent(append(slices.Concat([]string{"update", "decline"}, gone), "--reason", "adds up wrongly")...)
	for _, d := range devices {
		for _, point := range deaths[d] {
			v.dies(d, point)
		}
	}
	for _, d := range devices {
		v.try(v.Device(d).StartAgent(t.Context()))
	}
	for _, d := range devices {
		for _, update := range gone {
			v.becomes(d, update, "removed")
		}
		if got := v.effects(d, "desk") + ", " + v.effects(d, "pad"); got != "1.0 2.0 1.0, 1.0 gone" {
			t.Errorf("dpkg on %s did %s", d, got)
		}
		if audit := v.run(d, "dpkg", "--audit"); audit != "" {
			t.Errorf("dpkg --audit on %s: %s", d, audit)
		}
		left := strings.Fields(v.run(d, "sh", "-c", "cd /opt/assent/acme; ls -A; readlink ledger/current; cat ledger/current/version; ls -A ledger"))
		if want := []string{"ledger", "versions/1.0", "1.0", "current", "versions"}; !slices.Equal(left, want) {
			t.Errorf("the trees on %s are %q, want %q", d, left, want)
		}
	}
}
