package cli

import (
	"os"
	"strings"
	"testing"

	"assent/client"
	"assent/criteria"
	"assent/window"
)

// TestTheManualsFilesReadAndItNamesEveryRecipe reads each file in docs/tasks.md as the commands do.
func TestTheManualsFilesReadAndItNamesEveryRecipe(t *testing.T) {
	raw, err := os.ReadFile("../docs/tasks.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(raw), "```yaml\n")[1:]
	if len(blocks) < 3 {
		t.Fatalf("%d files in the manual", len(blocks))
	}
	for _, b := range blocks {
		text, _, _ := strings.Cut(b, "```")
		if strings.HasPrefix(text, "version:") {
			a := newApp(Env{In: strings.NewReader(text)})
			if f, err := a.readFleet("-"); err != nil || len(f.Groups)*len(f.Tasks)*len(f.Decisions)*len(f.Exceptions) == 0 || f.Tasks[0].ID != "nightly" || !f.Tasks[0].Options.NewDependencies {
				t.Errorf("%s\n%+v %v", text, f, err)
			}
			continue
		}
		doc, err := fromYAML([]byte(text))
		if err != nil {
			t.Fatalf("%s\n%v", text, err)
		}
		got, err := client.ReadTask(doc)
		if err != nil || len(got.Rules) == 0 {
			t.Errorf("%s\n%v", text, err)
		}
		for _, r := range got.Rules {
			if _, err := criteria.CompileRule(r.Criteria); err != nil {
				t.Errorf("%s: %v", r.Criteria, err)
			}
		}
		if _, err := criteria.CompileSelection(got.Targets.Selection); err != nil {
			t.Error(err)
		}
		if _, err := window.Parse(got.Schedule); err != nil {
			t.Error(err)
		}
	}
	all, err := allRecipes()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range all {
		if !strings.Contains(string(raw), "| `"+r.Name+"` |") {
			t.Errorf("the manual does not name the recipe %s", r.Name)
		}
	}
}
