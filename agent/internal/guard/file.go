package guard

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"assent/agent/internal/command"
	"assent/catalog"
	"assent/trust/payload"
	"assent/wire"
)

// readFiles finds out what a transaction is about to unpack, several files at a time.
func readFiles(ctx context.Context, plan wire.Plan, tx Transaction, run *command.Runner) map[string]File {
	known := newRules(plan)
	files := map[string]File{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	slots := make(chan struct{}, max(2, runtime.GOMAXPROCS(0)))
	asked := map[string]bool{}
	for _, l := range tx.Lines {
		if l.Op != Install || asked[l.Path] {
			continue
		}
		asked[l.Path] = true
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			f := readFile(ctx, known, l, run)
			mu.Lock()
			defer mu.Unlock()
			files[l.Path] = f
		})
	}
	wg.Wait()
	return files
}

// readFile digests one file, and asks for its source only where a wall could depend on it.
func readFile(ctx context.Context, r rules, l Line, run *command.Runner) File {
	sum, err := digest(l.Path)
	f := File{SHA256: sum, Err: err}
	content := itemContent{itemKey{l.Name, l.NewArch, l.NewVersion}, sum}
	if err == nil && len(r.deny) > 0 && !r.ordered[content] && !r.allowed[content] {
		f.Source, f.SourceVersion, f.Ecosystem, f.Err = source(ctx, run, l.Path)
	}
	return f
}

func digest(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("digest of a package: %w", err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return "", errors.Join(fmt.Errorf("digest of %s: not a regular file", path), err)
	}
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("digest of %s: %w", path, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// source reads a package file's source name and version, and which kind of package it is.
func source(ctx context.Context, run *command.Runner, path string) (name, version, ecosystem string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", "", "", fmt.Errorf("source of a package: %w", err)
	}
	defer f.Close()
	head := bufio.NewReader(f)
	if format, _, err := payload.Detect(head); err != nil || format != catalog.RPM {
		name, version, err = debSource(ctx, run, path)
		return name, version, catalog.Deb.Ecosystem(), err
	}
	p, err := payload.ReadRPM(head)
	if err != nil {
		return "", "", "", fmt.Errorf("source of %s: %w", path, err)
	}
	return p.Source, p.SourceVersion, catalog.RPM.Ecosystem(), nil
}

func debSource(ctx context.Context, run *command.Runner, path string) (name, version string, err error) {
	res, err := run.Run(ctx, command.Call{Tool: command.DpkgDeb, Deadline: time.Minute, Limit: 64 << 10,
		Args: []string{"-f", "--", path, "Package", "Version", "Source"}})
	if err == nil && res.Code != 0 {
		err = fmt.Errorf("exit code %d: %.200s", res.Code, res.Stderr)
	}
	if err != nil {
		return "", "", fmt.Errorf("source of %s: %w", path, err)
	}
	name, version = parseSource(string(res.Stdout))
	if name == "" || version == "" {
		return "", "", fmt.Errorf("source of %s: no name and version in its control data", path)
	}
	return name, version, nil
}

// parseSource reads the fields Package, Version and Source ("name" or "name (version)") of a control paragraph.
func parseSource(control string) (name, version string) {
	var src string
	for line := range strings.Lines(control) {
		key, value, _ := strings.Cut(line, ":")
		switch value = strings.TrimSpace(value); strings.ToLower(key) {
		case "package":
			name = value
		case "version":
			version = value
		case "source":
			src = value
		}
	}
	if src == "" {
		return name, version
	}
	src, paren, ok := strings.Cut(src, "(")
	if ok {
		version = strings.TrimSuffix(strings.TrimSpace(paren), ")")
	}
	return strings.TrimSpace(src), version
}
