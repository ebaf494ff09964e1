package aptrepo

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"assent/catalog"
	"assent/feed"

	"pgregory.net/rapid"
)

var (
	digest = strings.Repeat("a", 64)
	amd64  = Device{Platform: catalog.Platform{OS: "linux", Distribution: "debian", Version: "12", Arch: "amd64"}}
	now    = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
)

const control = "Package: acme-app\nVersion: 2.0\nArchitecture: amd64\nMaintainer: Acme <a@acme.example>\nDepends: libc6 (>= 2.31),\n acme-lib\nDescription: an app\n that does things\n"

func release(control string) feed.Release {
	m := feed.Manifest{Application: "acme-app", Version: "2.0", Payload: catalog.Deb,
		Items: []feed.Item{{Name: "acme-app", Arch: "amd64", Version: "2.0", Size: 7, SHA256: digest, Control: control}}}
	return feed.Release{Manifest: m, Release: catalog.Release{Version: "2.0",
		Software: catalog.Software{Ecosystem: "deb", Namespace: catalog.FeedNamespace("acme"), Name: "acme-app"}}}
}

func repository(control string) Repository {
	return New("acme", []feed.Release{release(control)}, amd64)
}

func TestStanzaHasTheManifestsFactsAndTheAllowedFieldsOnOneLineEach(t *testing.T) {
	r := repository(control)
	want := "Package: acme-app\nSource: acme-app (2.0)\nVersion: 2.0\nArchitecture: amd64\nMaintainer: Acme <a@acme.example>\n" +
		"Depends: libc6 (>= 2.31), acme-lib\nDescription: an app\nFilename: pool/" + digest + ".deb\nSize: 7\nSHA256: " + digest + "\n"
	if got := string(r.packages); got != want || len(r.Refused) != 0 {
		t.Errorf("%v\n%s", r.Refused, got)
	}
}

// TestHostileStanzaIsRefusedOrHarmless: what a publisher, or whoever has its keys, could try with control fields.
func TestHostileStanzaIsRefusedOrHarmless(t *testing.T) {
	for name, c := range map[string]string{
		"two stanzas":            control + "\nPackage: libc6\nVersion: 99\nArchitecture: amd64\n",
		"two stanzas by a blank": control + " \nPackage: libc6\n",
		"a tab for a blank line": control + "\t\nPackage: libc6\n",
		"carriage return":        control + "X: y\r\r\nPackage: libc6\n",
		"no field":               control + "nonsense\n",
		"a field twice":          control + "Depends: acme-evil\n",
		"twice in another case":  control + "PACKAGE: libc6\n",
		"begins in the middle":   " x\n" + control,
		"odd field name":         control + "Pack age: libc6\n",
		"another name":           strings.Replace(control, "acme-app", "libc6", 1),
		"another version":        strings.Replace(control, "Version: 2.0", "Version: 99", 1),
		"another architecture":   strings.Replace(control, "Architecture: amd64", "Architecture: all", 1),
		"another source":         control + "Source: openssl\n",
		"another source version": control + "Source: acme-app (3.0)\n",
		"line separator":         control + "Homepage: a\u2028Package: libc6\n",
		"escape":                 control + "Homepage: \x1b[2J\n",
		"not UTF-8":              control + "Homepage: \xff\n",
		"long":                   control + "Homepage: " + strings.Repeat("x", maxValue+1) + "\n",
		"empty":                  "",
	} {
		if r := repository(c); !r.Empty() || len(r.Refused) != 1 {
			t.Errorf("%s: taken over:\n%s", name, r.packages)
		}
	}
	for _, c := range []string{"Essential: yes\n", "Protected: yes\n", "Important: yes\n", "Build-Essential: yes\n", "Filename: ../../../etc/shadow\n",
		"SHA256: " + strings.Repeat("b", 64) + "\n", "Size: 1\n", "Phased-Update-Percentage: 1\n", "Origin: Debian\n", "Status: install ok installed\n", "Task: standard\n"} {
		r := repository(control + c)
		if got, want := string(r.packages), string(repository(control).packages); got != want {
			t.Errorf("%q changed the entry:\n%s", c, got)
		}
	}
}

func TestAnyControlTextGivesOneStanzaWithKnownFieldsOrNone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lines := rapid.SliceOf(rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"Essential: yes", "Package: libc6", " x", "", "\t", "Depends: a", "Filename: /x"}))).Draw(t, "lines")
		r := repository(control + strings.Join(lines, "\n"))
		if r.Empty() {
			return
		}
		if bytes.Count(r.packages, []byte("\n\n")) != 0 || bytes.Count(r.packages, []byte("\nFilename: ")) != 1 || bytes.ContainsAny(r.packages, "\r\x00\x1b") {
			t.Fatalf("%q", r.packages)
		}
		for line := range strings.Lines(string(r.packages)) {
			name, _, ok := strings.Cut(line, ": ")
			known := append([]string{"Package", "Source", "Version", "Architecture", "Filename", "Size", "SHA256"}, allowed...)
			if !ok || !slices.Contains(known, name) {
				t.Fatalf("line %q", line)
			}
		}
	})
}

func TestOnlyDebianPackagesOfTheFeedThatFitTheDeviceAreListed(t *testing.T) {
	other, tree, arm, bullseye := release(control), release(control), release(control), release(control)
	other.Namespace = "feed.other"
	tree.Manifest.Payload = catalog.Tar
	arm.Manifest.Items[0].Arch = "arm64"
	bullseye.Manifest.Items[0].Platform = catalog.Platform{Distribution: "debian", Version: "11"}
	if r := New("acme", []feed.Release{other, tree, arm, bullseye}, amd64); !r.Empty() || len(r.Refused) != 0 {
		t.Errorf("%v\n%s", r.Refused, r.packages)
	}
	foreign := amd64
	foreign.Foreign = []string{"arm64"}
	armControl := strings.Replace(control, "amd64", "arm64", 1)
	arm.Manifest.Items[0].Control, arm.Manifest.Items[0].Platform.Arch = armControl, "arm64"
	if r := New("acme", []feed.Release{arm}, foreign); r.Empty() {
		t.Error("a package of a foreign architecture that the device takes is left out")
	}
}

func read(t *testing.T, root, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestWriteIsIdempotentItsDateOnlyGrowsAndRemoveLeavesNoTrace(t *testing.T) {
	root := t.TempDir()
	lists := filepath.Join(root, listsDir)
	if err := os.MkdirAll(filepath.Join(lists, "partial"), 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(at time.Time, repos ...Repository) {
		t.Helper()
		if err := Write(root, repos, at); err != nil {
			t.Fatal(err)
		}
	}
	const name = Dir + "/acme/Release"
	write(now, repository(control))
	first := read(t, root, name)
	write(now.Add(time.Hour), repository(control))
	if read(t, root, name) != first {
		t.Error("an unchanged repository has another Release")
	}
	if Listed(root) {
		t.Error("apt has not read it yet, and it counts as listed")
	}
	write(now.Add(-time.Hour), repository(control+"Section: web\n")) // the clock went back
	if d := dateOf([]byte(read(t, root, name))); !d.After(dateOf([]byte(first))) {
		t.Errorf("Date went from %v to %v", dateOf([]byte(first)), d)
	}
	for name, want := range map[string]string{SourceFile: "URIs: copy:/var/lib/assent-feeds/acme/\n", PinFile: "Pin: release o=feed.acme\nPin-Priority: -1\n"} {
		if got := read(t, root, name); !strings.Contains(got, want) {
			t.Errorf("%s:\n%s", name, got)
		}
	}
	for _, f := range []string{"_var_lib_assent-feeds_acme_._Release", "partial/_var_lib_assent-feeds_acme_._Packages", "keep.me_Release"} {
		if err := os.WriteFile(filepath.Join(lists, f), []byte(read(t, root, name)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if !Listed(root) {
		t.Error("apt has read it, and it does not count as listed")
	}
	write(now, New("acme", nil, amd64))
	left, _ := filepath.Glob(root + "/*/*/*/*")
	for _, f := range left {
		if rel := strings.TrimPrefix(f, root+"/"); rel != listsDir {
			t.Errorf("left behind: %s", rel)
		}
	}
	names, err := os.ReadDir(lists)
	if err != nil || len(names) != 2 {
		t.Errorf("lists: %v %v", names, err)
	}
}

func TestOnlyTheAgentsOwnSourceOwnsAFeed(t *testing.T) {
	for _, c := range []struct {
		file, uri, suite string
		want             bool
	}{
		{"/" + SourceFile + ":1", "copy:/var/lib/assent-feeds/acme/", "./", true},
		{"/etc/apt/sources.list.d/other.sources:1", "copy:/var/lib/assent-feeds/acme/", "./", false},
		{"/" + SourceFile + ":1", "http://example.org/var/lib/assent-feeds/acme/", "./", false},
		{"/" + SourceFile + ":1", "copy:/var/lib/assent-feeds/acme/../../evil/", "./", false},
		{"/" + SourceFile + ":1", "copy:/var/lib/assent-feeds/acme/", "stable", false},
		{"/" + SourceFile + ":1", "copy:/var/lib/assent-feeds/", "./", false},
	} {
		if _, ok := Owns(c.file, c.uri, c.suite); ok != c.want {
			t.Errorf("%+v: %v", c, ok)
		}
	}
}

// TestPurgeOfThePackageRemovesWhatRemoveDoes runs what the package does at a purge, in a root directory of the test's own.
func TestPurgeOfThePackageRemovesWhatRemoveDoes(t *testing.T) {
	script, err := os.ReadFile("../../../../packaging/assent-agent/postrm")
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	foreign := filepath.Join(root, "var/lib/apt/lists/deb.example_Release")
	lists := filepath.Join(root, listsDir, listPrefix("acme")+"Release")
	r := New("acme", []feed.Release{release(control)}, amd64)
	if err := Write(root, []Repository{r}, now); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{foreign, lists} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, nil, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	moved := regexp.MustCompile(`(?m)(^|[ \t])/(etc|var|opt|run)/`).ReplaceAll(script, []byte("${1}"+root+"/$2/"))
	for _, left := range []string{"remove", "purge"} {
		if out, err := exec.Command("sh", "-c", string(moved), "postrm", left).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		for _, name := range []string{filepath.Join(root, SourceFile), filepath.Join(root, PinFile), filepath.Join(root, Dir), lists} {
			if _, err := os.Stat(name); (left == "purge") != errors.Is(err, fs.ErrNotExist) {
				t.Errorf("after %s: %s: %v", left, name, err)
			}
		}
	}
	if _, err := os.Stat(foreign); err != nil {
		t.Errorf("a list of others: %v", err)
	}
}
