package signin

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"strings"
	"time"

	"assent/client"
	"assent/fault"
	"assent/ledger"
	"assent/server/internal/auth"
	"assent/server/internal/store"
)

// Limits of sessions (N22).
const (
	idleLife     = 30 * time.Minute // without a request
	absoluteLife = 12 * time.Hour   // since signing in
	freshLife    = 15 * time.Minute // how long a proof is good for privileged acts
	maxSessions  = 50               // of one operator; the longest unused makes room
	flushEvery   = time.Minute      // how often last uses are written down
	sweepEvery   = 10 * time.Minute
	maxAgent     = 200 // characters of what a browser calls itself
)

// Session is a browser in which somebody is signed in. What it may do is not in it: that is looked up for every
// request.
type Session = store.Session

// From is where a request came from.
type From struct{ Remote, Agent string }

// keyOf is what is kept of a cookie's value.
func keyOf(cookie string) string {
	sum := sha256.Sum256([]byte(cookie))
	return hex.EncodeToString(sum[:])
}

// Start makes a session and returns the cookie's value, which is always new, so that nobody can plant one.
func (s *Service) Start(ctx context.Context, p Proof, from From) (cookie string, err error) {
	cookie, now := random(), s.Now().UTC()
	made := Session{Key: keyOf(cookie), ID: strings.ToLower(rand.Text()[:12]), Operator: p.Name, Access: p.Access, Own: p.Own, Means: string(p.Means),
		Remote: from.Remote, Agent: Printable(from.Agent, maxAgent), Created: now, Seen: now, Confirmed: now, Until: now.Add(absoluteLife)}
	if err := s.Vault.AddSession(ctx, made, maxSessions); err != nil {
		return "", err
	}
	s.Observe(p.Means, Admitted)
	s.Log.Info("signed in to the console", "operator", p.Name, "means", p.Means, "access", p.Access, "session", made.ID, "remote", from.Remote)
	return cookie, nil
}

// Find returns the session of a cookie's value and who it belongs to now, and notes that it was used.
func (s *Service) Find(ctx context.Context, cookie string) (Session, auth.Session, error) {
	one, who, err := s.Check(ctx, keyOf(cookie))
	if err == nil {
		s.mu.Lock()
		s.seen[one.Key] = s.Now()
		s.mu.Unlock()
	}
	return one, who, err
}

// Check returns a session by its key and who it belongs to now: a role that changed counts from this moment on. A
// session that ended, or whose operator or access token is gone, is refused with fault.Unauthenticated.
func (s *Service) Check(ctx context.Context, key string) (Session, auth.Session, error) {
	one, ok, err := s.Vault.Session(ctx, key)
	if err != nil {
		return Session{}, auth.Session{}, err
	}
	if !ok || !s.alive(one) {
		return Session{}, auth.Session{}, errEnded
	}
	who, ok := s.owner(one)
	if !ok {
		return Session{}, auth.Session{}, errEnded
	}
	one.Seen = s.lastSeen(one)
	return one, who, nil
}

// alive reports whether a session's time is not over.
func (s *Service) alive(one Session) bool {
	now := s.Now()
	return now.Sub(s.lastSeen(one)) < idleLife && now.Before(one.Until)
}

// owner is who a session belongs to, and what they may do at this moment.
func (s *Service) owner(one Session) (auth.Session, bool) {
	out := auth.Session{Access: one.Access, Expires: one.Until}
	o, known := s.Book.Operator(one.Operator)
	if one.Access != "" {
		access, owner, there := s.Book.Access(one.Access)
		known = known && there && !access.OneTime && owner.Name == one.Operator && s.Now().Before(access.Expires)
		if access.Expires.Before(out.Expires) {
			out.Expires = access.Expires
		}
	}
	out.Actor = actor(o)
	return out, known
}

// lastSeen is when a session was last used: the database lags behind a little.
func (s *Service) lastSeen(one Session) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at := s.seen[one.Key]; at.After(one.Seen) {
		return at
	}
	return one.Seen
}

// List is an operator's sessions that count, the last used first.
func (s *Service) List(ctx context.Context, operator string) ([]Session, error) {
	all, err := s.Vault.Sessions(ctx, operator)
	out := make([]Session, 0, len(all))
	for _, one := range all {
		if _, ok := s.owner(one); ok && s.alive(one) {
			one.Seen = s.lastSeen(one)
			out = append(out, one)
		}
	}
	return out, err
}

// End ends a session at once. If signing in made an access token for it, revoking that is left to the caller.
func (s *Service) End(ctx context.Context, key string) error { return s.Vault.EndSession(ctx, key) }

// EndOne ends one of an operator's sessions by its id.
func (s *Service) EndOne(ctx context.Context, operator, id string) error {
	all, err := s.Vault.Sessions(ctx, operator)
	if err != nil {
		return err
	}
	for _, one := range all {
		if one.ID == id {
			return s.Vault.EndSession(ctx, one.Key)
		}
	}
	return fault.New(fault.NotFound, "session_unknown", "There is no such session any more.").On("session")
}

// EndOthers ends an operator's sessions but the one with the key keep, and says how many there were.
func (s *Service) EndOthers(ctx context.Context, operator, keep string) (int, error) {
	n, err := s.Vault.EndSessions(ctx, operator, keep)
	return int(n), err
}

// EndAll signs an operator out everywhere, but for the session with the key keep, as an act.
func (s *Service) EndAll(ctx context.Context, who auth.Actor, operator, keep string) (client.Act, error) {
	return s.act(ctx, who, operator, ledger.SessionEnd{Operator: operator}, store.DropSessions(operator, keep))
}

// Choose notes the group that the person looks from.
func (s *Service) Choose(ctx context.Context, key, group string) error {
	return s.Vault.ScopeSession(ctx, key, group)
}

// Run writes down last uses and forgets ended sessions until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	flush, sweep := time.NewTicker(flushEvery), time.NewTicker(sweepEvery)
	defer flush.Stop()
	defer sweep.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			if err := s.Flush(end); err != nil {
				s.Log.Warn("the last uses of sessions are not written down", "err", err)
			}
			return nil
		case <-flush.C:
			err = s.Flush(ctx)
		case <-sweep.C:
			err = s.sweep(ctx)
		}
		if err != nil && ctx.Err() == nil {
			s.Log.Warn("sessions could not be brought up to date; trying again", "err", err)
		}
	}
}

// sweep forgets what ended. Another server may know of a later use that it has not written down yet.
func (s *Service) sweep(ctx context.Context) error {
	if err := s.Flush(ctx); err != nil {
		return err
	}
	now := s.Now()
	return s.Vault.SweepSessions(ctx, now.Add(-idleLife-2*flushEvery), now)
}

// Flush writes down when sessions were last used. What cannot be written now is kept for the next time.
func (s *Service) Flush(ctx context.Context) error {
	s.mu.Lock()
	seen := maps.Clone(s.seen)
	s.mu.Unlock()
	if len(seen) == 0 {
		return nil
	}
	if err := s.Vault.SeeSessions(ctx, seen); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.seen, func(key string, at time.Time) bool { return at.Equal(seen[key]) })
	return nil
}

// Printable is a text from outside that may stand in a list: without control characters, and not long.
func Printable(text string, most int) string {
	clean := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, ""))
	if runes := []rune(clean); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return clean
}
