package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"assent/client"
	"assent/fleet"
)

func (a *app) device() *cobra.Command {
	c := sub("device", "See, move and retire devices", a.deviceList(), a.deviceShow(), a.devicePackages(), a.deviceRefresh(), a.deviceRehearse(), a.deviceMove(),
		a.deviceState("retire", "Refuse devices from now on: they get no plans and cannot connect", fleet.Retired, "Retired"),
		a.deviceState("quarantine", "Keep devices from getting plans until they are released", fleet.Quarantined, "Quarantined"),
		a.deviceState("release", "Let quarantined devices take part again", fleet.Active, "Released"))
	c.Aliases = []string{"devices"}
	return c
}

func (a *app) deviceList() *cobra.Command {
	var q client.DeviceQuery
	var state, only string
	var page pageFlags
	c := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List devices", Args: args(0, 0, ""),
		Example: `  assent device list --group Web --search debian
  assent device list --state quarantined`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			if err := a.useView(cmd, c, "devices"); err != nil {
				return err
			}
			q.State, q.Only = fleet.DeviceState(state), client.DeviceOnly(only)
			list, err := pages(cmd.Context(), page, func(ctx ctx, p client.Page) (client.List[client.DeviceRow], error) { return c.Devices(ctx, q, p) })
			if err != nil {
				return err
			}
			return a.answer(list, func(p *printer) { a.showDevices(p, list) })
		},
	}
	c.Flags().StringVarP(&q.Group, "group", "g", "", "only this group (id or name) and below")
	c.Flags().StringVar(&q.Search, "search", "", "words, each found in name, id, system or group")
	c.Flags().StringVar(&state, "state", "", "active, quarantined or retired")
	c.Flags().BoolVar(&q.Here, "here", false, "only the group itself, not what is below it")
	c.Flags().StringVar(&only, "only", "", "only active devices that are connected, silent or stale (an expired package source), or need a restart")
	addView(c)
	addPage(c, &page, "name, group, state, last_seen, pending, planned, blocked, failed")
	a.completeGroup(c, "group")
	return c
}

func (a *app) showDevices(p *printer, list client.List[client.DeviceRow]) {
	if len(list.Items) > 0 {
		t := newTable(flex("NAME", 8), flex("ID", 6), flex("GROUP", 6), col("STATE"), col("SEEN"), flex("SYSTEM", 6), num("PENDING"), num("PLANNED"), num("BLOCKED"), num("FAILED"), flex("PROBLEM", 12))
		for _, d := range list.Items {
			seen := toned(a.ago(d.LastSeen), faint)
			if d.Connected {
				seen = word("connected")
			}
			t.add(toned(d.Name, strong), text(string(d.ID)), text(d.Group), word(string(d.State)), seen, text(strings.TrimSpace(d.OS+" "+d.Arch)),
				text(count(d.Pending)), text(count(d.Planned)), toned(count(d.Blocked), warn), toned(count(d.Failed), bad), toned(trouble(d), warn))
		}
		p.table(t)
	}
	rest(p, list, "device")
}

// trouble is what keeps a device from being useful.
func trouble(d client.DeviceRow) string {
	var parts []string
	for _, s := range []string{d.Reason, d.Problem} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	if d.Restart {
		parts = append(parts, "restart required")
	}
	return strings.Join(parts, "; ")
}

func (a *app) deviceShow() *cobra.Command {
	return &cobra.Command{
		Use: "show DEVICE", Short: "Show everything about a device", Example: "  assent device show web1",
		Args: args(1, 1, "a device"), ValidArgsFunction: a.completeDevices(1),
		RunE: func(cmd *cobra.Command, names []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			d, err := c.Device(cmd.Context(), names[0])
			if err != nil {
				return err
			}
			return a.answer(d, func(p *printer) { a.showDevice(p, d) })
		},
	}
}

func (a *app) showDevice(p *printer, d client.DeviceDetail) {
	seen := a.ago(d.LastSeen)
	if d.Connected {
		seen = "connected"
	}
	doing := d.Progress.Doing
	if doing != "" {
		doing += " since " + a.exactly(d.Progress.Since)
	}
	p.fields("Device", d.Name, "ID", string(d.ID), "Group", d.Group, "State", string(d.State), "Reason", d.Reason, "Seen", seen,
		"Useful", a.ago(d.LastUseful), "Problem", d.Problem, "System", strings.TrimSpace(d.OS+" "+d.Arch), "Kernel", d.Facts.Kernel, "Agent", d.Agent,
		"Guard", string(d.Guard), "Enrolled", a.exactly(d.EnrolledAt), "Doing", doing, "Packages", count(d.Packages),
		"Restart for", strings.Join(d.Facts.Restart, ", "), "Package manager", d.Facts.ManagerHealth, "Rehearsed", a.rehearsalLine(d.Rehearsal))
	for _, o := range d.Facts.Origins {
		if o.Problem != "" {
			p.raw(p.paint(warn, "Source "+clean(o.Name()+": "+o.Problem+" "+o.Detail)) + "\n")
		}
	}
	for _, f := range d.Facts.Posture {
		p.raw(p.paint(warn, "Weakness "+clean(f.Code+": "+f.Detail)) + "\n")
	}
	if len(d.Updates) > 0 {
		p.title("Updates")
		a.showDeviceUpdates(p, d.Updates, true)
	}
	if len(d.Events) > 0 {
		p.title("Events")
		a.showEvents(p, d.Events)
	}
}

func (a *app) devicePackages() *cobra.Command {
	var search string
	var page pageFlags
	c := &cobra.Command{
		Use: "packages DEVICE", Short: "List what is installed on a device",
		Example: `  assent device packages web1 --search ssl
  assent device packages web1 --all --json`,
		Args: args(1, 1, "a device"), ValidArgsFunction: a.completeDevices(1),
		RunE: func(cmd *cobra.Command, refs []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			list, err := pages(cmd.Context(), page, func(ctx ctx, p client.Page) (client.List[client.PackageInfo], error) {
				return c.Inventory(ctx, refs[0], client.InventoryQuery{Search: search}, p)
			})
			if err != nil {
				return err
			}
			return a.answer(list, func(p *printer) {
				if len(list.Items) > 0 {
					t := newTable(flex("NAME", 12), flex("VERSION", 10), col("ARCH"), col("STATUS"), flex("SOURCE", 10), flex("HOW", 10))
					for _, one := range list.Items {
						t.add(toned(one.Name, strong), text(one.Version), text(one.Arch), text(one.Status), text(one.Source), text(one.How))
					}
					p.table(t)
				}
				rest(p, list, "package")
			})
		},
	}
	c.Flags().StringVar(&search, "search", "", "words, each found in name, version or source")
	addPage(c, &page, "name, version, arch, source, status, how, auto, hold")
	return c
}

func (a *app) deviceRefresh() *cobra.Command {
	return a.askDevices((*client.Client).RefreshDevices, "", &cobra.Command{
		Use: "refresh [DEVICE…]", Short: "Ask devices to look for updates now",
		Long: `Ask devices to fetch their package lists and report what they could take now. Without devices and without --group,
all devices that you may act on are asked. Those that are not connected are asked when they are back.`,
		Example: `  assent device refresh web1
  assent device refresh --group Test`})
}

// askDevices makes c a command that asks devices for something at once; hint ends what it says.
func (a *app) askDevices(ask func(*client.Client, context.Context, client.RefreshRequest) (client.Refreshed, error), hint string, c *cobra.Command) *cobra.Command {
	var r client.RefreshRequest
	c.ValidArgsFunction = a.completeDevices(0)
	c.RunE = func(cmd *cobra.Command, names []string) error {
		if len(names) > 0 && r.Group != "" {
			return usage("name devices, or give --group, and not both")
		}
		c, err := a.connect()
		if err != nil {
			return err
		}
		r.Devices = names
		done, err := ask(c, cmd.Context(), r)
		if err != nil {
			return err
		}
		return a.answer(done, func(p *printer) {
			p.line("%s", strings.TrimSpace(fmt.Sprintf("Asked %s; %d connected now. %s", many(done.Devices, "device"), done.Connected, hint)))
		})
	}
	c.Flags().StringVarP(&r.Group, "group", "g", "", "the group (id or name), with all below")
	a.completeGroup(c, "group")
	return c
}

func (a *app) deviceMove() *cobra.Command {
	var change client.DeviceChange
	c := &cobra.Command{
		Use: "move DEVICE…", Short: "Put devices into a group", Example: "  assent device move web1 web2 --to Test",
		Args: args(1, -1, "at least one device"), ValidArgsFunction: a.completeDevices(0),
		RunE: func(cmd *cobra.Command, names []string) error {
			if change.Group == "" {
				return usage("say where to with --to GROUP")
			}
			change.Devices = names
			return a.changeDevices(cmd.Context(), change, "Moved %s to "+strings.ReplaceAll(clean(change.Group), "%", "%%"))
		},
	}
	c.Flags().StringVar(&change.Group, "to", "", "the group (id or name)")
	c.Flags().StringVar(&change.Reason, "reason", "", "why, for the ledger")
	a.completeGroup(c, "to")
	return c
}

func (a *app) deviceState(verb, short string, state fleet.DeviceState, done string) *cobra.Command {
	change := client.DeviceChange{State: state}
	c := &cobra.Command{
		Use: verb + " DEVICE…", Short: short, Example: "  assent device " + verb + ` web1 --reason "replaced"`,
		Args: args(1, -1, "at least one device"), ValidArgsFunction: a.completeDevices(0),
		RunE: func(cmd *cobra.Command, names []string) error {
			change.Devices = names
			return a.changeDevices(cmd.Context(), change, done+" %s")
		},
	}
	c.Flags().StringVar(&change.Reason, "reason", "", "why, for the ledger")
	return c
}

func (a *app) changeDevices(ctx ctx, change client.DeviceChange, done string) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	act, err := c.ChangeDevices(ctx, change)
	if err != nil {
		return err
	}
	return a.answer(act, func(p *printer) { p.line(done+" (act %d).", few(change.Devices), act.Act) })
}
