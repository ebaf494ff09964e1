package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// Stream tells a child's two outputs apart.
type Stream int

// The streams.
const (
	Stdout Stream = iota + 1
	Stderr
)

// Call is one run of a program that may be ended at any time without harm.
type Call struct {
	Tool     Tool
	Args     []string
	Deadline time.Duration // required; afterwards the whole process group is ended
	// Line receives each line as it comes, without its end, from both streams, one call at a time; may be nil.
	Line func(Stream, string)
	// Limit is how many bytes of each stream Result keeps; zero means 4 MiB. What is beyond is dropped, and
	// Result says so.
	Limit int
	// Stdout receives standard output as it comes, all of it, instead of Result and Line; when it fails, the child is left
	// without a reader. May be nil.
	Stdout io.Writer
}

// Result is how a call ended.
type Result struct {
	Code      int // exit code; 128 and the signal's number if a signal ended it
	Stdout    []byte
	Stderr    []byte
	Truncated bool // output beyond the limit was dropped
}

// Run starts the program and waits for it. An exit code other than zero is not an error: the error says that
// it could not be started, was ended at its deadline (ErrTimeout) or because ctx was done (ctx's error). The
// result holds what was printed in any case.
func (r *Runner) Run(ctx context.Context, call Call) (Result, error) {
	path, err := r.path(call.Tool)
	if err == nil {
		err = checkArgs(call.Args)
	}
	if err == nil && call.Deadline <= 0 {
		err = ErrDeadline
	}
	if err != nil {
		return Result{}, fmt.Errorf("run %s: %w", call.Tool, err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, call.Deadline, ErrTimeout)
	defer cancel()
	out := newCapture(call)
	cmd := r.command(ctx, path, call.Args)
	cmd.Stdout, cmd.Stderr = out.writer(Stdout), out.writer(Stderr)
	if call.Stdout != nil {
		cmd.Stdout = call.Stdout
	}
	err = startWithUmask(cmd)
	if err == nil {
		yieldTo(ctx, cmd.Process.Pid)
		err = cmd.Wait()
		if ctx.Err() != nil {
			// Whoever of the group ignored SIGTERM goes now.
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		}
	}
	res := out.result()
	if cmd.ProcessState != nil {
		res.Code = exitCode(cmd.ProcessState.Sys())
	}
	if cause := context.Cause(ctx); cause != nil && err != nil {
		return res, fmt.Errorf("run %s: %w", call.Tool, cause)
	}
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) {
		return res, fmt.Errorf("run %s: %w", call.Tool, err)
	}
	return res, nil
}

// command prepares a child in a process group of its own that is ended as a group: SIGTERM when ctx is
// done, SIGKILL when the grace is over.
func (r *Runner) command(ctx context.Context, path string, args []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = environment()
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = r.grace // then the leader is killed, and we stop reading pipes that grandchildren keep open
	return cmd
}

// startWithUmask starts cmd with umask 022 whatever the agent's own is. The umask belongs to a process's
// file system state, so a thread of its own gets its own copy of that, starts the child, and ends.
func startWithUmask(cmd *exec.Cmd) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
		if err := syscall.Unshare(syscall.CLONE_FS); err != nil {
			done <- fmt.Errorf("separate the umask: %w", err)
			return
		}
		syscall.Umask(0o022)
		done <- cmd.Start()
	}()
	return <-done
}

// exitCode maps a wait status to a shell-like code.
func exitCode(sys any) int {
	ws, ok := sys.(syscall.WaitStatus)
	switch {
	case !ok:
		return -1
	case ws.Signaled():
		return 128 + int(ws.Signal())
	}
	return ws.ExitStatus()
}
