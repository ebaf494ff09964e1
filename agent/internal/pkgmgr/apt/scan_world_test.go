package apt

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
)

// fakeWorld is a generated device: everything that apt's policy looks at, in small numbers of similar things, so
// that pins match often and versions meet.
type fakeWorld struct {
	rand  *rand.Rand
	files map[string]string
	suite []fakeSuite
}

type fakeSuite struct {
	uri, dist                       string
	origin, label, suite, codename  string
	notAutomatic, automaticUpgrades bool
	version                         string
	entries                         map[string][]string // by component/arch
	sourceOptions                   string
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

func newFakeWorld(seed uint64, tools string) *fakeWorld {
	w := &fakeWorld{rand: rand.New(rand.NewPCG(seed, 7)), files: map[string]string{}}
	w.addSuites()
	w.addPackages(tools)
	w.addPreferences()
	w.writeLists()
	w.files["var/lib/dpkg/arch"] = "amd64\ni386\n"
	return w
}

func (w *fakeWorld) addSuites() {
	r := w.rand
	for i := range 1 + r.IntN(4) {
		s := fakeSuite{
			uri: pick(r, "http://a.example/pub", "https://b.example:8080/pub/", "http://user:pw@c.example/p~b", "file:/pub", "file:///pub"), dist: fmt.Sprintf("s%d%s", i, pick(r, "", "-security", "/updates", "_x")),
			origin: pick(r, "Acme", "Debian", "Acme Corp", ""), label: pick(r, "Acme", "Acme-Security", "Debian", ""),
			suite: pick(r, "stable", "testing", "stable-security", ""), codename: pick(r, "nut", "oak", "nut-security", ""),
			notAutomatic: r.IntN(4) == 0, automaticUpgrades: r.IntN(3) == 0, version: pick(r, "12", "12.5", "13", ""),
			entries: map[string][]string{}, sourceOptions: pick(r, "", "", "[arch=amd64] ", "[arch-=i386] ", "[ trusted=yes arch+=i386 ] "),
		}
		w.suite = append(w.suite, s)
	}
}

var fakeNames = []string{"alpha", "alpha-dev", "beta", "libgamma1", "delta", "epsilon", "zeta.x", "eta++", "theta", "iota"}

func (w *fakeWorld) addPackages(tools string) {
	r := w.rand
	var status strings.Builder
	status.WriteString(tools)
	for _, name := range fakeNames {
		source := ""
		switch r.IntN(4) {
		case 0:
			source = "alpha"
		case 1:
			source = "src-" + name + " (" + w.version() + ")"
		}
		arches := pick(r, []string{"amd64"}, []string{"amd64"}, []string{"all"}, []string{"i386"}, []string{"amd64", "i386"})
		for _, arch := range arches {
			want := pick(r, "install", "install", "install", "hold")
			state := pick(r, "installed", "installed", "installed", "installed", "half-configured", "config-files")
			status.WriteString(w.stanza(name, arch, w.version(), source, len(arches) > 1) + fmt.Sprintf("Status: %s ok %s\nMaintainer: x\nDescription: x\n\n", want, state))
		}
		for i := range w.suite {
			for range r.IntN(4) {
				w.addEntry(&w.suite[i], name, pick(r, append(arches, "all", "amd64")...), source, len(arches) > 1)
			}
		}
	}
	w.files["var/lib/dpkg/status"] = status.String()
}

func (w *fakeWorld) version() string {
	return pick(w.rand, "0.9", "1.0", "1.0-1", "1.0-1+b1", "1.1~rc1", "1.1", "1.2-3", "2.0", "2.0+deb12u1", "1:0.5")
}

// stanza has few different contents per version, so that some are the same version to apt and some are not.
func (w *fakeWorld) stanza(name, arch, version, source string, same bool) string {
	s := fmt.Sprintf("Package: %s\nArchitecture: %s\nVersion: %s\nInstalled-Size: 10\n", name, arch, version)
	if source != "" {
		s += "Source: " + source + "\n"
	}
	if same && arch != "all" {
		s += "Multi-Arch: same\n"
	} else if w.rand.IntN(4) == 0 {
		s += "Multi-Arch: foreign\n"
	}
	return s + pick(w.rand, "", "", "Depends: delta (>= 0:1.0)\n", "Depends: delta (>=1.0)\n")
}

func (w *fakeWorld) addEntry(s *fakeSuite, name, arch, source string, same bool) {
	r := w.rand
	version := w.version()
	size := pick(r, 100, 100, 100, 200)
	text := w.stanza(name, arch, version, source, same)
	text += fmt.Sprintf("Filename: pool/%s_%s_%s.deb\nSize: %d\nSHA256: %064x\nDescription: x\n", name, version, arch, size, size)
	indexes := []string{"main/" + arch}
	if arch == "all" {
		indexes = pick(r, []string{"main/amd64", "main/i386"}, []string{"main/all"})
	}
	if r.IntN(5) == 0 {
		indexes[0] = strings.Replace(indexes[0], "main", "contrib", 1)
	}
	for _, ix := range indexes {
		s.entries[ix] = append(s.entries[ix], text)
	}
}

func (w *fakeWorld) writeLists() {
	var list strings.Builder
	for _, s := range w.suite {
		for _, components := range pick(w.rand, []string{"main contrib"}, []string{"main", "contrib main"}) {
			fmt.Fprintf(&list, "deb %s%s %s %s # x\n", s.sourceOptions, s.uri, s.dist, components)
		}
		base := "var/lib/apt/lists/" + listName(withSlash(s.uri)+"dists/"+s.dist+"/")
		release := ""
		field := func(name, value string) {
			if value != "" {
				release += name + ": " + value + "\n"
			}
		}
		field("Origin", s.origin)
		field("Label", s.label)
		field("Suite", s.suite)
		field("Version", s.version)
		field("Codename", s.codename)
		if s.notAutomatic {
			field("NotAutomatic", "yes")
		}
		if s.automaticUpgrades {
			field("ButAutomaticUpgrades", "yes")
		}
		field("Date", "Thu, 01 Jan 2026 00:00:00 UTC")
		field("Architectures", "amd64 i386")
		field("Components", "main contrib")
		field("SHA256", fmt.Sprintf("\n %064x 10 main/binary-amd64/Packages", 1))
		w.files[base+pick(w.rand, "InRelease", "Release")] = release
		for _, key := range slices.Sorted(maps.Keys(s.entries)) {
			entries := s.entries[key]
			component, arch, _ := strings.Cut(key, "/")
			ext, data := w.compressed(strings.Join(entries, "\n"))
			w.files[base+component+"_binary-"+arch+"_Packages"+ext] = data
		}
	}
	w.files["etc/apt/sources.list"] = list.String()
	if w.rand.IntN(3) == 0 {
		w.files["etc/apt/sources.list"] = "# moved\n"
		w.files["etc/apt/sources.list.d/moved.sources"] = w.paragraphSources()
	}
}

// paragraphSources says the same as the one-line form.
func (w *fakeWorld) paragraphSources() string {
	options := map[string]string{"[arch=amd64] ": "Architectures: amd64\n", "[arch-=i386] ": "Architectures-Remove: i386\n",
		"[ trusted=yes arch+=i386 ] ": "Trusted: yes\nArchitectures-Add: i386\n"}
	var out strings.Builder
	out.WriteString("# comment\n\n")
	for _, s := range w.suite {
		fmt.Fprintf(&out, "Types: deb\n%s# comment\nURIs: %s\nSuites:\n %s\nComponents: main\n contrib\n\n", options[s.sourceOptions], s.uri, s.dist)
	}
	return out.String() + "Enabled: no\nTypes: deb\nURIs: http://a.example/pub\nSuites: s9\nComponents: main\n"
}

// compressed gives a list in one of the forms in which apt may keep it.
func (w *fakeWorld) compressed(text string) (ext, data string) {
	var b bytes.Buffer
	var z io.WriteCloser
	switch w.rand.IntN(4) {
	case 0:
		ext, z = ".gz", gzip.NewWriter(&b)
	case 1:
		ext = ".zst"
		z, _ = zstd.NewWriter(&b) // fails only for wrong options
	default:
		return "", text
	}
	_, err := io.WriteString(z, text)
	if err := errors.Join(err, z.Close()); err != nil {
		panic(err) // into memory
	}
	return ext, b.String()
}

func (w *fakeWorld) addPreferences() {
	r := w.rand
	var all []string
	for range r.IntN(7) {
		name := pick(r, "*", "*", pick(r, fakeNames...), pick(r, fakeNames...), "alpha*", "*a", "/^(alpha|beta)/", "/A$/", "src:alpha", "src:src-*",
			"alpha:any", "beta:i386", "*:i386", "alpha beta", "[ab]*", "lib?amma1", "delta:amd64", "src:alpha:any", "*:any", "nosuch")
		pin := pick(r, "release a=stable", "release o=Acme", "release l=Acme*", "release n=nut", "release *", "release stable", "release 12*", "release v=12.5",
			"release a=stable, l=Acme-Security", "release c=contrib", "release b=i386", "release a=now", "release n=/^nut/", "release o=/debian/",
			"origin a.example", "origin \"b.example\"", "origin \"\"", "origin *.example", "release o=Acme Corp", "release a=st[aeiou]ble",
			"version 1.0*", "version 2.0", "version *+deb12u1", "version /^1[.:]/", "version 1:*", "Version 1.1~rc1")
		priority := pick(r, "-10", "1", "99", "100", "101", "500", "501", "990", "1000", "1001", "-1", "never")
		switch {
		case name == "*" && r.IntN(4) == 0:
			priority = "never"
		case name != "*" && priority == "never":
			priority = "-5"
		}
		all = append(all, fmt.Sprintf("Explanation: x\nPackage: %s\nPin: %s\nPin-Priority: %s\n", name, pin, priority))
	}
	cut := 0
	if len(all) > 0 {
		cut = r.IntN(len(all))
	}
	w.files["etc/apt/preferences"] = strings.Join(all[:cut], "\n")
	w.files["etc/apt/preferences.d/50test"] = "# comment\n" + strings.Join(all[cut:], "\n# more\n\n")
	w.files["etc/apt/preferences.d/ignored.bak"] = "Package: *\nPin: release *\nPin-Priority: -1\n"
	w.files["etc/apt/apt.conf.d/50release"] = "// nothing\n"
	if suite := w.suite[0].suite; suite != "" && r.IntN(4) == 0 {
		w.files["etc/apt/apt.conf.d/50release"] = "APT { Default-Release \"" + suite + "\"; };\n"
	}
}

// applyTo replaces what the root had.
func (w *fakeWorld) applyTo(r *realRoot) {
	r.t.Helper()
	for _, sub := range []string{"var/lib/apt/lists", "etc/apt/preferences.d", "etc/apt/sources.list.d"} {
		if err := os.RemoveAll(filepath.Join(r.dir, sub)); err != nil {
			r.t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(r.dir, sub, "partial"), 0o755); err != nil {
			r.t.Fatal(err)
		}
	}
	for name, text := range w.files {
		r.write(name, text)
	}
}

// ownTools is dpkg's and apt's own entry, without which the architecture would be unknown.
func ownTools(t *testing.T, r *realRoot) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(r.base, "var/lib/dpkg/status"))
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for para := range strings.SplitSeq(string(data), "\n\n") {
		if strings.HasPrefix(para, "Package: dpkg\n") || strings.HasPrefix(para, "Package: apt\n") {
			out.WriteString(strings.TrimSpace(para) + "\n\n")
		}
	}
	return out.String()
}

// worlds is how many generated devices are compared per suite; ASSENT_SCAN_WORLDS asks for more.
func worlds() uint64 {
	if n, err := strconv.ParseUint(os.Getenv("ASSENT_SCAN_WORLDS"), 10, 32); err == nil {
		return n
	}
	return 25
}

func TestScanEqualsAptsPolicyOnGeneratedDevices(t *testing.T) {
	for _, suite := range []string{"bookworm", "trixie", "bullseye"} {
		t.Run(suite, func(t *testing.T) {
			t.Parallel()
			r := newRealRoot(t, suiteBase(suite))
			tools := ownTools(t, r)
			newer, pinned := 0, 0
			for seed := range worlds() {
				w := newFakeWorld(seed, tools)
				w.applyTo(r)
				got := scanChoices(r.scan(), "amd64")
				want := r.aptChoices("amd64", slices.Sorted(maps.Keys(got)))
				if diff := cmp.Diff(sorted(want), sorted(got)); diff != "" {
					t.Errorf("world %d: apt (-) and the scan (+) differ:\n%s\n%s%s", seed, diff, w.files["etc/apt/preferences"], w.files["etc/apt/preferences.d/50test"])
				}
				for _, c := range got {
					for _, v := range c.Newer {
						newer++
						if v.Pin != defaultPrio {
							pinned++
						}
					}
				}
			}
			if newer < int(worlds())*6 || pinned < newer/5 {
				t.Errorf("only %d newer versions, %d of them with an uncommon priority: this proves little", newer, pinned)
			}
		})
	}
}
