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
func CrashPoint(p Point) {
	if due(p) {
		die()
	}
}

func torn() bool { return due(RecordTorn) }

func die() {
	syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}
