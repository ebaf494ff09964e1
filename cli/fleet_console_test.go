package cli_test

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"assent/fleet"
	"assent/ledger"
	"assent/server/servertest"
)

// console is a person's browser at the server's console.
type console struct {
	t      *testing.T
	w      *servertest.World
	cookie string
}

func (c *console) post(path string, form url.Values) *http.Response {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), http.MethodPost, c.w.URL+path, strings.NewReader(form.Encode()))
	if err != nil {
		c.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	if c.cookie != "" {
		r.Header.Set("Cookie", "assent="+c.cookie)
	}
	res, err := (&http.Transport{}).RoundTrip(r)
	if err != nil {
		c.t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusSeeOther {
		c.t.Fatalf("%s: %d %v\n%.2000s", path, res.StatusCode, err, body)
	}
	for _, k := range res.Cookies() {
		if k.Name == "assent" {
			c.cookie = k.Value
		}
	}
	return res
}

// TestATaskOfTheConsoleIsTheSameTextAsOneOfTheCommandLine makes one task by the console's form, exports it, deletes it, and makes it by flags
// and by the exported file: three ways, one object.
func TestATaskOfTheConsoleIsTheSameTextAsOneOfTheCommandLine(t *testing.T) {
	w := servertest.New(t)
	w.Group("g-web", "Web", fleet.Root)
	token := w.Operator("ada", ledger.Administrator, fleet.Root)
	s := newSession(t, w, token, "")
	export := func() string {
		t.Helper()
		if code := s.do(t, "export"); code != 0 {
			t.Fatal(s.err.String())
		}
		return s.out.String()
	}
	remove := func() {
		t.Helper()
		if code := s.do(t, "task", "delete", "every-night"); code != 0 {
			t.Fatal(s.err.String())
		}
	}
	c := &console{t: t, w: w}
	c.post("/sign-in", url.Values{"token": {token}})
	c.post("/tasks", url.Values{"base": {"{}"}, "version": {"new"}, "name": {"Every night"}, "enabled": {"1"}, "groups": {"g-web"}, "new_dependencies": {"1"}, "rules": {"1"}, "r0.mode": {"lines"},
		"r0.admits": {"approved_or_undefined"}, "r0.field": {"security", "severity", ""}, "r0.op": {"is", "at_least", "is"}, "r0.values": {"true", "high", ""}, "when": {"week"}, "days": {"SA", "SU"},
		"at": {"02:00"}, "length": {"4h"}, "spread": {"30m"}, "freezes": {"Year end: 12-18 to 01-04\r\n"}, "restart": {"if_required"}})
	byConsole := export()
	if !strings.Contains(byConsole, "name: Every night") || !strings.Contains(byConsole, "BYDAY=SA,SU") {
		t.Fatalf("the export lacks the console's task:\n%s", byConsole)
	}
	_, start, _ := strings.Cut(byConsole, "start: ") // from today, wherever that is
	start, _, _ = strings.Cut(start, "T")
	remove()
	if code := s.do(t, "task", "create", "Every night", "--group", "Web", "--rule", `security && severity >= "high"`, "--admits", "approved-or-undefined", "--window", "sat,sun 02:00 for 4h", "--spread", "30m",
		"--freeze", "Year end:12-18:01-04", "--restart", "if-required", "--start", start); code != 0 {
		t.Fatal(s.err.String())
	}
	if diff := cmp.Diff(byConsole, export()); diff != "" {
		t.Errorf("console and command line make different tasks of the same:\n%s", diff)
	}
	remove()
	s.In = strings.NewReader(byConsole)
	if code := s.do(t, "apply", "-f", "-", "--yes"); code != 0 {
		t.Fatal(s.err.String())
	}
	if diff := cmp.Diff(byConsole, export()); diff != "" {
		t.Errorf("an export that is applied is another one afterwards:\n%s", diff)
	}
}
