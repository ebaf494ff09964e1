package e2e

import (
	"bytes"
	"context"
	"database/sql"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	_ "modernc.org/sqlite"

	"assent/e2e/stage"
	"assent/lab"
)

// debs begins to build the Debian packages of a version. What it returns waits and gives their files by package.
func debs(t *testing.T, version string) func() map[string]string {
	t.Helper()
	dir := t.TempDir()
	var out bytes.Buffer
	build := exec.CommandContext(t.Context(), "sh", "../packaging/build.sh", version, dir)
	build.Env = append(os.Environ(), "SOURCE_DATE_EPOCH=1795000000")
	build.Stdout, build.Stderr = &out, &out
	if err := build.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = build.Wait() }) // where nobody asked for the packages
	return func() map[string]string {
		t.Helper()
		if err := build.Wait(); err != nil {
			t.Fatalf("build packages: %v\n%s", err, out.String())
		}
		return packagesIn(t, dir)
	}
}

func packagesIn(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, name := range []string{"assentd", "assent-agent", "assent"} {
		found, err := filepath.Glob(filepath.Join(dir, name+"_*.deb"))
		if err != nil || len(found) != 1 {
			t.Fatalf("packages of %s: %v, %v", name, found, err)
		}
		files[name] = found[0]
	}
	return files
}

// installation is a script on a stage that was installed from packages.
type installation struct {
	*script
	host *lab.Device
	web1 *stage.Device
	all  *stage.Installed
}

func installed(t *testing.T) *installation {
	t.Helper()
	return installedIn(t, "e2e-systemd")
}

// installedIn is installed in a lab of its own name.
func installedIn(t *testing.T, name string) *installation {
	t.Helper()
	all, err := stage.OpenInstalled(t.Context(), stage.Config{Name: name, Bin: bin, Acme: true, Devices: []stage.DeviceSpec{{Name: "web1"}}})
	if err != nil {
		t.Fatal(err)
	}
	s := &installation{script: &script{all.Stage, t}, host: all.Host, web1: all.Devices[0], all: all}
	t.Cleanup(func() {
		if t.Failed() {
			s.journals()
		}
		if err := all.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// journals shows the end of each device's journal.
func (s *installation) journals() {
	for _, d := range []*lab.Device{s.host, s.web1.Device} {
		out, errOut, _, err := d.Run(context.Background(), "journalctl", "--lines=80", "--no-pager", "--output=short-precise")
		s.t.Logf("journal of %s (%v):\n%s", d.Name(), err, out+errOut)
	}
}

// is demands a property of a unit.
func (s *installation) is(d *lab.Device, unit, property, want string) {
	s.t.Helper()
	got, err := stage.Property(s.t.Context(), d, unit, property)
	s.try(err)
	if got != want {
		s.t.Errorf("%s of %s on %s is %q, want %q", property, unit, d.Name(), got, want)
	}
}

// mainPID is the process of the agent's unit.
func (s *installation) mainPID() string {
	s.t.Helper()
	pid, err := stage.Property(s.t.Context(), s.web1.Device, "assent-agent", "MainPID")
	s.try(err)
	if pid == "" || pid == "0" {
		s.t.Fatal("the agent does not run")
	}
	return pid
}

// postinst is the process of acme-slow's postinst and the control group that it is in.
func (s *installation) postinst() (pid, group string) {
	s.t.Helper()
	s.inPostinst("web1")
	pid = strings.TrimSpace(s.run("web1", "cat", started))
	for line := range strings.Lines(s.run("web1", "cat", "/proc/"+pid+"/cgroup")) {
		if path, ok := strings.CutPrefix(line, "0::"); ok {
			return pid, strings.TrimSpace(path)
		}
	}
	s.t.Fatal("the postinst is in no control group")
	return "", ""
}

// seenAs waits until the server has heard from an agent of this version.
func (s *installation) seenAs(version string) {
	s.t.Helper()
	s.until("the server hears from agent "+version, func() bool {
		return strings.Contains(s.assent("device", "show", "web1"), version)
	})
}

func (s *installation) reboot() {
	s.t.Helper()
	before, err := s.web1.BootID()
	s.try(err)
	_, _, _, _ = s.web1.Run(s.t.Context(), "systemctl", "reboot") // it may end with the device
	s.try(stage.AwaitBoot(s.t.Context(), s.web1.Device, before))
}

func TestSystemd_PackagesRunAsUnitsAndTransactionsOutliveTheAgent(t *testing.T) {
	first := debs(t, "v1.0.0")
	s := installed(t)
	older := first()
	second := debs(t, "v1.1.0")
	s.installServer(older)
	s.installAgent(older)
	s.restartInTheMiddle()
	s.guardHolds()
	s.rebootInTheMiddle()
	newer := second()
	s.upgradeItself(newer)
	s.removeAndComeBack(newer)
	s.purge()
	s.purgeServer()
}

func (s *installation) installServer(debs map[string]string) {
	s.t.Helper()
	_, err := stage.InstallPackages(s.t.Context(), s.host, debs["assentd"], debs["assent"])
	s.try(err)
	s.onHost("systemctl", "start", "assentd") // waits for what the package began
	for property, want := range map[string]string{"ActiveState": "active", "UnitFileState": "enabled", "NRestarts": "0", "User": "assent"} {
		s.is(s.host, "assentd", property, want)
	}
	pid, err := stage.Property(s.t.Context(), s.host, "assentd", "MainPID")
	s.try(err)
	status := s.onHost("cat", "/proc/"+pid+"/status")
	for _, want := range []string{"CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"} {
		if !strings.Contains(status, want+"\n") {
			s.t.Errorf("assentd runs without %q:\n%s", want, status)
		}
	}
	if got := strings.TrimSpace(s.onHost("stat", "-c", "%U %a", "/var/lib/assent", "/var/lib/assent/assent.db")); got != "assent 700\nassent 600" {
		s.t.Errorf("owners and modes of the server's state: %q", got)
	}
	s.try(s.all.SignInFromJournal(s.t.Context()))
}

func (s *installation) onHost(argv ...string) string {
	s.t.Helper()
	out, err := s.host.Output(s.t.Context(), argv...)
	s.try(err)
	return out
}

func (s *installation) installAgent(debs map[string]string) {
	s.t.Helper()
	_, err := stage.InstallPackages(s.t.Context(), s.web1.Device, debs["assent-agent"])
	s.try(err)
	s.reboot() // a device that is not enrolled yet boots like any other
	s.is(s.web1.Device, "assent-agent", "ActiveState", "active")
	s.try(s.web1.WriteFile("/etc/assent-agent/config.json", []byte(`{"scan": "1s"}`), 0o644))
	s.run("web1", "systemctl", "restart", "assent-agent")
	s.try(s.all.EnrolUnit(s.t.Context(), s.web1, "All devices"))
	s.seenAs("v1.0.0")
	s.updates()
	s.is(s.web1.Device, "assent-agent", "NRestarts", "0")
}

func (s *installation) restartInTheMiddle() {
	s.t.Helper()
	s.hold("web1")
	s.assent("update", "approve", "acme-slow@1.1")
	script, group := s.postinst()
	if !strings.HasPrefix(group, "/system.slice/assent-transaction-") || !strings.HasSuffix(group, ".service") {
		s.t.Errorf("the transaction runs in %s, want a unit of its own", group)
	}
	unit := filepath.Base(group)
	s.is(s.web1.Device, unit, "ActiveState", "active")
	before := s.mainPID()
	s.run("web1", "systemctl", "restart", "assent-agent")
	if s.mainPID() == before {
		s.t.Error("the agent was not restarted")
	}
	if now, _ := s.postinst(); now != script {
		s.t.Errorf("the postinst is process %s and was %s", now, script)
	}
	s.is(s.web1.Device, unit, "ActiveState", "active")
	s.release("web1")
	s.proven("web1", "acme-slow@1.1")
	if proof := s.on("web1", "acme-slow@1.1").Proof; proof == nil || unit != "assent-transaction-"+proof.Transaction+".service" {
		s.t.Errorf("the proof is of another transaction than %s: %+v", unit, proof)
	}
	s.once("acme-slow@1.1")
}

// once demands that acme-slow was configured once and that the server holds one report of that.
func (s *installation) once(update string) {
	s.t.Helper()
	if n := s.configured("web1"); n != 1 {
		s.t.Errorf("acme-slow 1.1 was configured %d times", n)
	}
	var u struct{ ID string }
	s.ask(&u, "update", "show", update)
	dir := s.t.TempDir()
	for _, name := range []string{"assent.db", "assent.db-wal"} {
		data, err := s.host.ReadFile("/var/lib/assent/" + name)
		s.try(err)
		s.try(os.WriteFile(filepath.Join(dir, name), data, 0o600))
	}
	db, err := sql.Open("sqlite", filepath.Join(dir, "assent.db"))
	s.try(err)
	defer db.Close()
	var n int
	s.try(db.QueryRowContext(s.t.Context(), `SELECT count(*) FROM reports WHERE update_id = ? AND body -> 'report' ->> 'state' = 'installed'`, u.ID).Scan(&n))
	if n != 1 {
		s.t.Errorf("the server holds %d reports that %s is installed, want one", n, update)
	}
}

func (s *installation) guardHolds() {
	s.t.Helper()
	s.assent("update", "decline", "acme-app@2.0", "--reason", "breaks our reports")
	s.until("the wall stands on the device", func() bool {
		out, _, _, err := s.web1.Run(s.t.Context(), "assent-agent", "why", "acme-app")
		return err == nil && strings.Contains(out, "breaks our reports")
	})
	s.fails("web1", "refused (declined)", aptGet("install", "acme-app=2.0")...)
	s.has("web1", "acme-app", "1.0")
}

// rebootInTheMiddle shows that a reboot waits for a transaction, and that the agent is back by itself after it.
func (s *installation) rebootInTheMiddle() {
	s.t.Helper()
	s.publish(1)
	s.hold("web1")
	s.run("web1", aptGet("install", "--allow-downgrades", "acme-slow=1.0")...)
	s.refresh()
	_, group := s.postinst()
	unit := filepath.Base(group)
	before, err := s.web1.BootID()
	s.try(err)
	s.run("web1", "systemctl", "--no-block", "reboot")
	s.until("the reboot waits for the transaction", func() bool {
		state, err := stage.Property(s.t.Context(), s.web1.Device, unit, "ActiveState")
		return err == nil && state == "deactivating"
	})
	s.release("web1")
	s.try(stage.AwaitBoot(s.t.Context(), s.web1.Device, before))
	s.has("web1", "acme-slow", "1.1")
	if n := s.configured("web1"); n != 2 {
		s.t.Errorf("acme-slow 1.1 was configured %d times, want once before its downgrade and once after", n)
	}
	s.proven("web1", "acme-slow@1.1")
	s.assent("update", "approve", "acme-lib@1.1", "--allow-superseded")
	s.proven("web1", "acme-lib@1.1") // by an agent that nobody started
}

// upgradeItself has the agent install its own package.
func (s *installation) upgradeItself(debs map[string]string) {
	s.t.Helper()
	main, _ := lab.AcmeSuites(1)
	main.Debs = []string{debs["assent-agent"]}
	s.try(s.Repo.Publish(main))
	s.refresh()
	const update = "assent-agent@1.1.0"
	s.until("the agent's update can be decided", func() bool {
		var o struct {
			Preview struct{ Devices, Unclear int }
		}
		return s.knows(&o, "update", "approve", update, "--dry-run") && o.Preview.Devices == 1 && o.Preview.Unclear == 0
	})
	before := s.mainPID()
	s.assent("update", "approve", update)
	s.proven("web1", update)
	if s.mainPID() != before {
		s.t.Error("the agent was restarted inside its own transaction")
	}
	s.is(s.web1.Device, "assent-agent-restart.timer", "ActiveState", "active")
	s.run("web1", "systemctl", "start", "assent-agent-restart.service") // not a minute later
	s.until("the agent was restarted after its upgrade", func() bool {
		pid, err := stage.Property(s.t.Context(), s.web1.Device, "assent-agent", "MainPID")
		return err == nil && pid != before && pid != "0"
	})
	s.seenAs("v1.1.0")
	s.assent("update", "approve", "acme-data@1.1")
	s.proven("web1", "acme-data@1.1")
	s.is(s.web1.Device, "assent-agent", "NRestarts", "0")
}

// removeAndComeBack shows that a removal frees the device and forgets nothing, and that a reinstallation goes on.
func (s *installation) removeAndComeBack(debs map[string]string) {
	s.t.Helper()
	s.run("web1", aptGet("remove", "assent-agent")...)
	s.is(s.web1.Device, "assent-agent", "ActiveState", "inactive")
	s.run("web1", aptGet("-s", "install", "acme-app=1.1")...) // apt works without the agent
	_, err := stage.InstallPackages(s.t.Context(), s.web1.Device, debs["assent-agent"])
	s.try(err)
	s.is(s.web1.Device, "assent-agent", "UnitFileState", "enabled")
	s.fails("web1", "refused (declined)", aptGet("install", "acme-app=2.0")...)
	s.assent("update", "approve", "acme-conf@1.1")
	s.proven("web1", "acme-conf@1.1")
}

func (s *installation) purge() {
	s.t.Helper()
	s.run("web1", aptGet("purge", "assent-agent")...)
	left := s.run("web1", "find", "/etc", "/usr", "/var", "/run", "/root", "/tmp", "-xdev", "-name", "*assent*",
		"-not", "-path", "/var/tmp/*", "-not", "-path", "/run/assent-lab", "-not", "-path", "/var/cache/apt/*")
	if left != "" {
		s.t.Errorf("the purge left\n%s", left)
	}
	if units := s.run("web1", "systemctl", "list-units", "--all", "--plain", "--no-legend", "assent*"); strings.TrimSpace(units) != "" {
		s.t.Errorf("units are left:\n%s", units)
	}
	if out, _, _, err := s.web1.Run(s.t.Context(), "pgrep", "-a", "assent"); err != nil || out != "" {
		s.t.Errorf("processes are left: %s %v", out, err)
	}
	s.run("web1", aptGet("install", "acme-app=2.0")...) // nothing keeps it out any more
	s.has("web1", "acme-app", "2.0")
	if state := strings.TrimSpace(s.run("web1", "systemctl", "is-system-running")); state != "running" {
		s.t.Errorf("web1 is %s", state)
	}
}

// purgeServer upgrades nothing and decides nothing: it shows that the ledger outlives its program.
func (s *installation) purgeServer() {
	s.t.Helper()
	acts := len(s.acts())
	s.onHost("systemctl", "restart", "assentd")
	if n := len(s.acts()); n != acts {
		s.t.Errorf("the ledger has %d acts after a restart and had %d", n, acts)
	}
	s.onHost(aptGet("purge", "assentd", "assent")...)
	left := strings.Fields(s.onHost("find", "/etc", "/usr", "/var", "/run", "-xdev", "-name", "*assent*",
		"-not", "-path", "/var/tmp/*", "-not", "-path", "/run/assent-lab", "-not", "-path", "/var/lib/assent/*"))
	if len(left) != 1 || left[0] != "/var/lib/assent" {
		s.t.Errorf("the purge of the server left %v, want its state alone", left)
	}
	if state := strings.TrimSpace(s.onHost("systemctl", "is-system-running")); state != "running" {
		s.t.Errorf("the server's device is %s", state)
	}
}
