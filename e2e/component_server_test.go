package e2e

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"assent/e2e/stage"
)

// broken repacks a package of the server under another version, with a program that ruins the database and ends.
func broken(t *testing.T, deb, version string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "package")
	run := func(argv ...string) {
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v\n%s", argv, err, out)
		}
	}
	run("dpkg-deb", "-R", deb, dir)
	program := "#!/bin/sh\necho no database >/var/lib/assent/assent.db\necho 'I am broken' >&2\nexit 1\n"
	if err := os.WriteFile(dir+"/usr/bin/assentd", []byte(program), 0o755); err != nil {
		t.Fatal(err)
	}
	run("sed", "-i", "s/^Version:.*/Version: "+version+"/", dir+"/DEBIAN/control")
	run("rm", "-f", dir+"/DEBIAN/md5sums")
	to := filepath.Join(t.TempDir(), "assentd_"+version+"_amd64.deb")
	run("dpkg-deb", "--root-owner-group", "-b", dir, to)
	return to
}

// server publishes a package of the server as a component.
func (m *maker) server(deb string) {
	m.t.Helper()
	m.assent("feed", "add", m.Dir, deb, "--class", "component", "--not-removable", "it is Assent itself")
	m.release()
}

// enrolHost makes the server's own machine one of its devices.
func (s *installation) enrolHost(deb string) {
	s.t.Helper()
	_, err := stage.InstallPackages(s.t.Context(), s.host, deb)
	s.try(err)
	s.try(s.host.WriteFile("/etc/assent-agent/config.json", []byte(quick), 0o644))
	s.onHost("systemctl", "restart", "assent-agent")
	var token struct{ Text string }
	s.ask(&token, "token", "create", "--group", "All devices", "--uses", "1")
	ip, err := s.host.IP()
	s.try(err)
	s.onHost("assent-agent", "enrol", "--server", "https://"+net.JoinHostPort(ip, "8443"), "--token", token.Text)
}

// serves demands that the server runs from a program.
func (s *installation) serves(program string) {
	s.t.Helper()
	s.is(s.host, "assentd", "ActiveState", "active")
	pid, err := stage.Property(s.t.Context(), s.host, "assentd", "MainPID")
	s.try(err)
	if got := strings.TrimSpace(s.onHost("readlink", "/proc/"+pid+"/exe")); got != program {
		s.t.Errorf("the server runs from %s, want %s", got, program)
	}
}

// ledgerHolds demands that all these acts are in the ledger, and that it verifies.
func (s *installation) ledgerHolds(acts []string) {
	s.t.Helper()
	has := map[string]bool{}
	for _, a := range s.acts() {
		has[a] = true
	}
	for _, a := range acts {
		if !has[a] {
			s.t.Errorf("the act %q is lost", a)
		}
	}
	s.verified()
}

func (s *installation) backups() []string {
	s.t.Helper()
	return strings.Fields(s.onHost("find", "/var/lib/assent/backups", "-type", "f", "-user", "assent", "-perm", "600"))
}

func TestC5_TheServerTakesItsOwnReleasesAndComesBackFromABrokenOne(t *testing.T) {
	first := debs(t, "v1.0.0")
	s := installed(t)
	old := first()
	second := debs(t, "v1.1.0")
	s.installServer(old)
	s.enrolHost(old["assent-agent"])
	m := s.maker()

	next := second()
	m.server(next["assentd"])
	m.approve("assentd@1.1.0")
	acts := s.acts()
	s.proven("server", "assentd@1.1.0")
	s.serves("/usr/bin/assentd")
	if v := strings.TrimSpace(s.onHost("assentd", "version")); v != "v1.1.0" {
		t.Errorf("the server is version %s", v)
	}
	if b := s.backups(); len(b) != 1 {
		t.Errorf("backups: %q, want one", b)
	}
	s.ledgerHolds(acts)

	s.assent("group", "create", "Made with 1.1.0")
	m.server(broken(t, next["assentd"], "1.2.0"))
	m.approve("assentd@1.2.0")
	acts = s.acts()
	if st := s.becomes("server", "assentd@1.2.0", "failed"); !strings.Contains(st.Detail, "assentd") {
		t.Errorf("it failed with %q", st.Detail)
	}
	s.serves("/var/lib/assentd-upgrade/assentd")
	s.ledgerHolds(acts)
	if out := s.assent("group", "list"); !strings.Contains(out, "Made with 1.1.0") {
		t.Errorf("a group is lost:\n%s", out)
	}
	_, said, code, err := s.host.Run(t.Context(), "dpkg", "--configure", "-a")
	s.try(err)
	if code == 0 || !strings.Contains(said, "not tried again") {
		t.Errorf("dpkg tried again: %d %s", code, said)
	}
	s.serves("/var/lib/assentd-upgrade/assentd")

	m.server(debs(t, "v1.3.0")()["assentd"])
	m.approve("assentd@1.3.0")
	acts = s.acts()
	s.proven("server", "assentd@1.3.0")
	s.serves("/usr/bin/assentd")
	s.ledgerHolds(acts)
	if left := s.onHost("find", "/var/lib", "/etc/systemd/system", "-maxdepth", "1", "-name", "assentd*"); left != "" {
		t.Errorf("left of going back: %s", left)
	}
}
