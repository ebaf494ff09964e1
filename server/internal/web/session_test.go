package web

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"assent/fault"
	"assent/fleet"
	"assent/ledger"
	"assent/server/internal/auth"
	"assent/server/internal/signin"
)

// oneSignedIn is a SignIn with one session, whose person can change.
type oneSignedIn struct {
	SignIn
	who auth.Actor // no name: the session ended
}

func (o *oneSignedIn) Check(context.Context, string) (signin.Session, auth.Session, error) {
	if o.who.Name == "" {
		return signin.Session{}, auth.Session{}, errSignedIn
	}
	return signin.Session{Key: "key", Operator: o.who.Name}, auth.Session{Actor: o.who}, nil
}

func (o *oneSignedIn) Find(ctx context.Context, cookie string) (signin.Session, auth.Session, error) {
	if cookie != "cookie" {
		return signin.Session{}, auth.Session{}, errSignedIn
	}
	return o.Check(ctx, "key")
}

// signedIn is a server with one session, and what makes requests part of it.
func signedIn() (*server, *oneSignedIn, func(*Visit) *Visit) {
	one := &oneSignedIn{who: auth.Actor{Name: "ada", Role: ledger.Approver, Scope: fleet.Root}}
	s := &server{Config: Config{SignIn: one}, desks: newDesks()}
	return s, one, func(v *Visit) *Visit {
		v.Request.AddCookie(&http.Cookie{Name: s.cookieName(), Value: "cookie"})
		v.session, v.Session, _ = s.current(v.Request)
		return v
	}
}

func TestToasts_AreShownOnceAndStayInTheLog(t *testing.T) {
	desks := newDesks()
	for _, one := range []*session{{}, {Session: signin.Session{Key: "k"}, desks: desks}} {
		if one.unseen() != nil || one.log() != nil || len(desks.all) != 0 {
			t.Error("something was told already")
		}
		for range maxToasts + 5 {
			one.toast(Toast{Text: "old"})
		}
		one.toast(Toast{Text: "new"})
		if got := one.unseen(); len(got) != maxToasts || got[len(got)-1].Text != "new" {
			t.Errorf("%d toasts", len(got))
		}
		if len(one.unseen()) != 0 || len(one.log()) != maxToasts || one.log()[0].Text != "new" {
			t.Error("shown twice, or lost from the log")
		}
	}
	again := &session{Session: signin.Session{Key: "k"}, desks: desks} // the next request of the same browser
	if len(again.log()) != maxToasts {
		t.Error("the log ends with the request")
	}
	other := &session{Session: signin.Session{Key: "other"}, desks: desks}
	if other.log() != nil {
		t.Error("one reads what another was told")
	}
}

func TestDesks_AreBounded(t *testing.T) {
	desks := newDesks()
	for i := range maxDesks + 10 {
		(&session{Session: signin.Session{Key: string(rune(i))}, desks: desks}).toast(Toast{Text: "x"})
	}
	if n := len(desks.all); n > maxDesks {
		t.Errorf("%d are kept", n)
	}
}

// away is a SignIn whose database cannot be reached.
type away struct{ SignIn }

func (away) Find(context.Context, string) (signin.Session, auth.Session, error) {
	return signin.Session{}, auth.Session{}, fault.New(fault.Unavailable, "storage_unavailable", "The database cannot be reached.")
}

func (away) PasskeyOrigin() string { return "" }

// TestN49_WithoutTheDatabaseNobodyIsSignedOutAndNobodyGetsIn: who is signed in cannot be told, so nothing is shown; but
// the cookie stays, and public pages work.
func TestN49_WithoutTheDatabaseNobodyIsSignedOutAndNobodyGetsIn(t *testing.T) {
	s := &server{Config: Config{SignIn: away{}, Log: slog.New(slog.DiscardHandler)}, desks: newDesks()}
	var err error
	if s.assets, err = loadAssets(); err != nil {
		t.Fatal(err)
	}
	if s.views, err = loadViews(s.assets, s.routes()); err != nil {
		t.Fatal(err)
	}
	for _, r := range s.routes() {
		if r.Method != http.MethodGet || r.Pattern != "/sign-in" && r.Pattern != "/account" {
			continue
		}
		req := httptest.NewRequest(http.MethodGet, r.Pattern, nil)
		req.AddCookie(&http.Cookie{Name: s.cookieName(), Value: "cookie"})
		rec := httptest.NewRecorder()
		s.handler(r).ServeHTTP(rec, req)
		want := map[string]int{"/sign-in": 200, "/account": 503}[r.Pattern]
		if rec.Code != want || len(rec.Result().Cookies()) > 0 || want == 503 && !strings.Contains(rec.Body.String(), "storage_unavailable") {
			t.Errorf("%s: %d with cookies %v", r.Pattern, rec.Code, rec.Result().Cookies())
		}
	}
}

func TestLocal_LeadsNowhereElse(t *testing.T) {
	for to, want := range map[string]string{"/devices?x=1": "/devices?x=1", "": "/", "//evil.test": "/", "/\\evil.test": "/", "https://evil.test/": "/",
		"javascript:alert(1)": "/", "/a\r\nSet-Cookie: x=y": "/", "/\t/evil.test": "/", "devices": "/", "/updates/pkg:deb%2Fx": "/updates/pkg:deb%2Fx"} {
		if got := local(to); got != want {
			t.Errorf("local(%q) = %q, want %q", to, got, want)
		}
	}
}
