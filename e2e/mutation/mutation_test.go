package mutation

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// mutation turns one guard off.
type mutation struct {
	name     string
	file     string // from the module's root
	old, new string // text that stands exactly once, and what it becomes
	pkg      string
	run      string // the tests of which at least one must fail
}

var mutations = []mutation{
	{"the decline wall of A3", "approval/evaluate.go", "if len(standing) > 0 {", "if false {", "./approval", "TestA3"},
	{"the decline wall in plans", "approval/evaluate.go", "if len(standing) > 0 {", "if false {", "./plan", "TestPromise2|TestC3"},
	{"the expiry of exceptions", "approval/evaluate.go", "&& in.Now.Before(e.Expires) {", "{", "./approval", "TestA3"},
	{"the reach of declines", "approval/evaluate.go", "if !d.Reach.Later {", "if true {", "./approval", "TestA4"},
	{"approvals binding versions", "approval/evaluate.go", "d.Update == in.Release.ID() && d.live(in.Now) {\n\t\t\t\treturn d, true", "d.live(in.Now) {\n\t\t\t\treturn d, true", "./approval", "TestA5"},
	{"the digest check of plans", "plan/compute.go", "case digests[0] != it.SHA256:", "case false:", "./plan", "TestPromise1"},
	{"the revision an approval binds", "plan/compute.go", "rev = d.Rev", "rev += 0 * d.Rev", "./plan", "TestPromise1|TestT3"},
	{"the closure check", "plan/closure.go", "if v.Action == Install && !c.admitClosure(v) {", "if v == nil {", "./plan", "TestV2"},
	{"declined dependencies", "plan/closure.go", "if res := c.status(release); res.Status == approval.Declined {", "if res := c.status(release); res.Status == approval.Declined+\"x\" {", "./plan", "TestV2_ADeclined|TestT3|TestPromise2"},
	{"removals", "plan/closure.go", "case wire.OpRemove:", "case wire.OpRemove:\n\t\treturn true", "./plan", "TestV2_Removal"},
	{"the walls in the plan", "plan/wire.go", "Deny: c.denies()", "", "./plan", "TestC3|TestPlan"},
	{"quarantine", "plan/compute.go", "case c.in.Device.State != fleet.Active:", "case c.in.Device.State == fleet.Active+\"x\":", "./plan", "TestUnknownHolds"},
	{"the signature of plans", "wire/plan.go", "if !ed25519.Verify(key, pae(s.Body), s.Sig) {", "if false {", "./wire", "TestStatement"},
	{"the type of what is signed", "wire/plan.go", `return fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(StatementType), StatementType, len(body), body)`, "return append(fmt.Append(nil), body...)", "./wire", "TestStatement"},
	{"the counter of plans", "wire/plan.go", "case body.Counter < floor:", "case false:", "./wire", "TestStatement"},
	{"the device a plan is for", "wire/plan.go", "case body.Device != device:", "case false:", "./wire", "TestStatement"},
	{"the expiry of plans", "wire/plan.go", "case !now.Before(body.Expires):", "case false:", "./wire", "TestStatement"},
	{"the content a statement binds", "wire/plan.go", "if Digest(plan) != b.Plan {", "if false {", "./wire", "TestStatement"},
	{"the ledger a device follows", "wire/extend.go", "if err := tlog.CheckTree(p, newer, is, older, was); err != nil {", "if err := tlog.CheckTree(p, newer, is, older, was); err == nil && older > newer {", "./wire", "TestPromise2"},
	{"two ledgers of one size", "wire/extend.go", "if was != is {", "if false {", "./wire", "TestPromise2"},
	{"the journal's fsync", "agent/internal/journal/journal.go", "err = j.f.Sync()\n\t}\n\tif err != nil {\n\t\tj.broken", "_ = j.f.Sync()\n\t}\n\tif err != nil {\n\t\tj.broken", "./agent/internal/journal", "TestN49"},
	{"the journal before the transaction", "agent/fly.go", "defer a.touchDown()\n\tif err := a.write(rec); err != nil {", "defer a.touchDown()\n\tif err := a.write(rec); err != nil && false {", "./agent", "TestN49"},
	{"the commit of an act", "server/internal/store/tx.go", "if err := t.Commit(); err != nil {", "if err := t.Commit(); err != nil && false {", "./server/internal/store", "TestN49_AF"},
	{"legal transitions", "installation/installation.go", `return fmt.Errorf("installation state cannot go`, "return nil\n\treturn fmt.Errorf(\"installation state cannot go", "./installation", "TestV1"},
}

func TestEveryGuardHasATestThatMissesIt(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mutations {
		t.Run(strings.ReplaceAll(m.name, " ", "_"), func(t *testing.T) {
			out, err := run(t, root, m)
			if err == nil {
				t.Errorf("turned off %s in %s, and %s in %s stayed green", m.name, m.file, m.run, m.pkg)
			} else if !strings.Contains(out, "--- FAIL") {
				t.Fatalf("no test failed; the mutation does not build:\n%s", out)
			}
		})
	}
}

// run tests the mutated program and returns what go test said.
func run(t *testing.T, root string, m mutation) (string, error) {
	t.Helper()
	path := filepath.Join(root, m.file)
	source, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(source), m.old); n != 1 {
		t.Fatalf("%q stands %d times in %s, want once", m.old, n, m.file)
	}
	dir := t.TempDir()
	mutant := filepath.Join(dir, "mutant.go")
	if err := os.WriteFile(mutant, []byte(strings.Replace(string(source), m.old, m.new, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {path: mutant}})
	if err != nil {
		t.Fatal(err)
	}
	overlayFile := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(overlayFile, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"test", "-count=1", "-vet=off", "-overlay", overlayFile, "-run", m.run, m.pkg}
	if usesRapid(t, filepath.Join(root, m.pkg)) {
		args = append(args, "-args", "-rapid.nofailfile") // a mutant's failure is no seed to keep
	}
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// usesRapid reports whether a package's tests know rapid's flags.
func usesRapid(t *testing.T, dir string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), `"pgregory.net/rapid"`) {
			return true
		}
	}
	return false
}
