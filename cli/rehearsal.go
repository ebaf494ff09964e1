package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"assent/client"
	"assent/installation"
)

func (a *app) rehearsal() *cobra.Command {
	list := a.rehearsalList()
	c := sub("rehearsal", "See what would fail when devices install what is approved", list)
	c.Aliases = []string{"rehearsals"}
	c.RunE, c.Args = list.RunE, list.Args // `assent rehearsal` alone lists
	c.Flags().AddFlagSet(list.Flags())
	c.Long = `Devices go through what they are to install with their own package manager some hours before their window, and change nothing by it.
What would fail is listed here while there is time to do something about it. docs/rehearsals.md says what is looked at.`
	return c
}

func (a *app) rehearsalList() *cobra.Command {
	var q client.RehearsalQuery
	var page pageFlags
	var cause, only string
	c := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List what devices found beforehand: what would fail, unless told otherwise", Args: args(0, 0, ""),
		Example: "  assent rehearsal list --group Production\n  assent rehearsal list --cause no_space\n  assent rehearsal list --only all --device web1",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			q.Cause, q.Only = installation.Cause(cause), client.RehearsalOnly(only)
			list, err := pages(cmd.Context(), page, func(ctx ctx, p client.Page) (client.List[client.RehearsalRow], error) {
				return c.Rehearsals(ctx, q, p)
			})
			if err != nil {
				return err
			}
			return a.answer(list, func(p *printer) { a.showRehearsals(p, q, list) })
		},
	}
	f := c.Flags()
	f.StringVarP(&q.Group, "group", "g", "", "only devices of this group (id or name) and below")
	f.StringVar(&q.Device, "device", "", "only this device")
	f.StringVar(&q.Update, "update", "", "only this update (id or name@version)")
	f.StringVar(&cause, "cause", "", "only what would fail for this cause, for example no_space")
	f.StringVar(&only, "only", "", "kept: what keeps configuration files of the device; all: what would install too")
	a.completeGroup(c, "group")
	a.completeDeviceFlag(c, "device")
	_ = c.RegisterFlagCompletionFunc("update", a.complete(0, updates))
	_ = c.RegisterFlagCompletionFunc("cause", fixed(installation.NoSpace, installation.UnapprovedDependency, installation.DeclinedDependency, installation.ContentUnavailable,
		installation.DigestMismatch, installation.HeldPackage, installation.RemovalNeeded, installation.Unresolvable, installation.ManagerBroken, installation.WindowClosed, installation.UntrustedClock))
	_ = c.RegisterFlagCompletionFunc("only", fixed(client.RehearsalOnlies()...))
	addPage(c, &page, "device, name, cause, opens")
	return c
}

// fixed completes words that are always the same.
func fixed[T ~string](words ...T) cobra.CompletionFunc {
	var out []string
	for _, w := range words {
		out = append(out, string(w))
	}
	return cobra.FixedCompletions(out, cobra.ShellCompDirectiveNoFileComp)
}

func (a *app) showRehearsals(p *printer, q client.RehearsalQuery, list client.List[client.RehearsalRow]) {
	if len(list.Items) == 0 {
		if q.Only == "" {
			p.line("Nothing is known that would fail.")
		} else {
			p.line("Nothing was rehearsed that is still to be installed.")
		}
		return
	}
	t := newTable(flex("DEVICE", 8), flex("NAME", 10), flex("VERSION", 8), col("WOULD"), col("OPENS"), col("REHEARSED"), flex("WHY", 24))
	for _, r := range list.Items {
		t.add(toned(r.DeviceName, strong), text(r.Name), text(r.Version), outcomeCell(r.Rehearsed), text(a.opening(r.Rehearsed)), text(a.rehearsedAt(r.Rehearsed)), text(r.Sentence()))
	}
	p.table(t)
	rest(p, list, "row")
}

func outcomeCell(r client.Rehearsed) cell {
	if r.Fails() {
		return toned("fail: "+strings.ReplaceAll(string(r.Cause), "_", " "), bad)
	}
	if len(r.Kept) > 0 {
		return toned("install", warn)
	}
	return toned("install", good)
}

// opening is when what was rehearsed may begin.
func (a *app) opening(r client.Rehearsed) string {
	switch {
	case r.Ring:
		return "when its ring does"
	case r.Opens.IsZero():
		return ""
	}
	return a.when(r.Opens)
}

func (a *app) rehearsedAt(r client.Rehearsed) string {
	if r.Stale {
		return a.when(r.At) + ", stale"
	}
	return a.when(r.At)
}

// rehearsalLine sums up the last rehearsal of a device.
func (a *app) rehearsalLine(r *client.DeviceRehearsal) string {
	if r == nil {
		return ""
	}
	out := fmt.Sprintf("%s: %d would install, %d would fail", a.exactly(r.At), r.Pass, r.Fail)
	if r.Left > 0 {
		out += ", " + count(r.Left) + " not looked at"
	}
	if r.Stale {
		out += "; the device or its plan changed since"
	}
	return out
}

// beforehand is what a device found beforehand about an update, for a detail.
func (a *app) beforehand(r *client.Rehearsed) string {
	if r == nil {
		return ""
	}
	would := "would install"
	if r.Fails() {
		would = "would fail: " + strings.ReplaceAll(string(r.Cause), "_", " ")
	}
	return strings.TrimSpace(would + " (" + a.rehearsedAt(*r) + "). " + r.Sentence())
}

// figuresLine sums up rehearsals for the status; empty where nothing was rehearsed.
func figuresLine(r client.RehearsalFigures) string {
	if r.Rehearsed+r.Stale == 0 {
		return ""
	}
	out := many(r.Updates, "update") + " would fail on " + many(r.Devices, "device") + "; rehearsed on " + many(r.Rehearsed, "device")
	if r.Stale > 0 {
		out += ", stale on " + count(r.Stale)
	}
	return out
}

func (a *app) deviceRehearse() *cobra.Command {
	return a.askDevices((*client.Client).RehearseDevices, "See assent rehearsal list.", &cobra.Command{
		Use: "rehearse [DEVICE…]", Short: "Ask devices to rehearse now what they are to install",
		Long: `Ask devices to go through what they are to install with their own package manager, without changing anything, and to tell what would
fail. Without devices and without --group, all devices that you may act on are asked. Those that are not connected are asked when they
are back. See the answers with assent rehearsal list.`,
		Example: `  assent device rehearse web1
  assent device rehearse --group Production`})
}
