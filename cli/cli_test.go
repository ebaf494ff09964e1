package cli

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"pgregory.net/rapid"

	"assent/fault"
)

// run is one run of the command in a home of its own.
type run struct {
	Env
	out, err bytes.Buffer
	vars     map[string]string
}

func newRun(t *testing.T) *run {
	t.Helper()
	r := &run{vars: map[string]string{"XDG_CONFIG_HOME": t.TempDir(), "HOME": t.TempDir()}}
	r.Env = Env{In: strings.NewReader(""), Out: &r.out, Err: &r.err, Getenv: func(k string) string { return r.vars[k] },
		Now: func() time.Time { return time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC) }, Zone: time.FixedZone("CET", 3600), Version: "test"}
	return r
}

func (r *run) do(t *testing.T, args ...string) int {
	t.Helper()
	r.out.Reset()
	r.err.Reset()
	return Main(t.Context(), args, r.Env)
}

// TestN23_CleanLeavesNothingThatRulesATerminalOrTurnsText for any bytes, and keeps clean text as it is.
func TestN23_CleanLeavesNothingThatRulesATerminalOrTurnsText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }),
			rapid.StringOf(rapid.SampledFrom([]rune("a\x00\x1b\u202e\u2066\u200b\ufeff\n\r\t\u009b\u2028é漢")))).Draw(t, "text")
		got := clean(s)
		for _, r := range got {
			if !unicode.IsPrint(r) || unicode.Is(unicode.Bidi_Control, r) {
				t.Fatalf("clean(%q) = %q holds %U", s, got, r)
			}
		}
		if again := clean(got); again != got {
			t.Fatalf("cleaning twice changes %q to %q", got, again)
		}
	})
	if got := clean("a\x1b[31m\u202eb\xff\n"); got != `a\u001b[31m\u202eb\xff\n` {
		t.Errorf("got %q", got)
	}
}

// TestTablesFitTheTerminalWheneverTheyCan for any content and width: no line is longer than the terminal as
// long as the columns' least widths leave room, and without a terminal nothing is cut.
func TestTablesFitTheTerminalWheneverTheyCan(t *testing.T) {
	a := newApp(newRun(t).Env)
	rapid.Check(t, func(t *rapid.T) {
		tab := newTable(col("ID"), flex("NAME", 6), num("N"), flex("WHY", 8))
		rows := rapid.SliceOfN(rapid.SliceOfN(rapid.StringMatching(`[a-zä\x1b ]{0,40}`), 4, 4), 1, 5).Draw(t, "rows")
		for _, r := range rows {
			tab.add(text(cut(clean(r[0]), 5)), text(r[1]), text(cut(clean(r[2]), 3)), word(r[3]))
		}
		width := rapid.IntRange(40, 120).Draw(t, "width")
		var out bytes.Buffer
		p := a.printerTo(&out, width)
		p.color = false
		p.table(tab)
		if err := p.flush(); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(out.String()) {
			line = strings.TrimSuffix(line, "\n")
			if n := utf8.RuneCountInString(line); n > width {
				t.Fatalf("a line of %d characters on a terminal of %d: %q", n, width, line)
			}
			if strings.HasSuffix(line, " ") && strings.TrimSpace(line) != "" {
				t.Fatalf("a trailing space: %q", line)
			}
		}
		if strings.Count(out.String(), "\n") != len(rows)+1 {
			t.Fatalf("%d rows made %d lines", len(rows), strings.Count(out.String(), "\n"))
		}
	})
}

func TestTablesAreNotCutWithoutATerminalAndLeaveOutEmptyColumns(t *testing.T) {
	var out bytes.Buffer
	p := newApp(newRun(t).Env).printerTo(&out, 0)
	tab := newTable(flex("NAME", 3), flex("EMPTY", 3), num("N"))
	tab.add(text(strings.Repeat("x", 300)), text(""), text("1"))
	tab.add(text("y"), text(""), text("22"))
	p.table(tab)
	if err := p.flush(); err != nil {
		t.Fatal(err)
	}
	pad := strings.Repeat(" ", 296)
	want := "NAME" + pad + "   N\n" + strings.Repeat("x", 300) + "   1\ny" + strings.Repeat(" ", 299) + "  22\n"
	if out.String() != want {
		t.Errorf("got\n%q, want\n%q", out.String(), want)
	}
}

func TestColourAppearsOnlyOnATerminalThatWantsIt(t *testing.T) {
	r := newRun(t)
	show := func(width int) string {
		var out bytes.Buffer
		p := newApp(r.Env).printerTo(&out, width)
		p.fields("Status", "declined")
		_ = p.flush()
		return out.String()
	}
	if got := show(0); strings.Contains(got, "\x1b") {
		t.Errorf("colour without a terminal: %q", got)
	}
	if got := show(80); !strings.Contains(got, "\x1b[31mdeclined") {
		t.Errorf("no colour on a terminal: %q", got)
	}
	r.vars["NO_COLOR"] = "1"
	if got := show(80); strings.Contains(got, "\x1b") {
		t.Errorf("colour despite NO_COLOR: %q", got)
	}
}

func TestUntilReadsDatesInTheZoneShownAndSpansFromNow(t *testing.T) {
	a := newApp(newRun(t).Env)
	for in, want := range map[string]string{
		"": "0001-01-01T00:00:00Z", "2026-12-31": "2026-12-30T23:00:00Z", "2026-12-31T10:00": "2026-12-31T09:00:00Z",
		"2026-12-31T10:00:00+05:00": "2026-12-31T05:00:00Z", "30d": "2026-12-23T12:00:00Z", "2w": "2026-12-07T12:00:00Z", "90m": "2026-11-23T13:30:00Z",
	} {
		if got, err := a.until(in); err != nil || got.Format(time.RFC3339) != want {
			t.Errorf("until(%q) = %v, %v, want %s", in, got.Format(time.RFC3339), err, want)
		}
	}
	for _, in := range []string{"soon", "-3d", "0d", "d", "1e9d", "99999d", "2026-02-30", "-5m"} {
		if got, err := a.until(in); !errors.Is(err, fault.Invalid) {
			t.Errorf("until(%q) = %v, %v, want a refusal", in, got, err)
		}
	}
}

func TestEveryKindOfRefusalHasItsOwnExitCode(t *testing.T) {
	kinds := []fault.Kind{fault.Invalid, fault.NotFound, fault.Conflict, fault.Forbidden, fault.Unauthenticated, fault.Gone, fault.TooLarge,
		fault.Unavailable, fault.Internal, tampered, failed}
	seen := map[int]fault.Kind{exitOK: "success"}
	for _, k := range kinds {
		c := exitCode(k)
		if other, dup := seen[c]; dup {
			t.Errorf("%s and %s both end with %d", k, other, c)
		}
		seen[c] = k
	}
}

func TestWrongCallsSayWhatIsWrongAndEndWithTheUsageCode(t *testing.T) {
	r := newRun(t)
	for _, args := range [][]string{
		{"frobnicate"}, {"update", "aprove", "u1"}, {"update", "list", "--colour"}, {"update", "list", "extra"}, {"why", "web1"},
		{"update", "approve"}, {"update", "approve", "u1", "--all-matching", "--security"}, {"update", "approve", "--all-matching"},
		{"update", "approve", "u1", "--security"}, {"update", "approve", "--all-matching", "--security", "--lift"},
		{"update", "decline", "u1", "--reach", "far"}, {"update", "decline", "u1", "--reach", "through:"}, {"update", "approve", "u1", "--expires", "soon"},
		{"update", "except", "u1"}, {"update", "unexcept", "x"}, {"device", "move", "web1"}, {"group", "move", "Web"}, {"operator", "set", "ada"},
		{"token", "create", "--ttl", "soon"}, {"ledger", "verify", "file"},
	} {
		if code := r.do(t, args...); code != exitUsage || !strings.HasPrefix(r.err.String(), "assent: ") || r.out.Len() > 0 {
			t.Errorf("%v: exit %d, said %q", args, code, r.err.String())
		}
	}
}

func TestWithoutSigningInEveryCommandSaysHow(t *testing.T) {
	r := newRun(t)
	for _, args := range [][]string{{"update", "list"}, {"status"}, {"why", "d", "u"}, {"ledger", "list"}, {"logout"}} {
		if code := r.do(t, args...); code != exitSignedOut || !strings.Contains(r.err.String(), "assent login") {
			t.Errorf("%v: exit %d, said %q", args, code, r.err.String())
		}
	}
}

func TestATokenIsOnlySentToTheServerThatItCameFrom(t *testing.T) {
	r := newRun(t)
	a := newApp(r.Env)
	if _, err := a.save(config{Server: "https://a.example:8480", Token: "secret", CA: "pin"}); err != nil {
		t.Fatal(err)
	}
	same, err := a.settings()
	if err != nil || same.Token != "secret" || same.CA != "pin" {
		t.Errorf("the server of the file: %+v, %v", same, err)
	}
	a.server = "https://b.example:8480"
	if other, err := a.settings(); err != nil || other.Token != "" || other.CA != "" {
		t.Errorf("another server: %+v, %v", other, err)
	}
	r.vars["ASSENT_SERVER"], a.server = "https://a.example:8480/", ""
	if same, err := a.settings(); err != nil || same.Token != "secret" {
		t.Errorf("the same server from the environment: %+v, %v", same, err)
	}
	r.vars["ASSENT_TOKEN"] = "other"
	if env, err := a.settings(); err != nil || env.Token != "other" {
		t.Errorf("the token of the environment: %+v, %v", env, err)
	}
}

func TestTheConfigurationIsPrivateAndStrict(t *testing.T) {
	r := newRun(t)
	a := newApp(r.Env)
	path, err := a.save(config{Server: "https://a.example", Token: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v, want 0600", info.Mode(), err)
	}
	if files, _ := os.ReadDir(filepath.Dir(path)); len(files) != 1 {
		t.Errorf("files beside the configuration: %v", files)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if code := r.do(t, "status"); code != exitUsage || !strings.Contains(r.err.String(), "chmod 600") {
		t.Errorf("a file others may read: exit %d, said %q", code, r.err.String())
	}
	if err := os.WriteFile(path, []byte(`{"server":"x","tokn":"y"}`), 0o600); err != nil || os.Chmod(path, 0o600) != nil {
		t.Fatal(err)
	}
	if code := r.do(t, "status"); code != exitUsage || !strings.Contains(r.err.String(), "config_broken") {
		t.Errorf("an unknown key: exit %d, said %q", code, r.err.String())
	}
}

func TestUndoIsACommandThatAShellReadsAsItWasMeant(t *testing.T) {
	for in, want := range map[string]string{"Web": "Web", "All devices": "'All devices'", "a'b; rm -rf /": `'a'\''b; rm -rf /'`, "$(x)": "'$(x)'"} {
		if got := quote(in); got != want {
			t.Errorf("quote(%q) = %s, want %s", in, got, want)
		}
	}
}

// TestEveryCommandExplainsItself walks the command tree: a sentence for each command, and an example for each
// that takes arguments.
func TestEveryCommandExplainsItself(t *testing.T) {
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s has the summary %q", c.CommandPath(), c.Short)
		}
		if strings.ContainsAny(c.Use, " ") && c.Example == "" && c.HasParent() && !strings.HasPrefix(c.Use, "re") {
			t.Errorf("%s takes arguments and has no example", c.CommandPath())
		}
		for _, s := range c.Commands() {
			walk(s)
		}
	}
	walk(newApp(newRun(t).Env).root())
}

func TestSizesAndAges(t *testing.T) {
	for n, want := range map[int64]string{0: "", 999: "999 B", 1000: "1.0 kB", 99_400: "99.4 kB", 123_456: "123 kB", 5_000_000_000: "5.0 GB"} {
		if got := size(n); got != want {
			t.Errorf("size(%d) = %q, want %q", n, got, want)
		}
	}
	a := newApp(newRun(t).Env)
	for ago, want := range map[time.Duration]string{time.Second: "just now", 5 * time.Minute: "5 min ago", 47 * time.Hour: "47 h ago", 72 * time.Hour: "3 days ago"} {
		if got := a.ago(a.Now().Add(-ago)); got != want {
			t.Errorf("ago(%v) = %q, want %q", ago, got, want)
		}
	}
	if got := counts(map[string]int{"total": 0, "approved": 2, "declined": 0, "security_undecided": 1}); got != "0 total, 2 approved, 1 security undecided" {
		t.Errorf("counts: %q", got)
	}
	if fmt.Sprint(many(1, "device"), many(2, "device")) != "1 device2 devices" {
		t.Error("many is wrong")
	}
}
