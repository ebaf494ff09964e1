package packaging

import (
	"bytes"
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"assent/lab"
)

// build builds the packages of a version and returns their directory.
func build(t *testing.T, version string) string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command("sh", "build.sh", version, dir)
	cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH=1795000000")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return dir
}

func sums(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		sum := sha256.Sum256(b)
		out[filepath.Base(path)] = hex.EncodeToString(sum[:])
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestN37_TwoBuildsAreBitForBitTheSameAndProgramsAreStaticAndSmall(t *testing.T) {
	first := build(t, "v1.2.3")
	time.Sleep(1100 * time.Millisecond) // a clock that crept into a file shows only in whole seconds
	want := sums(t, first)
	if d := cmp.Diff(want, sums(t, build(t, "v1.2.3"))); d != "" {
		t.Errorf("two builds differ:\n%s", d)
	}
	if len(want) != 6 {
		t.Errorf("built %d files; want 3 programs and 3 packages: %v", len(want), want)
	}
	for program, most := range map[string]int64{"assentd": 60 << 20, "assent-agent": 15 << 20, "assent": 20 << 20} { // P11; it asks nothing of the CLI, which reads the ledger and with it the expressions of tasks
		path := filepath.Join(first, program)
		f, err := elf.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range f.Progs {
			if p.Type == elf.PT_INTERP {
				t.Errorf("%s is not static", program)
			}
		}
		if f.Section(".symtab") != nil || f.Section(".debug_info") != nil {
			t.Errorf("%s is not stripped", program)
		}
		f.Close()
		if info, err := os.Stat(path); err != nil || info.Size() > most {
			t.Errorf("%s: %v, %d bytes; want at most %d", program, err, info.Size(), most)
		}
	}
}

// TestUnitsPassSystemdsOwnCheck asks systemd about the units, with programs that are there.
func TestUnitsPassSystemdsOwnCheck(t *testing.T) {
	dir := t.TempDir()
	for _, unit := range []string{"assentd/assentd.service", "assent-agent/assent-agent.service", "assent-agent/assent-agent-shutdown.service"} {
		b, err := os.ReadFile(unit)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"assentd", "assent-agent"} {
			b = bytes.ReplaceAll(b, []byte("/usr/bin/"+name), []byte("/bin/true"))
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(unit)), b, 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", filepath.Join(dir, filepath.Base(unit))).CombinedOutput()
		if err != nil || strings.Contains(string(out), filepath.Base(unit)+":") {
			t.Errorf("%s: %v\n%s", unit, err, out)
		}
	}
}

// device is a lab device with helpers that fail the test.
type device struct {
	t *testing.T
	*lab.Device
}

func newDevice(t *testing.T) device {
	t.Helper()
	l, err := lab.Open(t.Context(), lab.Config{Name: "packaging"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("close the lab: %v", err)
		}
	})
	base, err := lab.Base(t.Context(), lab.StandardBase())
	if err != nil {
		t.Fatal(err)
	}
	d, err := l.NewDevice(t.Context(), lab.DeviceSpec{Name: "target", Base: base})
	if err != nil {
		t.Fatal(err)
	}
	return device{t, d}
}

// must runs a program on the device and returns what it printed.
func (d device) must(argv ...string) string {
	d.t.Helper()
	out, err := d.Output(d.t.Context(), argv...)
	if err != nil {
		d.t.Fatalf("%s: %v", strings.Join(argv, " "), err)
	}
	return out
}

// install installs the packages of a directory with dpkg.
func (d device) install(dir string) {
	d.t.Helper()
	debs, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil || len(debs) != 3 {
		d.t.Fatalf("packages %v: %v", debs, err)
	}
	argv := []string{"dpkg", "-i"}
	for _, deb := range debs {
		to := "/root/" + filepath.Base(deb)
		if err := d.Install(deb, to); err != nil {
			d.t.Fatal(err)
		}
		argv = append(argv, to)
	}
	d.must(argv...)
}

func TestPackagesInstallUpgradeKeepSettingsAndPurgeOnARealDevice(t *testing.T) {
	older, newer := build(t, "v1.2.3"), build(t, "v1.2.4-2-gabc")
	d := newDevice(t)
	d.install(older)
	if got := d.must("dpkg", "--audit"); strings.TrimSpace(got) != "" {
		t.Errorf("dpkg --audit: %s", got)
	}
	for program, want := range map[string]string{"assentd": "v1.2.3", "assent-agent": "v1.2.3", "assent": "v1.2.3"} {
		if got := d.must(program, "version"); !strings.Contains(got, want) {
			t.Errorf("%s version: %q; want %s", program, got, want)
		}
	}
	if got := strings.TrimSpace(d.must("stat", "-c", "%U %a", "/var/lib/assent", "/var/lib/assent-agent")); got != "assent 700\nroot 700" {
		t.Errorf("owners and modes of the state directories: %q", got)
	}

	if _, err := d.Start(t.Context(), "assentd", "runuser", "-u", "assent", "--", "/usr/bin/assentd"); err != nil {
		t.Fatal(err)
	}
	signIn := d.await("/var/lib/assent/first-sign-in")
	d.must("assent", "login", "--server", "http://127.0.0.1:8480", "--token", strings.TrimSpace(signIn))

	mine := []byte(`{"log_level":"warn"}`)
	if err := d.WriteFile("/etc/assent/assentd.json", mine, 0o644); err != nil {
		t.Fatal(err)
	}
	d.install(newer)
	if got := d.must("assentd", "version"); !strings.Contains(got, "v1.2.4-2-gabc") {
		t.Errorf("after the upgrade: %q", got)
	}
	if got, err := d.ReadFile("/etc/assent/assentd.json"); err != nil || !bytes.Equal(got, mine) {
		t.Errorf("the settings after the upgrade: %q, %v; want them as they were", got, err)
	}

	if err := d.Process("assentd").Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.must("dpkg", "--purge", "assent-agent", "assentd", "assent")
	for path, stays := range map[string]bool{"/var/lib/assent/ca.pem": true, "/var/lib/assent-agent": false, "/usr/bin/assentd": false, "/etc/assent/assentd.json": false} {
		_, _, code, err := d.Run(t.Context(), "test", "-e", path)
		if err != nil || (code == 0) != stays {
			t.Errorf("after the purge, %s is there: %v, %v; want %v", path, code == 0, err, stays)
		}
	}
}

// await reads a file of the device as soon as it is there.
func (d device) await(name string) string {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), time.Minute)
	defer cancel()
	for {
		if b, err := d.ReadFile(name); err == nil && len(b) > 0 {
			return string(b)
		}
		select {
		case <-ctx.Done():
			d.t.Fatalf("%s did not appear", name)
		case <-time.After(50 * time.Millisecond): // another process makes it: there is no signal to wait on
		}
	}
}
