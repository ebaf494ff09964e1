package command_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"assent/agent/internal/command"

	"github.com/google/go-cmp/cmp"
)

// tools are what these tests run instead of package managers.
var tools = map[command.Tool]string{"sh": "/bin/sh", "env": "/usr/bin/env", "cat": "/bin/cat"}

// TestMain makes this test binary the program that detached runs re-execute.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == command.Subcommand {
		if err := command.RunDetachedWith(os.Args[2], tools); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	// A process that starts a detached run and lives no longer, as an agent that is killed.
	if len(os.Args) == 4 && os.Args[1] == "start-and-hang" {
		_, err := runner().Start(context.Background(), os.Args[2], script(os.Args[3]))
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println("started")
		select {}
	}
	os.Exit(m.Run())
}

func runner() *command.Runner {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return command.WithTools(self, tools, 200*time.Millisecond)
}

func script(text string) command.Spec {
	return command.Spec{Name: "test", Steps: []command.Step{{Tool: "sh", Args: []string{"-c", text}}}}
}

func sh(text string) command.Call {
	return command.Call{Tool: "sh", Args: []string{"-c", text}, Deadline: 10 * time.Second}
}

func TestRunRefusesWhatIsNotOnTheListBeforeAnythingStarts(t *testing.T) {
	marker := filepath.Join(t.TempDir(), "ran")
	for name, c := range map[string]struct {
		call command.Call
		want error
	}{
		"unknown tool": {command.Call{Tool: "/bin/sh", Deadline: time.Second}, command.ErrTool},
		"NUL":          {command.Call{Tool: "sh", Args: []string{"-c", "touch " + marker, "a\x00b"}, Deadline: time.Second}, command.ErrArgument},
		"long":         {command.Call{Tool: "sh", Args: []string{"-c", "touch " + marker, strings.Repeat("x", command.MaxArg+1)}, Deadline: time.Second}, command.ErrArgument},
		"many":         {command.Call{Tool: "sh", Args: append([]string{"-c", "touch " + marker}, make([]string, command.MaxArgs)...), Deadline: time.Second}, command.ErrArgument},
		"no deadline":  {command.Call{Tool: "sh", Args: []string{"-c", "touch " + marker}}, command.ErrDeadline},
	} {
		if _, err := runner().Run(t.Context(), c.call); !errors.Is(err, c.want) {
			t.Errorf("%s: error %v, want %v", name, err, c.want)
		}
	}
	if _, err := os.Stat(marker); err == nil {
		t.Error("a refused call was run")
	}
}

func TestTheAllowedProgramsAreAbsolutePathsAndNoShell(t *testing.T) {
	r := command.New("/nonexistent")
	for _, tool := range []command.Tool{"sh", "bash", "env", "", "apt-get ", "../bin/sh", "/usr/bin/apt-get"} {
		if _, err := r.Run(t.Context(), command.Call{Tool: tool, Deadline: time.Second}); !errors.Is(err, command.ErrTool) {
			t.Errorf("tool %q: error %v, want ErrTool", tool, err)
		}
	}
}

func TestChildrenGetAnEnvironmentFromScratchNullInputUmaskAndTheirOwnGroup(t *testing.T) {
	t.Setenv("LD_PRELOAD", "/tmp/evil.so")
	t.Setenv("http_proxy", "http://evil.example")
	t.Setenv("DEBIAN_FRONTEND", "readline")
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	res, err := runner().Run(t.Context(), sh("env; echo umask=$(umask); readlink /proc/self/fd/0; cut -d' ' -f5 /proc/self/stat; echo $$; pwd"))
	if err != nil {
		t.Fatal(err)
	}
	out := string(res.Stdout)
	for _, want := range []string{"DEBIAN_FRONTEND=noninteractive\n", "LC_ALL=C.UTF-8\n", "HOME=/root\n", "UCF_FORCE_CONFFOLD=1\n",
		"NEEDRESTART_MODE=l\n", "APT_LISTCHANGES_FRONTEND=none\n", "umask=0022\n", "\n/dev/null\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("missing %q in:\n%s", want, out)
		}
	}
	if strings.Contains(out, "evil") {
		t.Errorf("the agent's environment leaked:\n%s", out)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if group, pid := lines[len(lines)-3], lines[len(lines)-2]; group != pid {
		t.Errorf("process group %s, want the child's own %s", group, pid)
	}
	if got := syscall.Umask(0o077); got != 0o077 {
		t.Errorf("running a child changed the agent's umask to %o", got)
	}
}

func TestRunReportsExitCodesSignalsAndLinesOfBothStreams(t *testing.T) {
	var lines []string
	call := sh("echo one; echo two >&2; printf 'a\\rb\\n\\nlast'; exit 7")
	call.Line = func(s command.Stream, line string) { lines = append(lines, fmt.Sprintf("%d %s", s, line)) }
	res, err := runner().Run(t.Context(), call)
	if err != nil || res.Code != 7 {
		t.Fatalf("code %d, error %v", res.Code, err)
	}
	got := map[string]bool{}
	for _, l := range lines {
		got[l] = true
	}
	want := map[string]bool{"1 one": true, "2 two": true, "1 a": true, "1 b": true, "1 last": true}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if res, err := runner().Run(t.Context(), sh("kill -9 $$")); err != nil || res.Code != 137 {
		t.Errorf("killed child: code %d, error %v; want 137", res.Code, err)
	}
}

func TestRunEndsTheWholeGroupAtItsDeadlineEvenIfItIgnoresSIGTERM(t *testing.T) {
	pidFile := filepath.Join(t.TempDir(), "pid")
	call := sh("trap '' TERM; sh -c 'trap \"\" TERM; echo $$ > " + pidFile + "; while :; do sleep 0.05; done' & while :; do sleep 0.05; done")
	call.Deadline = 300 * time.Millisecond
	begin := time.Now()
	_, err := runner().Run(t.Context(), call)
	if !errors.Is(err, command.ErrTimeout) {
		t.Fatalf("error %v, want ErrTimeout", err)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
	body, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	waitGone(t, strings.TrimSpace(string(body)))
}

func TestRunStopsWhenItsContextEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	call := sh("echo up; sleep 60")
	call.Line = func(command.Stream, string) { cancel() }
	if _, err := runner().Run(ctx, call); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
}

func TestRunCapsOutputAndSaysSo(t *testing.T) {
	call := sh("head -c 1000000 /dev/zero | tr '\\0' x; echo err >&2")
	call.Limit = 1000
	longest := 0
	call.Line = func(_ command.Stream, l string) { longest = max(longest, len(l)) }
	res, err := runner().Run(t.Context(), call)
	if err != nil || len(res.Stdout) != 1000 || !res.Truncated || string(res.Stderr) != "err\n" {
		t.Errorf("%d bytes, truncated %v, stderr %q, error %v", len(res.Stdout), res.Truncated, res.Stderr, err)
	}
	if longest != 64<<10 {
		t.Errorf("longest line %d, want it cut at 64 KiB", longest)
	}
}

func TestDetachedRunRecordsStepsOutputAndStatus(t *testing.T) {
	dir := t.TempDir()
	spec := script("echo hello; echo progress >&3; umask; env; exit 3")
	spec.Steps = append(spec.Steps, command.Step{Tool: "sh", Args: []string{"-c", "echo second; exit 0"}})
	h, err := runner().Start(t.Context(), dir, spec)
	if err != nil {
		t.Fatal(err)
	}
	var output, status []string
	exit, err := h.Wait(t.Context(), command.Watch{
		Output: func(l string) { output = append(output, l) }, Status: func(l string) { status = append(status, l) }})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int{3, 0}, exit.Codes); diff != "" || exit.Lost {
		t.Errorf("lost %v, codes %s", exit.Lost, diff)
	}
	text := strings.Join(output, "\n")
	if output[0] != "hello" || output[len(output)-1] != "second" || !strings.Contains(text, "0022") || !strings.Contains(text, "DEBIAN_FRONTEND=noninteractive") {
		t.Errorf("output:\n%s", text)
	}
	if diff := cmp.Diff([]string{"progress"}, status); diff != "" {
		t.Error(diff)
	}
	if _, err := runner().Start(t.Context(), dir, script("true")); err == nil {
		t.Error("a second run was started in the same directory")
	}
}

func TestDetachedRunSurvivesSIGKILLOfItsStarterAndCanBeFollowedByAnother(t *testing.T) {
	dir, gate := t.TempDir(), filepath.Join(t.TempDir(), "gate")
	if err := syscall.Mkfifo(gate, 0o600); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	starter := startProcess(t, self, "start-and-hang", dir, "echo before; cat "+gate+"; echo after; exit 5")
	h, err := command.Find(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := starter.Kill(); err != nil {
		t.Fatal(err)
	}
	_, _ = starter.Wait()
	if !h.Alive() {
		t.Fatal("the run died with the process that had started it")
	}
	follow, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := h.Wait(follow, command.Watch{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("following: error %v, want the follower's own deadline", err)
	}
	if err := os.WriteFile(gate, []byte("go\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var output []string
	exit, err := h.Wait(t.Context(), command.Watch{Output: func(l string) { output = append(output, l) }})
	if err != nil || exit.Lost {
		t.Fatalf("exit %+v, error %v", exit, err)
	}
	if diff := cmp.Diff([]int{5}, exit.Codes); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"before", "go", "after"}, output); diff != "" {
		t.Error(diff)
	}
}

func TestDetachedRunPastItsDeadlineIsReportedOnceAndNeverKilled(t *testing.T) {
	gate := filepath.Join(t.TempDir(), "gate")
	if err := syscall.Mkfifo(gate, 0o600); err != nil {
		t.Fatal(err)
	}
	h, err := runner().Start(t.Context(), t.TempDir(), script("cat "+gate))
	if err != nil {
		t.Fatal(err)
	}
	overruns := 0
	exit, err := h.Wait(t.Context(), command.Watch{Deadline: time.Millisecond, Overrun: func() {
		overruns++
		if !h.Alive() {
			t.Error("the run is not alive at its deadline")
		}
		if err := os.WriteFile(gate, nil, 0o600); err != nil {
			t.Error(err)
		}
	}})
	if err != nil || overruns != 1 || exit.Lost || exit.Codes[0] != 0 {
		t.Errorf("%d overruns, exit %+v, error %v", overruns, exit, err)
	}
}

func TestDetachedRunKilledFromOutsideIsLostAndNotASuccess(t *testing.T) {
	h, err := runner().Start(t.Context(), t.TempDir(), script("sleep 60 & echo $! >&3; wait"))
	if err != nil {
		t.Fatal(err)
	}
	child := make(chan string, 1)
	go func() {
		child <- waitLine(t, filepath.Join(h.Dir, "status.log"))
		if err := syscall.Kill(h.PID, syscall.SIGKILL); err != nil {
			t.Error(err)
		}
	}()
	exit, err := h.Wait(t.Context(), command.Watch{})
	if err != nil || !exit.Lost {
		t.Errorf("exit %+v, error %v, want lost", exit, err)
	}
	var pid int
	fmt.Sscan(<-child, &pid)
	_ = syscall.Kill(pid, syscall.SIGKILL)
}

func TestHandleOfAnotherBootOrAReusedProcessNumberIsNotAlive(t *testing.T) {
	h, err := runner().Start(t.Context(), t.TempDir(), script("true"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Wait(t.Context(), command.Watch{}); err != nil {
		t.Fatal(err)
	}
	boot := h
	boot.PID, boot.BootID = os.Getpid(), "other"
	reused := h
	reused.PID = os.Getpid()
	if boot.Alive() || reused.Alive() {
		t.Error("a process that is not the run counts as the run")
	}
}

func TestStartThatGivesUpLeavesARunThatNeverBegins(t *testing.T) {
	dir, marker := t.TempDir(), filepath.Join(t.TempDir(), "ran")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := runner().Start(ctx, dir, script("touch "+marker)); !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v", err)
	}
	// The binary exists but does not know the subcommand: it ends without having taken the spec.
	broken := command.WithTools("/nonexistent", tools, time.Second)
	if _, err := broken.Start(t.Context(), dir, script("touch "+marker)); !errors.Is(err, command.ErrNotStarted) {
		t.Fatalf("error %v, want ErrNotStarted", err)
	}
	// Whoever comes late finds nothing to do.
	if err := command.RunDetachedWith(dir, tools); err == nil {
		t.Error("a dropped run was taken")
	}
	if _, err := os.Stat(marker); err == nil {
		t.Error("a run that was given up has run")
	}
}

func TestDetachedOutputThatNeverEndsIsCutOnDisk(t *testing.T) {
	h, err := runner().Start(t.Context(), t.TempDir(), script("head -c 40000000 /dev/zero | tr '\\0' 'x'; sleep 0.4; echo; echo end"))
	if err != nil {
		t.Fatal(err)
	}
	last, lines := "", []int{}
	if _, err := h.Wait(t.Context(), command.Watch{Output: func(l string) { last = l }}); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(h.Dir, "output.log"))
	if err != nil || info.Size() > 17<<20 {
		t.Errorf("size %d, error %v", info.Size(), err)
	}
	if last != "end" {
		t.Errorf("last line %.100q, lines %v", last, lines)
	}
	tail, err := h.Output(4)
	if err != nil || string(tail) != "end\n" {
		t.Errorf("tail %q, error %v", tail, err)
	}
}
