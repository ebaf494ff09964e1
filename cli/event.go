package cli

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/spf13/cobra"

	"assent/client"
)

func (a *app) event() *cobra.Command {
	var q client.EventQuery
	flags := func(c *cobra.Command) *cobra.Command {
		c.Flags().StringVar(&q.Device, "device", "", "only from this device")
		c.Flags().StringVar(&q.Update, "update", "", "only about this update")
		c.Flags().StringVar(&q.Event, "event", "", "only these, for example guard_refused")
		a.completeDeviceFlag(c, "device")
		return c
	}
	c := sub("event", "See what devices reported", flags(a.eventList(&q)), flags(a.eventWatch(&q)))
	c.Aliases = []string{"events"}
	return c
}

func (a *app) eventList(q *client.EventQuery) *cobra.Command {
	c := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List events, newest first", Args: args(0, 0, ""),
		Example: `  assent event list --device web1 --limit 20
  assent event list --event guard_refused`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			if err := a.useView(cmd, c, "events"); err != nil {
				return err
			}
			list, err := c.Events(cmd.Context(), *q)
			if err != nil {
				return err
			}
			return a.answer(list, func(p *printer) {
				if len(list.Items) == 0 {
					p.line("No events.")
					return
				}
				a.showEvents(p, list.Items)
			})
		},
	}
	addView(c)
	c.Flags().IntVar(&q.Limit, "limit", 100, "events to show, 1 to 1000")
	return c
}

func (a *app) showEvents(p *printer, events []client.Event) {
	t := newTable(col("AT"), flex("DEVICE", 8), col("EVENT"), col("UPDATE"), flex("DETAIL", 20))
	for _, e := range events {
		t.add(text(a.exactly(e.At)), text(e.DeviceName), text(e.Event), text(string(e.Update)), text(e.Detail))
	}
	p.table(t)
}

func (a *app) eventWatch(q *client.EventQuery) *cobra.Command {
	return &cobra.Command{
		Use: "watch", Short: "Print events as they arrive, until interrupted", Args: args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			newest, err := c.Events(cmd.Context(), client.EventQuery{Device: q.Device, Update: q.Update, Event: q.Event, Limit: 1})
			if err != nil {
				return err
			}
			var last int64
			for _, e := range newest.Items {
				last = e.ID
			}
			return a.watch(cmd.Context(), c, func(ctx context.Context) (bool, error) {
				last, err = a.printNew(ctx, c, *q, last)
				return false, err
			})
		},
	}
}

// printNew prints what arrived after the event with id last, oldest first, and returns the newest id. Ids
// grow with arrival while the list is sorted by the devices' own times, so it looks at a whole page.
func (a *app) printNew(ctx context.Context, c *client.Client, q client.EventQuery, last int64) (int64, error) {
	q.Limit = 1000
	list, err := c.Events(ctx, q)
	if err != nil {
		return last, err
	}
	fresh := slices.DeleteFunc(list.Items, func(e client.Event) bool { return e.ID <= last })
	slices.SortFunc(fresh, func(x, y client.Event) int { return int(x.ID - y.ID) })
	p := a.printer()
	for _, e := range fresh {
		last = max(last, e.ID)
		if a.json {
			line, err := json.Marshal(e)
			if err != nil {
				return last, err
			}
			p.raw(string(line) + "\n")
			continue
		}
		p.line("%s  %s  %s  %s  %s", a.exactly(e.At), e.DeviceName, e.Event, string(e.Update), e.Detail)
	}
	return last, p.flush()
}
