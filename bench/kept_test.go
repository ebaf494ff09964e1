package main

import (
	"strings"
	"testing"
)

func TestKept_ARowMeasuredAnewReplacesItsOwnOnly(t *testing.T) {
	row := func(measure, id string, value float64) Row {
		return Row{Measure: measure, ID: id, What: "something", Value: value, Unit: "s"}
	}
	first := merge(nil, Report{Command: "first", Rows: []Row{row("P8", "P8", 1), row("P8", "P8b", 2), row("P1", "P1", 3)}, Failed: []Failure{{Row: "P9", Why: "no apt"}}})
	all := merge(first, Report{Command: "second", Disturbed: 1, Rows: []Row{row("P8", "P8", 7)}})
	text := page(all)
	for _, want := range []string{"| P1 | something | 3.00 s | – | – | – | – | a |", "| P8 | something | 7.00 s | – | – | – | – | b |", "run **a**: `first`", "run **b**: `second`", "P9** could not be measured: no apt", "busy with other things before 1"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "P8b") || strings.Index(text, "| P1 ") > strings.Index(text, "| P8 ") {
		t.Errorf("old rows of what was measured anew, or another order:\n%s", text)
	}
}
