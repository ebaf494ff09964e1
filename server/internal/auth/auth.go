// Package auth says who calls the API and what they may do.
//
// An operator proves who they are with an access token in the Authorization header. The ledger and the
// store know only the SHA-256 of its secret. A one-time sign-in token is good for nothing but being
// exchanged, once, for an access token.
//
// Guarantees: an unknown id, a wrong secret, an expired, revoked or spent token and a removed operator
// are all refused with the same words after the same work; the role and the scope are read anew for every
// request, so taking them away works at once; refused attempts are limited per address in constant
// memory, and a valid token always gets in, so nobody can lock out a neighbour behind the same address.
//
// It does no HTTP but reading one header's value, and it does not decide what a route needs: that is the
// table in package api. Object-level permission is checked by the services with Actor.Can.
package auth

import (
	"context"
	"crypto/subtle"
	"errors"
	"log/slog"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"assent/fault"
	"assent/ledger"
)

// Book is where access tokens are looked up and spent. Its methods are safe for concurrent use.
type Book interface {
	// Access returns the token with this id and the operator it belongs to, as of now.
	Access(id string) (ledger.Access, ledger.Operator, bool)
	// Exchange spends the one-time token and makes the fresh one. Of several calls that spend the same
	// token exactly one succeeds; the others get fault.Unauthenticated.
	Exchange(ctx context.Context, spent string, fresh ledger.Access) error
}

// Config is what New needs. Now, Log and Limits may stay zero.
type Config struct {
	Book   Book
	Now    func() time.Time
	Log    *slog.Logger
	Limits Limits
}

// Session is a caller that proved who it is.
type Session struct {
	Actor
	Access  string    // id of the access token
	Expires time.Time // of the access token
}

// Service authenticates callers. It is safe for concurrent use.
type Service struct {
	book  Book
	now   func() time.Time
	log   *slog.Logger
	limit *Limiter
	used  *lastUsed
}

// SignInLife is how long an access token lives that was made by signing in.
const SignInLife = 30 * 24 * time.Hour

// The refusals. One text for all that is wrong with a credential: which part was wrong helps only an attacker.
var (
	errNoCredential = fault.New(fault.Unauthenticated, "unauthenticated", "This needs an access token; sign in with `assent login`.")
	errBad          = fault.New(fault.Unauthenticated, "unauthenticated", "The token is not valid, or not any more; sign in again with `assent login`.")
	errSignIn       = fault.New(fault.Unauthenticated, "sign_in_refused", "The sign-in token is not valid, has expired or was used before; ask an administrator for a new one.").On("token")
	// ErrLimited is the refusal of whoever failed too often, by address or by name; RetryAfter says when to try again.
	ErrLimited = fault.New(fault.Unavailable, "too_many_attempts", "Too many failed attempts; wait a moment and try again.")
)

// New makes a Service.
func New(c Config) (*Service, error) {
	if c.Book == nil {
		return nil, errors.New("auth needs a book of access tokens")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Service{book: c.Book, now: c.Now, log: c.Log, limit: NewLimiter(c.Limits), used: newLastUsed()}, nil
}

// Authenticate says who sent the Authorization header's value from the remote address ("host:port").
func (s *Service) Authenticate(authorization, remote string) (Session, error) {
	if authorization == "" {
		return Session{}, errNoCredential // nothing was tried: no charge
	}
	text, ok := bearer(authorization)
	if !ok {
		return Session{}, s.refuse(errBad, remote, "")
	}
	session, err := s.check(text, false)
	if err != nil {
		return Session{}, s.refuse(errBad, remote, text)
	}
	s.used.mark(session.Access, s.now())
	return session, nil
}

// bearer reads "Bearer TOKEN"; the scheme's case does not matter (RFC 9110).
func bearer(authorization string) (string, bool) {
	scheme, text, ok := strings.Cut(authorization, " ")
	return text, ok && strings.EqualFold(scheme, "bearer")
}

// check looks up a token and compares its secret. It does the same work whether the id is known or not.
func (s *Service) check(text string, oneTime bool) (Session, error) {
	tok, err := ParseToken(text)
	access, operator, known := s.book.Access(tok.ID)
	same := subtle.ConstantTimeCompare([]byte(tok.hash()), []byte(access.Hash)) == 1
	live := s.now().Before(access.Expires) && access.OneTime == oneTime
	if err != nil || !known || !same || !live {
		return Session{}, errBad
	}
	return Session{Actor: Actor{Name: operator.Name, Role: operator.Role, Scope: operator.Scope}, Access: access.ID, Expires: access.Expires}, nil
}

// refuse charges the address and says why not. Only the token's id, which is no secret, is logged, and
// only as often as the limit lets attempts through: a flood does not fill the disk.
func (s *Service) refuse(why *fault.Error, remote, text string) error {
	if err := s.limit.Take(network(remote), s.now()); err != nil {
		return err
	}
	tok, _ := ParseToken(text)
	s.log.Warn("refused credential", "remote", remote, "token", tok.ID, "code", why.Code)
	return why
}

// Live reports whether a session would still be let in: long requests ask again before they go on.
func (s *Service) Live(session Session) error {
	access, operator, ok := s.book.Access(session.Access)
	now := Actor{Name: operator.Name, Role: operator.Role, Scope: operator.Scope}
	if !ok || !s.now().Before(access.Expires) || now != session.Actor {
		return errBad
	}
	return nil
}

// SignIn exchanges the text of a one-time token for the text of a fresh access token that lives for life
// (SignInLife at most and by default).
func (s *Service) SignIn(ctx context.Context, text, note, remote string, life time.Duration) (Session, string, error) {
	session, err := s.check(text, true)
	if err != nil {
		return Session{}, "", s.refuse(errSignIn, remote, text)
	}
	if err := CheckNote(note); err != nil {
		return Session{}, "", err
	}
	if life <= 0 || life > SignInLife {
		life = SignInLife
	}
	access, fresh := NewAccess(session.Name, note, s.now().Add(life), false)
	if err := s.book.Exchange(ctx, session.Access, access); err != nil {
		if errors.Is(err, fault.Unauthenticated) {
			return Session{}, "", s.refuse(errSignIn, remote, text)
		}
		return Session{}, "", err
	}
	session.Access, session.Expires = access.ID, access.Expires
	return session, fresh, nil
}

// CheckNote refuses notes that could mislead whoever reads a list of tokens.
func CheckNote(note string) error {
	bad := func(r rune) bool { return !unicode.IsPrint(r) }
	if utf8.RuneCountInString(note) > 200 || strings.ContainsFunc(note, bad) {
		return fault.New(fault.Invalid, "note_invalid", "A note has at most 200 printable characters.").On("note")
	}
	return nil
}

// LastUsed says when an access token was last let in by this server, if it was since the server started.
func (s *Service) LastUsed(id string) (time.Time, bool) { return s.used.get(id) }
