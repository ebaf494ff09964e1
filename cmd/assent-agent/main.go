// Command assent-agent runs on each device: it installs what was approved and keeps out what was declined.
package main

import (
	"context"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"
	_ "time/tzdata" // windows are known also where the device has no database of zones

	"assent/agent"
)

// version is set by the build.
var version = "0.0.0-dev" // set by the build

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := agent.Main(ctx, os.Args[1:], agent.Build{Version: version, At: built()})
	stop()
	os.Exit(code)
}

// built is when the source was last changed; where that is unknown, when the protocol began: no honest clock is before it.
func built() time.Time {
	first := time.Date(2026, time.November, 23, 0, 0, 0, 0, time.UTC)
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return first
	}
	for _, s := range info.Settings {
		if at, err := time.Parse(time.RFC3339, s.Value); err == nil && s.Key == "vcs.time" && at.After(first) {
			return at
		}
	}
	return first
}
