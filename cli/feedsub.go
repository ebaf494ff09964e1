package cli

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"assent/client"
	"assent/trust"
)

// feedSubscriptions are the commands about the feeds that the server follows. They need a connection, unlike those with
// which a vendor publishes.
func (a *app) feedSubscriptions() []*cobra.Command {
	return []*cobra.Command{a.feedSubscribe(), a.feedList(), a.feedShow(), a.feedUnsubscribe(), a.feedRefresh()}
}

func (a *app) feedSubscribe() *cobra.Command {
	var root string
	var r client.FeedRequest
	c := &cobra.Command{
		Use: "subscribe NAME URL", Short: "Have the server follow a feed",
		Long: `Have the server follow the feed that is published at URL, under the name that its publisher gave it. The server verifies
it at once, from the root that you trust: the publisher's first root.json, or its SHA-256, which you got by a way that
nobody on the line can change. Devices pin the same root and verify everything again.

Subscribing again with another URL follows the feed from there; another root needs the feed to be given up first.`,
		Example: `  assent feed subscribe acme https://updates.acme.example/feed --root acme-root.json
  assent feed subscribe acme https://updates.acme.example/feed --root-sha256 3b5d…`,
		Args: args(2, 2, "the feed's name and address"),
		RunE: func(cmd *cobra.Command, given []string) error {
			if (root == "") == (r.RootSHA256 == "") {
				return usage("say which root you trust with --root FILE or --root-sha256 HEX")
			}
			r.Name, r.URL = given[0], given[1]
			if root != "" {
				var err error
				if r.Root, err = readRoot(root); err != nil {
					return err
				}
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			done, err := c.SubscribeFeed(cmd.Context(), r)
			if err != nil {
				return err
			}
			return a.answer(done, func(p *printer) {
				p.line("The server follows %s from %s (act %d). Pinned root: %s", r.Name, r.URL, done.Act.Act, done.Feed.RootSHA256)
			})
		},
	}
	c.Flags().StringVar(&root, "root", "", "file with the feed's first root.json")
	c.Flags().StringVar(&r.RootSHA256, "root-sha256", "", "SHA-256 of the feed's first root.json; the server fetches it from the feed")
	return c
}

// readRoot reads a root that the caller trusts.
func readRoot(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, usage("the root cannot be read: %v", err)
	}
	if !info.Mode().IsRegular() || info.Size() > trust.MaxRoot {
		return nil, usage("%s is no root: it is no file, or larger than %d bytes", name, trust.MaxRoot)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, usage("the root cannot be read: %v", err)
	}
	return b, nil
}

func (a *app) feedList() *cobra.Command {
	return &cobra.Command{
		Use: "subscriptions", Short: "List the feeds that the server follows", Args: args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			list, err := c.Feeds(cmd.Context())
			if err != nil {
				return err
			}
			return a.answer(list, func(p *printer) {
				t := newTable(col("NAME"), col("STATE"), num("RELEASES"), num("FILES"), col("VERIFIED"), col("EXPIRES"), flex("URL", 12))
				for _, f := range list.Items {
					t.add(toned(f.Name, strong), feedState(f), text(count(f.Releases)), text(fmt.Sprintf("%d of %d", f.FilesHere, f.Files)),
						text(a.when(f.LastSuccess)), text(a.when(f.Expires)), text(f.URL))
				}
				if len(list.Items) > 0 {
					p.table(t)
				}
				rest(p, list, "feed")
				for _, f := range list.Items {
					for _, alarm := range f.Alarms {
						p.line("%s: %s", f.Name, feedProblem(alarm))
					}
				}
			})
		},
	}
}

// feedState is how following a feed goes, in one word or two.
func feedState(f client.FeedRow) cell {
	switch {
	case len(f.Alarms) > 0:
		return toned("alarm", bad)
	case f.Error != nil:
		return toned("failing", warn)
	case f.LastSuccess.IsZero():
		return toned("new", faint)
	case f.Fetching:
		return toned("fetching", faint)
	}
	return toned("verified", good)
}

func feedProblem(p client.FeedProblem) string {
	if p.Target == "" {
		return p.Message
	}
	return p.Target + ": " + p.Message
}

func (a *app) feedShow() *cobra.Command {
	return &cobra.Command{
		Use: "subscription NAME", Short: "Show a feed that the server follows", Example: "  assent feed subscription acme",
		Args: args(1, 1, "the feed's name"), ValidArgsFunction: a.completeFeeds(),
		RunE: func(cmd *cobra.Command, names []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			f, err := c.Feed(cmd.Context(), names[0])
			if err != nil {
				return err
			}
			return a.answer(f, func(p *printer) { a.showFeed(p, f) })
		},
	}
}

func (a *app) showFeed(p *printer, f client.FeedRow) {
	p.line("%s from %s", f.Name, f.URL)
	p.line("Pinned root  %s", f.RootSHA256)
	p.line("Verified     %s, tried %s", a.when(f.LastSuccess), a.when(f.LastTry))
	p.line("Signatures   until %s; root %d, targets %d, snapshot %d, timestamp %d", a.when(f.Expires), f.Versions.Root, f.Versions.Targets, f.Versions.Snapshot, f.Versions.Timestamp)
	p.line("Releases     %d, of which %d recalled, %d held", f.Releases, f.Recalled, len(f.Held))
	p.line("Files here   %d of %d, %s of %s", f.FilesHere, f.Files, size(f.BytesHere), size(f.Bytes))
	if f.Error != nil {
		p.line("Last try     failed: %s", feedProblem(*f.Error))
	}
	for _, problem := range f.Alarms {
		p.line("Alarm        %s", feedProblem(problem))
	}
	for _, problem := range f.Held {
		p.line("Held         %s", problem.Message)
	}
	for _, problem := range f.Refused {
		p.line("Refused      %s", feedProblem(problem))
	}
}

func (a *app) feedUnsubscribe() *cobra.Command {
	return &cobra.Command{
		Use: "unsubscribe NAME", Short: "Stop following a feed; what it published stays listed", Example: "  assent feed unsubscribe acme",
		Args: args(1, 1, "the feed's name"), ValidArgsFunction: a.completeFeeds(),
		RunE: func(cmd *cobra.Command, names []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			act, err := c.UnsubscribeFeed(cmd.Context(), names[0])
			if err != nil {
				return err
			}
			return a.answer(act, func(p *printer) { p.line("The server does not follow %s any more (act %d).", names[0], act.Act) })
		},
	}
}

func (a *app) feedRefresh() *cobra.Command {
	var r client.FeedRefresh
	c := &cobra.Command{
		Use: "refresh NAME", Short: "Have the server look at a feed now", Example: "  assent feed refresh acme --wait",
		Args: args(1, 1, "the feed's name"), ValidArgsFunction: a.completeFeeds(),
		RunE: func(cmd *cobra.Command, names []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			f, err := c.RefreshFeed(cmd.Context(), names[0], r)
			if err != nil {
				return err
			}
			return a.answer(f, func(p *printer) {
				if r.Wait {
					p.line("%s is verified: %s, signatures until %s.", f.Name, many(f.Releases, "release"), a.when(f.Expires))
					return
				}
				p.line("The server looks at %s.", f.Name)
			})
		},
	}
	c.Flags().BoolVar(&r.Wait, "wait", false, "wait until the server has verified the feed, or say why it does not verify")
	return c
}

// completeFeeds completes names of subscribed feeds.
func (a *app) completeFeeds() completer {
	return a.complete(1, func(ctx context.Context, c *client.Client, _ string) []string {
		list, err := c.Feeds(ctx)
		if err != nil {
			return nil
		}
		var names []string
		for _, f := range list.Items {
			names = append(names, f.Name)
		}
		return names
	})
}
