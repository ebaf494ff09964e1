package cli

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"assent/client"
	"assent/fault"
)

func (a *app) packageDeploy() *cobra.Command {
	var r client.DeployRequest
	var wait bool
	var timeout time.Duration
	c := &cobra.Command{
		Use: "deploy [PACKAGE | --update UPDATE] --to GROUP|DEVICE…", Short: "Put an application onto devices that lack it",
		Long: `Deploy an installation package, or an update of a feed, to one group (with all below it, and devices that come
later) or to some devices. It goes the way of every update: a device gets it as soon as it is approved there, and the
guard, the queue and the proof are the same. A device that has another version is left alone.`,
		Example: `  assent package deploy 'Acme Ledger' --to Web --dry-run
  assent package deploy 'Acme Ledger' --to web1 --to web2 --wait
  assent package deploy --update acme-signatures@2026.11.1 --to 'All devices'`,
		Args: args(0, 1, ""), ValidArgsFunction: a.complete(1, packageNames),
		RunE: func(cmd *cobra.Command, names []string) error {
			if len(names) == 1 {
				r.Package = names[0]
			}
			if (r.Package == "") == (r.Update == "") {
				return usage("say what to deploy: an installation package, or --update UPDATE")
			}
			if len(r.To) == 0 {
				return usage("say where to: --to GROUP or --to DEVICE")
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			o, err := c.Deploy(cmd.Context(), r)
			if err != nil {
				return err
			}
			if err := a.answer(o, func(p *printer) { showDeploy(p, o) }); err != nil || !wait || r.DryRun {
				return err
			}
			return a.followDeploy(cmd.Context(), c, o, timeout)
		},
	}
	f := c.Flags()
	f.StringArrayVar(&r.To, "to", nil, "a group, or a device (repeat for several), by id or name")
	f.StringVar(&r.Update, "update", "", "instead of a package: an update (id or name@version)")
	f.StringVar(&r.Reason, "reason", "", "why, for the ledger")
	f.BoolVarP(&r.DryRun, "dry-run", "n", false, "only show what would happen")
	f.BoolVar(&wait, "wait", false, "follow until it is installed on all connected devices that it can go to, or fails")
	f.DurationVar(&timeout, "timeout", 30*time.Minute, "with --wait: stop following after this time")
	_ = c.RegisterFlagCompletionFunc("to", a.complete(0, targets))
	_ = c.RegisterFlagCompletionFunc("update", a.complete(0, updates))
	return c
}

// showDeploy says for each device what a deployment means.
func showDeploy(p *printer, o client.DeployOutcome) {
	t := newTable(flex("DEVICE", 8), flex("GROUP", 8), col("ANSWER"), flex("HAS", 8), num("SIZE"), flex("WHY", 24))
	next := []string{}
	for _, d := range o.Devices {
		why := d.Why
		if d.Offline {
			why = strings.TrimPrefix(why+"; not connected now", "; ")
		}
		t.add(toned(d.Name, strong), text(d.Group), answerOf(d, o.DryRun), text(d.Version), text(size(d.Download)), text(why))
		if d.Next != "" && !slices.Contains(next, d.Next) {
			next = append(next, d.Next)
		}
	}
	if len(o.Devices) > 0 {
		p.table(t)
	}
	if more := o.Counts.Devices - len(o.Devices); more > 0 {
		p.line("… and %s more.", many(more, "device"))
	}
	n := o.Counts
	switch {
	case o.Unchanged:
		p.line("It is deployed there already (act %d).", o.Act.Act)
	case o.DryRun:
		p.line("Would deploy %s %s: %s would get it, %d have it, %d held, %d not known yet.", o.Update.Name, o.Update.Version, many(n.Install, "device"), n.There+n.Other, n.Held, n.Waits)
	default:
		p.line("Deployed %s %s (act %d): %s will get it, %d have it, %d held, %d not known yet.", o.Update.Name, o.Update.Version, o.Act.Act, many(n.Install, "device"), n.There+n.Other, n.Held, n.Waits)
		p.line("Follow it: assent package deployments   End it: assent package undeploy %d", o.Act.Act)
	}
	for _, line := range next {
		p.line("What it waits for: %s", line)
	}
}

func answerOf(d client.DeployDevice, dry bool) cell {
	switch d.Answer {
	case client.DeployInstalls:
		if dry {
			return toned("would install", good)
		}
		return toned("will install", good)
	case client.DeployThere:
		return toned("has it", good)
	case client.DeployOther:
		return toned("has another", plain)
	case client.DeployHeld:
		return toned("held", warn)
	case client.DeployWaits:
		return toned("not known yet", faint)
	}
	return text(string(d.Answer))
}

func goesTo(d client.DeployRow) string {
	if d.Scope != "" {
		return d.Group
	}
	return strings.Join(d.Names, ", ")
}

func (a *app) packageDeployments() *cobra.Command {
	return &cobra.Command{
		Use: "deployments", Short: "List the deployments that stand, and how far they are", Args: args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			list, err := c.Deployments(cmd.Context())
			if err != nil {
				return err
			}
			return a.answer(list, func(p *printer) {
				if len(list.Items) > 0 {
					t := newTable(num("ACT"), flex("UPDATE", 12), flex("TO", 8), num("DEVICES"), num("DONE"), num("PENDING"), num("BLOCKED"), num("WAITING"), col("BY"), col("AT"), flex("HELD", 8))
					for _, d := range list.Items {
						held := cell{}
						if d.Refused != nil {
							held = toned(d.Refused.Code, bad)
						}
						t.add(text(count(int(d.Act.Act))), toned(d.Update.Name+" "+d.Update.Version, strong), text(goesTo(d)), text(count(d.Total)), text(count(d.Done)), text(count(d.Pending)),
							text(count(d.Blocked)), text(count(d.Waiting)), text(d.By), text(a.when(d.At)), held)
					}
					p.table(t)
				}
				rest(p, list, "deployment")
			})
		},
	}
}

// followDeploy prints how far a deployment is until nothing of it is on its way to a connected device.
func (a *app) followDeploy(parent ctx, c *client.Client, o client.DeployOutcome, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(parent, timeout)
	defer cancel()
	offline := 0
	for _, d := range o.Devices {
		if d.Offline && d.Answer == client.DeployInstalls {
			offline++
		}
	}
	p := a.printerTo(a.Err, a.Width)
	var last client.DeployRow
	err := a.watch(ctx, c, func(ctx context.Context) (bool, error) {
		list, err := c.Deployments(ctx)
		if err != nil {
			return false, err
		}
		row, stands := deployOf(list.Items, o.Act.Act)
		if !stands {
			return true, fault.New(fault.Gone, "deployment_ended", "Somebody ended the deployment %d.", o.Act.Act)
		}
		if row.Done != last.Done || row.Pending != last.Pending || row.Blocked != last.Blocked {
			p.line("%s  %s %s: %d done, %d on their way, %d blocked", a.Now().In(a.zone()).Format("15:04:05"), o.Update.Name, o.Update.Version, row.Done, row.Pending, row.Blocked)
		}
		last = row
		return row.Pending <= offline, p.flush()
	})
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded) && parent.Err() == nil:
		return fault.New(fault.Unavailable, "wait_timeout", "Not finished within %v; it goes on, see `assent package deployments`.", timeout)
	case err != nil:
		return err
	}
	if last.Waiting > 0 {
		p.line("%s not approved for it, or not heard of yet: they follow by themselves.", many(last.Waiting, "device"))
	}
	if offline > 0 {
		p.line("%s not connected: the application follows when they are back.", many(offline, "device"))
	}
	if err := p.flush(); err != nil {
		return err
	}
	if last.Blocked > 0 {
		return fault.New(failed, "not_installed", "Blocked on %s; `assent why DEVICE UPDATE` says why.", many(last.Blocked, "device"))
	}
	return nil
}

func deployOf(rows []client.DeployRow, act int64) (client.DeployRow, bool) {
	for _, r := range rows {
		if r.Act.Act == act {
			return r, true
		}
	}
	return client.DeployRow{}, false
}
