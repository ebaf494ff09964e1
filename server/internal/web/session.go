package web

import (
	"crypto/rand"
	"crypto/sha256"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"assent/server/internal/auth"
)

// Limits of sessions (N22).
const (
	idleLife     = 30 * time.Minute // without a request
	absoluteLife = 12 * time.Hour   // since signing in
	maxSessions  = 50               // of one operator; the longest unused makes room
	maxToasts    = 100              // kept in the log of a session
)

// session is a browser that somebody signed in with. What it may do is not in it: that is looked up by the access
// token's id for every request.
type session struct {
	id      string // names it in lists; no secret
	key     [sha256.Size]byte
	access  string // id of the access token
	owner   string // operator
	own     bool   // the access token was made by signing in here and ends with the session
	remote  string // where the person signed in from
	agent   string // the browser, as it calls itself
	created time.Time

	mu     sync.Mutex
	seen   time.Time
	scope  string // id of the group chosen in the top bar
	toasts []Toast
	unread int
}

// Toast is something that a person is told once, and can read again in the log of the session.
type Toast struct {
	At   time.Time
	Tone string // "success", "warning", "danger" or "info"
	Text string
	Link *Link // where to read on
	Undo *Form // what takes it back
}

// Link is a link with its text.
type Link struct{ Label, Href string }

// Form is a button that posts hidden fields.
type Form struct {
	Label, Action string
	Fields        []Field
}

// Field is one field of a form.
type Field struct{ Name, Value string }

func (s *session) group() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.scope
}

func (s *session) choose(group string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scope = group
}

func (s *session) toast(t Toast) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.At.IsZero() {
		t.At = time.Now().UTC()
	}
	if s.toasts = append(s.toasts, t); len(s.toasts) > maxToasts {
		s.toasts = slices.Delete(s.toasts, 0, len(s.toasts)-maxToasts)
	}
	s.unread = min(s.unread+1, len(s.toasts))
}

// unseen takes the toasts that no page showed yet.
func (s *session) unseen() []Toast {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := slices.Clone(s.toasts[len(s.toasts)-s.unread:])
	s.unread = 0
	return out
}

// log is all toasts, the newest first.
func (s *session) log() []Toast {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := slices.Clone(s.toasts)
	slices.Reverse(out)
	return out
}

func (s *session) lastSeen() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen
}

// alive reports whether the session still counts.
func (s *session) alive(now time.Time) bool {
	return now.Sub(s.lastSeen()) < idleLife && now.Sub(s.created) < absoluteLife
}

// sessions are all of this server, in memory only: a restart signs everybody out. They are found by the SHA-256
// of the cookie's value, so that neither a memory dump's map nor timing gives a value away.
type sessions struct {
	book Book
	now  func() time.Time

	mu  sync.Mutex
	all map[[sha256.Size]byte]*session
}

func newSessions(book Book, now func() time.Time) *sessions {
	return &sessions{book: book, now: now, all: map[[sha256.Size]byte]*session{}}
}

// start makes a session and returns the cookie's value. Its value is always new, so that nobody can plant one.
func (s *sessions) start(who auth.Session, own bool, r *http.Request) string {
	secret, now := rand.Text()+rand.Text(), s.now()
	made := &session{id: rand.Text()[:12], key: sha256.Sum256([]byte(secret)), access: who.Access, owner: who.Name, own: own,
		remote: r.RemoteAddr, agent: printable(r.UserAgent(), 200), created: now, seen: now}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(now)
	if mine := s.of(who.Name); len(mine) >= maxSessions {
		delete(s.all, mine[len(mine)-1].key)
	}
	s.all[made.key] = made
	return secret
}

// sweep forgets what ended. s.mu is held.
func (s *sessions) sweep(now time.Time) {
	for key, one := range s.all {
		if !one.alive(now) {
			delete(s.all, key)
		}
	}
}

// of lists an operator's sessions, the last used first. s.mu is held.
func (s *sessions) of(operator string) []*session {
	var out []*session
	for _, one := range s.all {
		if one.owner == operator {
			out = append(out, one)
		}
	}
	slices.SortFunc(out, func(a, b *session) int { return b.lastSeen().Compare(a.lastSeen()) })
	return out
}

// list is an operator's sessions, the last used first.
func (s *sessions) list(operator string) []*session {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(s.now())
	return s.of(operator)
}

// end ends a session at once, also for a request that is under way: it is never put back.
func (s *sessions) end(one *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, one.key)
}

// find returns the session of a cookie's value and who it belongs to now, and notes that it was used.
func (s *sessions) find(secret string) (*session, auth.Session, bool) {
	one, who, ok := s.check(sha256.Sum256([]byte(secret)))
	if ok {
		one.mu.Lock()
		one.seen = s.now()
		one.mu.Unlock()
	}
	return one, who, ok
}

// check looks a session up: an access token or an operator that is gone, or whose time is over, ends it; a changed
// role or scope counts from this moment on.
func (s *sessions) check(key [sha256.Size]byte) (*session, auth.Session, bool) {
	s.mu.Lock()
	one := s.all[key]
	s.mu.Unlock()
	if one == nil {
		return nil, auth.Session{}, false
	}
	now := s.now()
	access, operator, known := s.book.Access(one.access)
	if !one.alive(now) || !known || access.OneTime || operator.Name != one.owner || !now.Before(access.Expires) {
		s.end(one)
		return nil, auth.Session{}, false
	}
	return one, auth.Session{Actor: auth.Actor{Name: operator.Name, Role: operator.Role, Scope: operator.Scope}, Access: access.ID, Expires: access.Expires}, true
}

// live refuses a visit whose session ended, or whose person's role or scope changed, since it began: what answers
// for long (exports, event streams) asks it before it goes on (N24).
func (s *server) live(v *Visit) error {
	if v.session == nil {
		return errSignedIn
	}
	if _, who, ok := s.sessions.check(v.session.key); !ok || who.Actor != v.Session.Actor {
		return errSignedIn
	}
	return nil
}

// printable is a text from outside that may stand in a list: without control characters, and not long.
func printable(text string, most int) string {
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

// cookieName is bound to this host and to TLS by its prefix, where there is TLS.
func (s *server) cookieName() string {
	if s.Secure {
		return "__Host-assent"
	}
	return "assent"
}

func (s *server) setCookie(w http.ResponseWriter, value string) {
	c := &http.Cookie{Name: s.cookieName(), Value: value, Path: "/", HttpOnly: true, Secure: s.Secure, SameSite: http.SameSiteStrictMode}
	if value == "" {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}

// current is the session of a request.
func (s *server) current(r *http.Request) (*session, auth.Session, bool) {
	c, err := r.Cookie(s.cookieName())
	if err != nil {
		return nil, auth.Session{}, false
	}
	return s.sessions.find(c.Value)
}
