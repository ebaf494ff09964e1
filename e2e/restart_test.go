package e2e

import (
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
	publish := func(more ...debrepo.Package) {
		main, _ := lab.AcmeSuites(1)
		main.Packages = append(main.Packages, more...)
		s.try(s.Repo.Publish(main))
	}
	publish(boots("1.0"))
	s.run("web1", "apt-get", "-q", "--error-on=any", "update")
	s.run("web1", aptGet("install", "acme-boot")...)
	publish(boots("1.0"), boots("2.0"))
	s.refresh()
	s.until("acme-boot 2.0 can be decided", func() bool {
		var o struct {
			Preview struct{ Devices, Unclear int }
		}
		return s.knows(&o, "update", "approve", "acme-boot@2.0", "--dry-run") && o.Preview.Devices == 1 && o.Preview.Unclear == 0
	})
	return s
}

// waiting reports whether the server counts the device among those that need a restart.
func (s *installation) waiting() bool {
	s.t.Helper()
	var list struct{ Items []struct{ Restart bool } }
	s.ask(&list, "device", "list")
	return len(list.Items) == 1 && list.Items[0].Restart
}

func TestRestart_WithTheDefaultTaskItIsAskedForLeftToPeopleAndProvenAfterTheBoot(t *testing.T) {
	s := restartable(t)
	before, err := s.web1.BootID()
	s.try(err)
	s.assent("update", "approve", "acme-boot@2.0")
	if st := s.becomes("web1", "acme-boot@2.0", "restart_required"); !strings.Contains(st.Detail, "acme-boot") {
		t.Errorf("%+v", st)
	}
	s.until("the server counts a device that needs a restart", s.waiting)
	s.until("the device says the same", func() bool {
		out := s.run("web1", "assent-agent", "restart")
		return strings.Contains(out, "the plan leaves it to you") && strings.Contains(out, "acme-boot")
	})
	s.fails("web1", "restart_never", "assent-agent", "restart", "--now")
	s.fails("web1", "restart_fixed", "assent-agent", "restart", "--defer")
	time.Sleep(5 * time.Second) // T7: nothing restarts by itself
	if now, err := s.web1.BootID(); err != nil || now != before {
		t.Fatalf("the device restarted by itself: %v", err)
	}
	s.reboot()
	s.proven("web1", "acme-boot@2.0")
	s.until("nothing needs a restart any more", func() bool { return !s.waiting() })
	if out := s.run("web1", "assent-agent", "restart"); !strings.Contains(out, "Nothing asks for a restart") {
		t.Errorf("afterwards:\n%s", out)
	}
}
