package restart

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"assent/agent/internal/command"
	"assent/wire"
)

// Bounds of what is read of a device.
const (
	maxProcesses = 20_000
	maxMaps      = 4 << 20
	maxSmall     = 64 << 10
)

// Runner starts programs; *command.Runner is one.
type Runner interface {
	Run(ctx context.Context, call command.Call) (command.Result, error)
}

// Host is the device that the agent runs on.
type Host struct {
	Root string // of the device's files
	Run  Runner
}

// Found is what a look found.
type Found struct {
	Reasons []wire.RestartReason // sorted; without what the package manager says itself
	Kernels Kernels
}

// Look reads what still runs as it was before an update. What cannot be read is as if it were not there: processes end
// while they are looked at.
func (h Host) Look(ctx context.Context) (Found, error) {
	f := Found{Kernels: h.kernels()}
	processes, err := h.processes(ctx)
	if err != nil {
		return f, err
	}
	f.Reasons = Stale(processes)
	if why, stale := f.Kernels.Stale(); stale {
		f.Reasons = Sorted(append(f.Reasons, why))
	}
	return f, nil
}

// kernels looks at the kernels of a device that has its own.
func (h Host) kernels() Kernels {
	k := Kernels{Running: h.line("proc/sys/kernel/osrelease"), Build: h.line("proc/sys/kernel/version")}
	if h.contained() {
		return k
	}
	for pattern, name := range map[string]func(string) string{
		"boot/vmlinuz-*":            func(f string) string { return strings.TrimPrefix(filepath.Base(f), "vmlinuz-") },
		"usr/lib/modules/*/vmlinuz": func(f string) string { return filepath.Base(filepath.Dir(f)) },
		"lib/modules/*/vmlinuz":     func(f string) string { return filepath.Base(filepath.Dir(f)) },
	} {
		found, err := filepath.Glob(filepath.Join(h.Root, pattern))
		if err != nil {
			continue // the patterns are fixed
		}
		for _, f := range found {
			if r := name(f); releaseName.MatchString(r) {
				k.Installed = append(k.Installed, r)
			}
		}
	}
	slices.Sort(k.Installed)
	k.Installed = slices.Compact(k.Installed)
	if releaseName.MatchString(k.Running) {
		k.Package = h.dpkgVersion("linux-image-" + k.Running)
	}
	return k
}

// contained reports whether the device is a container, whose kernel is its host's.
func (h Host) contained() bool {
	for _, f := range []string{"run/systemd/container", "run/.containerenv", ".dockerenv"} {
		if _, err := os.Stat(filepath.Join(h.Root, f)); err == nil {
			return true
		}
	}
	return false
}

// dpkgVersion is the version of an installed package by dpkg's own status file; empty where it is not installed.
func (h Host) dpkgVersion(name string) string {
	f, err := os.Open(filepath.Join(h.Root, "var/lib/dpkg/status"))
	if err != nil {
		return ""
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(make([]byte, 16<<10), 1<<20)
	inside, installed := false, false
	for lines.Scan() {
		line := lines.Text()
		switch {
		case strings.HasPrefix(line, "Package: "):
			inside, installed = line == "Package: "+name, false
		case inside && strings.HasPrefix(line, "Status: "):
			installed = strings.HasSuffix(line, " ok installed")
		case inside && installed && strings.HasPrefix(line, "Version: "):
			return strings.TrimPrefix(line, "Version: ")
		}
	}
	return ""
}

var processNumber = regexp.MustCompile(`^[0-9]+$`)

// processes reads those of this device; what runs in a container on it belongs to that.
func (h Host) processes(ctx context.Context) ([]Process, error) {
	dir := filepath.Join(h.Root, "proc")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	own, err := os.Readlink(filepath.Join(dir, "self/ns/pid"))
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var out []Process
	for _, e := range entries {
		if !processNumber.MatchString(e.Name()) || len(out) == maxProcesses {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("list processes: %w", err)
		}
		if p, ok := readProcess(filepath.Join(dir, e.Name()), own); ok {
			out = append(out, p)
		}
	}
	return out, nil
}

// readProcess reads one process; false for one that is another container's, a kernel's thread, or gone. Of most, nothing but the
// maps is read: what holds no deleted file needs no more.
func readProcess(dir, namespace string) (Process, bool) {
	maps := readLimited(filepath.Join(dir, "maps"), maxMaps)
	exe, err := os.Readlink(filepath.Join(dir, "exe"))
	p := Process{Exe: exe, Maps: maps}
	if err != nil || len(p.Deleted()) == 0 {
		return p, false
	}
	if ns, err := os.Readlink(filepath.Join(dir, "ns/pid")); err != nil || ns != namespace {
		return p, false
	}
	p.Groups = readLimited(filepath.Join(dir, "cgroup"), maxSmall)
	return p, true
}

func readLimited(name string, limit int64) []byte {
	f, err := os.Open(name)
	if err != nil {
		return nil
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit))
	if err != nil {
		return nil
	}
	return b
}

func (h Host) line(name string) string {
	line, _, _ := strings.Cut(string(readLimited(filepath.Join(h.Root, name), maxSmall)), "\n")
	return strings.TrimSpace(line)
}
