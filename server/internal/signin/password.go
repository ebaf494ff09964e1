package signin

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/unicode/norm"

	"assent/client"
	"assent/fault"
	"assent/ledger"
	"assent/server/internal/auth"
	"assent/server/internal/store"
)

// Cost is what computing the hash of a password takes.
type Cost struct {
	Memory uint32 // KiB
	Time   uint32 // passes over the memory
	Lanes  uint8
}

// DefaultCost is the second recommended option of RFC 9106: 64 MiB, 3 passes, 4 lanes.
func DefaultCost() Cost { return Cost{Memory: 64 << 10, Time: 3, Lanes: 4} }

// Bounds of passwords and of computing their hashes.
const (
	minPassword = 12      // characters
	maxPassword = 1000    // bytes
	saltLen     = 16      // bytes
	hashLen     = 32      // bytes
	maxMemory   = 1 << 20 // KiB; a damaged database must not make the server take all memory
	maxTime     = 32
	hashes      = 2 // computed at a time: they take memory
	hashWait    = 10 * time.Second
)

var errBusy = fault.New(fault.Unavailable, "sign_in_busy", "Too many people are signing in right now; try again in a moment.")

// random is a text that nobody can guess.
func random() string { return rand.Text() + rand.Text() }

// hash is the hash of a password with its salt and cost, in the PHC string format.
func (c Cost) hash(password string) string {
	salt := make([]byte, saltLen)
	rand.Read(salt) // crypto/rand.Read never fails
	return encode(c, salt, c.key(password, salt, hashLen))
}

func (c Cost) key(password string, salt []byte, n uint32) []byte {
	return argon2.IDKey([]byte(password), salt, c.Time, c.Memory, c.Lanes, n)
}

func encode(c Cost, salt, key []byte) string {
	b64 := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, c.Memory, c.Time, c.Lanes, b64(salt), b64(key))
}

// decode reads a PHC string as encode writes it, and nothing else.
func decode(text string) (c Cost, salt, key []byte, err error) {
	bad := errors.New("the hash of a password cannot be read")
	parts := strings.Split(text, "$")
	if len(parts) != 6 {
		return c, nil, nil, bad
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &c.Memory, &c.Time, &c.Lanes); err != nil {
		return c, nil, nil, bad
	}
	salt, err1 := base64.RawStdEncoding.DecodeString(parts[4])
	key, err2 := base64.RawStdEncoding.DecodeString(parts[5])
	sane := c.Memory >= 8*uint32(c.Lanes) && c.Memory <= maxMemory && c.Time >= 1 && c.Time <= maxTime && c.Lanes >= 1
	if err1 != nil || err2 != nil || !sane || len(salt) < 8 || len(key) < 16 || len(key) > 64 || encode(c, salt, key) != text {
		return c, nil, nil, bad
	}
	return c, salt, key, nil
}

// compare reports whether a password has a hash, in a time that does not tell how much of it is right, and whether it
// should be hashed anew because the cost has changed.
func (c Cost) compare(password, hash string) (same, old bool, err error) {
	cost, salt, key, err := decode(hash)
	if err != nil {
		return false, false, err
	}
	got := cost.key(password, salt, uint32(len(key))) //nolint:gosec // decode bounds it
	return subtle.ConstantTimeCompare(got, key) == 1, cost != c || len(key) != hashLen || len(salt) != saltLen, nil
}

// place waits until a hash may be computed, and not for ever.
func (s *Service) place(ctx context.Context) (leave func(), err error) {
	wait := time.NewTimer(hashWait)
	defer wait.Stop()
	select {
	case s.hashing <- struct{}{}:
		return func() { <-s.hashing }, nil
	case <-wait.C:
		return nil, errBusy
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// canonical is one spelling of what may be typed in several.
func canonical(password string) string { return norm.NFC.String(password) }

// CheckPassword refuses a password that is too easily guessed for what it opens. What it is made of is up to the
// person: length is what counts.
func CheckPassword(operator, password string) error {
	invalid := func(code, text string, args ...any) error {
		return fault.New(fault.Invalid, code, text, args...).On("password")
	}
	switch n := utf8.RuneCountInString(canonical(password)); {
	case !utf8.ValidString(password) || strings.ContainsRune(password, 0):
		return invalid("password_unreadable", "A password consists of characters.")
	case n < minPassword:
		return invalid("password_short", "A password has at least %d characters; a few words that do not belong together are easy to remember.", minPassword)
	case len(password) > maxPassword:
		return invalid("password_long", "A password has at most %d bytes.", maxPassword)
	}
	if len(operator) >= 3 && strings.Contains(strings.ToLower(password), strings.ToLower(operator)) {
		return invalid("password_name", "The password contains the name it is for; choose another one.")
	}
	return nil
}

// WithPassword lets a person in by name and password.
func (s *Service) WithPassword(ctx context.Context, name, password, remote string) (Proof, error) {
	ok, err := s.password(ctx, name, password, remote)
	if err != nil {
		return Proof{}, err
	}
	o, known := s.Book.Operator(name)
	if !ok || !known {
		return Proof{}, errRefused
	}
	return Proof{Session: auth.Session{Actor: actor(o)}, Means: ByPassword}, nil
}

// password reports whether a name has a password. It does the same work whether there is such a name or not.
func (s *Service) password(ctx context.Context, name, password, remote string) (bool, error) {
	back, err := s.charge(ByPassword, name, remote)
	if err != nil {
		return false, err
	}
	ok, err := s.verify(ctx, name, canonical(password))
	if ok || err != nil {
		back() // only a wrong password is a failure
	}
	if !ok && err == nil {
		s.refused(ByPassword, name, remote, errRefused)
	}
	return ok, err
}

func (s *Service) verify(ctx context.Context, name, password string) (bool, error) {
	kept, there, err := s.Vault.Password(ctx, name)
	if err != nil {
		return false, err
	}
	_, known := s.Book.Operator(name)
	hash := kept.Hash
	if !there || !known || len(password) > maxPassword {
		hash, password = s.decoy, password[:min(len(password), maxPassword)]
	}
	leave, err := s.place(ctx)
	if err != nil {
		return false, err
	}
	same, old, err := s.Cost.compare(password, hash)
	leave()
	if err != nil || !same || hash == s.decoy {
		return false, err
	}
	if old {
		s.rehash(ctx, kept, password)
	}
	return true, nil
}

// rehash brings a hash to today's cost. It can wait for the next time.
func (s *Service) rehash(ctx context.Context, kept store.Password, password string) {
	leave, err := s.place(ctx)
	if err != nil {
		return
	}
	fresh := kept
	fresh.Hash = s.Cost.hash(password)
	leave()
	if err := s.Vault.Rehash(ctx, kept, fresh); err != nil {
		s.Log.Warn("a password's hash could not be renewed", "operator", kept.Operator, "err", err)
	}
}

// SetPassword gives an operator a password and ends their sessions but the one with the key keep.
func (s *Service) SetPassword(ctx context.Context, who auth.Actor, operator, password, keep string) (client.Act, error) {
	if err := CheckPassword(operator, password); err != nil {
		return client.Act{}, err
	}
	leave, err := s.place(ctx)
	if err != nil {
		return client.Act{}, err
	}
	kept := store.Password{Operator: operator, Hash: s.Cost.hash(canonical(password)), Set: s.Now().UTC()}
	leave()
	return s.act(ctx, who, operator, ledger.PasswordSet{Operator: operator}, store.PutPassword(kept), store.DropSessions(operator, keep))
}

// RemovePassword takes an operator's password away and ends their sessions but the one with the key keep.
func (s *Service) RemovePassword(ctx context.Context, who auth.Actor, operator, keep string) (client.Act, error) {
	return s.act(ctx, who, operator, ledger.PasswordRemove{Operator: operator}, store.DropPassword(operator), store.DropSessions(operator, keep))
}
