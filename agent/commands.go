package agent

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"assent/agent/internal/command"
	"assent/agent/internal/facts"
	"assent/agent/internal/guard"
	"assent/agent/internal/identity"
	"assent/agent/internal/statedir"
	"assent/fault"
)

// Build is what the linker and the toolchain know of this binary.
type Build struct {
	Version string
	At      time.Time // no honest clock is before it
}

// program is one call of the command line.
type program struct {
	build  Build
	in     io.Reader
	out    io.Writer
	err    io.Writer
	state  string
	config string
	root   string
	code   int // exit code of a command that succeeded in saying no
}

// Main runs the command line and returns the exit code: 0 for success, 1 for a failure, 2 for wrong usage.
func Main(ctx context.Context, args []string, build Build) int {
	p := &program{build: build, in: os.Stdin, out: os.Stdout, err: os.Stderr}
	return p.main(ctx, args)
}

func (p *program) main(ctx context.Context, args []string) int {
	root := p.command()
	root.SetArgs(args)
	root.SetIn(p.in)
	root.SetOut(p.out)
	root.SetErr(p.err)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return p.code
	}
	var refusal *fault.Error
	switch {
	case errors.As(err, &refusal):
		fmt.Fprintf(p.err, "assent-agent: %s [%s]\n", refusal.Message, refusal.Code)
	default:
		fmt.Fprintf(p.err, "assent-agent: %v\n", err)
	}
	var usage *usageError
	if errors.As(err, &usage) || refusal != nil && refusal.Kind == fault.Invalid {
		return 2
	}
	return 1
}

// usageError is a command line that makes no sense.
type usageError struct{ error }

func (p *program) command() *cobra.Command {
	root := &cobra.Command{
		Use:           "assent-agent",
		Short:         "Installs what was approved on this device, and keeps out what was declined",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	flags := root.PersistentFlags()
	flags.StringVar(&p.state, "state", statedir.Default, "state directory")
	flags.StringVar(&p.config, "config", DefaultConfig, "settings file")
	flags.StringVar(&p.root, "root", "/", "root of the device")
	cobra.CheckErr(flags.MarkHidden("root"))
	root.AddCommand(p.enrolCommand(), p.runCommand(), p.statusCommand(), p.whyCommand(), p.scanCommand(), p.restartCommand(), p.shutdownCommand(), p.leaveCommand(),
		p.imageCommand(), p.guardCommand(), p.transactionCommand(), p.versionCommand())
	return root
}

// dir opens the state directory of a device that should have one already.
func (p *program) dir() (*statedir.Dir, error) {
	if _, err := os.Lstat(p.state); errors.Is(err, fs.ErrNotExist) {
		return nil, identity.ErrNone
	}
	return statedir.Open(p.state)
}

func (p *program) enrolCommand() *cobra.Command {
	e := Enrolment{Now: time.Now}
	c := &cobra.Command{
		Use:   "enrol --server https://HOST:8443 --token TOKEN",
		Short: "Make this device one of a server's devices",
		Long: "Makes a key, proves the server by the token's fingerprint of its CA, and gets a device certificate.\n" +
			"Nothing is trusted on first use and the system's own certificate store plays no part.",
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return p.enrol(c.Context(), e) },
	}
	c.Flags().StringVar(&e.Server, "server", "", "address of the server's device port, https://HOST:8443")
	c.Flags().StringVar(&e.Token, "token", "", "enrolment token, or - to read it from standard input")
	c.Flags().StringVar(&e.ServerName, "server-name", "", "name in the server's certificate, if not the host")
	c.Flags().BoolVar(&e.Force, "force", false, "replace the identity this device has")
	return c
}

func noArgs(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return &usageError{fmt.Errorf("%q: unexpected argument %q", c.CommandPath(), args[0])}
	}
	return nil
}

func (p *program) enrol(ctx context.Context, e Enrolment) error {
	dir, err := statedir.Open(p.state)
	if err != nil {
		return err
	}
	defer dir.Close()
	if id, err := identity.Load(dir); err == nil && !e.Force { // also while the agent runs
		if err := id.CheckMachine(facts.MachineID(p.root)); err != nil {
			return err
		}
		fmt.Fprintf(p.out, "This device is enrolled already, as %s with %s. Use --force to enrol it anew.\n", id.Device, id.Server)
		return nil
	}
	if e.Server == "" || e.Token == "" {
		return &usageError{errors.New("--server and --token are needed")}
	}
	if e.Token == "-" {
		line, err := bufio.NewReader(io.LimitReader(p.in, 4096)).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read token: %w", err)
		}
		e.Token = strings.TrimSpace(line)
	}
	release, err := dir.Lock()
	if err != nil {
		return fmt.Errorf("%w: stop it first (systemctl stop assent-agent)", err)
	}
	defer release()
	e.Dir, e.Root, e.Pin = dir, p.root, p.pin
	id, _, err := Enrol(ctx, e)
	if err != nil {
		return err
	}
	fmt.Fprintf(p.out, "Enrolled as %s with %s.\n", id.Device, id.Server)
	return nil
}

func (p *program) statusCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{Use: "status", Short: "Show how the agent on this device is", Args: noArgs, RunE: func(*cobra.Command, []string) error {
		dir, err := p.dir()
		if err != nil {
			return err
		}
		defer dir.Close()
		s, err := ReadStatus(dir, facts.MachineID(p.root), time.Now())
		if err != nil {
			return err
		}
		if asJSON {
			return p.json(s)
		}
		s.Print(p.out)
		return nil
	}}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (p *program) json(v any) error {
	enc := json.NewEncoder(p.out)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

func (p *program) whyCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{Use: "why PACKAGE|UPDATE", Short: "Say why an update is, or is not, on this device", RunE: func(_ *cobra.Command, args []string) error {
		if len(args) != 1 {
			return &usageError{errors.New("why needs one package name, package URL or update id")}
		}
		answers, err := p.why(args[0])
		if err != nil {
			return err
		}
		if asJSON {
			return p.json(answers)
		}
		for _, a := range answers {
			a.Print(p.out)
		}
		return nil
	}}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (p *program) why(words string) ([]Answer, error) {
	dir, err := p.dir()
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	id, err := identity.Load(dir)
	if err != nil {
		return nil, err
	}
	body, plan, err := OpenPlan(dir, id)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New(fault.NotFound, "no_plan", "This device has no plan yet: `assent-agent status` says how the agent is.")
	}
	if err != nil {
		return nil, err
	}
	if !time.Now().Before(body.Expires) {
		fmt.Fprintf(p.err, "The plan %s.\n", expiry(body, time.Now()))
	}
	state, err := readUpdates(dir)
	if err != nil {
		return nil, err
	}
	return Why(plan, state, words)
}

func (p *program) scanCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{Use: "scan", Short: "Show what is installed and what could be", Args: noArgs, RunE: func(c *cobra.Command, _ []string) error {
		snap, err := p.manager(slog.New(slog.NewTextHandler(p.err, &slog.HandlerOptions{Level: slog.LevelWarn}))).Scan(c.Context())
		if err != nil {
			return err
		}
		if asJSON {
			return p.json(snap)
		}
		fmt.Fprintf(p.out, "%d packages installed, %d updates could be installed\n", len(snap.Inventory.Packages), len(snap.Available.Updates))
		for _, u := range snap.Available.Updates {
			fmt.Fprintf(p.out, "  %s/%s %s\n", u.Namespace, u.Name, u.Version)
		}
		return nil
	}}
	c.Flags().BoolVar(&asJSON, "json", false, "print everything as JSON")
	return c
}

func (p *program) guardCommand() *cobra.Command {
	return &cobra.Command{Use: "guard", Short: "Check a transaction of the package manager, which calls this by itself", Args: noArgs, RunE: func(*cobra.Command, []string) error {
		p.code = guard.Main(p.in, p.err, guard.Config{PlanFile: p.state + "/" + planFile, EventDir: p.state + "/" + eventDir})
		return nil
	}}
}

func (p *program) transactionCommand() *cobra.Command {
	return &cobra.Command{Use: command.Subcommand + " DIR", Hidden: true, Args: cobra.ExactArgs(1), RunE: func(_ *cobra.Command, args []string) error {
		p.code = command.RunDetached(args[0])
		return nil
	}}
}

func (p *program) versionCommand() *cobra.Command {
	return &cobra.Command{Use: "version", Short: "Print the version", Args: noArgs, Run: func(*cobra.Command, []string) {
		fmt.Fprintln(p.out, p.build.Version)
	}}
}
