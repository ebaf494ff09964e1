package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"assent/agent/internal/restart"
	"assent/catalog"
	"assent/installation"
	"assent/window"
	"assent/wire"
)

// simRestarter is a device with services and people, which goes down when it is told to.
type simRestarter struct {
	mu        sync.Mutex
	found     restart.Found
	people    []restart.Person
	enabled   []string
	missing   []string
	inhibited error
	answer    restart.Answer // of whoever is asked; 0: none
	slow      time.Duration  // systemd takes that long to say what runs
	sick      map[string]error

	restarts []time.Time
	told     []string
	asked    []string
	tried    []string
	looks    int
}

func (r *simRestarter) set(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

func (r *simRestarter) Look(context.Context) (restart.Found, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.looks++
	return r.found, nil
}

func (r *simRestarter) Enabled(context.Context) ([]string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	time.Sleep(r.slow)
	return r.enabled, nil
}

func (r *simRestarter) Missing(_ context.Context, units []string) ([]string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(r.missing), func(u string) bool { return !slices.Contains(units, u) }), nil
}

func (r *simRestarter) Restart(context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.inhibited != nil {
		return r.inhibited
	}
	r.restarts = append(r.restarts, time.Now())
	return nil
}

func (r *simRestarter) People(context.Context) ([]restart.Person, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.people, nil
}

func (r *simRestarter) Tell(_ context.Context, _ []restart.Person, text string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.told = append(r.told, text)
	return nil
}

func (r *simRestarter) Put(_ context.Context, people []restart.Person, text string, _ bool, _ time.Duration, answered func(restart.Person, restart.Answer)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, text)
	if r.answer != restart.NoAnswer {
		go answered(people[0], r.answer)
	}
	return nil
}

func (r *simRestarter) TryRestart(_ context.Context, unit string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tried = append(r.tried, unit)
	if err := r.sick[unit]; err != nil {
		return err
	}
	r.found.Reasons = slices.DeleteFunc(slices.Clone(r.found.Reasons), func(x wire.RestartReason) bool { return x.Name == unit })
	return nil
}

func (r *simRestarter) times() []time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.restarts)
}

// said are copies of what people were told and asked, and which services were tried.
func (r *simRestarter) said() (told, asked, tried []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.told), slices.Clone(r.asked), slices.Clone(r.tried)
}

// restartBench is a bench whose device can be restarted, with libc6 that asks for it and an application that fails.
func restartBench(t *testing.T, plan *wire.PlanRestart) (*bench, *simRestarter, wire.PlanInstall) {
	t.Helper()
	libc, bad := file("libc6", "2"), file("bad", "2")
	libc.Restart, bad.Fails = true, true
	b := newBench(t, []simFile{libc, bad}, "libc6", "bad")
	r := &simRestarter{enabled: []string{"cron.service", "ssh.service"}}
	b.opt.Restart = r
	p := installs(libc, bad)
	p.Restart = plan
	b.s.set(p)
	return b, r, libc.install()
}

// reboot is what the device does when it goes down and comes up: /run is empty.
func (b *bench) reboot(t *testing.T, boot string) {
	t.Helper()
	b.stop()
	b.opt.Device = simDevice{boot}
	b.m.change(func(w *simWorld) { w.Restart = nil })
	b.start(t)
}

// events lists the texts of a kind of event.
func (b *bench) events(kind string) []string {
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	var out []string
	for _, r := range b.s.reports {
		if r.Event == kind {
			out = append(out, r.Detail)
		}
	}
	return out
}

func schedule(t *testing.T, s window.Schedule) json.RawMessage {
	t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestT5_RestartIsMadeForWhatSucceededThoughAnotherPatchFailedAndIsProvenAfterTheBoot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, r, libc := restartBench(t, &wire.PlanRestart{When: wire.RestartIfRequired})
		b.start(t)
		b.pass(30 * time.Second)
		if n := len(r.times()); n != 1 || b.state(libc) != installation.RestartRequired {
			t.Fatalf("%d restarts, libc6 is %s\n%s", n, b.state(libc), b.s.story())
		}
		if st := b.a.journal.Restart().Step; st == nil || st.Boot != "boot-1" || !slices.Equal(st.Units, r.enabled) {
			t.Fatalf("the step that was noted before: %+v", st)
		}
		b.reboot(t, "boot-2")
		b.pass(time.Minute)
		if got := b.s.last(libc); got.State != installation.Installed || !strings.Contains(got.Detail, "2 services") {
			t.Errorf("%+v", got)
		}
		b.pass(12 * time.Hour)
		if n := len(r.times()); n != 1 {
			t.Errorf("%d restarts", n)
		}
		if len(b.events("restarting")) != 1 || len(b.events("restarted")) != 1 || len(b.s.illegal) > 0 {
			t.Errorf("events\n%s\nillegal %v", b.s.story(), b.s.illegal)
		}
	})
}

func TestI8_ADeviceRestartsInsideItsWindowOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from := time.Now().UTC() // 2000-01-01T00:00
		b, r, libc := restartBench(t, &wire.PlanRestart{When: wire.RestartAlways,
			Schedule: schedule(t, window.Schedule{Rule: "FREQ=DAILY", Start: "2000-01-01T02:00", Length: window.Duration(time.Hour)})})
		b.start(t)
		b.pass(2*time.Hour - time.Minute)
		if n := len(r.times()); n != 0 || b.state(libc) != installation.RestartRequired {
			t.Fatalf("%d restarts before the window, libc6 is %s", n, b.state(libc))
		}
		b.pass(3 * time.Minute)
		got := r.times()
		if len(got) != 1 || got[0].Sub(from) < 2*time.Hour || got[0].Sub(from) > 2*time.Hour+2*time.Minute {
			t.Fatalf("restarts at %v\n%s", got, b.s.story())
		}
	})
	for name, raw := range map[string]string{"rubbish": `"x"`, "a later field": `{"moon":1}`, "a rule that is none": `{"rule":"FREQ=NEVER"}`} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, r, _ := restartBench(t, &wire.PlanRestart{When: wire.RestartIfRequired, Schedule: json.RawMessage(raw)})
				b.start(t)
				b.pass(6 * time.Hour)
				s, err := readRestart(b.opt.Dir, "boot-1")
				if n := len(r.times()); n != 0 || err != nil || !strings.Contains(s.Text, "cannot be read") {
					t.Errorf("%d restarts, %+v, %v", n, s, err)
				}
			})
		})
	}
}

func TestI8_AWindowThatClosesMeanwhileKeepsTheDeviceUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, r, _ := restartBench(t, &wire.PlanRestart{When: wire.RestartIfRequired,
			Schedule: schedule(t, window.Schedule{Rule: "FREQ=DAILY", Start: "2000-01-01T02:00", Length: window.Duration(time.Hour)})})
		r.slow = time.Hour + time.Minute
		b.start(t)
		b.pass(12 * time.Hour)
		if n := len(r.times()); n != 0 || len(b.events("restart_not_done")) != 1 {
			t.Errorf("%d restarts\n%s", n, b.s.story())
		}
		if st := b.a.journal.Restart(); st.Step != nil || len(st.Begun) != 0 {
			t.Errorf("it is remembered as begun: %+v", st)
		}
	})
}

func TestT5_NothingOfThePlanIsLeftBehindByARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		libc, late := file("libc6", "2"), file("late", "2")
		b := newBench(t, []simFile{libc, late}, "libc6", "late")
		r := &simRestarter{}
		b.opt.Restart = r
		b.m.change(func(w *simWorld) { w.Restart = []string{"libc6"} }) // since before the plan came
		p := installs(libc, late)
		p.Restart = &wire.PlanRestart{When: wire.RestartIfRequired}
		b.s.set(p)
		b.start(t)
		b.pass(time.Minute)
		if n := len(r.times()); n != 1 || b.state(late.install()) != installation.Installed || b.state(libc.install()) != installation.Installed {
			t.Errorf("%d restarts, late is %s\n%s", n, b.state(late.install()), b.s.story())
		}
	})
	synctest.Test(t, func(t *testing.T) { // whose walls cannot be put up, so that it is not acted upon
		b, r, _ := restartBench(t, &wire.PlanRestart{When: wire.RestartIfRequired})
		b.m.change(func(w *simWorld) { w.Restart = []string{"libc6"} })
		b.m.fenceErr = errors.New("read-only file system")
		b.start(t)
		b.pass(10 * time.Minute)
		if n := len(r.times()); n != 0 {
			t.Fatalf("%d restarts by a plan that is not acted upon", n)
		}
		b.m.set(func() { b.m.fenceErr = nil })
		b.pass(10 * time.Minute)
		if n := len(r.times()); n != 1 {
			t.Errorf("%d restarts once it is", n)
		}
	})
}

func TestT5_WhileTheDeviceGoesDownNothingBeginsButWhatInstallsAtItsShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		libc, late := file("libc6", "2"), file("late", "2")
		libc.Restart = true
		b := newBench(t, []simFile{libc, late}, "libc6", "late")
		r := &simRestarter{}
		b.opt.Restart = r
		p := installs(libc)
		p.Restart = &wire.PlanRestart{When: wire.RestartIfRequired}
		b.s.set(p)
		b.start(t)
		b.pass(30 * time.Second)
		p.Install = append(p.Install, late.install())
		b.s.set(p)
		b.pass(time.Minute)
		if n := len(b.executed()); n != 1 || len(r.times()) != 1 {
			t.Fatalf("%d installs, %d restarts", n, len(r.times()))
		}
		b.a.mu.Lock()
		b.a.shutting = true // systemd has come to what installs at the shutdown
		b.a.mu.Unlock()
		signal(b.a.work)
		b.pass(time.Second)
		if n := len(b.executed()); n != 2 || b.a.shutsDown() {
			t.Errorf("%d installs; the shutdown is held up: %v", n, b.a.shutsDown())
		}
	})
}

func TestT5_WithoutAPolicyOrWithOneThatIsNotKnownNothingRestarts(t *testing.T) {
	for name, plan := range map[string]*wire.PlanRestart{"none": nil, "never": {When: wire.RestartNever}, "of a later server": {When: "if_moon_is_full"}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, r, libc := restartBench(t, plan)
				b.start(t)
				b.pass(12 * time.Hour)
				if n := len(r.times()); n != 0 || b.state(libc) != installation.RestartRequired {
					t.Errorf("%d restarts, libc6 is %s", n, b.state(libc))
				}
			})
		})
	}
}

func TestT5_ADeviceThatComesBackWrongSaysSoAndIsNotRestartedAgain(t *testing.T) {
	for name, c := range map[string]struct {
		break_ func(*simRestarter)
		says   string
		after  time.Duration
	}{
		"a service is missing": {func(r *simRestarter) { r.missing = []string{"ssh.service", "other.service"} }, "did not come back: ssh.service", backPatience + time.Minute},
		"the old kernel runs":  {func(r *simRestarter) {}, "came back with the kernel 6.1.0-1-amd64 and not with 6.1.0-2-amd64", time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, r, libc := restartBench(t, &wire.PlanRestart{When: wire.RestartIfRequired})
				if name == "the old kernel runs" {
					r.found.Kernels = restart.Kernels{Running: "6.1.0-1-amd64", Installed: []string{"6.1.0-1-amd64", "6.1.0-2-amd64"}}
					why, _ := r.found.Kernels.Stale()
					r.found.Reasons = []wire.RestartReason{why}
				}
				b.start(t)
				b.pass(30 * time.Second)
				r.set(func() { c.break_(r) })
				b.reboot(t, "boot-2")
				b.pass(c.after)
				if got := b.s.last(libc); got.State != installation.Failed || got.Cause != installation.RestartFailed || !strings.Contains(got.Detail, c.says) {
					t.Fatalf("%+v\n%s", got, b.s.story())
				}
				b.pass(12 * time.Hour)
				if n := len(r.times()); n != 1 || b.state(libc) != installation.Failed {
					t.Errorf("%d restarts, libc6 is %s", n, b.state(libc))
				}
				r.set(func() {
					r.missing, r.found = nil, restart.Found{Kernels: restart.Kernels{Running: "6.1.0-2-amd64", Installed: []string{"6.1.0-2-amd64"}}}
				})
				b.pass(2 * time.Hour)
				if got := b.s.last(libc); got.State != installation.Installed {
					t.Errorf("when all was well again: %+v", got)
				}
				if len(b.events("restart_failed")) != 1 || len(b.s.illegal) > 0 {
					t.Errorf("events\n%s\nillegal %v", b.s.story(), b.s.illegal)
				}
			})
		})
	}
}

func TestT5_ALoopOfRestartsEndsWithAnEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, r, _ := restartBench(t, &wire.PlanRestart{When: wire.RestartIfRequired})
		b.start(t)
		for n := range 6 { // each boot asks for a restart for another reason
			b.pass(5 * time.Minute)
			b.reboot(t, fmt.Sprintf("boot-%d", n+2))
			b.m.change(func(w *simWorld) { w.Restart = []string{fmt.Sprintf("reason-%d", n)} })
		}
		b.pass(time.Hour)
		if n := len(r.times()); n != restart.MaxRestarts {
			t.Errorf("%d restarts, want %d", n, restart.MaxRestarts)
		}
		if n := len(b.events("restart_loop")); n != 1 {
			t.Errorf("%d events of a loop\n%s", n, b.s.story())
		}
	})
}

func TestT5_AnAgentThatIsKilledBeforeTheRestartCountsItAndTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, r, libc := restartBench(t, &wire.PlanRestart{When: wire.RestartIfRequired})
		b.start(t)
		b.pass(30 * time.Second)
		b.stop()
		b.start(t) // in the same boot: the device never went down
		b.pass(30 * time.Second)
		if n := len(r.times()); n != 2 || len(b.events("restart_not_done")) != 1 {
			t.Errorf("%d restarts\n%s", n, b.s.story())
		}
		b.pass(4 * time.Hour) // and it never does
		if n := len(r.times()); n != restart.MaxRestarts || b.state(libc) != installation.RestartRequired {
			t.Errorf("%d restarts, libc6 is %s", n, b.state(libc))
		}
	})
}

func TestN59_WhatInhibitsARestartIsHeededAndSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, r, _ := restartBench(t, &wire.PlanRestart{When: wire.RestartIfRequired})
		r.inhibited = fmt.Errorf("%w: a backup runs", restart.ErrInhibited)
		b.start(t)
		b.pass(time.Hour)
		if n := len(b.events("restart_not_done")); n < 5 || n > 13 {
			t.Errorf("%d attempts in an hour", n)
		}
		r.set(func() { r.inhibited = nil })
		b.pass(6 * time.Minute)
		if n := len(r.times()); n != 1 {
			t.Errorf("%d restarts, what was held up counts as none\n%s", n, b.s.story())
		}
	})
}

func TestN59_APackageManagerThatWorksIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, r, _ := restartBench(t, &wire.PlanRestart{When: wire.RestartIfRequired})
		b.m.duringApply = func() { b.m.set(func() { b.m.holder = "unattended-upgr (pid 7)" }) }
		b.start(t)
		b.pass(time.Hour)
		if n := len(r.times()); n != 0 {
			t.Fatalf("%d restarts while another package manager works", n)
		}
		b.m.set(func() { b.m.holder = "" })
		b.pass(3 * time.Minute)
		if n := len(r.times()); n != 1 {
			t.Errorf("%d restarts after it", n)
		}
	})
}

func TestT5_WithoutTheServerThePlanIsFollowedUntilItExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, r, _ := restartBench(t, &wire.PlanRestart{When: wire.RestartIfRequired, Schedule: schedule(t, window.Schedule{Rule: "FREQ=DAILY", Start: "2000-01-01T06:00", Length: window.Duration(time.Hour)})})
		b.start(t)
		b.pass(time.Minute)
		b.s.with(func() { b.s.fail = errors.New("gone") })
		b.pass(6*time.Hour + time.Minute)
		if n := len(r.times()); n != 1 {
			t.Errorf("%d restarts (V5)", n)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		b, r, _ := restartBench(t, &wire.PlanRestart{When: wire.RestartIfRequired, Schedule: schedule(t, window.Schedule{Rule: "FREQ=DAILY", Start: "2000-01-03T06:00", Length: window.Duration(time.Hour)})})
		b.start(t)
		b.pass(time.Minute)
		b.s.with(func() { b.s.fail = errors.New("gone") })
		b.pass(3 * 24 * time.Hour)
		s, err := readRestart(b.opt.Dir, "boot-1")
		if n := len(r.times()); n != 0 || err != nil || s.Code != restart.CodeHeld {
			t.Errorf("%d restarts by a plan that had expired; %+v, %v", n, s, err)
		}
	})
}

func TestV3_EachProbeOfATaskHasToPassBesideThePublishers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := file("app", "2")
		b := newBench(t, []simFile{app}, "app")
		var mu sync.Mutex
		sick := 443
		b.opt.Probe = func(_ context.Context, _ catalog.Release, _ catalog.Format, p catalog.Probe) error {
			mu.Lock()
			defer mu.Unlock()
			if p.Port == sick {
				return fmt.Errorf("nothing answers on port %d", p.Port)
			}
			return nil
		}
		in := app.install()
		in.Probe = &catalog.Probe{Type: catalog.ProbeTCP, Port: 80}
		b.s.set(on(wire.Plan{Install: []wire.PlanInstall{in}}, wire.PlanTerms{Probes: []catalog.Probe{{Type: catalog.ProbeTCP, Port: 22}, {Type: catalog.ProbeTCP, Port: 443}}}))
		b.start(t)
		b.pass(time.Minute)
		if got := b.s.last(in); got.Cause != installation.ProbeFailed || !strings.Contains(got.Detail, "port 443") {
			t.Fatalf("%+v", got)
		}
		mu.Lock()
		sick = 0
		mu.Unlock()
		b.pass(11 * time.Minute)
		if got := b.s.last(in); got.State != installation.Installed || got.Proof.Probe != passed {
			t.Errorf("%+v", got)
		}
	})
}
