// Package process says what a running process has used of the machine, by the kernel's own accounts. It changes nothing.
package process

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// CPU is the CPU time of a process so far, of all its threads, with that of the children it waited for; 0 where there is
// no such process.
func CPU(pid int) time.Duration {
	var ts unix.Timespec
	// The kernel's clock id of another process (clock_getcpuclockid(3)): nanoseconds instead of ticks.
	if err := unix.ClockGettime(int32(^pid<<3|2), &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano()) + childrenOf(pid)
}

// childrenOf is the CPU time of the children that a process waited for, in ticks of 10 ms.
func childrenOf(pid int) time.Duration {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0
	}
	f := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(f) < 15 {
		return 0
	}
	var ticks int
	for _, field := range f[13:15] { // cutime and cstime, fields 16 and 17 of the whole line
		n, err := strconv.Atoi(field)
		if err != nil {
			return 0
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// Memory is what /proc says of a process's memory, in MiB: VmRSS, VmHWM, RssAnon and others.
func Memory(pid int) (map[string]float64, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return nil, fmt.Errorf("read the memory of a process: %w", err)
	}
	out := map[string]float64{}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) == 3 && f[2] == "kB" {
			if kib, err := strconv.ParseFloat(f[1], 64); err == nil {
				out[strings.TrimSuffix(f[0], ":")] = kib / 1024
			}
		}
	}
	return out, nil
}

// spare is what a process needs files for besides the connections it was asked for.
const spare = 200

// ErrFiles says that a process may not open as many files as it needs.
var ErrFiles = errors.New("too few open files are allowed")

// AllowFiles makes sure that this process, and those it starts, may open n connections each. The refusal says what to do.
func AllowFiles(n int) error {
	need := uint64(n + spare)
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("read the limit on open files: %w", err)
	}
	if limit.Cur >= need {
		return nil
	}
	limit.Cur, limit.Max = need, max(limit.Max, need)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("%w: %d connections need `ulimit -n %d`, and it cannot be raised from here: %w", ErrFiles, n, need, err)
	}
	return nil
}
