package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// acts are the sequence numbers and texts of the ledger, newest first.
func (s *script) acts() []string {
	s.t.Helper()
	var list struct {
		Items []struct {
			Seq  int64
			Text string
		}
	}
	s.ask(&list, "ledger", "list", "--all")
	var out []string
	for _, e := range list.Items {
		out = append(out, fmt.Sprint(e.Seq, " ", e.Text))
	}
	return out
}

// verified exports the ledger and verifies it offline.
func (s *script) verified() {
	s.t.Helper()
	file := filepath.Join(s.t.TempDir(), "ledger.jsonl")
	s.assent("ledger", "export", "--output", file)
	s.assent("ledger", "verify", file)
}

func TestCrash_KilledServerLosesNoAcknowledgedActAndTheDevicesGoOn(t *testing.T) {
	s := fleet(t, "web1")
	s.hold("web1")
	s.assent("update", "approve", "acme-slow@1.1", "acme-suite@1.1", "--reason", "before the crash")
	s.inPostinst("web1")

	// Acts are made until the server dies under them; what was acknowledged is written down.
	acknowledged, ended := []string{}, make(chan struct{})
	enough := make(chan struct{})
	go func() {
		defer close(ended)
		for i := range 1000 {
			name := fmt.Sprintf("group-%d", i)
			if a, err := s.CLI(t.Context(), "group", "create", name); err != nil || a.Code != 0 {
				return
			}
			acknowledged = append(acknowledged, name)
			if i == 10 {
				close(enough)
			}
		}
	}()
	select {
	case <-enough:
	case <-ended:
		t.Fatal("no group could be created")
	}
	s.try(s.Server.Kill())
	<-ended
	s.release("web1")
	s.until("the package manager finished although there is no server", func() bool { return s.version("web1", "acme-slow") == "1.1" })

	s.try(s.Server.Start(t.Context()))
	acts, groups := strings.Join(s.acts(), "\n"), s.assent("group", "list")
	for _, name := range acknowledged {
		if !strings.Contains(acts, name) || !strings.Contains(groups, name) {
			t.Errorf("%s was acknowledged and is lost", name)
		}
	}
	if !strings.Contains(acts, "acme-slow") {
		t.Errorf("the approval is lost:\n%s", acts)
	}
	s.proven("web1", "acme-slow@1.1")
	s.proven("web1", "acme-suite@1.1")
	s.verified()
	before := s.acts()
	s.try(s.Server.Kill())
	s.try(s.Server.Start(t.Context()))
	if after := s.acts(); strings.Join(after, "\n") != strings.Join(before, "\n") {
		t.Errorf("the ledger after the crash:\n%s\n\nbefore:\n%s", strings.Join(after, "\n"), strings.Join(before, "\n"))
	}
	s.assent("update", "approve", "acme-lib@1.1", "--allow-superseded")
	s.proven("web1", "acme-lib@1.1")
}

// configured counts how often dpkg configured acme-slow 1.1.
func (s *script) configured(device string) int {
	s.t.Helper()
	log, err := s.Device(device).ReadFile("/var/log/dpkg.log")
	s.try(err)
	n := 0
	for line := range strings.Lines(string(log)) {
		if strings.Contains(line, " configure acme-slow:") && strings.Contains(line, " 1.1 ") {
			n++
		}
	}
	return n
}

func TestV3_AKilledAgentLeavesThePackageManagerAloneAndReportsTheResultOnce(t *testing.T) {
	s := fleet(t, "web1")
	web1 := s.Device("web1")
	s.hold("web1")
	s.assent("update", "approve", "acme-slow@1.1")
	s.inPostinst("web1")
	s.try(web1.Agent().Kill(t.Context()))
	s.try(web1.StartAgent(t.Context())) // while the package manager is at work
	s.becomes("web1", "acme-slow@1.1", "installing")
	s.try(web1.Agent().Kill(t.Context()))
	s.release("web1")
	s.until("the package manager finished without an agent", func() bool { return s.version("web1", "acme-slow") == "1.1" })

	s.try(web1.StartAgent(t.Context()))
	s.proven("web1", "acme-slow@1.1")
	if n := s.configured("web1"); n != 1 {
		t.Errorf("acme-slow 1.1 was configured %d times", n)
	}
	if audit := s.run("web1", "dpkg", "--audit"); audit != "" {
		t.Errorf("dpkg --audit: %s", audit)
	}
}

func TestV1_APowerCutInAPostinstIsRecoveredAndNeverSilent(t *testing.T) {
	s := fleet(t, "web1")
	web1 := s.Device("web1")
	s.hold("web1")
	s.assent("update", "approve", "acme-slow@1.1")
	s.inPostinst("web1")
	s.try(web1.PowerCut(t.Context()))
	s.release("web1")

	s.try(web1.Boot(t.Context()))
	s.proven("web1", "acme-slow@1.1")
	s.has("web1", "acme-slow", "1.1")
	if n := s.configured("web1"); n != 2 {
		t.Errorf("acme-slow 1.1 was configured %d times, want once before the power cut and once after it", n)
	}
	if audit := s.run("web1", "dpkg", "--audit"); audit != "" {
		t.Errorf("dpkg --audit: %s", audit)
	}
	s.assent("update", "approve", "acme-lib@1.1", "--allow-superseded")
	s.proven("web1", "acme-lib@1.1")
}

func TestC7_DeclineDuringInstallLetsThePackageManagerFinish(t *testing.T) {
	s := fleet(t, "web1")
	s.hold("web1")
	s.assent("update", "approve", "acme-slow@1.1")
	s.inPostinst("web1")
	s.assent("update", "decline", "acme-slow@1.1", "--reason", "too slow")
	s.until("the wall stands on the device", func() bool {
		out, _, _, err := s.Device("web1").Run(t.Context(), "assent-agent", "why", "acme-slow")
		return err == nil && strings.Contains(out, "too slow")
	})
	if out := s.run("web1", "cat", "/run/acme-slow.started"); out == "" {
		t.Error("the postinst was ended by the decline")
	}
	s.release("web1")
	now := s.becomes("web1", "acme-slow@1.1", "installed")
	if !now.Against || now.How != "assent" {
		t.Errorf("not listed as installed though declined, by Assent: %+v", now)
	}
	s.has("web1", "acme-slow", "1.1")
	s.until("the device can go back", func() bool {
		out, err := s.Output(t.Context(), "update", "rollback", "acme-slow@1.1", "--dry-run", "--json")
		return err == nil && strings.Contains(strings.ReplaceAll(out, " ", ""), `"can":true`)
	})
	s.assent("update", "rollback", "acme-slow@1.1", "--reason", "too slow")
	s.until("acme-slow is back", func() bool { return s.version("web1", "acme-slow") == "1.0" })
}
