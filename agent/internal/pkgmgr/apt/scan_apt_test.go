package apt

import (
	gocmp "cmp"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"assent/lab"
	"assent/pkgver"

	"github.com/google/go-cmp/cmp"
)

// aptChoices asks apt-cache policy about packages, by "name:arch".
func (r *realRoot) aptChoices(native string, keys []string) map[string]choice {
	r.t.Helper()
	return r.parsePolicy(native, r.output(append([]string{"apt-cache", "policy", "--"}, keys...)...))
}

// parsePolicy reads what apt-cache policy prints.
func (r *realRoot) parsePolicy(native, text string) map[string]choice {
	r.t.Helper()
	out := map[string]choice{}
	var key string
	var c choice
	var versions []versionAt
	flush := func() {
		if key != "" {
			c.Newer = newer(r.t, versions, c.Installed)
			if c.Candidate != "" && compareVersions(r.t, c.Candidate, c.Installed) <= 0 {
				c.Candidate = ""
			}
			out[key] = c
		}
		c, versions = choice{}, nil
	}
	versionLine := regexp.MustCompile(`^ (?:\*\*\*|   ) (\S+) (-?\d+)(?: \(phased \d+%\))?$`)
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch m := versionLine.FindStringSubmatch(line); {
		case line != "" && line[0] != ' ' && strings.HasSuffix(line, ":"):
			flush()
			key = strings.TrimSuffix(line, ":")
			if !strings.Contains(key, ":") {
				key += ":" + native
			}
		case strings.HasPrefix(line, "  Installed: "):
			c.Installed = strings.TrimPrefix(line, "  Installed: ")
		case strings.HasPrefix(line, "  Candidate: "):
			c.Candidate = strings.TrimPrefix(line, "  Candidate: ")
			if c.Candidate == "(none)" {
				c.Candidate = ""
			}
		case m != nil:
			pin, err := strconv.Atoi(m[2])
			if err != nil {
				r.t.Fatal(err)
			}
			versions = append(versions, versionAt{m[1], pin})
		}
	}
	flush()
	return out
}

func newer(t testing.TB, versions []versionAt, installed string) []versionAt {
	var out []versionAt
	for _, v := range versions {
		if compareVersions(t, v.Version, installed) > 0 {
			out = append(out, v)
		}
	}
	return out
}

func compareVersions(t testing.TB, a, b string) int {
	t.Helper()
	c, err := pkgver.Compare("deb", a, b)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// sorted brings the newer versions of all choices into one order, because offers are not listed by package.
func sorted(choices map[string]choice) map[string]choice {
	for key, c := range choices {
		slices.SortFunc(c.Newer, func(a, b versionAt) int {
			return gocmp.Or(gocmp.Compare(a.Version, b.Version), gocmp.Compare(a.Pin, b.Pin))
		})
		choices[key] = c
	}
	return choices
}

// aptUpgradable is the set that apt list --upgradable names, as "name:arch=version".
func (r *realRoot) aptUpgradable() []string {
	r.t.Helper()
	var out []string
	line := regexp.MustCompile(`^([^/\s]+)/\S* (\S+) (\S+) \[upgradable from: (\S+)\]$`)
	for text := range strings.Lines(r.output("apt", "list", "--upgradable")) {
		if m := line.FindStringSubmatch(strings.TrimSpace(text)); m != nil {
			out = append(out, m[1]+":"+m[3]+"="+m[2])
		}
	}
	slices.Sort(out)
	return out
}

func TestScanEqualsAptOnRealRootsWithRealPendingUpdates(t *testing.T) {
	for _, c := range []struct {
		suite   string
		sources func(a lab.Archive) string
		least   int // pending updates, below which the comparison would prove little
	}{
		{"bookworm", func(a lab.Archive) string {
			return fmt.Sprintf("deb %[1]s bookworm main\ndeb %[1]s bookworm-updates main\ndeb %[2]s bookworm-security main\ndeb %[1]s bookworm-backports main\ndeb [arch=amd64] %[1]s trixie main\n", a.Main, a.Security)
		}, 50},
		{"trixie", func(a lab.Archive) string {
			return fmt.Sprintf("deb %[1]s trixie main\ndeb %[1]s trixie-updates main\ndeb %[2]s trixie-security main\ndeb %[1]s trixie-backports main\ndeb %[1]s sid main\n", a.Main, a.Security)
		}, 50},
		{"bullseye", func(a lab.Archive) string {
			return fmt.Sprintf("deb %[1]s bullseye main\ndeb %[2]s bullseye-security main\ndeb %[1]s bookworm main\n", a.Main, a.Security)
		}, 50},
	} {
		t.Run(c.suite, func(t *testing.T) {
			t.Parallel()
			r := newRealRoot(t, suiteBase(c.suite))
			r.refresh(c.sources)
			s := r.scan()
			native := strings.TrimSpace(r.output("dpkg", "--print-architecture"))
			got := scanChoices(s, native)
			want := r.aptChoices(native, slices.Sorted(maps.Keys(got)))
			if diff := cmp.Diff(sorted(want), sorted(got)); diff != "" {
				t.Errorf("apt (-) and the scan (+) differ:\n%s", diff)
			}
			var candidates []string
			for _, it := range items(s.Available.Updates) {
				if it.Candidate {
					candidates = append(candidates, it.Name+":"+archOf(it.Arch, native)+"="+it.Version)
				}
			}
			slices.Sort(candidates)
			upgradable := r.aptUpgradable()
			for i, u := range upgradable {
				upgradable[i] = strings.Replace(u, ":all=", ":"+native+"=", 1)
			}
			slices.Sort(upgradable)
			if diff := cmp.Diff(upgradable, candidates); diff != "" {
				t.Errorf("apt list --upgradable (-) and the scan (+) differ:\n%s", diff)
			}
			if len(upgradable) < c.least {
				t.Errorf("only %d updates are pending", len(upgradable))
			}
			t.Logf("%d packages, %d offers, %d pending", len(got), len(s.Available.Updates), len(upgradable))
			for _, f := range s.Posture {
				t.Logf("posture: %s: %s", f.Code, f.Detail)
			}
		})
	}
}

func TestScanReadsListsThatAptKeepsCompressed(t *testing.T) {
	for _, suite := range []string{"bookworm", "trixie", "bullseye"} {
		t.Run(suite, func(t *testing.T) {
			t.Parallel()
			r := newRealRoot(t, suiteBase(suite))
			r.write("etc/apt/apt.conf.d/docker-gzip-indexes", "Acquire::GzipIndexes \"true\";\n")
			r.refresh(func(a lab.Archive) string { return "deb " + a.Security + " " + suite + "-security main\n" })
			compressed, err := filepath.Glob(filepath.Join(r.dir, listsDir, "*_Packages.lz4"))
			if err != nil || len(compressed) == 0 {
				t.Errorf("no list is compressed with lz4 (%v): this proves nothing", err)
			}
			got := scanChoices(r.scan(), "amd64")
			want := r.aptChoices("amd64", slices.Sorted(maps.Keys(got)))
			if diff := cmp.Diff(sorted(want), sorted(got)); diff != "" {
				t.Errorf("apt (-) and the scan (+) differ:\n%s", diff)
			}
			for _, name := range compressed {
				tree := newTree(r.apt().fsys)
				list, err := openList(tree, strings.TrimSuffix(filepath.Base(name), ".lz4"))
				if err != nil {
					t.Fatal(err)
				}
				ours, err := io.ReadAll(list)
				if err != nil {
					t.Fatal(err)
				}
				if theirs := r.output("/usr/lib/apt/apt-helper", "cat-file", "/"+listsDir+filepath.Base(name)); theirs != string(ours) {
					t.Errorf("%s: %d bytes, apt reads %d others", filepath.Base(name), len(ours), len(theirs))
				}
			}
		})
	}
}

func archOf(arch, native string) string {
	if arch == "all" {
		return native
	}
	return arch
}

// simulatedUpgrade is what apt would do; lines may end in a state such as "[apt-utils:amd64 ]", which the parsers
// of other tools stumble over.
func (r *realRoot) simulatedUpgrade(args ...string) []string {
	r.t.Helper()
	var out []string
	inst := regexp.MustCompile(`^Inst (\S+) \[\S+\] \((\S+) .*\[(\S+)\]\)`)
	all := append([]string{"apt-get", "-s", "-o", "Debug::NoLocking=1"}, args...)
	for line := range strings.Lines(r.output(all...)) {
		if m := inst.FindStringSubmatch(line); m != nil {
			name, _, _ := strings.Cut(m[1], ":")
			out = append(out, name+":"+m[3]+"="+m[2])
		}
	}
	slices.Sort(out)
	return out
}

func TestScanFindsEveryUpdateThatDistUpgradeWouldInstallWhateverItsInstLineEndsIn(t *testing.T) {
	t.Parallel()
	r := newRealRoot(t, suiteBase("bullseye"))
	r.refresh(func(a lab.Archive) string {
		return fmt.Sprintf("deb %[1]s bullseye main\ndeb %[2]s bullseye-security main\ndeb %[1]s bookworm main\n", a.Main, a.Security)
	})
	text := r.output("apt-get", "-s", "-o", "Debug::NoLocking=1", "dist-upgrade")
	if !regexp.MustCompile(`(?m)^Inst \S+ \[.*\) \[.*\]$`).MatchString(text) {
		t.Error("no line of the transcript ends in a state: the slip that this test is for could not show")
	}
	have := map[string]bool{}
	for _, it := range items(r.scan().Available.Updates) {
		if it.Candidate {
			have[it.Name+":"+it.Arch+"="+it.Version] = true
		}
	}
	upgrades := r.simulatedUpgrade("dist-upgrade")
	for _, u := range upgrades {
		if !have[u] {
			t.Errorf("dist-upgrade would install %s, the scan does not know it as a candidate", u)
		}
	}
	if len(upgrades) < 50 {
		t.Errorf("only %d upgrades: this proves little", len(upgrades))
	}
}

func TestPhasingPicksTheDevicesThatAptPicks(t *testing.T) {
	for _, suite := range []string{"bookworm", "trixie", "bullseye"} {
		t.Run(suite, func(t *testing.T) {
			t.Parallel()
			r := newRealRoot(t, suiteBase(suite))
			w := &fakeWorld{files: map[string]string{"etc/apt/sources.list": "deb http://a.example/pub s main\n"}}
			whole, err := os.ReadFile(filepath.Join(r.base, statusFile))
			if err != nil {
				t.Fatal(err)
			}
			status, list := string(whole)+"\n", ""
			for i := range 400 {
				p := fmt.Sprintf("Package: phased%d\nArchitecture: amd64\nInstalled-Size: 1\nDescription: x\n", i)
				status += p + "Version: 1.0\nMaintainer: x\nStatus: install ok installed\n\n"
				list += p + fmt.Sprintf("Version: 2.%d\nSource: src%d (2.%d-x)\nFilename: x.deb\nSize: 9\nSHA256: %064x\nPhased-Update-Percentage: %d\n\n", i, i, i, i, i*100/400)
			}
			w.files["var/lib/dpkg/status"] = status
			base := "var/lib/apt/lists/a.example_pub_dists_s_"
			w.files[base+"Release"] = "Origin: A\nSuite: s\nDate: Thu, 01 Jan 2026 00:00:00 UTC\n"
			w.files[base+"main_binary-amd64_Packages"] = list
			w.applyTo(r)
			tree := newTree(r.apt().fsys)
			l, err := loadLists(tree, false)
			if err != nil {
				t.Fatal(err)
			}
			all, err := l.collect(t.Context(), tree, l.interesting(nil), false)
			if err != nil {
				t.Fatal(err)
			}
			var ours []string
			for _, versions := range all {
				for _, v := range versions {
					if v.Phased < notPhased && !l.phasing.excludes(v) {
						ours = append(ours, v.Name+":"+v.Arch+"="+v.Version)
					}
				}
			}
			slices.Sort(ours)
			if diff := cmp.Diff(r.simulatedUpgrade("upgrade"), ours); diff != "" {
				t.Errorf("apt (-) and we (+) differ:\n%s", diff)
			}
			if len(ours) < 50 || len(ours) > 350 {
				t.Errorf("%d of 400 are for this device: this proves little", len(ours))
			}
			got := scanChoices(r.scan(), "amd64")
			want := r.aptChoices("amd64", slices.Sorted(maps.Keys(got)))
			if diff := cmp.Diff(sorted(want), sorted(got)); diff != "" {
				t.Errorf("policy: apt (-) and the scan (+) differ:\n%s", diff)
			}
			if n := len(items(r.scan().Available.Updates)); n < 400 {
				t.Errorf("%d of 400 phased updates are offered", n)
			}
		})
	}
}
