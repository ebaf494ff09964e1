package auth

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"assent/fault"
	"assent/fleet"
	"assent/ledger"
)

// stateBook is a Book over a real ledger state.
type stateBook struct {
	mu    sync.Mutex
	state *ledger.State
}

func (b *stateBook) Access(id string) (ledger.Access, ledger.Operator, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	a, ok := b.state.Accesses[id]
	return a, b.state.Operators[a.Operator], ok
}

func (b *stateBook) Exchange(_ context.Context, spent string, fresh ledger.Access) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.apply(ledger.AccessRevoke{ID: spent}); err != nil {
		return fault.New(fault.Unauthenticated, "spent", "Spent.").Because(err)
	}
	return b.apply(ledger.AccessCreate{Access: fresh})
}

func (b *stateBook) apply(body ledger.Body) error {
	e, err := ledger.Make(b.state.Seq+1, time.Unix(0, 0), "test", body)
	if err != nil {
		return err
	}
	return b.state.Apply(e)
}

type fixture struct {
	*Service
	book *stateBook
	now  time.Time
}

func newFixture(t *testing.T, limits Limits) *fixture {
	t.Helper()
	f := &fixture{book: &stateBook{state: ledger.NewState()}, now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
	f.act(t, ledger.OperatorSet{Operator: ledger.Operator{Name: "ada", Role: ledger.Administrator, Scope: fleet.Root}})
	f.act(t, ledger.OperatorSet{Operator: ledger.Operator{Name: "bob", Role: ledger.Approver, Scope: fleet.Root}})
	var err error
	f.Service, err = New(Config{Book: f.book, Now: func() time.Time { return f.now }, Limits: limits})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *fixture) act(t *testing.T, body ledger.Body) {
	t.Helper()
	f.book.mu.Lock()
	defer f.book.mu.Unlock()
	if err := f.book.apply(body); err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) access(t *testing.T, name string, life time.Duration, oneTime bool) (id, text string) {
	t.Helper()
	a, text := NewAccess(name, "", f.now.Add(life), oneTime)
	f.act(t, ledger.AccessCreate{Access: a})
	return a.ID, text
}

const here = "192.0.2.1:5000"

func TestTokenTextSurvivesParsingAndAnyChangedCharacterIsRefused(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := NewToken().String()
		tok, err := ParseToken(text)
		if err != nil || tok.String() != text {
			t.Fatalf("ParseToken(%q) = %v, %v", text, tok, err)
		}
		i := rapid.IntRange(0, len(text)-1).Draw(t, "place")
		c := byte(rapid.IntRange(33, 126).Draw(t, "character"))
		if c == text[i] {
			return
		}
		changed := text[:i] + string(c) + text[i+1:]
		if _, err := ParseToken(changed); !errors.Is(err, fault.Invalid) {
			t.Fatalf("ParseToken(%q) accepted a changed %q: %v", changed, text, err)
		}
	})
}

func TestLedgerNeverHoldsATokensSecret(t *testing.T) {
	a, text := NewAccess("ada", "", time.Now(), false)
	tok, _ := ParseToken(text)
	if strings.Contains(fmt.Sprintf("%+v", a), tok.Secret) {
		t.Errorf("the record %+v holds the secret", a)
	}
}

func TestN24_AllWrongCredentialsAreRefusedInTheSameWords(t *testing.T) {
	f := newFixture(t, Limits{})
	_, good := f.access(t, "bob", time.Hour, false)
	if s, err := f.Authenticate("Bearer "+good, here); err != nil || s.Name != "bob" || s.Role != ledger.Approver {
		t.Fatalf("a good token: %+v, %v", s, err)
	}
	if _, err := f.Authenticate("bearer "+good, here); err != nil {
		t.Errorf("the scheme's case matters: %v", err)
	}
	revokedID, revoked := f.access(t, "bob", time.Hour, false)
	f.act(t, ledger.AccessRevoke{ID: revokedID})
	_, expired := f.access(t, "bob", 0, false)
	_, oneTime := f.access(t, "bob", time.Hour, true)
	tok, _ := ParseToken(good)
	wrong := Token{ID: tok.ID, Secret: NewToken().Secret}.String()
	for name, header := range map[string]string{
		"unknown": "Bearer " + NewToken().String(), "wrong secret": "Bearer " + wrong, "revoked": "Bearer " + revoked,
		"expired": "Bearer " + expired, "one-time": "Bearer " + oneTime, "garbage": "Bearer x", "basic": "Basic eDp5", "two": "Bearer " + good + " " + good,
	} {
		if _, err := f.Authenticate(header, here); err == nil || err.Error() != errBad.Error() {
			t.Errorf("%s: got %v, want exactly %v", name, err, errBad)
		}
	}
	if _, err := f.Authenticate("", here); !errors.Is(err, fault.Unauthenticated) {
		t.Errorf("no header: %v", err)
	}
}

func TestTakingAwayAccessWorksAtOnceAlsoForSessionsUnderWay(t *testing.T) {
	f := newFixture(t, Limits{})
	id, text := f.access(t, "bob", time.Hour, false)
	session, err := f.Authenticate("Bearer "+text, here)
	if err != nil || f.Live(session) != nil {
		t.Fatalf("a good token: %v, %v", err, f.Live(session))
	}
	f.act(t, ledger.OperatorSet{Operator: ledger.Operator{Name: "bob", Role: ledger.Viewer, Scope: fleet.Root}})
	if f.Live(session) == nil {
		t.Error("a session goes on with a role that was taken away")
	}
	if s, err := f.Authenticate("Bearer "+text, here); err != nil || s.Role != ledger.Viewer {
		t.Errorf("after the role changed: %+v, %v", s, err)
	}
	f.act(t, ledger.AccessRevoke{ID: id})
	if _, err := f.Authenticate("Bearer "+text, here); err == nil || f.Live(session) == nil {
		t.Error("a revoked token still counts")
	}
	_, text = f.access(t, "bob", time.Hour, false)
	f.act(t, ledger.OperatorRemove{Name: "bob"})
	if _, err := f.Authenticate("Bearer "+text, here); err == nil {
		t.Error("a removed operator still gets in")
	}
}

func TestSignInTokenIsExchangedExactlyOnceUnderARace(t *testing.T) {
	f := newFixture(t, Limits{Burst: 1000})
	_, text := f.access(t, "bob", time.Hour, true)
	var wg sync.WaitGroup
	won := make(chan string, 50)
	for range 50 {
		wg.Go(func() {
			if _, fresh, err := f.SignIn(t.Context(), text, "", here, time.Hour); err == nil {
				won <- fresh
			} else if !errors.Is(err, fault.Unauthenticated) {
				t.Errorf("a loser got %v", err)
			}
		})
	}
	wg.Wait()
	close(won)
	if len(won) != 1 {
		t.Fatalf("%d of 50 exchanged the token, want 1", len(won))
	}
	if s, err := f.Authenticate("Bearer "+<-won, here); err != nil || s.Name != "bob" || !s.Expires.Equal(f.now.Add(time.Hour)) {
		t.Errorf("the fresh token: %+v, %v", s, err)
	}
}

func TestSignInRefusesAccessTokensExpiredOnesAndLongLives(t *testing.T) {
	f := newFixture(t, Limits{})
	_, access := f.access(t, "bob", time.Hour, false)
	_, expired := f.access(t, "bob", 0, true)
	for _, text := range []string{access, expired, "", "x"} {
		if _, _, err := f.SignIn(t.Context(), text, "", here, 0); !errors.Is(err, fault.Unauthenticated) {
			t.Errorf("SignIn(%q): %v, want unauthenticated", text, err)
		}
	}
	_, good := f.access(t, "bob", time.Hour, true)
	if _, _, err := f.SignIn(t.Context(), good, "lap\x1btop", here, 0); !errors.Is(err, fault.Invalid) {
		t.Errorf("a note with a control character: %v", err)
	}
	s, _, err := f.SignIn(t.Context(), good, "laptop", here, 1000*24*time.Hour)
	if err != nil || !s.Expires.Equal(f.now.Add(SignInLife)) {
		t.Errorf("a very long life: expires %v, %v, want %v", s.Expires, err, f.now.Add(SignInLife))
	}
}

func TestFailuresAreLimitedPerAddressButAGoodTokenAlwaysGetsIn(t *testing.T) {
	f := newFixture(t, Limits{Burst: 3, Every: time.Second})
	_, good := f.access(t, "bob", time.Hour, false)
	fail := func(remote string) error { _, err := f.Authenticate("Bearer nonsense", remote); return err }
	for i := range 3 {
		if err := fail(here); !errors.Is(err, fault.Unauthenticated) {
			t.Fatalf("failure %d: %v", i+1, err)
		}
	}
	if err := fail("192.0.2.1:9999"); !errors.Is(err, fault.Unavailable) {
		t.Errorf("the fourth failure from another port: %v, want %v", err, ErrLimited)
	}
	if _, err := f.Authenticate("Bearer "+good, here); err != nil {
		t.Errorf("a good token from the limited address: %v", err)
	}
	if err := fail("198.51.100.7:1"); !errors.Is(err, fault.Unauthenticated) {
		t.Errorf("another address is limited too: %v", err)
	}
	f.now = f.now.Add(time.Second)
	if err := fail(here); !errors.Is(err, fault.Unauthenticated) {
		t.Errorf("after a pause: %v", err)
	}
}

func TestOneIPv6NetworkIsOneAddressAndV4InV6IsV4(t *testing.T) {
	for _, pair := range [][2]string{{"[2001:db8::1]:1", "[2001:db8::ffff:2]:2"}, {"192.0.2.1:1", "[::ffff:192.0.2.1]:2"}} {
		if network(pair[0]) != network(pair[1]) {
			t.Errorf("%v are told apart: %q, %q", pair, network(pair[0]), network(pair[1]))
		}
	}
	if network("[2001:db8::1]:1") == network("[2001:db8:0:1::1]:1") {
		t.Error("two networks are taken for one")
	}
}

// TestCanAgreesWithTheTreeForAnyTreeRoleAndScope compares Can with the definition in words: the role is high
// enough and the scope is the actor's group or below it.
func TestCanAgreesWithTheTreeForAnyTreeRoleAndScope(t *testing.T) {
	roles := []ledger.Role{"", "root", ledger.Viewer, ledger.Approver, ledger.Administrator}
	rapid.Check(t, func(t *rapid.T) {
		groups := []fleet.Group{{ID: fleet.Root, Name: fleet.RootName}}
		parent := map[fleet.GroupID]fleet.GroupID{}
		for i := range rapid.IntRange(0, 8).Draw(t, "groups") {
			g := fleet.Group{ID: fleet.GroupID(fmt.Sprint("g", i)), Name: fmt.Sprint("g", i), Parent: rapid.SampledFrom(groups).Draw(t, "parent").ID}
			groups, parent[g.ID] = append(groups, g), g.Parent
		}
		tree, err := fleet.NewTree(groups)
		if err != nil {
			t.Fatal(err)
		}
		pick := func(label string) fleet.GroupID {
			return rapid.OneOf(rapid.Just(fleet.GroupID("nowhere")), rapid.Map(rapid.SampledFrom(groups), func(g fleet.Group) fleet.GroupID { return g.ID })).Draw(t, label)
		}
		actor := Actor{Name: "x", Role: rapid.SampledFrom(roles).Draw(t, "role"), Scope: pick("actor scope")}
		need, scope := rapid.SampledFrom(roles).Draw(t, "need"), pick("scope")
		below := false
		for g := scope; g != ""; g = parent[g] {
			below = below || g == actor.Scope && g != "nowhere"
		}
		order := map[ledger.Role]int{ledger.Viewer: 1, ledger.Approver: 2, ledger.Administrator: 3}
		want := order[need] > 0 && order[actor.Role] >= order[need] && below
		if err := actor.Can(need, tree, scope); (err == nil) != want || (err != nil && !errors.Is(err, fault.Forbidden)) {
			t.Fatalf("%+v.Can(%q, %q) = %v, want allowed %v", actor, need, scope, err, want)
		}
	})
}
