package selfupdate

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"syscall"
	"time"

	"assent/agent/internal/statedir"
)

// Launcher starts versions of the agent. Fields without a remark are required.
type Launcher struct {
	Book    *Book
	Version string   // of the installed program
	Args    []string // for each version, without the program's name
	// Own runs the installed program's own agent, in this process. ErrHandOver has another version started.
	Own func(context.Context) error
	// Again replaces this process by a new one of the installed program, so that nothing of Own is left in it; nil: Run goes on.
	Again func() error
	// Started is called whenever a version was started; nil for nothing.
	Started func()
	Log     *slog.Logger
	Timing  Timing
}

// Timing are the launcher's deadlines. Zero values mean the defaults.
type Timing struct {
	Probation time.Duration // within which a new version must have reached the server: 3 minutes
	Grace     time.Duration // after that, within which it must not crash too often: three times Probation
	Stop      time.Duration // between SIGTERM and SIGKILL: 20 seconds
	Pause     time.Duration // before the second start after a crash, doubled with each: a second
}

// Limits of crashes.
const (
	crashes  = 3 // on probation or in grace, and quick ones in a row at any time
	maxPause = time.Minute
)

func (t Timing) withDefaults() Timing {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&t.Probation, 3*time.Minute)
	def(&t.Grace, 3*t.Probation)
	def(&t.Stop, 20*time.Second)
	def(&t.Pause, time.Second)
	return t
}

// Run starts what should run until ctx ends. There is one launcher on a state directory: a second one gets
// statedir.ErrLocked.
func (l Launcher) Run(ctx context.Context) error {
	l.Timing = l.Timing.withDefaults()
	d, err := statedir.Open(l.Book.path)
	if err != nil {
		return err
	}
	defer d.Close()
	release, err := d.Lock()
	if err != nil {
		return err
	}
	defer release()
	for ctx.Err() == nil {
		p := l.choose()
		if p == nil {
			if err := l.own(ctx); err != nil || ctx.Err() != nil {
				return err
			}
			continue
		}
		if err := l.supervise(ctx, *p); err != nil {
			return err
		}
	}
	return nil
}

// own runs the installed program. Its end is the launcher's, unless it hands over.
func (l Launcher) own(ctx context.Context) error {
	err := l.Own(ctx)
	if !errors.Is(err, ErrHandOver) {
		if err == nil && ctx.Err() == nil {
			err = errors.New("the agent ended by itself")
		}
		return err
	}
	if l.Again != nil && ctx.Err() == nil {
		l.Log.Error("the launcher cannot start afresh and goes on as it is", "error", l.Again())
	}
	return nil
}

// choose finds the version to start; nil: the installed program. A version that is not newer than that is forgotten: it
// was upgraded by a package meanwhile.
func (l Launcher) choose() *Program {
	s, err := l.Book.read()
	if err != nil {
		l.Log.Error("the installed program runs", "error", err)
		return nil
	}
	for _, p := range []*Program{s.Next, s.Good} {
		if p == nil {
			continue
		}
		if !Newer(p.Version, l.Version) {
			l.Log.Info("a version is not newer than the installed program and not started", "version", p.Version, "installed", l.Version)
			l.note(func(s *state) { s.forget(*p) })
			continue
		}
		if err := p.verify(); err != nil {
			l.condemn(*p, fmt.Sprintf("version %s was not started: %v", p.Version, err))
			return l.choose()
		}
		return p
	}
	return nil
}

func (s *state) forget(p Program) {
	for _, at := range []**Program{&s.Next, &s.Good, &s.Past} {
		if *at != nil && (*at).SHA256 == p.SHA256 {
			*at = nil
		}
	}
}

// note changes what is remembered, and goes on if that cannot be written: the next start finds out again.
func (l Launcher) note(change func(*state)) bool {
	err := l.Book.update(func(s *state) error { change(s); return nil })
	if err != nil {
		l.Log.Error("the launcher cannot remember", "error", err)
	}
	return err == nil
}

func (l Launcher) condemn(p Program, why string) {
	l.Log.Error("going back to the version before", "bad", p.Version, "why", why)
	if !l.note(func(s *state) { s.condemn(p, why, time.Now()) }) {
		time.Sleep(l.Timing.Pause) // the same is chosen again: not in a hot loop
	}
}

// trial is one version while the launcher watches it.
type trial struct {
	Launcher
	p       Program
	next    bool   // on probation or in grace
	fails   int    // crashes that count
	how     string // the last of them
	expires <-chan time.Time
	proven  <-chan time.Time
}

// supervise runs one version until it hands over, is condemned or ctx ends.
func (l Launcher) supervise(ctx context.Context, p Program) error {
	s, err := l.Book.read()
	if err != nil {
		return err
	}
	t := &trial{Launcher: l, p: p, next: s.Next != nil && s.Next.SHA256 == p.SHA256}
	if t.next && !p.Reached {
		t.expires = time.After(l.Timing.Probation)
	} else if t.next {
		t.proven = time.After(l.Timing.Grace)
	}
	for pause := l.Timing.Pause; ctx.Err() == nil; pause = min(2*pause, maxPause) {
		if t.next && !t.begin() {
			return nil
		}
		started := time.Now()
		if t.run(ctx) {
			return nil
		}
		if !t.next && time.Since(started) > maxPause {
			t.fails, pause = 0, l.Timing.Pause
		}
		if t.fails >= crashes {
			t.condemn(t.p, fmt.Sprintf("version %s ended by itself %d times (%s)", p.Version, t.fails, t.how))
			return nil
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	return nil
}

// begin writes the start of a version on probation down before it happens: one that takes the machine with it cannot be
// started for ever.
func (t *trial) begin() bool {
	if t.p.Starts >= crashes && !t.p.Reached {
		t.condemn(t.p, fmt.Sprintf("version %s was started %d times and did not reach the server", t.p.Version, t.p.Starts))
		return false
	}
	t.p.Starts++
	t.note(func(s *state) { // on a full disk it starts all the same: no agent at all would be worse
		if s.Next != nil && s.Next.SHA256 == t.p.SHA256 {
			s.Next.Starts = t.p.Starts
		}
	})
	return true
}

// run runs one process of a version to its end. over says that the version is not to be started again now.
func (t *trial) run(ctx context.Context) (over bool) {
	c, err := t.start()
	if err != nil {
		t.Log.Error("a version of the agent cannot be started", "version", t.p.Version, "error", err)
		t.fails++
		t.how = err.Error()
		return false
	}
	defer c.release()
	t.Log.Info("started a version of the agent", "version", t.p.Version, "pid", c.proc.Pid, "probation", t.next)
	if t.Started != nil {
		t.Started()
	}
	for {
		select {
		case <-c.words:
			t.reached()
			c.words = nil
		case <-t.expires:
			c.stop(t.Timing.Stop)
			t.condemn(t.p, fmt.Sprintf("version %s did not reach the server within %s", t.p.Version, t.Timing.Probation))
			return true
		case <-t.proven:
			t.promote()
		case end := <-c.ended:
			select {
			case <-c.words:
				t.reached()
			default:
			}
			return t.judge(end)
		case <-ctx.Done():
			c.stop(t.Timing.Stop)
			return true
		}
	}
}

// reached notes that the version on probation had an answer from the server.
func (t *trial) reached() {
	if !t.next || t.p.Reached {
		return
	}
	t.Log.Info("the new version reached the server", "version", t.p.Version)
	t.p.Reached, t.expires, t.proven = true, nil, time.After(t.Timing.Grace)
	t.note(func(s *state) {
		if s.Next != nil && s.Next.SHA256 == t.p.SHA256 {
			s.Next.Reached = true
		}
	})
}

// promote ends probation and grace.
func (t *trial) promote() {
	t.Log.Info("the new version has proved itself", "version", t.p.Version)
	t.next, t.fails, t.proven = false, 0, nil
	t.note(func(s *state) { s.promote(t.p) })
}

// judge says what the end of a process means. Only a version that reached the server may hand over to another.
func (t *trial) judge(end ended) (over bool) {
	if end.state != nil && end.state.ExitCode() == HandOver && (!t.next || t.p.Reached) {
		if t.next {
			t.note(func(s *state) { // before the one that it offered, which is Next now
				if s.Good != nil {
					s.Past = s.Good
				}
				good := t.p
				s.Good = &good
			})
		}
		return true
	}
	t.fails++
	t.how = end.String()
	t.Log.Warn("a version of the agent ended", "version", t.p.Version, "how", t.how, "crashes", t.fails)
	return false
}

// child is a running process of a version.
type child struct {
	proc  *os.Process
	words <-chan struct{} // closed when it said that it reached the server
	ended <-chan ended
	files []*os.File
}

type ended struct {
	state *os.ProcessState
	err   error
}

func (e ended) String() string {
	if e.err != nil {
		return e.err.Error()
	}
	return e.state.String()
}

// start starts a process.
func (t *trial) start() (*child, error) {
	hears, word, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	life, holds, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, hears.Close(), word.Close())
	}
	proc, err := os.StartProcess(t.p.Path, append([]string{t.p.Path}, t.Args...), &os.ProcAttr{
		Env: environment(t.p, os.Environ()), Files: []*os.File{os.Stdin, os.Stdout, os.Stderr, word, life}})
	err = errors.Join(err, word.Close(), life.Close())
	if err != nil {
		return nil, errors.Join(err, hears.Close(), holds.Close())
	}
	words, over := make(chan struct{}), make(chan ended, 1)
	go func() {
		if line, err := bufio.NewReader(hears).ReadString('\n'); err == nil && line == reached {
			close(words)
		}
	}()
	go func() {
		state, err := proc.Wait()
		over <- ended{state, err}
	}()
	return &child{proc: proc, words: words, ended: over, files: []*os.File{hears, holds}}, nil
}

// stop ends the process and waits for it.
func (c *child) stop(grace time.Duration) {
	_ = c.proc.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-c.ended:
		return
	case <-time.After(grace):
	}
	_ = c.proc.Kill()
	<-c.ended
}

func (c *child) release() {
	for _, f := range c.files {
		_ = f.Close()
	}
}
