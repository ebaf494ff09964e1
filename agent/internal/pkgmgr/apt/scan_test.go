package apt

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"assent/wire"

	"github.com/google/go-cmp/cmp"
)

// device is a small device for tests that need no tool's word.
type device struct {
	t     *testing.T
	dir   string
	state string
	now   time.Time
}

const (
	dpkgEntry = "Package: dpkg\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1.21.22\nMaintainer: x\nDescription: x\n\n"
	aptEntry  = "Package: apt\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.6.1\nMaintainer: x\nDescription: x\n\n"
	listBase  = "var/lib/apt/lists/a.example_pub_dists_s_"
	packages  = listBase + "main_binary-amd64_Packages"
)

func newDevice(t *testing.T) *device {
	d := &device{t: t, dir: t.TempDir(), state: t.TempDir(), now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
	d.status("")
	d.write("etc/apt/sources.list", "deb [signed-by=/k.asc] https://a.example/pub s main\n")
	d.release("Origin: Acme Corp\nSuite: s\n", d.now.Add(-time.Hour), d.now.Add(24*time.Hour))
	d.write(packages, "")
	return d
}

func (d *device) write(name, text string) {
	d.t.Helper()
	full := filepath.Join(d.dir, name)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		d.t.Fatal(err)
	}
	if err := os.WriteFile(full+".new", []byte(text), 0o644); err != nil {
		d.t.Fatal(err)
	}
	if err := os.Rename(full+".new", full); err != nil {
		d.t.Fatal(err)
	}
}

func (d *device) status(more string) { d.t.Helper(); d.write(statusFile, dpkgEntry+aptEntry+more) }

func (d *device) release(fields string, date, until time.Time) {
	d.t.Helper()
	text := fields + "Date: " + date.UTC().Format(time.RFC1123) + "\n"
	if !until.IsZero() {
		text += "Valid-Until: " + until.UTC().Format(time.RFC1123) + "\n"
	}
	d.write(listBase+"InRelease", "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n"+text+"-----BEGIN PGP SIGNATURE-----\n\nx\n-----END PGP SIGNATURE-----\n")
}

func (d *device) apt() *Apt {
	return New(Config{Root: d.dir, StateDir: d.state, Now: func() time.Time { return d.now }})
}

func installedEntry(name, version, more string) string {
	return fmt.Sprintf("Package: %s\nStatus: install ok installed\nArchitecture: amd64\nVersion: %s\n%sMaintainer: x\nDescription: x\n\n", name, version, more)
}

func listEntry(name, version, more string) string {
	return fmt.Sprintf("Package: %s\nArchitecture: amd64\nVersion: %s\n%sFilename: pool/%s_%s.deb\nSize: 9\nSHA256: %064x\nDescription: about %s\n long\n\n", name, version, more, name, version, 7, name)
}

func codes(findings []wire.Finding) []string {
	var out []string
	for _, f := range findings {
		out = append(out, f.Code)
	}
	return slices.Compact(out)
}

func TestScanGroupsItemsByTheSourceReleaseTheyWereBuiltFrom(t *testing.T) {
	d := newDevice(t)
	d.status(installedEntry("libssl3", "3.0.1-1", "Source: openssl\n") + installedEntry("openssl", "3.0.1-1", "") +
		strings.Replace(installedEntry("libx", "1.0-1+b1", "Source: x (1.0-1)\n"), "install ok", "hold ok", 1))
	d.write(extendedFile, "Package: libssl3\nArchitecture: amd64\nAuto-Installed: 1\n\n")
	d.write(packages, listEntry("libssl3", "3.0.2-1", "Source: openssl\n")+listEntry("openssl", "3.0.2-1", "Phased-Update-Percentage: 40\n")+
		listEntry("libx", "1.0-1+b2", "Source: x (1.0-1)\n")+listEntry("notinstalled", "9", "")+listEntry("openssl", "3.0.0-1", ""))
	s, err := d.apt().Scan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	item := func(name, version, installed string) wire.OfferItem {
		var it wire.OfferItem
		it.Name, it.Arch, it.Version, it.Size, it.SHA256 = name, "amd64", version, 9, fmt.Sprintf("%064x", 7)
		it.Installed, it.Origin, it.Pin, it.Candidate, it.Summary = installed, "Acme Corp:s", 500, true, "about "+name
		return it
	}
	phased, held := item("openssl", "3.0.2-1", "3.0.1-1"), item("libx", "1.0-1+b2", "1.0-1+b1")
	phased.Phased, held.Hold = 40, true
	want := wire.Available{Ecosystem: "deb", Updates: []wire.Offer{
		{Namespace: "acmecorp", Name: "openssl", Version: "3.0.2-1", Items: []wire.OfferItem{item("libssl3", "3.0.2-1", "3.0.1-1"), phased}},
		{Namespace: "acmecorp", Name: "x", Version: "1.0-1", Items: []wire.OfferItem{held}},
	}}
	if diff := cmp.Diff(want, s.Available); diff != "" {
		t.Error(diff)
	}
	wantPackages := []wire.Package{
		{Name: "apt", Arch: "amd64", Version: "2.6.1", Status: "ii", Source: "apt", SourceVersion: "2.6.1", How: "image"},
		{Name: "dpkg", Arch: "amd64", Version: "1.21.22", Status: "ii", Source: "dpkg", SourceVersion: "1.21.22", How: "image"},
		{Name: "libssl3", Arch: "amd64", Version: "3.0.1-1", Status: "ii", Source: "openssl", SourceVersion: "3.0.1-1", Auto: true, How: "image"},
		{Name: "libx", Arch: "amd64", Version: "1.0-1+b1", Status: "hi", Source: "x", SourceVersion: "1.0-1", Hold: true, How: "image"},
		{Name: "openssl", Arch: "amd64", Version: "3.0.1-1", Status: "ii", Source: "openssl", SourceVersion: "3.0.1-1", How: "image"},
	}
	if diff := cmp.Diff(wantPackages, s.Inventory.Packages); diff != "" {
		t.Error(diff)
	}
	if len(s.Posture) > 0 || s.Health.Broken != "" || s.Restart != nil {
		t.Errorf("a healthy device: posture %v, health %v, restart %v", s.Posture, s.Health, s.Restart)
	}
}

func TestRescanOfAnUnchangedDeviceReturnsTheSameSnapshotAndAnyChangeANewOne(t *testing.T) {
	d := newDevice(t)
	d.write("etc/apt/preferences.d/a", "")
	a := d.apt()
	scan := func() any {
		t.Helper()
		s, err := a.Scan(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	last := scan()
	for what, change := range map[string]func(){
		"dpkg status":        func() { d.status("") },
		"a list":             func() { d.write(packages, "\n") },
		"a release":          func() { d.release("Origin: B\n", d.now.Add(-time.Hour), d.now.Add(time.Hour)) },
		"preferences":        func() { d.write("etc/apt/preferences.d/a", "\n") },
		"a new preferences":  func() { d.write("etc/apt/preferences.d/b", "") },
		"main preferences":   func() { d.write("etc/apt/preferences", "") },
		"sources":            func() { d.write("etc/apt/sources.list.d/x.sources", "") },
		"configuration":      func() { d.write("etc/apt/apt.conf.d/x", "") },
		"auto marks":         func() { d.write(extendedFile, "") },
		"architectures":      func() { d.write(archFile, "amd64\ni386\n") },
		"dpkg's journal":     func() { d.write(updatesDir+"/0001", "x") },
		"apt's history":      func() { d.write(aptHistory, "") },
		"a rotated dpkg log": func() { d.write(dpkgHistory+".2.gz", "") },
		"restart marker":     func() { d.write("run/reboot-required", "") },
		"machine-id":         func() { d.write("etc/machine-id", "x\n") },
		"time past expiry":   func() { d.now = d.now.Add(25 * time.Hour) },
		"a compressed list":  func() { d.write(listBase+"main_binary-all_Packages.lz4", "") },
	} {
		if same := scan(); same != last {
			t.Fatalf("before a change of %s: a new snapshot though nothing changed", what)
		}
		change()
		next := scan()
		if next == last {
			t.Errorf("the snapshot did not change with %s", what)
		}
		last = next
	}
}

func TestWhatCannotBeTrustedIsLeftOutAndNamedInThePosture(t *testing.T) {
	d := newDevice(t)
	d.status(installedEntry("good", "1.0", "") + installedEntry("Bad_Name", "1.0", "") + installedEntry("-oX=Y", "1.0", "") +
		installedEntry("badversion", "1.0$(reboot)", "") + installedEntry("badsource", "1.0", "Source: ../x\n") +
		"Package: badstatus\nStatus: a b c\nArchitecture: amd64\nVersion: 1\n\n" + "Package: nostatus\nArchitecture: amd64\nVersion: 1\n\n")
	d.write(packages, listEntry("good", "1.1", "")+listEntry("good", "1.2_3", "")+listEntry("good", "1.3", "Source: X Y\n")+
		strings.Replace(listEntry("good", "1.4", ""), "SHA256", "MD5sum", 1)+strings.Replace(listEntry("good", "1.5", ""), "Size: 9", "Size: -9", 1)+
		strings.Replace(listEntry("good", "1.6", ""), "Architecture: amd64", "Architecture: ../x", 1))
	s, err := d.apt().Scan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var names, versions []string
	for _, p := range s.Inventory.Packages {
		names = append(names, p.Name)
	}
	for _, it := range items(s.Available.Updates) {
		versions = append(versions, it.Version)
	}
	if diff := cmp.Diff([]string{"apt", "dpkg", "good"}, names); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"1.1"}, versions); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"invalid_name", "invalid_status", "invalid_version", "no_digest"}, codes(s.Posture)); diff != "" {
		t.Errorf("%s\n%v", diff, s.Posture)
	}
}

func TestTwoContentsOfOneVersionAreTwoItems(t *testing.T) {
	d := newDevice(t)
	d.status(installedEntry("x", "1.0", ""))
	d.write(packages, listEntry("x", "2.0", "")+strings.Replace(listEntry("x", "2.0", ""), fmt.Sprintf("%064x", 7), fmt.Sprintf("%064x", 8), 1)+
		strings.Replace(listEntry("x", "2.0", "Depends: y\n"), fmt.Sprintf("%064x", 7), fmt.Sprintf("%064x", 9), 1))
	s, err := d.apt().Scan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, it := range items(s.Available.Updates) {
		got = append(got, fmt.Sprintf("%s %v", it.SHA256[63:], it.Candidate))
	}
	if diff := cmp.Diff([]string{"7 true", "8 false", "9 false"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestPostureNamesEveryWeakeningOfApt(t *testing.T) {
	for _, c := range []struct {
		file, text string
		want       []string
	}{
		{"etc/apt/sources.list", "deb [trusted=yes] https://a.example/pub s main", []string{"no_signed_by", "trusted_yes"}},
		{"etc/apt/sources.list", "deb [signed-by=/k allow-insecure=yes check-valid-until=no] https://a.example/pub s main", []string{"allow_insecure", "check_valid_until_off"}},
		{"etc/apt/sources.list", "deb [signed-by=/k allow-downgrade-to-insecure=yes] https://a.example/pub s main", []string{"allow_downgrade_to_insecure"}},
		{"etc/apt/sources.list", "deb https://a.example/pub s", []string{"source_malformed"}},
		{"etc/apt/sources.list", "rpm https://a.example/pub s main", []string{"source_malformed"}},
		{"etc/apt/sources.list.d/x.sources", "Types: deb deb-src\nURIs: https://b.example/\nSuites: a b\nComponents: main\nTrusted: yes\nCheck-Valid-Until: no\nSigned-By:\n -----BEGIN\n .\n", []string{"check_valid_until_off", "trusted_yes"}},
		{"etc/apt/sources.list.d/x.sources", "Types: deb\nURIs: https://b.example/\nSuites: a\nComponents: main\nTrusted: yes\nEnabled: no\n", nil},
		{"etc/apt/apt.conf.d/99x", `Acquire::AllowInsecureRepositories "true";`, []string{"allow_insecure"}},
		{"etc/apt/apt.conf.d/99x", `Acquire { AllowWeakRepositories "1"; AllowDowngradeToInsecureRepositories yes; };`, []string{"allow_downgrade_to_insecure", "allow_insecure"}},
		{"etc/apt/apt.conf", "APT::Get {\n AllowUnauthenticated \"yes\"; // why\n};\n", []string{"allow_unauthenticated"}},
		{"etc/apt/apt.conf.d/99x", "acquire::check-valid-until \"false\";", []string{"check_valid_until_off"}},
		{"etc/apt/apt.conf.d/99x", "/* Acquire::Check-Valid-Until \"false\"; */\n# Acquire::Check-Valid-Until \"false\";\n", nil},
		{"etc/apt/apt.conf.d/99x", "Dir::State::lists \"/tmp/x\";", []string{"apt_paths_moved"}},
		{"etc/apt/apt.conf.d/99x.dpkg-dist", `Acquire::AllowInsecureRepositories "true";`, nil},
		{"etc/apt/preferences", "Pin: release *\nPin-Priority: 1\n", []string{"preferences_malformed"}},
		{"etc/apt/preferences.d/x", "Package: a\nPin: release *\nPin-Priority: 99999\n", []string{"preferences_malformed"}},
	} {
		d := newDevice(t)
		d.write(c.file, c.text+"\n")
		s, err := d.apt().Scan(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, codes(s.Posture)); diff != "" {
			t.Errorf("%s: %s\n%s\n%v", c.file, c.text, diff, s.Posture)
		}
	}
}

func TestAListThatIsMissingOrUnreadableIsNamedAndNeverSilentlyMissed(t *testing.T) {
	for name, c := range map[string]struct {
		change func(d *device)
		code   string
	}{
		"missing though the release lists it": {func(d *device) {
			d.release(fmt.Sprintf("SHA256:\n %064x 10 main/binary-amd64/Packages\nSuite: s\n", 1), d.now, d.now.Add(time.Hour))
		}, "list_missing"},
		"of an unknown compression": {func(d *device) { d.write(packages+".xz", "x") }, "list_unreadable"},
		"damaged gzip":              {func(d *device) { d.write(packages+".gz", "\x1f\x8bxxxxxxxxxx") }, "list_unreadable"},
		"damaged lz4":               {func(d *device) { d.write(packages+".lz4", "xxxxxxxxxx") }, "list_unreadable"},
		"damaged zstd":              {func(d *device) { d.write(packages+".zst", "xxxxxxxxxx") }, "list_unreadable"},
		"a directory": {func(d *device) {
			if err := os.Mkdir(filepath.Join(d.dir, packages), 0o755); err != nil {
				d.t.Fatal(err)
			}
		}, "list_unreadable"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDevice(t)
			if err := os.Remove(filepath.Join(d.dir, packages)); err != nil {
				t.Fatal(err)
			}
			c.change(d)
			s, err := d.apt().Scan(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if got := codes(s.Posture); !slices.Contains(got, c.code) {
				t.Errorf("posture is %v", s.Posture)
			}
		})
	}
}

func TestN01_RolledBackSourceIsSeenEvenWhenListsWereWipedAndTheAgentRestarted(t *testing.T) {
	d := newDevice(t)
	scan := func() wire.OriginHealth {
		t.Helper()
		s, err := d.apt().Scan(t.Context()) // a new Apt: nothing in memory
		if err != nil {
			t.Fatal(err)
		}
		return s.Origins[0]
	}
	newest := d.now.Add(-time.Hour)
	if h := scan(); h.Problem != "" || !h.Highest.Equal(newest) || h.Site != "a.example" {
		t.Fatalf("at first: %+v", h)
	}
	d.release("Suite: s\n", d.now.Add(-48*time.Hour), d.now.Add(time.Hour))
	if h := scan(); h.Problem != "rolled_back" || !h.Highest.Equal(newest) {
		t.Errorf("older state: %+v", h)
	}
	d.release("Suite: s\n", d.now.Add(1000*24*time.Hour), time.Time{})
	if h := scan(); !h.Highest.Equal(newest) {
		t.Errorf("a date from the far future was remembered: %+v", h)
	}
	d.release("Suite: s\n", d.now.Add(-time.Minute), d.now.Add(-time.Second))
	if h := scan(); h.Problem != "expired" {
		t.Errorf("after Valid-Until: %+v", h)
	}
	if err := os.RemoveAll(filepath.Join(d.dir, "var/lib/apt/lists")); err != nil {
		t.Fatal(err)
	}
	if h := scan(); h.Problem != "unreachable" && h.Problem != "rolled_back" {
		t.Errorf("never fetched: %+v", h)
	}
	d.release("Suite: s\n", newest, d.now.Add(time.Hour))
	if h := scan(); h.Problem != "rolled_back" {
		t.Errorf("older state into wiped lists: %+v", h)
	}
}

func TestBrokenSaysWhatIsWrongWithDpkg(t *testing.T) {
	d := newDevice(t)
	broken := func() string {
		t.Helper()
		s, err := d.apt().Scan(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return s.Health.Broken
	}
	d.status(strings.Replace(installedEntry("x", "1", ""), "ok installed", "ok half-configured", 1))
	if got := broken(); got != "x:amd64 is half-configured" {
		t.Errorf("half-configured: %q", got)
	}
	d.status("")
	d.write(updatesDir+"/0007", "")
	if got := broken(); !strings.Contains(got, "interrupted") {
		t.Errorf("interrupted: %q", got)
	}
}

func TestScanWithoutADatabaseIsAnErrorAndNotAnEmptyDevice(t *testing.T) {
	if _, err := New(Config{Root: t.TempDir()}).Scan(t.Context()); err == nil {
		t.Error("no error")
	}
	d := newDevice(t)
	d.write(statusFile, installedEntry("x", "1", ""))
	if _, err := d.apt().Scan(t.Context()); err == nil {
		t.Error("no error without dpkg's own entry")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := newDevice(t).apt().Scan(ctx); err == nil {
		t.Error("no error though cancelled")
	}
}

func TestNoLinkLeadsOutOfARoot(t *testing.T) {
	d := newDevice(t)
	outside := filepath.Join(t.TempDir(), "status")
	if err := os.WriteFile(outside, []byte(dpkgEntry), 0o644); err != nil {
		t.Fatal(err)
	}
	inside := filepath.Join(d.dir, statusFile)
	if err := os.Remove(inside); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, inside); err != nil {
		t.Fatal(err)
	}
	if _, err := d.apt().Scan(t.Context()); err == nil {
		t.Error("a file outside of the root was read")
	}
}

func TestRestartNamesThePackagesThatWantIt(t *testing.T) {
	for _, c := range []struct {
		files map[string]string
		want  []string
	}{
		{nil, nil},
		{map[string]string{"run/reboot-required": ""}, []string{"unnamed"}},
		{map[string]string{"run/reboot-required": "", "run/reboot-required.pkgs": "libc6\nlinux-image-6.1.0-9-amd64\n\nlibc6\n<script>\n"}, []string{"kernel", "libc6", "linux-image-6.1.0-9-amd64"}},
	} {
		fsys := fstest.MapFS{}
		for name, text := range c.files {
			fsys[name] = &fstest.MapFile{Data: []byte(text)}
		}
		if diff := cmp.Diff(c.want, restartNeeded(newTree(fsys))); diff != "" {
			t.Error(diff)
		}
	}
}

func TestFindVersionsFindsWhatIsNotInstalledWithItsRelationsAndFiles(t *testing.T) {
	d := newDevice(t)
	d.write(packages, listEntry("new", "1.0", "Depends: libc6 (>= 2)\nPre-Depends: p\n")+listEntry("new", "2.0", "")+listEntry("other", "1", ""))
	found, err := d.apt().findVersions(t.Context(), map[string]bool{"new": true, "dpkg": true})
	if err != nil {
		t.Fatal(err)
	}
	if len(found) != 2 || len(found["new:amd64"]) != 2 || len(found["dpkg:amd64"]) != 1 {
		t.Fatalf("found %v", found)
	}
	v := found["new:amd64"][1]
	if v.Version != "1.0" || v.Pin != 500 || v.Relations.Depends != "libc6 (>= 2)" || v.Relations.PreDepends != "p" || v.Files[0].Filename != "pool/new_1.0.deb" {
		t.Errorf("found %+v", v)
	}
}

func TestV4_HowTellsWhoBroughtAVersion(t *testing.T) {
	d := newDevice(t)
	var status, dpkgLog string
	for _, name := range []string{"base", "uu", "ours", "hand", "raw", "late", "odd", "old"} {
		status += installedEntry(name, "2.0", "")
	}
	d.status(status)
	dpkgLog = "2026-01-01 00:00:00 startup archives unpack\n2026-01-01 00:00:01 install base:amd64 <none> 2.0\n" +
		"2026-02-01 00:00:00 upgrade raw:amd64 1.0 2.0\n2026-02-01 00:00:00 upgrade hand:amd64 1.0 2.0\n"
	d.write(dpkgHistory+".1", dpkgLog)
	d.write(dpkgHistory, "2026-03-01 00:00:00 install late:amd64 <none> 2.0\n")
	entry := func(command, changes string) string {
		return "\nStart-Date: 2026-02-01  00:00:00\nCommandline: " + command + "\nRequested-By: me (1000)\n" + changes + "\nEnd-Date: 2026-02-01  00:00:05\n"
	}
	d.write(aptHistory+".1", entry("apt install hand", "Upgrade: ours:amd64 (1.0, 2.0), uu:amd64 (1.0, 2.0)"))
	d.write(aptHistory, entry("/usr/bin/unattended-upgrade", "Upgrade: uu:amd64 (1.0, 2.0), old:amd64 (1.0, 1.9)")+
		entry("apt-get -y -o Assent::Transaction=x install -- ours:amd64=2.0", "Upgrade: ours:amd64 (1.0, 2.0)")+
		entry("apt full-upgrade\x1b[31m "+strings.Repeat("x", 500), "Install: hand:amd64 (2.0, automatic), x:amd64 (1)")+
		"\nStart-Date: x\nUpgrade: odd:amd64 (1.0, 2.0)\nEnd-Date: x\n")
	s, err := d.apt().Scan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, p := range s.Inventory.Packages {
		if len(p.How) > 200 || strings.ContainsAny(p.How, "\x1b\n") {
			t.Errorf("%s: %q", p.Name, p.How)
		}
		got[p.Name] = clip(p.How, 25)
	}
	want := map[string]string{"apt": "image", "dpkg": "image", "base": "image", "old": "image", "uu": "unattended-upgrades", "ours": "assent",
		"hand": "by hand: apt full-upgrade", "raw": "dpkg by hand", "late": "dpkg by hand", "odd": "by another program"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
