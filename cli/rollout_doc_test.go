package cli_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"assent/fleet"
	"assent/ledger"
	"assent/server/servertest"
)

// TestT6_TheTaskWithRingsInTheManualWorks as it stands there: it can be made, and an update begins in its first ring.
func TestT6_TheTaskWithRingsInTheManualWorks(t *testing.T) {
	manual, err := os.ReadFile("../docs/tasks.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rings, _ := strings.Cut(string(manual), "\n## Rings")
	_, example, _ := strings.Cut(rings, "```yaml\n")
	example, _, ok := strings.Cut(example, "```")
	if !ok {
		t.Fatal("the manual has no example of rings")
	}
	w := servertest.New(t)
	for _, name := range []string{"Test", "Pilot", "Production"} {
		w.Group(fleet.GroupID("g-"+strings.ToLower(name)), name, fleet.Root)
	}
	for name, group := range map[string]fleet.GroupID{"t1": "g-test", "p1": "g-production"} {
		d := w.Device(name, group)
		d.Has("nginx", "1.22.0")
		d.Offer("nginx", "1.22.1", nil)
		d.CheckIn()
	}
	file := filepath.Join(t.TempDir(), "ringed.yaml")
	if err := os.WriteFile(file, []byte(example), 0o600); err != nil {
		t.Fatal(err)
	}
	s := newSession(t, w, w.Operator("ada", ledger.Administrator, fleet.Root), "")
	s.Width = 200
	for _, args := range [][]string{{"task", "create", "-f", file}, {"update", "approve", "nginx@1.22.1"}} {
		if code := s.do(t, args...); code != 0 {
			t.Fatalf("%v: exit %d, %s", args, code, s.err.String())
		}
	}
	w.Conduct()
	code := s.do(t, "rollout", "show", "Servers, ring by ring", "nginx@1.22.1")
	shown := regexp.MustCompile("\x1b\\[[0-9]*m").ReplaceAllString(s.out.String(), "")
	if code != 0 || !strings.Contains(shown, "Test        running") || !strings.Contains(shown, "Production  waiting") {
		t.Errorf("exit %d:\n%s%s", code, shown, s.err.String())
	}
	if code := s.do(t, "why", "p1", "nginx@1.22.1"); code != 0 || !strings.Contains(s.out.String(), `ring "Test" comes first`) {
		t.Errorf("exit %d:\n%s%s", code, s.out.String(), s.err.String())
	}
	s.do(t, "rollout", "list", "--task", "ringed", "--json")
	if !strings.Contains(s.out.String(), `"rate": "no outcome yet"`) {
		t.Errorf("the list as JSON: %s", s.out.String())
	}
}
