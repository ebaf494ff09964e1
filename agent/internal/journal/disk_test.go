package journal

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"assent/wire"
)

// brokenDisk mounts a disk that takes every write and fails when it is asked to keep them, from when fail is
// called until heal is: an ext2 file system in an image file for whose blocks there is no room. The kernel
// reports such a failure once and then forgets it, as with a real disk.
func brokenDisk(t *testing.T) (dir string, fail func() (heal func())) {
	t.Helper()
	under := filepath.Join(t.TempDir(), "under")
	dir = filepath.Join(t.TempDir(), "disk")
	image := filepath.Join(under, "image")
	if err := errors.Join(os.Mkdir(under, 0o700), os.Mkdir(dir, 0o700)); err != nil {
		t.Fatal(err)
	}
	run := func(name string, args ...string) {
		t.Helper()
		if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
			t.Fatalf("%s %v: %v: %s (this test needs root and the packages mount and e2fsprogs)", name, args, err, out)
		}
	}
	run("mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", under)
	t.Cleanup(func() { run("umount", "--lazy", under) })
	if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, 16<<20)); err != nil {
		t.Fatal(err)
	}
	run("mkfs.ext2", "-q", "-F", "-m", "0", image)
	run("mount", "-o", "loop", image, dir)
	t.Cleanup(func() { run("umount", "--lazy", dir) })
	return dir, func() func() { return fill(t, under) }
}

// until writes records until one is refused, and says why.
func until(t *testing.T, j *Journal, prefix string) (written int, why error) {
	t.Helper()
	for i := range 5000 {
		if err := j.Write(Record{Reports: []wire.Report{{ID: fmt.Sprint(prefix, i), Event: "e", Detail: strings.Repeat("x", 500)}}}); err != nil {
			return i, err
		}
	}
	t.Fatal("every record was taken by a disk that keeps nothing")
	return 0, nil
}

func TestN49_AFailedFsyncRefusesTheRecordChangesNothingAndHealsByItself(t *testing.T) {
	path, fail := brokenDisk(t)
	d := openDir(t, filepath.Join(path, "state"))
	j := open(t, d)
	if err := j.Write(Record{Reports: []wire.Report{{ID: "before", Event: "e"}}}); err != nil {
		t.Fatal(err)
	}
	heal := fail()
	n, err := until(t, j, "broken")
	if !strings.Contains(err.Error(), "sync") || !errors.Is(err, syscall.EIO) && !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("refused with %v, want what fsync said", err)
	}
	if got := j.Outbox(1 << 30); len(got) != 1+n {
		t.Errorf("%d records are remembered, want the %d that were taken", len(got), 1+n)
	}
	same(t, clone(t, j.state), mustRead(t, d))
	if _, err := until(t, j, "again"); err == nil {
		t.Error("the disk is still broken")
	}
	same(t, clone(t, j.state), mustRead(t, d))

	heal()
	if err := j.Write(Record{Flight: &Flight{ID: "after"}}); err != nil {
		t.Fatalf("the disk works again: %v", err)
	}
	same(t, clone(t, j.state), mustRead(t, d))
	same(t, clone(t, j.state), open(t, d).state)
}

func TestN49_AJournalThatIsNoLongerTheNamedFileIsNotWrittenTo(t *testing.T) {
	path := tmpfs(t)
	d := openDir(t, path)
	j := open(t, d)
	for i := range 8 {
		id := fmt.Sprint(i)
		if err := errors.Join(j.Write(Record{Reports: []wire.Report{{ID: id, Event: "e", Detail: strings.Repeat("x", 500)}}}), j.Write(Record{Applied: []string{id}})); err != nil {
			t.Fatal(err)
		}
	}
	// What compacting leaves when the disk fails after the new file got its name.
	line, err := encode(Record{Whole: &j.state})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Write(file, line); err != nil {
		t.Fatal(err)
	}
	j.least, j.limit = 1, 1
	free := fill(t, path)
	if err := j.Write(Record{Flight: &Flight{ID: "lost"}}); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("a record was written where nobody will find it: %v", err)
	}
	free()
	if err := j.Write(Record{Flight: &Flight{ID: "after"}}); err != nil {
		t.Fatal(err)
	}
	same(t, clone(t, j.state), open(t, d).state)
}
