// Command assent-demo plays the story of the README on real devices and leaves them running.
//
//	assent-demo up      build the devices, start the server, tell the story, leave everything running
//	assent-demo down    end it all
//	assent-demo serve   what `up` starts in the background: holds devices and server until SIGTERM
//
// It is safe to run `up` twice: the second run starts from fresh devices.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"assent/e2e/stage"
	"assent/e2e/story"
	"assent/lab"
)

// options are what the commands share.
type options struct {
	offline bool
	name    string // of the lab
	listen  string // host address of the API
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "assent-demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("say up, down or serve")
	}
	flags := flag.NewFlagSet("assent-demo", flag.ContinueOnError)
	var o options
	flags.BoolVar(&o.offline, "offline", false, "leave out Debian's own archive")
	flags.StringVar(&o.name, "name", "demo", "name of the lab, to run several side by side")
	flags.StringVar(&o.listen, "listen", "127.0.0.1:8480", "address of the API on this machine")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	switch args[0] {
	case "up":
		return up(ctx, o)
	case "down":
		return down(ctx, o)
	case "serve":
		return serve(ctx, o)
	}
	return fmt.Errorf("unknown command %q: say up, down or serve", args[0])
}

// serve holds the stage until it is told to end.
func serve(ctx context.Context, o options) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	bin, err := binaries()
	if err != nil {
		return err
	}
	cfg := stage.Config{Name: o.name, Bin: bin, Acme: true, Real: !o.offline, Forward: o.listen, Log: log}
	for _, name := range slices.Sorted(maps.Keys(story.Devices())) {
		cfg.Devices = append(cfg.Devices, stage.DeviceSpec{Name: name})
	}
	s, err := stage.Open(ctx, cfg)
	if err != nil {
		return err
	}
	if err := errors.Join(s.Server.Start(ctx), s.SignIn(ctx), s.Ready()); err != nil {
		return errors.Join(err, s.Close())
	}
	upgrade := make(chan os.Signal, 1)
	signal.Notify(upgrade, stage.UpgradeSignal)
	log.Info("ready")
	for {
		select {
		case <-upgrade:
			if err := s.Server.Upgrade(ctx); err != nil {
				log.Error("the server could not be upgraded", "err", err)
			}
		case <-ctx.Done():
			return s.Close()
		}
	}
}

// up starts serve in the background, waits for it and tells the story.
func up(ctx context.Context, o options) error {
	if err := down(ctx, o); err != nil {
		return err
	}
	fmt.Println("Building four real devices (Debian roots, real apt, real agents) and starting assentd …")
	logFile, ended, err := background(o)
	if err != nil {
		return err
	}
	s, err := attach(ctx, o, logFile, ended)
	if err != nil {
		return err
	}
	t := story.Teller{Stage: s, Out: os.Stdout, MaxLines: 24}
	if err := t.Tell(ctx, !o.offline); err != nil {
		fmt.Printf("\nThe story stopped. Logs: %s, %s\n", logFile, s.Server.Log)
		return err
	}
	tryByHand(s, o)
	return nil
}

// background starts `assent-demo serve` as a process of its own that outlives this one.
func background(o options) (logFile string, ended <-chan error, err error) {
	self, err := os.Executable()
	if err != nil {
		return "", nil, err
	}
	if err := os.MkdirAll(lab.StateRoot(), 0o755); err != nil {
		return "", nil, err
	}
	logFile = filepath.Join(lab.StateRoot(), o.name+".log")
	log, err := os.Create(logFile)
	if err != nil {
		return "", nil, err
	}
	defer log.Close()
	cmd := exec.Command(self, "serve", "--offline="+strconv.FormatBool(o.offline), "--name", o.name, "--listen", o.listen) //nolint:noctx // it outlives this process
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return "", nil, fmt.Errorf("start the demo in the background: %w", err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	return logFile, done, nil
}

// attach waits until the background process says that the stage is ready.
func attach(ctx context.Context, o options, logFile string, ended <-chan error) (*stage.Stage, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	for {
		s, err := stage.Attach(o.name)
		if err == nil {
			return s, nil
		}
		select {
		case <-ended:
			text, readErr := os.ReadFile(logFile)
			return nil, errors.Join(fmt.Errorf("the demo could not start:\n%s", text), readErr)
		case <-ctx.Done():
			return nil, fmt.Errorf("the demo did not become ready, see %s: %w", logFile, err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func tryByHand(s *stage.Stage, o options) {
	fmt.Printf(`
The fleet is running. Try things by hand:

  export %s
  %s status
  %s update list --needed
  %s exec %s web1 -- apt-get -s upgrade        a shell on a device: … exec %s web1 -- bash

The API describes itself at %s/api/v1/openapi.yaml. End it all with: make demo-stop
`, strings.Join(s.CLIEnv("")[:2], " "), "bin/assent", "bin/assent", "bin/assent-lab", o.name, o.name, s.Server.URL)
}

// down ends a running demo and waits until it is gone.
func down(ctx context.Context, o options) error {
	l, err := lab.Attach(o.name)
	if errors.Is(err, lab.ErrNotRunning) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := syscall.Kill(l.State().PID, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("end the demo: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		if _, err := lab.Attach(o.name); errors.Is(err, lab.ErrNotRunning) {
			fmt.Println("The demo has ended.")
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.New("the demo did not end within a minute")
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// binaries is the directory of this program: the others lie beside it.
func binaries() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	return filepath.Dir(self), nil
}
