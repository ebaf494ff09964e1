package notify

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"assent/client"
	"assent/server/internal/store"
)

// Condition is something that is so now and that somebody should hear of. Its texts are plain.
type Condition struct {
	Event   client.NoticeEvent
	Subject string        // what it is about, such as one device; told once while it lasts
	Mark    string        // tells an occurrence from the next of the same subject
	After   time.Duration // it is told only if it was so for this long
	Text    string        // a sentence
	Name    string        // of the subject, for a sentence about many
	Devices []string
	Updates []string
	Path    string // of its page in the console
}

// Times of telling.
const (
	again   = time.Hour // a subject is told of at most this often
	pending = "\x00pending"
	// together is how many conditions of one event are told one by one; more are told in one message.
	together = 3
)

// Due says which conditions a channel is to be told of now, what it then was told, and what can be forgotten: by what
// it was told before. A condition that lasts is told once; one that comes back, not before an hour has passed.
func Due(all []Condition, before []store.Told, now time.Time) (tell []Condition, told []store.Told, forget []string) {
	was := make(map[string]store.Told, len(before))
	for _, t := range before {
		was[t.Subject] = t
	}
	stands := map[string]bool{}
	for _, c := range all {
		stands[c.Subject] = true
		t, known := was[c.Subject]
		switch {
		case !known && c.After > 0:
			told = append(told, store.Told{Subject: c.Subject, Mark: pending, At: now})
			continue
		case known && t.Mark == pending && now.Sub(t.At) < c.After,
			known && t.Mark == c.Mark,
			known && t.Mark != pending && now.Sub(t.At) < again:
			continue
		}
		tell = append(tell, c)
		told = append(told, store.Told{Subject: c.Subject, Mark: c.Mark, At: now})
	}
	for _, t := range before {
		if !stands[t.Subject] && !lasting(t.Subject) && (t.Mark == pending || now.Sub(t.At) >= again) {
			forget = append(forget, t.Subject)
		}
	}
	return tell, told, forget
}

// digestSubject is under which a channel's last digest is remembered.
const digestSubject = "digest"

// lasting reports whether a subject is remembered for its time, not because it stands.
func lasting(subject string) bool { return subject == digestSubject }

// Notices makes messages of conditions: few one by one, many of one event together. The keys belong to them.
func Notices(tell []Condition, public string) (out []Notice, keys []string) {
	byEvent := map[client.NoticeEvent][]Condition{}
	for _, c := range tell {
		byEvent[c.Event] = append(byEvent[c.Event], c)
	}
	for _, event := range client.NoticeEvents() {
		list := byEvent[event]
		slices.SortFunc(list, func(a, b Condition) int { return cmp.Compare(a.Subject, b.Subject) })
		if len(list) > together {
			n, key := gathered(event, list, public)
			out, keys = append(out, n), append(keys, key)
			continue
		}
		for _, c := range list {
			out = append(out, Notice{Event: c.Event, Text: c.Text, Devices: c.Devices, Updates: c.Updates, Link: link(public, c.Path)})
			keys = append(keys, c.Subject+"\x00"+c.Mark)
		}
	}
	return out, keys
}

// gathered is one message for many conditions of an event.
func gathered(event client.NoticeEvent, list []Condition, public string) (Notice, string) {
	n := Notice{Event: event, Link: link(public, pages(event))}
	var names []string
	var key strings.Builder
	key.WriteString("many")
	for _, c := range list {
		n.Lines = append(n.Lines, c.Text)
		n.Devices, n.Updates = append(n.Devices, c.Devices...), append(n.Updates, c.Updates...)
		names = append(names, c.Name)
		key.WriteString("\x00" + c.Subject + "\x00" + c.Mark)
	}
	n.Text = fmt.Sprintf("%s: %s.", fmt.Sprintf(many(event), len(list)), some(names))
	n.Devices, n.Updates = unique(n.Devices), unique(n.Updates)
	return n, key.String()
}

func unique(s []string) []string {
	slices.Sort(s)
	return slices.Compact(s)
}

// many is how a sentence about many of an event begins.
func many(event client.NoticeEvent) string {
	switch event {
	case client.NoticeFailed:
		return "Installs failed on %d devices"
	case client.NoticeRevoked:
		return "%d updates were recalled by their publishers"
	case client.NoticeSilent:
		return "%d devices have said nothing for long"
	case client.NoticeQuarantine:
		return "%d devices are quarantined and get nothing"
	case client.NoticeFeed:
		return "%d things are wrong with feeds"
	case client.NoticeRestart:
		return "%d devices have needed a restart for long"
	case client.NoticeForeseen:
		return "Installs would fail on %d devices in their next window"
	}
	return "%d channels do not get through"
}

// pages is where the console lists what an event is about.
func pages(event client.NoticeEvent) string {
	switch event {
	case client.NoticeFailed:
		return "/queue?state=failed"
	case client.NoticeRevoked:
		return "/updates?revoked=true&installed=true"
	case client.NoticeSilent:
		return "/devices?only=silent"
	case client.NoticeQuarantine:
		return "/devices?state=quarantined"
	case client.NoticeFeed:
		return "/feeds"
	case client.NoticeRestart:
		return "/devices?only=restart"
	case client.NoticeForeseen:
		return "/rehearsals"
	case client.NoticeChannel:
		return "/channels"
	}
	return "/"
}
