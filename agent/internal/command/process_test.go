package command_test

import (
	"bufio"
	"os"
	"strings"
	"testing"
	"time"
)

// startProcess starts a program, waits for its first line, and returns it running.
func startProcess(t *testing.T, path string, args ...string) *os.Process {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p, err := os.StartProcess(path, append([]string{path}, args...), &os.ProcAttr{Files: []*os.File{nil, w, os.Stderr}})
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(r).ReadString('\n'); err != nil {
		t.Fatalf("%s said nothing: %v", path, err)
	}
	return p
}

// waitGone waits until a process no longer runs.
func waitGone(t *testing.T, pid string) {
	t.Helper()
	eventually(t, "process "+pid+" to be gone", func() bool {
		stat, err := os.ReadFile("/proc/" + pid + "/stat")
		return err != nil || strings.Contains(string(stat), ") Z ")
	})
}

// waitLine waits for a file to hold a whole line.
func waitLine(t *testing.T, path string) (line string) {
	t.Helper()
	eventually(t, "a line in "+path, func() bool {
		body, err := os.ReadFile(path)
		line = string(body)
		return err == nil && strings.HasSuffix(line, "\n")
	})
	return strings.TrimSpace(line)
}

// eventually looks at a condition in another process, for which there is no signal to wait on.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Errorf("waited in vain for %s", what)
			return
		}
	}
}
