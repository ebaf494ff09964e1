package dnf

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"assent/agent/internal/durable"
	"assent/wire"
)

// plugin is what dnf runs before each transaction.
//
//go:embed guard.py
var plugin []byte

const pluginName = "assent_guard.py"

// ErrNoDnf says that the place of dnf's plugins was not found, so that no wall can stand in it.
var ErrNoDnf = errors.New("dnf's directory of plugins was not found")

// pluginDirs are dnf's own directories of plugins: beside each place where it is installed.
func (d *Dnf) pluginDirs() ([]string, error) {
	var out []string
	for _, pattern := range []string{"usr/lib/python3*/site-packages/dnf/plugin.py", "usr/lib/python3*/dist-packages/dnf/plugin.py"} {
		found, err := filepath.Glob(filepath.Join(d.cfg.Root, pattern))
		if err != nil {
			return nil, err
		}
		for _, f := range found {
			out = append(out, filepath.Join(filepath.Dir(filepath.Dir(f)), "dnf-plugins"))
		}
	}
	if len(out) == 0 {
		return nil, ErrNoDnf
	}
	return out, nil
}

// Fence implements pkgmgr.Fencer: the plugin that shows each transaction to the guard, which reads the plan itself. There
// is nothing to pin: dnf never sees what feeds publish but in transactions of ours, or as a file that a person names.
func (d *Dnf) Fence(ctx context.Context, _ wire.Plan) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("fence: %w", err)
	}
	dirs, err := d.pluginDirs()
	if err != nil {
		return fmt.Errorf("fence: %w", err)
	}
	for _, dir := range dirs {
		path := filepath.Join(dir, pluginName)
		if have, err := os.ReadFile(path); err == nil && bytes.Equal(have, plugin) {
			if info, err := os.Lstat(path); err == nil && info.Mode() == 0o644 {
				continue
			}
		}
		if err := durable.Write(path, plugin, 0o644, 0o755); err != nil {
			return fmt.Errorf("fence: %w", err)
		}
	}
	return nil
}

// Unfence implements pkgmgr.Fencer. It also removes the files that transactions used.
func (d *Dnf) Unfence(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("unfence: %w", err)
	}
	dirs, err := d.pluginDirs()
	if errors.Is(err, ErrNoDnf) {
		err = nil
	}
	errs := []error{err, os.RemoveAll(d.path("pool"))}
	for _, dir := range dirs {
		cached, err := filepath.Glob(filepath.Join(dir, "__pycache__", "assent_guard.*.pyc"))
		errs = append(errs, err)
		for _, f := range append(cached, filepath.Join(dir, pluginName)) {
			if err := os.Remove(f); err != nil && !errors.Is(err, os.ErrNotExist) {
				errs = append(errs, err)
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("unfence: %w", err)
	}
	return nil
}
