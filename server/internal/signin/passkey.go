package signin

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/protocol/webauthncose"
	"github.com/go-webauthn/webauthn/webauthn"

	"assent/client"
	"assent/fault"
	"assent/fleet"
	"assent/ledger"
	"assent/server/internal/auth"
	"assent/server/internal/store"
)

// Bounds of passkeys.
const (
	ceremonyLife  = 5 * time.Minute // how long a person may take to answer a challenge
	maxCeremonies = 10_000          // that wait at a time; the oldest make room
	maxPasskeys   = 20              // of one operator
	maxName       = 64              // characters of a passkey's name
)

// What a challenge is for.
const (
	forSignIn   = "sign in"
	forRegister = "register"
	forConfirm  = "confirm"
)

// ceremony is a challenge that waits for its answer. An answer counts only for what, and in the session, it was asked
// for.
type ceremony struct {
	For     string               `json:"for"`
	Session string               `json:"session,omitempty"` // key
	Handle  []byte               `json:"handle,omitempty"`  // of who registers
	Data    webauthn.SessionData `json:"data"`
}

// Challenge is what a browser is asked to answer with a passkey.
type Challenge struct {
	ID      string `json:"ceremony"`
	Options any    `json:"options"` // for navigator.credentials
}

// The refusals.
var (
	errNoPasskeys    = fault.New(fault.Conflict, "passkeys_off", "This server has no address at which browsers offer passkeys: it needs a host name and TLS. See `public_url` in the configuration.")
	errNotRegistered = fault.New(fault.Invalid, "passkey_refused", "The passkey could not be registered; try again.")
)

// relyingParty prepares the checking of passkeys; nil where the site has none.
func (s Site) relyingParty() (*webauthn.WebAuthn, error) {
	if s.Host == "" {
		return nil, nil //nolint:nilnil // no passkeys is a state, and every use asks for it
	}
	w, err := webauthn.New(&webauthn.Config{RPID: s.Host, RPDisplayName: "Assent", RPOrigins: []string{s.Origin},
		AttestationPreference: protocol.PreferNoAttestation,
		AuthenticatorSelection: protocol.AuthenticatorSelection{ResidentKey: protocol.ResidentKeyRequirementRequired,
			UserVerification: protocol.VerificationRequired},
		Timeouts: webauthn.TimeoutsConfig{Login: webauthn.TimeoutConfig{Timeout: ceremonyLife}, Registration: webauthn.TimeoutConfig{Timeout: ceremonyLife}}})
	if err != nil {
		return nil, fmt.Errorf("signin: prepare passkeys for %s: %w", s.Origin, err)
	}
	return w, nil
}

// algorithms are the signatures that are accepted, the best first.
func algorithms() []protocol.CredentialParameter {
	var out []protocol.CredentialParameter
	for _, a := range []webauthncose.COSEAlgorithmIdentifier{webauthncose.AlgEdDSA, webauthncose.AlgES256, webauthncose.AlgRS256} {
		out = append(out, protocol.CredentialParameter{Type: protocol.PublicKeyCredentialType, Algorithm: a})
	}
	return out
}

// person is an operator with their passkeys, as the library asks for them.
type person struct {
	name   string
	handle []byte
	keys   []webauthn.Credential
}

// WebAuthnID and the others are the library's questions.
func (p person) WebAuthnID() []byte                         { return p.handle }
func (p person) WebAuthnName() string                       { return p.name }
func (p person) WebAuthnDisplayName() string                { return p.name }
func (p person) WebAuthnCredentials() []webauthn.Credential { return p.keys }

// credential is a passkey as the library keeps it, with the count as it stands now.
func credential(k store.Passkey) (webauthn.Credential, error) {
	var c webauthn.Credential
	if err := json.Unmarshal(k.Record, &c); err != nil {
		return c, fmt.Errorf("read the passkey %s: %w", k.ID, err)
	}
	c.Authenticator.SignCount = k.Count
	return c, nil
}

// person reads an operator's passkeys. Who has none gets a new handle: it is random, because authenticators show it to
// whoever holds them.
func (s *Service) person(ctx context.Context, operator string) (person, error) {
	keys, err := s.Vault.Passkeys(ctx, operator)
	if err != nil {
		return person{}, err
	}
	p := person{name: operator}
	for _, k := range keys {
		c, err := credential(k)
		if err != nil {
			return p, err
		}
		p.handle, p.keys = k.Handle, append(p.keys, c)
	}
	if p.handle == nil {
		p.handle = make([]byte, 32)
		rand.Read(p.handle) // crypto/rand.Read never fails
	}
	return p, nil
}

// ask keeps a challenge and returns what the browser gets.
func (s *Service) ask(ctx context.Context, c ceremony, options any) (Challenge, error) {
	id := random()
	if err := s.Vault.PutCeremony(ctx, id, s.Now().Add(ceremonyLife), c, maxCeremonies); err != nil {
		return Challenge{}, err
	}
	return Challenge{ID: id, Options: options}, nil
}

// take takes a challenge out, so that it is answered once, whatever the answer.
func (s *Service) take(ctx context.Context, id, what, session string) (ceremony, error) {
	var c ceremony
	until, ok, err := s.Vault.TakeCeremony(ctx, id, &c)
	if err != nil {
		return c, err
	}
	if !ok || !s.Now().Before(until) || c.For != what || c.Session != session {
		return c, errors.New("the challenge is unknown, answered already, too old or was made for something else")
	}
	return c, nil
}

// BeginPasskey asks for a passkey of anybody, to sign in.
func (s *Service) BeginPasskey(ctx context.Context, remote string) (Challenge, error) {
	if s.webauthn == nil {
		return Challenge{}, errNoPasskeys
	}
	if _, err := s.charge(ByPasskey, "", remote); err != nil { // given back when the answer is right
		return Challenge{}, err
	}
	options, data, err := s.webauthn.BeginDiscoverableLogin()
	if err != nil {
		return Challenge{}, fmt.Errorf("make a challenge: %w", err)
	}
	return s.ask(ctx, ceremony{For: forSignIn, Data: *data}, options.Response)
}

// WithPasskey lets a person in who answered a challenge of BeginPasskey.
func (s *Service) WithPasskey(ctx context.Context, id string, answer []byte, remote string) (Proof, error) {
	if s.webauthn == nil {
		return Proof{}, errNoPasskeys
	}
	var found store.Passkey
	c, err := s.take(ctx, id, forSignIn, "")
	if err == nil {
		err = s.answered(answer, func(a *protocol.ParsedCredentialAssertionData) (*webauthn.Credential, error) {
			_, key, err := s.webauthn.ValidatePasskeyLogin(func(raw, _ []byte) (webauthn.User, error) {
				var err error
				var p person
				found, p, err = s.holder(ctx, raw)
				return p, err
			}, c.Data, a)
			return key, err
		}, func(key *webauthn.Credential) error { return s.use(ctx, found, key, remote) })
	}
	if err != nil {
		return Proof{}, s.unproved(found.Operator, remote, err, errRefused)
	}
	o, known := s.Book.Operator(found.Operator)
	if !known {
		return Proof{}, errRefused
	}
	s.addresses.Give(auth.Network(remote))
	return Proof{Session: auth.Session{Actor: actor(o)}, Means: ByPasskey}, nil
}

// holder finds who holds a credential.
func (s *Service) holder(ctx context.Context, raw []byte) (store.Passkey, person, error) {
	k, ok, err := s.Vault.PasskeyOf(ctx, raw)
	if err != nil || !ok {
		return k, person{}, errors.Join(errors.New("the passkey is not registered"), err)
	}
	c, err := credential(k)
	return k, person{name: k.Operator, handle: k.Handle, keys: []webauthn.Credential{c}}, err
}

// answered reads an answer, has it checked and then used.
func (s *Service) answered(answer []byte, check func(*protocol.ParsedCredentialAssertionData) (*webauthn.Credential, error), use func(*webauthn.Credential) error) error {
	a, err := protocol.ParseCredentialRequestResponseBytes(answer)
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	key, err := check(a)
	if err != nil {
		return err
	}
	return use(key)
}

// errCopied says that a passkey's counter went back.
var errCopied = errors.New("the passkey's signature counter went back: there may be a copy of it")

// use notes the use of a passkey whose answer is right. One whose signature counter did not go up may have been copied:
// the server removes it and signs its operator out, as an act, because either of the two may be the thief's.
func (s *Service) use(ctx context.Context, k store.Passkey, key *webauthn.Credential, remote string) error {
	ok := false
	if !key.Authenticator.CloneWarning {
		var err error
		if ok, err = s.Vault.UsePasskey(ctx, k.ID, key.Authenticator.SignCount, s.Now()); err != nil {
			return err
		}
	}
	if ok {
		return nil
	}
	s.Observe(ByPasskey, Copied)
	s.Log.Error("a passkey may have been copied: its signature counter went back; it is removed", "operator", k.Operator, "passkey", k.ID, "remote", remote)
	server := auth.Actor{Name: "server", Role: ledger.Administrator, Scope: fleet.Root}
	_, err := s.act(ctx, server, k.Operator, ledger.PasskeyRemove{Operator: k.Operator, ID: k.ID, Reason: "its signature counter went back, so there may be a copy of it"},
		store.DropPasskey(k.Operator, k.ID), store.DropSessions(k.Operator, ""))
	return errors.Join(errCopied, err)
}

// unproved turns what was wrong with an answer into a refusal. What is the database's is told as it is.
func (s *Service) unproved(operator, remote string, err error, refusal *fault.Error) error {
	if f := fault.From(err); f.Kind == fault.Unavailable {
		return err
	}
	s.refused(ByPasskey, operator, remote, err)
	return refusal
}

// BeginRegister asks a browser to make a passkey for the person of a session. The name is checked before there is one:
// an authenticator keeps what it made.
func (s *Service) BeginRegister(ctx context.Context, one Session, name string) (Challenge, error) {
	if s.webauthn == nil {
		return Challenge{}, errNoPasskeys
	}
	if err := checkName(name); err != nil {
		return Challenge{}, err
	}
	p, err := s.person(ctx, one.Operator)
	if err != nil {
		return Challenge{}, err
	}
	if len(p.keys) >= maxPasskeys {
		return Challenge{}, fault.New(fault.Conflict, "passkeys_many", "There are %d passkeys already; remove one first.", len(p.keys))
	}
	var known []protocol.CredentialDescriptor
	for _, k := range p.keys {
		known = append(known, k.Descriptor())
	}
	options, data, err := s.webauthn.BeginRegistration(p, webauthn.WithExclusions(known), webauthn.WithCredentialParameters(algorithms()))
	if err != nil {
		return Challenge{}, fmt.Errorf("make a challenge: %w", err)
	}
	return s.ask(ctx, ceremony{For: forRegister, Session: one.Key, Handle: p.handle, Data: *data}, options.Response)
}

// Register keeps the passkey that answers a challenge of BeginRegister.
func (s *Service) Register(ctx context.Context, who auth.Actor, one Session, id, name string, answer []byte) (client.Act, error) {
	if s.webauthn == nil {
		return client.Act{}, errNoPasskeys
	}
	if err := checkName(name); err != nil {
		return client.Act{}, err
	}
	c, err := s.take(ctx, id, forRegister, one.Key)
	if err != nil {
		return client.Act{}, s.unproved(one.Operator, one.Remote, err, errNotRegistered)
	}
	a, err := protocol.ParseCredentialCreationResponseBytes(answer)
	if err != nil {
		return client.Act{}, s.unproved(one.Operator, one.Remote, err, errNotRegistered)
	}
	key, err := s.webauthn.CreateCredential(person{name: one.Operator, handle: c.Handle}, c.Data, a)
	if err != nil {
		return client.Act{}, s.unproved(one.Operator, one.Remote, err, errNotRegistered)
	}
	key.Attestation = webauthn.CredentialAttestation{} // it proves nothing that is asked for
	record, err := json.Marshal(key)
	if err != nil {
		return client.Act{}, fmt.Errorf("encode a passkey: %w", err)
	}
	k := store.Passkey{ID: "k" + strings.ToLower(rand.Text()[:12]), Operator: one.Operator, Name: name, Handle: c.Handle, Credential: key.ID, Record: record,
		Created: s.Now().UTC(), Count: key.Authenticator.SignCount}
	return s.act(ctx, who, one.Operator, ledger.PasskeyAdd{Operator: k.Operator, ID: k.ID, Name: name}, store.AddPasskey(k))
}

func checkName(name string) error {
	bad := func(r rune) bool { return !unicode.IsPrint(r) }
	if n := utf8.RuneCountInString(name); n == 0 || n > maxName || strings.TrimSpace(name) != name || !utf8.ValidString(name) || strings.ContainsFunc(name, bad) {
		return fault.New(fault.Invalid, "name_invalid", "A passkey's name has 1 to %d printable characters, for example \"key ring\".", maxName).On("name")
	}
	return nil
}

// Rename gives one's own passkey another name.
func (s *Service) Rename(ctx context.Context, operator, id, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	return s.Vault.RenamePasskey(ctx, operator, id, name)
}

// RemovePasskey ends an operator's passkey, and their sessions but the one with the key keep: a browser that signed in
// with a lost device must not stay signed in.
func (s *Service) RemovePasskey(ctx context.Context, who auth.Actor, operator, id, keep string) (client.Act, error) {
	return s.act(ctx, who, operator, ledger.PasskeyRemove{Operator: operator, ID: id}, store.DropPasskey(operator, id), store.DropSessions(operator, keep))
}

// BeginConfirm asks for a passkey of a session's person, as proof for privileged acts.
func (s *Service) BeginConfirm(ctx context.Context, one Session, remote string) (Challenge, error) {
	if s.webauthn == nil {
		return Challenge{}, errNoPasskeys
	}
	if _, err := s.charge(ByPasskey, one.Operator, remote); err != nil {
		return Challenge{}, err
	}
	p, err := s.person(ctx, one.Operator)
	if err != nil {
		return Challenge{}, err
	}
	if len(p.keys) == 0 {
		return Challenge{}, errUnproved
	}
	options, data, err := s.webauthn.BeginLogin(p)
	if err != nil {
		return Challenge{}, fmt.Errorf("make a challenge: %w", err)
	}
	return s.ask(ctx, ceremony{For: forConfirm, Session: one.Key, Handle: p.handle, Data: *data}, options.Response)
}

// ConfirmPasskey takes the answer to a challenge of BeginConfirm as proof.
func (s *Service) ConfirmPasskey(ctx context.Context, one Session, id string, answer []byte, remote string) error {
	if s.webauthn == nil {
		return errNoPasskeys
	}
	c, err := s.take(ctx, id, forConfirm, one.Key)
	if err == nil {
		err = s.proved(ctx, one, c, answer, remote)
	}
	if err != nil {
		return s.unproved(one.Operator, remote, err, errUnproved)
	}
	s.addresses.Give(auth.Network(remote))
	s.names.Give(one.Operator)
	return s.confirm(ctx, one, ByPasskey)
}

// proved checks that an answer is that of a passkey of the session's person.
func (s *Service) proved(ctx context.Context, one Session, c ceremony, answer []byte, remote string) error {
	p, err := s.person(ctx, one.Operator)
	if err != nil {
		return err
	}
	return s.answered(answer, func(a *protocol.ParsedCredentialAssertionData) (*webauthn.Credential, error) {
		return s.webauthn.ValidateLogin(p, c.Data, a)
	}, func(key *webauthn.Credential) error {
		k, ok, err := s.Vault.PasskeyOf(ctx, key.ID)
		if err != nil || !ok || k.Operator != one.Operator {
			return errors.Join(errors.New("the passkey is not registered any more"), err)
		}
		return s.use(ctx, k, key, remote)
	})
}
