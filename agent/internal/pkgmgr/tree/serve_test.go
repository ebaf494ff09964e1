package tree

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"assent/agent/internal/pkgmgr"
	"assent/catalog"
	"assent/feed"
	"assent/installation"
)

// simServices are services of a device; which run from where and what becomes of them is set by the test.
type simServices struct {
	from      map[string][]string // by directory
	sick      map[string]bool
	restarted []string
	fromErr   error
	meanwhile func()
}

func (s *simServices) From(_ context.Context, dir string) ([]string, error) {
	return s.from[dir], s.fromErr
}

func (s *simServices) TryRestart(_ context.Context, unit string) error {
	s.restarted = append(s.restarted, unit)
	if s.meanwhile != nil {
		s.meanwhile()
	}
	if s.sick[unit] {
		return errors.New(unit + " exits with code 1")
	}
	return nil
}

func (s *simServices) took() []string {
	out := s.restarted
	s.restarted = nil
	return out
}

func serving(m *feed.Manifest) { m.Restart = catalog.RestartService }

// servingWorld has an application that runs as two services.
func servingWorld(t *testing.T) (*world, *simServices) {
	t.Helper()
	w := newWorld(t, t.TempDir())
	s := &simServices{from: map[string][]string{filepath.Join(w.root, "opt/assent/acme/app"): {"app-web.service", "app-job.service"}}, sick: map[string]bool{}}
	w.tree.cfg.Services = s
	return w, s
}

func TestT5_ServicesThatRunFromATreeAreRestartedAfterTheSwitch(t *testing.T) {
	w, s := servingWorld(t)
	v1, v2, v3 := w.release("1.0", serving), w.release("2.0", serving), w.release("3.0")
	w.ok(install(v1))
	if got := s.took(); len(got) != 0 {
		t.Errorf("restarted %v, though there was no version before", got)
	}
	s.meanwhile = func() { w.runs("2.0") } // the switch came first
	w.ok(install(v2))
	if got := s.took(); !slices.Equal(got, []string{"app-job.service", "app-web.service"}) {
		t.Errorf("restarted %v", got)
	}
	s.meanwhile = nil
	w.ok(install(v3)) // it asks for nothing, and the one before does
	if got := s.took(); len(got) != 2 {
		t.Errorf("restarted %v", got)
	}
	w.ok(back(v2))
	if got := s.took(); len(got) != 2 {
		t.Errorf("restarted %v on the way back", got)
	}
	w.ok(back(v1))
	s.took()
	w.ok(install(v3))
	s.took()
	w.ok(install(w.release("4.0")))
	if got := s.took(); len(got) != 0 {
		t.Errorf("restarted %v, though neither asks for it", got)
	}
	w.ok(remove(w.release("4.0")))
	if got := s.took(); len(got) != 0 {
		t.Errorf("restarted %v of what is gone", got)
	}
}

func TestT5_AVersionWhoseServiceDoesNotComeBackIsNotInstalledUntilItDoes(t *testing.T) {
	w, s := servingWorld(t)
	v1, v2 := w.release("1.0", serving), w.release("2.0", serving)
	w.ok(install(v1))
	s.sick["app-web.service"] = true
	out, err := w.run(install(v2))
	var refusal *pkgmgr.Refusal
	if !errors.As(err, &refusal) || refusal.Cause != installation.InstallFailed || !strings.Contains(refusal.Detail, "app-web.service did not come back") || len(out.Errors) != 1 {
		t.Fatalf("%v\n%v", err, out.Errors)
	}
	if got := s.took(); len(got) != 2 {
		t.Errorf("restarted %v: one that fails must not keep the other back", got)
	}
	if p := w.proof(v2); p.Status != waiting || p.Version != "2.0" {
		t.Errorf("proof %+v", p)
	}
	if p := w.scan().Inventory.Packages[0]; p.Status != waiting {
		t.Errorf("inventory %+v", p)
	}
	opens := *w.feed.opens
	if _, err := w.run(install(v2)); err == nil {
		t.Fatal("it is well by itself")
	}
	s.took()
	delete(s.sick, "app-web.service")
	w.ok(install(v2))
	if got := s.took(); !slices.Equal(got, []string{"app-web.service"}) {
		t.Errorf("restarted %v, want only what was left", got)
	}
	if *w.feed.opens != opens {
		t.Error("it was downloaded again")
	}
	w.ok(install(v2))
	if got := s.took(); len(got) != 0 {
		t.Errorf("restarted %v again", got)
	}
	s.sick["app-web.service"] = true
	w.tree.cfg.Services = s
	if _, err := w.run(install(w.release("3.0", serving))); err == nil {
		t.Fatal("the third version is well")
	}
	delete(s.sick, "app-web.service")
	s.from = nil // the service failed, so it does not run from there
	s.took()
	w.ok(back(v2))
	if got := s.took(); !slices.Equal(got, []string{"app-web.service"}) {
		t.Errorf("restarted %v on the way back, want the one that failed", got)
	}
}

func TestT5_AServiceRestartThatWasInterruptedIsMadeUpFor(t *testing.T) {
	w, s := servingWorld(t)
	v1, v2 := w.release("1.0", serving), w.release("2.0", serving)
	w.ok(install(v1))
	ctx, cancel := context.WithCancel(t.Context())
	s.meanwhile = func() { cancel(); s.sick["app-job.service"], s.sick["app-web.service"] = true, true }
	tx, err := w.tree.Simulate(ctx, install(v2))
	w.must(err)
	w.must(w.tree.Fetch(ctx, tx, nil))
	if _, err := w.tree.Apply(ctx, tx, nil); err == nil {
		t.Fatal("an interrupted restart is well")
	}
	s.meanwhile, s.sick = nil, map[string]bool{}
	s.took()
	w.start() // another process
	w.tree.cfg.Services = s
	if h, err := w.tree.Recover(t.Context()); err != nil || h.Broken != "" {
		t.Fatalf("%+v, %v", h, err)
	}
	if got := s.took(); len(got) != 2 {
		t.Errorf("restarted %v", got)
	}
	w.there(v2)
	if h, err := w.tree.Recover(t.Context()); err != nil || h.Broken != "" || len(s.took()) != 0 {
		t.Errorf("%+v, %v", h, err)
	}
}

func TestT5_WhenTheServicesAreNotKnownNothingIsSwitched(t *testing.T) {
	w, s := servingWorld(t)
	v1, v2 := w.release("1.0", serving), w.release("2.0", serving)
	w.ok(install(v1))
	s.fromErr = errors.New("systemd does not answer")
	if _, err := w.run(install(v2)); err == nil || !strings.Contains(err.Error(), "systemd does not answer") {
		t.Fatalf("%v", err)
	}
	w.there(v1)
	s.fromErr = nil
	w.ok(install(v2))
}
