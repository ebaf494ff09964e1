package signin

import (
	"context"
	"errors"
	"time"

	"assent/fault"
	"assent/server/internal/auth"
)

// Fresh reports whether the person of a session proved who they are a short while ago: privileged acts ask for that.
func (s *Service) Fresh(one Session) bool { return s.Now().Sub(one.Confirmed) < freshLife }

// Ways are what an operator can sign in with, besides tokens.
type Ways struct {
	Password bool
	Set      time.Time // when the password was set
	Passkeys []Passkey
}

// None reports whether only a token lets the operator in.
func (w Ways) None() bool { return !w.Password && len(w.Passkeys) == 0 }

// Passkey is a registered passkey as people see it.
type Passkey struct {
	ID, Name      string
	Created, Used time.Time
}

// Ways says what an operator can sign in with.
func (s *Service) Ways(ctx context.Context, operator string) (Ways, error) {
	kept, there, err := s.Vault.Password(ctx, operator)
	if err != nil {
		return Ways{}, err
	}
	keys, err := s.Vault.Passkeys(ctx, operator)
	out := Ways{Password: there, Set: kept.Set}
	for _, k := range keys {
		out.Passkeys = append(out.Passkeys, Passkey{ID: k.ID, Name: k.Name, Created: k.Created, Used: k.Used})
	}
	return out, err
}

// ConfirmPassword takes the password of a session's person as proof for privileged acts.
func (s *Service) ConfirmPassword(ctx context.Context, one Session, password, remote string) error {
	ok, err := s.password(ctx, one.Operator, password, remote)
	if err != nil {
		return err
	}
	if !ok {
		return errUnproved.On("password")
	}
	return s.confirm(ctx, one, ByPassword)
}

// ConfirmToken takes an access token of a session's person as proof for privileged acts.
func (s *Service) ConfirmToken(ctx context.Context, one Session, text, remote string) error {
	who, err := s.Tokens.Authenticate("Bearer "+text, remote)
	switch {
	case err == nil && who.Name != one.Operator:
		s.refused(ByToken, one.Operator, remote, errors.New("the token is another operator's"))
		return errUnproved.On("token")
	case errors.Is(err, auth.ErrLimited):
		s.Observe(ByToken, Limited)
		return err
	case errors.Is(err, fault.Unauthenticated):
		s.Observe(ByToken, Refused)
		return errUnproved.On("token")
	case err != nil:
		return err
	}
	return s.confirm(ctx, one, ByToken)
}

func (s *Service) confirm(ctx context.Context, one Session, means Means) error {
	if err := s.Vault.ConfirmSession(ctx, one.Key, s.Now()); err != nil {
		return err
	}
	s.Observe(means, Confirmed)
	s.Log.Info("confirmed who is signed in", "operator", one.Operator, "means", means, "session", one.ID)
	return nil
}
