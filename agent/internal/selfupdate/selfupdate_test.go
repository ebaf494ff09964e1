package selfupdate_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"assent/agent/internal/selfupdate"
	"assent/agent/internal/statedir"
)

// Parts of versions, which are scripts. They append what happens to the file named by LOG.
const (
	reach = "echo 'reached the server' >&3\n"
	serve = "trap 'echo term >>$LOG; exit 0' TERM\nwhile :; do sleep 0.02; done\n"
)

// machine is a device with a launcher whose installed program only waits.
type machine struct {
	t    *testing.T
	book *selfupdate.Book
	dir  string
	log  string
	l    selfupdate.Launcher
	mu   sync.Mutex
	owns int // starts of the installed program
	// hand makes the next run of the installed program hand over, after its action.
	hand func()
}

func newMachine(t *testing.T) *machine {
	dir := t.TempDir()
	m := &machine{t: t, dir: dir, book: selfupdate.Open(dir + "/state"), log: dir + "/log"}
	t.Setenv("LOG", m.log)
	m.l = selfupdate.Launcher{Book: m.book, Version: "1.0", Args: []string{"run"}, Own: m.own, Log: slog.New(slog.DiscardHandler),
		Timing: selfupdate.Timing{Probation: 300 * time.Millisecond, Grace: 300 * time.Millisecond, Stop: 200 * time.Millisecond, Pause: 10 * time.Millisecond}}
	return m
}

func (m *machine) own(ctx context.Context) error {
	m.mu.Lock()
	m.owns++
	hand := m.hand
	m.hand = nil
	m.mu.Unlock()
	m.say("own")
	if hand != nil {
		hand()
		return selfupdate.ErrHandOver
	}
	<-ctx.Done()
	return nil
}

func (m *machine) say(line string) {
	f, err := os.OpenFile(m.log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = fmt.Fprintln(f, line)
	}
	if err != nil {
		m.t.Error(err)
		return
	}
	f.Close()
}

// version makes a version of the agent. Its script begins by saying its name.
func (m *machine) version(version, script string) selfupdate.Program {
	m.t.Helper()
	dir := filepath.Join(m.dir, "versions", version)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		m.t.Fatal(err)
	}
	return m.file(version, filepath.Join(dir, "assent-agent"), "#!/bin/sh\necho start "+version+" $ASSENT_AGENT_PROBATION >>$LOG\n"+script)
}

func (m *machine) file(version, path, content string) selfupdate.Program {
	m.t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
		m.t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(content))
	return selfupdate.Program{Version: version, Path: path, SHA256: hex.EncodeToString(sum[:]), Payload: "payload of " + version}
}

func (m *machine) offer(p selfupdate.Program) {
	m.t.Helper()
	if err := m.book.Offer(p); err != nil {
		m.t.Fatal(err)
	}
}

// launch runs the launcher; what it returns stops it.
func (m *machine) launch() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.l.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				m.t.Errorf("launcher: %v", err)
			}
		})
	}
	m.t.Cleanup(stop)
	return stop
}

// lines are what happened.
func (m *machine) lines() []string {
	b, err := os.ReadFile(m.log)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		m.t.Fatal(err)
	}
	var out []string
	for line := range strings.Lines(string(b)) {
		out = append(out, strings.TrimSpace(line))
	}
	return out
}

func (m *machine) count(line string) (n int) {
	for _, l := range m.lines() {
		if l == line {
			n++
		}
	}
	return n
}

// until waits for something that the launcher brings about by itself.
func (m *machine) until(what string, ok func() bool) {
	m.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			m.t.Fatalf("waited for %s; what happened: %q, %s", what, m.lines(), m.state())
		}
	}
}

func (m *machine) state() string {
	b, err := os.ReadFile(m.dir + "/state/self/state.json")
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func (m *machine) good() string {
	var s struct{ Good *selfupdate.Program }
	if json.Unmarshal([]byte(m.state()), &s) != nil || s.Good == nil {
		return ""
	}
	return s.Good.Version
}

func (m *machine) bad(p selfupdate.Program) string {
	m.t.Helper()
	bad, err := m.book.Bad(p.Payload)
	if err != nil {
		m.t.Fatal(err)
	}
	if bad == nil {
		return ""
	}
	return bad.Why
}

// wentBack demands that a version was condemned for a reason, that the one before runs and that it is never tried again.
func (m *machine) wentBack(p selfupdate.Program, why string) {
	m.t.Helper()
	m.until("the installed program", func() bool { return m.count("own") > 0 })
	if got := m.bad(p); !strings.Contains(got, why) {
		m.t.Errorf("it was taken back because %q, want %q", got, why)
	}
	if err := m.book.Offer(p); err == nil {
		m.t.Error("the same build is taken again")
	}
}

func TestN36_AVersionThatReachesTheServerStaysAndIsStartedAgainAfterARestart(t *testing.T) {
	m := newMachine(t)
	m.hand = func() { m.offer(m.version("2.0", reach+serve)) }
	stop := m.launch()
	m.until("version 2.0 to prove itself", func() bool { return m.good() == "2.0" })
	stop()
	if got := strings.Join(m.lines(), ", "); got != "own, start 2.0 1, term" {
		t.Errorf("what happened: %s", got)
	}
	m.launch()
	m.until("version 2.0 again, not on probation", func() bool { return m.count("start 2.0") == 1 })
	if m.owns != 1 {
		t.Errorf("the installed program ran %d times", m.owns)
	}
}

func TestN36_WhatDoesNotProveItselfIsTakenBackAndNotTriedAgain(t *testing.T) {
	for _, c := range []struct {
		name, script, why string
		starts            int
	}{
		{"never reaches the server", serve, "did not reach the server within", 1},
		{"hangs and ignores the request to end", "trap '' TERM\nwhile :; do sleep 0.02; done\n", "did not reach the server within", 1},
		{"exits at once", "exit 3\n", "ended by itself 3 times (exit status 3)", 3},
		{"exits at once without an error", "exit 0\n", "ended by itself 3 times", 3},
		{"dies of a signal", "kill -SEGV $$\n", "segmentation fault", 3},
		{"crashes after it reached the server", reach + "exit 1\n", "ended by itself 3 times", 3},
		{"wants to hand over before it reached the server", "exit 86\n", "ended by itself 3 times", 3},
		{"says something else", "echo hello >&3\n" + serve, "did not reach the server within", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMachine(t)
			p := m.version("2.0", c.script)
			m.offer(p)
			m.launch()
			m.wentBack(p, c.why)
			n := 0
			for _, l := range m.lines() {
				if strings.HasPrefix(l, "start 2.0") {
					n++
				}
			}
			if n != c.starts {
				t.Errorf("it was started %d times, want %d: %q", n, c.starts, m.lines())
			}
		})
	}
}

func TestN36_AFileThatIsNotTheOneThatWasOfferedIsNotStarted(t *testing.T) {
	for _, c := range []struct {
		name, why string
		damage    func(m *machine, p *selfupdate.Program) error
	}{
		{"truncated", "is not the file that was installed", func(_ *machine, p *selfupdate.Program) error { return os.Truncate(p.Path, 20) }},
		{"gone", "no such file", func(_ *machine, p *selfupdate.Program) error { return os.Remove(p.Path) }},
		{"of another user", "belongs to another user", func(_ *machine, p *selfupdate.Program) error { return os.Chown(p.Path, 1234, -1) }},
		{"that others can write", "can be changed by others", func(_ *machine, p *selfupdate.Program) error { return os.Chmod(p.Path, 0o777) }},
		{"in a directory that others can write", "can be changed by others", func(_ *machine, p *selfupdate.Program) error {
			return os.Chmod(filepath.Dir(p.Path), 0o777)
		}},
		{"behind a link", "is no program", func(m *machine, p *selfupdate.Program) error {
			to := p.Path
			p.Path += ".link"
			return os.Symlink(to, p.Path)
		}},
		{"in a linked directory", "is not a directory", func(m *machine, p *selfupdate.Program) error {
			to := filepath.Dir(p.Path)
			p.Path = m.dir + "/link/assent-agent"
			return os.Symlink(to, m.dir+"/link")
		}},
		{"with a relative path", "no absolute path", func(_ *machine, p *selfupdate.Program) error { p.Path = "assent-agent"; return nil }},
		{"not executable", "is no program", func(_ *machine, p *selfupdate.Program) error { return os.Chmod(p.Path, 0o644) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMachine(t)
			p := m.version("2.0", reach+serve)
			if err := c.damage(m, &p); err != nil {
				t.Fatal(err)
			}
			m.offer(p)
			m.launch()
			m.wentBack(p, c.why)
			if n := m.count("start 2.0 1"); n != 0 {
				t.Errorf("it was started %d times", n)
			}
		})
	}
}

func TestN36_ABinaryForAnotherMachineIsTakenBack(t *testing.T) {
	m := newMachine(t)
	p := m.file("2.0", m.dir+"/foreign", "\x7fELF\x02\x01\x01"+strings.Repeat("\x00", 9)+"\x02\x00\xb7\x00"+strings.Repeat("\x00", 44)) // for arm64, without a program
	m.offer(p)
	m.launch()
	m.wentBack(p, "exec format error")
}

func TestN36_NothingOlderThanTheInstalledProgramIsStarted(t *testing.T) {
	for _, version := range []string{"0.9", "1.0", "not a version"} {
		m := newMachine(t)
		p := m.version(version, reach+serve)
		m.offer(p)
		stop := m.launch()
		m.until("the installed program", func() bool { return m.count("own") == 1 })
		stop()
		if got := strings.Join(m.lines(), ", "); got != "own" {
			t.Errorf("%s: what happened: %s", version, got)
		}
		if why := m.bad(p); why != "" {
			t.Errorf("%s is no newer version, and not a bad one: %s", version, why)
		}
	}
}

func TestN36_ABadVersionGivesWayToTheGoodOneBeforeIt(t *testing.T) {
	m := newMachine(t)
	bad := m.version("3.0", "exit 1\n")
	// 2.0 proves itself, offers 3.0 and hands over; it is what runs again afterwards.
	m.offer(m.version("2.0", reach+"[ -e $LOG.offered ] || { while [ ! -e $LOG.offered ]; do sleep 0.02; done; exit 86; }\n"+serve))
	m.launch()
	m.until("version 2.0 to prove itself", func() bool { return m.good() == "2.0" })
	m.offer(bad)
	if err := os.WriteFile(m.log+".offered", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	m.until("version 2.0 again", func() bool { return m.count("start 2.0") == 1 && m.bad(bad) != "" })
	if m.owns != 0 {
		t.Errorf("the installed program ran %d times", m.owns)
	}
}

func TestN36_AVersionThatTakesTheLauncherWithItIsStartedAtMostThreeTimes(t *testing.T) {
	m := newMachine(t)
	m.l.Timing.Probation = time.Hour
	p := m.version("2.0", serve)
	m.offer(p)
	for i := range 3 { // each time the power goes
		stop := m.launch()
		m.until("a start", func() bool { return m.count("start 2.0 1") == i+1 })
		stop()
	}
	m.launch()
	m.wentBack(p, "was started 3 times")
}

func TestAGoodVersionThatCrashesAgainAndAgainGivesWayToo(t *testing.T) {
	m := newMachine(t)
	p := m.version("2.0", reach+"while [ ! -e $LOG.crash ]; do sleep 0.02; done\nexit 1\n")
	m.offer(p)
	m.launch()
	m.until("version 2.0 to prove itself", func() bool { return m.good() == "2.0" })
	if err := os.WriteFile(m.log+".crash", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	m.wentBack(p, "ended by itself 3 times")
}

func TestASecondLauncherIsRefusedAndDisturbsNothing(t *testing.T) {
	m := newMachine(t)
	p := m.version("2.0", reach+serve)
	m.offer(p)
	m.launch()
	m.until("version 2.0 to prove itself", func() bool { return m.good() == "2.0" })
	if err := m.l.Run(t.Context()); !errors.Is(err, statedir.ErrLocked) {
		t.Errorf("a second launcher: %v", err)
	}
	if m.bad(p) != "" || m.count("start 2.0 1") != 1 {
		t.Errorf("the first one's version was disturbed: %q", m.lines())
	}
}

func TestTheLaunchersMemoryIsReadWithWhatLaterVersionsAddAndWithoutWhatIsTorn(t *testing.T) {
	m := newMachine(t)
	p := m.version("2.0", reach+serve)
	m.offer(p)
	later := strings.Replace(m.state(), `{"next":{`, `{"format":9,"colour":"red","next":{"nice":-5,`, 1)
	if err := os.WriteFile(m.dir+"/state/self/state.json", []byte(later), 0o600); err != nil {
		t.Fatal(err)
	}
	stop := m.launch()
	m.until("version 2.0 to prove itself", func() bool { return m.good() == "2.0" })
	stop()
	if err := os.WriteFile(m.dir+"/state/self/state.json", []byte(later[:30]), 0o600); err != nil {
		t.Fatal(err)
	}
	m.launch()
	m.until("the installed program", func() bool { return m.count("own") == 1 })
	m.offer(p) // and it can be written again
}

func TestAVersionEndsWithItsLauncherAndTellsItOnce(t *testing.T) {
	if os.Getenv("ACT") == "child" {
		c := selfupdate.Attach()
		if c == nil || selfupdate.Attach() != nil {
			t.Fatal("no launcher, or one for the children too")
		}
		ctx, cancel := c.Context(context.Background())
		defer cancel()
		c.Reached()
		c.Reached()
		c.Await(ctx)
		<-ctx.Done()
		return
	}
	hears, word, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	life, holds, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	proc, err := os.StartProcess("/proc/self/exe", []string{"test", "-test.run=^" + t.Name() + "$"}, &os.ProcAttr{
		Env: append(os.Environ(), "ACT=child", "ASSENT_AGENT_PAYLOAD=abc", "ASSENT_AGENT_PROBATION=1"), Files: []*os.File{nil, os.Stdout, os.Stderr, word, life}})
	if err != nil {
		t.Fatal(err)
	}
	word.Close()
	life.Close()
	b := make([]byte, 100)
	n, err := hears.Read(b)
	if err != nil || string(b[:n]) != "reached the server\n" {
		t.Errorf("it said %q, %v", b[:n], err)
	}
	holds.Close() // the launcher is gone
	if state, err := proc.Wait(); err != nil || !state.Success() {
		t.Errorf("it ended with %v, %v", state, err)
	}
}
