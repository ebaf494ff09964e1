package web

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"assent/client"
	"assent/fault"
	"assent/fleet"
	"assent/ledger"
	"assent/server/internal/auth"
)

// Channels are the ways to tell people what happened.
type Channels interface {
	Channels(ctx context.Context, who auth.Actor) (client.List[client.ChannelRow], error)
	Channel(ctx context.Context, who auth.Actor, ref string) (client.ChannelDetail, error)
	CreateChannel(ctx context.Context, who auth.Actor, r client.ChannelRequest) (client.ChannelAct, error)
	ChangeChannel(ctx context.Context, who auth.Actor, ref string, r client.ChannelRequest) (client.ChannelAct, error)
	DeleteChannel(ctx context.Context, who auth.Actor, ref string) (client.Act, error)
	// TestChannel sends a message, which takes as long as its receiver does.
	TestChannel(ctx context.Context, who auth.Actor, ref string) (client.Delivery, error)
}

// channelRoutes are the part of the table about channels. They tell of the whole installation.
func (s *server) channelRoutes() []Route {
	made := confirmed(answer(AdministratorOfAll, http.MethodPost, "/channels", s.createChannel))
	made.Name, made.sample = "channels_made", channelMade{} // where there is a secret to show
	return []Route{
		page(AdministratorOfAll, http.MethodGet, "/channels", "channels", s.channelsPage),
		page(AdministratorOfAll, http.MethodGet, "/channels/new", "channels_edit", s.newChannelPage), // ?kind=
		made,
		page(AdministratorOfAll, http.MethodGet, "/channels/{channel}", "channels_show", s.channelPage),
		page(AdministratorOfAll, http.MethodGet, "/channels/{channel}/edit", "channels_edit", s.editChannelPage),
		confirmed(answer(AdministratorOfAll, http.MethodPost, "/channels/{channel}", s.changeChannel)),
		answer(AdministratorOfAll, http.MethodPost, "/channels/{channel}/test", s.testChannel),
		confirmed(act(AdministratorOfAll, "/channels/{channel}/delete", s.deleteChannel)),
	}
}

func channelHref(id string) string { return "/channels/" + id }

// channelKinds are the kinds of channels with what they are called.
func channelKinds() []Option {
	return []Option{{string(ledger.Webhook), "Webhook"}, {string(ledger.Mail), "E-mail"}, {string(ledger.Chat), "Slack, Teams and others"}}
}

func channelKind(k ledger.ChannelKind) string {
	for _, o := range channelKinds() {
		if o.Value == string(k) {
			return o.Label
		}
	}
	return string(k)
}

// noticeEvents are what channels tell of, in words.
func noticeEvents() []Option {
	return []Option{{string(client.NoticeDigest), "What needs a decision, once a day"}, {string(client.NoticeDecline), "Somebody declined an update"}, {string(client.NoticeHalt), "A rollout was halted"},
		{string(client.NoticeFailed), "An install failed"}, {string(client.NoticeRevoked), "A publisher recalled an update that devices have"}, {string(client.NoticeSilent), "A device says nothing any more"},
		{string(client.NoticeQuarantine), "A device was quarantined"}, {string(client.NoticeFeed), "Something is wrong with a feed"}, {string(client.NoticeRestart), "A device has needed a restart for long"}, {string(client.NoticeForeseen), "Installs would fail in their next window"},
		{string(client.NoticeChannel), "Another channel does not get through"}}
}

type channelsView struct {
	Table Table
	Kinds []Option
}

func (s *server) channelsPage(v *Visit) (channelsView, error) {
	v.Title = "Notifications"
	list, err := s.Channels.Channels(v.Context(), v.Who())
	if err != nil {
		return channelsView{}, err
	}
	t := Table{ID: "channels", One: "channel", Many: "channels", Total: list.Total, Columns: []Column{{Key: "name", Label: "Channel"}, {Key: "state", Label: "State"}, {Key: "kind", Label: "Kind"}, {Key: "address", Label: "Address", Wide: true},
		{Key: "group", Label: "Group", Wide: true}, {Key: "events", Label: "Tells of", Wide: true}, {Key: "waiting", Label: "Waiting", Number: true}, {Key: "sent", Label: "Sent, 7 days", Number: true, Wide: true}, {Key: "gave_up", Label: "Given up, 7 days", Number: true, Wide: true}},
		Empty: Empty{Text: "Nobody is told of anything yet. Make a channel below."}}
	for _, c := range list.Items {
		href := channelHref(c.ID)
		t.Rows = append(t.Rows, Row{ID: c.ID, Label: c.Name, Href: href, Value: c, Cells: []Cell{linked(c.Name, href), channelState(c), plain(channelKind(c.Kind)), plain(c.Address), plain(c.Group),
			plain(strings.Join(mapped(c.Events, func(e client.NoticeEvent) string { return string(e) }), ", ")), number(c.Waiting), number(c.Sent), number(c.GaveUp)}})
	}
	view := channelsView{Kinds: channelKinds()}
	view.Table, err = t.finish(v)
	return view, err
}

// channelState is how a channel does, in a word or two.
func channelState(c client.ChannelRow) Cell {
	switch {
	case c.Paused:
		return Cell{Text: "paused", Tone: "secondary"}
	case c.Error != "":
		return Cell{Text: "failing", Tone: "orange", Title: c.Error}
	case c.GaveUp > 0:
		return Cell{Text: "lost messages", Tone: "red"}
	}
	return Cell{Text: "ready", Tone: "green"}
}

type channelView struct {
	client.ChannelRow
	State      Cell
	KindText   string
	Events     []string
	Deliveries []deliveryView
}

type deliveryView struct {
	client.Delivery
	Cell Cell
}

func (s *server) channelPage(v *Visit) (channelView, error) {
	c, err := s.Channels.Channel(v.Context(), v.Who(), v.Path("channel"))
	if err != nil {
		return channelView{}, err
	}
	v.Title, v.Crumbs = c.Name, []Crumb{{"Notifications", "/channels"}}
	view := channelView{ChannelRow: c.ChannelRow, State: channelState(c.ChannelRow), KindText: channelKind(c.Kind)}
	for _, o := range noticeEvents() {
		if slices.Contains(c.Events, client.NoticeEvent(o.Value)) {
			view.Events = append(view.Events, o.Label)
		}
	}
	for _, d := range c.Deliveries {
		tones := map[string]string{"sent": "green", "waiting": "azure", "gave_up": "red", "failed": "red"}
		view.Deliveries = append(view.Deliveries, deliveryView{d, Cell{Text: strings.ReplaceAll(d.State, "_", " "), Tone: cmp.Or(tones[d.State], "secondary")}})
	}
	return view, nil
}

// channelForm is the form of a channel.
type channelForm struct {
	client.ChannelRequest
	ID        string // empty: a new one
	Action    string
	KindText  string
	HasSecret bool
	ToText    string
	Freezing  string // one freeze in a line: from, to, name
	Choices   []choice
	Groups    []client.GroupRow
	GroupID   string
	Problem   string
	Mail      bool
	Hook      bool
}

type choice struct {
	Option
	Chosen bool
}

func (s *server) newChannelPage(v *Visit) (channelForm, error) {
	kind := ledger.ChannelKind(cmp.Or(v.Query().Get("kind"), string(ledger.Webhook)))
	if !kind.Valid() {
		return channelForm{}, fault.New(fault.Invalid, "channel_kind", "There is no such kind of channel.").On("kind")
	}
	return s.channelForm(v, "", client.ChannelRequest{Kind: kind, Digest: "08:00", Zone: "UTC", Group: string(fleet.Root), Events: client.NoticeEvents()}, ""), nil
}

func (s *server) editChannelPage(v *Visit) (channelForm, error) {
	c, err := s.Channels.Channel(v.Context(), v.Who(), v.Path("channel"))
	if err != nil {
		return channelForm{}, err
	}
	return s.channelForm(v, c.ID, client.ChannelRequest{Name: c.Name, Kind: c.Kind, Address: c.Address, From: c.From, To: c.To, Events: c.Events, Group: c.GroupID,
		Quiet: c.Quiet, Freezes: c.Freezes, Digest: c.Digest, Zone: c.Zone, Paused: c.Paused}, ""), nil
}

// channelForm fills the form of a channel. The secret is never in it.
func (s *server) channelForm(v *Visit, id string, r client.ChannelRequest, problem string) channelForm {
	v.Title, v.Crumbs = "New channel", []Crumb{{"Notifications", "/channels"}}
	f := channelForm{ChannelRequest: r, ID: id, Action: "/channels", KindText: channelKind(r.Kind), HasSecret: id != "", ToText: strings.Join(r.To, ", "), Groups: v.Groups(), GroupID: r.Group, Problem: problem,
		Mail: r.Kind == ledger.Mail, Hook: r.Kind == ledger.Webhook, Freezing: freezeLines(r.Freezes)}
	f.Secret = ""
	if id != "" {
		f.Action = channelHref(id)
		v.Title, v.Crumbs = "Change "+r.Name, append(v.Crumbs, Crumb{r.Name, channelHref(id)})
	}
	for _, o := range noticeEvents() {
		f.Choices = append(f.Choices, choice{o, slices.Contains(r.Events, client.NoticeEvent(o.Value))})
	}
	return f
}

// channelRequest reads the form.
func channelRequest(v *Visit) (client.ChannelRequest, error) {
	freezes, err := readFreezes(v.Request.PostForm.Get("freezes"))
	return client.ChannelRequest{Name: v.Form("name"), Kind: ledger.ChannelKind(v.Form("kind")), Address: v.Form("address"), From: v.Form("from"), Secret: v.Form("secret"), Group: v.Form("group"),
		To:     strings.FieldsFunc(v.Form("to"), func(r rune) bool { return r == ',' || r == ' ' || r == '\n' || r == '\r' }),
		Events: mapped(v.Fields("events"), func(e string) client.NoticeEvent { return client.NoticeEvent(e) }),
		Quiet:  v.Form("quiet"), Freezes: freezes, Digest: v.Form("digest"), Zone: v.Form("zone"), Paused: v.Form("paused") != ""}, err
}

func (s *server) createChannel(w http.ResponseWriter, v *Visit) error {
	r, err := channelRequest(v)
	var done client.ChannelAct
	if err == nil {
		done, err = s.Channels.CreateChannel(v.Context(), v.Who(), r)
	}
	if err != nil {
		return s.channelRefused(w, v, "", r, err)
	}
	if done.Secret != "" {
		v.Title, v.Crumbs = "The secret of "+done.Channel.Name, []Crumb{{"Notifications", "/channels"}}
		return s.show(w, v, "channels_made", channelMade{done.Channel.Name, done.Secret, channelHref(done.Channel.ID)}, http.StatusOK)
	}
	v.Toast(Toast{Tone: "success", Text: fmt.Sprintf("Made the channel %s (act %d). Send a test.", done.Channel.Name, done.Act.Act)})
	redirect(w, v.Request, channelHref(done.Channel.ID))
	return nil
}

// channelMade shows the secret of a new webhook, this once.
type channelMade struct{ Name, Secret, Back string }

// channelRefused shows what is wrong beside the form.
func (s *server) channelRefused(w http.ResponseWriter, v *Visit, id string, r client.ChannelRequest, err error) error {
	f := fault.From(err)
	switch f.Kind {
	case fault.Invalid, fault.Conflict:
		return s.show(w, v, "channels_edit", s.channelForm(v, id, r, f.Message), http.StatusUnprocessableEntity)
	}
	return err
}

func (s *server) changeChannel(w http.ResponseWriter, v *Visit) error {
	c, err := s.Channels.Channel(v.Context(), v.Who(), v.Path("channel"))
	if err != nil {
		return err
	}
	r, err := channelRequest(v)
	r.Kind = c.Kind
	var done client.ChannelAct
	if err == nil {
		done, err = s.Channels.ChangeChannel(v.Context(), v.Who(), c.ID, r)
	}
	if err != nil {
		return s.channelRefused(w, v, c.ID, r, err)
	}
	v.Toast(Toast{Tone: "success", Text: fmt.Sprintf("Changed the channel %s (act %d).", done.Channel.Name, done.Act.Act)})
	redirect(w, v.Request, channelHref(c.ID))
	return nil
}

// testChannel sends a test message and says how it went.
func (s *server) testChannel(w http.ResponseWriter, v *Visit) error {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(patience)) // where it cannot be set, none is
	c, err := s.Channels.Channel(v.Context(), v.Who(), v.Path("channel"))
	if err != nil {
		return err
	}
	d, err := s.Channels.TestChannel(v.Context(), v.Who(), c.ID)
	if err != nil {
		return err
	}
	toast := Toast{Tone: "success", Text: "The test was sent by " + c.Name + "."}
	if d.State != "sent" {
		toast = Toast{Tone: "danger", Text: "The test did not get through: " + d.Error + "."}
	}
	v.Toast(toast)
	for _, cookie := range v.cookies {
		http.SetCookie(w, cookie)
	}
	redirect(w, v.Request, channelHref(c.ID))
	return nil
}

// deleteChannel removes a channel, once its name was typed.
func (s *server) deleteChannel(v *Visit) (string, error) {
	c, err := s.Channels.Channel(v.Context(), v.Who(), v.Path("channel"))
	if err != nil {
		return "", err
	}
	if v.Form("confirm") != c.Name {
		return "", fault.New(fault.Invalid, "confirm_missing", "Type the channel's name to delete it.").On("confirm")
	}
	done, err := s.Channels.DeleteChannel(v.Context(), v.Who(), c.ID)
	if err != nil {
		return "", err
	}
	v.Toast(Toast{Tone: "success", Text: fmt.Sprintf("Deleted the channel %s (act %d).", c.Name, done.Act)})
	return "/channels", nil
}
