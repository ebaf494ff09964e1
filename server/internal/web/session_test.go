package web

import (
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"assent/fleet"
	"assent/ledger"
	"assent/server/internal/auth"
)

// oneAccess is a book with one access token that can change.
type oneAccess struct {
	access   ledger.Access
	operator ledger.Operator
}

func (b *oneAccess) Access(id string) (ledger.Access, ledger.Operator, bool) {
	return b.access, b.operator, id == b.access.ID && b.operator.Name != ""
}

func newBook() (*oneAccess, auth.Session) {
	b := &oneAccess{access: ledger.Access{ID: "a1", Operator: "ada", Expires: time.Now().Add(100 * time.Hour)},
		operator: ledger.Operator{Name: "ada", Role: ledger.Approver, Scope: fleet.Root}}
	return b, auth.Session{Actor: auth.Actor{Name: "ada", Role: ledger.Approver, Scope: fleet.Root}, Access: "a1"}
}

func TestN22_ASessionEndsWhenIdleAndAfterTwelveHoursWhateverItDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		book, who := newBook()
		s := newSessions(book, time.Now)
		r := httptest.NewRequest("GET", "/", nil)
		idle, busy := s.start(who, false, r), s.start(who, false, r)
		alive := func(secret string) bool { _, _, ok := s.find(secret); return ok }
		time.Sleep(idleLife - time.Second)
		if !alive(busy) {
			t.Fatal("ended before it was idle for long")
		}
		time.Sleep(2 * time.Second)
		if alive(idle) || !alive(busy) {
			t.Error("idle time is not measured from the last request")
		}
		for range 22 {
			time.Sleep(idleLife - time.Minute)
			alive(busy)
		}
		if !alive(busy) {
			t.Fatal("ended before twelve hours")
		}
		for range 2 {
			time.Sleep(idleLife - time.Minute)
			alive(busy)
		}
		if alive(busy) {
			t.Error("lived on after twelve hours")
		}
	})
}

func TestN22_ASessionIsWorthWhatItsAccessTokenIsWorthNow(t *testing.T) {
	for name, change := range map[string]func(*oneAccess){
		"the token is revoked":     func(b *oneAccess) { b.access.ID = "other" },
		"the token expired":        func(b *oneAccess) { b.access.Expires = time.Now() },
		"the operator is gone":     func(b *oneAccess) { b.operator = ledger.Operator{} },
		"the token is for signing": func(b *oneAccess) { b.access.OneTime = true },
	} {
		book, who := newBook()
		s := newSessions(book, time.Now)
		secret := s.start(who, false, httptest.NewRequest("GET", "/", nil))
		if _, now, ok := s.find(secret); !ok || now.Actor != who.Actor {
			t.Fatalf("%s: the session does not begin", name)
		}
		before := *book
		change(book)
		if _, _, ok := s.find(secret); ok {
			t.Errorf("%s, but the session goes on", name)
		}
		*book = before
		if _, _, ok := s.find(secret); ok {
			t.Errorf("%s: a session that ended came back", name)
		}
	}
}

func TestSessions_AreBoundedAndHaveNewSecretsEachTime(t *testing.T) {
	book, who := newBook()
	s := newSessions(book, time.Now)
	seen := map[string]bool{}
	for range 3 * maxSessions {
		seen[s.start(who, false, httptest.NewRequest("GET", "/", nil))] = true
	}
	if len(seen) != 3*maxSessions || len(s.list("ada")) != maxSessions {
		t.Errorf("%d secrets, %d sessions", len(seen), len(s.list("ada")))
	}
	if len(s.list("eve")) != 0 {
		t.Error("the sessions of another operator are listed")
	}
	if _, _, ok := s.find(""); ok {
		t.Error("no secret finds a session")
	}
}

func TestToasts_AreShownOnceAndStayInTheLog(t *testing.T) {
	one := &session{}
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

func TestLocal_LeadsNowhereElse(t *testing.T) {
	for to, want := range map[string]string{"/devices?x=1": "/devices?x=1", "": "/", "//evil.test": "/", "/\\evil.test": "/", "https://evil.test/": "/",
		"javascript:alert(1)": "/", "/a\r\nSet-Cookie: x=y": "/", "/\t/evil.test": "/", "devices": "/", "/updates/pkg:deb%2Fx": "/updates/pkg:deb%2Fx"} {
		if got := local(to); got != want {
			t.Errorf("local(%q) = %q, want %q", to, got, want)
		}
	}
}
