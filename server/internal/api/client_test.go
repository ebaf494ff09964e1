package api_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"assent/approval"
	"assent/catalog"
	"assent/client"
	"assent/fault"
	"assent/fleet"
	"assent/installation"
	"assent/ledger"
	"assent/server/internal/auth"
)

// connect serves the world on a loopback port and returns a client of it.
func (w *world) connect(t *testing.T, operator string) *client.Client {
	t.Helper()
	server := httptest.NewServer(w.handler)
	t.Cleanup(server.Close)
	c, err := client.New(client.Config{Server: server.URL, Token: w.tokens[operator]})
	w.must(t, err)
	return c
}

// first drops a call's answer.
func first[T any](_ T, err error) error { return err }

// TestEveryClientMethodReachesItsServiceWithEverythingItWasGiven: what goes in at one end comes out at the
// other, through addresses, queries and bodies, also with awkward characters.
func TestEveryClientMethodReachesItsServiceWithEverythingItWasGiven(t *testing.T) {
	w := newWorld(t)
	c := w.connect(t, "administrator")
	who := auth.Actor{Name: "administrator", Role: ledger.Administrator, Scope: fleet.Root}
	yes, at := true, time.Date(2027, 1, 2, 3, 4, 5, 6000, time.UTC)
	filter := client.Filter{Search: "open ssl & co", Status: []approval.Status{"approved", "declined"}, Class: []catalog.Class{"third_party"},
		Severity: []catalog.Severity{"unrated", "high"}, Origin: []string{"Debian:x, y", "A=b"}, Security: &yes, Needed: new(bool),
		State: []installation.State{"failed"}, Superseded: &yes, Group: "Web / ü", Device: "web1"}
	page := client.Page{Sort: "-name", Limit: 7, Cursor: "abc+/="}
	purl, odd := "pkg:deb/debian/g%2B%2B@4:10.2.1-1~deb11u1?arch=source", "a/b c?d#e%2f..;"
	decide := client.Decide{Updates: []string{"u1", purl}, Scope: "Web", Status: "declined", Reason: "ä\n\"", Expires: at, Reach: approval.Reach{Later: true, Through: "2.0"}, Lift: true, DryRun: true, AllowSuperseded: true}
	bulk := client.Decide{Matching: &filter, Status: "approved"}
	back := client.RollbackRequest{Update: purl, Devices: []string{"d1"}, Decline: true, Reason: "r", DryRun: true}
	except := client.ExceptionRequest{Update: "u1", Decline: 4, Scope: "Web", Reason: "r", Expires: at}
	change := client.DeviceChange{Devices: []string{"d1", "d2"}, State: fleet.Quarantined, Reason: "r"}
	mode := fleet.Observe
	group := client.GroupRequest{Name: "Web", Parent: "Servers", Guard: &mode}
	token := client.TokenRequest{Group: "Web", Uses: 3, TTL: time.Hour, Note: "n"}
	operator := client.OperatorRequest{Name: odd, Role: ledger.Viewer, Scope: "Web"}
	access := client.AccessRequest{Operator: "ada", TTL: time.Hour, Note: "n", SignIn: true}
	events := client.EventQuery{Device: "d1", Update: "u1", Event: "guard_refused", Before: at, BeforeID: 9, Limit: 3}
	entries := client.LedgerQuery{Kind: "update.decide", By: "ada", Before: 5, Limit: 3}
	late, failed := true, client.QueueQuery{Group: "Web", Device: "d1", State: []installation.State{"failed", "blocked"}, Cause: "no_space"}
	failed.Overdue = &late
	ctx := t.Context()
	tests := []struct {
		service string
		err     error
		args    []any
	}{
		{"List", first(c.Updates(ctx, filter, page)), []any{who, filter, page}},
		{"List", first(c.Updates(ctx, client.Filter{}, client.Page{})), []any{who, client.Filter{}, client.Page{}}},
		{"Get", first(c.Update(ctx, purl, "Web")), []any{who, purl, "Web"}},
		{"Get", first(c.Update(ctx, odd, "")), []any{who, odd, ""}},
		{"Decide", first(c.Decide(ctx, decide)), []any{who, decide}},
		{"Decide", first(c.Decide(ctx, bulk)), []any{who, bulk}},
		{"Rollback", first(c.Rollback(ctx, back)), []any{who, back}},
		{"Exceptions", first(c.Exceptions(ctx)), []any{who}},
		{"Except", first(c.Except(ctx, except)), []any{who, except}},
		{"Unexcept", first(c.Unexcept(ctx, 12)), []any{who, int64(12)}},
		{"Why", first(c.Why(ctx, odd, purl)), []any{who, odd, purl}},
		{"Queue", first(c.Queue(ctx, failed, page)), []any{who, failed, page}},
		{"Trend", first(c.Trend(ctx, client.TrendQuery{Group: "Web", Days: 7})), []any{who, client.TrendQuery{Group: "Web", Days: 7}}},
		{"Views", first(c.Views(ctx, "queue")), []any{who, "queue"}},
		{"SaveView", first(c.SaveView(ctx, client.ViewRequest{Name: odd, List: "queue", Query: "state=failed", Shared: true})), []any{who, client.ViewRequest{Name: odd, List: "queue", Query: "state=failed", Shared: true}}},
		{"DeleteView", first(c.DeleteView(ctx, odd)), []any{who, odd}},
		{"Inventory", first(c.Inventory(ctx, odd, client.InventoryQuery{Search: "s", Hold: &late}, page)), []any{who, odd, client.InventoryQuery{Search: "s", Hold: &late}, page}},
		{"Status", first(c.Status(ctx)), []any{who}},
		{"Devices", first(c.Devices(ctx, client.DeviceQuery{Group: "Web", Search: "s", State: "retired", Only: "silent", Here: true}, page)), []any{who, client.DeviceQuery{Group: "Web", Search: "s", State: "retired", Only: "silent", Here: true}, page}},
		{"Device", first(c.Device(ctx, odd)), []any{who, odd}},
		{"ChangeDevices", first(c.ChangeDevices(ctx, change)), []any{who, change}},
		{"RefreshDevices", first(c.RefreshDevices(ctx, client.RefreshRequest{Devices: []string{"d1"}, Group: "Web"})), []any{who, client.RefreshRequest{Devices: []string{"d1"}, Group: "Web"}}},
		{"RehearseDevices", first(c.RehearseDevices(ctx, client.RefreshRequest{Devices: []string{"d1"}})), []any{who, client.RefreshRequest{Devices: []string{"d1"}}}},
		{"Rehearsals", first(c.Rehearsals(ctx, client.RehearsalQuery{Group: "Web", Device: odd, Update: purl, Cause: "no_space", Only: client.RehearsalAll}, page)),
			[]any{who, client.RehearsalQuery{Group: "Web", Device: odd, Update: purl, Cause: "no_space", Only: client.RehearsalAll}, page}},
		{"Groups", first(c.Groups(ctx)), []any{who}},
		{"CreateGroup", first(c.CreateGroup(ctx, group)), []any{who, group}},
		{"ChangeGroup", first(c.ChangeGroup(ctx, odd, group)), []any{who, odd, group}},
		{"DeleteGroup", first(c.DeleteGroup(ctx, odd)), []any{who, odd}},
		{"Tokens", first(c.Tokens(ctx)), []any{who}},
		{"CreateToken", first(c.CreateToken(ctx, token)), []any{who, token}},
		{"RevokeToken", first(c.RevokeToken(ctx, "t1")), []any{who, "t1"}},
		{"Operators", first(c.Operators(ctx)), []any{who}},
		{"SetOperator", first(c.SetOperator(ctx, operator)), []any{who, operator}},
		{"RemoveOperator", first(c.RemoveOperator(ctx, odd)), []any{who, odd}},
		{"Accesses", first(c.Accesses(ctx)), []any{who}},
		{"CreateAccess", first(c.CreateAccess(ctx, access)), []any{who, access}},
		{"RevokeAccess", first(c.RevokeAccess(ctx, "a1")), []any{who, "a1"}},
		{"Events", first(c.Events(ctx, events)), []any{who, events}},
		{"Entries", first(c.Ledger(ctx, entries)), []any{entries}},
		{"Checkpoint", first(c.Checkpoint(ctx)), nil},
	}
	if len(w.calls) != len(tests) {
		t.Fatalf("%d calls reached %d services: %v", len(tests), len(w.calls), w.calls)
	}
	for i, tt := range tests {
		if tt.err != nil || w.calls[i] != tt.service {
			t.Errorf("call %d: reached %s with %v, want %s", i, w.calls[i], tt.err, tt.service)
			continue
		}
		if diff := cmp.Diff(tt.args, w.all[i]); diff != "" {
			t.Errorf("%s got other arguments (-given +received):\n%s", tt.service, diff)
		}
	}
	var out bytes.Buffer
	if err := c.Export(ctx, &out); err != nil || out.String() != "{}\n" {
		t.Errorf("Export: %q, %v", out.String(), err)
	}
}

func TestClientTurnsProblemsBackIntoTheFaultsThatTheyWere(t *testing.T) {
	w := newWorld(t)
	c := w.connect(t, "viewer")
	want := fault.New(fault.Gone, "token_spent", "It was spent.").On("token")
	w.err = want
	_, err := c.Status(t.Context())
	var got *fault.Error
	if !errors.As(err, &got) || !errors.Is(err, fault.Gone) || got.Code != want.Code || got.Message != want.Message || got.Field != want.Field {
		t.Errorf("got %#v, want %#v", err, want)
	}
}

func TestClientDoesNotTakeAForeignServersAnswersForAssents(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"captive portal": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>Pay here</html>") },
		"error page":     func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", 404) },
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/steal", http.StatusFound)
		},
		"half an answer": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"version":`) },
	} {
		server := httptest.NewServer(h)
		c, err := client.New(client.Config{Server: server.URL, Token: "secret"})
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Status(t.Context())
		server.Close()
		var f *fault.Error
		if !errors.As(err, &f) || f.Code != "not_assent" {
			t.Errorf("%s: got %v, want not_assent", name, err)
		}
	}
}

func TestClientSendsTokensOnlyOverTLSOrLoopback(t *testing.T) {
	for _, bad := range []string{"", "x", "http://assent.example:8480", "ftp://127.0.0.1", "https://user:pw@assent.example", "https://assent.example/path", "https://assent.example?x=1", "//host", "http://127.0.0.1.evil.example"} {
		if _, err := client.New(client.Config{Server: bad}); !errors.Is(err, fault.Invalid) {
			t.Errorf("server %q: %v, want invalid", bad, err)
		}
	}
	for _, good := range []string{"https://assent.example", "https://assent.example:8480/", "http://127.0.0.1:8480", "http://[::1]:8480", "http://localhost:1"} {
		if _, err := client.New(client.Config{Server: good}); err != nil {
			t.Errorf("server %q: %v", good, err)
		}
	}
}

// TestN06_APinnedFingerprintAdmitsThatCertificateAlone with a server whose certificate no system trusts.
func TestN06_APinnedFingerprintAdmitsThatCertificateAlone(t *testing.T) {
	w := newWorld(t)
	server := httptest.NewTLSServer(w.handler)
	defer server.Close()
	call := func(ca, host string) error {
		c, err := client.New(client.Config{Server: "https://" + host + server.URL[strings.LastIndex(server.URL, ":"):], Token: w.tokens["viewer"], CA: ca})
		w.must(t, err)
		_, err = c.Status(context.Background())
		return err
	}
	pin := digest(server.Certificate().Raw)
	if err := call(pin, "127.0.0.1"); err != nil {
		t.Errorf("the pinned server: %v", err)
	}
	for name, err := range map[string]error{"no pin": call("", "127.0.0.1"), "other pin": call(strings.Repeat("ab", 32), "127.0.0.1"), "other name": call(pin, "localhost")} {
		if !errors.Is(err, fault.Unavailable) {
			t.Errorf("%s: got %v, want a refusal", name, err)
		}
	}
}

func TestChangesWaitsForTheNextChangeAndEndsWhenAccessEnds(t *testing.T) {
	w := newWorld(t)
	c := w.connect(t, "viewer")
	now, err := c.Changes(t.Context(), 0, 0)
	w.must(t, err)
	answered := make(chan client.Changes, 1)
	go func() {
		got, err := c.Changes(t.Context(), now.Seq, time.Minute)
		if err != nil {
			t.Error(err)
		}
		answered <- got
	}()
	w.pulse.awaitWaiter(t)
	w.pulse.beat()
	if got := <-answered; got.Seq != now.Seq+1 {
		t.Errorf("got change %d, want %d", got.Seq, now.Seq+1)
	}
	refused := make(chan error, 1)
	go func() { refused <- first(c.Changes(t.Context(), now.Seq+1, time.Minute)) }()
	w.pulse.awaitWaiter(t)
	tok, _ := auth.ParseToken(w.tokens["viewer"])
	w.must(t, w.book.act("server", ledger.AccessRevoke{ID: tok.ID}))
	w.pulse.beat()
	if err := <-refused; !errors.Is(err, fault.Unauthenticated) {
		t.Errorf("N24: a long poll went on after its token was revoked: %v", err)
	}
}
