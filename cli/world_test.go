package cli_test

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"assent/cli"
	"assent/fleet"
	"assent/ledger"
	"assent/server/servertest"
)

// session is the command line in the test's own process, on a terminal that the test makes up.
type session struct {
	cli.Env
	out, err bytes.Buffer
}

func newSession(t *testing.T, w *servertest.World, token, typed string) *session {
	t.Helper()
	s := &session{}
	vars := map[string]string{"ASSENT_SERVER": w.URL, "ASSENT_TOKEN": token, "XDG_CONFIG_HOME": t.TempDir()}
	s.Env = cli.Env{In: strings.NewReader(typed), Out: &s.out, Err: &s.err, Getenv: func(k string) string { return vars[k] }, Now: time.Now,
		Zone: time.FixedZone("XST", 5*3600), Version: "test"}
	return s
}

func (s *session) do(t *testing.T, args ...string) int {
	t.Helper()
	s.out.Reset()
	s.err.Reset()
	return cli.Main(t.Context(), args, s.Env)
}

func pending(t *testing.T) (w *servertest.World, approver string) {
	t.Helper()
	w = servertest.New(t)
	approver = w.Operator("ada", ledger.Approver, fleet.Root)
	d := w.Device("web1", fleet.Root)
	d.Has("openssl", "3.0.1")
	d.Offer("openssl", "3.0.2", nil)
	d.CheckIn()
	return w, approver
}

// TestABulkActAsksFirstAndOnlyYesIsYes on a terminal: it shows what would happen, and an empty line, "no" or
// the end of the input does nothing.
func TestABulkActAsksFirstAndOnlyYesIsYes(t *testing.T) {
	w, token := pending(t)
	for _, typed := range []string{"", "\n", "n\n", "no\n", "yess\n", "y"} {
		s := newSession(t, w, token, typed)
		s.Ask = true
		code := s.do(t, "update", "approve", "--all-matching", "--needed")
		if asked := strings.Contains(s.err.String(), "Would approve openssl 3.0.2") && strings.Contains(s.err.String(), "Do this for 1 update? [y/N]"); !asked {
			t.Errorf("typed %q: it asked %q", typed, s.err.String())
		}
		if done := strings.Contains(s.out.String(), "Approved"); done != (typed == "y") || (code == 0) != done {
			t.Errorf("typed %q: exit %d, said %q", typed, code, s.out.String())
		}
	}
}

func TestTimesAreLocalUnlessUTCIsAskedFor(t *testing.T) {
	w, token := pending(t)
	s := newSession(t, w, token, "")
	s.do(t, "status")
	if !strings.Contains(s.out.String(), "XST") {
		t.Errorf("no local time in %q", s.out.String())
	}
	s.do(t, "status", "--utc")
	if strings.Contains(s.out.String(), "XST") || !strings.Contains(s.out.String(), " UTC") {
		t.Errorf("no UTC in %q", s.out.String())
	}
}

// TestN26_WhatDevicesSayCannotRuleTheTerminal: a device's event holds escape sequences and direction marks.
func TestN26_WhatDevicesSayCannotRuleTheTerminal(t *testing.T) {
	w := servertest.New(t)
	token := w.Operator("ada", ledger.Viewer, fleet.Root)
	d := w.Device("web1", fleet.Root)
	d.Event("guard_refused", "\x1b]0;owned\x07\x1b[2Jlibfoo \u202e1.0\r\nassent: all is well")
	s := newSession(t, w, token, "")
	s.Width = 200
	for _, args := range [][]string{{"event", "list"}, {"device", "show", "web1"}} {
		if code := s.do(t, args...); code != 0 {
			t.Fatalf("%v: exit %d, %s", args, code, s.err.String())
		}
		plain := strings.NewReplacer("\x1b[1m", "", "\x1b[2m", "", "\x1b[0m", "", "\x1b[31m", "", "\x1b[32m", "", "\x1b[33m", "").Replace(s.out.String())
		if strings.ContainsAny(plain, "\x1b\x07\r\u202e") || strings.Contains(plain, "\nassent: all is well") || !strings.Contains(plain, "guard_refused") {
			t.Errorf("%v let through: %q", args, s.out.String())
		}
	}
}

// TestListsFitAnEightyColumnTerminal with long names everywhere.
func TestListsFitAnEightyColumnTerminal(t *testing.T) {
	w := servertest.New(t)
	token := w.Operator("ada", ledger.Viewer, fleet.Root)
	name := "lib" + strings.Repeat("very-", 12) + "long"
	d := w.Device(strings.Repeat("web", 15), fleet.Root)
	d.Has(name, "1:0~"+strings.Repeat("git2026", 5))
	d.Offer(name, "1:1~"+strings.Repeat("git2026", 5), nil)
	d.CheckIn()
	s := newSession(t, w, token, "")
	for width, lists := range map[int][][]string{80: {{"device", "list"}, {"ledger", "list"}, {"event", "list"}, {"group", "list"}}, 120: {{"update", "list"}}} {
		s.Width = width
		for _, args := range lists {
			s.do(t, args...)
			for line := range strings.Lines(strings.NewReplacer("\x1b[1m", "", "\x1b[2m", "", "\x1b[0m", "", "\x1b[32m", "", "\x1b[33m", "").Replace(s.out.String())) {
				if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > width {
					t.Errorf("%v: a line of %d characters on %d: %q", args, n, width, line)
				}
			}
		}
	}
}
