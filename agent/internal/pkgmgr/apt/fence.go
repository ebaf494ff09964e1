package apt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"assent/agent/internal/durable"
	"assent/agent/internal/pkgmgr"
	"assent/wire"
)

var _ pkgmgr.Fencer = (*Apt)(nil)

// What Fence leaves on the device, and nothing else.
const (
	pinsFile = "etc/apt/preferences.d/assent-declined"
	hookFile = "etc/apt/apt.conf.d/01assent-guard"
)

// hook makes every transaction of libapt pass the guard, in protocol version 3. apt runs the text through a shell and takes
// its first word as the name under which it looks for the protocol version. If the agent's binary is gone the
// last part lets apt work: a missing agent must not make a device unmanageable, and who can remove the binary can
// remove this file. A guard that refuses, crashes or is killed does end the transaction.
const hook = `// Written by assent-agent; changes are lost. "assent-agent leave" removes it.
DPkg::Pre-Install-Pkgs:: "/usr/bin/assent-agent guard || test ! -x /usr/bin/assent-agent";
DPkg::Tools::options::/usr/bin/assent-agent::Version "3";
`

// Fence implements pkgmgr.Fencer. The pins keep apt, and everything built on it, from choosing a declined version, so that
// it offers the next best one instead of failing; the hook is what holds. An administrator's own pins of the same
// packages may come first in apt's order; the hook does not care. It holds no package.
func (a *Apt) Fence(ctx context.Context, plan wire.Plan) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("fence: %w", err)
	}
	// The hook first: it is the wall, and the pins without it would look like one.
	if err := a.put(hookFile, []byte(hook)); err != nil {
		return fmt.Errorf("fence: %w", err)
	}
	pins := a.pins(plan.Deny)
	if len(pins) == 0 {
		return wrapFence(a.drop(pinsFile))
	}
	return wrapFence(a.put(pinsFile, pins))
}

// Unfence implements pkgmgr.Fencer. It also removes the archive cache that transactions use.
func (a *Apt) Unfence(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("unfence: %w", err)
	}
	return wrapFence(errors.Join(a.drop(pinsFile), a.drop(hookFile), os.RemoveAll(filepath.Dir(a.archives()))))
}

func wrapFence(err error) error {
	if err != nil {
		return fmt.Errorf("fence: %w", err)
	}
	return nil
}

// pins writes one record for each declined version of a package. What is not a name and version is left out: it could not
// be a package, and could be something else to apt.
func (a *Apt) pins(deny []wire.PlanDeny) []byte {
	versions := map[string]map[string]wire.PlanDeny{}
	for _, d := range deny {
		for _, it := range d.Items {
			if err := checkName(it.Name, it.Arch, it.Version); err != nil {
				a.cfg.Log.Warn("a declined item is not pinned", "error", err)
				continue
			}
			if versions[it.Name] == nil {
				versions[it.Name] = map[string]wire.PlanDeny{}
			}
			versions[it.Name][it.Version] = d
		}
	}
	if len(versions) == 0 {
		return nil
	}
	var b bytes.Buffer
	b.WriteString("# Written by assent-agent; changes are lost. `assent-agent why PACKAGE` gives the reasons.\n")
	for _, name := range slices.Sorted(maps.Keys(versions)) {
		for _, v := range slices.Sorted(maps.Keys(versions[name])) {
			d := versions[name][v]
			fmt.Fprintf(&b, "\nExplanation: %s\nPackage: %s:any\nPin: version %s\nPin-Priority: -1\n", explanation(d), name, v)
		}
	}
	return b.Bytes()
}

// explanation is one line, whatever people wrote as their reason.
func explanation(d wire.PlanDeny) string {
	s := fmt.Sprintf("declined in Assent by %s (%s, decision %d): %s", d.By, d.Update, d.Act, d.Reason)
	return cleanText([]byte(s), 300)
}

// fencedVersions are the versions that the pins on the device keep out, by name and version.
func (a *Apt) fencedVersions() map[[2]string]bool {
	out := map[[2]string]bool{}
	data, err := fs.ReadFile(a.fsys, pinsFile)
	if err != nil {
		return out
	}
	name := ""
	for line := range strings.Lines(string(data)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch key {
		case "Package":
			name = strings.TrimSuffix(value, ":any")
		case "Pin":
			out[[2]string{name, strings.TrimPrefix(value, "version ")}] = true
		}
	}
	return out
}

// put writes a file of the device if it does not say so already, whole or not at all.
func (a *Apt) put(name string, body []byte) error {
	path := filepath.Join(a.cfg.Root, name)
	if have, err := os.ReadFile(path); err == nil && bytes.Equal(have, body) {
		if info, err := os.Lstat(path); err == nil && info.Mode() == 0o644 {
			return nil
		}
	}
	return writeAtomicIn(path, body)
}

// writeAtomicIn writes into a directory of apt's, which must be there. The temporary name is one that apt ignores.
func writeAtomicIn(path string, body []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return durable.Write(path, body, 0o644, 0o700)
}

func (a *Apt) drop(name string) error {
	if err := os.Remove(filepath.Join(a.cfg.Root, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
