package wire_test

import (
	"crypto/ed25519"
	"errors"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"assent/wire"
)

var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func key(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(slices.Repeat([]byte{seed}, ed25519.SeedSize))
}

func public(k ed25519.PrivateKey) ed25519.PublicKey { return k.Public().(ed25519.PublicKey) }

func signed(t *testing.T, change func(*wire.StatementBody)) (wire.Statement, []byte) {
	t.Helper()
	plan, digest, err := wire.Encode(wire.Plan{Format: wire.PlanFormat})
	if err != nil {
		t.Fatal(err)
	}
	body := wire.StatementBody{Device: "d1", Counter: 7, Issued: now, Expires: now.Add(time.Hour), Plan: digest}
	if change != nil {
		change(&body)
	}
	s, err := wire.Sign(key(1), body)
	if err != nil {
		t.Fatal(err)
	}
	return s, plan
}

func TestStatement_AgentRefusesLowerExpiredForeignAndAltered(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*wire.StatementBody)
		tamper func(*wire.Statement)
		want   error
	}{
		"good":            {nil, nil, nil},
		"same counter":    {func(b *wire.StatementBody) { b.Counter = 5 }, nil, nil},
		"lower counter":   {func(b *wire.StatementBody) { b.Counter = 4 }, nil, wire.ErrPlanLower},
		"expired":         {func(b *wire.StatementBody) { b.Expires = now }, nil, wire.ErrPlanExpired},
		"foreign device":  {func(b *wire.StatementBody) { b.Device = "d2" }, nil, wire.ErrPlanForeign},
		"one byte":        {nil, func(s *wire.Statement) { s.Body = slices.Clone(s.Body); s.Body[12] ^= 1 }, wire.ErrPlanSig},
		"unknown key":     {nil, func(s *wire.Statement) { s.Key = wire.KeyID(public(key(2))) }, wire.ErrPlanKey},
		"other signature": {nil, func(s *wire.Statement) { s.Sig = ed25519.Sign(key(2), s.Body) }, wire.ErrPlanSig},
		"bare signature":  {nil, func(s *wire.Statement) { s.Sig = ed25519.Sign(key(1), s.Body) }, wire.ErrPlanSig},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := signed(t, tc.change)
			if tc.tamper != nil {
				tc.tamper(&s)
			}
			_, err := s.Verify([]ed25519.PublicKey{public(key(1))}, "d1", 5, now)
			if !errors.Is(err, tc.want) {
				t.Errorf("%v, want %v", err, tc.want)
			}
		})
	}
}

func TestStatement_PlanContentIsBoundByDigestAndFormat(t *testing.T) {
	s, plan := signed(t, nil)
	body, err := s.Verify([]ed25519.PublicKey{public(key(1))}, "d1", 0, now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := body.Open(plan); err != nil {
		t.Error(err)
	}
	if _, err := body.Open(append(slices.Clone(plan), ' ')); !errors.Is(err, wire.ErrPlanDigest) {
		t.Errorf("altered plan: %v", err)
	}
	future, digest, _ := wire.Encode(wire.Plan{Format: wire.PlanFormat + 1})
	body.Plan = digest
	if _, err := body.Open(future); !errors.Is(err, wire.ErrPlanFormat) {
		t.Errorf("newer format: %v", err)
	}
}

func TestToken_ReadsBackAndRefusesAnythingElse(t *testing.T) {
	token := wire.NewToken([]byte("ca"))
	got, err := wire.ParseToken(" " + token.String() + "\n")
	if err != nil || got != token {
		t.Errorf("%+v %v", got, err)
	}
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.String().Draw(t, "text")
		if _, err := wire.ParseToken(s); !errors.Is(err, wire.ErrToken) {
			t.Fatalf("%q: %v", s, err)
		}
	})
}

func FuzzStatementVerify(f *testing.F) {
	s, err := wire.Sign(key(1), wire.StatementBody{Device: "d1", Expires: now.Add(time.Hour)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(s.Body, s.Key, s.Sig)
	f.Fuzz(func(t *testing.T, body []byte, id string, sig []byte) {
		st := wire.Statement{Body: body, Key: id, Sig: sig}
		b, err := st.Verify([]ed25519.PublicKey{public(key(1))}, "d1", 0, now)
		if err == nil && b.Device != "d1" {
			t.Error("accepted a foreign statement")
		}
	})
}
