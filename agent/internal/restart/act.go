package restart

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"assent/agent/internal/command"
)

// ErrInhibited says that something on the device asked not to be restarted now.
var ErrInhibited = errors.New("something on the device holds the restart up")

func readExe(root, pid string) (string, error) {
	if !processNumber.MatchString(pid) || pid == "0" {
		return "", fs.ErrNotExist
	}
	return os.Readlink(filepath.Join(root, "proc", pid, "exe"))
}

// Restart begins an orderly restart of the device and returns as soon as it has begun. What inhibits it is heeded:
// ErrInhibited, and nothing was begun.
func (h Host) Restart(ctx context.Context) error {
	if !h.systemd() {
		return h.begin(ctx, command.Shutdown, "-r", "now")
	}
	err := h.begin(ctx, command.Systemctl, "reboot", "--no-block", "--check-inhibitors=yes")
	if err != nil && strings.Contains(err.Error(), "unrecognized option") { // before systemd 248
		return h.begin(ctx, command.Systemctl, "reboot", "--no-block")
	}
	return err
}

// systemd reports whether systemd is the init of the device, as sd_booted(3) says it.
func (h Host) systemd() bool {
	_, err := os.Lstat(filepath.Join(h.Root, "run/systemd/system"))
	return err == nil
}

func (h Host) begin(ctx context.Context, tool command.Tool, args ...string) error {
	res, err := h.Run.Run(ctx, command.Call{Tool: tool, Args: args, Deadline: time.Minute, Limit: maxSmall})
	if err != nil {
		return fmt.Errorf("restart the device: %w", err)
	}
	if res.Code == 0 {
		return nil
	}
	said := strings.TrimSpace(string(res.Stderr))
	if strings.Contains(said, "inhibit") {
		return fmt.Errorf("restart the device: %w: %.500s", ErrInhibited, plain(said))
	}
	return fmt.Errorf("restart the device: %s: exit code %d: %.500s", tool, res.Code, plain(said))
}
