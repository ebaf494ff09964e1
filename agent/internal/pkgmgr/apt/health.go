package apt

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"assent/agent/internal/pkgmgr"
)

// The locks that apt and dpkg take before they change anything. They are fcntl locks, which flock(1) does not see.
var lockFiles = []string{"/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock"}

// health is the state of the package manager as its files show it, and who holds its lock.
func (a *Apt) health() (pkgmgr.Health, error) {
	s, err := readStatus(a.fsys)
	if err != nil {
		return pkgmgr.Health{}, err
	}
	h := pkgmgr.Health{Broken: s.broken()}
	h.Holder, err = holder(a.cfg.Root)
	return h, err
}

// holder says who holds the package manager's lock now; empty when it is free. It only asks and takes no lock.
func holder(root string) (string, error) {
	for _, name := range lockFiles {
		who, err := lockHolder(filepath.Join(root, name))
		if err != nil || who != "" {
			return who, err
		}
	}
	return "", nil
}

func lockHolder(path string) (string, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("look at the package manager's lock: %w", err)
	}
	defer f.Close()
	lock := syscall.Flock_t{Type: syscall.F_WRLCK, Whence: io.SeekStart}
	if err := syscall.FcntlFlock(f.Fd(), syscall.F_GETLK, &lock); err != nil {
		return "", fmt.Errorf("look at the package manager's lock: %w", err)
	}
	if lock.Type == syscall.F_UNLCK {
		return "", nil
	}
	return fmt.Sprintf("%s (pid %d)", processName(int(lock.Pid)), lock.Pid), nil
}

// processName is the program of a process, in its own words; these are only shown.
func processName(pid int) string {
	if cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil && len(cmdline) > 0 {
		return plain(strings.TrimSpace(strings.ReplaceAll(string(cmdline), "\x00", " ")), 120)
	}
	return "another process"
}

// maintainerScripts are the processes that run a package's scripts now. When apt and dpkg die, these go on.
func maintainerScripts() []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var out []int
	for _, e := range entries {
		var pid int
		if _, err := fmt.Sscanf(e.Name(), "%d", &pid); err != nil || pid == os.Getpid() {
			continue
		}
		cmdline, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err == nil && isMaintainerScript(strings.Split(string(cmdline), "\x00")) {
			out = append(out, pid)
		}
	}
	return out
}

// isMaintainerScript looks at a command line: a script of dpkg's database or of a package that is being unpacked, called
// directly or by its interpreter.
func isMaintainerScript(argv []string) bool {
	for _, arg := range argv[:min(len(argv), 3)] {
		if strings.HasPrefix(arg, "/var/lib/dpkg/tmp.ci/") {
			return true
		}
		if strings.HasPrefix(arg, "/var/lib/dpkg/info/") {
			for _, script := range []string{".preinst", ".postinst", ".prerm", ".postrm", ".config"} {
				if strings.HasSuffix(arg, script) {
					return true
				}
			}
		}
	}
	return false
}
