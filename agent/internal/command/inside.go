package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// maxDetachedOutput is how large the output of a detached run may grow on disk before its older part goes.
const maxDetachedOutput = 16 << 20

// RunDetached is the inside of a detached run: the process that Start begins, in the agent's binary under
// Subcommand. It takes the spec, runs the steps, records how they ended, and returns its exit code.
func RunDetached(dir string) int {
	r := New("")
	if err := r.runDetached(dir); err != nil {
		fmt.Fprintln(os.Stderr, "assent:", err)
		return 1
	}
	return 0
}

func (r *Runner) runDetached(dir string) error {
	syscall.Umask(0o022)
	// Asking this process to stop must not leave the steps without their record; they are not ours to stop.
	signal.Ignore(syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM, syscall.SIGPIPE)
	spec, err := takeSpec(dir)
	if err != nil {
		return fmt.Errorf("take the run in %s: %w", dir, err)
	}
	exit := Exit{Started: time.Now()}
	if err := recordStart(dir); err != nil {
		return err
	}
	out, err1 := openLog(dir, outputFile)
	status, err2 := openLog(dir, statusFile)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	stop := make(chan struct{})
	go capFile(out, stop)
	for _, s := range spec.Steps {
		exit.Codes = append(exit.Codes, r.step(s, out, status))
	}
	close(stop)
	exit.Finished = time.Now()
	body, err := json.Marshal(exit)
	if err != nil {
		return err
	}
	return writeDurably(dir, exitFile, body)
}

// takeSpec makes the run this process's own; it fails where Start gave up on it.
func takeSpec(dir string) (Spec, error) {
	var spec Spec
	taken := filepath.Join(dir, runningFile)
	if err := os.Rename(filepath.Join(dir, specFile), taken); err != nil {
		return spec, err
	}
	body, err := os.ReadFile(taken)
	if err != nil {
		return spec, err
	}
	return spec, json.Unmarshal(body, &spec)
}

func recordStart(dir string) error {
	start, _, err := processStat(os.Getpid())
	if err != nil {
		return err
	}
	body, err := json.Marshal(Handle{PID: os.Getpid(), StartTime: start, BootID: bootID()})
	if err != nil {
		return err
	}
	return writeDurably(dir, startedFile, body)
}

// step runs one program to its end, however long that takes.
func (r *Runner) step(s Step, out, status *os.File) int {
	path, err := r.path(s.Tool)
	if err == nil {
		err = checkArgs(s.Args)
	}
	if err != nil {
		fmt.Fprintf(out, "\nassent: %v\n", err)
		return -1
	}
	cmd := exec.Command(path, s.Args...) //nolint:noctx // the transaction is never killed
	cmd.Env, cmd.Dir = environment(), "/"
	cmd.Stdout, cmd.Stderr = out, out // files, not pipes: nobody's death can block or break the child
	cmd.ExtraFiles = []*os.File{status}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Run(); cmd.ProcessState == nil {
		fmt.Fprintf(out, "\nassent: start %s: %v\n", s.Tool, err)
		return -1
	}
	return exitCode(cmd.ProcessState.Sys())
}

// openLog opens a file that several processes append to.
func openLog(dir, name string) (*os.File, error) {
	return os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
}

// capFile keeps a program that prints without end from filling the disk: as the file is only appended to,
// cutting it to nothing while others write is safe, and readers notice that it shrank.
func capFile(f *os.File, stop <-chan struct{}) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		if info, err := f.Stat(); err == nil && info.Size() > maxDetachedOutput && f.Truncate(0) == nil {
			fmt.Fprintln(f, "assent: the output above this line was dropped: it was too long")
		}
	}
}
