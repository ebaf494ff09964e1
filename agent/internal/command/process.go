package command

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// processStat reads a process's start time (clock ticks since boot) and state letter.
func processStat(pid int) (start uint64, state byte, err error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	// The command name, in parentheses, may hold spaces and parentheses: what counts is after the last one.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 20 {
		return 0, 0, fmt.Errorf("read /proc/%d/stat: %d fields", pid, len(fields))
	}
	start, err = strconv.ParseUint(string(fields[19]), 10, 64)
	return start, fields[0][0], err
}

// bootID tells one boot from the next; process numbers and start times mean nothing across it. It is read as init sees
// it: a container has one of its own mounted over the kernel's, systemd gives a unit with ProtectKernelTunables
// a fresh /proc without that, and so the agent and the units of its runs would never agree.
func bootID() string {
	const file = "/proc/sys/kernel/random/boot_id"
	id, err := os.ReadFile("/proc/1/root" + file)
	if err != nil {
		id, err = os.ReadFile(file)
	}
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(id))
}

// systemdRuns reports whether systemd is the init of this system, as sd_booted(3) says it.
func systemdRuns() bool {
	info, err := os.Lstat("/run/systemd/system")
	return err == nil && info.IsDir()
}
