package statedir

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

func open(t *testing.T) *Dir {
	t.Helper()
	d, err := Open(filepath.Join(t.TempDir(), "state"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func TestWriteReplacesTheWholeFileAndLeavesNothingAside(t *testing.T) {
	d := open(t)
	for _, text := range []string{"a longer first content", "short"} {
		if err := d.Write("x", []byte(text)); err != nil {
			t.Fatal(err)
		}
		got, err := d.Read("x", 100)
		if err != nil || string(got) != text {
			t.Fatalf("read %q, %v; want %q", got, err, text)
		}
	}
	entries, _ := os.ReadDir(d.Path("."))
	if len(entries) != 1 {
		t.Errorf("files left: %v", entries)
	}
	info, err := os.Stat(d.Path("x"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
}

func TestNoNameLeadsOutOfTheDirectory(t *testing.T) {
	d := open(t)
	if err := os.Symlink("/etc", d.Path("link")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"../escape", "/etc/escape", "link/escape"} {
		if err := d.Write(name, nil); err == nil {
			t.Errorf("Write(%q) went through", name)
		}
		if _, err := d.Read(name, 1); err == nil {
			t.Errorf("Read(%q) went through", name)
		}
	}
}

func TestN39_DirectoryPreparedByAnotherUserIsRefused(t *testing.T) {
	base := t.TempDir()
	link := filepath.Join(base, "link")
	if err := os.Symlink(base, link); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(link); err == nil {
		t.Error("a symbolic link was followed")
	}
	foreign := filepath.Join(base, "foreign")
	if err := os.Mkdir(foreign, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(foreign, 12345, 12345); err != nil {
		t.Fatal("needs root: ", err)
	}
	if _, err := Open(foreign); err == nil {
		t.Error("a directory of another user was taken")
	}
}

func TestOpenClosesTheDirectoryToOthers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "open")
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v; want 0700", info.Mode())
	}
}

func TestReadRefusesWhatIsLongerThanTheLimit(t *testing.T) {
	d := open(t)
	if err := d.Write("x", make([]byte, 11)); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Read("x", 10); err == nil {
		t.Error("11 bytes were read through a limit of 10")
	}
	if _, err := d.Read("missing", 10); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
}

func TestTheLockIsFreeOnceReleasedThoughAProcessThatIsBeingStartedHoldsACopyOfIt(t *testing.T) {
	d := open(t)
	release, err := d.Lock()
	if err != nil {
		t.Fatal(err)
	}
	copied := -1 // what a fork does to every descriptor until the exec
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range fds {
		if to, _ := os.Readlink("/proc/self/fd/" + e.Name()); to == d.Path("lock") {
			fd, err := strconv.Atoi(e.Name())
			if err != nil {
				t.Fatal(err)
			}
			if copied, err = syscall.Dup(fd); err != nil {
				t.Fatal(err)
			}
		}
	}
	if copied < 0 {
		t.Fatal("no descriptor of the lock is open")
	}
	defer syscall.Close(copied)
	release()
	release, err = d.Lock()
	if err != nil {
		t.Fatalf("after its release: %v", err)
	}
	release()
}

func TestASecondHolderOfTheLockIsRefusedUntilTheFirstLetsGo(t *testing.T) {
	d := open(t)
	release, err := d.Lock()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Lock(); !errors.Is(err, ErrLocked) {
		t.Fatalf("second lock: %v; want ErrLocked", err)
	}
	release()
	release, err = d.Lock()
	if err != nil {
		t.Fatal(err)
	}
	release()
}
