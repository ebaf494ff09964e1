package probe_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"assent/agent/internal/probe"
	"assent/catalog"
)

// TestMain lets this test binary be a program that runs until its input ends.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "service" {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func passes(t *testing.T, p catalog.Probe, tree string) {
	t.Helper()
	if err := probe.Run(t.Context(), p, tree); err != nil {
		t.Error(err)
	}
}

// fails wants a probe not to pass, and the sentence to name what it should.
func fails(t *testing.T, p catalog.Probe, tree, text string) *probe.Error {
	t.Helper()
	err := probe.Run(t.Context(), p, tree)
	var e *probe.Error
	if !errors.As(err, &e) || e.Type != p.Type || !strings.Contains(e.Error(), text) || !strings.HasSuffix(e.Error(), ".") {
		t.Fatalf("%v, want one sentence with %q", err, text)
	}
	return e
}

func TestFileProbeComparesTheContentBelowTheTreeOnly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	sum := sha256.Sum256([]byte("well"))
	digest := hex.EncodeToString(sum[:])
	for _, name := range []string{"versions/1.0/etc/state", "secret"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte("well"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	tree := filepath.Join(dir, "current")
	if err := errors.Join(os.Symlink("versions/1.0", tree), os.Symlink("../../secret", filepath.Join(tree, "out"))); err != nil {
		t.Fatal(err)
	}
	of := func(path, sum string) catalog.Probe {
		return catalog.Probe{Type: catalog.ProbeFile, Path: path, SHA256: sum}
	}
	passes(t, of("etc/state", digest), tree)
	fails(t, of("etc/state", strings.Repeat("0", 64)), tree, digest)
	fails(t, of("etc/none", digest), tree, "etc/none")
	fails(t, of("etc", digest), tree, "not there")
	fails(t, of("out", digest), tree, "out")
	fails(t, of("etc/state", digest), filepath.Join(dir, "gone"), "cannot be opened")
}

func TestFileProbeOfATaskLooksOnTheDeviceAndTellsNothingElse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	name := filepath.Join(dir, "policy")
	if err := errors.Join(os.WriteFile(name, []byte("well"), 0o600), syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600)); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte("well"))
	digest := hex.EncodeToString(sum[:])
	passes(t, catalog.Probe{Type: catalog.ProbeFile, Path: name, SHA256: digest}, "")
	e := fails(t, catalog.Probe{Type: catalog.ProbeFile, Path: name, SHA256: strings.Repeat("0", 64)}, "", name)
	if strings.Contains(e.Error(), digest) {
		t.Errorf("it tells the digest of a file of the device: %v", e)
	}
	fails(t, catalog.Probe{Type: catalog.ProbeFile, Path: filepath.Join(dir, "pipe"), SHA256: digest}, "", "not there")
	fails(t, catalog.Probe{Type: catalog.ProbeFile, Path: dir + "/../" + filepath.Base(dir) + "/policy", SHA256: digest}, "", "cannot use")
}

func TestFileProbeEndsAtItsTimeHoweverLongTheFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "huge"))
	if err == nil {
		err = errors.Join(f.Truncate(1<<40), f.Close()) // it takes no room
	}
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	fails(t, catalog.Probe{Type: catalog.ProbeFile, Path: "huge", SHA256: strings.Repeat("0", 64), Timeout: 1}, dir, "cannot be read")
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestProcessProbeWantsExactlyTheFileThatIsThereNow(t *testing.T) {
	t.Parallel()
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	exe := filepath.Join(t.TempDir(), "service")
	replace := func() {
		t.Helper()
		if err := errors.Join(os.WriteFile(exe+".new", self, 0o755), os.Rename(exe+".new", exe)); err != nil {
			t.Fatal(err)
		}
	}
	p := catalog.Probe{Type: catalog.ProbeProcess, Path: exe, Timeout: 1}
	fails(t, p, "", "not there")
	replace()
	fails(t, p, "", "No process runs")
	start := func() (stop func()) {
		t.Helper()
		cmd := exec.Command(exe)
		in, err := cmd.StdinPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		return func() { _ = in.Close(); _ = cmd.Wait() }
	}
	old := start()
	passes(t, p, "")
	replace() // the update is there, and the old version still runs
	fails(t, p, "", "No process runs")
	stop := start()
	passes(t, p, "")
	stop()
	old()
	fails(t, p, "", "No process runs")
}

func TestTCPProbeWaitsUntilSomebodyListens(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	p := catalog.Probe{Type: catalog.ProbeTCP, Port: port, Timeout: 20}
	passes(t, p, "")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	p.Timeout = 1
	if e := fails(t, p, "", strconv.Itoa(port)); e.Unwrap() == nil {
		t.Error("no cause")
	}
	result := make(chan error, 1)
	p.Timeout = 20
	go func() { result <- probe.Run(t.Context(), p, "") }()
	again, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if err := <-result; err != nil {
		t.Error(err)
	}
	six, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Log("this machine has no IPv6: ", err)
		return
	}
	defer six.Close()
	passes(t, catalog.Probe{Type: catalog.ProbeTCP, Port: six.Addr().(*net.TCPAddr).Port, Timeout: 1}, "")
}

func portOf(t *testing.T, s *httptest.Server) int {
	t.Helper()
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func TestHTTPProbeWantsItsStatusAndFollowsNothing(t *testing.T) {
	var asked atomic.Int64
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirect was followed, or a proxy asked") }))
	defer elsewhere.Close()
	t.Setenv("HTTP_PROXY", elsewhere.URL)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/starting" && asked.Add(1) < 3:
			w.WriteHeader(http.StatusServiceUnavailable)
		case r.URL.Path == "/moved":
			http.Redirect(w, r, elsewhere.URL, http.StatusFound)
		case r.URL.Path == "/broken":
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	defer s.Close()
	of := func(path string, status int) catalog.Probe {
		return catalog.Probe{Type: catalog.ProbeHTTP, Path: path, Port: portOf(t, s), Status: status, Timeout: 1}
	}
	passes(t, of("/starting", 0), "")
	if asked.Load() != 3 {
		t.Errorf("asked %d times", asked.Load())
	}
	passes(t, of("/moved", 302), "")
	passes(t, of("/health?deep=1", 200), "")
	fails(t, of("/moved", 0), "", "status 302 and not 200")
	fails(t, of("/broken", 0), "", "status 500")
	s.Close()
	fails(t, of("/", 0), "", "does not answer")
}

func TestProbeThatHangsEndsAtItsTime(t *testing.T) {
	t.Parallel()
	hold := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hold }))
	defer s.Close()
	defer close(hold)
	start := time.Now()
	fails(t, catalog.Probe{Type: catalog.ProbeHTTP, Path: "/", Port: portOf(t, s), Timeout: 1}, "", "does not answer")
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("took %v", took)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := probe.Run(ctx, catalog.Probe{Type: catalog.ProbeTCP, Port: 1}, ""); err == nil {
		t.Error("passed though it was cancelled")
	}
}

// TestUnitProbe asks the systemd of this machine, or finds that it has none.
func TestUnitProbe(t *testing.T) {
	t.Parallel()
	of := func(unit string) catalog.Probe {
		return catalog.Probe{Type: catalog.ProbeUnit, Unit: unit, Timeout: 1}
	}
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		fails(t, of("init.scope.service"), "", "systemd")
		return
	}
	passes(t, of("basic.target"), "")
	fails(t, of("assent-no-such-unit.service"), "", "inactive")
}

func TestUnknownHolds_AProbeThatThisBuildDoesNotKnowDoesNotPass(t *testing.T) {
	for _, p := range []catalog.Probe{
		{Type: "shell", Path: "/bin/true"}, {}, {Type: catalog.ProbeUnit, Unit: "--root=/tmp"}, {Type: catalog.ProbeUnit, Unit: "-x.service"},
		{Type: catalog.ProbeTCP}, {Type: catalog.ProbeTCP, Port: 65536}, {Type: catalog.ProbeHTTP, Port: 80, Path: "@evil.example/"},
		{Type: catalog.ProbeFile, Path: "../x", SHA256: strings.Repeat("0", 64)}, {Type: catalog.ProbeFile, Path: "x"}, {Type: catalog.ProbeProcess, Path: "bin/app"},
	} {
		if e := fails(t, p, t.TempDir(), ""); !errors.Is(e, probe.ErrUnknown) {
			t.Errorf("%+v: %v", p, e)
		}
	}
}
