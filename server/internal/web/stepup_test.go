package web_test

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"assent/client"
	"assent/fleet"
	"assent/ledger"
	"assent/server/internal/web"
)

const (
	passphrase = "correct horse battery staple"
	stale      = 16 * time.Minute
)

// withPassword signs an operator in and gives them a password.
func (s *site) withPassword(letter string) *browser {
	s.t.Helper()
	b := s.browser(s.tokens[letter])
	if res := b.post("/account/password", url.Values{"password": {passphrase}, "again": {passphrase}}); res.StatusCode != http.StatusSeeOther {
		s.t.Fatalf("setting a password: %d %.300s", res.StatusCode, text(s.t, res))
	}
	return b
}

// asks reports whether an answer is the page that asks for a proof.
func asks(t *testing.T, res *http.Response) (bool, string) {
	t.Helper()
	body := text(t, res)
	return res.StatusCode == http.StatusForbidden && strings.Contains(body, "Prove that it is you"), body
}

// carried are the hidden fields of the form of a page, as a browser would send them.
func carried(page string) url.Values {
	out := url.Values{}
	for _, m := range regexp.MustCompile(`<input type="hidden" name="([^"]+)" value="([^"]*)">`).FindAllStringSubmatch(page[strings.Index(page, "data-confirm"):], -1) {
		out.Add(m[1], m[2])
	}
	return out
}

// privileged are the acts that ask for a proof, and whom they change.
func privileged() map[string]string {
	return map[string]string{"/operators/set": "name=newcomer&role=viewer&scope=root&fresh=1", "/operators/remove": "name=root-v&sure=yes", "/access/create": "kind=access",
		"/enrol/create": "to=root", "/exceptions": "update=x&scope=root", "/channels": "name=ops&kind=webhook&address=https://hooks.example.org&events=halt", "/channels/none": "name=x", "/channels/none/delete": "confirm=none",
		"/feeds": "name=x&url=http%3A%2F%2Fx", "/packages/x/download": "", "/account/password": "password=x&again=x",
		"/account/password/remove": "", "/account/passkeys/k1/remove": "", "/operators/password/remove": "name=root-v", "/operators/passkey/remove": "name=root-v&id=k1"}
}

// TestN22_PrivilegedActsAskForAProofThatIsNotOld sends each from a browser that was left alone for a while, and then
// with a wrong proof, without script. Nothing happens.
func TestN22_PrivilegedActsAskForAProofThatIsNotOld(t *testing.T) {
	s := newSite(t)
	b := s.withPassword("d")
	seq := s.Entries()
	s.Wait(stale)
	for path, form := range privileged() {
		res := b.send(http.MethodPost, path, form)
		if ok, body := asks(t, res); !ok {
			t.Errorf("%s: %d %.200s", path, res.StatusCode, body)
		}
		for _, wrong := range []string{"&confirm_password=wrong", "&confirm_token=wrong", "&confirm_token=" + s.tokens["v"]} {
			if ok, _ := asks(t, b.send(http.MethodPost, path, form+wrong)); !ok {
				t.Errorf("%s with %s was done", path, wrong)
			}
		}
		s.Wait(time.Minute) // below the limit on guessing
	}
	for _, path := range []string{"/account/password", "/account/passkeys"} {
		if ok, body := asks(t, b.get(path)); !ok || carried(body).Get("next") != path {
			t.Errorf("%s is shown without a proof", path)
		}
	}
	r := b.json("/account/passkeys/begin", `{}`)
	if body := text(t, r); r.StatusCode != http.StatusForbidden || !strings.Contains(body, "confirm_needed") {
		t.Errorf("a passkey can be registered: %d %s", r.StatusCode, body)
	}
	if s.Entries() != seq {
		t.Error("something was done without a proof")
	}
	for _, path := range []string{"/", "/devices", "/account", "/operators"} {
		if res := b.get(path); res.StatusCode != http.StatusOK {
			t.Errorf("%s needs a proof to be read: %d", path, res.StatusCode)
		}
	}
	for path, want := range map[string]int{"/account/sessions/end-others": 303, "/operators/sign-out": 404, "/enrol/revoke": 404} {
		if res := b.send(http.MethodPost, path, "name=nobody&id=x"); res.StatusCode != want {
			t.Errorf("%s takes power away and still asks: %d", path, res.StatusCode)
		}
	}
}

// TestN22_EveryRouteThatGivesPowerIsInTheTestOfProofs compares the route table with the test above.
func TestN22_EveryRouteThatGivesPowerIsInTheTestOfProofs(t *testing.T) {
	var marked []string
	for _, r := range web.Routes() {
		if web.Confirms(r) && r.Method == http.MethodPost && r.Pattern != "/account/passkeys/begin" {
			marked = append(marked, r.Pattern)
		}
	}
	if len(marked) != len(privileged()) {
		t.Errorf("the table marks %d routes, the test sends %d: %v", len(marked), len(privileged()), marked)
	}
}

func TestConfirm_TheFormGoesOnWithTheProofInItAndNothingIsLost(t *testing.T) {
	for name, proof := range map[string]func(s *site) (field, value string){
		"password": func(*site) (string, string) { return "confirm_password", passphrase },
		"token":    func(s *site) (string, string) { return "confirm_token", s.tokens["d"] },
	} {
		s := newSite(t)
		b := s.withPassword("d")
		s.Wait(stale)
		form := url.Values{"name": {"ada <b>"}, "role": {"viewer"}, "scope": {"root"}, "fresh": {"1"}}
		ok, body := asks(t, b.post("/operators/set", form))
		if !ok || !strings.Contains(body, `action="/operators/set"`) || strings.Contains(body, "ada <b>") {
			t.Fatalf("%s: %.300s", name, body)
		}
		again := carried(strings.ReplaceAll(body, "&lt;b&gt;", "<b>"))
		field, value := proof(s)
		again.Set(field, value)
		if res := b.post("/operators/set", again); res.StatusCode != http.StatusSeeOther || !strings.Contains(text(t, b.get("/operators")), "ada &lt;b&gt;") {
			t.Errorf("%s: %d", name, res.StatusCode)
		}
		if res := b.post("/access/create", url.Values{"kind": {"access"}}); res.StatusCode != http.StatusOK {
			t.Errorf("%s: the proof counts once only: %d", name, res.StatusCode)
		}
		s.Wait(stale)
		if ok, _ := asks(t, b.post("/access/create", url.Values{"kind": {"access"}})); !ok {
			t.Errorf("%s: the proof counts for ever", name)
		}
	}
}

func TestConfirm_NeverWritesASecretIntoAPageAndLeadsBack(t *testing.T) {
	s := newSite(t)
	b := s.withPassword("a")
	s.Wait(stale)
	ok, body := asks(t, b.post("/account/password", url.Values{"password": {"a brand new secret"}, "again": {"a brand new secret"}}))
	if !ok || strings.Contains(body, "brand new") || carried(body).Get("next") != "/account/password" || !strings.Contains(body, `action="/confirm"`) {
		t.Fatalf("%.500s", body)
	}
	ok, body = asks(t, b.post("/confirm", url.Values{"next": {"/account/password"}, "confirm_password": {"wrong wrong wrong"}}))
	if !ok || strings.Contains(body, "wrong wrong") || carried(body).Get("next") != "/account/password" {
		t.Errorf("%.300s", body)
	}
	if res := b.post("/confirm", url.Values{"next": {"/account/password"}, "confirm_password": {passphrase}}); res.StatusCode != 303 || res.Header.Get("Location") != "/account/password" {
		t.Errorf("%d to %s", res.StatusCode, res.Header.Get("Location"))
	}
	if res := b.post("/confirm", url.Values{"next": {"https://evil.test/"}}); res.Header.Get("Location") != "/" {
		t.Errorf("led to %s", res.Header.Get("Location"))
	}
}

func TestConfirm_WhoCameByLinkIsAskedForAWayBack(t *testing.T) {
	s := newSite(t)
	b := s.browser(s.Access("root-d", time.Hour, true))
	if body := text(t, b.get("/devices")); !strings.Contains(body, "To come back") {
		t.Error("a person who signed in with a one-time link is not asked for a password or a passkey")
	}
	if body := text(t, s.browser(s.tokens["d"]).get("/devices")); strings.Contains(body, "To come back") {
		t.Error("a person with an access token is asked")
	}
	if res := b.post("/account/password", url.Values{"password": {passphrase}, "again": {passphrase}}); res.StatusCode != 303 {
		t.Fatalf("%d: signing in is a proof", res.StatusCode)
	}
	if body := text(t, b.get("/devices")); strings.Contains(body, "To come back") {
		t.Error("still asked, with a password")
	}
}

func TestOperators_AnAdministratorTakesAwayWhatSomebodySignsInWith(t *testing.T) {
	s := newSite(t)
	boss, other := s.browser(s.tokens["d"]), s.withPassword("a")
	page := func() string { return text(t, boss.get("/operators/edit?name=root-a")) }
	if body := page(); !strings.Contains(body, "Signed in with 1 browser") || !strings.Contains(body, "A password, set") {
		t.Fatalf("%.3000s", body)
	}
	if res := boss.post("/operators/sign-out", url.Values{"name": {"root-a"}}); res.StatusCode != 303 || other.get("/").StatusCode != 303 {
		t.Errorf("signing out: %d", res.StatusCode)
	}
	if kind := s.LastEntry().Kind; kind != (ledger.SessionEnd{}).Kind() {
		t.Errorf("the ledger says %s", kind)
	}
	if res := boss.post("/operators/password/remove", url.Values{"name": {"root-a"}}); res.StatusCode != 303 || !strings.Contains(page(), "No password.") {
		t.Errorf("removing the password: %d", res.StatusCode)
	}
	if res := s.browser("").post("/sign-in", url.Values{"name": {"root-a"}, "password": {passphrase}}); res.StatusCode != 401 {
		t.Errorf("the removed password lets in: %d", res.StatusCode)
	}
	if res := boss.post("/operators/passkey/remove", url.Values{"name": {"root-a"}, "id": {"k1"}}); res.StatusCode != 404 {
		t.Errorf("a passkey that is not there: %d", res.StatusCode)
	}
}

func TestPassword_OverTheAPI(t *testing.T) {
	s := newSite(t)
	s.Group("g-x", "X", fleet.Root)
	as := func(letter string) *client.Client {
		c, err := client.New(client.Config{Server: s.URL, Token: s.tokens[letter]})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	b := s.withPassword("a")
	if _, err := as("d").SetPassword(t.Context(), "root-a", client.PasswordRequest{Password: "set by an administrator"}); err != nil {
		t.Fatal(err)
	}
	if b.get("/").StatusCode != 303 {
		t.Error("the operator is still signed in with the old password")
	}
	if res := s.browser("").post("/sign-in", url.Values{"name": {"root-a"}, "password": {"set by an administrator"}}); res.StatusCode != 303 {
		t.Errorf("the new password: %d", res.StatusCode)
	}
	if _, err := as("a").SetPassword(t.Context(), "root-d", client.PasswordRequest{Password: "set by an approver now"}); err == nil {
		t.Error("an approver set the password of an administrator")
	}
	if _, err := as("a").RemovePassword(t.Context(), "root-a"); err != nil {
		t.Error(err)
	}
	if _, err := as("d").SignOutOperator(t.Context(), "root-v"); err != nil {
		t.Error(err)
	}
}
