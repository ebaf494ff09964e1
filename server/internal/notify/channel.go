package notify

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"assent/client"
	"assent/fault"
	"assent/fleet"
	"assent/ledger"
	"assent/server/internal/auth"
	"assent/server/internal/index"
	"assent/server/internal/store"
	"assent/window"
)

// Bounds of channels.
const (
	maxChannels = 100
	listed      = 50 // messages that a channel's page shows
	countedFor  = 7 * 24 * time.Hour
	clockForm   = "15:04"
	defaultTime = "08:00"
)

// Channels lists the channels. All of this is for administrators of the root group.
func (s *Service) Channels(ctx context.Context, who auth.Actor) (client.List[client.ChannelRow], error) {
	out := client.List[client.ChannelRow]{Items: []client.ChannelRow{}}
	if err := who.CanAll(ledger.Administrator); err != nil {
		return out, err
	}
	var all []ledger.Channel
	s.Index.View(func(v *index.View) { all = slices.Collect(maps.Values(v.State().Channels)) })
	slices.SortFunc(all, func(a, b ledger.Channel) int { return cmp.Compare(a.Name, b.Name) })
	for _, c := range all {
		row, err := s.row(ctx, c)
		if err != nil {
			return out, err
		}
		out.Items = append(out.Items, row)
	}
	out.Total = len(out.Items)
	return out, nil
}

// Channel shows a channel with its last messages.
func (s *Service) Channel(ctx context.Context, who auth.Actor, ref string) (client.ChannelDetail, error) {
	c, err := s.find(who, ref)
	if err != nil {
		return client.ChannelDetail{}, err
	}
	out := client.ChannelDetail{Deliveries: []client.Delivery{}}
	if out.ChannelRow, err = s.row(ctx, c); err != nil {
		return out, err
	}
	messages, err := s.Outbox.Outgoings(ctx, c.ID, listed)
	for _, m := range messages {
		out.Deliveries = append(out.Deliveries, delivery(m))
	}
	return out, err
}

func delivery(m store.Outgoing) client.Delivery {
	d := client.Delivery{ID: m.ID, Event: client.NoticeEvent(m.Event), At: m.At, Text: m.Text, State: string(m.State), Tries: m.Tries, Next: m.Next, Error: m.Error}
	if m.State != store.Waiting {
		d.Done = m.Done
	}
	return d
}

// find looks a channel up by its id or name.
func (s *Service) find(who auth.Actor, ref string) (c ledger.Channel, err error) {
	if err := who.CanAll(ledger.Administrator); err != nil {
		return c, err
	}
	found := false
	s.Index.View(func(v *index.View) {
		if c, found = v.State().Channels[ref]; found {
			return
		}
		for _, o := range v.State().Channels {
			if o.Name == ref {
				c, found = o, true
			}
		}
	})
	if !found {
		return c, fault.New(fault.NotFound, "channel_unknown", "There is no channel %.80q.", ref).On("channel")
	}
	return c, nil
}

// row is a channel with how it goes.
func (s *Service) row(ctx context.Context, c ledger.Channel) (client.ChannelRow, error) {
	out := client.ChannelRow{ID: c.ID, Name: c.Name, Kind: c.Kind, Address: c.Address, From: c.From, To: c.To, Group: string(c.Group), GroupID: string(c.Group),
		Quiet: c.Quiet, Freezes: c.Freezes, Digest: c.Digest, Zone: c.Zone, Paused: c.Paused}
	s.Index.View(func(v *index.View) {
		if g, ok := v.Tree().Get(c.Group); ok {
			out.Group = g.Name
		}
	})
	for _, e := range c.Events {
		out.Events = append(out.Events, client.NoticeEvent(e))
	}
	var err error
	if _, out.HasSecret, err = s.Outbox.ChannelSecret(ctx, c.ID); err != nil {
		return out, err
	}
	counts, err := s.Outbox.CountOutgoing(ctx, c.ID, s.Now().Add(-countedFor))
	if err != nil {
		return out, err
	}
	out.Waiting, out.Sent, out.GaveUp = counts[store.Waiting], counts[store.Sent], counts[store.GaveUp]
	if out.Waiting > 0 {
		m, _, err := s.Outbox.NextOutgoing(ctx, c.ID)
		if err != nil {
			return out, err
		}
		out.Error = m.Error
	}
	return out, nil
}

// CreateChannel makes a channel.
func (s *Service) CreateChannel(ctx context.Context, who auth.Actor, r client.ChannelRequest) (client.ChannelAct, error) {
	made := ""
	if r.Kind == ledger.Webhook && r.Secret == "" {
		made = newSecret()
		r.Secret = made
	}
	out, err := s.set(ctx, who, "c"+strings.ToLower(rand.Text()[:12]), r, r.Secret)
	out.Secret = made
	if err != nil {
		out.Secret = ""
	}
	return out, err
}

// ChangeChannel changes a channel. Its secret stays unless another one is given; to another address it never goes
// along, or somebody could have it sent to a server of theirs.
func (s *Service) ChangeChannel(ctx context.Context, who auth.Actor, ref string, r client.ChannelRequest) (client.ChannelAct, error) {
	c, err := s.find(who, ref)
	if err != nil {
		return client.ChannelAct{}, err
	}
	if r.Kind != c.Kind {
		return client.ChannelAct{}, fault.New(fault.Conflict, "channel_kind", "The channel is of the kind %s; make another one.", c.Kind).On("kind")
	}
	secret := r.Secret
	if secret == "" {
		if secret, err = s.secret(ctx, c.ID); err != nil {
			return client.ChannelAct{}, fault.New(fault.Conflict, "channel_secret", "The channel's secret cannot be read: give it again.").On("secret").Because(err)
		}
		if secret != "" && c.Kind == ledger.Mail && r.Address != c.Address {
			return client.ChannelAct{}, fault.New(fault.Invalid, "channel_secret", "With another mail server the password has to be given again.").On("secret")
		}
	}
	return s.set(ctx, who, c.ID, r, secret)
}

// set writes a channel, and its secret if the request has one.
func (s *Service) set(ctx context.Context, who auth.Actor, id string, r client.ChannelRequest, secret string) (client.ChannelAct, error) {
	if err := who.CanAll(ledger.Administrator); err != nil {
		return client.ChannelAct{}, err
	}
	c, err := s.read(id, r, secret)
	if err != nil {
		return client.ChannelAct{}, err
	}
	var beside []store.Beside
	if r.Secret != "" {
		beside = append(beside, store.PutChannelSecret(id, s.seal.seal(id, secret)))
	}
	e, err := s.Index.ActBeside(ctx, who.Name, func(v *index.View) (ledger.Body, error) {
		g, ok := v.Tree().Find(cmp.Or(r.Group, string(fleet.Root)))
		if !ok {
			return nil, fault.New(fault.NotFound, "group_unknown", "There is no group %.80q.", r.Group).On("group")
		}
		if _, there := v.State().Channels[id]; !there && len(v.State().Channels) >= maxChannels {
			return nil, fault.New(fault.Conflict, "channels_full", "There are %d channels already.", maxChannels)
		}
		c.Group = g.ID
		return ledger.ChannelSet{Channel: c, Secret: r.Secret != ""}, who.CanAll(ledger.Administrator)
	}, beside...)
	if err != nil {
		return client.ChannelAct{}, err
	}
	s.acted(e, who)
	row, err := s.row(ctx, c)
	return client.ChannelAct{Act: client.Act{Act: e.Seq, At: e.At}, Channel: row}, err
}

func (s *Service) acted(e ledger.Entry, who auth.Actor) {
	s.Log.Info("act", "act", e.Seq, "kind", e.Kind, "by", who.Name)
	s.lookSoon()
}

// read is the channel that a request asks for.
func (s *Service) read(id string, r client.ChannelRequest, secret string) (ledger.Channel, error) {
	c := ledger.Channel{ID: id, Name: strings.TrimSpace(r.Name), Kind: r.Kind, Address: r.Address, From: r.From, To: r.To, Quiet: r.Quiet, Freezes: r.Freezes, Zone: r.Zone, Paused: r.Paused}
	if c.Name == "" || utf8.RuneCountInString(c.Name) > 80 || c.Name != plain(c.Name, 80) {
		return c, fault.New(fault.Invalid, "channel_name", "The name is empty, too long or not in plain characters.").On("name")
	}
	send, ok := s.senders[r.Kind]
	if !ok {
		return c, fault.New(fault.Invalid, "channel_kind", "The kind is one of webhook, mail, chat.").On("kind")
	}
	if c.Kind != ledger.Mail && (c.From != "" || len(c.To) > 0) {
		return c, fault.New(fault.Invalid, "channel_to", "Only mail has a sender and recipients.").On("to")
	}
	if err := events(&c, r); err != nil {
		return c, err
	}
	if _, err := quiet(c); err != nil {
		return c, err
	}
	if err := send.check(c, secret); err != nil {
		return c, err
	}
	if c.Kind == ledger.Chat { // its address is the secret
		c.Address, _, _ = chatName(secret)
	}
	return c, nil
}

// events reads what the channel tells of, and when the digest is due.
func events(c *ledger.Channel, r client.ChannelRequest) error {
	if len(r.Events) == 0 {
		return fault.New(fault.Invalid, "channel_events", "Say what the channel tells of.").On("events")
	}
	for _, e := range client.NoticeEvents() { // in one order, each once
		if slices.Contains(r.Events, e) {
			c.Events = append(c.Events, string(e))
		}
	}
	for _, e := range r.Events {
		if !slices.Contains(client.NoticeEvents(), e) {
			return fault.New(fault.Invalid, "channel_events", "There is nothing %.40q to tell of.", string(e)).On("events")
		}
	}
	if r.Digest != "" {
		if _, err := time.Parse(clockForm, r.Digest); err != nil {
			return fault.New(fault.Invalid, "channel_digest", "The time of the digest is like 08:00.").On("digest")
		}
	}
	if wants(*c, client.NoticeDigest) {
		c.Digest = cmp.Or(r.Digest, defaultTime)
	}
	return nil
}

func digestTime(c ledger.Channel) string { return cmp.Or(c.Digest, defaultTime) }

func zoneName(c ledger.Channel) string { return cmp.Or(c.Zone, "UTC") }

// quiet is when a channel sends: outside its quiet hours and freezes.
func quiet(c ledger.Channel) (window.Windows, error) {
	if _, err := window.LoadZone(zoneName(c)); err != nil {
		return window.Windows{}, err
	}
	s := window.Schedule{Zone: zoneName(c), Freezes: c.Freezes}
	if c.Quiet != "" {
		from, to, _ := strings.Cut(c.Quiet, "-")
		begin, err1 := time.Parse(clockForm, from)
		end, err2 := time.Parse(clockForm, to)
		if err1 != nil || err2 != nil || from == to {
			return window.Windows{}, fault.New(fault.Invalid, "channel_quiet", "Quiet hours are like 22:00-07:00.").On("quiet")
		}
		length := begin.Sub(end) // from the end of the quiet hours to their next beginning
		if length < 0 {
			length += 24 * time.Hour
		}
		s.Rule, s.Start, s.Length = "FREQ=DAILY", "2020-01-01T"+to, window.Duration(length)
	}
	return window.Parse(s)
}

// DeleteChannel removes a channel with what waits to be sent by it.
func (s *Service) DeleteChannel(ctx context.Context, who auth.Actor, ref string) (client.Act, error) {
	c, err := s.find(who, ref)
	if err != nil {
		return client.Act{}, err
	}
	e, err := s.Index.Act(ctx, who.Name, func(*index.View) (ledger.Body, error) { return ledger.ChannelRemove{ID: c.ID, Name: c.Name}, nil })
	if err != nil {
		return client.Act{}, err
	}
	s.acted(e, who)
	return client.Act{Act: e.Seq, At: e.At}, nil
}

// TestChannel sends a test message at once, past what waits and quiet hours, and says how that went. It is tried once.
func (s *Service) TestChannel(ctx context.Context, who auth.Actor, ref string) (client.Delivery, error) {
	c, err := s.find(who, ref)
	if err != nil {
		return client.Delivery{}, err
	}
	e, err := s.Index.Act(ctx, who.Name, func(*index.View) (ledger.Body, error) { return ledger.ChannelTest{ID: c.ID, Name: c.Name}, nil })
	if err != nil {
		return client.Delivery{}, err
	}
	s.acted(e, who)
	n := Notice{Event: "test", Text: fmt.Sprintf("This is a test of the channel %s by %s.", name(c.Name), name(who.Name)), Act: e.Seq, Link: link(s.Public, "/channels/"+c.ID)}
	m, err := outgoing(c, n, fmt.Sprintf("test/%d", e.Seq), e.At)
	if err != nil {
		return client.Delivery{}, err
	}
	failed := s.try(ctx, c, m)
	m = after(m, failed, s.Now(), s.jitter)
	if failed != nil {
		m.State, m.Done, m.Next = store.Failed, s.Now(), time.Time{}
	}
	return delivery(m), s.Outbox.Queue(context.WithoutCancel(ctx), store.Queued{Messages: []store.Outgoing{m}})
}
