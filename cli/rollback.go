package cli

import (
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"assent/client"
)

func (a *app) rollback() *cobra.Command {
	var r client.RollbackRequest
	c := &cobra.Command{
		Use: "rollback UPDATE", Short: "Put back the versions before an update",
		Long: `Order the versions that devices had before the update back, where their files can be had. Look with --dry-run
first: it says for each device what will come back, or why nothing can.`,
		Example: `  assent update rollback u0abc12345678 --dry-run
  assent update rollback u0abc12345678 --decline --group Web --reason "breaks the login page"`,
		Args: args(1, 1, "an update"), ValidArgsFunction: a.completeUpdates(1),
		RunE: func(cmd *cobra.Command, refs []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			r.Update = refs[0]
			o, err := c.Rollback(cmd.Context(), r)
			if err != nil {
				return err
			}
			return a.answer(o, func(p *printer) { showRollback(p, o) })
		},
	}
	f := c.Flags()
	f.StringVarP(&r.Scope, "group", "g", "", "the group (id or name), with all below; the root by default")
	f.StringSliceVar(&r.Devices, "device", nil, "these devices instead of a group")
	f.BoolVar(&r.Decline, "decline", false, "decline the update in the group in the same act")
	f.StringVar(&r.Reason, "reason", "", "why, for the ledger")
	f.BoolVarP(&r.DryRun, "dry-run", "n", false, "only show what would happen")
	c.MarkFlagsMutuallyExclusive("group", "device")
	a.completeGroup(c, "group")
	a.completeDeviceFlag(c, "device")
	return c
}

func showRollback(p *printer, o client.RollbackOutcome) {
	can := 0
	t := newTable(flex("DEVICE", 8), col("BACK"), flex("PACKAGES", 16), flex("WHY", 20))
	for _, d := range o.Devices {
		answer, items := toned("no", bad), []string{}
		if d.Can {
			answer = toned("yes", good)
			can++
		}
		for _, it := range d.Items {
			items = append(items, it.Name+" "+it.Version)
		}
		t.add(toned(d.Name, strong), answer, text(strings.Join(items, ", ")), text(d.Why))
	}
	if len(o.Devices) > 0 {
		p.table(t)
	}
	switch {
	case len(o.Devices) == 0:
		p.line("No device there has this update.")
	case o.DryRun:
		p.line("%s of %s would go back.", strconv.Itoa(can), many(len(o.Devices), "device"))
	default:
		p.line("Ordered on %s (act %d); follow it with assent queue list.", many(can, "device"), o.Act)
	}
}

func (a *app) except() *cobra.Command {
	var r client.ExceptionRequest
	var expires string
	c := &cobra.Command{
		Use: "except UPDATE", Short: "Let an approved update pass a decline, in one group and for a time",
		Long: `Make an exception from a decline. It needs a group, a reason and an end, is listed wherever the decline is, and
lets pass only what is also approved for the devices of the group.`,
		Example: `  assent update except u0abc12345678 --group Test --reason "reproduce the fault" --expires 7d`,
		Args:    args(1, 1, "an update"), ValidArgsFunction: a.completeUpdates(1),
		RunE: func(cmd *cobra.Command, refs []string) error {
			if r.Scope == "" || r.Reason == "" || expires == "" {
				return usage("an exception needs --group, --reason and --expires")
			}
			var err error
			if r.Expires, err = a.until(expires); err != nil {
				return err
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			r.Update = refs[0]
			done, err := c.Except(cmd.Context(), r)
			if err != nil {
				return err
			}
			return a.answer(done, func(p *printer) {
				p.line("Made exception %d: %s may be installed in %s until %s.", done.Act, refs[0], r.Scope, a.when(r.Expires))
				p.line("Undo: assent update unexcept %d", done.Act)
			})
		},
	}
	c.Flags().StringVarP(&r.Scope, "group", "g", "", "the group (id or name), with all below")
	c.Flags().StringVar(&r.Reason, "reason", "", "why")
	c.Flags().StringVar(&expires, "expires", "", "when it ends: a date, or a span like 7d")
	c.Flags().Int64Var(&r.Decline, "decline", 0, "the act that declined, if more than one does")
	a.completeGroup(c, "group")
	return c
}

func (a *app) exceptions() *cobra.Command {
	return &cobra.Command{
		Use: "exceptions", Short: "List exceptions from declines", Args: args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			list, err := c.Exceptions(cmd.Context())
			if err != nil {
				return err
			}
			return a.answer(list, func(p *printer) {
				t := newTable(num("ID"), flex("NAME", 10), flex("VERSION", 8), flex("GROUP", 8), num("DECLINE"), col("BY"), col("UNTIL"), flex("REASON", 12))
				for _, e := range list.Items {
					until := text(a.when(e.Expires))
					if e.Expired {
						until = toned("expired", faint)
					}
					t.add(text(count(int(e.Act))), toned(e.Name, strong), text(e.Version), text(e.ScopeName), text(count(int(e.Decline))), text(e.By), until, text(e.Reason))
				}
				if len(list.Items) > 0 {
					p.table(t)
				}
				rest(p, list, "exception")
			})
		},
	}
}

func (a *app) unexcept() *cobra.Command {
	return &cobra.Command{
		Use: "unexcept ID", Short: "End an exception", Args: args(1, 1, "the exception's number"),
		Example: "  assent update unexcept 17",
		RunE: func(cmd *cobra.Command, ids []string) error {
			id, err := strconv.ParseInt(ids[0], 10, 64)
			if err != nil || id < 1 {
				return usage("%q is not the number of an exception; see assent update exceptions", clean(ids[0]))
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			done, err := c.Unexcept(cmd.Context(), id)
			if err != nil {
				return err
			}
			return a.answer(done, func(p *printer) { p.line("Ended exception %d (act %d).", id, done.Act) })
		},
	}
}
