package web

import (
	"context"
	"net/http"
	"testing"

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

func TestLocal_LeadsNowhereElse(t *testing.T) {
	for to, want := range map[string]string{"/devices?x=1": "/devices?x=1", "": "/", "//evil.test": "/", "/\\evil.test": "/", "https://evil.test/": "/",
		"javascript:alert(1)": "/", "/a\r\nSet-Cookie: x=y": "/", "/\t/evil.test": "/", "devices": "/", "/updates/pkg:deb%2Fx": "/updates/pkg:deb%2Fx"} {
		if got := local(to); got != want {
			t.Errorf("local(%q) = %q, want %q", to, got, want)
		}
	}
}
