package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"assent/agent/internal/command"
	"assent/agent/internal/statedir"
)

const (
	// shutdownFile stands while the device waits, before it shuts down, for what installs then.
	shutdownFile = askedDir + "/shutdown.json"
	shutdownPoll = 100 * time.Millisecond
	// shutdownFresh is how old an order to install before the shutdown may be.
	shutdownFresh = time.Minute
)

// shutdownLoop hears that the device shuts down. An order that was left in another life of the agent is none.
func (a *Agent) shutdownLoop(ctx context.Context) {
	if err := a.opt.Dir.Remove(shutdownFile); err != nil {
		a.opt.Log.Warn("an old order to install before a shutdown stays", "err", err)
	}
	if a.opt.Watch == nil {
		return
	}
	err := a.opt.Watch(ctx, a.opt.Dir.Path(askedDir), func() {
		if a.shutdownOrdered() {
			a.opt.Log.Info("the device shuts down: what waits for that is installed now")
			a.mu.Lock()
			a.shutting = true
			a.mu.Unlock()
			signal(a.work)
		}
	})
	if err != nil {
		a.opt.Log.Warn("nothing is installed when the device shuts down", "err", err)
	}
}

func (a *Agent) shutdownOrdered() bool {
	b, err := a.opt.Dir.Read(shutdownFile, maxOrder)
	var o restartOrder
	if err != nil || json.Unmarshal(b, &o) != nil {
		return false
	}
	age := a.opt.Now().Sub(o.At)
	return age > -shutdownFresh && age < shutdownFresh
}

// shutsDown reports whether the device shuts down.
func (a *Agent) shutsDown() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.shutting
}

// letGo lets the shutdown go on after a pass through everything that waited for it, whatever came of that.
func (a *Agent) letGo() {
	a.mu.Lock()
	a.shutting = false
	a.mu.Unlock()
	if err := a.opt.Dir.Remove(shutdownFile); err != nil {
		a.opt.Log.Warn("the shutdown is held up", "err", err)
	}
}

func (p *program) shutdownCommand() *cobra.Command {
	return &cobra.Command{Use: "shutdown-install", Hidden: true, Short: "Let the agent install what waits for the shutdown of the device", Args: noArgs,
		Long: "Called by assent-agent-shutdown.service when the device shuts down. It waits until the agent is done; ending it harms no installation.",
		RunE: func(c *cobra.Command, _ []string) error {
			going, err := goesDown(c.Context(), command.New(""))
			if err != nil || !going {
				return err
			}
			dir, err := p.dir()
			if err != nil {
				return err
			}
			defer dir.Close()
			return holdShutdown(c.Context(), dir)
		}}
}

// goesDown asks systemd whether the device shuts down.
func goesDown(ctx context.Context, run *command.Runner) (bool, error) {
	res, err := run.Run(ctx, command.Call{Tool: command.Systemctl, Args: []string{"is-system-running"}, Deadline: time.Minute, Limit: 4 << 10})
	if err != nil {
		return false, fmt.Errorf("ask whether the device shuts down: %w", err)
	}
	return strings.TrimSpace(string(res.Stdout)) == "stopping", nil
}

// holdShutdown tells the agent that the device shuts down and waits until it is done. Without an agent that runs there is nothing
// to wait for.
func holdShutdown(ctx context.Context, dir *statedir.Dir) error {
	release, err := dir.Lock()
	if err == nil {
		release()
		return nil
	}
	if !errors.Is(err, statedir.ErrLocked) {
		return err
	}
	if err := sendAsked(dir, shutdownFile, restartOrder{Act: "shutdown", At: time.Now(), By: "systemd"}); err != nil {
		return err
	}
	for sleep(ctx, shutdownPoll) {
		if _, err := dir.Root().Stat(shutdownFile); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if release, err := dir.Lock(); err == nil { // it ended meanwhile
			release()
			return nil
		}
	}
	return ctx.Err()
}
