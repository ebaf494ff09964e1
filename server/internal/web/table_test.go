package web

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"assent/client"
)

func TestN23_NoCellOfAnExportIsAFormula(t *testing.T) {
	for in, want := range map[string]string{"=cmd()": "'=cmd()", "+1": "'+1", "-1": "'-1", "@x": "'@x", "\t=1": "'\t=1", " =1": "' =1", "|x": "'|x", "\r=1": "'\r=1",
		"＝1": "'＝1", "plain": "plain", "a=b": "a=b", "": "", "1-2": "1-2"} {
		if got := harmless(in); got != want {
			t.Errorf("harmless(%q) = %q, want %q", in, got, want)
		}
	}
}

func at(target string) *Visit { return &Visit{Request: httptest.NewRequest("GET", target, nil)} }

func TestExport_HoldsEveryPageAndHarmlessTexts(t *testing.T) {
	s, _, in := signedIn()
	s.Log = slog.New(slog.DiscardHandler)
	list := func(v *Visit, p client.Page) (Table, error) {
		t := Table{ID: "t", Many: "odd things", Columns: []Column{{Key: "a", Label: "Name"}, {Key: "n", Label: "Count", Number: true}}}
		for range 2 {
			t.Rows = append(t.Rows, Row{Cells: []Cell{plain("=x\"," + p.Cursor), number(-3)}, Value: map[string]string{"name": "=x" + p.Cursor}})
		}
		if p.Cursor != "cc" {
			t.Next = p.Cursor + "c"
		}
		return t.finish(v)
	}
	rec := httptest.NewRecorder()
	if err := s.export(rec, in(at("/t.csv?cursor=zzz")), list, "csv"); err != nil {
		t.Fatal(err)
	}
	want := "Name,Count\n\"'=x\"\",\",-3\n\"'=x\"\",\",-3\n\"'=x\"\",c\",-3\n\"'=x\"\",c\",-3\n\"'=x\"\",cc\",-3\n\"'=x\"\",cc\",-3\n"
	if d := cmp.Diff(want, rec.Body.String()); d != "" {
		t.Errorf("the CSV differs:\n%s", d)
	}
	if !strings.HasPrefix(rec.Header().Get("Content-Disposition"), `attachment; filename="odd-things-`) {
		t.Error(rec.Header())
	}
	rec = httptest.NewRecorder()
	if err := s.export(rec, in(at("/t.json")), list, "json"); err != nil || strings.Count(rec.Body.String(), `"name":"=x`) != 6 {
		t.Errorf("%v: %s", err, rec.Body)
	}
}

// TestN24_AnExportEndsWhenAccessDoes: an answer that is on its way does not outlive the access of who asked.
func TestN24_AnExportEndsWhenAccessDoes(t *testing.T) {
	s, one, in := signedIn()
	s.Log = slog.New(slog.DiscardHandler)
	v := in(at("/t.csv"))
	pages := 0
	list := func(v *Visit, p client.Page) (Table, error) {
		if pages++; pages == 3 {
			one.who.Role = "viewer"
		}
		t := Table{ID: "t", Columns: []Column{{}}, Rows: []Row{{Cells: []Cell{{}}}}}
		if pages < 10 {
			t.Next = "more"
		}
		return t.finish(v)
	}
	defer func() {
		if p := recover(); p != http.ErrAbortHandler || pages != 3 {
			t.Errorf("the export ended with %v after %d pages", p, pages)
		}
	}()
	_ = s.export(httptest.NewRecorder(), v, list, "csv")
}

func TestTable_SaysAllInItsAddress(t *testing.T) {
	table := Table{ID: "t", Many: "things", Search: "name", Sort: "name", Next: "n2", Rows: []Row{{Cells: make([]Cell, 3)}},
		Columns: []Column{{Key: "name", Sorts: true}, {Key: "n", Sorts: true, Number: true}, {Key: "x", Extra: true}},
		Filters: []Filter{{Key: "status", Label: "Status", Many: true, Options: []Option{{"approved", "Approved"}}}}}
	got, err := table.finish(at("/t?status=approved&status=declined&search=ssl&cursor=n1&from=100&sort=-n"))
	if err != nil {
		t.Fatal(err)
	}
	heads := got.Heads()
	if len(heads) != 2 || heads[1].Order != "descending" || heads[1].Href != "/t?search=ssl&sort=n&status=approved&status=declined" {
		t.Errorf("heads %+v", heads)
	}
	want := []Chip{{"Search", "ssl", "/t?sort=-n&status=approved&status=declined"}, {"Status", "Approved", "/t?search=ssl&sort=-n&status=declined"},
		{"Status", "declined", "/t?search=ssl&sort=-n&status=approved"}}
	if d := cmp.Diff(want, got.Chips()); d != "" {
		t.Errorf("chips:\n%s", d)
	}
	if got.First() != 101 || got.Last() != 101 || got.NextHref() != "/t?cursor=n2&from=101&search=ssl&sort=-n&status=approved&status=declined" || got.Clear() != "/t?sort=-n" {
		t.Errorf("%d–%d, next %s, clear %s", got.First(), got.Last(), got.NextHref(), got.Clear())
	}
	if got.ExportHref("csv") != "/t.csv?search=ssl&sort=-n&status=approved&status=declined" {
		t.Error(got.ExportHref("csv"))
	}
	some, _ := table.finish(at("/t?columns=x"))
	if heads := some.Heads(); len(heads) != 1 || heads[0].Key != "x" {
		t.Errorf("chosen columns: %+v", heads)
	}
	table.Rows[0].Cells = nil
	if _, err := table.finish(at("/t")); err == nil {
		t.Error("a row without its cells is shown")
	}
}

func TestUpdateFilter_RefusesValuesThatNoUpdateCanHave(t *testing.T) {
	for query, ok := range map[string]bool{"": true, "status=approved&severity=high&needed=true&superseded=false&view=seamless&status=": true,
		"status=aproved": false, "severity=bad": false, "needed=maybe": false, "view=x": false, "state=x": false, "class=x": false} {
		q, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := updateFilter(q); (err == nil) != ok {
			t.Errorf("%q: %v", query, err)
		}
	}
}

func TestPercent_NeverRoundsUpToAll(t *testing.T) {
	for share, want := range map[float64]string{0: "0.0 %", 0.9999: "99.9 %", 1: "100 %", 0.5: "50.0 %"} {
		if got := percent(share); got != want {
			t.Errorf("percent(%v) = %q, want %q", share, got, want)
		}
	}
	if grouped("1234567") != "1,234,567" || grouped("-1000") != "-1,000" || grouped("12") != "12" {
		t.Error("grouped")
	}
}

func TestNotices_LeadToTheListInsteadOfNamingACommand(t *testing.T) {
	got := notices([]string{"2 installs failed; see `assent queue list --state failed`.", "The device x refused its plan; see `assent event list --event plan_refused`.",
		"Look at `that`.", "Odd; see `assent nothing`."})
	want := []notice{{"2 installs failed.", "/queue?state=failed"}, {"The device x refused its plan.", "/events?event=plan_refused"}, {Text: "Look at `that`."}, {Text: "Odd; see `assent nothing`."}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
