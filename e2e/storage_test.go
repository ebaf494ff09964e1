package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"assent/e2e/stage"
)

// onSmallDisk is fleet with a server whose data directory is a disk of 16 MB, and what fills it up.
func onSmallDisk(t *testing.T, devices ...string) (s *script, fill func() (free func())) {
	t.Helper()
	var specs []stage.DeviceSpec
	for _, d := range devices {
		specs = append(specs, stage.DeviceSpec{Name: d})
	}
	of := raise(t, specs...)
	data := of.Server.Data
	if err := os.MkdirAll(data, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "mount", "-t", "tmpfs", "-o", "size=16m,mode=700", "tmpfs", data).CombinedOutput(); err != nil {
		t.Fatalf("mount: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if err := errors.Join(of.Server.Kill(), syscall.Unmount(data, syscall.MNT_DETACH)); err != nil {
			t.Error(err)
		}
	})
	if err := errors.Join(of.Server.Start(t.Context()), of.SignIn(t.Context())); err != nil {
		t.Fatal(err)
	}
	s = enrolled(of, t)
	s.updates()
	return s, func() func() { return s.ballast(filepath.Join(data, "ballast")) }
}

// ballast is a file that takes all room of its disk.
func (s *script) ballast(path string) (free func()) {
	s.t.Helper()
	f, err := os.Create(path)
	s.try(err)
	for size := 64 << 10; size > 0; size /= 2 {
		for err = nil; err == nil; {
			_, err = f.Write(make([]byte, size))
		}
	}
	if !errors.Is(err, syscall.ENOSPC) {
		s.t.Fatalf("the disk is not full: %v", err)
	}
	return func() { s.try(errors.Join(f.Close(), os.Remove(path))) }
}

func TestN49_AFullDiskUnderTheServerStopsActsAndNothingElse(t *testing.T) {
	s, fill := onSmallDisk(t, "web1", "web2")
	s.assent("update", "decline", "acme-tool@1.1", "--reason", "not yet")
	s.walled("web2", "acme-tool", "not yet")
	s.hold("web1")
	s.assent("update", "approve", "acme-slow@1.1")
	s.inPostinst("web1")

	free := fill()
	acknowledged := s.groupsUntilRefused("full-", make(chan struct{}, 1)) // until what room the database has of its own is used up
	s.refused(exitUnavailable, "storage_full", "update", "approve", "acme-data@1.1")
	s.refused(exitUnavailable, "storage_full", "update", "decline", "acme-lib@2.0", "--reason", "x")
	s.checkedIn()
	s.fails("web2", "declined", aptGet("install", "acme-tool=1.1")...)
	s.release("web1")
	s.until("the package manager finished although the server cannot write", func() bool { return s.version("web1", "acme-slow") == "1.1" })
	s.kept(acknowledged)

	free()
	s.provenAtLast("web1", "acme-slow@1.1")
	s.assent("update", "approve", "acme-data@1.1")
	s.provenAtLast("web2", "acme-data@1.1")
	s.kept(acknowledged)
	s.verified()
	before := s.acts()
	s.try(s.Server.Kill())
	s.try(s.Server.Start(t.Context()))
	if after := s.acts(); len(after) != len(before) {
		t.Errorf("%d acts after a crash, %d before it", len(after), len(before))
	}
	s.kept(acknowledged)
	s.verified()
}
