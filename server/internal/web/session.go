package web

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"time"

	"assent/server/internal/auth"
	"assent/server/internal/signin"
)

// Bounds of what is kept in memory for sessions.
const (
	maxToasts = 100            // of one session
	maxDesks  = 10_000         // sessions that were told something
	deskLife  = 12 * time.Hour // as long as a session lives at most
)

// session is the browser that a request came from, as it stood then, and what it was told.
type session struct {
	signin.Session
	desks *desks // nil: what it is told stays in loose
	loose desk
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

// desk is what a session was told. It is in the memory of the server that told it: a person who is served by several
// may be told a little later, and a restart forgets it.
type desk struct {
	mu     sync.Mutex
	toasts []Toast
	unread int
}

// desks are those of all sessions that were told something, by key.
type desks struct {
	mu  sync.Mutex
	all map[string]*desk
}

func newDesks() *desks { return &desks{all: map[string]*desk{}} }

// of is the desk of a session; nil if it was told nothing and none shall be made.
func (d *desks) of(key string, create bool) *desk {
	d.mu.Lock()
	defer d.mu.Unlock()
	one := d.all[key]
	if one == nil && create {
		if len(d.all) >= maxDesks {
			d.clear()
		}
		one = &desk{}
		d.all[key] = one
	}
	return one
}

// clear makes room: what nobody was told anything at for a session's life goes, and if that is nothing, all goes. d.mu
// is held.
func (d *desks) clear() {
	for key, one := range d.all {
		if one.last().Before(time.Now().Add(-deskLife)) {
			delete(d.all, key)
		}
	}
	if len(d.all) >= maxDesks {
		clear(d.all)
	}
}

func (d *desk) last() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.toasts) == 0 {
		return time.Time{}
	}
	return d.toasts[len(d.toasts)-1].At
}

func (d *desk) put(t Toast) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if t.At.IsZero() {
		t.At = time.Now().UTC()
	}
	if d.toasts = append(d.toasts, t); len(d.toasts) > maxToasts {
		d.toasts = slices.Delete(d.toasts, 0, len(d.toasts)-maxToasts)
	}
	d.unread = min(d.unread+1, len(d.toasts))
}

// desk is where the session's toasts are; nil if there are none and no place shall be made for them.
func (s *session) desk(create bool) *desk {
	if s.desks == nil {
		return &s.loose
	}
	return s.desks.of(s.Key, create)
}

func (s *session) group() string { return s.Scope }

func (s *session) toast(t Toast) { s.desk(true).put(t) }

// unseen takes the toasts that no page showed yet.
func (s *session) unseen() []Toast {
	d := s.desk(false)
	if d == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	out := slices.Clone(d.toasts[len(d.toasts)-d.unread:])
	d.unread = 0
	return out
}

// log is all toasts, the newest first.
func (s *session) log() []Toast {
	d := s.desk(false)
	if d == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	out := slices.Clone(d.toasts)
	slices.Reverse(out)
	return out
}

// live refuses a visit whose session ended, or whose person's role or scope changed, since it began: what answers
// for long (exports, event streams) asks it before it goes on (N24).
func (s *server) live(v *Visit) error {
	if v.session == nil {
		return errSignedIn
	}
	_, who, err := s.SignIn.Check(v.Context(), v.session.Key)
	if err == nil && who.Actor != v.Session.Actor {
		return errSignedIn
	}
	return err
}

// cookieName is bound to this host and to TLS by its prefix, where there is TLS.
func (s *server) cookieName() string {
	if s.Secure {
		return "__Host-assent"
	}
	return "assent"
}

// cookie is what keeps a browser signed in; an empty value ends that.
func (s *server) cookie(value string) *http.Cookie {
	c := &http.Cookie{Name: s.cookieName(), Value: value, Path: "/", HttpOnly: true, Secure: s.Secure, SameSite: http.SameSiteStrictMode}
	if value == "" {
		c.MaxAge = -1
	}
	return c
}

// visitor is the session of a request, and who it belongs to now.
func (s *server) visitor(r *http.Request) (*session, auth.Session, error) {
	c, err := r.Cookie(s.cookieName())
	if err != nil {
		return nil, auth.Session{}, errSignedIn
	}
	one, who, err := s.SignIn.Find(r.Context(), c.Value)
	if err != nil {
		return nil, auth.Session{}, err
	}
	return &session{Session: one, desks: s.desks}, who, nil
}

// current is visitor for what can do without.
func (s *server) current(r *http.Request) (*session, auth.Session, bool) {
	one, who, err := s.visitor(r)
	return one, who, err == nil
}

// begin signs a person in: the session that the browser had does not live on.
func (s *server) begin(v *Visit, p signin.Proof) error {
	if v.session != nil {
		if err := s.SignIn.End(v.Context(), v.session.Key); err != nil {
			return err
		}
	}
	cookie, err := s.SignIn.Start(v.Context(), p, signin.From{Remote: v.Request.RemoteAddr, Agent: v.Request.UserAgent()})
	if err != nil {
		return err
	}
	v.cookies = append(v.cookies, s.cookie(cookie))
	return nil
}

// unsafe reports whether the person can only come back with a token that somebody makes for them: they signed in with
// a one-time link and have neither a password nor a passkey.
func (s *server) unsafe(ctx context.Context, one *session) bool {
	if signin.Means(one.Means) != signin.ByLink {
		return false
	}
	ways, err := s.SignIn.Ways(ctx, one.Operator)
	return err == nil && ways.None()
}
