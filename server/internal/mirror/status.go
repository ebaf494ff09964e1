package mirror

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"assent/client"
	"assent/content"
	"assent/fault"
	"assent/ledger"
	"assent/trust"
)

// unreachableFor is how long a feed may fail to be read before it is an alarm.
const unreachableFor = 24 * time.Hour

// status is how following a feed goes.
type status struct {
	since    time.Time // of this run
	success  time.Time // the last look that verified
	try      time.Time // the last look
	err      error     // of the last look
	failures int       // in a row
	listing  listing
	fill     progress
}

// progress is how fetching files goes.
type progress struct {
	files, here           int
	bytes, bytesHere, now int64 // now: of the file that is under way
	fetching              bool
	err                   error // of the last round
}

// begin reads when the last run verified the feed.
func (s *status) begin(store trust.Store, now time.Time) {
	s.since = now
	var c checked
	if b, err := store.Read(checkedFile); err == nil && json.Unmarshal(b, &c) == nil && c.At.Before(now) {
		s.success = c.At
	}
}

// looked notes the end of a look and reports whether that is news.
func (s *status) looked(now time.Time, err error) (news bool) {
	news = code(err) != code(s.err)
	s.try, s.err = now, err
	if err != nil {
		s.failures++
		return news
	}
	s.failures, s.success = 0, now
	return news
}

// code is the code of an error; empty for none.
func code(err error) string {
	if err == nil {
		return ""
	}
	return fault.From(err).Code
}

// problem is an error in words for people.
func problem(err error) *client.FeedProblem {
	if err == nil {
		return nil
	}
	f := fault.From(err)
	return &client.FeedProblem{Code: f.Code, Message: f.Message}
}

// alarms says what somebody should look at. A feed that cannot be read is one after a day; what only an attacker, or a
// publisher in trouble, brings about is one at once, and so is a place of files that this server cannot use.
func (s *status) alarms(e *edition, now time.Time) []client.FeedProblem {
	var out []client.FeedProblem
	add := func(p client.FeedProblem) {
		if !slices.ContainsFunc(out, func(o client.FeedProblem) bool { return o.Code == p.Code && o.Target == p.Target }) {
			out = append(out, p)
		}
	}
	if e != nil && !e.state.Expires.After(now) {
		add(client.FeedProblem{Code: "feed_expired", Message: fmt.Sprintf("The feed's signatures expired on %s. What was verified last stays.", e.state.Expires.UTC().Format("2006-01-02 15:04 UTC"))})
	}
	last := s.success
	if last.IsZero() {
		last = s.since
	}
	switch {
	case s.err == nil:
	case errors.Is(s.err, trust.ErrExpired), errors.Is(s.err, trust.ErrRolledBack), errors.Is(s.err, trust.ErrSignature), content.Unusable(s.err), now.Sub(last) >= unreachableFor:
		add(*problem(s.err))
	}
	if content.Unusable(s.fill.err) {
		add(*problem(s.fill.err))
	}
	for _, p := range s.listing.refused {
		if p.Code == errOther.Code || p.Code == errRecall.Code {
			add(p)
		}
	}
	return out
}

// row is the feed as people see it.
func (f *follower) row() client.FeedRow {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := &f.status
	r := client.FeedRow{Name: f.feed.ID, URL: f.feed.URL, RootSHA256: content.Digest(f.feed.Root), LastSuccess: s.success, LastTry: s.try,
		Error: problem(s.err), Alarms: s.alarms(f.now, f.m.Now()), Releases: s.listing.releases, Recalled: s.listing.recalled, Held: s.listing.held,
		Refused: s.listing.refused, Files: s.fill.files, FilesHere: min(s.fill.here, s.fill.files), Bytes: s.fill.bytes, BytesHere: min(s.fill.bytesHere+s.fill.now, s.fill.bytes), Fetching: s.fill.fetching}
	if f.now != nil {
		st := f.now.state
		r.Expires = st.Expires
		r.Versions = client.FeedVersions{Root: st.RootVersion, Timestamp: st.TimestampVersion, Snapshot: st.SnapshotVersion, Targets: st.TargetsVersion}
	}
	if r.Error == nil {
		r.Error = problem(s.fill.err)
	}
	return r
}

// rowOf is a feed that this server does not follow yet.
func rowOf(f ledger.Feed) client.FeedRow {
	return client.FeedRow{Name: f.ID, URL: f.URL, RootSHA256: content.Digest(f.Root)}
}

// Alarm is something about a feed that somebody should look at.
type Alarm struct {
	Feed string
	client.FeedProblem
}

// Alarms lists what is wrong with feeds, sorted by feed.
func (m *Mirror) Alarms() []Alarm {
	var out []Alarm
	for _, f := range m.sorted() {
		f.mu.Lock()
		for _, p := range f.status.alarms(f.now, m.Now()) {
			out = append(out, Alarm{Feed: f.feed.ID, FeedProblem: p})
		}
		f.mu.Unlock()
	}
	return out
}

// Sentences lists what is wrong with feeds, for people.
func (m *Mirror) Sentences() []string {
	var out []string
	for _, a := range m.Alarms() {
		s := fmt.Sprintf("Feed %s: %s", a.Feed, a.Message)
		if a.Target != "" {
			s += " (" + a.Target + ")"
		}
		out = append(out, s)
	}
	return out
}
