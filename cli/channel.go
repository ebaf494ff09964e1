package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"assent/client"
	"assent/fault"
	"assent/ledger"
	"assent/window"
)

// channel holds the ways to tell people what happened.
func (a *app) channel() *cobra.Command {
	c := sub("channel", "Tell people by webhook, mail or chat", a.channelList(), a.channelShow(), a.channelSet(true), a.channelSet(false), a.channelTest(), a.channelDelete())
	c.Aliases = []string{"channels"}
	c.Long = `Channels tell people what needs them: the daily digest of what waits for a decision, declines, halted rollouts, failed
installs, recalled updates, silent and quarantined devices, feeds in trouble, restarts that are needed for long. They are
for administrators of the root group.`
	return c
}

func (a *app) channelList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List channels", Args: args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			list, err := c.Channels(cmd.Context())
			if err != nil {
				return err
			}
			return a.answer(list, func(p *printer) {
				t := newTable(col("NAME"), col("STATE"), col("KIND"), num("WAITING"), num("SENT"), num("GAVE UP"), flex("ADDRESS", 12))
				for _, h := range list.Items {
					t.add(toned(h.Name, strong), channelState(h), text(string(h.Kind)), text(count(h.Waiting)), text(count(h.Sent)), text(count(h.GaveUp)), text(h.Address))
				}
				if len(list.Items) > 0 {
					p.table(t)
				}
				rest(p, list, "channel")
			})
		},
	}
}

// channelState is how a channel does, in a word.
func channelState(h client.ChannelRow) cell {
	switch {
	case h.Paused:
		return toned("paused", faint)
	case h.Error != "":
		return toned("failing", warn)
	case h.GaveUp > 0:
		return toned("lost", bad)
	}
	return toned("ready", good)
}

func (a *app) channelShow() *cobra.Command {
	return &cobra.Command{
		Use: "show CHANNEL", Example: "  assent channel show ops", Short: "Show a channel with its last messages", Args: args(1, 1, "a channel"), ValidArgsFunction: a.completeChannels(),
		RunE: func(cmd *cobra.Command, names []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			h, err := c.Channel(cmd.Context(), names[0])
			if err != nil {
				return err
			}
			return a.answer(h, func(p *printer) { a.showChannel(p, h) })
		},
	}
}

func (a *app) showChannel(p *printer, h client.ChannelDetail) {
	p.line("%s (%s): %s to %s", h.Name, h.ID, string(h.Kind), h.Address)
	if len(h.To) > 0 {
		p.line("Mail      from %s to %s", h.From, strings.Join(h.To, ", "))
	}
	var events []string
	for _, e := range h.Events {
		events = append(events, string(e))
	}
	p.line("Tells of  %s in %s", strings.Join(events, ", "), h.Group)
	if h.Digest != "" {
		p.line("Digest    at %s %s", h.Digest, h.Zone)
	}
	if h.Quiet != "" {
		p.line("Quiet     %s %s", h.Quiet, h.Zone)
	}
	for _, f := range h.Freezes {
		p.line("Freeze    %s to %s: %s", f.From, f.To, f.Name)
	}
	if h.Error != "" {
		p.line("Failing   %s", h.Error)
	}
	for _, d := range h.Deliveries {
		p.line("%s  %s  %s", a.when(d.At), strings.ReplaceAll(d.State, "_", " "), d.Text)
		if d.Error != "" {
			p.line("    %s", d.Error)
		}
	}
}

// channelSet is create and change, which take the same flags. What change is not told stays as it is.
func (a *app) channelSet(create bool) *cobra.Command {
	var given client.ChannelRequest
	var kind string
	var events, freezes []string
	c := &cobra.Command{Use: "change CHANNEL", Short: "Change a channel; what is not given stays", Args: args(1, 1, "a channel")}
	if create {
		c.Use, c.Short = "create NAME", "Make a channel"
		c.Long = `Make a channel. A secret is read from standard input or the terminal, never from an argument:

  webhook  signs with a secret that the server makes and shows once, unless --secret gives one (whsec_…)
  mail     smtp://user@host with STARTTLS, smtps:// with TLS; --secret asks for the password
  chat     Slack, Teams and others; the secret is the address in shoutrrr's form, such as slack://hook:…@webhook`
		c.Example = `  assent channel create ops --kind webhook --address https://hooks.example.org/assent
  assent channel create mail --kind mail --address smtp://assent@mail.example.org --secret --from assent@example.org --to ops@example.org
  assent channel create slack --kind chat --secret --events halt,failed --quiet 22:00-07:00 --zone Europe/Berlin`
	} else {
		c.Example = `  assent channel change ops --events halt,failed --paused`
		c.ValidArgsFunction = a.completeChannels()
	}
	var ask bool
	f := c.Flags()
	if create {
		f.StringVar(&kind, "kind", "webhook", "webhook, mail or chat")
	} else {
		f.StringVar(&given.Name, "name", "", "another name")
	}
	f.StringVar(&given.Address, "address", "", "where it goes")
	f.StringVar(&given.From, "from", "", "sender of mail")
	f.StringSliceVar(&given.To, "to", nil, "recipients of mail")
	f.BoolVar(&ask, "secret", false, "read the secret from standard input or the terminal")
	f.StringSliceVar(&events, "events", nil, "what it tells of (all): "+eventNames())
	f.StringVar(&given.Group, "group", "", "whose devices it tells of, with all below")
	f.StringVar(&given.Quiet, "quiet", "", "hours in which nothing is sent, such as 22:00-07:00")
	f.StringArrayVar(&freezes, "freeze", nil, "days on which nothing is sent: 'FROM TO NAME', such as '12-20 01-06 Christmas'")
	f.StringVar(&given.Digest, "digest", "", "when the digest is sent (08:00)")
	f.StringVar(&given.Zone, "zone", "", "time zone of these times (UTC)")
	f.BoolVar(&given.Paused, "paused", false, "send nothing for now")
	c.RunE = func(cmd *cobra.Command, names []string) error {
		conn, err := a.connect()
		if err != nil {
			return err
		}
		r := client.ChannelRequest{Name: names[0], Kind: ledger.ChannelKind(kind), Events: client.NoticeEvents()}
		if !create {
			if r, err = asItIs(cmd.Context(), conn, names[0]); err != nil {
				return err
			}
		}
		if err := overlay(cmd, &r, given, events, freezes); err != nil {
			return err
		}
		if ask {
			secret, err := a.ask("Secret of " + clean(r.Name) + ": ")
			if err != nil {
				return err
			}
			r.Secret = string(secret)
		}
		var done client.ChannelAct
		if create {
			done, err = conn.CreateChannel(cmd.Context(), r)
		} else {
			done, err = conn.ChangeChannel(cmd.Context(), names[0], r)
		}
		if err != nil {
			return err
		}
		return a.answer(done, func(p *printer) {
			p.line("The channel %s is set (act %d). Send a test with: assent channel test %s", done.Channel.Name, done.Act.Act, done.Channel.ID)
			if done.Secret != "" {
				p.line("It signs with this secret, which is shown only now: %s", done.Secret)
			}
		})
	}
	return c
}

func eventNames() string {
	var out []string
	for _, e := range client.NoticeEvents() {
		out = append(out, string(e))
	}
	return strings.Join(out, ", ")
}

// asItIs is a channel as a request that changes nothing.
func asItIs(ctx context.Context, c *client.Client, ref string) (client.ChannelRequest, error) {
	h, err := c.Channel(ctx, ref)
	r := client.ChannelRequest{Name: h.Name, Kind: h.Kind, Address: h.Address, From: h.From, To: h.To, Events: h.Events, Group: h.GroupID, Quiet: h.Quiet, Freezes: h.Freezes, Digest: h.Digest, Zone: h.Zone, Paused: h.Paused}
	return r, err
}

// overlay puts the flags that were given over a request.
func overlay(cmd *cobra.Command, r *client.ChannelRequest, given client.ChannelRequest, events, freezes []string) error {
	set := cmd.Flags().Changed
	for flag, put := range map[string]func(){
		"name": func() { r.Name = given.Name }, "address": func() { r.Address = given.Address }, "from": func() { r.From = given.From }, "to": func() { r.To = given.To },
		"group": func() { r.Group = given.Group }, "quiet": func() { r.Quiet = given.Quiet }, "digest": func() { r.Digest = given.Digest }, "zone": func() { r.Zone = given.Zone }, "paused": func() { r.Paused = given.Paused },
	} {
		if set(flag) {
			put()
		}
	}
	if set("events") {
		r.Events = nil
		for _, e := range events {
			r.Events = append(r.Events, client.NoticeEvent(e))
		}
	}
	if set("freeze") {
		r.Freezes = nil
		for _, f := range freezes {
			words := strings.Fields(f)
			if len(words) < 3 {
				return usage("a freeze is like '12-20 01-06 Christmas', not %q", clean(f))
			}
			r.Freezes = append(r.Freezes, window.Freeze{From: words[0], To: words[1], Name: strings.Join(words[2:], " ")})
		}
	}
	return nil
}

func (a *app) channelTest() *cobra.Command {
	return &cobra.Command{
		Use: "test CHANNEL", Example: "  assent channel test ops", Short: "Send a test message and say how it went", Args: args(1, 1, "a channel"), ValidArgsFunction: a.completeChannels(),
		RunE: func(cmd *cobra.Command, names []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			d, err := c.TestChannel(cmd.Context(), names[0])
			if err != nil {
				return err
			}
			if err := a.answer(d, func(p *printer) {
				if d.State == "sent" {
					p.line("The test was sent (%s).", d.ID)
				}
			}); err != nil || d.State == "sent" {
				return err
			}
			return fault.New(fault.Unavailable, "channel_test_failed", "The test did not get through: %s.", strings.TrimRight(d.Error, "."))
		},
	}
}

func (a *app) channelDelete() *cobra.Command {
	return &cobra.Command{
		Use: "delete CHANNEL", Example: "  assent channel delete ops", Short: "Remove a channel with what waits to be sent by it", Args: args(1, 1, "a channel"), ValidArgsFunction: a.completeChannels(),
		RunE: func(cmd *cobra.Command, names []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			act, err := c.DeleteChannel(cmd.Context(), names[0])
			if err != nil {
				return err
			}
			return a.answer(act, func(p *printer) { p.line("Deleted the channel %s (act %d).", names[0], act.Act) })
		},
	}
}

// completeChannels completes names of channels.
func (a *app) completeChannels() completer {
	return a.complete(1, func(ctx context.Context, c *client.Client, _ string) []string {
		list, err := c.Channels(ctx)
		if err != nil {
			return nil
		}
		var names []string
		for _, h := range list.Items {
			names = append(names, h.Name)
		}
		return names
	})
}
