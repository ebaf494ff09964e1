package web_test

import (
	"net/url"
	"regexp"
	"strings"
	"testing"

	"assent/fleet"
	"assent/ledger"
)

// secret takes the secret that a page shows.
func secret(t *testing.T, page string) string {
	t.Helper()
	m := regexp.MustCompile(`id="secret"[^>]*>([^<]+)<`).FindStringSubmatch(page)
	if m == nil {
		t.Fatal("the page shows no secret")
	}
	return m[1]
}

func TestOperators_AddChangeAndRemove(t *testing.T) {
	s := newSite(t)
	b := s.browser(s.tokens["d"])
	add := url.Values{"fresh": {"1"}, "name": {"ada"}, "role": {"approver"}, "scope": {"g-team"}}
	expect(t, b.post("/operators/set", add), 303)
	has(t, expect(t, b.get("/operators"), 200), "ada", "approver", "Team", "ada is approver in Team.")
	expect(t, b.post("/operators/set", add), 409) // the form for another one does not change one who is there
	expect(t, b.post("/operators/set", url.Values{"name": {"nobody"}, "role": {"viewer"}, "scope": {"root"}}), 404)
	expect(t, b.post("/operators/set", url.Values{"name": {"ada"}, "role": {"viewer"}, "scope": {"g-team"}}), 303)
	has(t, expect(t, b.get("/operators/edit?name=ada"), 200), `<option value="viewer" selected>`, `<option value="g-team" selected>`)

	once := secret(t, expect(t, b.post("/access/create", url.Values{"operator": {"ada"}, "kind": {"sign-in"}}), 200))
	ada := s.browser(once)
	has(t, expect(t, ada.get("/account"), 200), "<dd>ada</dd>")
	expect(t, b.post("/operators/remove", url.Values{"name": {"ada"}}), 422)
	expect(t, ada.get("/account"), 200)
	expect(t, b.post("/operators/remove", url.Values{"name": {"ada"}, "sure": {"yes"}}), 303)
	expect(t, ada.get("/account"), 303)
	expect(t, b.get("/operators/edit?name=ada"), 404)
}

// TestN22_SecretsAreShownOnceAndNowhereElse makes tokens of both sorts and looks for them on the pages.
func TestN22_SecretsAreShownOnceAndNowhereElse(t *testing.T) {
	s := newSite(t)
	b := s.browser(s.tokens["d"])
	access := secret(t, expect(t, b.post("/access/create", url.Values{"note": {"nightly"}, "life": {"7d"}}), 200))
	line := secret(t, expect(t, b.post("/enrol/create", url.Values{"to": {"g-team"}, "uses": {"3"}, "life": {"24h"}, "note": {"rack 4"}}), 200))
	if !strings.HasPrefix(line, "assent-agent enrol --server https://assent.test:8443 --token ") {
		t.Fatalf("the line to run is %q", line)
	}
	token := line[strings.LastIndex(line, " ")+1:]
	for _, path := range []string{"/access", "/enrol", "/ledger", "/ledger.json", "/ledger/export", "/account", "/operators"} {
		lacks(t, expect(t, b.get(path), 200), access, token)
	}
	has(t, expect(t, b.get("/access"), 200), "nightly", "current")
	has(t, expect(t, b.get("/enrol"), 200), "rack 4", "0 of 3", "good")
	s.browser(access) // it lets in
}

func TestTokens_AreRevokedByWhoMayAndRefuseNonsense(t *testing.T) {
	s := newSite(t)
	admin, team, viewer := s.browser(s.tokens["d"]), s.browser(s.tokens["D"]), s.browser(s.tokens["V"])
	expect(t, admin.post("/enrol/create", url.Values{"to": {"root"}, "note": {"of all"}}), 200)
	expect(t, team.post("/enrol/create", url.Values{"to": {"g-team"}, "note": {"of the team"}}), 200)
	lacks(t, expect(t, team.get("/enrol"), 200), "of all")
	find := regexp.MustCompile(`name="id" value="([^"]+)"`)
	page := expect(t, admin.get("/enrol"), 200)
	at := strings.Index(page, "of all")
	id := find.FindStringSubmatch(page[at:])[1]
	expect(t, team.post("/enrol/revoke", url.Values{"id": {id}}), 404)
	expect(t, admin.post("/enrol/revoke", url.Values{"id": {id}}), 303)
	has(t, expect(t, admin.get("/enrol"), 200), "revoked")

	lacks(t, expect(t, viewer.get("/access"), 200), "root-d", "team-d", `name="operator"`)
	has(t, expect(t, team.get("/access"), 200), "team-v")
	lacks(t, expect(t, team.get("/access"), 200), "root-d")
	mine := find.FindStringSubmatch(expect(t, viewer.get("/access"), 200))[1]
	expect(t, s.browser(s.tokens["A"]).post("/access/revoke", url.Values{"id": {mine}}), 404)
	expect(t, viewer.post("/access/revoke", url.Values{"id": {mine}}), 303)
	expect(t, viewer.get("/access"), 303) // it was the one behind the session

	for path, forms := range map[string][]string{"/access/create": {"life=x", "life=0d", "life=12", "life=400d", "kind=sign-in&life=30d", "note=a%00b"}, "/enrol/create": {"uses=0", "uses=many", "life=31d", "uses=1000000"}} {
		for _, form := range forms {
			expect(t, admin.send("POST", path, form), 422)
		}
	}
}

func TestOperators_TheLastAdministratorStays(t *testing.T) {
	s := newSite(t)
	s.Act("server", ledger.OperatorSet{Operator: ledger.Operator{Name: "only", Role: ledger.Administrator, Scope: fleet.Root}})
	b := s.browser(s.tokens["d"])
	expect(t, b.post("/operators/remove", url.Values{"name": {"only"}, "sure": {"yes"}}), 303)
	has(t, expect(t, b.post("/operators/remove", url.Values{"name": {"root-d"}, "sure": {"yes"}}), 409), "last_administrator")
	expect(t, b.get("/operators"), 200)
}
