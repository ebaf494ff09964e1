package agent

import (
	"context"
	"log/slog"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"assent/agent/internal/identity"
	"assent/agent/internal/statedir"
	"assent/installation"
	"assent/wire"
)

// simDevice is what the simulated device says of itself.
type simDevice struct{ boot string }

func (d simDevice) Facts() wire.Facts {
	return wire.Facts{Hostname: "sim", MachineID: "m", OS: "debian", Arch: "amd64", Foreign: []string{}, TimeZone: "UTC"}
}
func (d simDevice) BootID() string        { return d.boot }
func (d simDevice) Uptime() time.Duration { return time.Hour }

// options are those of an agent that talks to the simulated server directly.
func options(t *testing.T, s *simServer, m *simManager) Options {
	t.Helper()
	dir, err := statedir.Open(filepath.Join(t.TempDir(), "state"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	return Options{Dir: dir, Identity: s.identity(t), Manager: m, Device: simDevice{"boot-1"}, Now: time.Now, Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Version: "test",
		Dial:   func(identity.Identity) (Link, error) { return s, nil },
		Timing: Timing{HeadStart: 10 * time.Millisecond, Settle: 1000 * time.Hour}} // tests of rehearsals ask for them
}

// start runs an agent until the test ends or stop is called.
func start(t *testing.T, opt Options) (a *Agent, stop func()) {
	t.Helper()
	a, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.Run(ctx)
	}()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return a, stop
}

func TestV1_ApprovedUpdatesGoThroughTheStatesAndAreInstalledExactly(t *testing.T) {
	app, lib := file("app", "2"), file("lib", "2")
	app.Needs = []string{"lib=2"}
	w := deviceWith("1", "app", "lib")
	w.Pool = []simFile{app, lib}
	m, s := newSim(t, w), newServer(t)
	start(t, options(t, s, m))
	s.wait(t, "all documents are on the server", func() bool { return len(s.docs) == 3 })
	s.set(wire.Plan{Install: []wire.PlanInstall{app.install(), lib.install()}})
	s.wait(t, "app is installed", s.at(app.install(), installation.Installed))
	s.wait(t, "lib is installed", s.at(lib.install(), installation.Installed))

	want := []installation.State{installation.Assigned, installation.Downloading, installation.Downloaded, installation.Installing, installation.Installed}
	if diff := cmp.Diff(want, s.history(app.install())); diff != "" {
		t.Errorf("states of app (-want +got):\n%s", diff)
	}
	got := m.world().Executions
	slices.Sort(got)
	if diff := cmp.Diff([]string{"app:amd64=2", "lib:amd64=2"}, got); diff != "" {
		t.Errorf("executions (-want +got):\n%s", diff)
	}
	proof := s.last(app.install()).Proof
	if proof == nil || !proof.AuditClean || len(proof.Items) != 1 || proof.Items[0] != (wire.ProofItem{Name: "app", Arch: "amd64", Version: "2", Status: "ii", Previous: "1", SHA256: app.SHA256}) {
		t.Errorf("proof %+v", proof)
	}
	if m.world().Fenced == nil {
		t.Error("the plan was acted upon without its walls")
	}
	if len(s.illegal) > 0 {
		t.Errorf("transitions outside the table: %v", s.illegal)
	}
}
