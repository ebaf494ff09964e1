package web

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestNoSentenceOfAServiceNamesACommandOnAPage reads every sentence in the services behind the console that names a
// command or a flag of the CLI, and looks at what a page makes of it.
func TestNoSentenceOfAServiceNamesACommandOnAPage(t *testing.T) {
	names := regexp.MustCompile("`assent|(^|[ (])--[a-z]")
	found := 0
	for _, dir := range []string{"decide", "roster", "index", "mirror", "audit", "packages", "trend", "views", "tasks", "signin", "notify", "staging"} {
		err := filepath.WalkDir(filepath.Join("..", dir), func(path string, d fs.DirEntry, err error) error {
			if os.IsNotExist(err) || err == nil && (d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go")) {
				return nil
			}
			if err != nil {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				lit, ok := n.(*ast.BasicLit)
				if !ok || lit.Kind != token.STRING {
					return true
				}
				text, err := strconv.Unquote(lit.Value)
				if err != nil || !names.MatchString(text) || !strings.Contains(text, ". ") && !strings.HasSuffix(text, ".") {
					return true // no sentence
				}
				found++
				if shown := onPages(text); names.MatchString(shown) {
					t.Errorf("%s: a page says %q", path, shown)
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if found < 20 {
		t.Errorf("only %d sentences found: the test looks at too little", found)
	}
}

// TestOnPagesKeepsWhatIsNoCommand and makes whole sentences of the rest.
func TestOnPagesKeepsWhatIsNoCommand(t *testing.T) {
	for from, want := range map[string]string{
		"Nothing to see -- here `x`.":                                                                   "Nothing to see -- here `x`.",
		"There is no group \"a\"; `assent group list` shows all.":                                       "There is no group \"a\".",
		"Approve it (`assent update approve u1`) or decline it.":                                        "Approve it or decline it.",
		"It is superseded; approve that, or the older one on purpose with --allow-superseded.":          "It is superseded; approve that, or the older one on purpose.",
		"Read and accept it: `assent update agreements u`, then `assent agreement accept u`.":           "Read and accept it.",
		"There is no group and no device \"x\"; `assent group list` and `assent device list` show all.": "There is no group and no device \"x\".",
	} {
		if got := onPages(from); got != want {
			t.Errorf("%q: %q, want %q", from, got, want)
		}
	}
}
