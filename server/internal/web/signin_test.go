package web_test

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"assent/fleet"
	"assent/ledger"
)

// json posts JSON, as passkey.js does.
func (b *browser) json(path, body string) *http.Response {
	b.s.t.Helper()
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.Header.Set("Cookie", "assent="+b.cookie)
	rec := httptest.NewRecorder()
	b.s.Handler.ServeHTTP(rec, r)
	return rec.Result()
}

// TestN22_KnownAndUnknownNamesAreAnsweredAlike compares status, headers and body at every step, up to the limit and
// after it.
func TestN22_KnownAndUnknownNamesAreAnsweredAlike(t *testing.T) {
	s := newSite(t)
	s.withPassword("a")
	type answer struct {
		status int
		body   string
		header map[string][]string
	}
	try := func(name string, n int) answer {
		r := httptest.NewRequest(http.MethodPost, "/sign-in", strings.NewReader(url.Values{"name": {name}, "password": {"wrong password"}}.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		r.RemoteAddr = "198.51.100." + strconv.Itoa(n) + ":1"
		rec := httptest.NewRecorder()
		s.Handler.ServeHTTP(rec, r)
		res := rec.Result()
		header := maps.Clone(map[string][]string(res.Header))
		if wait := res.Header.Get("Retry-After"); wait != "" {
			if seconds, err := strconv.Atoi(wait); err != nil || seconds < 1 || seconds > 30 {
				t.Errorf("Retry-After: %s", wait)
			}
			delete(header, "Retry-After") // the seconds pass while the test runs
		}
		return answer{res.StatusCode, text(t, res), header}
	}
	same := func(a, b answer) bool {
		return a.status == b.status && a.body == b.body && maps.EqualFunc(a.header, b.header, func(x, y []string) bool { return strings.Join(x, "|") == strings.Join(y, "|") })
	}
	var statuses []int
	for i := range 13 {
		known := try("root-a", i)
		statuses = append(statuses, known.status)
		for j, other := range []string{"nobody", "root-v", "Root-A"} { // unknown, without a password, and nearly right
			if got := try(other, 50+20*j+i); !same(known, got) {
				t.Errorf("attempt %d: root-a %+v, %s %+v", i, known, other, got)
			}
		}
	}
	if statuses[0] != 401 || statuses[9] != 401 || statuses[12] != 429 {
		t.Errorf("the statuses were %v", statuses)
	}
	s.Wait(time.Minute)
	if a, b := try("root-a", 200), try("nobody", 201); a.status != 401 || !same(a, b) {
		t.Errorf("after a minute %d and %d", a.status, b.status)
	}
	if res := s.browser("").post("/sign-in", url.Values{"name": {"root-a"}, "password": {passphrase}}); res.StatusCode != 303 {
		t.Errorf("the right password after the limit: %d", res.StatusCode)
	}
}

func TestSignIn_ByPasswordMakesANewSessionThatEndsTheOldOne(t *testing.T) {
	s := newSite(t)
	b := s.withPassword("a")
	old := *b
	if res := b.post("/sign-in", url.Values{"name": {"root-a"}, "password": {passphrase}, "next": {"/queue"}}); res.StatusCode != 303 || res.Header.Get("Location") != "/queue" {
		t.Fatalf("%d to %s", res.StatusCode, res.Header.Get("Location"))
	}
	if b.cookie == old.cookie || old.get("/").StatusCode != 303 || b.get("/").StatusCode != 200 {
		t.Error("the old session lives on, or there is no new one")
	}
	if body := text(t, b.get("/account")); !strings.Contains(body, "<td>password</td>") {
		t.Error("My account does not say how the person signed in")
	}
	b.post("/sign-out", nil)
	if b.cookie != "" {
		t.Error("signing out leaves the cookie")
	}
}

func TestAccount_SetsChangesAndRemovesThePassword(t *testing.T) {
	s := newSite(t)
	b := s.browser(s.tokens["v"])
	for form, code := range map[string]string{"password=short&again=short": "password_short", "password=" + url.QueryEscape(passphrase) + "&again=other": "password_differs",
		"password=root-v+is+my+name&again=root-v+is+my+name": "password_name"} {
		if res := b.send(http.MethodPost, "/account/password", form); res.StatusCode != 422 || !strings.Contains(text(t, res), code) {
			t.Errorf("%s: %d, want %s", form, res.StatusCode, code)
		}
	}
	other := s.browser(s.tokens["v"])
	b.post("/account/password", url.Values{"password": {passphrase}, "again": {passphrase}})
	if other.get("/").StatusCode != 303 || b.get("/").StatusCode != 200 {
		t.Error("the other browser is still signed in")
	}
	if e := s.LastEntry(); e.Kind != (ledger.PasswordSet{}).Kind() || e.By != "root-v" || strings.Contains(string(e.Body), "horse") {
		t.Errorf("the entry is %s by %s: %s", e.Kind, e.By, e.Body)
	}
	if body := text(t, b.get("/account")); !strings.Contains(body, "Remove it") {
		t.Error("My account does not offer to remove the password")
	}
	b.post("/account/password/remove", nil)
	if body := text(t, b.get("/account")); !strings.Contains(body, "Set a password") {
		t.Error("the password is still there")
	}
}

func TestPasskeys_WhatIsNoAnswerIsRefusedInJSON(t *testing.T) {
	s := newSite(t)
	b := s.browser(s.tokens["v"])
	for path, want := range map[string]int{"/sign-in/passkey/finish": 401, "/account/passkeys/finish": 422, "/confirm/passkey/finish": 403, "/confirm/passkey/begin": 403} {
		res := b.json(path, `{"ceremony":"x","credential":{"id":"x"},"name":"x"}`)
		if body := text(t, res); res.StatusCode != want || res.Header.Get("Content-Type") != "application/json" || !strings.Contains(body, `"message"`) {
			t.Errorf("%s: %d %s", path, res.StatusCode, body)
		}
		for _, bad := range []string{"", "{", `{"unknown":1}`, `{} {}`, `{"name":"` + strings.Repeat("x", 70_000) + `"}`} {
			if res := b.json(path, bad); res.StatusCode != 422 {
				t.Errorf("%s with %.20s: %d", path, bad, res.StatusCode)
			}
		}
	}
	if res := b.json("/sign-in/passkey/begin", `{}`); res.StatusCode != 200 || !strings.Contains(text(t, res), `"userVerification":"required"`) {
		t.Errorf("a challenge: %d", res.StatusCode)
	}
	s.Act("server", ledger.OperatorSet{Operator: ledger.Operator{Name: "root-v", Role: ledger.Viewer, Scope: fleet.Root}})
}

// TestN24_AStreamThatIsOpenEndsWithItsSession: a password that is changed in one browser ends what another one reads.
func TestN24_AStreamThatIsOpenEndsWithItsSession(t *testing.T) {
	s := newSite(t)
	for what, end := range map[string]func(mine *browser){
		"a changed password": func(mine *browser) {
			mine.post("/account/password", url.Values{"password": {passphrase}, "again": {passphrase}})
		},
		"an administrator": func(*browser) {
			s.browser(s.tokens["d"]).post("/operators/sign-out", url.Values{"name": {"root-v"}})
		},
	} {
		mine, other := s.browser(s.tokens["v"]), s.browser(s.tokens["v"])
		next := other.listen("/updates/" + s.update + "/stream")
		if first := next(); !strings.HasPrefix(first, "piece ") {
			t.Fatalf("%s: first %.100s", what, first)
		}
		end(mine)
		if last := next(); last != "end " {
			t.Errorf("%s: the stream goes on: %.100s", what, last)
		}
		if other.get("/").StatusCode != http.StatusSeeOther {
			t.Errorf("%s: the session goes on", what)
		}
	}
}
