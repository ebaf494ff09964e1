package agent

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"assent/agent/internal/facts"
	"assent/agent/internal/identity"
	"assent/agent/internal/uplink"
)

func (p *program) leaveCommand() *cobra.Command {
	var yes bool
	c := &cobra.Command{Use: "leave", Short: "Take this device out of Assent, without a trace", Args: noArgs, RunE: func(c *cobra.Command, _ []string) error {
		if !yes && !p.confirm("This removes the device's identity, its plan and every wall against declined updates. Go on?") {
			fmt.Fprintln(p.out, "Nothing was changed.")
			p.code = 1
			return nil
		}
		return p.leave(c.Context())
	}}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return c
}

// leave takes the device out of Assent: here first, since that must work without the server too, then on the server.
func (p *program) leave(ctx context.Context) error {
	farewell, err := p.farewell() // with the identity, which is gone afterwards
	if err := p.wipe(ctx); err != nil {
		return err
	}
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, leaveWait)
		defer cancel()
		err = farewell(ctx)
	}
	if err != nil {
		fmt.Fprintf(p.out, "This device has left Assent. The server does not know of it (%v): retire the device there too.\n", err)
		return nil
	}
	fmt.Fprintln(p.out, "This device has left Assent, and the server has retired it.")
	return nil
}

// leaveWait is how long a device that leaves tries to tell the server.
const leaveWait = 5 * time.Second

// farewell prepares to tell the server that this device leaves. A copy of a device must not speak for it.
func (p *program) farewell() (func(context.Context) error, error) {
	dir, err := p.dir()
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	id, err := identity.Load(dir)
	if err != nil {
		return nil, err
	}
	if err := id.CheckMachine(facts.MachineID(p.root)); err != nil {
		return nil, err
	}
	conf, err := ReadConfig(p.config)
	if err != nil {
		return nil, err
	}
	link, err := uplink.New(id, uplink.Options{Server: cmp.Or(conf.Server, id.Server), ServerName: cmp.Or(conf.ServerName, id.ServerName), Now: notBefore(p.build.At)})
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		defer link.Close()
		return link.Leave(ctx)
	}, nil
}

func (p *program) imageCommand() *cobra.Command {
	return &cobra.Command{Use: "prepare-image", Short: "Remove this device's identity before an image is made of it", Args: noArgs, RunE: func(c *cobra.Command, _ []string) error {
		if err := p.wipe(c.Context()); err != nil {
			return err
		}
		fmt.Fprintln(p.out, "The identity is gone. Devices made from this image enrol by themselves with a token of their own.")
		return nil
	}}
}

func (p *program) confirm(question string) bool {
	fmt.Fprintf(p.out, "%s [y/N] ", question)
	line, err := bufio.NewReader(io.LimitReader(p.in, 100)).ReadString('\n')
	answer := strings.ToLower(strings.TrimSpace(line))
	return (err == nil || errors.Is(err, io.EOF)) && (answer == "y" || answer == "yes")
}

// wipe takes down the walls and removes all state. The walls come first: without the state nobody would.
func (p *program) wipe(ctx context.Context) error {
	dir, err := p.dir()
	if err != nil {
		return err
	}
	defer dir.Close()
	release, err := dir.Lock()
	if err != nil {
		return fmt.Errorf("%w: stop it first (systemctl stop assent-agent)", err)
	}
	defer release()
	if err := p.manager(slog.New(slog.DiscardHandler)).Unfence(ctx); err != nil {
		return err
	}
	return dir.Wipe()
}
