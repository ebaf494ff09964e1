package main

import (
	"context"
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
)

const mebibyte = 1 << 20

// Names of the programs.
const (
	serverProgram = "assentd"
	agentProgram  = "assent-agent"
	cliProgram    = "assent"
)

// programs builds the programs that are not built yet, as the Makefile does, and gives the directory they lie in.
func (b *bench) programs(ctx context.Context, names ...string) (string, error) {
	dir := filepath.Join(b.tmp, "bin")
	for _, name := range names {
		if b.built[name] {
			continue
		}
		if err := os.Setenv("CGO_ENABLED", "0"); err != nil {
			return "", err
		}
		b.sayf("  building %s", name)
		if _, err := output(ctx, b.root, "go", "build", "-trimpath", "-ldflags", "-s -w -X main.version=bench",
			"-o", dir+"/", "./cmd/"+name); err != nil {
			return "", err
		}
		b.built[name] = true
	}
	return dir, nil
}

// sizes measures P11. A binary that is not static and stripped is an error: its size would mean nothing.
func sizes(ctx context.Context, b *bench) ([]Row, error) {
	var rows []Row
	for _, p := range []struct {
		name  string
		limit float64
	}{{agentProgram, 15}, {serverProgram, 60}, {cliProgram, 0}} {
		dir, err := b.programs(ctx, p.name)
		if err != nil {
			return rows, err
		}
		size, err := staticSize(filepath.Join(dir, p.name))
		if err != nil {
			return rows, err
		}
		r := Row{ID: "P11", What: "size of " + p.name, Value: float64(size) / mebibyte, Unit: "MiB", Note: "static and stripped, checked in the ELF file"}
		if p.limit > 0 {
			r.Target = Target{Of: Value, Limit: p.limit}
		}
		rows = append(rows, r)
	}
	return rows, nil
}

// staticSize is the size of a binary in bytes.
func staticSize(name string) (int64, error) {
	f, err := elf.Open(name)
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", filepath.Base(name), err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return 0, fmt.Errorf("%s is not static", filepath.Base(name))
		}
	}
	if f.Section(".symtab") != nil || f.Section(".debug_info") != nil {
		return 0, fmt.Errorf("%s is not stripped", filepath.Base(name))
	}
	info, err := os.Stat(name)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
