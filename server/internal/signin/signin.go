// Package signin lets people in: by password, by passkey, or by a token; it keeps who is signed in, and asks again for
// proof before privileged acts.
//
// Guarantees: of passwords only argon2id hashes are kept, of cookies only SHA-256, of passkeys only public keys; a name
// that does not exist, one without a password and a wrong password take the same work and get the same answer;
// attempts are limited by name and by address in constant memory; a passkey must verify its person, answers a challenge
// that is taken once, and is removed when its signature counter goes back; a session is looked up in the store for
// every request, so that ending it counts at once on every server; it is worth what its operator, and the access token
// that it may stand on, are worth now; a change of what an operator signs in with ends their other sessions and is an
// act in the ledger, in one transaction.
//
// It knows no HTTP and no cookie, and does not decide which acts ask for a confirmation: that is the route table of
// package web. Roles and scopes are in package auth.
package signin

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/go-webauthn/webauthn/webauthn"

	"assent/client"
	"assent/fault"
	"assent/ledger"
	"assent/server/internal/auth"
	"assent/server/internal/index"
	"assent/server/internal/store"
)

// Book says what operators and access tokens are worth at this moment; auth.IndexBook is one.
type Book interface {
	Access(id string) (ledger.Access, ledger.Operator, bool)
	Operator(name string) (ledger.Operator, bool)
}

// Tokens lets people in with access tokens and sign-in tokens; *auth.Service is one.
type Tokens interface {
	Authenticate(authorization, remote string) (auth.Session, error)
	SignIn(ctx context.Context, text, note, remote string, life time.Duration) (auth.Session, string, error)
}

// Acts writes acts with what goes beside them, in one transaction; *index.Index is one.
type Acts interface {
	ActBeside(ctx context.Context, by string, build func(*index.View) (ledger.Body, error), beside ...store.Beside) (ledger.Entry, error)
}

// Vault keeps what people sign in with and who is signed in; *store.DB is one. What it wrote is durable when it
// returns nil.
type Vault interface {
	Passwords
	Passkeys
	Sessions
	Marks
	Ceremonies
}

// Passwords are the hashes of passwords.
type Passwords interface {
	Password(ctx context.Context, operator string) (store.Password, bool, error)
	Rehash(ctx context.Context, old, fresh store.Password) error
}

// Passkeys are the registered passkeys.
type Passkeys interface {
	Passkeys(ctx context.Context, operator string) ([]store.Passkey, error)
	PasskeyOf(ctx context.Context, credential []byte) (store.Passkey, bool, error)
	UsePasskey(ctx context.Context, id string, count uint32, at time.Time) (bool, error)
	RenamePasskey(ctx context.Context, operator, id, name string) error
}

// Sessions are who is signed in.
type Sessions interface {
	AddSession(ctx context.Context, s store.Session, most int) error
	Session(ctx context.Context, key string) (store.Session, bool, error)
	Sessions(ctx context.Context, operator string) ([]store.Session, error)
	EndSession(ctx context.Context, key string) error
	EndSessions(ctx context.Context, operator, keep string) (int64, error)
}

// Marks are what changes of a session.
type Marks interface {
	SeeSessions(ctx context.Context, seen map[string]time.Time) error
	ConfirmSession(ctx context.Context, key string, at time.Time) error
	ScopeSession(ctx context.Context, key, scope string) error
	SweepSessions(ctx context.Context, unused, now time.Time) error
}

// Ceremonies are challenges that wait for their answer.
type Ceremonies interface {
	PutCeremony(ctx context.Context, id string, until time.Time, value any, most int) error
	TakeCeremony(ctx context.Context, id string, into any) (until time.Time, ok bool, err error)
}

// Config is what New needs. Book, Tokens, Vault and Acts are required.
type Config struct {
	Book    Book
	Tokens  Tokens
	Vault   Vault
	Acts    Acts
	Site    Site        // where browsers reach the console; the zero value: no passkeys
	Cost    Cost        // of hashing a password; the zero value means the defaults
	Name    auth.Limits // of failures by name; 10 in a row and one more every 30 s by default
	Address auth.Limits // of failures by address; the defaults of auth
	Now     func() time.Time
	Log     *slog.Logger
	// Observe is told of every attempt: by what, and what came of it.
	Observe func(means Means, outcome Outcome)
}

// Means is what somebody signs in with.
type Means string

// The means.
const (
	ByPassword Means = "password"
	ByPasskey  Means = "passkey"
	ByToken    Means = "token" // an access token
	ByLink     Means = "link"  // a one-time sign-in token
)

// Outcome is what came of an attempt.
type Outcome string

// The outcomes.
const (
	Admitted  Outcome = "admitted"
	Confirmed Outcome = "confirmed"
	Refused   Outcome = "refused"
	Limited   Outcome = "limited"
	Copied    Outcome = "copied" // a passkey's signature counter went back
)

// Proof is a person who proved who they are.
type Proof struct {
	auth.Session
	Means Means
	Own   bool // the access token was made here and now, for the session alone
}

// The refusals. One text for all that is wrong with a proof: which part was wrong helps only an attacker.
var (
	errRefused    = fault.New(fault.Unauthenticated, "sign_in_refused", "This does not let you in. Check what you gave; an administrator can make a sign-in token for you.")
	errUnproved   = fault.New(fault.Forbidden, "confirm_refused", "This does not prove that it is you. Check what you gave and try again.")
	errEnded      = fault.New(fault.Unauthenticated, "signed_out", "You are signed out; sign in and try again.")
	errNoOperator = func(name string) error {
		return fault.New(fault.NotFound, "operator_unknown", "There is no operator %.80q.", name).On("operator")
	}
)

// Service lets people in. It is safe for concurrent use.
type Service struct {
	Config
	names, addresses *auth.Limiter
	hashing          chan struct{} // a place for each hash that is computed at a time
	decoy            string        // the hash of a password that nobody knows
	webauthn         *webauthn.WebAuthn

	mu   sync.Mutex
	seen map[string]time.Time // last uses that are not written down yet, by session
}

// New makes a Service.
func New(c Config) (*Service, error) {
	if c.Book == nil || c.Tokens == nil || c.Vault == nil || c.Acts == nil {
		return nil, errors.New("signin: a book of operators, tokens, a vault and acts are needed")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Observe == nil {
		c.Observe = func(Means, Outcome) {}
	}
	if c.Cost == (Cost{}) {
		c.Cost = DefaultCost()
	}
	if c.Name == (auth.Limits{}) {
		c.Name = auth.Limits{Burst: 10, Every: 30 * time.Second}
	}
	s := &Service{Config: c, names: auth.NewLimiter(c.Name), addresses: auth.NewLimiter(c.Address),
		hashing: make(chan struct{}, hashes), decoy: c.Cost.hash(random()), seen: map[string]time.Time{}}
	var err error
	s.webauthn, err = c.Site.relyingParty()
	return s, err
}

// charge counts an attempt against a name (none if empty) and an address before it is looked at, so that many at a
// time cannot pass the limit. back takes it back once it is known to have been no failure.
func (s *Service) charge(means Means, name, remote string) (back func(), err error) {
	address := auth.Network(remote)
	if err := s.addresses.Take(address, s.Now()); err != nil {
		s.Observe(means, Limited)
		return nil, err
	}
	if name == "" {
		return func() { s.addresses.Give(address) }, nil
	}
	if err := s.names.Take(name, s.Now()); err != nil {
		s.addresses.Give(address)
		s.Observe(means, Limited)
		return nil, err
	}
	return func() { s.addresses.Give(address); s.names.Give(name) }, nil
}

// refused counts and logs an attempt that failed. A name that does not exist is not logged: people type passwords into
// the wrong field.
func (s *Service) refused(means Means, name, remote string, why error) {
	s.Observe(means, Refused)
	if _, known := s.Book.Operator(name); !known {
		name = ""
	}
	s.Log.Warn("refused a sign-in", "means", means, "operator", name, "remote", remote, "why", why)
}

// WithToken lets a person in with an access token or a one-time sign-in token, which is spent by it. Failures are
// limited by auth.
func (s *Service) WithToken(ctx context.Context, text, remote string) (Proof, error) {
	p := Proof{Means: ByToken}
	tok, err := auth.ParseToken(text)
	if access, _, known := s.Book.Access(tok.ID); err == nil && known && access.OneTime {
		p.Means, p.Own = ByLink, true
		p.Session, _, err = s.Tokens.SignIn(ctx, text, "web console", remote, absoluteLife)
	} else {
		p.Session, err = s.Tokens.Authenticate("Bearer "+text, remote)
	}
	if err != nil {
		return Proof{}, s.token(p.Means, err)
	}
	return p, nil
}

// token counts a failed token and puts its refusal into our words.
func (s *Service) token(means Means, err error) error {
	switch {
	case errors.Is(err, auth.ErrLimited):
		s.Observe(means, Limited)
	case errors.Is(err, fault.Unauthenticated):
		s.Observe(means, Refused)
		return errRefused
	}
	return err
}

// actor is an operator as they are now.
func actor(o ledger.Operator) auth.Actor {
	return auth.Actor{Name: o.Name, Role: o.Role, Scope: o.Scope}
}

// act changes what an operator signs in with: one's own, or that of operators below an administrator.
func (s *Service) act(ctx context.Context, who auth.Actor, operator string, body ledger.Body, beside ...store.Beside) (client.Act, error) {
	e, err := s.Acts.ActBeside(ctx, who.Name, func(v *index.View) (ledger.Body, error) { return body, mayChange(v, who, operator) }, beside...)
	if err != nil {
		return client.Act{}, err
	}
	s.Log.Info("act", "act", e.Seq, "kind", e.Kind, "by", who.Name)
	return client.Act{Act: e.Seq, At: e.At}, nil
}

func mayChange(v *index.View, who auth.Actor, operator string) error {
	o, ok := v.State().Operators[operator]
	switch {
	case !ok || operator != who.Name && !v.Tree().Contains(who.Scope, o.Scope):
		return errNoOperator(operator)
	case operator != who.Name:
		return who.Can(ledger.Administrator, v.Tree(), o.Scope)
	}
	return nil
}
