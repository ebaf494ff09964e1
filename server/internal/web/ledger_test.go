package web_test

import (
	"bytes"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"assent/fleet"
	"assent/ledger"
)

// walk reads a list page by page and returns all of it.
func walk(t *testing.T, b *browser, path string) (pages []string) {
	t.Helper()
	next := regexp.MustCompile(`href="([^"]*)" rel="next">Next page`)
	for range 50 {
		page := expect(t, b.get(path), 200)
		pages = append(pages, page)
		m := next.FindStringSubmatch(page)
		if m == nil {
			return pages
		}
		path = strings.ReplaceAll(m[1], "&amp;", "&")
	}
	t.Fatal("the list does not end")
	return nil
}

func TestLedger_PagesHoldEveryEntryOnceAndFiltersDoNotLoseAny(t *testing.T) {
	s := newSite(t)
	for i := range 30 {
		s.Act("ada", ledger.GroupCreate{Group: fleet.Group{ID: fleet.GroupID(fmt.Sprintf("g-%d", i)), Name: fmt.Sprintf("Group %d", i), Parent: fleet.Root}})
		s.Act("server", ledger.GroupDelete{ID: fleet.GroupID(fmt.Sprintf("g-%d", i))})
	}
	b := s.browser(s.tokens["v"])
	row := regexp.MustCompile(`data-row data-open="/ledger/(\d+)"`)
	for query, want := range map[string]int{"": 0, "&kind=group.create": 31, "&search=ada": 30, "&search=ada&kind=group.delete": 0} {
		seen := map[string]bool{}
		for _, page := range walk(t, b, "/ledger?limit=7"+query) {
			for _, m := range row.FindAllStringSubmatch(page, -1) {
				if seen[m[1]] {
					t.Errorf("%q: act %s stands twice", query, m[1])
				}
				seen[m[1]] = true
			}
		}
		if query == "" {
			fmt.Sscan(strings.ReplaceAll(s.entries(), ",", ""), &want)
		}
		if len(seen) != want {
			t.Errorf("%q: %d entries, want %d", query, len(seen), want)
		}
	}
	for _, bad := range []string{"kind=nonsense", "sort=by", "cursor=x", "kind=group.create&kind=group.delete", "limit=5000"} {
		expect(t, b.get("/ledger?"+bad), 422)
	}
	has(t, expect(t, b.get("/ledger.csv?search=ada"), 200), "created the group")
}

func TestLedger_AnEntryShowsWhatWasRecordedAndItsNeighbours(t *testing.T) {
	s := newSite(t)
	e := s.Act("ada", ledger.GroupCreate{Group: fleet.Group{ID: "g-x", Name: "Extra", Parent: fleet.Root}})
	b := s.browser(s.tokens["v"])
	has(t, expect(t, b.get(fmt.Sprintf("/ledger/%d", e.Seq)), 200), "ada", "group.create", "Extra", "g-x", fmt.Sprintf(`href="/ledger/%d"`, e.Seq-1))
	for _, bad := range []string{"0", "-1", "x", "999999"} {
		expect(t, b.get("/ledger/"+bad), 404)
	}
}

func TestLedger_TheExportOfTheConsoleVerifies(t *testing.T) {
	s := newSite(t)
	b := s.browser(s.tokens["v"])
	export := expect(t, b.get("/ledger/export"), 200)
	sum, err := ledger.VerifyExport(strings.NewReader(export), s.Key)
	if err != nil || sum.Checkpoint.Size == 0 {
		t.Fatalf("the export does not verify: %v", err)
	}
	if _, err := ledger.VerifyExport(bytes.NewReader([]byte(strings.Replace(export, "Team", "Tram", 1))), s.Key); err == nil {
		t.Error("a changed export verifies: the test looks at nothing")
	}
	page := expect(t, b.get("/ledger/checkpoint"), 200)
	note := expect(t, b.get("/ledger/checkpoint.txt"), 200)
	has(t, page, "assent ledger verify")
	has(t, unescaped(page), s.Key, strings.Split(note, "\n")[2])
}

func TestEvents_PagesHoldEveryEventOnceAndOnlyOfDevicesOneSees(t *testing.T) {
	s := newSite(t)
	s.Group("g-other", "Elsewhere", fleet.Root)
	other := s.Device("secret-db", "g-other")
	for i := range 40 {
		s.device.Event("guard_refused", fmt.Sprintf("attempt-%02d.", i))
		other.Event("feed_refused", "elsewhere")
	}
	b := s.browser(s.tokens["V"])
	all := strings.Join(walk(t, b, "/events?limit=7"), "")
	lacks(t, all, "secret-db", "elsewhere")
	for i := range 40 {
		if n := strings.Count(all, fmt.Sprintf("attempt-%02d.", i)); n != 1 {
			t.Errorf("event %d stands %d times", i, n)
		}
	}
	root := s.browser(s.tokens["v"])
	has(t, expect(t, root.get("/events?event=feed_refused"), 200), "elsewhere")
	lacks(t, expect(t, root.get("/events?event=feed_refused"), 200), "attempt-")
	has(t, expect(t, root.get("/events?"+url.Values{"device": {string(other.ID)}}.Encode()), 200), "Device: <b>secret-db</b>")
	expect(t, root.get("/events?cursor=x"), 422)
	expect(t, root.get("/events?sort=at"), 422)
	if n := strings.Count(expect(t, b.get("/events.csv"), 200), "attempt-"); n != 40 {
		t.Errorf("the export has %d events, want 40", n)
	}
}
