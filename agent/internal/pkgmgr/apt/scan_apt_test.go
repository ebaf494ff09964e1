package apt

import (
	"fmt"
	"maps"
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
	text := r.output(append([]string{"apt-cache", "policy", "--"}, keys...)...)
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

func newer(t *testing.T, versions []versionAt, installed string) []versionAt {
	var out []versionAt
	for _, v := range versions {
		if compareVersions(t, v.Version, installed) > 0 {
			out = append(out, v)
		}
	}
	return out
}

func compareVersions(t *testing.T, a, b string) int {
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
		slices.SortFunc(c.Newer, func(a, b versionAt) int { return strings.Compare(a.Version, b.Version)*10 + a.Pin - b.Pin })
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
		}, 100},
		{"trixie", func(a lab.Archive) string {
			return fmt.Sprintf("deb %[1]s trixie main\ndeb %[1]s trixie-updates main\ndeb %[2]s trixie-security main\ndeb %[1]s trixie-backports main\ndeb %[1]s sid main\n", a.Main, a.Security)
		}, 50},
		{"bullseye", func(a lab.Archive) string {
			return fmt.Sprintf("deb %[1]s bullseye main\ndeb %[2]s bullseye-security main\ndeb %[1]s bookworm main\n", a.Main, a.Security)
		}, 100},
	} {
		t.Run(c.suite, func(t *testing.T) {
			r := newRealRoot(t, lab.BaseSpec{Suite: c.suite, Include: lab.StandardBase().Include[:7]})
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

func archOf(arch, native string) string {
	if arch == "all" {
		return native
	}
	return arch
}
