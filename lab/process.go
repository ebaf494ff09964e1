package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// stopGrace is how long a process has after SIGTERM before SIGKILL.
const stopGrace = 10 * time.Second

// Command prepares a command inside the device, as root with a clean environment. When ctx ends, the command is
// killed, though not what it started. Starting it fails with ErrOff if the device is off at the time of this call.
func (d *Device) Command(ctx context.Context, argv ...string) *exec.Cmd {
	r, err := d.running()
	if err == nil && len(argv) == 0 {
		err = fmt.Errorf("device %s: no command", d.name)
	}
	args := []string{"--target", strconv.Itoa(r.System.PID), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--"}
	cmd := exec.CommandContext(ctx, "nsenter", append(args, argv...)...)
	cmd.Env = cleanEnv()
	cmd.WaitDelay = 5 * time.Second // what the command left running may hold its output open
	cmd.Cancel = func() error {
		for _, pid := range children(cmd.Process.Pid) {
			_ = unix.Kill(pid, unix.SIGKILL) // it may have ended by itself
		}
		return cmd.Process.Kill()
	}
	if err != nil {
		cmd.Err = err
	}
	return cmd
}

// children are the direct children of a process's main thread, such as nsenter has one.
func children(pid int) []int {
	p := strconv.Itoa(pid)
	text, err := os.ReadFile("/proc/" + p + "/task/" + p + "/children")
	if err != nil {
		return nil // the process has ended
	}
	var out []int
	for field := range strings.FieldsSeq(string(text)) {
		if child, err := strconv.Atoi(field); err == nil {
			out = append(out, child)
		}
	}
	return out
}

// Run runs a command in the device and waits for it. An exit code other than zero is no error; err means that the
// command could not be run or was killed (the code is then -1).
func (d *Device) Run(ctx context.Context, argv ...string) (stdout, stderr string, code int, err error) {
	cmd := d.Command(ctx, argv...)
	var out, errOut strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err = cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.Exited() && ctx.Err() == nil {
		return out.String(), errOut.String(), exit.ExitCode(), nil
	}
	if errors.Is(err, exec.ErrWaitDelay) { // the command itself ended well
		err = nil
	}
	if err != nil {
		return out.String(), errOut.String(), -1, fmt.Errorf("run %v in device %s: %w", argv, d.name, err)
	}
	return out.String(), errOut.String(), 0, nil
}

// Output is Run for commands that must succeed.
func (d *Device) Output(ctx context.Context, argv ...string) (string, error) {
	stdout, stderr, code, err := d.Run(ctx, argv...)
	if err == nil && code != 0 {
		err = fmt.Errorf("run %v in device %s: exit code %d: %s", argv, d.name, code,
			strings.TrimSpace(tail(stdout+stderr, 2000)))
	}
	return stdout, err
}

// ProcessSpec is a long-running program of a device, such as the agent.
type ProcessSpec struct {
	Name string // lower-case letters, digits and dashes
	Argv []string
	Env  []string `json:",omitempty"` // on top of the clean environment
	// AtBoot makes it a service: it starts again at every boot.
	AtBoot bool `json:",omitempty"`
}

// Process is a long-running program of a device. It stays valid across restarts and boots.
type Process struct {
	device *Device
	name   string
}

// process is one run of a program. Only the owner of the lab has them.
type process struct {
	spec ProcessSpec
	cmd  *exec.Cmd // nsenter, the parent of the program
	pid  int       // the program itself, in the host's numbering
	done chan struct{}
}

// Start starts a long-running program in the device; see StartProcess.
func (d *Device) Start(ctx context.Context, name string, argv ...string) (*Process, error) {
	return d.StartProcess(ctx, ProcessSpec{Name: name, Argv: argv})
}

// StartProcess starts a long-running program in the device. Its output is appended to LogFile. It ends with the
// device, whoever started it, and not with ctx.
func (d *Device) StartProcess(ctx context.Context, spec ProcessSpec) (*Process, error) {
	if err := d.act(ctx, "start "+spec.Name+" in", request{Op: opStart, Process: &spec}); err != nil {
		return nil, err
	}
	return d.Process(spec.Name), nil
}

// Process gives a handle for a program that was started under name.
func (d *Device) Process(name string) *Process { return &Process{d, name} }

// LogFile is the host's path of the program's output.
func (p *Process) LogFile() string { return filepath.Join(p.device.dir, "log", p.name+".log") }

// Log is the program's output so far, over all its runs.
func (p *Process) Log() (string, error) {
	text, err := os.ReadFile(p.LogFile())
	return string(text), err
}

// PID is the program's process id in the host's numbering, or an error if it does not run.
func (p *Process) PID() (int, error) {
	var id initID
	if err := readJSON(p.pidFile(), &id); err != nil || !id.alive() {
		return 0, fmt.Errorf("device %s: %s is not running", p.device.name, p.name)
	}
	return id.PID, nil
}

func (p *Process) pidFile() string { return filepath.Join(p.device.dir, "log", p.name+".pid") }

// Signal sends a signal to the program.
func (p *Process) Signal(sig syscall.Signal) error {
	pid, err := p.PID()
	if err != nil {
		return err
	}
	if err := unix.Kill(pid, sig); err != nil {
		return fmt.Errorf("signal %s in device %s: %w", p.name, p.device.name, err)
	}
	return nil
}

// Stop asks the program to end with SIGTERM, kills it after ten seconds or when ctx ends, and waits until it is gone.
// It is no service any more. Stopping what does not run is no error.
func (p *Process) Stop(ctx context.Context) error {
	return p.device.act(ctx, "stop "+p.name+" in", request{Op: opStop, Arg: p.name})
}

// Kill ends the program with SIGKILL and waits until it is gone. A service starts again at the next boot.
func (p *Process) Kill(ctx context.Context) error {
	if err := p.Signal(unix.SIGKILL); err != nil {
		return err
	}
	return p.Wait(ctx)
}

// Wait waits until the program is not running.
func (p *Process) Wait(ctx context.Context) error {
	return p.device.act(ctx, "wait for "+p.name+" in", request{Op: opWait, Arg: p.name})
}

// Restart stops the program if it runs and starts it as before.
func (p *Process) Restart(ctx context.Context) error {
	return p.device.act(ctx, "restart "+p.name+" in", request{Op: opRestart, Arg: p.name})
}

func (d *Device) startProcess(spec ProcessSpec) error {
	if !deviceName.MatchString(spec.Name) || spec.Name == "console" {
		return fmt.Errorf("process name %q is not valid", spec.Name)
	}
	if old := d.proc(spec.Name); old != nil && !old.ended() {
		return errors.New("it is running")
	}
	p, err := d.spawn(spec)
	if err != nil {
		return err
	}
	d.mu.Lock()
	d.procs[spec.Name] = p
	d.mu.Unlock()
	return d.setService(spec.Name, spec)
}

// setService records whether spec, called name, starts at boot.
func (d *Device) setService(name string, spec ProcessSpec) error {
	return d.update(func(r *deviceRecord) {
		var kept []ProcessSpec
		for _, s := range r.Services {
			if s.Name != name {
				kept = append(kept, s)
			}
		}
		if spec.AtBoot {
			kept = append(kept, spec)
		}
		r.Services = kept
	})
}

func (d *Device) spawn(spec ProcessSpec) (*process, error) {
	handle := d.Process(spec.Name)
	log, err := os.OpenFile(handle.LogFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	defer log.Close()
	cmd := d.Command(d.lab.life, spec.Argv...)
	cmd.Env = append(cmd.Env, spec.Env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // a terminal's ^C is not for the device
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{spec: spec, cmd: cmd, done: make(chan struct{})}
	d.lab.ending.Go(func() {
		_ = cmd.Wait() // how a program ends is its own affair; its log tells
		close(p.done)
	})
	if p.pid, err = p.program(); err != nil {
		return nil, err
	}
	if id, err := identify(p.pid); err == nil { // else it has ended already, which PID will say
		if err := writeJSON(handle.pidFile(), id); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// program waits until nsenter has forked the program and gives its pid.
func (p *process) program() (int, error) {
	for {
		if pids := children(p.cmd.Process.Pid); len(pids) > 0 {
			return pids[0], nil
		}
		select {
		case <-p.done:
			return 0, fmt.Errorf("it ended at once: %v", p.cmd.ProcessState)
		case <-time.After(time.Millisecond):
		}
	}
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func (d *Device) proc(name string) *process {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.procs[name]
}

func (d *Device) stopProcess(ctx context.Context, name string) error {
	if p := d.proc(name); p != nil {
		p.stop(ctx)
	}
	return d.setService(name, ProcessSpec{})
}

func (p *process) stop(ctx context.Context) {
	if p.ended() {
		return
	}
	_ = unix.Kill(p.pid, unix.SIGTERM) // it may be ending by itself
	select {
	case <-p.done:
		return
	case <-ctx.Done():
	case <-time.After(stopGrace):
	}
	_ = unix.Kill(p.pid, unix.SIGKILL)
	<-p.done
}

func (d *Device) waitProcess(ctx context.Context, name string) error {
	p := d.proc(name)
	if p == nil {
		return nil
	}
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (d *Device) restartProcess(ctx context.Context, name string) error {
	p := d.proc(name)
	if p == nil {
		return errors.New("it was never started")
	}
	p.stop(ctx)
	return d.startProcess(p.spec)
}

// stopProcesses ends all programs in order, as a shutdown does.
func (d *Device) stopProcesses(ctx context.Context) {
	d.mu.Lock()
	var all []*process
	for _, p := range d.procs {
		all = append(all, p)
	}
	d.mu.Unlock()
	for _, p := range all {
		p.stop(ctx)
	}
}

// startServices starts what is to run after every boot.
func (d *Device) startServices() error {
	r, err := d.record()
	if err != nil {
		return err
	}
	var errs []error
	for _, s := range r.Services {
		if p := d.proc(s.Name); p != nil {
			<-p.done // its device is gone, so it is ending
		}
		if err := d.startProcess(s); err != nil {
			errs = append(errs, fmt.Errorf("service %s: %w", s.Name, err))
		}
	}
	return errors.Join(errs...)
}
