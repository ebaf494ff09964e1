package apt

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"assent/agent/internal/pkgmgr"
	"assent/lab"
	"assent/wire"
)

// realRoot is a device's package manager without the device: the real apt of a suite, run in a sandbox over
// directories that the test may change and the scan reads.
type realRoot struct {
	t    testing.TB
	dir  string // what the scan sees
	base string
}

// changeable are the parts of the base that a root has for itself.
var changeable = []string{"etc", "var/lib/dpkg", "var/lib/apt", "var/cache/apt", "var/log", "run"}

const machineID = "0123456789abcdef0123456789abcdef"

// suiteBase is the base that other tests use too, so that it is built once.
func suiteBase(suite string) lab.BaseSpec {
	if standard := lab.StandardBase(); standard.Suite == suite {
		return standard
	}
	return lab.MinimalBase(suite)
}

func newRealRoot(t testing.TB, spec lab.BaseSpec) *realRoot {
	t.Helper()
	base, err := lab.Base(t.Context(), spec)
	if err != nil {
		t.Fatalf("build a base to compare with: %v", err)
	}
	if err := lab.EnsurePackages(t.Context(), nil, "bubblewrap"); err != nil {
		t.Fatal(err)
	}
	r := &realRoot{t: t, dir: t.TempDir(), base: base}
	for _, sub := range changeable {
		if err := os.MkdirAll(filepath.Join(r.dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// The list of files of each package is large, and nobody here looks at it.
	for _, sub := range []string{"etc/.", "var/lib/dpkg/status", "var/lib/apt/.", "var/log/."} {
		if out, err := exec.Command("cp", "-a", base+"/"+sub, r.dir+"/"+sub).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	for _, sub := range []string{"var/cache/apt/archives/partial", "var/lib/apt/lists/partial"} {
		if err := os.MkdirAll(filepath.Join(r.dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	r.write("etc/machine-id", machineID+"\n")
	return r
}

func (r *realRoot) write(name, text string) {
	r.t.Helper()
	name = filepath.Join(r.dir, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.RemoveAll(name); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

// command runs a program of the base in the sandbox.
func (r *realRoot) command(argv ...string) *exec.Cmd {
	args := []string{"--ro-bind", r.base, "/", "--dev", "/dev", "--proc", "/proc", "--perms", "1777", "--tmpfs", "/tmp", "--unshare-pid",
		"--die-with-parent", "--cap-add", "ALL", "--clearenv", "--setenv", "PATH", "/usr/sbin:/usr/bin:/sbin:/bin", "--setenv", "LC_ALL", "C.UTF-8"}
	for _, sub := range changeable {
		args = append(args, "--bind", filepath.Join(r.dir, sub), "/"+sub)
	}
	return exec.Command("bwrap", append(append(args, "--"), argv...)...)
}

func (r *realRoot) output(argv ...string) string {
	r.t.Helper()
	cmd := r.command(argv...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		r.t.Fatalf("%v: %v\n%s", argv, err, stderr.String())
	}
	return string(out)
}

// refresh fetches real lists from the machine's own mirror.
func (r *realRoot) refresh(sources func(a lab.Archive) string) {
	r.t.Helper()
	archive, err := lab.HostArchive()
	if err != nil {
		r.t.Fatal(err)
	}
	r.write("etc/apt/sources.list", sources(archive))
	resolver, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		r.t.Fatal(err)
	}
	r.write("etc/resolv.conf", string(resolver))
	cmd := r.command("apt-get", "-q", "-o", "APT::Sandbox::User=root", "-o", "Acquire::Check-Valid-Until=false", "-o", "Acquire::Languages=none", "update")
	if out, err := cmd.CombinedOutput(); err != nil {
		r.t.Fatalf("refresh: %v\n%s", err, out)
	}
}

func (r *realRoot) apt() *Apt {
	return New(Config{Root: r.dir, StateDir: filepath.Join(r.dir, "state"), Now: time.Now})
}

func (r *realRoot) scan() *pkgmgr.Snapshot {
	r.t.Helper()
	s, err := r.apt().Scan(context.Background())
	if err != nil {
		r.t.Fatalf("scan: %v", err)
	}
	return s
}

// choice is what somebody says about one package.
type choice struct {
	Installed string
	Candidate string      // a version newer than Installed; empty if the package stays
	Newer     []versionAt // newest first, one line per content
}

type versionAt struct {
	Version string
	Pin     int
}

// scanChoices is the scan's word, by "name:arch".
func scanChoices(s *pkgmgr.Snapshot, native string) map[string]choice {
	out := map[string]choice{}
	for _, p := range s.Inventory.Packages {
		out[packageKey(p.Name, p.Arch, native)] = choice{Installed: p.Version}
	}
	for _, o := range s.Available.Updates {
		for _, it := range o.Items {
			key := packageKey(it.Name, it.Arch, native)
			c := out[key]
			if it.Candidate {
				c.Candidate = it.Version
			}
			c.Newer = append(c.Newer, versionAt{it.Version, it.Pin})
			out[key] = c
		}
	}
	return out
}

func items(offers []wire.Offer) []wire.OfferItem {
	var out []wire.OfferItem
	for _, o := range offers {
		out = append(out, o.Items...)
	}
	return out
}
