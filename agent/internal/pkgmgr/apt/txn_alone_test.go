package apt

import (
	"strings"
	"testing"

	"assent/catalog"

	"github.com/google/go-cmp/cmp"
)

// tinyWorld builds a world from one line per package: "name version [Field: value; …]" for what is installed, and
// after "offer" for what the sources have.
func tinyWorld(t *testing.T, lines ...string) *world {
	t.Helper()
	w := &world{native: "amd64", status: &status{Native: "amd64", byKey: map[string]*installed{}}, versions: map[string][]*version{}}
	for _, line := range lines {
		rest, offered := strings.CutPrefix(line, "offer ")
		head, text, _ := strings.Cut(rest, " [")
		name, ver, _ := strings.Cut(head, " ")
		var r relations
		for f := range strings.SplitSeq(strings.TrimSuffix(text, "]"), "; ") {
			field, value, _ := strings.Cut(f, ": ")
			r.keep(strings.ToLower(field), []byte(value))
		}
		key := packageKey(name, "all", "amd64")
		if offered {
			w.versions[key] = append(w.versions[key], &version{Name: name, Arch: "all", Version: ver, Relations: r,
				Files: []file{{Index: &index{release: &release{}}, SHA256: "x"}}})
			continue
		}
		p := &installed{Name: name, Arch: "all", Version: ver, State: "installed", Relations: r}
		w.status.Packages = append(w.status.Packages, p)
		w.status.byKey[key] = p
	}
	return w
}

func TestStandsAloneIsSureOrAsksApt(t *testing.T) {
	for name, c := range map[string]struct {
		world []string
		items string // "name=version …"
		want  bool
	}{
		"nothing needed":                        {[]string{"a 1", "offer a 2"}, "a=2", true},
		"dependency there":                      {[]string{"a 1", "b 2", "offer a 2 [Depends: b (>= 2)]"}, "a=2", true},
		"dependency too old":                    {[]string{"a 1", "b 1", "offer a 2 [Depends: b (>= 2)]"}, "a=2", false},
		"dependency comes along":                {[]string{"a 1", "b 1", "offer a 2 [Depends: b (= 2)]", "offer b 2"}, "a=2 b=2", true},
		"dependency new":                        {[]string{"a 1", "offer a 2 [Depends: c]"}, "a=2", false},
		"pre-dependency new":                    {[]string{"a 1", "offer a 2 [Pre-Depends: c]"}, "a=2", false},
		"alternative there":                     {[]string{"a 1", "d 1", "offer a 2 [Depends: c | d]"}, "a=2", true},
		"provided":                              {[]string{"a 1", "d 1 [Provides: c]", "offer a 2 [Depends: c]"}, "a=2", true},
		"unversioned Provides, versioned need":  {[]string{"a 1", "d 1 [Provides: c]", "offer a 2 [Depends: c (>= 1)]"}, "a=2", false},
		"versioned Provides":                    {[]string{"a 1", "d 1 [Provides: c (= 2)]", "offer a 2 [Depends: c (>= 1)]"}, "a=2", true},
		"new version no longer provides":        {[]string{"a 1 [Provides: c]", "e 1 [Depends: c]", "offer a 2"}, "a=2", false},
		"reverse dependency on the old one":     {[]string{"a 1", "e 1 [Depends: a (= 1)]", "offer a 2"}, "a=2", false},
		"reverse dependency with an upper end":  {[]string{"a 1", "e 1 [Depends: a (<< 2)]", "offer a 2"}, "a=2", false},
		"conflict with what is there":           {[]string{"a 1", "e 1", "offer a 2 [Conflicts: e]"}, "a=2", false},
		"breaks an older one":                   {[]string{"a 1", "e 1", "offer a 2 [Breaks: e (<< 2)]"}, "a=2", false},
		"breaks what is not there":              {[]string{"a 1", "e 2", "offer a 2 [Breaks: e (<< 2)]"}, "a=2", true},
		"is broken by another":                  {[]string{"a 1", "e 1 [Breaks: a (>= 2)]", "offer a 2"}, "a=2", false},
		"conflicts with its own virtual name":   {[]string{"a 1", "offer a 2 [Provides: m; Conflicts: m]"}, "a=2", true},
		"another has the virtual name":          {[]string{"a 1", "e 1 [Provides: m]", "offer a 2 [Provides: m; Conflicts: m]"}, "a=2", false},
		"other broken things do not matter":     {[]string{"a 1", "e 1 [Depends: gone]", "offer a 2"}, "a=2", true},
		"unreadable":                            {[]string{"a 1", "offer a 2 [Depends: b (~ 2)]"}, "a=2", false},
		"architecture qualifier":                {[]string{"a 1", "b 1", "offer a 2 [Depends: b:i386]"}, "a=2", false},
		"any architecture":                      {[]string{"a 1", "b 1", "offer a 2 [Depends: b:any]"}, "a=2", true},
		"unknown version":                       {[]string{"a 1", "offer a 2"}, "a=3", false},
		"two contents":                          {[]string{"a 1", "offer a 2", "offer a 2"}, "a=2", false},
		"not installed":                         {[]string{"a 1", "offer b 2"}, "b=2", true},
		"not installed, needs what is there":    {[]string{"a 1", "offer b 2 [Depends: a (>= 1)]"}, "b=2", true},
		"not installed, needs what is not":      {[]string{"a 1", "offer b 2 [Depends: c]"}, "b=2", false},
		"not installed, needs a newer one":      {[]string{"a 1", "offer b 2 [Depends: a (>= 2)]"}, "b=2", false},
		"not installed, an installed one minds": {[]string{"a 1 [Conflicts: b]", "offer b 2"}, "b=2", false},
		"not installed, minds an installed one": {[]string{"a 1", "offer b 2 [Conflicts: a]"}, "b=2", false},
	} {
		w := tinyWorld(t, c.world...)
		var items []catalog.Item
		for f := range strings.FieldsSeq(c.items) {
			n, v, _ := strings.Cut(f, "=")
			items = append(items, catalog.Item{Name: n, Arch: "all", Version: v})
		}
		if got := w.standsAlone(items); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestParseRelationsReadsThePolicysSyntaxAndNothingElse(t *testing.T) {
	got, ok := parseRelations("libc6 (>= 2.36), perl:any | perl5 (=1:5),\n debconf (>> 0.5) | debconf-2.0, ")
	want := [][]relation{
		{{name: "libc6", op: ">=", version: "2.36"}},
		{{name: "perl", arch: "any"}, {name: "perl5", op: "=", version: "1:5"}},
		{{name: "debconf", op: ">>", version: "0.5"}, {name: "debconf-2.0"}},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(relation{})); !ok || diff != "" {
		t.Error(ok, diff)
	}
	for _, bad := range []string{"A", "a (1)", "a (>= )", "a (>= 1", "a (>= 1) b", "a |", "a (!= 1)", "-a"} {
		if groups, ok := parseRelations(bad); ok {
			t.Errorf("%q read as %+v", bad, groups)
		}
	}
}

func FuzzParseRelations(f *testing.F) {
	f.Add("libc6 (>= 2.36), perl:any | perl5 (=1:5)")
	f.Fuzz(func(t *testing.T, field string) {
		groups, ok := parseRelations(field)
		for _, g := range groups {
			if ok && len(g) == 0 {
				t.Error("an empty group")
			}
		}
	})
}
