package facts

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"assent/wire"
)

func root(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestReadUnderstandsADebianDevice(t *testing.T) {
	dir := root(t, map[string]string{
		"etc/os-release":                 "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n",
		"etc/machine-id":                 "0123456789abcdef0123456789abcdef\n",
		"proc/sys/kernel/hostname":       "web-1\n",
		"proc/sys/kernel/osrelease":      "6.1.0-18-amd64\n",
		"proc/uptime":                    "12.34 56.78\n",
		"var/lib/dpkg/arch":              "arm64\ni386\narmhf\n",
		"var/lib/dpkg/status":            "Package: adduser\nArchitecture: all\n\nPackage: dpkg\nStatus: install ok installed\nArchitecture: arm64\n",
		"proc/sys/kernel/random/boot_id": "b-1\n",
	})
	if err := os.Symlink("/usr/share/zoneinfo/Europe/Berlin", filepath.Join(dir, "etc/localtime")); err != nil {
		t.Fatal(err)
	}
	want := wire.Facts{Hostname: "web-1", MachineID: "0123456789abcdef0123456789abcdef", OS: "debian", OSVersion: "12", Codename: "bookworm",
		Arch: "arm64", Foreign: []string{"armhf", "i386"}, Kernel: "6.1.0-18-amd64", TimeZone: "Europe/Berlin"}
	if diff := cmp.Diff(want, Read(dir)); diff != "" {
		t.Errorf("facts (-want +got):\n%s", diff)
	}
	if got := Uptime(dir); got != 12340*time.Millisecond {
		t.Errorf("uptime %v", got)
	}
	if BootID(dir) != "b-1" {
		t.Errorf("boot id %q", BootID(dir))
	}
}

func TestReadOfADeviceThatSaysNothingIsEmptyAndUTC(t *testing.T) {
	got := Read(t.TempDir())
	if got.TimeZone != "UTC" || got.MachineID != "" || got.Foreign == nil || got.Arch == "" {
		t.Errorf("facts of an empty root: %+v", got)
	}
}

func TestMachineIDOfAnUnfinishedImageCountsAsNone(t *testing.T) {
	if got := MachineID(root(t, map[string]string{"etc/machine-id": "uninitialized\n"})); got != "" {
		t.Errorf("machine-id %q", got)
	}
}

func TestN26_HostileFilesGiveCappedPrintableText(t *testing.T) {
	evil := "a\x00b\x1b[31m\xff" + strings.Repeat("x", 100_000)
	got := Read(root(t, map[string]string{
		"etc/os-release":           "ID=" + evil + "\nVERSION_ID=\"\n=\n'\n",
		"etc/machine-id":           evil,
		"proc/sys/kernel/hostname": evil,
		"var/lib/dpkg/arch":        evil,
	}))
	for _, s := range append(got.Foreign, got.Hostname, got.MachineID, got.OS, got.OSVersion) {
		if len(s) > maxText || strings.ContainsAny(s, "\x00\x1b\xff") {
			t.Errorf("not clean: %q", s)
		}
	}
}

func FuzzParseRelease(f *testing.F) {
	f.Add("ID=debian\nVERSION_ID=\"12\"\n")
	f.Add("A='\nB=\"\n=\n#x=y")
	f.Fuzz(func(t *testing.T, text string) {
		for k, v := range parseRelease(text) {
			if len(v) > maxText || strings.Contains(k, "\n") {
				t.Errorf("%q = %q", k, v)
			}
		}
	})
}
