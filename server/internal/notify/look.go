package notify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"assent/approval"
	"assent/client"
	"assent/fleet"
	"assent/installation"
	"assent/ledger"
	"assent/server/internal/index"
	"assent/server/internal/store"
)

// page is how many entries of the ledger are read at a time.
const page = 500

// sight is what a look needs of one moment.
type sight struct {
	now      time.Time
	seq      int64
	tree     fleet.Tree
	channels []ledger.Channel
	tell     map[string][]Condition // by channel
}

// look finds out what channels are to be told and queues it. Of several servers only one does.
func (s *Service) look(ctx context.Context) (err error) {
	now := s.Now()
	if idle, err := s.idle(ctx); err != nil || idle {
		return err
	}
	lease, ok, err := s.turn(ctx)
	if err != nil || !ok {
		return err
	}
	ctx = store.Fenced(ctx, lease)
	defer func() {
		if errors.Is(err, store.ErrFenced) {
			s.leased = time.Time{} // it is somebody else's now
		}
	}()
	v := s.sees(now)
	if err := s.lookLedger(ctx, v); err != nil {
		return err
	}
	if err := s.addTroubled(ctx, v); err != nil {
		return err
	}
	for _, c := range v.channels {
		if c.Paused {
			continue
		}
		if err := s.lookFor(ctx, v, c); err != nil {
			return fmt.Errorf("channel %s: %w", c.ID, err)
		}
	}
	return nil
}

// idle reports whether there is nothing to do: nobody to tell, and no more of the ledger to pass over than is read at once when
// there is.
func (s *Service) idle(ctx context.Context) (bool, error) {
	channels, seq := 0, int64(0)
	s.Index.View(func(v *index.View) { channels, seq = len(v.State().Channels), v.State().Seq })
	if channels > 0 {
		return false, nil
	}
	at, known, err := s.Outbox.ToldLedger(ctx)
	return known && seq-at < page, err
}

// turn takes the lease of looking. It is written anew after half of its time only; what a look writes carries it in any case.
func (s *Service) turn(ctx context.Context) (store.Lease, bool, error) {
	if !s.leased.IsZero() && time.Since(s.leased) < leaseFor/2 {
		return s.lease, true, nil
	}
	asked := time.Now()
	lease, ok, err := s.Outbox.Lease(ctx, "notify", s.Holder, leaseFor)
	s.lease, s.leased = lease, time.Time{}
	if err == nil && ok {
		s.leased = asked
	}
	return lease, ok, err
}

// sees reads what is so now, for each channel.
func (s *Service) sees(now time.Time) *sight {
	out := &sight{now: now, tell: map[string][]Condition{}}
	s.Index.View(func(v *index.View) {
		out.seq, out.tree = v.State().Seq, v.Tree()
		out.channels = slices.SortedFunc(maps.Values(v.State().Channels), func(a, b ledger.Channel) int { return cmp.Compare(a.ID, b.ID) })
		for _, c := range out.channels {
			if !c.Paused {
				out.tell[c.ID] = s.conditions(v, c, now)
			}
		}
	})
	for _, c := range out.channels {
		if !c.Paused && wants(c, client.NoticeFeed) {
			out.tell[c.ID] = append(out.tell[c.ID], s.feeds()...)
		}
	}
	return out
}

func wants(c ledger.Channel, e client.NoticeEvent) bool { return slices.Contains(c.Events, string(e)) }

// ofDevice finds a condition of a device.
type ofDevice struct {
	event client.NoticeEvent
	of    func(*index.View, index.Device, time.Time) (Condition, bool)
}

// conditions lists what is so now in the group of a channel and what it tells of.
func (s *Service) conditions(v *index.View, c ledger.Channel, now time.Time) []Condition {
	var out []Condition
	byDevice := slices.DeleteFunc([]ofDevice{{client.NoticeFailed, failed}, {client.NoticeSilent, s.silent}, {client.NoticeQuarantine, quarantined}, {client.NoticeRestart, s.restart}, {client.NoticeForeseen, foreseen}},
		func(k ofDevice) bool { return !wants(c, k.event) })
	if len(byDevice) > 0 {
		for d := range v.Devices(c.Group) {
			for _, k := range byDevice {
				if cond, ok := k.of(v, d, now); ok {
					cond.Event, cond.Name = k.event, name(d.Name)
					cond.Subject = string(k.event) + "/" + string(d.ID)
					cond.Devices, cond.Path = []string{string(d.ID)}, "/devices/"+string(d.ID)
					out = append(out, cond)
				}
			}
		}
	}
	if wants(c, client.NoticeRevoked) {
		out = append(out, revoked(v, c, now)...)
	}
	return out
}

// failed are the installs that failed on a device: one condition however many.
func failed(v *index.View, d index.Device, _ time.Time) (Condition, bool) {
	var c Condition
	var last store.InstallRow
	var names []string
	if d.Retired() {
		return c, false
	}
	for row := range d.Installs() {
		if row.State != installation.Failed && row.State != installation.RemoveFailed {
			continue
		}
		title := name(string(row.Update))
		if u, ok := v.Update(row.Update); ok {
			title = name(u.Release.Name + " " + u.Release.Version)
		}
		names, c.Updates = append(names, title), append(c.Updates, string(row.Update))
		if row.Since.After(last.Since) || last.Update == "" {
			last = row
		}
	}
	if len(names) == 0 {
		return c, false
	}
	slices.Sort(names)
	slices.Sort(c.Updates)
	c.Mark = last.Since.UTC().Format(time.RFC3339Nano)
	c.Text = fmt.Sprintf("On %s failed: %s%s.", name(d.Name), some(names), because(last.Detail))
	return c, true
}

func (s *Service) silent(_ *index.View, d index.Device, now time.Time) (Condition, bool) {
	seen := d.Contact.LastSeen
	if seen.IsZero() {
		seen = d.EnrolledAt
	}
	if d.State != fleet.Active || d.Connected || now.Sub(seen) < s.Silent {
		return Condition{}, false
	}
	return Condition{Mark: seen.UTC().Format(time.RFC3339Nano), Text: fmt.Sprintf("%s has said nothing since %s.", name(d.Name), seen.UTC().Format("2006-01-02 15:04 MST"))}, true
}

func quarantined(_ *index.View, d index.Device, _ time.Time) (Condition, bool) {
	if d.State != fleet.Quarantined {
		return Condition{}, false
	}
	return Condition{Mark: d.Reason, Text: fmt.Sprintf("%s is quarantined and gets nothing until somebody looks at it%s.", name(d.Name), because(d.Reason))}, true
}

func (s *Service) restart(_ *index.View, d index.Device, _ time.Time) (Condition, bool) {
	if d.State != fleet.Active || d.Facts == nil || len(d.Facts.Restart) == 0 {
		return Condition{}, false
	}
	return Condition{After: s.Restart, Text: fmt.Sprintf("%s has needed a restart for more than %s%s.", name(d.Name), plural(int(s.Restart.Hours()/24), "day", "days"),
		because(strings.Join(d.Facts.Restart, ", ")))}, true
}

// foreseen is what a device found beforehand that would fail: one condition however many.
func foreseen(v *index.View, d index.Device, _ time.Time) (Condition, bool) {
	var c Condition
	var names, marks []string
	found := d.WouldFail()
	for _, u := range found {
		title := name(string(u.Update))
		if known, ok := v.Update(u.Update); ok {
			title = name(known.Release.Name + " " + known.Release.Version)
		}
		names, c.Updates = append(names, title+" ("+strings.ReplaceAll(name(string(u.Cause)), "_", " ")+")"), append(c.Updates, string(u.Update))
		marks = append(marks, string(u.Update)+" "+string(u.Cause))
	}
	if len(found) == 0 {
		return c, false
	}
	c.Mark = strings.Join(marks, ",")
	c.Text = fmt.Sprintf("On %s would fail in their next window: %s%s.", name(d.Name), some(names), because(found[0].Detail))
	return c, true
}

// revoked are the updates that their publishers recalled, that devices of the group have and that nobody declined (A8).
func revoked(v *index.View, c ledger.Channel, now time.Time) []Condition {
	var out []Condition
	in := v.In(c.Group)
	for u := range v.Updates() {
		if !u.Recalled() || !u.Has.Intersects(in) || v.Status(u.Release, c.Group, now).Status == approval.Declined {
			continue
		}
		title := name(u.Release.Name + " " + u.Release.Version)
		out = append(out, Condition{Event: client.NoticeRevoked, Subject: "revoked/" + string(u.ID), Name: title, Updates: []string{string(u.ID)}, Path: "/updates/" + string(u.ID),
			Text: fmt.Sprintf("Its publisher recalled %s, which %s here: decline it to take it back%s.", title, plural(int(in.AndCardinality(u.Has)), "device has", "devices have"), because(u.Published.Revoked.Reason))})
	}
	return out
}

// feeds is what is wrong with feeds.
func (s *Service) feeds() []Condition {
	if s.Alarms == nil {
		return nil
	}
	var out []Condition
	for _, a := range s.Alarms() {
		out = append(out, Condition{Event: client.NoticeFeed, Subject: strings.Join([]string{"feed", a.Feed, a.Code, a.Target}, "/"), Name: name(a.Feed), Path: "/feeds/" + name(a.Feed),
			Text: fmt.Sprintf("Feed %s%s.", name(a.Feed), because(a.Message))})
	}
	return out
}

// troubleFor is how long a message that was given up is told of.
const troubleFor = 24 * time.Hour

// addTroubled adds for each channel that the others do not get through.
func (s *Service) addTroubled(ctx context.Context, v *sight) error {
	if !slices.ContainsFunc(v.channels, func(c ledger.Channel) bool { return wants(c, client.NoticeChannel) }) {
		return nil
	}
	for _, c := range v.channels {
		counts, err := s.Outbox.CountOutgoing(ctx, c.ID, v.now.Add(-troubleFor))
		if err != nil {
			return err
		}
		if counts[store.GaveUp] == 0 {
			continue
		}
		for _, other := range v.channels {
			if other.ID != c.ID && wants(other, client.NoticeChannel) {
				v.tell[other.ID] = append(v.tell[other.ID], Condition{Event: client.NoticeChannel, Subject: "channel/" + c.ID, Name: name(c.Name), Path: "/channels/" + c.ID,
					Text: fmt.Sprintf("The channel %s does not get through: %s given up.", name(c.Name), plural(counts[store.GaveUp], "message was", "messages were"))})
			}
		}
	}
	return nil
}

// lookFor queues what a channel is to be told of what is so now.
func (s *Service) lookFor(ctx context.Context, v *sight, c ledger.Channel) error {
	before, err := s.Outbox.Told(ctx, c.ID)
	if err != nil {
		return err
	}
	tell, told, forget := Due(v.tell[c.ID], before, v.now)
	q := store.Queued{Told: map[string][]store.Told{c.ID: told}, Forget: map[string][]string{c.ID: forget}}
	notices, keys := Notices(tell, s.Public)
	for i, n := range notices {
		// A subject is told of once in an hour at most, so the hour tells occurrences apart that have the same mark.
		out, err := outgoing(c, n, keys[i]+"\x00"+v.now.UTC().Truncate(again).Format(time.RFC3339), v.now)
		if err != nil {
			return err
		}
		q.Messages = append(q.Messages, out)
	}
	if err := s.addDigest(ctx, v, c, before, &q); err != nil {
		return err
	}
	return s.queue(ctx, q)
}

// queue writes what there is to write and wakes who sends it.
func (s *Service) queue(ctx context.Context, q store.Queued) error {
	if len(q.Messages) == 0 && !anyIn(q.Told) && !anyIn(q.Forget) && q.Ledger == 0 {
		return nil
	}
	if err := s.Outbox.Queue(ctx, q); err != nil {
		return err
	}
	for _, m := range q.Messages {
		s.wake(m.Channel)
	}
	return nil
}

// anyIn reports whether there is anything in any of the lists.
func anyIn[T any](lists map[string][]T) bool {
	for _, l := range lists {
		if len(l) > 0 {
			return true
		}
	}
	return false
}

// lookLedger queues what the new entries of the ledger give to tell. What is older than a channel is not told.
func (s *Service) lookLedger(ctx context.Context, v *sight) error {
	at, known, err := s.Outbox.ToldLedger(ctx)
	if err != nil {
		return err
	}
	if len(v.channels) == 0 { // there is nobody to tell
		if known && at == v.seq {
			return nil
		}
		return s.queue(ctx, store.Queued{Ledger: v.seq})
	}
	for at < v.seq {
		raw, err := s.Outbox.Entries(ctx, at+1, page)
		if err != nil {
			return err
		}
		if len(raw) == 0 {
			return nil
		}
		q := store.Queued{Ledger: raw[len(raw)-1].Seq}
		for _, r := range raw {
			if err := s.tellEntry(v, r, &q); err != nil {
				return err
			}
		}
		if err := s.queue(ctx, q); err != nil {
			return err
		}
		at = q.Ledger
	}
	return nil
}

func (s *Service) tellEntry(v *sight, r store.RawEntry, q *store.Queued) error {
	e, err := ledger.Decode(r.Data)
	if err != nil {
		return fmt.Errorf("read ledger entry %d: %w", r.Seq, err)
	}
	for _, c := range v.channels {
		if c.Paused || e.At.Before(c.Made) {
			continue
		}
		n, ok := told(e, c, v.tree, s.Public)
		if !ok || !wants(c, n.Event) {
			continue
		}
		out, err := outgoing(c, n, fmt.Sprintf("act/%d", e.Seq), e.At)
		if err != nil {
			return err
		}
		q.Messages = append(q.Messages, out)
	}
	return nil
}
