package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Machine is what the figures were measured on.
type Machine struct {
	CPU    string    `json:"cpu"`
	Cores  int       `json:"cores"`
	Memory float64   `json:"memory_gib"`
	Kernel string    `json:"kernel"`
	Go     string    `json:"go"`
	Commit string    `json:"commit"`
	Date   time.Time `json:"date"`
	Load   string    `json:"load"` // of the minute before the run
}

// machine describes this machine. What it does not say stays empty.
func machine(ctx context.Context, root string) Machine {
	m := Machine{CPU: cpuName(), Cores: runtime.NumCPU(), Go: runtime.Version(), Date: time.Now().UTC().Truncate(time.Second)}
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		m.Memory = float64(info.Totalram) * float64(info.Unit) / (1 << 30)
	}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		m.Kernel = unix.ByteSliceToString(name.Release[:])
	}
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		m.Load, _, _ = strings.Cut(string(text), " ")
	}
	if commit, err := output(ctx, root, "git", "describe", "--tags", "--always", "--dirty"); err == nil {
		m.Commit = commit
	}
	return m
}

func cpuName() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func (m Machine) line() string {
	return fmt.Sprintf("%s, %d cores, %.0f GiB, Linux %s, %s, load %s before the run, commit %s, %s",
		m.CPU, m.Cores, m.Memory, m.Kernel, m.Go, m.Load, m.Commit, m.Date.Format(time.RFC3339))
}

// output runs a program and gives its standard output without the last line break.
func output(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		text := out.String() + errOut.String()
		return out.String(), fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(text[max(0, len(text)-2000):]))
	}
	return strings.TrimRight(out.String(), "\n"), nil
}
