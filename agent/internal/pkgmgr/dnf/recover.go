package dnf

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"assent/agent/internal/command"
	"assent/agent/internal/durable"
	"assent/agent/internal/pkgmgr"
)

// keptRuns is how many directories of finished runs stay for looking into.
const keptRuns = 20

// Recover implements pkgmgr.Transactor. It waits for runs of ours that are under way and notes what they brought. What a killed
// dnf left (both versions of a package) it does not take away: nobody approved that. Health.Broken says it, and an
// order for the newer version repairs it, since that is installed anew then and replaces the other.
func (d *Dnf) Recover(ctx context.Context) (pkgmgr.Health, error) {
	entries, err := os.ReadDir(d.path("transactions"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return pkgmgr.Health{}, fmt.Errorf("recover: %w", err)
	}
	for _, e := range entries {
		if err := d.settleRun(ctx, d.path("transactions", e.Name())); err != nil {
			return pkgmgr.Health{}, fmt.Errorf("recover: %w", err)
		}
	}
	db, err := d.query(ctx)
	if err != nil {
		return pkgmgr.Health{}, fmt.Errorf("recover: %w", err)
	}
	return pkgmgr.Health{Broken: db.Broken, Holder: d.holder()}, nil
}

// settledFile marks the directory of a run that needs nothing any more.
const settledFile = "settled"

// settleRun waits for a run that is under way, and makes sure that one which did not begin never will.
func (d *Dnf) settleRun(ctx context.Context, dir string) error {
	settled := filepath.Join(dir, settledFile)
	if _, err := os.Stat(settled); err == nil {
		return nil
	}
	h, err := command.Find(dir)
	if command.Drop(dir) || err != nil { // it never began, or died before it could
		return durable.Write(settled, nil, 0o600, 0o700)
	}
	if _, err := h.Wait(ctx, command.Watch{Deadline: overrunAfter, Overrun: func() {
		d.cfg.Log.Warn("a package manager run takes longer than it should; it is left alone", "dir", dir, "pid", h.PID)
	}}); err != nil {
		return err
	}
	var r run
	if err := readJSON(filepath.Join(dir, "transaction.json"), &r); err != nil {
		return err
	}
	text, err := h.Output(4 << 20)
	if err == nil {
		err = d.settle(ctx, r.Brings, string(text))
	}
	if err != nil {
		return err
	}
	return durable.Write(settled, nil, 0o600, 0o700)
}

// forgetOldRuns removes the directories of all but the newest finished runs.
func (d *Dnf) forgetOldRuns() {
	entries, err := os.ReadDir(d.path("transactions"))
	if err != nil {
		return
	}
	when := func(e os.DirEntry) int64 {
		info, err := e.Info()
		if err != nil {
			return 0
		}
		return info.ModTime().UnixNano()
	}
	slices.SortFunc(entries, func(a, b os.DirEntry) int { return int(min(1, max(-1, when(a)-when(b)))) })
	for _, e := range entries[:max(0, len(entries)-keptRuns)] {
		dir := d.path("transactions", e.Name())
		if h, err := command.Find(dir); err != nil || !h.Alive() {
			if err := os.RemoveAll(dir); err != nil {
				d.cfg.Log.Warn("the directory of an old run stays", "dir", dir, "error", err)
			}
		}
	}
}

// The locks that dnf and rpm take before they change anything: a file with a process number, and fcntl locks.
const dnfLock = "var/lib/dnf/rpmdb_lock.pid"

var rpmLocks = []string{"var/lib/rpm/.rpm.lock", "usr/lib/sysimage/rpm/.rpm.lock"}

// holder says who holds a lock now; empty when it is free. It only asks and takes no lock.
func (d *Dnf) holder() string {
	if b, err := os.ReadFile(filepath.Join(d.cfg.Root, dnfLock)); err == nil {
		if pid, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil && pid > 0 && syscall.Kill(pid, 0) != syscall.ESRCH {
			return processName(pid)
		}
	}
	for _, name := range rpmLocks {
		if pid := lockHolder(filepath.Join(d.cfg.Root, name)); pid != 0 {
			return processName(pid)
		}
	}
	return ""
}

func lockHolder(path string) int {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return 0
	}
	defer f.Close()
	lock := syscall.Flock_t{Type: syscall.F_WRLCK, Whence: io.SeekStart}
	if err := syscall.FcntlFlock(f.Fd(), syscall.F_GETLK, &lock); err != nil || lock.Type == syscall.F_UNLCK {
		return 0
	}
	return int(lock.Pid)
}

// processName is the program of a process, in its own words; these are only shown.
func processName(pid int) string {
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		name = []byte("a process")
	}
	return fmt.Sprintf("%s (pid %d)", plain(strings.TrimSpace(string(name)), 100), pid)
}
