// Assent-lab runs a lab in the background and reaches into running ones: real devices and real apt repositories
// on one Linux machine, for the demonstration and for trying things by hand. It needs root.
//
//	assent-lab serve --name demo --config lab.json   build a lab and stay until SIGTERM
//	assent-lab exec demo web-1 -- apt-get update     run a command in a device
//	assent-lab netexec demo -- curl http://10.77.0.1/  run a command of the host in the lab's network
//	assent-lab publish demo 1                        make a step the state of the Acme repository
//	assent-lab powercut|boot|reboot|unplug|plug demo web-1
//	assent-lab list                                  the running labs and their devices
//	assent-lab down demo                             end a lab and remove everything of it
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"assent/lab"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := command().ExecuteContext(ctx)
	stop()
	if err == nil {
		return
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.Exited() {
		os.Exit(exit.ExitCode()) // the command has said what was wrong
	}
	fmt.Fprintln(os.Stderr, "assent-lab:", err)
	os.Exit(1)
}

func command() *cobra.Command {
	root := &cobra.Command{Use: "assent-lab", Short: "Real devices and repositories on one machine",
		SilenceUsage: true, SilenceErrors: true}
	root.AddCommand(serveCommand(), execCommand(), netexecCommand(), publishCommand(), listCommand(), downCommand())
	root.AddCommand(powerCommands()...)
	return root
}

func execCommand() *cobra.Command {
	return &cobra.Command{Use: "exec NAME DEVICE -- COMMAND...", Short: "Run a command in a device", Args: cobra.MinimumNArgs(3),
		RunE: func(c *cobra.Command, args []string) error {
			return withDevice(args, func(d *lab.Device) error { return inForeground(d.Command(context.Background(), args[2:]...)) })
		}}
}

func netexecCommand() *cobra.Command {
	return &cobra.Command{Use: "netexec NAME -- COMMAND...", Short: "Run a command of the host in the network of a lab", Args: cobra.MinimumNArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			return withLab(args, func(l *lab.Lab) error { return inForeground(l.Net.Command(context.Background(), args[1], args[2:]...)) })
		}}
}

// inForeground runs cmd on this terminal. ^C reaches it through the terminal, so it is not passed on here.
func inForeground(cmd *exec.Cmd) error {
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if cmd.Env != nil && isatty.IsTerminal(os.Stdin.Fd()) {
		cmd.Env = append(cmd.Env, "TERM="+os.Getenv("TERM"))
	}
	return cmd.Run()
}

func publishCommand() *cobra.Command {
	return &cobra.Command{Use: "publish NAME STEP", Short: "Make a step the state of the Acme repository", Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			step, err := strconv.Atoi(args[1])
			if err != nil {
				return fmt.Errorf("step %q is not a number", args[1])
			}
			return withLab(args, func(l *lab.Lab) error {
				repo, _, err := l.AcmeRepo()
				if err != nil {
					return err
				}
				return lab.PublishAcme(repo, step)
			})
		}}
}

func powerCommands() []*cobra.Command {
	var out []*cobra.Command
	for _, p := range []struct {
		name, short string
		act         func(context.Context, *lab.Device) error
	}{
		{"powercut", "Kill everything in a device at once", func(ctx context.Context, d *lab.Device) error { return d.PowerCut(ctx) }},
		{"boot", "Switch a device on", func(ctx context.Context, d *lab.Device) error { return d.Boot(ctx) }},
		{"reboot", "Restart a device in order", func(ctx context.Context, d *lab.Device) error { return d.Reboot(ctx) }},
		{"unplug", "Take a device off the network", func(ctx context.Context, d *lab.Device) error { return d.SetLink(ctx, false) }},
		{"plug", "Put a device back on the network", func(ctx context.Context, d *lab.Device) error { return d.SetLink(ctx, true) }},
	} {
		out = append(out, &cobra.Command{Use: p.name + " NAME DEVICE", Short: p.short, Args: cobra.ExactArgs(2),
			RunE: func(c *cobra.Command, args []string) error {
				return withDevice(args, func(d *lab.Device) error { return p.act(c.Context(), d) })
			}})
	}
	return out
}

func listCommand() *cobra.Command {
	return &cobra.Command{Use: "list", Short: "Show the running labs and their devices", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			labs, err := lab.List()
			if err != nil {
				return err
			}
			for _, s := range labs {
				if err := show(c, s); err != nil {
					return err
				}
			}
			return nil
		}}
}

func show(c *cobra.Command, s lab.State) error {
	state := map[bool]string{true: "ready", false: "building"}[s.Ready]
	c.Printf("%s\t%s\tpid %d\tnetns %s\tsince %s\n", s.Name, state, s.PID, s.NetNS, s.Started.Format(time.RFC3339))
	for host, inside := range s.Forwards {
		c.Printf("  forward\t%s -> %s\n", host, inside)
	}
	return withLab([]string{s.Name}, func(l *lab.Lab) error {
		devices, err := l.Devices()
		if err != nil {
			return err
		}
		for _, d := range devices {
			addr, err := d.IP()
			if err != nil {
				return err
			}
			c.Printf("  device\t%s\t%s\t%s\n", d.Name(), addr, map[bool]string{true: "on", false: "off"}[d.On()])
		}
		return nil
	})
}

func downCommand() *cobra.Command {
	return &cobra.Command{Use: "down NAME", Short: "End a lab and remove everything of it", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			ctx, cancel := context.WithTimeout(c.Context(), time.Minute)
			defer cancel()
			return lab.Down(ctx, args[0])
		}}
}

func withLab(args []string, fn func(*lab.Lab) error) error {
	l, err := lab.Attach(args[0])
	if err != nil {
		return err
	}
	return errors.Join(fn(l), l.Close())
}

func withDevice(args []string, fn func(*lab.Device) error) error {
	return withLab(slices.Clip(args[:1]), func(l *lab.Lab) error {
		d, err := l.Device(args[1])
		if err != nil {
			return err
		}
		return fn(d)
	})
}
