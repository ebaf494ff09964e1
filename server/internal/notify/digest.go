package notify

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"assent/catalog"
	"assent/client"
	"assent/ledger"
	"assent/server/internal/auth"
	"assent/server/internal/store"
)

// lateDigest is how late a digest is still sent, after a time without a server.
const lateDigest = 12 * time.Hour

// digestAt is the last moment, not after now, at which a channel's digest is due; zero if that is too long ago.
func digestAt(c ledger.Channel, now time.Time) time.Time {
	zone, err := time.LoadLocation(zoneName(c))
	if err != nil {
		zone = time.UTC // the zone was good when the channel was set
	}
	clock, err := time.Parse(clockForm, digestTime(c))
	if err != nil {
		return time.Time{}
	}
	local := now.In(zone)
	for back := range 2 {
		at := time.Date(local.Year(), local.Month(), local.Day()-back, clock.Hour(), clock.Minute(), 0, 0, zone)
		if !at.After(now) {
			if now.Sub(at) > lateDigest || at.Before(c.Made) {
				return time.Time{}
			}
			return at.UTC()
		}
	}
	return time.Time{}
}

// addDigest adds the digest of the day, once. A day on which nothing needs a decision has none.
func (s *Service) addDigest(ctx context.Context, v *sight, c ledger.Channel, before []store.Told, q *store.Queued) error {
	at := digestAt(c, v.now)
	if !wants(c, client.NoticeDigest) || at.IsZero() {
		return nil
	}
	mark := at.Format(time.RFC3339)
	if slices.ContainsFunc(before, func(t store.Told) bool { return t.Subject == digestSubject && t.Mark >= mark }) {
		return nil
	}
	status, err := s.Figures.Status(ctx, auth.Actor{Name: "server", Role: ledger.Viewer, Scope: c.Group})
	if err != nil {
		return fmt.Errorf("figures of the digest: %w", err)
	}
	q.Told[c.ID] = append(q.Told[c.ID], store.Told{Subject: digestSubject, Mark: mark, At: v.now})
	n, ok := digest(status)
	if !ok {
		return nil
	}
	n.Link = link(s.Public, "/updates/seamless")
	out, err := outgoing(c, n, digestSubject+"\x00"+mark, at)
	if err != nil {
		return err
	}
	q.Messages = append(q.Messages, out)
	return nil
}

// digest says what needs a decision, or anything else of a person.
func digest(s client.Status) (Notice, bool) {
	n := Notice{Event: client.NoticeDigest}
	sum := 0
	var parts strings.Builder
	for _, severity := range []catalog.Severity{catalog.Critical, catalog.High, catalog.Medium, catalog.Low, catalog.Unrated} {
		count := s.Undecided[string(severity)]
		if sum += count; count > 0 {
			fmt.Fprintf(&parts, ", %d %s", count, severity)
		}
	}
	for _, a := range s.Attention {
		n.Lines = append(n.Lines, plain(a, maxDetail))
	}
	switch {
	case sum > 0:
		n.Text = fmt.Sprintf("%s for a decision: %s.", plural(sum, "update waits", "updates wait"), parts.String()[2:])
	case len(n.Lines) > 0:
		n.Text = "No update waits for a decision, but something needs you."
	default:
		return n, false
	}
	return n, true
}
