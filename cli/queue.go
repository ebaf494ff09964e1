package cli

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"assent/client"
	"assent/installation"
)

func (a *app) queue() *cobra.Command {
	var q client.QueueQuery
	var states []string
	var cause string
	flags := func(c *cobra.Command) *cobra.Command {
		c.Flags().StringVarP(&q.Group, "group", "g", "", "only devices of this group (id or name) and below")
		c.Flags().StringVar(&q.Device, "device", "", "only this device")
		c.Flags().StringSliceVar(&states, "state", nil, "only these states, for example downloading,installing")
		c.Flags().StringVar(&cause, "cause", "", "only what is blocked for this cause, for example no_space")
		c.Flags().BoolFunc("overdue", "only what lasts longer than it may (--overdue=false: only the rest)", func(text string) error {
			late, err := strconv.ParseBool(text)
			q.Overdue = &late
			return err
		})
		a.completeGroup(c, "group")
		a.completeDeviceFlag(c, "device")
		addView(c)
		return c
	}
	query := func() client.QueueQuery {
		q.State, q.Cause = typed[installation.State](states), installation.Cause(cause)
		return q
	}
	list := a.queueList(query)
	c := sub("queue", "See what is on its way to devices", flags(list), flags(a.queueWatch(query)))
	c.RunE, c.Args = list.RunE, list.Args // `assent queue` alone lists
	return flags(c)
}

func (a *app) queueList(query func() client.QueueQuery) *cobra.Command {
	var page pageFlags
	c := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List installs and rollbacks under way", Args: args(0, 0, ""),
		Example: `  assent queue list --group Web`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			if err := a.useView(cmd, c, "queue"); err != nil {
				return err
			}
			list, err := pages(cmd.Context(), page, func(ctx ctx, p client.Page) (client.List[client.QueueRow], error) {
				return c.Queue(ctx, query(), p)
			})
			if err != nil {
				return err
			}
			return a.answer(list, func(p *printer) { a.showQueue(p, list) })
		},
	}
	addPage(c, &page, "device, name, state, since")
	return c
}

func (a *app) showQueue(p *printer, list client.List[client.QueueRow]) {
	if len(list.Items) == 0 {
		p.line("Nothing is on its way.")
		return
	}
	t := newTable(flex("DEVICE", 8), flex("NAME", 10), flex("VERSION", 8), flex("FROM", 8), col("STATE"), num("SIZE"), col("SINCE"), flex("DETAIL", 12))
	for _, r := range list.Items {
		t.add(toned(r.DeviceName, strong), text(r.Name), text(r.Version), text(r.From), word(string(r.State)), text(size(r.Download)), text(a.when(r.Since)), text(remark(r.DeviceUpdate)))
	}
	p.table(t)
	rest(p, list, "row")
}

func (a *app) queueWatch(query func() client.QueueQuery) *cobra.Command {
	return &cobra.Command{
		Use: "watch", Short: "Show the queue again whenever it changes, until it is empty", Args: args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			if err := a.useView(cmd, c, "queue"); err != nil {
				return err
			}
			return a.watch(cmd.Context(), c, func(ctx context.Context) (bool, error) {
				list, err := c.Queue(ctx, query(), client.Page{Limit: 1000})
				if err != nil {
					return false, err
				}
				err = a.answer(list, func(p *printer) {
					if p.color {
						p.raw("\x1b[H\x1b[2J")
					}
					a.showQueue(p, list)
				})
				return len(list.Items) == 0, err
			})
		},
	}
}

// watch calls look now and after every change, until look says it is done or ctx ends.
func (a *app) watch(ctx context.Context, c *client.Client, look func(context.Context) (bool, error)) error {
	now, err := c.Changes(ctx, 0, 0)
	for err == nil {
		var done bool
		if done, err = look(ctx); done || err != nil {
			return err
		}
		seq := now.Seq
		for err == nil && now.Seq == seq {
			now, err = c.Changes(ctx, seq, longPoll)
		}
	}
	return err
}
