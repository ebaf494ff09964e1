package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestMain lets the test binary play the program.
func TestMain(m *testing.M) {
	if os.Getenv("ASSENT_LAB_AS_PROGRAM") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func program(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), "ASSENT_LAB_AS_PROGRAM=1")
	return cmd
}

func run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := program(args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return string(out)
}

// startServe serves a lab and returns once it is ready.
func startServe(t *testing.T, name, conf string) *exec.Cmd {
	t.Helper()
	file := filepath.Join(t.TempDir(), "lab.json")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := program("serve", "--name", name, "--config", file)
	logs, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // the test ends it itself if it gets that far
		_ = cmd.Wait()
	})
	lines := bufio.NewScanner(logs)
	var seen bytes.Buffer
	for lines.Scan() {
		seen.WriteString(lines.Text() + "\n")
		if strings.Contains(lines.Text(), "msg=ready") {
			go io.Copy(io.Discard, logs)
			return cmd
		}
	}
	t.Fatalf("serve ended:\n%s", seen.String())
	return nil
}

func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func TestServe_BuildsALabThatTheOtherCommandsReachUntilDown(t *testing.T) {
	name, host := fmt.Sprintf("cli-%d", os.Getpid()), freePort(t)
	serve := startServe(t, name, `{"devices": [{"name": "web", "count": 2, "acme": true}, {"name": "solo"}],
		"forwards": {"`+host+`": "10.77.0.1:80"}, "hosts": {"assent.example": "10.77.0.1"}}`)

	list := run(t, "list")
	for _, want := range []string{name + "\tready", "web-1\t", "web-2\t", "solo\t", host} {
		if !strings.Contains(list, want) {
			t.Errorf("list lacks %q:\n%s", want, list)
		}
	}
	if got := run(t, "exec", name, "web-2", "--", "acme-app"); got != "acme-app 1.0\n" {
		t.Errorf("exec: %q", got)
	}
	if got := run(t, "exec", name, "solo", "--", "cat", "/etc/hosts"); !strings.Contains(got, "10.77.0.1 assent.example") {
		t.Errorf("hosts: %q", got)
	}
	if _, err := program("exec", name, "solo", "--", "sh", "-c", "exit 7").Output(); err == nil || err.Error() != "exit status 7" {
		t.Errorf("exit code: %v", err)
	}
	run(t, "publish", name, "1")
	run(t, "exec", name, "web-1", "--", "apt-get", "update")
	if got := run(t, "exec", name, "web-1", "--", "apt-get", "-s", "upgrade"); !strings.Contains(got, "Inst acme-app [1.0] (2.0 ") {
		t.Errorf("plan after publish:\n%s", got)
	}
	inside := run(t, "netexec", name, "--", "curl", "-sS", "http://10.77.0.1/acme/dists/acme/Release")
	if !strings.Contains(inside, "Origin: Acme") || inside != run(t, "netexec", name, "--", "curl", "-sS", "http://10.77.0.1/acme/dists/acme/Release") {
		t.Errorf("netexec: %q", inside)
	}
	outside, err := exec.Command("curl", "-sS", "--noproxy", "*", "http://"+host+"/acme/dists/acme/Release").CombinedOutput()
	if err != nil || string(outside) != inside {
		t.Errorf("forward: %v\n%s", err, outside)
	}
	before := run(t, "exec", name, "solo", "--", "cat", "/proc/sys/kernel/random/boot_id")
	run(t, "powercut", name, "solo")
	if out, err := program("exec", name, "solo", "--", "true").CombinedOutput(); err == nil || !strings.Contains(string(out), "device is off") {
		t.Errorf("exec in a device that is off: %v %s", err, out)
	}
	run(t, "boot", name, "solo")
	if after := run(t, "exec", name, "solo", "--", "cat", "/proc/sys/kernel/random/boot_id"); after == before {
		t.Error("same boot id after a power cut")
	}
	run(t, "down", name)
	if err := serve.Wait(); err != nil {
		t.Errorf("serve ended with %v", err)
	}
	if list := run(t, "list"); strings.Contains(list, name+"\t") {
		t.Errorf("after down:\n%s", list)
	}
}

func TestReadConfig_RefusesWhatItDoesNotKnow(t *testing.T) {
	for _, text := range []string{`{"devicez": []}`, `{} {}`, `[]`} {
		file := filepath.Join(t.TempDir(), "lab.json")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readConfig(file); err == nil {
			t.Errorf("%s was accepted", text)
		}
	}
}
