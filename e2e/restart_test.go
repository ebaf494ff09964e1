package e2e

import (
	"slices"
	"strings"
	"testing"
	"time"

	"assent/lab"
	"assent/lab/debrepo"
)

// boots is a package whose later versions ask for a restart as packages do.
func boots(version string) debrepo.Package {
	p := debrepo.Package{Name: "acme-boot", Version: version, Arch: debrepo.HostArch(), Description: "what works after a restart, made by Acme"}
	if version != "1.0" {
		p.PostInst = "#!/bin/sh\nset -e\ntouch /run/reboot-required\necho acme-boot >> /run/reboot-required.pkgs\n"
	}
	return p
}

// restartable installs everything from packages on a device with systemd that has acme-boot 1.0, while 2.0 is out.
func restartable(t *testing.T) *installation {
	t.Helper()
	built := debs(t, "v1.0.0")
	s := installedIn(t, "e2e-restart")
	files := built()
	s.installServer(files)
	s.installAgent(files)
	s.publishBoots("1.0")
	s.run("web1", "apt-get", "-q", "--error-on=any", "update")
	s.run("web1", aptGet("install", "acme-boot")...)
	s.boots("2.0")
	return s
}

func (s *installation) publishBoots(versions ...string) {
	s.t.Helper()
	main, _ := lab.AcmeSuites(1)
	for _, v := range slices.Compact(versions) {
		main.Packages = append(main.Packages, boots(v))
	}
	s.try(s.Repo.Publish(main))
}

// boots publishes a version of acme-boot and waits until it can be decided.
func (s *installation) boots(version string) {
	s.t.Helper()
	s.publishBoots("1.0", "2.0", version)
	s.refresh()
	s.until("acme-boot "+version+" can be decided", func() bool {
		var o struct {
			Preview struct{ Devices, Unclear int }
		}
		return s.knows(&o, "update", "approve", "acme-boot@"+version, "--dry-run") && o.Preview.Devices == 1 && o.Preview.Unclear == 0
	})
}

// waiting reports whether the server counts the device among those that need a restart.
func (s *installation) waiting() bool {
	s.t.Helper()
	var list struct{ Items []struct{ Restart bool } }
	s.ask(&list, "device", "list")
	return len(list.Items) == 1 && list.Items[0].Restart
}

func TestRestart_ItIsLeftToPeopleOrMadeByATaskInItsWindowAndProvenAfterTheBoot(t *testing.T) {
	s := restartable(t)
	s.leftToPeople()
	s.byATask()
}

// leftToPeople shows the default task: what needs a restart says so, and nothing restarts by itself (T7).
func (s *installation) leftToPeople() {
	s.t.Helper()
	before, err := s.web1.BootID()
	s.try(err)
	s.assent("update", "approve", "acme-boot@2.0")
	if st := s.becomes("web1", "acme-boot@2.0", "restart_required"); !strings.Contains(st.Detail, "acme-boot") {
		s.t.Errorf("%+v", st)
	}
	s.until("the server counts a device that needs a restart", s.waiting)
	s.says("the plan leaves it to you", "acme-boot")
	s.fails("web1", "restart_never", "assent-agent", "restart", "--now")
	s.fails("web1", "restart_fixed", "assent-agent", "restart", "--defer")
	time.Sleep(5 * time.Second) // T7: nothing restarts by itself
	if now, err := s.web1.BootID(); err != nil || now != before {
		s.t.Fatalf("the device restarted by itself: %v", err)
	}
	s.reboot()
	s.proven("web1", "acme-boot@2.0")
	s.until("nothing needs a restart any more", func() bool { return !s.waiting() })
	s.says("Nothing asks for a restart")
}

// says waits until `assent-agent restart` says all of these words.
func (s *installation) says(words ...string) {
	s.t.Helper()
	s.until("the device says: "+strings.Join(words, ", "), func() bool {
		out, _, code, err := s.web1.Run(s.t.Context(), "assent-agent", "restart")
		return err == nil && code == 0 && !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(out, w) })
	})
}

// byATask shows a task whose window opens soon: the update and the restart for it come then, and not before.
func (s *installation) byATask() {
	s.t.Helper()
	before, err := s.web1.BootID()
	s.try(err)
	opens := time.Now().UTC().Add(75 * time.Second).Truncate(time.Minute)
	s.assent("task", "create", "Tonight", "--group", "All devices", "--rule", "", "--window", "nightly "+opens.Format("15:04")+" for 1h", "--zone", "UTC", "--restart", "if-required")
	s.boots("3.0")
	s.assent("update", "approve", "acme-boot@3.0")
	s.until("the device is in another boot", func() bool { now, err := s.web1.BootID(); return err == nil && now != before })
	if time.Now().UTC().Before(opens) {
		s.t.Errorf("it restarted before %s (I8)", opens)
	}
	s.proven("web1", "acme-boot@3.0")
	s.tells("restarting", "acme-boot")
	s.tells("restarted", "is back with the kernel")
	s.says("Nothing asks for a restart", "all is well", "policy:   if required")
	after, err := s.web1.BootID()
	s.try(err)
	time.Sleep(5 * time.Second)
	if now, err := s.web1.BootID(); err != nil || now != after {
		s.t.Errorf("it restarted once more: %v", err)
	}
}
