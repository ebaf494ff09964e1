package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// constantsFile holds what `assentd sizing` counts with.
const constantsFile = "server/internal/sizing/measured.json"

// keepConstants writes the constants that the rows measured into the file, and leaves the others as they are.
func (b *bench) keepConstants(r Report) error {
	name := filepath.Join(b.root, constantsFile)
	text, err := os.ReadFile(name)
	if err != nil {
		return fmt.Errorf("read the constants: %w", err)
	}
	all := map[string]any{}
	if err := json.Unmarshal(text, &all); err != nil {
		return fmt.Errorf("read the constants: %w", err)
	}
	for _, row := range r.Rows {
		for key, value := range row.Constants {
			if _, known := all[key]; !known {
				return fmt.Errorf("row %s measured the constant %q, which nobody counts with", row.ID, key)
			}
			all[key] = value
		}
	}
	all["machine"] = r.Machine.line()
	out, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(name, append(out, '\n'), 0o644)
}
