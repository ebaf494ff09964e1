// Package command is the agent's only door to the operating system's programs.
//
// There are two ways through it. Run starts a child that only reads or downloads and may therefore be
// ended: SIGTERM at its deadline, SIGKILL after a grace, always to its whole process group. Start begins
// a run that changes the device (a package manager transaction) and is never killed by anybody here: it
// lives in a session (under systemd: a unit) of its own, writes to files instead of pipes, outlives the
// agent, and records its exit codes itself; Wait follows it, in this process or in the agent's next one.
//
// Guarantees: only programs of a fixed table of absolute paths run, never through a shell; the
// environment is made from scratch, standard input is /dev/null, the umask 022; arguments with NUL, of
// absurd length or number are refused before anything starts; what a child prints is capped.
//
// It does not judge arguments: whoever builds them does. It does not retry and does not log.
package command

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Tool names a program that the agent may start.
type Tool string

// The programs. There are no others.
const (
	AptGet     Tool = "apt-get"
	AptMark    Tool = "apt-mark"
	AptConfig  Tool = "apt-config"
	Dpkg       Tool = "dpkg"
	DpkgQuery  Tool = "dpkg-query"
	DpkgDeb    Tool = "dpkg-deb"
	DNF        Tool = "dnf"
	RPM        Tool = "rpm"
	Systemctl  Tool = "systemctl"
	SystemdRun Tool = "systemd-run"
	Loginctl   Tool = "loginctl"
	Shutdown   Tool = "shutdown"
)

// paths is where each tool is; a tool that lies elsewhere is not ours to run.
func paths() map[Tool]string {
	return map[Tool]string{
		AptGet:     "/usr/bin/apt-get",
		AptMark:    "/usr/bin/apt-mark",
		AptConfig:  "/usr/bin/apt-config",
		Dpkg:       "/usr/bin/dpkg",
		DpkgQuery:  "/usr/bin/dpkg-query",
		DpkgDeb:    "/usr/bin/dpkg-deb",
		DNF:        "/usr/bin/dnf-3", // dnf 4; where dnf is version 5 there is no such name
		RPM:        "/usr/bin/rpm",
		Systemctl:  "/usr/bin/systemctl",
		SystemdRun: "/usr/bin/systemd-run",
		Loginctl:   "/usr/bin/loginctl",
		Shutdown:   "/usr/sbin/shutdown",
	}
}

// Limits on what is passed to a child, and on what is kept of its output where a Call names no limit.
const (
	MaxArg     = 4096    // bytes of one argument
	MaxArgs    = 100_000 // arguments
	maxAllArgs = 1 << 20 // bytes of all arguments: below the kernel's limit, with room for the environment
	maxOutput  = 4 << 20 // bytes of each output stream
	maxLine    = 64 << 10
)

// Refusals of a call. Nothing was started.
var (
	ErrTool     = errors.New("program is not on the list of those the agent may start")
	ErrArgument = errors.New("argument refused")
	ErrDeadline = errors.New("a deadline is required")
)

// ErrTimeout says that a child was ended because it ran past its deadline.
var ErrTimeout = errors.New("ended at its deadline")

// Runner starts programs. The zero value is not usable; call New. It is safe for concurrent use.
type Runner struct {
	paths map[Tool]string
	self  string        // the program that understands the hidden subcommand of Detached
	unit  bool          // systemd is running: detached runs become transient units
	grace time.Duration // between SIGTERM and SIGKILL
}

// New makes a Runner. self is the absolute path of a program whose main calls RunDetached when its first
// argument is Subcommand: the agent's own binary.
func New(self string) *Runner {
	return &Runner{paths: paths(), self: self, unit: systemdRuns(), grace: 5 * time.Second}
}

// path resolves a tool to its absolute path.
func (r *Runner) path(t Tool) (string, error) {
	p, ok := r.paths[t]
	if !ok {
		return "", fmt.Errorf("%q: %w", t, ErrTool)
	}
	return p, nil
}

// environment is the whole environment of every child. Nothing of the agent's own passes.
func environment() []string {
	return []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/root",
		"USER=root",
		"LOGNAME=root",
		"SHELL=/bin/sh",
		"LC_ALL=C.UTF-8",
		"TERM=dumb",
		"DEBIAN_FRONTEND=noninteractive",
		"DEBCONF_NONINTERACTIVE_SEEN=true",
		"NEEDRESTART_MODE=l",
		"APT_LISTCHANGES_FRONTEND=none",
		"APT_LISTBUGS_FRONTEND=none",
		"UCF_FORCE_CONFFOLD=1",
	}
}

// checkArgs refuses arguments that no program of the table should ever see.
func checkArgs(args []string) error {
	if len(args) > MaxArgs {
		return fmt.Errorf("%d arguments: %w", len(args), ErrArgument)
	}
	total := 0
	for i, a := range args {
		if total += len(a) + 1; len(a) > MaxArg || total > maxAllArgs {
			return fmt.Errorf("argument %d is too long: %w", i, ErrArgument)
		}
		if strings.ContainsRune(a, 0) {
			return fmt.Errorf("argument %d contains NUL: %w", i, ErrArgument)
		}
	}
	return nil
}
