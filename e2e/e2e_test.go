package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"assent/e2e/stage"
	"assent/e2e/story"
)

// bin holds the programs under test, built once.
var bin string

func TestMain(m *testing.M) {
	code, err := build(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	os.Exit(code)
}

func build(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "assent-e2e-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	cmd := exec.CommandContext(context.Background(), "go", "build", "-ldflags", "-X main.version=0.1.0", "-o", dir+"/", "assent/cmd/...")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("build the programs: %w\n%s", err, out)
	}
	next := exec.CommandContext(context.Background(), "go", "build", "-ldflags", "-X main.version="+stage.NextVersion, "-o", dir+"/next/", "assent/cmd/assentd", "assent/cmd/assent-agent")
	next.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := next.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("build the newer server: %w\n%s", err, out)
	}
	bin = dir
	return m.Run(), nil
}

// open sets up a stage with Acme's repository and these devices, starts the server and signs in.
func open(t *testing.T, devices ...string) *stage.Stage {
	t.Helper()
	return openWith(t, specs(devices)...)
}

// specs are devices without limits.
func specs(names []string) []stage.DeviceSpec {
	var out []stage.DeviceSpec
	for _, name := range names {
		out = append(out, stage.DeviceSpec{Name: name})
	}
	return out
}

// openWith is open for devices with limits.
func openWith(t *testing.T, devices ...stage.DeviceSpec) *stage.Stage {
	t.Helper()
	return begun(t, raise(t, devices...))
}

// begun starts a stage's server and signs in.
func begun(t *testing.T, s *stage.Stage) *stage.Stage {
	t.Helper()
	if err := s.Server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.SignIn(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// raise sets up a stage whose server is not started yet.
func raise(t *testing.T, devices ...stage.DeviceSpec) *stage.Stage {
	t.Helper()
	return raiseFrom(t, bin, devices...)
}

// raiseFrom is raise with the programs of another folder.
func raiseFrom(t *testing.T, programs string, devices ...stage.DeviceSpec) *stage.Stage {
	t.Helper()
	cfg := stage.Config{Name: strings.ToLower("e2e-" + t.Name()[len("Test"):min(len(t.Name()), 20)]), Bin: programs, Acme: true}
	cfg.Name = strings.NewReplacer("_", "-", "/", "-").Replace(cfg.Name)
	cfg.Devices = devices
	s, err := stage.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			logs(t, s)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// logs shows the end of every log of a failed test.
func logs(t *testing.T, s *stage.Stage) {
	t.Helper()
	tail := func(name string, b []byte) { t.Logf("%s:\n%s", name, b[max(0, len(b)-6000):]) }
	if b, err := os.ReadFile(s.Server.Log); err == nil {
		tail("assentd", b)
	}
	for _, d := range s.Devices {
		text, err := d.Agent().Log()
		if err != nil {
			continue
		}
		tail(d.Name()+" agent", []byte(text))
		// An agent that only waits says nothing: where it waits is said by its goroutines.
		if d.Agent().Signal(syscall.SIGQUIT) == nil && d.Agent().Wait(context.Background()) == nil {
			all, _ := d.Agent().Log()
			t.Logf("%s agent waits:\n%s", d.Name(), waits(all[len(text):]))
		}
	}
}

// waits is what a dump of goroutines says of our own code: for each of them what it waits for and the calls that led there.
func waits(dump string) string {
	var out strings.Builder
	for goroutine := range strings.SplitSeq(dump, "\n\n") {
		lines := strings.Split(strings.TrimSpace(goroutine), "\n")
		own := slices.DeleteFunc(slices.Clone(lines[1:]), func(l string) bool { return !strings.HasPrefix(l, "assent/") })
		if len(own) == 0 {
			continue
		}
		fmt.Fprintln(&out, lines[0])
		for _, l := range own {
			call, _, _ := strings.Cut(l, "({")
			fmt.Fprintln(&out, "  "+call)
		}
	}
	return out.String()
}

func TestStory_TheWholeOfTheReadmeOnRealDevices(t *testing.T) {
	tell(t, open(t, "test1", "web1", "web2", "db1"))
}

// tell tells the story on a stage.
func tell(t *testing.T, s *stage.Stage) {
	t.Helper()
	out, err := os.Create(filepath.Join(t.ArtifactDir(), "story.txt"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	teller := story.Teller{Stage: s, Out: out}
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	if err := teller.Tell(ctx, false); err != nil {
		text, _ := os.ReadFile(out.Name())
		t.Fatalf("%v\n\nthe story so far:\n%s", err, text)
	}
}
