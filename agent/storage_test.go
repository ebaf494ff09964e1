package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"assent/agent/internal/statedir"
	"assent/catalog"
	"assent/wire"
)

// smallDisk mounts a file system for an agent's state, and returns what fills it up.
func smallDisk(t *testing.T) (dir string, fill func() (free func())) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "small")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=512k,mode=700"); err != nil {
		t.Fatal("needs root: ", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	ballast := filepath.Join(dir, "ballast")
	return dir, func() func() {
		f, err := os.Create(ballast)
		if err != nil {
			t.Error(err)
			return func() {}
		}
		for size := 64 << 10; size > 0; size /= 2 {
			for err = nil; err == nil; {
				_, err = f.Write(make([]byte, size))
			}
		}
		return func() {
			if err := errors.Join(f.Close(), os.Remove(ballast)); err != nil {
				t.Error(err)
			}
		}
	}
}

// spoiling is a package manager that has something happen before the previous versions are noted: after the
// download, before the transaction is journaled.
type spoiling struct {
	*simManager
	before func()
}

func (p spoiling) Remember(ctx context.Context, update catalog.UpdateID, changes []wire.Change) error {
	p.before()
	return p.simManager.Remember(ctx, update, changes)
}

func TestN49_AnAgentThatCannotWriteItsJournalInstallsNothingSaysSoAndGoesOnWhenItCan(t *testing.T) {
	dir, fill := smallDisk(t)
	synctest.Test(t, func(t *testing.T) {
		var files []simFile
		var names []string
		for i := range 40 { // more than one record of the journal has room for in what is left of its last block
			names = append(names, fmt.Sprint("app", i))
			files = append(files, file(names[i], "2"))
		}
		b := newBench(t, files, names...)
		var err error
		if b.opt.Dir, err = statedir.Open(filepath.Join(dir, "state")); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { b.opt.Dir.Close() })
		var free func()
		b.opt.Manager = spoiling{b.m, func() {
			if free == nil {
				free = fill()
			}
		}}
		b.s.set(installs(files...))
		b.start(t)
		b.pass(10 * time.Minute)
		if free == nil {
			t.Fatal("the agent never came to the transaction")
		}
		if got := b.executed(); len(got) != 0 {
			t.Fatalf("executed %v although the journal could not be written", got)
		}
		if p := b.progress(); !strings.Contains(p.Error, "no space left on device") {
			t.Errorf("the agent says %+v", p)
		}
		said := false
		b.s.with(func() {
			said = strings.Contains(b.s.checkIns[len(b.s.checkIns)-1].Progress.Error, "no space left on device")
		})
		if !said {
			t.Error("the server does not hear of it")
		}

		free()
		b.pass(2 * time.Hour)
		if got := b.executed(); len(got) != len(files) {
			t.Errorf("executed %d of %d after the disk had room again", len(got), len(files))
		}
		if p := b.progress(); p.Error != "" {
			t.Errorf("the agent still says %+v", p)
		}
	})
}
