//go:build crashtest

package journal

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// hits counts how often the wanted point was met; it exists in crash tests only.
var hits atomic.Int64

// due reports whether this is the meeting with p at which the process is to die.
func due(p Point) bool {
	name, nth, _ := strings.Cut(os.Getenv("ASSENT_CRASH_AT"), ":")
	if name != string(p) {
		return false
	}
	n, err := strconv.ParseInt(nth, 10, 64)
	if err != nil {
		n = 1
	}
	return hits.Add(1) == n
}

// CrashPoint kills the process without any farewell if the environment asks for it here.
func CrashPoint(p Point) { CrashPointAfter(p, func() {}) }

// CrashPointAfter does first and then kills the process, if the environment asks for it here.
func CrashPointAfter(p Point, first func()) {
	if due(p) {
		first()
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}

// firstLimit lets a crash test reach compaction with a short journal.
func firstLimit() int64 {
	if n, err := strconv.ParseInt(os.Getenv("ASSENT_COMPACT_AT"), 10, 64); err == nil {
		return n
	}
	return compactAt
}
