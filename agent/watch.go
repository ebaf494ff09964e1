package agent

import (
	"context"
	"log/slog"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// hung is how long a loop may be silent before the watchdog is let bite. A transaction may run as long as it
// likes: the loop that waits for it is not watched, and it survives a restart of the agent.
const hung = 45 * time.Minute

// watchLoop tells systemd that the agent is ready and, as long as its loops move, alive (F18).
func (a *Agent) watchLoop(ctx context.Context) {
	tell(a.opt.Log, daemon.SdNotifyReady)
	every, err := daemon.SdWatchdogEnabled(false)
	if err != nil || every <= 0 {
		every = time.Hour
	}
	for sleep(ctx, every/2) {
		if a.moving() {
			tell(a.opt.Log, daemon.SdNotifyWatchdog)
		}
	}
}

// tell says to systemd, where it runs the agent, how the agent stands.
func tell(log *slog.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Debug("systemd cannot be told", "state", state, "err", err)
	}
}

// moving reports whether all watched loops gave a sign of life not long ago.
func (a *Agent) moving() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for loop, at := range a.beats {
		if time.Since(at) > hung {
			a.opt.Log.Error("a loop hangs", "loop", loop, "since", at)
			return false
		}
	}
	return true
}
