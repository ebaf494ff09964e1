// Package assent_test holds the directions of the architecture: who may import whom, and why.
package assent_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// domain packages decide; they do no I/O and read no clock.
var domain = []string{"approval", "catalog", "criteria", "fault", "feed", "fleet", "installation", "ledger", "migrate", "pkgver", "plan", "rollout", "slot", "task", "window", "wire"}

// domainMay are the third-party modules that a domain package may use, with the reason.
var domainMay = map[string]string{
	"golang.org/x/mod/sumdb/tlog": "the ledger's Merkle tree",
	"golang.org/x/mod/sumdb/note": "the ledger's signed checkpoints",
}

// domainOwn are the third-party modules that one domain package may use and the others not, with the reason.
var domainOwn = map[string]map[string]string{
	"criteria": {"cel.dev/cel-go": "compiles and evaluates expressions"},
}

// domainNever are standard packages that mean I/O.
var domainNever = map[string]string{
	"net":          "the domain has no network",
	"net/http":     "the domain has no network",
	"os":           "the domain has no files",
	"os/exec":      "the domain runs nothing",
	"database/sql": "the domain has no database",
	"log":          "errors are returned, not logged",
	"log/slog":     "errors are returned, not logged",
}

// never maps an importing tree to what it must not import, with the reason.
var never = []struct{ from, to, why string }{
	{"server", "assent/agent", "server and agent share only wire and the domain"},
	{"agent", "assent/server", "server and agent share only wire and the domain"},
	{"server/internal/store", "assent/server/internal/api", "the store knows no face"},
	{"server/internal/store", "assent/server/internal/web", "the store knows no face"},
	{"server/internal/store", "assent/server/internal/gateway", "the store knows no face"},
	{"server/internal/api", "assent/server/internal/gateway", "a face never calls another face"},
	{"server/internal/gateway", "assent/server/internal/api", "a face never calls another face"},
	{"server/internal/web", "assent/server/internal/api", "a face never calls another face"},
	{"server/internal/web", "assent/server/internal/gateway", "a face never calls another face"},
	{"cli", "assent/server", "the CLI uses only the API"},
	{"client", "assent/server", "the client is a leaf of the API"},
	{"lab", "assent/server", "the lab builds devices; it does not know what is tested on them"},
	{"lab", "assent/agent", "the lab builds devices; it does not know what is tested on them"},
}

// planMay is what the heart may look at.
var planMay = []string{"assent/approval", "assent/catalog", "assent/criteria", "assent/feed", "assent/fleet", "assent/installation", "assent/ledger", "assent/pkgver", "assent/rollout", "assent/task", "assent/window", "assent/wire"}

// mayExec lists the trees that may start processes, besides tests.
var mayExec = map[string]string{
	"agent/internal/command":           "the agent's only door to other programs",
	"lab":                              "builds devices",
	"e2e":                              "plays the story on devices",
	"bench":                            "measures other programs",
	"server/pgtest":                    "starts PostgreSQL for tests",
	"content/s3/s3test":                "starts an S3 server for tests",
	"agent/internal/pkgmgr/pkgmgrtest": "runs the behaviour suite on devices",
}

type source struct {
	dir, file string
	test      bool
	imports   []string
}

func sources(t *testing.T) []source {
	t.Helper()
	var out []source
	err := filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "node_modules" || d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && p != ".") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(p, ".go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), p, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		s := source{dir: path.Dir(filepath.ToSlash(p)), file: p, test: strings.HasSuffix(p, "_test.go")}
		for _, imp := range f.Imports {
			name, err := strconv.Unquote(imp.Path.Value)
			if err != nil {
				return err
			}
			s.imports = append(s.imports, name)
		}
		out = append(out, s)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 20 {
		t.Fatalf("only %d source files found: this test looks at nothing", len(out))
	}
	return out
}

func within(dir, tree string) bool { return dir == tree || strings.HasPrefix(dir, tree+"/") }

func TestTree_DomainIsPure(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || !slices.Contains(domain, s.dir) {
			continue
		}
		for _, imp := range s.imports {
			first, _, _ := strings.Cut(imp, "/")
			if why, bad := domainNever[imp]; bad {
				t.Errorf("%s imports %s: %s", s.file, imp, why)
			}
			if first == "assent" && !slices.Contains(domain, strings.TrimPrefix(imp, "assent/")) {
				t.Errorf("%s imports %s: the domain knows only the domain", s.file, imp)
			}
			own := false
			for module := range domainOwn[s.dir] {
				own = own || within(imp, module)
			}
			if strings.Contains(first, ".") && domainMay[imp] == "" && !own {
				t.Errorf("%s imports %s: the domain uses the standard library", s.file, imp)
			}
		}
	}
}

func TestTree_Directions(t *testing.T) {
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		for _, rule := range never {
			for _, imp := range s.imports {
				if within(s.dir, rule.from) && within(imp, rule.to) {
					t.Errorf("%s imports %s: %s", s.file, imp, rule.why)
				}
			}
		}
		if s.dir == "plan" {
			for _, imp := range s.imports {
				if strings.HasPrefix(imp, "assent/") && !slices.Contains(planMay, imp) {
					t.Errorf("%s imports %s: plan looks only at %v", s.file, imp, planMay)
				}
			}
		}
	}
}

func TestTree_OnlyOneDoorToOtherPrograms(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || !slices.Contains(s.imports, "os/exec") {
			continue
		}
		allowed := false
		for tree := range mayExec {
			allowed = allowed || within(s.dir, tree)
		}
		if !allowed {
			t.Errorf("%s imports os/exec: only %v may", s.file, mayExec)
		}
	}
}

func TestTree_RandomnessIsCryptographic(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || within(s.dir, "lab") || within(s.dir, "bench") {
			continue
		}
		for _, imp := range s.imports {
			if imp == "math/rand" {
				t.Errorf("%s imports %s: only crypto/rand, or math/rand/v2 for jitter", s.file, imp)
			}
		}
	}
}

func TestTree_EveryPackageSaysWhatItIsFor(t *testing.T) {
	said := map[string]bool{}
	seen := map[string]string{}
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), s.file, nil, parser.ParseComments|parser.PackageClauseOnly)
		if err != nil {
			t.Fatal(err)
		}
		seen[s.dir] = s.file
		said[s.dir] = said[s.dir] || f.Doc != nil && len(f.Doc.Text()) > 60
	}
	for dir, file := range seen {
		if !said[dir] {
			t.Errorf("package %s (%s) has no package comment worth the name", dir, file)
		}
	}
}

func TestTree_NamesThatSayNothingAreNotUsed(t *testing.T) {
	for _, s := range sources(t) {
		if slices.Contains([]string{"util", "utils", "common", "helpers", "models", "types", "misc"}, path.Base(s.dir)) {
			t.Errorf("%s: a package named so holds everything and says nothing", s.file)
		}
	}
}
