package client

import (
	"context"
	"net/http"
	"time"

	"assent/ledger"
	"assent/window"
)

// NoticeEvent is something that channels tell of.
type NoticeEvent string

// What channels tell of.
const (
	NoticeDigest     NoticeEvent = "digest"     // what needs a decision, once a day
	NoticeDecline    NoticeEvent = "decline"    // somebody declined an update
	NoticeHalt       NoticeEvent = "halt"       // a rollout was halted
	NoticeFailed     NoticeEvent = "failed"     // an install failed
	NoticeRevoked    NoticeEvent = "revoked"    // a publisher recalled an update that devices have
	NoticeSilent     NoticeEvent = "silent"     // a device says nothing any more
	NoticeQuarantine NoticeEvent = "quarantine" // a device was quarantined
	NoticeFeed       NoticeEvent = "feed"       // something is wrong with a feed
	NoticeRestart    NoticeEvent = "restart"    // a device has needed a restart for long
	NoticeForeseen   NoticeEvent = "foreseen"   // a device found beforehand that installs would fail
	NoticeChannel    NoticeEvent = "channel"    // another channel does not get through
)

// NoticeEvents lists what channels tell of.
func NoticeEvents() []NoticeEvent {
	return []NoticeEvent{NoticeDigest, NoticeDecline, NoticeHalt, NoticeFailed, NoticeRevoked, NoticeSilent, NoticeQuarantine, NoticeFeed, NoticeRestart, NoticeForeseen, NoticeChannel}
}

// ChannelRequest makes a channel or changes it: the whole new value, but for a secret that is left out, which stays.
type ChannelRequest struct {
	Name    string             `json:"name" maxLength:"80"`
	Kind    ledger.ChannelKind `json:"kind" enum:"webhook,mail,chat" doc:"Of a channel that is there it cannot change."`
	Address string             `json:"address,omitempty" maxLength:"2000" doc:"webhook: https://…; mail: smtp://[user@]host[:port] (STARTTLS) or smtps://…; chat: leave it out, the address is the secret."`
	From    string             `json:"from,omitempty" maxLength:"320" doc:"Mail: the sender."`
	To      []string           `json:"to,omitempty" maxItems:"20" doc:"Mail: the recipients."`
	Secret  string             `json:"secret,omitempty" maxLength:"4000" doc:"webhook: whsec_… (left out for a new channel, the server makes one and shows it once); mail: the password; chat: the address in shoutrrr's form, such as slack://… . Never shown again."`
	Events  []NoticeEvent      `json:"events" maxItems:"20" doc:"digest, decline, halt, failed, revoked, silent, quarantine, feed, restart, channel"`
	Group   string             `json:"group,omitempty" maxLength:"200" doc:"Whose devices it tells of; all if left out."`
	Quiet   string             `json:"quiet,omitempty" maxLength:"11" doc:"Hours in which nothing is sent: 22:00-07:00."`
	Freezes []window.Freeze    `json:"freezes,omitempty" maxItems:"64" doc:"Days on which nothing is sent."`
	Digest  string             `json:"digest,omitempty" maxLength:"5" doc:"When the digest is sent; 08:00 if left out."`
	Zone    string             `json:"zone,omitempty" maxLength:"64" doc:"Time zone of the times above, such as Europe/Berlin; UTC if left out."`
	Paused  bool               `json:"paused,omitempty" doc:"Send nothing for now."`
}

// ChannelRow is a channel.
type ChannelRow struct {
	ID        string             `json:"id"`
	Name      string             `json:"name"`
	Kind      ledger.ChannelKind `json:"kind"`
	Address   string             `json:"address"`
	From      string             `json:"from,omitempty"`
	To        []string           `json:"to,omitempty"`
	HasSecret bool               `json:"has_secret"`
	Events    []NoticeEvent      `json:"events"`
	Group     string             `json:"group"`
	GroupID   string             `json:"group_id"`
	Quiet     string             `json:"quiet,omitempty"`
	Freezes   []window.Freeze    `json:"freezes,omitempty"`
	Digest    string             `json:"digest,omitempty"`
	Zone      string             `json:"zone,omitempty"`
	Paused    bool               `json:"paused,omitempty"`
	Waiting   int                `json:"waiting"` // messages that wait to be sent
	Sent      int                `json:"sent"`    // in the last 7 days
	GaveUp    int                `json:"gave_up"` // in the last 7 days
	// Error is what the last attempt of the message that is to be sent next ended with.
	Error string `json:"error,omitempty"`
}

// ChannelAct is an act on a channel with how it stands then.
type ChannelAct struct {
	Act
	Channel ChannelRow `json:"channel"`
	// Secret is what the server made for a new webhook. It is shown this once.
	Secret string `json:"secret,omitempty"`
}

// ChannelDetail is a channel with its last messages.
type ChannelDetail struct {
	ChannelRow
	Deliveries []Delivery `json:"deliveries"` // the newest first
}

// Delivery is a message with what became of it.
type Delivery struct {
	ID    string      `json:"id"`
	Event NoticeEvent `json:"event"`
	At    time.Time   `json:"at"`
	Text  string      `json:"text"`
	State string      `json:"state"` // waiting, sent, gave_up, or failed: a test, which is tried once
	Tries int         `json:"tries"`
	Next  time.Time   `json:"next,omitzero"` // the next attempt is not before
	Done  time.Time   `json:"done,omitzero"` // when it was sent or given up
	Error string      `json:"error,omitempty"`
}

// Channels lists the channels.
func (c *Client) Channels(ctx context.Context) (List[ChannelRow], error) {
	return get[List[ChannelRow]](ctx, c, "/channels", nil)
}

// Channel shows a channel, by its name or id, with its last messages.
func (c *Client) Channel(ctx context.Context, ref string) (ChannelDetail, error) {
	return get[ChannelDetail](ctx, c, "/channels/"+escape(ref), nil)
}

// CreateChannel makes a channel.
func (c *Client) CreateChannel(ctx context.Context, r ChannelRequest) (ChannelAct, error) {
	return send[ChannelAct](ctx, c, http.MethodPost, "/channels", r)
}

// ChangeChannel changes a channel.
func (c *Client) ChangeChannel(ctx context.Context, ref string, r ChannelRequest) (ChannelAct, error) {
	return send[ChannelAct](ctx, c, http.MethodPut, "/channels/"+escape(ref), r)
}

// DeleteChannel removes a channel with what waits to be sent by it.
func (c *Client) DeleteChannel(ctx context.Context, ref string) (Act, error) {
	return send[Act](ctx, c, http.MethodDelete, "/channels/"+escape(ref), nil)
}

// TestChannel sends a test message by a channel and says how it went.
func (c *Client) TestChannel(ctx context.Context, ref string) (Delivery, error) {
	return send[Delivery](ctx, c, http.MethodPost, "/channels/"+escape(ref)+"/test", nil)
}
