package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"assent/client"
	"assent/installation"
)

// completer is what cobra asks for completions.
type completer = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective)

// patience is how long a shell waits for completions.
const patience = 2 * time.Second

// complete makes a completer from what the server knows. Without a server there are no completions, and no
// error either: the shell would print it into the line being typed.
func (a *app) complete(most int, ask func(context.Context, *client.Client, string) []string) completer {
	return func(cmd *cobra.Command, given []string, start string) ([]string, cobra.ShellCompDirective) {
		none := cobra.ShellCompDirectiveNoFileComp
		if most > 0 && len(given) >= most {
			return nil, none
		}
		c, err := a.connect()
		if err != nil {
			return nil, none
		}
		parent := cmd.Context()
		if parent == nil {
			parent = context.Background()
		}
		ctx, cancel := context.WithTimeout(parent, patience)
		defer cancel()
		return ask(ctx, c, start), none
	}
}

// choice is a completion with a description. Both may come from devices.
func choice(value, description string) string { return clean(value) + "\t" + clean(description) }

func updates(ctx context.Context, c *client.Client, _ string) []string {
	list, _ := c.Updates(ctx, client.Filter{}, client.Page{Limit: 1000})
	var out []string
	for _, u := range list.Items {
		out = append(out, choice(string(u.ID), u.Name+" "+u.Version+", "+string(u.Status)))
	}
	return out
}

func devices(ctx context.Context, c *client.Client, _ string) []string {
	list, _ := c.Devices(ctx, client.DeviceQuery{}, client.Page{Limit: 1000})
	var out []string
	for _, d := range list.Items {
		out = append(out, choice(d.Name, "in "+d.Group+", "+string(d.State)))
	}
	return out
}

func groups(ctx context.Context, c *client.Client, _ string) []string {
	list, _ := c.Groups(ctx)
	var out []string
	for _, g := range list.Items {
		out = append(out, choice(g.Name, many(g.Below, "device")))
	}
	return out
}

func (a *app) completeUpdates(most int) completer { return a.complete(most, updates) }
func (a *app) completeDevices(most int) completer { return a.complete(most, devices) }
func (a *app) completeGroups(most int) completer  { return a.complete(most, groups) }

// completeWhy completes a device, then an update that this device could take.
func (a *app) completeWhy(cmd *cobra.Command, given []string, start string) ([]string, cobra.ShellCompDirective) {
	if len(given) == 0 {
		return a.completeDevices(1)(cmd, given, start)
	}
	return a.complete(2, func(ctx context.Context, c *client.Client, _ string) []string {
		list, _ := c.Updates(ctx, client.Filter{Device: given[0]}, client.Page{Limit: 1000})
		var out []string
		for _, u := range list.Items {
			out = append(out, choice(string(u.ID), u.Name+" "+u.Version))
		}
		return out
	})(cmd, given, start)
}

// completeGroup and completeDeviceFlag complete a flag's value. Registering fails only for a flag that does
// not exist, which the tests would show.
func (a *app) completeGroup(c *cobra.Command, flag string) {
	_ = c.RegisterFlagCompletionFunc(flag, a.complete(0, groups))
}

func (a *app) completeDeviceFlag(c *cobra.Command, flag string) {
	_ = c.RegisterFlagCompletionFunc(flag, a.complete(0, devices))
}

func (a *app) completeFilter(c *cobra.Command) {
	a.completeGroup(c, "group")
	a.completeDeviceFlag(c, "device")
	var states []string
	for _, s := range installation.States() {
		states = append(states, string(s))
	}
	for flag, values := range map[string][]string{"status": {"undefined", "approved", "declined"}, "class": {"third_party", "managed", "component", "content"},
		"severity": {"unrated", "low", "medium", "high", "critical"}, "state": states} {
		_ = c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	}
}
