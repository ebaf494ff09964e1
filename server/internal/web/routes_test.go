package web_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"assent/fleet"
	"assent/ledger"
	"assent/server/internal/web"
	"assent/server/servertest"
)

// site is a server with one team, a device in it, and an operator of each role in the root group (v a d) and in the
// team's (V A D).
type site struct {
	*servertest.World
	t      testing.TB
	device *servertest.Device
	update string
	tokens map[string]string // access tokens by the letter of their role
}

func newSite(t testing.TB) *site {
	t.Helper()
	s := &site{World: servertest.New(t), t: t, tokens: map[string]string{}}
	s.Group("g-team", "Team", fleet.Root)
	s.device = s.Device("web1", "g-team")
	s.device.Has("openssl", "3.0.1")
	s.update = string(s.device.Offer("openssl", "3.0.2", nil))
	s.device.CheckIn()
	for letter, role := range map[string]ledger.Role{"v": ledger.Viewer, "a": ledger.Approver, "d": ledger.Administrator} {
		s.tokens[letter] = s.Operator("root-"+letter, role, fleet.Root)
		s.tokens[strings.ToUpper(letter)] = s.Operator("team-"+letter, role, "g-team")
	}
	return s
}

// browser is a person's browser: it keeps the cookie of the session.
type browser struct {
	s      *site
	cookie string
}

func (s *site) browser(token string) *browser {
	s.t.Helper()
	b := &browser{s: s}
	if token == "" {
		return b
	}
	if res := b.post("/sign-in", url.Values{"token": {token}}); res.StatusCode != http.StatusSeeOther {
		s.t.Fatalf("signing in: %d", res.StatusCode)
	}
	return b
}

func (b *browser) get(path string) *http.Response { return b.send(http.MethodGet, path, "") }

func (b *browser) post(path string, form url.Values) *http.Response {
	return b.send(http.MethodPost, path, form.Encode())
}

func (b *browser) send(method, path, body string) *http.Response {
	b.s.t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	if b.cookie != "" {
		r.Header.Set("Cookie", "assent="+b.cookie)
	}
	rec := httptest.NewRecorder()
	b.s.Handler.ServeHTTP(rec, r)
	res := rec.Result()
	for _, c := range res.Cookies() {
		if c.Name == "assent" {
			b.cookie = c.Value
		}
	}
	return res
}

func text(t testing.TB, res *http.Response) string {
	t.Helper()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// row is what the test expects of a route, written down apart from the route table: who may ask for it (letters of
// site.tokens, p for nobody at all), a form that is posted, and the answer to who may.
type row struct {
	method, path, may, form string
	status                  int
}

const (
	anybody   = "pvadVAD"
	readers   = "vadVAD"
	approvers = "adAD"
	admins    = "dD"
)

// table has a row for each line of the route table; {device}, {update} and the like stand for those of the site.
func table() []row {
	return slices.Concat(fleetRows(), updateRows(), thingRows(), taskRows(), []row{
		{"GET", "/static/x/console.css", anybody, "", 200},
		{"POST", "/csp-report", anybody, "{}", 204},
		{"GET", "/sign-in", anybody, "", 200},
		{"POST", "/sign-in", anybody, "token=x", 401},
		{"POST", "/sign-in/passkey/begin", anybody, "", 422},
		{"POST", "/sign-in/passkey/finish", anybody, "", 422},
		{"POST", "/sign-out", readers, "", 303},
		{"POST", "/theme", anybody, "theme=dark", 303},
		{"POST", "/scope", readers, "group=g-team", 303},
		{"GET", "/", readers, "", 200},
		{"GET", "/overview/coverage", readers, "", 200},
		{"GET", "/overview/trend", readers, "", 200},
		{"GET", "/overview/trend.csv?days=30", readers, "", 200},
		{"GET", "/overview/trend.json", readers, "", 200},
		{"GET", "/account", readers, "", 200},
		{"POST", "/account/sessions/none/end", readers, "", 404},
		{"POST", "/account/sessions/end-others", readers, "", 303},
		{"GET", "/account/password", readers, "", 200},
		{"POST", "/account/password", readers, "password=correct+horse+battery&again=correct+horse+battery", 303},
		{"POST", "/account/password/remove", readers, "", 303},
		{"GET", "/account/passkeys", readers, "", 200},
		{"POST", "/account/passkeys/begin", readers, "", 422},
		{"POST", "/account/passkeys/finish", readers, "", 422},
		{"POST", "/account/passkeys/k1/rename", readers, "name=x", 404},
		{"POST", "/account/passkeys/k1/remove", readers, "", 404},
		{"GET", "/confirm?next=/account", readers, "", 200},
		{"POST", "/confirm", readers, "next=/account", 303},
		{"POST", "/confirm/passkey/begin", readers, "", 422},
		{"POST", "/confirm/passkey/finish", readers, "", 422},
		{"POST", "/operators/sign-out", "d", "name=nobody", 404},
		{"POST", "/operators/password/remove", "d", "name=nobody", 404},
		{"POST", "/operators/passkey/remove", "d", "name=nobody&id=k1", 404},
		{"GET", "/views?list=queue", readers, "", 200},
		{"POST", "/views", readers, "name=&list=queue", 422},
		{"POST", "/views/none/delete", readers, "", 404},
		{"GET", "/search?q=web", readers, "", 200},
		{"GET", "/palette?q=web", readers, "", 200},
		{"GET", "/devices", readers, "", 200},
		{"GET", "/devices.csv", readers, "", 200},
		{"GET", "/devices.json", readers, "", 200},
	})
}

// TestF2_EveryRouteAnswersEveryRoleAndNobodyWithTheExactStatus calls each route without a session and as each role,
// in the root group and in a group below it.
func TestF2_EveryRouteAnswersEveryRoleAndNobodyWithTheExactStatus(t *testing.T) {
	s := newSite(t)
	for _, r := range table() {
		path := strings.NewReplacer("{device}", string(s.device.ID), "{update}", s.update).Replace(r.path)
		for who, token := range s.tokens {
			want := http.StatusForbidden
			if strings.Contains(r.may, who) {
				want = r.status
			}
			if res := s.browser(token).send(r.method, path, r.form); res.StatusCode != want {
				t.Errorf("%s %s as %s: status %d, want %d; %.300s", r.method, path, who, res.StatusCode, want, text(t, res))
			}
		}
		want := http.StatusUnauthorized
		switch {
		case strings.Contains(r.may, "p"):
			want = r.status
		case r.method == http.MethodGet:
			want = http.StatusSeeOther
		}
		res := s.browser("").send(r.method, path, r.form)
		if to := res.Header.Get("Location"); res.StatusCode != want || want == http.StatusSeeOther && !strings.HasPrefix(to, "/sign-in?next=") && !strings.Contains(r.may, "p") {
			t.Errorf("%s %s as nobody: status %d to %q, want %d", r.method, path, res.StatusCode, to, want)
		}
	}
}

// TestF2_NoRouteIsMissingFromTheTable compares the route table with the rows that the test above calls: a new route
// without a row fails here.
func TestF2_NoRouteIsMissingFromTheTable(t *testing.T) {
	tested := http.NewServeMux()
	for _, r := range web.Routes() {
		tested.HandleFunc(r.Method+" "+r.Pattern, func(http.ResponseWriter, *http.Request) {})
	}
	var hit []string
	for _, r := range table() {
		_, pattern := tested.Handler(httptest.NewRequest(r.method, strings.NewReplacer("{", "", "}", "").Replace(r.path), nil))
		hit = append(hit, pattern)
	}
	for _, r := range web.Routes() {
		if pattern := r.Method + " " + r.Pattern; !slices.Contains(hit, pattern) {
			t.Errorf("the route %s has no row in the table of this test", pattern)
		}
	}
}

func TestWhatIsNoPageIsAPageThatSaysSo(t *testing.T) {
	s := newSite(t)
	b := s.browser(s.tokens["v"])
	for _, c := range []struct {
		method, path string
		status       int
		says         string
	}{
		{"GET", "/no/such/page", 404, "page_unknown"},
		{"GET", "/sign-out", 405, "method_not_allowed"},
		{"GET", "/devices?state=", 200, "web1"},
		{"GET", "/devices?sort=nonsense", 422, "sort"},
		{"GET", "/devices?limit=x", 422, "limit"},
		{"GET", "/devices?group=nowhere", 404, "group_unknown"},
	} {
		res := b.send(c.method, c.path, "")
		if body := text(t, res); res.StatusCode != c.status || !strings.Contains(body, c.says) || !strings.Contains(body, "</html>") {
			t.Errorf("%s %s: %d, want %d with %q", c.method, c.path, res.StatusCode, c.status, c.says)
		}
	}
}

// TestN25_ARoleInOneGroupSeesNothingOfAnother looks for another team's device on every page that shows devices.
func TestN25_ARoleInOneGroupSeesNothingOfAnother(t *testing.T) {
	s := newSite(t)
	s.Group("g-other", "Elsewhere", fleet.Root)
	s.Device("secret-db", "g-other")
	b := s.browser(s.tokens["D"])
	for _, path := range []string{"/", "/devices", "/devices?group=g-other", "/devices?group=root", "/devices.csv", "/devices.json?group=g-other", "/search?q=secret", "/palette?q=elsewhere", "/overview/coverage", "/overview/trend", "/overview/trend?group=g-other"} {
		if body := text(t, b.get(path)); strings.Contains(body, "secret-db") || strings.Contains(body, ">Elsewhere<") {
			t.Errorf("%s shows what is outside the scope", path)
		}
	}
	if res := b.post("/scope", url.Values{"group": {"g-other"}}); res.StatusCode != http.StatusNotFound {
		t.Errorf("a foreign group could be chosen: %d", res.StatusCode)
	}
	if body := text(t, s.browser(s.tokens["v"]).get("/devices")); !strings.Contains(body, "secret-db") {
		t.Error("a viewer of all does not see the device: the test looks at nothing")
	}
}

func TestEveryAnswerHasTheStrictPolicyAndNobodyKeepsPages(t *testing.T) {
	s := newSite(t)
	for _, path := range []string{"/", "/sign-in", "/nowhere", "/devices.csv"} {
		h := s.browser(s.tokens["v"]).get(path).Header
		csp := h.Get("Content-Security-Policy")
		for _, part := range []string{"default-src 'none'", "script-src 'self';", "style-src 'self';", "form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'", "report-uri /csp-report"} {
			if !strings.Contains(csp, part) {
				t.Errorf("%s: the policy lacks %q: %s", path, part, csp)
			}
		}
		if strings.Contains(csp, "unsafe") || h.Get("Cache-Control") != "no-store" || h.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: headers %v", path, h)
		}
	}
}

func TestRequestsOfForeignPagesChangeNothing(t *testing.T) {
	s := newSite(t)
	b := s.browser(s.tokens["d"])
	for _, path := range []string{"/sign-out", "/sign-in", "/theme", "/scope"} {
		r := httptest.NewRequest(http.MethodPost, path, strings.NewReader("theme=dark&group=g-team"))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Cookie", "assent="+b.cookie)
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		rec := httptest.NewRecorder()
		s.Handler.ServeHTTP(rec, r)
		if rec.Code != http.StatusForbidden || !strings.Contains(rec.Body.String(), "cross_origin") {
			t.Errorf("POST %s of a foreign page: %d", path, rec.Code)
		}
	}
	if res := b.get("/"); res.StatusCode != http.StatusOK {
		t.Errorf("the session ended: %d", res.StatusCode)
	}
}

func TestSignIn_ALinkWorksOnceAndSigningOutEndsItsAccess(t *testing.T) {
	s := newSite(t)
	once := s.Access("root-d", time.Hour, true)
	b := s.browser("")
	if res := b.post("/sign-in", url.Values{"token": {"http://assent.test/sign-in#" + once}, "next": {"/devices"}}); res.StatusCode != 303 || res.Header.Get("Location") != "/devices" {
		t.Fatalf("signing in with the link: %d to %q", res.StatusCode, res.Header.Get("Location"))
	}
	if res := s.browser("").post("/sign-in", url.Values{"token": {once}}); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("the link worked twice: %d", res.StatusCode)
	}
	old := *b
	if res := b.post("/sign-out", nil); res.StatusCode != 303 {
		t.Fatalf("signing out: %d", res.StatusCode)
	}
	if res := old.get("/"); res.StatusCode != 303 {
		t.Errorf("the old cookie still works: %d", res.StatusCode)
	}
	admin := s.browser(s.tokens["d"])
	if res := admin.get("/account"); strings.Contains(text(t, res), once) {
		t.Error("a page shows a token")
	}
}

// TestN22_SigningInNeverTellsWhatWasWrongAndIsLimited compares the answers to an unknown token, a wrong secret, a
// removed operator's token and an expired one.
func TestN22_SigningInNeverTellsWhatWasWrongAndIsLimited(t *testing.T) {
	s := newSite(t)
	gone := s.Operator("gone", ledger.Viewer, fleet.Root)
	s.Act("server", ledger.OperatorRemove{Name: "gone"})
	wrong := s.tokens["d"][:len(s.tokens["d"])-12] + "000000000000"
	answers := map[string]bool{}
	for _, token := range []string{"x", gone, wrong, s.Access("root-d", -time.Minute, false), s.Access("root-d", -time.Minute, true)} {
		res := s.browser("").post("/sign-in", url.Values{"token": {token}})
		answers[text(t, res)] = true
		if res.StatusCode != http.StatusUnauthorized || len(res.Cookies()) > 0 {
			t.Errorf("status %d, cookies %v", res.StatusCode, res.Cookies())
		}
	}
	if len(answers) != 1 {
		t.Errorf("%d different answers tell what was wrong", len(answers))
	}
	limited := false
	for range 40 {
		limited = limited || s.browser("").post("/sign-in", url.Values{"token": {"x"}}).StatusCode == http.StatusTooManyRequests
	}
	if !limited {
		t.Error("failed attempts are not limited")
	}
	s.browser(s.tokens["v"]) // who has a valid token still gets in from the same address
}

func TestSessions_FollowTheOperatorAtOnce(t *testing.T) {
	s := newSite(t)
	b := s.browser(s.tokens["a"])
	s.Act("server", ledger.OperatorSet{Operator: ledger.Operator{Name: "root-a", Role: ledger.Viewer, Scope: fleet.Root}})
	if body := text(t, b.get("/account")); !strings.Contains(body, "<dd>viewer</dd>") {
		t.Error("the old role still counts")
	}
	s.Act("server", ledger.OperatorRemove{Name: "root-a"})
	if res := b.get("/account"); res.StatusCode != 303 {
		t.Errorf("a removed operator is still signed in: %d", res.StatusCode)
	}
}

func TestSessions_OneCanSeeAndEndOnesOwnAndNoOthers(t *testing.T) {
	s := newSite(t)
	mine, second, other := s.browser(s.tokens["v"]), s.browser(s.tokens["v"]), s.browser(s.tokens["a"])
	id := func(page string) string {
		parts := strings.Split(page, "/account/sessions/") // the first is "end-others"
		if len(parts) < 3 {
			t.Fatal("no other session is listed")
		}
		id, _, _ := strings.Cut(parts[2], "/")
		return id
	}(text(t, mine.get("/account")))
	if res := other.post("/account/sessions/"+id+"/end", nil); res.StatusCode != http.StatusNotFound {
		t.Errorf("a session of another person was ended: %d", res.StatusCode)
	}
	if second.get("/").StatusCode != 200 {
		t.Fatal("the session ended")
	}
	mine.post("/account/sessions/"+id+"/end", nil)
	if second.get("/").StatusCode != 303 || mine.get("/").StatusCode != 200 {
		t.Error("the wrong session ended")
	}
}

func TestALinkFromElsewhereFindsTheSessionOfAStrictCookie(t *testing.T) {
	s := newSite(t)
	follow := func(site string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodGet, "/devices?state=active", nil) // the browser held its cookie back
		r.Header.Set("Sec-Fetch-Site", site)
		r.Header.Set("Sec-Fetch-Mode", "navigate")
		rec := httptest.NewRecorder()
		s.Handler.ServeHTTP(rec, r)
		return rec
	}
	if rec := follow("cross-site"); rec.Code != 200 || rec.Header().Get("Refresh") != "0; url=/devices?state=active" {
		t.Errorf("from elsewhere: %d %v", rec.Code, rec.Header())
	}
	if rec := follow("same-origin"); rec.Code != 303 || rec.Header().Get("Location") != "/sign-in?next=%2Fdevices%3Fstate%3Dactive" {
		t.Errorf("from our own page: %d %v", rec.Code, rec.Header())
	}
}
