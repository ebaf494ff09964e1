package lab

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// The owner of a lab holds both locks. Devices wait for the second one and end when they get it; others ask the
// first one whether the lab is alive.
const (
	ownerLock = "owner.lock"
	lifeLock  = "life.lock"
)

// lockFile waits for an exclusive lock on name. Closing it unlocks.
func lockFile(ctx context.Context, name string) (io.Closer, error) {
	for {
		held, err := tryLock(name)
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return held, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for %s: %w", name, ctx.Err())
		case <-time.After(20 * time.Millisecond): // flock(2) has no wait that a context could end
		}
	}
}

// tryLock is lockFile without waiting; a lock that is held elsewhere gives unix.EWOULDBLOCK.
func tryLock(name string) (io.Closer, error) {
	file, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	return file, nil
}

// isLab tells whether dir was made by Open. Nothing else is ever removed.
func isLab(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, ownerLock))
	return err == nil
}

// running tells whether the lab in dir has a living owner.
func running(dir string) bool {
	if !isLab(dir) {
		return false
	}
	held, err := tryLock(filepath.Join(dir, ownerLock))
	if err == nil {
		held.Close()
	}
	return errors.Is(err, unix.EWOULDBLOCK)
}

// List gives the states of the running labs in the default place, by name.
func List() ([]State, error) {
	entries, err := os.ReadDir(StateRoot())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list labs: %w", err)
	}
	var out []State
	for _, e := range entries {
		dir := filepath.Join(StateRoot(), e.Name())
		if !e.IsDir() || !running(dir) {
			continue
		}
		if s, err := readState(dir); err == nil { // a lab that is just starting has none yet
			out = append(out, s)
		}
	}
	return out, nil
}

// Sweep removes what dead labs in the default place left behind.
func Sweep(ctx context.Context, log *slog.Logger) error {
	if _, err := os.Stat(StateRoot()); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	unlock, err := lockFile(ctx, filepath.Join(StateRoot(), ".lock"))
	if err != nil {
		return err
	}
	defer unlock.Close()
	return sweep(ctx, StateRoot(), log)
}

// sweep dismantles every lab in root without a living owner. The caller holds the root's lock.
func sweep(ctx context.Context, root string, log *slog.Logger) error {
	entries, err := os.ReadDir(root)
	if err != nil {
		return fmt.Errorf("look for dead labs: %w", err)
	}
	for _, e := range entries {
		dir := filepath.Join(root, e.Name())
		if !e.IsDir() || !isLab(dir) || running(dir) {
			continue
		}
		log.Info("removing a dead lab", "name", e.Name())
		dead := newLab(Config{Name: e.Name(), StateRoot: root})
		if err := dismantle(ctx, dir, dead.Net.netns); err != nil {
			return fmt.Errorf("remove dead lab %s: %w", e.Name(), err)
		}
	}
	return nil
}

// dismantle removes everything of a lab that has no living devices' owner: processes in its network, devices that
// are still ending, control groups, mounts, the network namespace, the directory.
func dismantle(ctx context.Context, dir, netns string) error {
	if err := endStragglers(ctx, dir, netns); err != nil {
		return err
	}
	if err := removeLabCgroups(ctx, netns); err != nil {
		return err
	}
	if err := unmountBelow(dir); err != nil {
		return err
	}
	if _, err := os.Stat(netnsDir + netns); err == nil {
		if _, err := output(ctx, "", "ip", "netns", "del", netns); err != nil {
			return fmt.Errorf("remove lab network: %w", err)
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove lab directory: %w", err)
	}
	return nil
}

// endStragglers kills processes of the lab and waits until they are gone.
func endStragglers(ctx context.Context, dir, netns string) error {
	for {
		pids := stragglers(dir, netns)
		if len(pids) == 0 {
			return nil
		}
		for _, pid := range pids {
			_ = unix.Kill(pid, unix.SIGKILL) // it may be gone already
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("processes %v of the lab do not end: %w", pids, ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// stragglers are the processes in the lab's own network namespace and the devices' first processes, other than us.
func stragglers(dir, netns string) []int {
	var ns unix.Stat_t
	haveNS := unix.Stat(netnsDir+netns, &ns) == nil
	inits := deviceInits(dir)
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var out []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		var have unix.Stat_t
		inLab := haveNS && unix.Stat("/proc/"+e.Name()+"/ns/net", &have) == nil && have.Dev == ns.Dev && have.Ino == ns.Ino
		if inLab || slices.ContainsFunc(inits, func(i initID) bool { return i.PID == pid && i.alive() }) {
			out = append(out, pid)
		}
	}
	return out
}

// deviceInits reads which first processes the devices of a lab had.
func deviceInits(dir string) []initID {
	files, _ := filepath.Glob(filepath.Join(dir, "devices", "*", "device.json")) // the pattern is well formed
	var out []initID
	for _, name := range files {
		var r deviceRecord
		if readJSON(name, &r) == nil && r.Init.PID != 0 {
			out = append(out, r.Init)
		}
	}
	return out
}

// unmountBelow unmounts whatever is mounted below dir in this mount namespace, the innermost first.
func unmountBelow(dir string) error {
	file, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("read mounts: %w", err)
	}
	defer file.Close()
	var points []string
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) > 4 && strings.HasPrefix(fields[4], dir+"/") {
			points = append(points, fields[4])
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read mounts: %w", err)
	}
	for _, p := range slices.Backward(points) {
		if err := unix.Unmount(p, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmount %s: %w", p, err)
		}
	}
	return nil
}

func shortHash(s string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(s)))[:8] }

// Down ends the running lab called name in the default place, by SIGTERM to the process that opened it, and waits
// until everything of it is gone. What a dead lab of that name left is removed as well.
func Down(ctx context.Context, name string) error {
	if !labName.MatchString(name) {
		return fmt.Errorf("lab name %q is not valid", name)
	}
	dir := filepath.Join(StateRoot(), name)
	if !isLab(dir) {
		return fmt.Errorf("end lab %s: %w", name, ErrNotRunning)
	}
	if running(dir) {
		s, err := readState(dir)
		if err != nil {
			return fmt.Errorf("end lab %s: %w", name, err)
		}
		if err := unix.Kill(s.PID, unix.SIGTERM); err != nil {
			return fmt.Errorf("end lab %s: %w", name, err)
		}
	}
	for running(dir) {
		select {
		case <-ctx.Done():
			return fmt.Errorf("end lab %s: %w", name, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
	return Sweep(ctx, slog.New(slog.DiscardHandler))
}
