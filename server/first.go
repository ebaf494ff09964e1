package server

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"assent/fault"
	"assent/fleet"
	"assent/ledger"
	"assent/server/internal/auth"
	"assent/server/internal/ca"
	"assent/server/internal/store"
	"assent/wire"
)

// firstOperator is the administrator that every installation starts with.
const firstOperator = "admin"

// signInLife is how long a one-time sign-in may wait for its use.
const signInLife = 24 * time.Hour

// acts is the little of the store that acts outside of the running index need.
type acts interface {
	LoadState(ctx context.Context) (*ledger.State, error)
	Append(ctx context.Context, e ledger.Entry, after *ledger.State) error
}

// act makes one act on the store alone: before the index is open, or beside a running server, which then
// reads it. build may return nil for nothing to do.
func act(ctx context.Context, db acts, now time.Time, build func(*ledger.State) (ledger.Body, error)) error {
	for {
		state, err := db.LoadState(ctx)
		if err != nil {
			return fmt.Errorf("load the ledger's state: %w", err)
		}
		body, err := build(state)
		if err != nil || body == nil {
			return err
		}
		entry, err := ledger.Make(state.Seq+1, now, "server", body)
		if err != nil {
			return err
		}
		if err := state.Apply(entry); err != nil {
			return err
		}
		if err := db.Append(ctx, entry, state); !errors.Is(err, store.ErrMoved) {
			return err
		}
	}
}

// found starts a new installation: its ledger, its first administrator and one sign-in. Each step looks
// whether it was done, so a crash in between does no harm. On a later start it only checks that the keys
// are those the ledger began with. It returns the sign-in's text, empty if none was made.
func found(ctx context.Context, db acts, dir *os.Root, k keys, now time.Time) (string, error) {
	planKey := wire.KeyID(k.plan.Public().(ed25519.PublicKey))
	err := act(ctx, db, now, func(s *ledger.State) (ledger.Body, error) {
		switch {
		case s.Seq == 0:
			return ledger.ServerInit{Org: newOrg(), CA: k.ca.Fingerprint(), PlanKey: planKey}, nil
		case s.Server.CA != k.ca.Fingerprint() || s.Server.PlanKey != planKey:
			return nil, fmt.Errorf("the keys in %s are not those of this ledger (organisation %s): put back the ca.pem, %s and %s that belong to it", dir.Name(), s.Server.Org, planKeyFile, ledgerKeyFile)
		}
		return nil, nil
	})
	if err != nil {
		return "", fmt.Errorf("start the ledger: %w", err)
	}
	err = act(ctx, db, now, func(s *ledger.State) (ledger.Body, error) {
		if s.Seq != 1 {
			return nil, nil
		}
		return ledger.OperatorSet{Operator: ledger.Operator{Name: firstOperator, Role: ledger.Administrator, Scope: fleet.Root}}, nil
	})
	if err != nil {
		return "", fmt.Errorf("make the first administrator: %w", err)
	}
	var text string
	err = act(ctx, db, now, func(s *ledger.State) (ledger.Body, error) {
		if s.Seq != 2 {
			return nil, nil
		}
		var access ledger.Access
		access, text = auth.NewAccess(firstOperator, "first sign-in", now.Add(signInLife), true)
		return ledger.AccessCreate{Access: access}, keepSignIn(dir, text)
	})
	if err != nil {
		return "", fmt.Errorf("make the first sign-in: %w", err)
	}
	return text, nil
}

// keepSignIn writes the first sign-in's text for the administrator to read. It is written before the act:
// after a crash in between, the next start makes a new one.
func keepSignIn(dir *os.Root, text string) error {
	if err := dir.Remove(signInFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("clear %s: %w", signInFile, err)
	}
	return ca.WriteSynced(dir, signInFile, []byte(text+"\n"), 0o600)
}

// signIn makes a one-time sign-in for an operator, on the server itself: who may read its keys may let
// people in again. The act is in the ledger like any other.
func signIn(ctx context.Context, db acts, operator string, now time.Time) (string, error) {
	var text string
	err := act(ctx, db, now, func(s *ledger.State) (ledger.Body, error) {
		if _, ok := s.Operators[operator]; !ok {
			return nil, fault.New(fault.NotFound, "operator_unknown", "There is no operator %q.", operator).On("operator")
		}
		var access ledger.Access
		access, text = auth.NewAccess(operator, "made on the server with `assentd sign-in`", now.Add(signInLife), true)
		return ledger.AccessCreate{Access: access}, nil
	})
	if err != nil {
		return "", fmt.Errorf("make a sign-in: %w", err)
	}
	return text, nil
}

// newOrg is a random id of an installation.
func newOrg() string {
	var b [10]byte
	rand.Read(b[:]) // crypto/rand.Read never fails
	return strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))
}
