package notify

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"assent/client"
	"assent/ledger"
	"assent/server/internal/store"
)

// Notice is something to tell: one sentence, and what programs can use. Its texts are plain.
type Notice struct {
	Event   client.NoticeEvent `json:"event"`
	Text    string             `json:"text"`            // one sentence
	Lines   []string           `json:"lines,omitempty"` // what it consists of
	Devices []string           `json:"devices,omitempty"`
	Updates []string           `json:"updates,omitempty"`
	Task    string             `json:"task,omitempty"`
	Act     int64              `json:"act,omitempty"` // the entry of the ledger
	Link    string             `json:"link,omitempty"`
}

// message is what a webhook's body is, and what the other media are rendered from.
type message struct {
	Type      string    `json:"type"` // assent. and the event
	Timestamp time.Time `json:"timestamp"`
	Data      Notice    `json:"data"`
}

// Bounds of one message.
const (
	maxLines = 20
	maxIDs   = 100
)

// outgoing makes the message that tells a channel of a notice. The same key always gives the same id.
func outgoing(c ledger.Channel, n Notice, key string, at time.Time) (store.Outgoing, error) {
	n.Devices, n.Updates = n.Devices[:min(len(n.Devices), maxIDs)], n.Updates[:min(len(n.Updates), maxIDs)]
	if len(n.Lines) > maxLines {
		n.Lines = append(slices.Clone(n.Lines[:maxLines]), fmt.Sprintf("… and %d more", len(n.Lines)-maxLines))
	}
	raw, err := json.Marshal(message{Type: "assent." + string(n.Event), Timestamp: at.UTC().Truncate(time.Second), Data: n})
	if err != nil {
		return store.Outgoing{}, fmt.Errorf("encode a message: %w", err)
	}
	sum := sha256.Sum256([]byte(c.ID + "\x00" + key))
	return store.Outgoing{ID: "msg_" + hex.EncodeToString(sum[:16]), Channel: c.ID, Event: string(n.Event), At: at.UTC(), Text: n.Text, Message: raw}, nil
}

// read is the message as it was queued.
func read(out store.Outgoing) (message, error) {
	var m message
	if err := json.Unmarshal(out.Message, &m); err != nil {
		return m, fmt.Errorf("read the message %s: %w", out.ID, err)
	}
	return m, nil
}

// text is a message for people, with each line of it made harmless for the medium.
func (m message) text(harmless func(string) string) string {
	lines := []string{harmless(m.Data.Text)}
	for _, l := range m.Data.Lines {
		lines = append(lines, "- "+harmless(l))
	}
	if m.Data.Link != "" {
		lines = append(lines, m.Data.Link)
	}
	return strings.Join(lines, "\n")
}

// link is an address of the console; empty if it has none.
func link(public, path string) string {
	if public == "" {
		return ""
	}
	return strings.TrimRight(public, "/") + path
}
