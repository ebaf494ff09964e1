package api_test

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"assent/client"
	"assent/fleet"
	"assent/ledger"
	"assent/server/internal/api"
	"assent/server/internal/auth"
)

// world is an API over counting services with operators of every kind.
type world struct {
	*services
	pulse   *pulse
	book    *book
	handler http.Handler
	now     time.Time
	tokens  map[string]string // operator -> text
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{services: &services{}, pulse: newPulse(), now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC), tokens: map[string]string{}}
	w.book = &book{state: ledger.NewState(), now: func() time.Time { return w.now }}
	w.must(t, w.book.act("server", ledger.GroupCreate{Group: fleet.Group{ID: testGroup, Name: "Test", Parent: fleet.Root}}))
	for _, role := range []ledger.Role{ledger.Viewer, ledger.Approver, ledger.Administrator} {
		w.operator(t, string(role), role, fleet.Root)
		w.operator(t, "scoped "+string(role), role, testGroup)
	}
	service, err := auth.New(auth.Config{Book: w.book, Now: func() time.Time { return w.now }, Limits: auth.Limits{Burst: 1000}})
	w.must(t, err)
	w.handler, err = api.New(api.Config{Auth: service, Decide: w.services, Roster: w.services, SignIn: w.services, Audit: audit{w.services}, Changes: w.pulse, Feeds: feeds{w.services}, Packages: kits{w.services}, Trends: w.services, Views: w.services, Tasks: jobs{w.services}, Rollouts: w.services, Channels: channels{w.services},
		Log: slog.New(slog.DiscardHandler)})
	w.must(t, err)
	return w
}

func (w *world) must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) operator(t *testing.T, name string, role ledger.Role, scope fleet.GroupID) {
	t.Helper()
	w.must(t, w.book.act("server", ledger.OperatorSet{Operator: ledger.Operator{Name: name, Role: role, Scope: scope}}))
	w.tokens[name] = w.access(t, name, w.now.Add(time.Hour), false)
}

func (w *world) access(t *testing.T, name string, expires time.Time, oneTime bool) string {
	t.Helper()
	access, text := auth.NewAccess(name, "", expires, oneTime)
	w.must(t, w.book.act("server", ledger.AccessCreate{Access: access}))
	return text
}

// call sends a request and returns the answer.
func (w *world) call(method, path, token, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" || method == http.MethodPost {
		r.Header.Set("Content-Type", "application/json")
	}
	rec := httptest.NewRecorder()
	w.handler.ServeHTTP(rec, r)
	return rec
}

// row is what the test expects of a route, written down apart from the route table: who may call it, and a
// call that would work.
type row struct {
	method, path string
	may          string // letters of who may: v a d for roles in the root, V A D for the scoped ones, p for nobody at all
	body         string
	service      string // the service method that must be reached
	status       int    // when it is; 200 by default
}

const (
	readers    = "vadVAD"
	approvers  = "adAD"
	admins     = "dD"
	wholeAdmin = "d"
	wholeRead  = "vad"
)

func table() []row {
	return slices.Concat([]row{
		{"POST", "/sign-in", "pvadVAD", `{"token":"x"}`, "", 401}, // public, and the token is wrong
		{"GET", "/me", readers, "", "", 200},
		{"POST", "/sign-out", readers, "", "RevokeAccess", 200},
		{"GET", "/status", readers, "", "Status", 200},
		{"GET", "/trend?group=Web&days=7", readers, "", "Trend", 200},
		{"GET", "/views?list=queue", readers, "", "Views", 200},
		{"POST", "/views", readers, `{"name":"n","list":"queue","query":"state=failed"}`, "SaveView", 200},
		{"DELETE", "/views/v1", readers, "", "DeleteView", 200},
		{"GET", "/changes", readers, "", "", 200},
		{"GET", "/queue", readers, "", "Queue", 200},
		{"GET", "/events", readers, "", "Events", 200},
		{"GET", "/devices/d1/why/u1", readers, "", "Why", 200},
		{"GET", "/updates", readers, "", "List", 200},
		{"GET", "/updates/pkg:deb%2Fdebian%2Fopenssl@1.0%3Farch=source", readers, "", "Get", 200},
		{"POST", "/decisions", approvers, `{"updates":["u1"],"status":"approved"}`, "Decide", 200},
		{"POST", "/rollbacks", approvers, `{"update":"u1"}`, "Rollback", 200},
		{"GET", "/exceptions", readers, "", "Exceptions", 200},
		{"POST", "/exceptions", approvers, `{"update":"u1","decline":3,"scope":"Test","reason":"r","expires":"2027-01-01T00:00:00Z"}`, "Except", 200},
		{"DELETE", "/exceptions/7", approvers, "", "Unexcept", 200},
		{"GET", "/updates/u1/agreements", readers, "", "Agreements", 200},
		{"GET", "/updates/u1/agreements/" + strings.Repeat("a", 64), readers, "", "AgreementText", 200},
		{"GET", "/agreements", readers, "", "Accepted", 200},
		{"POST", "/agreements", approvers, `{"update":"u1","digests":["d"]}`, "Accept", 200},
		{"POST", "/agreements/withdrawals", approvers, `{"digest":"12345678"}`, "Withdraw", 200},
		{"GET", "/devices", readers, "", "Devices", 200},
		{"GET", "/devices/d1", readers, "", "Device", 200},
		{"GET", "/devices/d1/packages?search=curl&hold=true", readers, "", "Inventory", 200},
		{"POST", "/devices/changes", admins, `{"devices":["d1"],"group":"Test"}`, "ChangeDevices", 200},
		{"POST", "/devices/refresh", approvers, `{"group":"Test"}`, "RefreshDevices", 200},
		{"POST", "/devices/rehearse", approvers, `{"devices":["d1"]}`, "RehearseDevices", 200},
		{"GET", "/rehearsals?only=kept&cause=no_space", readers, "", "Rehearsals", 200},
		{"GET", "/groups", readers, "", "Groups", 200},
		{"POST", "/groups", admins, `{"name":"New"}`, "CreateGroup", 200},
		{"PATCH", "/groups/g1", admins, `{"name":"Newer"}`, "ChangeGroup", 200},
		{"DELETE", "/groups/g1", admins, "", "DeleteGroup", 200},
		{"GET", "/tokens", admins, "", "Tokens", 200},
		{"POST", "/tokens", admins, `{"uses":2}`, "CreateToken", 200},
		{"DELETE", "/tokens/t1", admins, "", "RevokeToken", 200},
		{"GET", "/operators", wholeAdmin, "", "Operators", 200},
		{"PUT", "/operators/eve", wholeAdmin, `{"name":"eve","role":"viewer"}`, "SetOperator", 200},
		{"DELETE", "/operators/eve", wholeAdmin, "", "RemoveOperator", 200},
		{"PUT", "/operators/eve/password", readers, `{"password":"correct horse battery"}`, "SetPassword", 200},
		{"DELETE", "/operators/eve/password", readers, "", "RemovePassword", 200},
		{"DELETE", "/operators/eve/sessions", readers, "", "EndAll", 200},
		{"GET", "/access", readers, "", "Accesses", 200},
		{"GET", "/channels", wholeAdmin, "", "Channels", 200},
		{"GET", "/channels/ops", wholeAdmin, "", "Channel", 200},
		{"POST", "/channels", wholeAdmin, `{"name":"ops","kind":"webhook","address":"https://hooks.example.org","events":["halt"]}`, "CreateChannel", 200},
		{"PUT", "/channels/ops", wholeAdmin, `{"name":"ops","kind":"webhook","address":"https://hooks.example.org","events":["halt"]}`, "ChangeChannel", 200},
		{"DELETE", "/channels/ops", wholeAdmin, "", "DeleteChannel", 200},
		{"POST", "/channels/ops/test", wholeAdmin, "", "TestChannel", 200},
		{"POST", "/access", readers, `{}`, "CreateAccess", 200},
		{"DELETE", "/access/a1", readers, "", "RevokeAccess", 200},
		{"GET", "/ledger", wholeRead, "", "Entries", 200},
		{"GET", "/ledger/checkpoint", wholeRead, "", "Checkpoint", 200},
		{"GET", "/ledger/export", wholeRead, "", "Export", 200},
	}, feedRows(), packageRows(), taskRows(), rolloutRows())
}

// TestN07_EveryRouteAnswersEveryCallerWithTheExactStatus calls each route of the table with no credential,
// with each role in the root group and in a group below, and with tokens that do not count any more.
func TestN07_EveryRouteAnswersEveryCallerWithTheExactStatus(t *testing.T) {
	w := newWorld(t)
	revoked := w.access(t, "administrator", w.now.Add(time.Hour), false)
	tok, _ := auth.ParseToken(revoked)
	w.must(t, w.book.act("server", ledger.AccessRevoke{ID: tok.ID}))
	callers := map[string]string{
		"v": w.tokens["viewer"], "a": w.tokens["approver"], "d": w.tokens["administrator"],
		"V": w.tokens["scoped viewer"], "A": w.tokens["scoped approver"], "D": w.tokens["scoped administrator"],
	}
	strangers := map[string]string{
		"no credential": "", "expired": w.access(t, "administrator", w.now, false), "revoked": revoked,
		"one-time": w.access(t, "administrator", w.now.Add(time.Hour), true), "wrong secret": otherSecret(callers["d"]), "garbage": "x",
	}
	for _, r := range table() {
		for who, token := range callers {
			want, service := 403, ""
			if strings.Contains(r.may, who) {
				want, service = r.status, r.service
			}
			w.expect(t, r, who, token, want, service)
		}
		for who, token := range strangers {
			want := 401
			if strings.Contains(r.may, "p") {
				want = r.status
			}
			w.expect(t, r, who, token, want, "")
		}
	}
}

func otherSecret(text string) string {
	tok, _ := auth.ParseToken(text)
	tok.Secret = auth.NewToken().Secret
	return tok.String()
}

func (w *world) expect(t *testing.T, r row, who, token string, want int, service string) {
	t.Helper()
	w.calls = nil
	rec := w.call(r.method, api.Prefix+r.path, token, r.body)
	if rec.Code != want || w.last() != service {
		t.Errorf("%s %s as %s: status %d and service %q, want %d and %q; %s", r.method, r.path, who, rec.Code, w.last(), want, service, rec.Body)
	}
	if rec.Code >= 400 {
		problemIn(t, rec)
	}
}

func problemIn(t *testing.T, rec *httptest.ResponseRecorder) client.Problem {
	t.Helper()
	var p client.Problem
	if err := json.Unmarshal(rec.Body.Bytes(), &p); err != nil || p.Code == "" || p.Kind == "" || p.Detail == "" || p.Status != rec.Code ||
		rec.Header().Get("Content-Type") != "application/problem+json" {
		t.Errorf("status %d came without a whole problem: %s %q (%v)", rec.Code, rec.Header().Get("Content-Type"), rec.Body, err)
	}
	return p
}

// TestN07_NoRouteIsMissingFromTheTable compares the paths that the server describes with those that the test
// above calls: a new route without a row fails here.
func TestN07_NoRouteIsMissingFromTheTable(t *testing.T) {
	w := newWorld(t)
	rec := w.call("GET", api.Prefix+"/openapi.json", "", "")
	var spec struct {
		OpenAPI string                                `json:"openapi"`
		Paths   map[string]map[string]json.RawMessage `json:"paths"`
	}
	if err := json.Unmarshal(rec.Body.Bytes(), &spec); err != nil || spec.OpenAPI[:3] != "3.1" {
		t.Fatalf("the OpenAPI document cannot be read or is not 3.1: %v", err)
	}
	tested := http.NewServeMux()
	for path, methods := range spec.Paths {
		for method := range methods {
			tested.HandleFunc(strings.ToUpper(method)+" "+path, func(http.ResponseWriter, *http.Request) {})
		}
	}
	hit := map[string]bool{}
	for _, r := range table() {
		_, pattern := tested.Handler(httptest.NewRequest(r.method, r.path, nil))
		hit[pattern] = true
	}
	for path, methods := range spec.Paths {
		for method := range methods {
			if pattern := strings.ToUpper(method) + " " + path; !hit[pattern] {
				t.Errorf("the route %s has no row in the table of this test", pattern)
			}
		}
	}
}
