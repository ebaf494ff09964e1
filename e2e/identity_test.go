package e2e

import (
	"encoding/json"
	"strings"
	"testing"

	"assent/e2e/stage"
)

// token makes an enrolment token and returns its text.
func (s *script) token(args ...string) string {
	s.t.Helper()
	var token struct{ Text string }
	s.ask(&token, append([]string{"token", "create"}, args...)...)
	return token.Text
}

const agentPort = "https://10.77.0.1:8443"

func TestEnrol_OnlyAGoodTokenOfThisServerEnrolsAndOnlyOnce(t *testing.T) {
	s := &script{open(t, "web1", "web2"), t}
	enrol := func(token string) []string {
		return []string{"assent-agent", "enrol", "--server", agentPort, "--token", token}
	}
	good := s.token("--uses", "1")
	parts := strings.Split(good, "-") // assent1-ID-SECRET-FINGERPRINT
	with := func(i int, text string) string {
		p := append([]string{}, parts...)
		p[i] = text
		return strings.Join(p, "-")
	}
	other := func(text string) string {
		return strings.Map(func(r rune) rune {
			if r == '0' {
				return '1'
			}
			return '0'
		}, text)
	}
	s.fails("web1", "token_malformed", enrol("nonsense")...)
	s.fails("web1", "token_malformed", enrol(good+"x")...)
	s.fails("web1", "token_unknown", enrol(with(2, other(parts[2])))...)
	s.fails("web1", "ca_mismatch", enrol(with(3, other(parts[3])))...)
	var none struct{ Items []shown }
	if s.ask(&none, "device", "list"); len(none.Items) != 0 {
		t.Fatalf("a bad token enrolled a device: %+v", none.Items)
	}

	s.run("web1", enrol(good)...)
	s.fails("web2", "token_spent", enrol(good)...)
	revoked := s.token("--uses", "5")
	s.assent("token", "revoke", strings.Split(revoked, "-")[1])
	s.fails("web2", "token_spent", enrol(revoked)...)
	s.fails("web2", "not enrolled", "assent-agent", "why", "acme-lib")
}

func TestClone_TwoMachinesWithOneIdentityGetNothingUntilSomebodyLooks(t *testing.T) {
	s := fleet(t, "web1")
	web1 := s.Device("web1")
	twin, err := web1.Clone(t.Context(), "web1-copy") // its agent starts at boot, with the same key
	s.try(err)
	mark := "hold"
	s.until("the copy is noticed", func() bool {
		s.refresh() // the one that waits for news hears of it; the other has news of its own
		s.run("web1", "apt-mark", mark, "acme-phased")
		mark = map[string]string{"hold": "unhold", "unhold": "hold"}[mark]
		return s.show("web1").State == "quarantined"
	})
	if status := s.assent("status"); !strings.Contains(status, "web1 is quarantined") {
		t.Errorf("the status does not say so:\n%s", status)
	}
	if d := s.show("web1"); !strings.Contains(d.Reason, "two agents") {
		t.Errorf("the reason is %q", d.Reason)
	}
	s.assent("update", "approve", "acme-data@1.1")
	s.until("the agent knows that it is quarantined", func() bool {
		log, err := web1.Agent().Log()
		return err == nil && strings.Contains(log, "quarantined")
	})
	s.has("web1", "acme-data", "1.0")
	if v, err := (&stage.Device{Device: twin}).Version(t.Context(), "acme-data"); err != nil || v != "1.0" {
		t.Errorf("the copy got acme-data %s, %v", v, err)
	}

	// A copy that knows that it is one does not even start.
	copied := twin.Process("agent")
	s.try(copied.Kill(t.Context()))
	s.try(twin.WriteFile("/etc/machine-id", []byte("0123456789abcdef0123456789abcdef\n"), 0o644))
	out, errOut, code, err := twin.Run(t.Context(), "assent-agent", "run")
	s.try(err)
	if code == 0 || !strings.Contains(out+errOut, "cloned_identity") {
		t.Errorf("the copy with a machine-id of its own: exit code %d: %s", code, out+errOut)
	}

	s.assent("device", "release", "web1", "--reason", "the copy is gone")
	s.try(web1.Agent().Restart(t.Context())) // instead of waiting until it asks again
	s.proven("web1", "acme-data@1.1")
}

func TestRetire_TheDeviceIsRefusedAtTheHandshakeAndComesBackOnlyByEnrolment(t *testing.T) {
	s := fleet(t, "web1")
	web1 := s.Device("web1")
	s.assent("update", "decline", "acme-lib@2.0", "--reason", "not here")
	s.walled("web1", "acme-lib", "not here")
	s.assent("device", "retire", "web1", "--reason", "sold")
	s.until("the agent is refused", func() bool {
		log, err := web1.Agent().Log()
		return err == nil && strings.Contains(log, "tls: ")
	})
	s.assent("update", "approve", "acme-data@1.1")
	s.fails("web1", "declined", aptGet("install", "acme-lib=2.0")...) // its walls outlast it
	s.has("web1", "acme-data", "1.0")
	s.refused(7, "device_retired", "device", "release", "web1")

	s.try(web1.Agent().Stop(t.Context()))
	s.run("web1", "assent-agent", "enrol", "--force", "--server", agentPort, "--token", s.token())
	s.try(web1.StartAgent(t.Context()))
	s.until("acme-data is there", func() bool { return s.version("web1", "acme-data") == "1.1" })
}

func TestGuard_ApprovedOnlyLetsNothingElseIn(t *testing.T) {
	s := fleet(t, "web1")
	web1 := s.Device("web1")
	s.assent("group", "guard", "All devices", "approved-only")
	s.until("the guard is as strict as it should be", func() bool { return s.show("web1").Facts.Guard == "approved_only" })
	s.fails("web1", "approved", aptGet("install", "acme-tool=1.1")...)
	s.has("web1", "acme-tool", "1.0")
	s.tells("guard_refused", "acme-tool", "not_approved")

	// What is approved a person may install, too: here before the agent does.
	s.hold("web1")
	s.assent("update", "approve", "acme-slow@1.1")
	s.inPostinst("web1")
	s.assent("update", "approve", "acme-lib@1.1", "--allow-superseded", "--reason", "tested")
	s.until("the agent has the plan", func() bool { return strings.Contains(s.run("web1", "assent-agent", "why", "acme-lib"), "tested") })
	s.try(web1.Agent().Kill(t.Context()))
	s.release("web1")
	s.run("web1", aptGet("install", "acme-lib=1.1")...)
	s.has("web1", "acme-lib", "1.1")
	s.fails("web1", "approved", aptGet("install", "acme-lib=2.0")...)
	s.try(web1.StartAgent(t.Context()))
	s.proven("web1", "acme-slow@1.1")

	s.assent("group", "guard", "All devices", "observe")
	s.until("the guard only looks", func() bool { return s.show("web1").Facts.Guard == "observe" })
	s.assent("update", "decline", "acme-tool@1.1", "--reason", "only to see")
	s.until("the agent knows", func() bool { return strings.Contains(s.run("web1", "assent-agent", "why", "acme-tool"), "only to see") })
	s.run("web1", aptGet("-o", "Dir::Etc::PreferencesParts=/dev/null", "install", "acme-tool=1.1")...)
	s.tells("observed_install", "acme-tool", "declined")
}

func TestLeave_WithoutATrace(t *testing.T) {
	s := fleet(t, "web1")
	web1 := s.Device("web1")
	before := s.run("web1", "sh", "-c", "rm -f /etc/assent-agent/config.json; rmdir /etc/assent-agent; find / -xdev -iname '*assent*' -not -path '/proc/*' | sort") // with the agent's walls
	if !strings.Contains(before, "assent-declined") && !strings.Contains(before, "/etc/apt/apt.conf.d/") {
		t.Fatalf("there is no trace that could go:\n%s", before)
	}
	s.assent("update", "decline", "acme-lib@2.0", "--reason", "not here")
	s.walled("web1", "acme-lib", "not here")
	s.fails("web1", "stop it first", "assent-agent", "leave", "--yes")
	s.try(web1.Agent().Stop(t.Context()))
	if said := s.run("web1", "assent-agent", "leave", "--yes"); !strings.Contains(said, "the server has retired it") {
		t.Errorf("it said %q", said)
	}
	s.until("the server has retired it", func() bool { return s.show("web1").State == "retired" })

	if left := strings.TrimSpace(s.run("web1", "sh", "-c", "find / -xdev -iname '*assent*' -not -path '/proc/*' | sort")); left != "/usr/bin/assent-agent" {
		t.Errorf("it left behind:\n%s", left)
	}
	if conf := s.run("web1", "apt-config", "dump"); strings.Contains(conf, "assent") {
		t.Error("apt still knows of it")
	}
	s.run("web1", aptGet("install", "acme-lib=2.0")...)
	s.has("web1", "acme-lib", "2.0")
	var status struct{ Enrolled bool }
	out, _, _, err := web1.Run(t.Context(), "assent-agent", "status", "--json")
	if err == nil && out != "" {
		err = json.Unmarshal([]byte(out), &status)
	}
	if err != nil || status.Enrolled {
		t.Errorf("still enrolled: %v\n%s", err, out)
	}
}
