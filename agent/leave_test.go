package agent

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"assent/agent/internal/identity"
	"assent/agent/internal/statedir"
)

// member is a device that is enrolled with a server that runs.
func member(t *testing.T) (*shell, *simServer) {
	t.Helper()
	sh, s := newShell(t), newServer(t)
	if code := sh.run("", "enrol", "--server", s.listen(t), "--token", s.token.String()); code != 0 {
		t.Fatalf("enrol: %d %s", code, sh.errs.String())
	}
	return sh, s
}

func (s *simServer) departures() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.left
}

func TestLeaveTellsTheServerOnce(t *testing.T) {
	sh, s := member(t)
	if code := sh.run("", "leave", "--yes"); code != 0 || !strings.Contains(sh.out.String(), "the server has retired it") {
		t.Errorf("%d %s%s", code, sh.out.String(), sh.errs.String())
	}
	if n := s.departures(); n != 1 {
		t.Errorf("the server heard of it %d times", n)
	}
	if code := sh.run("", "leave", "--yes"); code != 1 || s.departures() != 1 {
		t.Errorf("again: %d %s", code, sh.errs.String())
	}
}

func TestLeaveWorksWithoutTheServerAndSaysSo(t *testing.T) {
	sh, s := member(t)
	s.with(func() { s.fail = errors.New("down") })
	started := time.Now()
	if code := sh.run("", "leave", "--yes"); code != 0 || !strings.Contains(sh.out.String(), "retire the device there too") {
		t.Errorf("%d %s%s", code, sh.out.String(), sh.errs.String())
	}
	if d := time.Since(started); d > 2*leaveWait {
		t.Errorf("it took %v", d)
	}
	dir, err := statedir.Open(sh.p.state)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if _, err := identity.Load(dir); !errors.Is(err, identity.ErrNone) {
		t.Errorf("the identity is still there: %v", err)
	}
}

func TestLeaveOnACopyOfADeviceDoesNotRetireTheDevice(t *testing.T) {
	sh, s := member(t)
	if err := os.WriteFile(filepath.Join(sh.p.root, "etc/machine-id"), []byte("machine-2\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if code := sh.run("", "leave", "--yes"); code != 0 || s.departures() != 0 {
		t.Errorf("%d, the server heard of it %d times: %s%s", code, s.departures(), sh.out.String(), sh.errs.String())
	}
}

func TestPrepareImageTellsNobody(t *testing.T) {
	sh, s := member(t)
	if code := sh.run("", "prepare-image"); code != 0 || s.departures() != 0 {
		t.Errorf("%d, the server heard of it %d times", code, s.departures())
	}
}
