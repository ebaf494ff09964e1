package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"assent/e2e/stage"
	"assent/lab"
	"assent/lab/debrepo"
)

// shop is a stage with one device, a vendor whose feed the server follows, and the agent's Debian package on the server.
type shop struct {
	*script
	vendor *stage.Vendor
	base   string
}

func openShop(t *testing.T) *shop {
	t.Helper()
	agent := debs(t, "0.1.0")
	s := &shop{script: enrolled(open(t, "web1"), t)}
	var err error
	s.vendor, err = s.NewVendor("acme")
	s.try(err)
	s.base, err = lab.Base(t.Context(), lab.StandardBase())
	s.try(err)
	s.assent("feed", "init", s.vendor.Dir, "--name", "acme")
	lib := s.deb(debrepo.Package{Name: "acme-books", Version: "2.0", Description: "books"})
	app := s.deb(debrepo.Package{Name: "acme-ledger", Version: "1.0", Description: "ledger", Depends: "acme-books (>= 2.0)",
		Files: map[string]string{"/etc/acme-ledger.conf": "currency=EUR\n"}, Conffiles: []string{"/etc/acme-ledger.conf"}})
	one := s.deb(debrepo.Package{Name: "acme-note", Version: "1.0", Description: "notes"})
	tree, err := s.vendor.Tree("viewer.tar", map[string]string{"bin/viewer": "#!/bin/sh\necho viewer 1.0\n", "share/text": "hello\n"})
	s.try(err)
	s.assent("feed", "add", s.vendor.Dir, lib)
	s.assent("feed", "add", s.vendor.Dir, app, "--title", "Acme Ledger", "--requires", "acme-books>=2.0")
	s.assent("feed", "add", s.vendor.Dir, one)
	s.assent("feed", "add", s.vendor.Dir, tree, "--application", "viewer", "--version", "1.0.0")
	s.try(s.vendor.Publish(t.Context()))
	s.assent("feed", "subscribe", "acme", s.vendor.URL, "--root", s.vendor.Root())
	s.until("the releases are in the list", func() bool {
		var list struct{ Total int }
		return s.knows(&list, "update", "list", "--view", "seamless") && list.Total == 4
	})
	deb := agent()["assent-agent"]
	into := filepath.Join(s.Server.Data, "packages")
	s.try(os.MkdirAll(into, 0o700))
	b, err := os.ReadFile(deb)
	s.try(err)
	s.try(os.WriteFile(filepath.Join(into, filepath.Base(deb)), b, 0o644))
	return s
}

func (s *shop) deb(p debrepo.Package) string {
	s.t.Helper()
	file, err := s.vendor.Deb(p)
	s.try(err)
	return file
}

// fresh is a machine that Assent never saw, cut off from every network unless linked.
func (s *shop) fresh(name string, linked bool) *stage.Device {
	s.t.Helper()
	d, err := s.Lab.NewDevice(s.t.Context(), lab.DeviceSpec{Name: name, Base: s.base})
	s.try(err)
	s.try(d.SetLink(s.t.Context(), linked))
	out := &stage.Device{Device: d}
	s.Devices = append(s.Devices, out)
	return out
}

// download makes a package, downloads it and brings the file onto a machine.
func (s *shop) download(pkg string, to *stage.Device, args ...string) (path string, b []byte) {
	s.t.Helper()
	dir := s.t.TempDir()
	var got struct{ File, SHA256 string }
	s.ask(&got, append([]string{"package", "download", pkg, "--output", filepath.Join(dir, "file")}, args...)...)
	b, err := os.ReadFile(got.File)
	s.try(err)
	path = "/root/" + strings.ReplaceAll(strings.ToLower(pkg), " ", "-")
	s.try(to.WriteFile(path, b, 0o600))
	return path, b
}

func TestPackages_BringApplicationsAndTheAgentOntoMachinesThatLackThem(t *testing.T) {
	s := openShop(t)
	// Each part stands for itself; the stage is what takes long.
	t.Run("deployed through plan, guard, queue and proof", func(t *testing.T) { s.at(t).deployed() })
	t.Run("downloaded and installed offline", func(t *testing.T) { s.at(t).offline() })
	t.Run("the agent enrols a machine with one command", func(t *testing.T) { s.at(t).enrols() })
	t.Run("what is declined later is withheld", func(t *testing.T) { s.at(t).withheld() })
}

func (s *shop) at(t *testing.T) *shop {
	return &shop{script: &script{s.Stage, t}, vendor: s.vendor, base: s.base}
}

func (s *shop) deployed() {
	s.assent("update", "approve", "acme-ledger@1.0", "acme-books@2.0", "--reason", "bought")
	s.assent("package", "create", "--update", "acme-ledger@1.0", "--name", "Acme Ledger")
	var o struct {
		Devices []struct{ Answer, Why string }
	}
	s.until("the device says that it could take it", func() bool {
		s.ask(&o, "package", "deploy", "Acme Ledger", "--to", "All devices", "--dry-run")
		return len(o.Devices) == 1 && o.Devices[0].Answer == "install"
	})
	s.has("web1", "acme-ledger", "")
	s.assent("package", "deploy", "acme ledger", "--to", "web1", "--wait", "--timeout", "2m")
	s.proven("web1", "acme-ledger@1.0")
	s.has("web1", "acme-ledger", "1.0")
	s.has("web1", "acme-books", "2.0") // its prerequisite came along
	var list struct {
		Items []struct{ Act, Done, Pending int }
	}
	s.until("the deployment is done", func() bool {
		s.ask(&list, "package", "deployments")
		return len(list.Items) == 1 && list.Items[0].Done == 1 && list.Items[0].Pending == 0
	})
}

func (s *shop) offline() {
	d := s.fresh("bare", false)
	file, _ := s.download("Acme Ledger", d)
	s.run("bare", "sh", file, "--check")
	s.has("bare", "acme-ledger", "")
	s.run("bare", "sh", file)
	s.has("bare", "acme-ledger", "1.0")
	s.has("bare", "acme-books", "2.0")
	s.try(d.WriteFile("/etc/acme-ledger.conf", []byte("currency=CHF\n"), 0o644))
	s.run("bare", "sh", file) // again is no change
	if got := s.run("bare", "cat", "/etc/acme-ledger.conf"); got != "currency=CHF\n" {
		s.t.Errorf("installing it again changed the configuration: %q", got)
	}

	// One package alone is the vendor's own file, byte for byte.
	s.assent("package", "create", "--update", "acme-note@1.0", "--name", "Note")
	file, b := s.download("Note", d)
	vendor, err := os.ReadFile(filepath.Join(filepath.Dir(s.deb(debrepo.Package{Name: "acme-note", Version: "1.0", Description: "notes"})), "acme-note_1.0_all.deb"))
	s.try(err)
	if string(b) != string(vendor) {
		s.t.Error("the download is not the vendor's file")
	}
	s.run("bare", "mv", file, "/root/note.deb")
	s.run("bare", aptGet("install", "/root/note.deb")...)
	s.has("bare", "acme-note", "1.0")

	// A tree lies as the agent would have laid it.
	s.assent("package", "create", "--update", "viewer@1.0.0", "--name", "Viewer")
	file, b = s.download("Viewer", d)
	s.run("bare", "sh", file)
	for _, want := range []string{"/opt/assent/acme/viewer/current/bin/viewer", "/opt/assent/acme/viewer/versions/1.0.0/bin/viewer"} {
		if got := s.run("bare", want); got != "viewer 1.0\n" {
			s.t.Errorf("%s says %q", want, got)
		}
	}
	s.run("bare", "sh", file)
	if got := s.run("bare", "sh", "-c", "cd /opt/assent/acme/viewer && ls -A . versions && readlink current"); got != ".:\ncurrent\nversions\n\nversions:\n1.0.0\nversions/1.0.0\n" {
		s.t.Errorf("it left %q", got)
	}
	b[len(b)-1500] ^= 1
	s.try(d.WriteFile(file, b, 0o600))
	s.fails("bare", "damaged", "sh", file)

	// On one of Assent's devices no tree comes in past it.
	managed := s.Device("web1")
	file, _ = s.download("Viewer", managed)
	s.fails("web1", "assent package deploy", "sh", file)
}

func (s *shop) enrols() {
	s.fresh("new1", true)
	s.assent("group", "create", "Web")
	s.refused(2, "group_useless", "package", "create", "--update", "viewer@1.0.0", "--name", "V", "--group-on-install", "Web")
	s.assent("package", "create", "--agent", "--name", "Agent for Web", "--group-on-install", "Web")
	file, b := s.download("Agent for Web", s.Device("new1"), "--ttl", "10m")
	if strings.Contains(s.run("new1", "sh", file, "--check"), "assent1-") {
		s.t.Error("--check shows the token")
	}
	out := s.run("new1", "sh", file)
	if !strings.Contains(out, "Enrolled as ") || !strings.Contains(out, "assent-agent run") {
		s.t.Errorf("it says %q", out)
	}
	if v := s.version("new1", "assent-agent"); v == "" {
		s.t.Error("the agent's package is not installed")
	}
	s.try(s.Device("new1").StartAgent(s.t.Context()))
	s.until("the machine is a device of its group", func() bool {
		var list struct {
			Items []struct{ Name, Group string }
		}
		s.ask(&list, "device", "list", "--group", "Web")
		return len(list.Items) == 1 && list.Items[0].Name == "new1"
	})
	if again := s.run("new1", "sh", file); !strings.Contains(again, "enrolled already") {
		s.t.Errorf("again it says %q", again)
	}
	other := s.fresh("new2", true)
	s.try(other.WriteFile(file, b, 0o600))
	s.fails("new2", "not enrolled", "sh", file) // the token was for one machine
	var tokens struct {
		Items []struct{ ID, Note string }
	}
	s.ask(&tokens, "token", "list")
	noted, err := json.Marshal(tokens.Items)
	s.try(err)
	if !strings.Contains(string(noted), "assent-agent 0.1.0 amd64, SHA-256 ") {
		s.t.Errorf("no token says which file it was made for: %s", noted)
	}
}

func (s *shop) withheld() {
	file, _ := s.download("Acme Ledger", s.Device("web1")) // before it is declined
	s.assent("update", "decline", "acme-ledger@1.0", "--reason", "adds up wrongly")
	s.until("web1 gave it back", func() bool { return s.version("web1", "acme-ledger") == "" })
	s.fails("web1", "declined", "sh", file) // the guard judges a file from elsewhere too
	s.has("web1", "acme-ledger", "")
	s.assent("update", "decline", "viewer@1.0.0", "--reason", "shows too much")
	s.refused(4, "declined", "package", "download", "Viewer", "--output", filepath.Join(s.t.TempDir(), "x"))
	s.refused(4, "shows too much", "package", "deploy", "Viewer", "--to", "web1")
	s.refused(4, "declined", "package", "create", "--update", "viewer@1.0.0", "--name", "Viewer again")
}
