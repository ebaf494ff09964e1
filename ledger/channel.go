package ledger

import (
	"time"

	"assent/fault"
	"assent/fleet"
	"assent/window"
)

// ChannelKind says how a channel reaches people.
type ChannelKind string

// The kinds of channels.
const (
	Webhook ChannelKind = "webhook" // a POST with a signature (Standard Webhooks)
	Mail    ChannelKind = "mail"
	Chat    ChannelKind = "chat" // Slack, Teams and others
)

// Valid reports whether k is one of the kinds.
func (k ChannelKind) Valid() bool { return k == Webhook || k == Mail || k == Chat }

// Channel is a way to tell people what happened. What it proves itself with is no part of it.
type Channel struct {
	ID      string          `json:"id"`
	Name    string          `json:"name"`
	Kind    ChannelKind     `json:"kind"`
	Address string          `json:"address"`          // of a webhook its URL, of mail smtp(s)://[user@]host[:port], of a chat only the service's name: its address is a secret
	From    string          `json:"from,omitempty"`   // mail
	To      []string        `json:"to,omitempty"`     // mail
	Events  []string        `json:"events"`           // what it tells of
	Group   fleet.GroupID   `json:"group"`            // whose devices it tells of, with all below
	Quiet   string          `json:"quiet,omitempty"`  // hours in which nothing is sent, local: 22:00-07:00
	Freezes []window.Freeze `json:"freezes,omitzero"` // days on which nothing is sent
	Digest  string          `json:"digest,omitempty"` // when the digest is sent, local: 08:00
	Zone    string          `json:"zone,omitempty"`   // IANA name of the zone of the times above; empty: UTC
	Paused  bool            `json:"paused,omitempty"` // nothing is sent
	Made    time.Time       `json:"made,omitzero"`    // set by the state: what was before is not told
}

// The acts on channels.
type (
	// ChannelSet makes a channel, or changes it.
	ChannelSet struct {
		Channel Channel `json:"channel"`
		Secret  bool    `json:"secret,omitempty"` // its secret was replaced too
	}
	// ChannelRemove removes a channel with what waits to be sent by it.
	ChannelRemove struct {
		ID   string `json:"id"`
		Name string `json:"name"`
	}
	// ChannelTest sends a test message.
	ChannelTest struct {
		ID   string `json:"id"`
		Name string `json:"name"`
	}
)

// Kind names what each act is.
func (ChannelSet) Kind() Kind    { return "channel.set" }
func (ChannelRemove) Kind() Kind { return "channel.remove" }
func (ChannelTest) Kind() Kind   { return "channel.test" }

func (s *State) setChannel(e Entry, b ChannelSet) error {
	c := b.Channel
	if _, ok := s.Groups[c.Group]; !ok {
		return unknownGroup(c.Group)
	}
	if !c.Kind.Valid() {
		return fault.New(fault.Invalid, "channel_kind", "%q is not a kind of channel.", c.Kind).On("kind")
	}
	for _, o := range s.Channels {
		if o.ID != c.ID && o.Name == c.Name {
			return fault.New(fault.Conflict, "channel_name", "There is a channel %q already.", c.Name).On("name")
		}
	}
	c.Made = e.At
	if old, ok := s.Channels[c.ID]; ok {
		c.Made = old.Made
	}
	s.Channels[c.ID] = c
	return nil
}

// testChannel changes nothing: the act says that a message went out.
func (s *State) testChannel(b ChannelTest) error {
	if _, ok := s.Channels[b.ID]; !ok {
		return fault.New(fault.NotFound, "channel_unknown", "There is no channel %q.", b.ID).On("channel")
	}
	return nil
}

// channelFor finds a channel that tells of a group.
func (s *State) channelFor(id fleet.GroupID) (Channel, bool) {
	for _, c := range s.Channels {
		if c.Group == id {
			return c, true
		}
	}
	return Channel{}, false
}
