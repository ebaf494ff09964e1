// Command assent-rules prints the numbered rules of the design's product.md that no test names, so that a
// promise without a proof cannot hide. It reads ../shared/design/product.md beside the checkout, or the
// file named as its argument.
package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

var (
	rule  = regexp.MustCompile(`(?m)^- ([ACTV][0-9]+) (.*)$`)
	named = regexp.MustCompile(`func Test([ACTV][0-9]+)_`)
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "assent-rules:", err)
		os.Exit(1)
	}
}

func run() error {
	file := filepath.Join("..", "shared", "design", "product.md")
	if len(os.Args) > 1 {
		file = os.Args[1]
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read the rules: %w", err)
	}
	tests, err := testsByRule(".")
	if err != nil {
		return err
	}
	rules, missing := rule.FindAllStringSubmatch(string(text), -1), 0
	for _, r := range rules {
		if tests[r[1]] == 0 {
			missing++
			fmt.Printf("%-3s no test  %.100s\n", r[1], r[2])
		}
	}
	fmt.Printf("%d rules, %d named by tests, %d without\n", len(rules), len(rules)-missing, missing)
	return nil
}

// testsByRule counts the test functions that name each rule.
func testsByRule(root string) (map[string]int, error) {
	out := map[string]int{}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(p, "_test.go") {
			return err
		}
		text, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		for _, m := range named.FindAllStringSubmatch(string(text), -1) {
			out[m[1]]++
		}
		return nil
	})
	return out, err
}
