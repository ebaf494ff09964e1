package agent

import (
	"bytes"
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"assent/agent/internal/identity"
	"assent/agent/internal/journal"
	"assent/agent/internal/statedir"
	"assent/agent/internal/uplink"
	"assent/catalog"
	"assent/installation"
	"assent/window"
	"assent/wire"
)

// TestMain lets this test binary be the agent itself: the real loop and the real uplink over the simulated package manager.
func TestMain(m *testing.M) {
	if dir := os.Getenv("ASSENT_TEST_STATE"); dir != "" {
		if err := child(dir, os.Getenv("ASSENT_TEST_WORLD")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func child(path, world string) error {
	dir, err := statedir.Open(path)
	if err != nil {
		return err
	}
	id, err := identity.Load(dir)
	if err != nil {
		return err
	}
	m := &simManager{path: world}
	a, err := New(Options{Dir: dir, Identity: id, Manager: m, Probe: m.probe, Device: simDevice{"boot-1"}, Now: time.Now, Version: "test",
		Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
		Dial: func(id identity.Identity) (Link, error) {
			return uplink.New(id, uplink.Options{Server: id.Server})
		},
		Timing: Timing{Poll: 10 * time.Second, HeadStart: 10 * time.Millisecond, Retry: []time.Duration{10 * time.Millisecond, 10 * time.Millisecond}}})
	if err != nil {
		return err
	}
	return a.Run(context.Background())
}

// crashBinary builds this test with its crash points armed.
func crashBinary(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "agent.test")
	cmd := exec.Command("go", "test", "-c", "-tags", "crashtest", "-o", bin, ".")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return bin
}

// crashRun is one device and one server between which an agent is killed and started again.
type crashRun struct {
	t       *testing.T
	bin     string
	state   string
	manager *simManager
	server  *simServer
	app     wire.PlanInstall
	lib     wire.PlanInstall
	end     installation.State // where both are to end
	did     []string           // what the package manager is to have done, sorted
}

// newInstallRun is a device onto which two updates are to come, one of them with a health probe.
func newInstallRun(t *testing.T, bin string) *crashRun {
	app, lib := file("app", "2"), file("lib", "2")
	app.Needs = []string{"lib=2"}
	w := deviceWith("1", "app", "lib")
	w.Pool = []simFile{app, lib}
	r := newCrashRun(t, bin, w, app, lib)
	r.app.Probe = &catalog.Probe{Type: catalog.ProbeTCP, Port: 80}
	r.end, r.did = installation.Installed, []string{"app:amd64=2", "lib:amd64=2"}
	r.server.set(wire.Plan{Install: []wire.PlanInstall{r.app, r.lib}})
	return r
}

// newTermsRun is newInstallRun inside a window, with a stop that has to be remembered.
func newTermsRun(t *testing.T, bin string) *crashRun {
	r := newInstallRun(t, bin)
	opened := time.Now().UTC().Add(-2 * time.Hour)
	r.server.set(on(wire.Plan{Install: []wire.PlanInstall{r.app, r.lib}}, wire.PlanTerms{StopAfter: 3600},
		schedule(t, window.Schedule{Rule: "FREQ=DAILY", Start: opened.Format("2006-01-02T15:04"), Length: window.Duration(12 * time.Hour), Missed: window.AtOnce})))
	return r
}

// newBackRun is a device on which one update is declined that has to go back, and one that has to go.
func newBackRun(t *testing.T, bin string) *crashRun {
	old, app, lib := file("app", "1"), file("app", "2"), file("lib", "2")
	w := deviceWith("2", "app", "lib")
	w.Pool = []simFile{old, app, lib}
	r := newCrashRun(t, bin, w, app, lib)
	r.end, r.did = installation.Removed, []string{"-lib:amd64=2", "app:amd64=1"}
	r.server.set(wire.Plan{Rollback: []wire.PlanRollback{app.stepBack(7, old)}, Remove: []wire.PlanRemove{lib.removal(8)}})
	return r
}

func newCrashRun(t *testing.T, bin string, w simWorld, app, lib simFile) *crashRun {
	r := &crashRun{t: t, bin: bin, state: filepath.Join(t.TempDir(), "state"), manager: newSim(t, w), server: newServer(t), app: app.install(), lib: lib.install()}
	r.server.life = 40 * time.Second // at once past its half: the run begins with a renewal
	dir, err := statedir.Open(r.state)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	id := r.server.identity(t)
	id.Server = r.server.listen(t)
	if err := id.Save(dir); err != nil {
		t.Fatal(err)
	}
	r.server.life = 30 * 24 * time.Hour
	r.age(dir)
	return r
}

// age gives the device a journal with a past, so that it is compacted at the first step.
func (r *crashRun) age(dir *statedir.Dir) {
	r.t.Helper()
	j, err := journal.Open(dir)
	if err != nil {
		r.t.Fatal(err)
	}
	defer j.Close()
	for i := range 20 {
		id := fmt.Sprintf("old-%d", i)
		for _, rec := range []journal.Record{{Reports: []wire.Report{{ID: id, Event: "old"}}}, {Applied: []string{id}}} {
			if err := j.Write(rec); err != nil {
				r.t.Fatal(err)
			}
		}
	}
}

// spawn starts the agent as a process of its own.
func (r *crashRun) spawn(env ...string) (*exec.Cmd, *bytes.Buffer) {
	r.t.Helper()
	var log bytes.Buffer
	cmd := exec.Command(r.bin)
	cmd.Env = append([]string{"ASSENT_TEST_STATE=" + r.state, "ASSENT_TEST_WORLD=" + r.manager.path, "ASSENT_COMPACT_AT=600"}, env...)
	cmd.Stderr, cmd.Stdout = &log, &log
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	return cmd, &log
}

// die runs the agent until it is killed at its crash point; reached is false if it lived on.
func (r *crashRun) die(env string) (reached bool) {
	r.t.Helper()
	cmd, log := r.spawn(env)
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	dead := make(chan struct{})
	go func() {
		<-done
		close(dead)
	}()
	r.settled(dead)
	select {
	case <-dead:
	case <-time.After(100 * time.Millisecond): // it may still die at its very last step
		cmd.Process.Kill()
		<-dead
		return false
	}
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok || status.Signal() != syscall.SIGKILL {
		r.t.Fatalf("the agent ended by itself: %v\n%s", cmd.ProcessState, log)
	}
	return true
}

// settled waits until the server knows both updates where they are to end, and a moment longer for the reports to be forgotten.
// It gives up after a time or when the agent is dead.
func (r *crashRun) settled(dead <-chan struct{}) bool {
	limit := time.After(30 * time.Second)
	for {
		r.server.mu.Lock()
		changed := r.server.changed
		ok := r.server.at(r.app, r.end)() && r.server.at(r.lib, r.end)() && r.server.renewals > 0
		r.server.mu.Unlock()
		if ok && r.empty() {
			return true
		}
		select {
		case <-changed:
		case <-time.After(20 * time.Millisecond):
		case <-dead:
			return false
		case <-limit:
			return false
		}
	}
}

// empty reports whether the journal owes the server nothing.
func (r *crashRun) empty() bool {
	dir, err := statedir.Open(r.state)
	if err != nil {
		return false
	}
	defer dir.Close()
	s, err := journal.Read(dir)
	return err == nil && len(s.Outbox) == 0 && s.Flight == nil
}

// check asserts what must be true whatever happened: I3, I5 and the table of V1.
func (r *crashRun) check() {
	r.t.Helper()
	executed := r.manager.world().Executions
	slices.Sort(executed)
	if !slices.Equal(executed, r.did) {
		r.t.Errorf("executed %v; want each step exactly once: %v", executed, r.did)
	}
	for _, in := range []wire.PlanInstall{r.app, r.lib} {
		n := 0
		for _, s := range r.server.history(in) {
			if s == r.end {
				n++
			}
			if s == installation.Failed || s == installation.Blocked || s == installation.RemoveFailed || s == installation.Assigned && r.end == installation.Removed {
				r.t.Errorf("%s was reported as %s", in.Release.Name, s)
			}
		}
		if n != 1 {
			r.t.Errorf("%s was reported as %s %d times\n%s", in.Release.Name, r.end, n, r.server.story())
		}
	}
	r.server.mu.Lock()
	defer r.server.mu.Unlock()
	if len(r.server.illegal) > 0 {
		r.t.Errorf("transitions outside the table: %v", r.server.illegal)
	}
	last := int64(0)
	for _, m := range r.server.checkIns {
		if m.Sequence <= last {
			r.t.Errorf("check-in %d came after %d: the server would take this for a clone", m.Sequence, last)
		}
		last = m.Sequence
	}
}

// kill is where an agent is killed.
type kill struct {
	name, env string
	must      bool // the point has to be reached
}

// kills lists the points, each further record whole and torn, and moments inside the package manager. records is how
// many records the run surely writes.
func kills(points []journal.Point, records int, inside ...string) []kill {
	var out []kill
	for _, p := range points {
		out = append(out, kill{string(p), "ASSENT_CRASH_AT=" + string(p), true})
	}
	for n := 2; n <= records+3; n++ {
		out = append(out, kill{fmt.Sprintf("record %d", n), fmt.Sprintf("ASSENT_CRASH_AT=%s:%d", journal.RecordWritten, n), n <= records})
		out = append(out, kill{fmt.Sprintf("torn record %d", n), fmt.Sprintf("ASSENT_CRASH_AT=%s:%d", journal.RecordTorn, n), n <= records})
	}
	for _, at := range inside {
		out = append(out, kill{at, "ASSENT_SIM_CRASH_AT=" + at, true})
	}
	return out
}

func TestN46_KilledAtEachStepTheAgentConvergesAndInstallsExactlyOnce(t *testing.T) {
	bin := crashBinary(t)
	for _, k := range kills(journal.Points(), 6, "apply_starting", "apply_begun", "apply_half") {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			newInstallRun(t, bin).killedAt(k)
		})
	}
	for _, k := range kills([]journal.Point{journal.PlanStored, journal.Fetched, journal.Remembered, journal.FlightFiled, journal.Applied, journal.Landed}, 7, "apply_begun") {
		t.Run("T4 in a window/"+k.name, func(t *testing.T) {
			t.Parallel()
			newTermsRun(t, bin).killedAt(k)
		})
	}
	// A step back and a removal are two transactions: what each of them meets is met twice.
	both := []journal.Point{journal.FlightFiled, journal.Applied, journal.Verified, journal.Probed, journal.Landed}
	back := kills(append([]journal.Point{journal.PlanStored, journal.PlanFenced, journal.RecordTorn, journal.RecordWritten, journal.Fetched, journal.Remembered}, both...), 7, "apply_starting", "apply_begun")
	for _, p := range both {
		back = append(back, kill{string(p) + " of the removal", fmt.Sprintf("ASSENT_CRASH_AT=%s:2", p), true})
	}
	for _, k := range back {
		t.Run("C1 back/"+k.name, func(t *testing.T) {
			t.Parallel()
			newBackRun(t, bin).killedAt(k)
		})
	}
}

// killedAt kills the agent once and lets another one go on.
func (r *crashRun) killedAt(k kill) {
	r.t.Helper()
	if reached := r.die(k.env); !reached && k.must {
		r.t.Fatalf("the agent never came to %s: either the point is gone or this test does not lead there", k.name)
	}
	cmd, log := r.spawn()
	ok := r.settled(nil)
	if !ok {
		r.t.Errorf("never settled: %v\n%s", r.server.states, r.server.story())
	}
	cmd.Process.Kill()
	cmd.Wait()
	r.check()
	if !ok || r.t.Failed() {
		r.t.Logf("log of the second agent:\n%s", log)
	}
}

// TestN46_EachCrashPointIsListedAndUsedOnce keeps Points, and so the test above, complete.
func TestN46_EachCrashPointIsListedAndUsedOnce(t *testing.T) {
	listed := map[string]bool{}
	for _, p := range journal.Points() {
		listed[string(p)] = true
	}
	declared, used := map[string]string{}, map[string]int{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.ValueSpec:
				if id, ok := n.Type.(*ast.Ident); ok && id.Name == "Point" {
					declared[n.Names[0].Name] = strings.Trim(n.Values[0].(*ast.BasicLit).Value, `"`)
				}
			case *ast.CallExpr:
				name := ""
				switch fun := n.Fun.(type) {
				case *ast.Ident:
					name = fun.Name
				case *ast.SelectorExpr:
					name = fun.Sel.Name
				}
				if strings.HasPrefix(name, "CrashPoint") && len(n.Args) > 0 {
					switch arg := n.Args[0].(type) {
					case *ast.Ident:
						used[arg.Name]++
					case *ast.SelectorExpr:
						used[arg.Sel.Name]++
					}
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range declared {
		if !listed[value] {
			t.Errorf("crash point %s is not in Points", name)
		}
		if used[name] != 1 {
			t.Errorf("crash point %s stands in the code %d times; want once", name, used[name])
		}
	}
	if len(declared) != len(listed) || len(declared) == 0 {
		t.Errorf("%d points declared, %d listed", len(declared), len(listed))
	}
}
