package criteria_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"assent/criteria"
)

// reference writes the tables of docs/expressions.md.
func reference() string {
	var b strings.Builder
	for _, part := range []struct {
		title string
		l     *criteria.Language
	}{{"Fields of updates (rules)", criteria.Updates()}, {"Fields of devices (selections)", criteria.Devices()}} {
		fmt.Fprintf(&b, "## %s\n\n| field | type | what it is | when nobody knows |\n|---|---|---|---|\n", part.title)
		for _, f := range part.l.Fields() {
			doc := f.Doc
			if len(f.Values) > 0 {
				doc += ". One of " + strings.Join(f.Values, ", ")
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.Name, f.Type, doc, f.Missing)
		}
		b.WriteString("\n")
	}
	b.WriteString("## Functions\n\n| | |\n|---|---|\n")
	for _, f := range criteria.Functions() {
		fmt.Fprintf(&b, "| `%s` | %s |\n", f.Name, f.Doc)
	}
	return b.String()
}

func TestDocs_TheReferenceIsThatOfThisBuild(t *testing.T) {
	page, err := os.ReadFile("../docs/expressions.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(string(page), "\n"+reference()) {
		t.Errorf("docs/expressions.md has to end with:\n%s", reference())
	}
}

func TestDocs_TheExamplesCompile(t *testing.T) {
	page, err := os.ReadFile("../docs/expressions.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := 0
	for line := range strings.SplitSeq(string(page), "\n") {
		source, ok := strings.CutPrefix(line, "    ")
		if !ok {
			continue
		}
		examples++
		_, rule := criteria.CompileRule(source)
		if _, selection := criteria.CompileSelection(source); rule != nil && selection != nil {
			t.Errorf("%s: %v, %v", source, rule, selection)
		}
	}
	if examples < 7 {
		t.Errorf("only %d examples were found", examples)
	}
}
