package web

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"assent/ledger"
)

// TestLedger_EveryKindOfEntryCanBeFilteredBy compares the filter with the kinds that the package ledger declares.
func TestLedger_EveryKindOfEntryCanBeFilteredBy(t *testing.T) {
	files, err := filepath.Glob("../../../ledger/*.go")
	if err != nil {
		t.Fatal(err)
	}
	var declared []ledger.Kind
	for _, f := range files {
		source, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`\) Kind\(\) Kind\s+\{ return "([a-z.]+)"`).FindAllStringSubmatch(string(source), -1) {
			declared = append(declared, ledger.Kind(m[1]))
		}
	}
	if len(declared) < 20 {
		t.Fatalf("only %d kinds found: the test looks at nothing", len(declared))
	}
	shown := kinds()
	slices.Sort(declared)
	slices.Sort(shown)
	if !slices.Equal(declared, shown) {
		t.Errorf("the filter has %v, the ledger %v", shown, declared)
	}
}
