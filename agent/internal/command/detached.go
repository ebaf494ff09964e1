package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"time"
)

// Subcommand is the hidden first argument with which a detached run calls its own binary.
const Subcommand = "run-transaction"

// The files of a detached run's directory.
const (
	specFile    = "spec.json"    // written by Start; renamed by whoever takes it
	runningFile = "running.json" // the spec once the run has taken it
	droppedFile = "dropped.json" // the spec once Start gave up on it: it will never run
	startedFile = "started.json"
	exitFile    = "exit.json"
	outputFile  = "output.log" // both outputs of all steps
	statusFile  = "status.log" // what the steps wrote to StatusFd
)

// StatusFd is the number of the file descriptor that a step of a detached run may write its progress to.
const StatusFd = 3

// Step is one program of a detached run.
type Step struct {
	Tool Tool     `json:"tool"`
	Args []string `json:"args"`
}

// Spec is a detached run: its steps run one after the other, each whatever the one before ended with.
type Spec struct {
	Name  string `json:"name"` // becomes part of the unit's name under systemd: letters, digits, dashes
	Steps []Step `json:"steps"`
}

// Handle names a detached run across restarts of the agent.
type Handle struct {
	PID       int    `json:"pid"`
	StartTime uint64 `json:"start_time"` // clock ticks since boot: with PID, unique until the next boot
	BootID    string `json:"boot_id"`
	Dir       string `json:"dir"`
}

// Exit is how a detached run ended.
type Exit struct {
	Codes    []int     `json:"codes"` // one for each step, as in Result.Code; -1 where it could not be started
	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished"`
	// Lost is set where the run ended without a record of how: killed from outside, or the power went.
	Lost bool `json:"-"`
}

// ErrNotStarted says that a detached run did not begin and will not begin later either.
var ErrNotStarted = errors.New("the run did not start")

// startPatience is how long a detached run may take to begin.
const startPatience = 30 * time.Second

var nameSyntax = regexp.MustCompile(`^[A-Za-z0-9-]{1,64}$`)

// Start begins a detached run in dir, which must exist, be empty and be private to the agent. When it returns
// without error the run is under way, or over; when it returns an error the run will never begin. Cancelling
// ctx is heeded only until the run begins. Nothing ends a run that has begun: that is what it is for.
func (r *Runner) Start(ctx context.Context, dir string, spec Spec) (Handle, error) {
	if err := r.begin(ctx, dir, spec); err != nil {
		return Handle{}, fmt.Errorf("start %s: %w", spec.Name, err)
	}
	return awaitStart(ctx, dir, spec.Name)
}

// awaitStart looks for the record that the run makes first. When patience or ctx ends it takes the spec away
// from the run, which is too late if the run was faster: exactly one of the two renames succeeds.
func awaitStart(ctx context.Context, dir, name string) (Handle, error) {
	for deadline := time.Now().Add(startPatience); ; time.Sleep(5 * time.Millisecond) {
		if h, err := Find(dir); err == nil {
			return h, nil
		}
		late := time.Now().After(deadline)
		if !late && ctx.Err() == nil {
			continue
		}
		if Drop(dir) || late {
			return Handle{}, fmt.Errorf("start %s: %w", name, errors.Join(ErrNotStarted, ctx.Err()))
		}
		ctx = context.WithoutCancel(ctx)
	}
}

// begin checks and writes the spec and starts the process that will take it.
func (r *Runner) begin(ctx context.Context, dir string, spec Spec) error {
	if !nameSyntax.MatchString(spec.Name) || len(spec.Steps) == 0 {
		return fmt.Errorf("name %q, %d steps: %w", spec.Name, len(spec.Steps), ErrArgument)
	}
	for _, s := range spec.Steps {
		if _, err := r.path(s.Tool); err != nil {
			return err
		}
		if err := checkArgs(s.Args); err != nil {
			return err
		}
	}
	if fileExists(dir, specFile) || fileExists(dir, runningFile) || fileExists(dir, droppedFile) {
		return fmt.Errorf("%s already holds a run", dir)
	}
	body, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := writeDurably(dir, specFile, body); err != nil {
		return err
	}
	if err := r.spawn(ctx, dir, spec.Name); err != nil {
		_ = os.Rename(filepath.Join(dir, specFile), filepath.Join(dir, droppedFile))
		return errors.Join(ErrNotStarted, err)
	}
	return nil
}

// spawn starts the process that takes the spec: a transient unit of its own under systemd, so that stopping
// the agent's unit leaves it alone, else a session of its own.
func (r *Runner) spawn(ctx context.Context, dir, name string) error {
	if r.unit {
		args := []string{"--quiet", "--collect", "--no-block", "--unit=assent-transaction-" + name,
			"--description=Assent package transaction " + name,
			"--property=Type=exec", "--property=KillMode=mixed", "--property=SendSIGKILL=no",
			"--property=TimeoutStopSec=1800", "--property=OOMScoreAdjust=-900", "--property=UMask=0022"}
		if outlasts(ctx) {
			args = append(args, "--property=DefaultDependencies=no")
		}
		res, err := r.Run(ctx, Call{Tool: SystemdRun, Deadline: startPatience, Args: append(args, "--", r.self, Subcommand, dir)})
		if err != nil {
			return err
		}
		if res.Code != 0 {
			return fmt.Errorf("systemd-run: exit code %d: %.200s", res.Code, res.Stderr)
		}
		return nil
	}
	cmd := exec.Command(r.self, Subcommand, dir) //nolint:noctx // it must outlive this process and every context
	cmd.Env = environment()
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() { _ = cmd.Wait() }() // only so that no zombie stays; the exit is read from its file
	return nil
}

// outlasting marks a context.
type outlasting struct{}

// Outlasting lets detached runs that begin with a context begin while the device shuts down, when systemd else refuses to start
// anything. Whoever asks for it has to hold the shutdown up until they are over: nothing else does.
func Outlasting(ctx context.Context) context.Context {
	return context.WithValue(ctx, outlasting{}, true)
}

func outlasts(ctx context.Context) bool {
	on, _ := ctx.Value(outlasting{}).(bool)
	return on
}

// Find returns the handle of the run in dir, if it began.
func Find(dir string) (Handle, error) {
	var h Handle
	body, err := os.ReadFile(filepath.Join(dir, startedFile))
	if err == nil {
		err = json.Unmarshal(body, &h)
	}
	if err != nil {
		return Handle{}, fmt.Errorf("find run in %s: %w", dir, err)
	}
	h.Dir = dir
	return h, nil
}

// Drop makes sure that a run which has not begun never will, and reports whether that is now so. It is for
// directories found after a crash: false means that the run began, so Find it.
func Drop(dir string) bool {
	err := os.Rename(filepath.Join(dir, specFile), filepath.Join(dir, droppedFile))
	return err == nil || !fileExists(dir, runningFile)
}

// Alive reports whether the run is still under way.
func (h Handle) Alive() bool {
	if h.BootID != bootID() {
		return false
	}
	start, state, err := processStat(h.PID)
	return err == nil && start == h.StartTime && state != 'Z' && state != 'X'
}

// Exit reads how the run ended; call it when the run is no longer Alive.
func (h Handle) Exit() Exit {
	var e Exit
	body, err := os.ReadFile(filepath.Join(h.Dir, exitFile))
	if err != nil || json.Unmarshal(body, &e) != nil {
		return Exit{Lost: true}
	}
	return e
}

// writeDurably puts a file in place whole or not at all, and on disk when it returns.
func writeDurably(dir, name string, body []byte) error {
	tmp := filepath.Join(dir, "."+name+".new")
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	_, err = f.Write(body)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(tmp, filepath.Join(dir, name))
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}

func fileExists(dir, name string) bool {
	_, err := os.Stat(filepath.Join(dir, name))
	return !errors.Is(err, fs.ErrNotExist)
}
