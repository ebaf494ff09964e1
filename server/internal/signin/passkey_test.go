package signin

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"assent/fault"
	"assent/ledger"
	"assent/server/internal/auth"
)

// register makes a passkey for the person of a session.
func (w *world) register(one Session, a *authenticator, name string) error {
	w.t.Helper()
	c, err := w.BeginRegister(w.t.Context(), one, name)
	w.must(err)
	_, err = w.Register(w.t.Context(), w.actor(one.Operator), one, c.ID, name, a.create(c))
	return err
}

// keyed is a world in which ada has a passkey.
func keyed(t *testing.T) (*world, *authenticator, Session) {
	t.Helper()
	w := newWorld(t, nil)
	w.password("ada")
	_, one := w.enter("ada")
	a := newAuthenticator(t)
	w.must(w.register(one, a, "key ring"))
	a.count++
	return w, a, one
}

// unlock signs in with a passkey.
func (w *world) unlock(a *authenticator) (Proof, error) {
	w.t.Helper()
	c, err := w.BeginPasskey(w.t.Context(), here)
	w.must(err)
	return w.WithPasskey(w.t.Context(), c.ID, a.sign(c), here)
}

func TestPasskey_IsRegisteredNamedUsedAndRemoved(t *testing.T) {
	w, a, one := keyed(t)
	e := w.last()
	if e.Kind != "passkey.add" || e.By != "ada" || !strings.Contains(string(e.Body), `"name":"key ring"`) || strings.Contains(string(e.Body), b64(a.id)) {
		t.Errorf("the entry is %s %s", e.Kind, e.Body)
	}
	p, err := w.unlock(a)
	if err != nil || p.Name != "ada" || p.Means != ByPasskey || p.Access != "" {
		t.Fatalf("%+v %v", p, err)
	}
	cookie, _ := w.start(p)
	ways, err := w.Ways(t.Context(), "ada")
	if err != nil || !ways.Password || len(ways.Passkeys) != 1 || ways.Passkeys[0].Name != "key ring" || ways.Passkeys[0].Used.IsZero() || ways.None() {
		t.Fatalf("%+v %v", ways, err)
	}
	id := ways.Passkeys[0].ID
	w.must(w.Rename(t.Context(), "ada", id, "blue key"))
	for _, bad := range []string{"", " x", "a\x1bb", strings.Repeat("x", 65)} {
		if err := w.Rename(t.Context(), "ada", id, bad); !errors.Is(err, fault.Invalid) {
			t.Errorf("the name %q: %v", bad, err)
		}
	}
	if err := w.Rename(t.Context(), "eve", id, "mine"); !errors.Is(err, fault.NotFound) {
		t.Errorf("eve renamed a passkey of ada: %v", err)
	}
	second := newAuthenticator(t)
	w.must(w.register(one, second, "spare"))
	second.count++
	if ways, _ := w.Ways(t.Context(), "ada"); len(ways.Passkeys) != 2 || string(second.handle) != string(a.handle) {
		t.Errorf("%+v", ways)
	}
	if _, err := w.unlock(second); err != nil {
		t.Error(err)
	}
	if _, err := w.RemovePasskey(t.Context(), w.actor("ada"), "ada", id, one.Key); err != nil || w.last().Kind != "passkey.remove" {
		t.Fatal(err)
	}
	if w.in(cookie) {
		t.Error("a browser that signed in with a removed passkey is still signed in")
	}
	a.count++
	if _, err := w.unlock(a); !errors.Is(err, errRefused) {
		t.Errorf("a removed passkey: %v", err)
	}
}

// TestN18_WhatIsNotExactlyRightDoesNotLetIn changes one thing of a good answer at a time.
func TestN18_WhatIsNotExactlyRightDoesNotLetIn(t *testing.T) {
	for name, change := range map[string]func(w *world, a *authenticator){
		"another origin":            func(_ *world, a *authenticator) { a.origin = "https://assent.test.evil.example" },
		"without TLS":               func(_ *world, a *authenticator) { a.origin = "http://assent.test" },
		"another port":              func(_ *world, a *authenticator) { a.origin = siteName + ":8443" },
		"another site":              func(_ *world, a *authenticator) { a.site = "evil.example" },
		"the person not verified":   func(_ *world, a *authenticator) { a.flags = 1 },
		"the person not there":      func(_ *world, a *authenticator) { a.flags = 4 },
		"another key":               func(_ *world, a *authenticator) { a.key = newAuthenticator(t).key },
		"an unknown credential":     func(_ *world, a *authenticator) { a.id = []byte("unknown credential") },
		"another person's handle":   func(_ *world, a *authenticator) { a.handle = []byte("eve") },
		"no handle":                 func(_ *world, a *authenticator) { a.handle = nil },
		"an operator who is gone":   func(w *world, _ *authenticator) { w.act(ledger.OperatorRemove{Name: "ada"}) },
		"an answer that comes late": nil,
	} {
		w, a, _ := keyed(t)
		c, err := w.BeginPasskey(t.Context(), here)
		w.must(err)
		if change != nil {
			change(w, a)
		} else {
			w.wait(ceremonyLife)
		}
		if _, err := w.WithPasskey(t.Context(), c.ID, a.sign(c), here); !errors.Is(err, errRefused) {
			t.Errorf("%s: %v", name, err)
		}
		if w.seen[ByPasskey][Refused] != 1 {
			t.Errorf("%s: counted %v", name, w.seen)
		}
	}
}

func TestN18_AChallengeIsAnsweredOnceForWhatItWasMade(t *testing.T) {
	w, a, one := keyed(t)
	c, err := w.BeginPasskey(t.Context(), here)
	w.must(err)
	answer := a.sign(c)
	if _, err := w.WithPasskey(t.Context(), c.ID, answer, here); err != nil {
		t.Fatal(err)
	}
	a.count++
	later, err := w.BeginPasskey(t.Context(), here)
	w.must(err)
	forConfirm, err := w.BeginConfirm(t.Context(), one, here)
	w.must(err)
	for what, try := range map[string]func() error{
		"replayed":                        func() error { return second(w.WithPasskey(t.Context(), c.ID, answer, here)) },
		"for another challenge":           func() error { return second(w.WithPasskey(t.Context(), later.ID, answer, here)) },
		"for confirming, used to sign in": func() error { return second(w.WithPasskey(t.Context(), forConfirm.ID, a.sign(forConfirm), here)) },
		"for no challenge":                func() error { return second(w.WithPasskey(t.Context(), "", answer, here)) },
		"that is nothing":                 func() error { return second(w.WithPasskey(t.Context(), "", nil, here)) },
	} {
		if err := try(); !errors.Is(err, errRefused) {
			t.Errorf("an answer %s: %v", what, err)
		}
	}
}

func TestN18_ACounterThatGoesBackRemovesThePasskeyAndSignsOut(t *testing.T) {
	for _, count := range []uint32{0, 1, 7} {
		w, a, one := keyed(t)
		a.count = 7
		if _, err := w.unlock(a); err != nil {
			t.Fatal(err)
		}
		a.count = count
		if _, err := w.unlock(a); !errors.Is(err, errRefused) {
			t.Errorf("the count %d after 7: %v", count, err)
		}
		e := w.last()
		if e.Kind != "passkey.remove" || e.By != "server" || !strings.Contains(string(e.Body), "counter went back") || w.seen[ByPasskey][Copied] != 1 {
			t.Errorf("the entry is %s %s by %s, counted %v", e.Kind, e.Body, e.By, w.seen)
		}
		a.count = 20
		if _, err := w.unlock(a); !errors.Is(err, errRefused) {
			t.Errorf("the passkey still counts: %v", err)
		}
		if _, _, err := w.Check(t.Context(), one.Key); !errors.Is(err, errEnded) {
			t.Errorf("its operator is still signed in: %v", err)
		}
	}
}

func TestPasskey_ThatDoesNotCountIsFine(t *testing.T) {
	w := newWorld(t, nil)
	w.password("ada")
	_, one := w.enter("ada")
	a := newAuthenticator(t)
	a.count = 0
	w.must(w.register(one, a, "phone"))
	for range 3 {
		if _, err := w.unlock(a); err != nil {
			t.Fatal(err)
		}
	}
}

func TestN18_RegisteringAsksForThePersonAndForASafeAlgorithm(t *testing.T) {
	w, known, one := keyed(t)
	c, err := w.BeginRegister(t.Context(), one, "key")
	w.must(err)
	o := known.read(c)
	if o.Selection.ResidentKey != "required" || o.Selection.UserVerification != "required" || len(o.Exclude) != 1 || o.Exclude[0].ID != b64(known.id) || strings.Contains(o.User.ID, "ada") {
		t.Errorf("asked with %+v", o)
	}
	if _, err := w.BeginRegister(t.Context(), one, ""); !errors.Is(err, fault.Invalid) {
		t.Errorf("a passkey without a name is made before it is refused: %v", err)
	}
	for name, change := range map[string]func(a *authenticator){
		"not verified":   func(a *authenticator) { a.flags = 1 },
		"another origin": func(a *authenticator) { a.origin = "https://evil.example" },
		"another site":   func(a *authenticator) { a.site = "evil.example" },
		"SHA-1":          func(a *authenticator) { a.alg = -65535 },
		"no algorithm":   func(a *authenticator) { a.alg = 0 },
	} {
		a := newAuthenticator(t)
		change(a)
		if err := w.register(one, a, "bad"); !errors.Is(err, errNotRegistered) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, eve := func() (string, Session) { w.password("eve"); return w.enter("eve") }()
	a := newAuthenticator(t)
	a.id = known.id
	if err := w.register(eve, a, "taken"); !errors.Is(err, fault.Conflict) {
		t.Errorf("a credential of ada was registered for eve: %v", err)
	}
	c, err = w.BeginRegister(t.Context(), one, "key")
	w.must(err)
	if _, err := w.Register(t.Context(), w.actor("eve"), eve, c.ID, "stolen", newAuthenticator(t).create(c)); !errors.Is(err, errNotRegistered) {
		t.Errorf("eve answered a challenge of ada: %v", err)
	}
	if ways, _ := w.Ways(t.Context(), "eve"); len(ways.Passkeys) != 0 {
		t.Error("eve has a passkey")
	}
	for i := range maxPasskeys - 1 {
		w.must(w.register(one, newAuthenticator(t), fmt.Sprint("key ", i)))
	}
	if _, err := w.BeginRegister(t.Context(), one, "key"); !errors.Is(err, fault.Conflict) {
		t.Errorf("more than %d passkeys: %v", maxPasskeys, err)
	}
}

func TestPasskey_ChallengesAreLimitedByAddress(t *testing.T) {
	w, a, _ := keyed(t)
	for range 40 {
		if _, err := w.unlock(a); err != nil {
			t.Fatalf("the right answer is counted as a failure: %v", err)
		}
		a.count++
	}
	var err error
	for range 21 {
		_, err = w.BeginPasskey(t.Context(), here)
	}
	if _, ok := auth.RetryAfter(err); !ok {
		t.Errorf("21 challenges in a row: %v", err)
	}
	w.wait(3 * time.Second)
	if _, err = w.BeginPasskey(t.Context(), here); err != nil {
		t.Error(err)
	}
}

func TestPasskey_IsOffWithoutASite(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Site = Site{} })
	if w.PasskeyOrigin() != "" {
		t.Error(w.PasskeyOrigin())
	}
	for what, err := range map[string]error{"begin": second(w.BeginPasskey(t.Context(), here)), "finish": second(w.WithPasskey(t.Context(), "", nil, here)),
		"register": second(w.BeginRegister(t.Context(), Session{}, "key")), "keep": second(w.Register(t.Context(), auth.Actor{}, Session{}, "", "x", nil)),
		"confirm": second(w.BeginConfirm(t.Context(), Session{}, here)), "prove": w.ConfirmPasskey(t.Context(), Session{}, "", nil, here)} {
		if !errors.Is(err, errNoPasskeys) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestReadSite_IsAHostThatBrowsersOfferPasskeysTo(t *testing.T) {
	for address, want := range map[string]Site{
		"https://assent.example.org": {"assent.example.org", "https://assent.example.org"}, "https://Assent.example.org:443/": {"assent.example.org", "https://assent.example.org"},
		"https://assent.example.org:8480": {"assent.example.org", "https://assent.example.org:8480"}, "http://127.0.0.1:8480": {"localhost", "http://localhost:8480"},
		"http://[::1]:8480": {"localhost", "http://localhost:8480"}, "http://localhost": {"localhost", "http://localhost"}, "https://192.0.2.1:8480": {}, "http://assent.example.org": {}, "https://[2001:db8::1]": {},
	} {
		if got, err := ReadSite(address); got != want || err != nil {
			t.Errorf("%s: %+v %v, want %+v", address, got, err, want)
		}
	}
	for _, bad := range []string{"", "assent.example.org", "ftp://x", "https://", "https://x/path", "https://x?y=z", "https://u:p@x", "https://x#f", "://"} {
		if got, err := ReadSite(bad); err == nil {
			t.Errorf("%q was taken as %+v", bad, got)
		}
	}
}

func TestConfirm_IsGoodForAQuarterOfAnHourByEveryMeans(t *testing.T) {
	w, a, one := keyed(t)
	_, token := w.access("ada", false)
	passkey := func() error {
		c, err := w.BeginConfirm(t.Context(), one, here)
		w.must(err)
		defer func() { a.count++ }()
		return w.ConfirmPasskey(t.Context(), one, c.ID, a.sign(c), here)
	}
	for name, prove := range map[string]func() error{"password": func() error { return w.ConfirmPassword(t.Context(), one, secret, here) },
		"token": func() error { return w.ConfirmToken(t.Context(), one, token, here) }, "passkey": passkey} {
		w.wait(freshLife)
		now, _, err := w.Check(t.Context(), one.Key)
		w.must(err)
		if w.Fresh(now) {
			t.Fatalf("%s: still fresh after %v", name, freshLife)
		}
		w.must(prove())
		now, _, err = w.Check(t.Context(), one.Key)
		w.must(err)
		if !w.Fresh(now) {
			t.Errorf("%s confirms nothing", name)
		}
		w.wait(freshLife - time.Second)
		if !w.Fresh(now) {
			t.Errorf("%s: not good for long enough", name)
		}
		w.mark(one)
	}
}

// mark uses a session.
func (w *world) mark(one Session) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.Service.seen[one.Key] = w.now()
}

func TestN18_OnlyThePersonOfTheSessionConfirmsIt(t *testing.T) {
	w, a, one := keyed(t)
	w.password("eve")
	_, eve := w.enter("eve")
	_, evesToken := w.access("eve", false)
	_, link := w.access("ada", true)
	w.wait(freshLife)
	mine, err := w.BeginConfirm(t.Context(), one, here)
	w.must(err)
	others, err := w.BeginConfirm(t.Context(), one, here)
	w.must(err)
	unverified := *a
	unverified.flags = 1
	forSignIn, err := w.BeginPasskey(t.Context(), here)
	w.must(err)
	if _, err := w.BeginConfirm(t.Context(), eve, here); !errors.Is(err, errUnproved) {
		t.Errorf("eve has no passkey: %v", err)
	}
	for what, err := range map[string]error{
		"a wrong password":                w.ConfirmPassword(t.Context(), one, "wrong", here),
		"the password of eve":             w.ConfirmPassword(t.Context(), Session{Key: one.Key, Operator: "root"}, secret, here),
		"a token of eve":                  w.ConfirmToken(t.Context(), one, evesToken, here),
		"a sign-in token":                 w.ConfirmToken(t.Context(), one, link, here),
		"no token":                        w.ConfirmToken(t.Context(), one, "x", here),
		"an answer in another session":    w.ConfirmPasskey(t.Context(), eve, others.ID, a.sign(others), here),
		"an unverified person":            w.ConfirmPasskey(t.Context(), one, mine.ID, unverified.sign(mine), here),
		"an answer for signing in":        w.ConfirmPasskey(t.Context(), one, forSignIn.ID, a.sign(forSignIn), here),
		"the same challenge once again":   w.ConfirmPasskey(t.Context(), one, mine.ID, a.sign(mine), here),
		"an answer to no challenge there": w.ConfirmPasskey(t.Context(), one, "none", a.sign(mine), here),
	} {
		if !errors.Is(err, fault.Forbidden) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, who := range []Session{one, eve} {
		if now, _, err := w.Check(t.Context(), who.Key); err != nil || w.Fresh(now) {
			t.Errorf("the session of %s is confirmed, %v", who.Operator, err)
		}
	}
	var limited bool
	for range 30 {
		_, ok := auth.RetryAfter(w.ConfirmPassword(t.Context(), one, "wrong", here))
		limited = limited || ok
	}
	if !limited {
		t.Error("guessing in a session is not limited")
	}
}

func TestPasskey_TheRecordHoldsNoAttestation(t *testing.T) {
	w, a, _ := keyed(t)
	k, ok, err := w.db.PasskeyOf(t.Context(), a.id)
	if !ok || err != nil {
		t.Fatal(ok, err)
	}
	var record struct {
		Attestation struct {
			Object []byte `json:"object"`
		} `json:"attestation"`
	}
	if err := json.Unmarshal(k.Record, &record); err != nil || len(record.Attestation.Object) > 0 {
		t.Errorf("%v, %d bytes", err, len(record.Attestation.Object))
	}
}
