package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// kept is what the last run of one measure found. The page is made of all of them, so that a row can be measured anew without
// the others.
type kept struct {
	Measure   string  `json:"measure"`
	Command   string  `json:"command"`
	Machine   Machine `json:"machine"`
	Disturbed int     `json:"disturbed,omitempty"` // measurements of the whole run during which the machine was busy
	Rows      []Row   `json:"rows"`
	Failed    string  `json:"failed,omitempty"` // why it could not be measured
}

// keptFile holds all of them, as JSON, beside the page.
func (b *bench) keptFile() string { return filepath.Join(b.root, "docs", "benchmarks.json") }

// keep adds a run to what is kept, and writes the page of all.
func (b *bench) keep(r Report) error {
	var before []kept
	text, err := os.ReadFile(b.keptFile())
	if err == nil {
		err = json.Unmarshal(text, &before)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read what was measured before: %w", err)
	}
	all := merge(before, r)
	text, err = json.MarshalIndent(all, "", " ")
	if err != nil {
		return fmt.Errorf("keep what was measured: %w", err)
	}
	if err := os.WriteFile(b.keptFile(), append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("keep what was measured: %w", err)
	}
	if err := os.WriteFile(filepath.Join(b.root, "docs", "benchmarks.md"), []byte(page(all)), 0o644); err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	return nil
}

// merge puts the measures of a run in the place of what they found before, in the order of measures.
func merge(before []kept, r Report) []kept {
	var out []kept
	for _, m := range measures() {
		now := kept{Measure: m.row, Command: r.Command, Machine: r.Machine, Disturbed: r.Disturbed}
		for _, row := range r.Rows {
			if row.Measure == m.row {
				now.Rows = append(now.Rows, row)
			}
		}
		for _, f := range r.Failed {
			if f.Row == m.row {
				now.Failed = f.Why
			}
		}
		if len(now.Rows) > 0 || now.Failed != "" {
			out = append(out, now)
		} else if i := slices.IndexFunc(before, func(k kept) bool { return k.Measure == m.row }); i >= 0 {
			out = append(out, before[i])
		}
	}
	return out
}

const pageHead = `# Benchmarks

Made by ` + "`go run ./bench --write`" + `, which measures each row and its baseline in one run, taking turns; do not edit by hand. A target
that was missed says **no**. Absolute figures are worth something only beside their baseline on the same machine. With ` + "`--rows`" + ` only
these are measured anew: the last column names the run that a row is of.

`

// page is docs/benchmarks.md.
func page(all []kept) string {
	var b strings.Builder
	b.WriteString(pageHead)
	runs := map[string]string{}
	name := func(k kept) string {
		key := k.Command + " " + k.Machine.line()
		if runs[key] == "" {
			runs[key] = string(rune('a' + len(runs)))
			fmt.Fprintf(&b, "- run **%s**: `%s` on %s\n", runs[key], k.Command, k.Machine.line())
			if k.Disturbed > 0 {
				fmt.Fprintf(&b, "  %s\n", disturbed(k.Disturbed))
			}
		}
		return runs[key]
	}
	for _, k := range all {
		name(k)
	}
	fmt.Fprintf(&b, "\n| %s | run |\n|%s\n", strings.Join(columns, " | "), strings.Repeat("---|", len(columns)+1))
	for _, k := range all {
		for _, row := range k.Rows {
			fmt.Fprintf(&b, "| %s | %s |\n", strings.Join(row.cells(), " | "), name(k))
		}
	}
	b.WriteString("\n## What was measured\n\n")
	for _, k := range all {
		for _, row := range k.Rows {
			fmt.Fprintf(&b, "- **%s** %s: %s\n", row.ID, row.What, row.details())
		}
		if k.Failed != "" {
			fmt.Fprintf(&b, "- **%s** could not be measured: %s\n", k.Measure, k.Failed)
		}
	}
	return b.String()
}
