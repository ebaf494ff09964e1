package web_test

import (
	"encoding/csv"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"assent/approval"
	"assent/fleet"
)

// TestLists_EveryListIsExportedWhole and what starts like a formula is made harmless.
func TestLists_EveryListIsExportedWhole(t *testing.T) {
	s := newSite(t)
	s.Group("g-odd", "=cmd()", "g-team")
	s.decide("openssl@3.0.2", approval.Declined)
	d := s.browser(s.tokens["d"])
	expect(t, d.post("/exceptions", url.Values{"update": {s.update}, "scope": {"g-team"}, "reason": {"+1"}, "expires": {"2099-01-01"}}), http.StatusSeeOther)
	rows := func(path string) [][]string {
		t.Helper()
		all, err := csv.NewReader(strings.NewReader(expect(t, d.get(path), http.StatusOK))).ReadAll()
		must(t, err)
		return all[1:]
	}
	for path, want := range map[string]struct {
		rows int
		has  string
	}{
		"/groups.csv":                            {3, "'=cmd()"},
		"/exceptions.csv":                        {1, "'+1"},
		"/operators.csv":                         {6, "team-v"},
		"/access.csv":                            {0, "access"},
		"/enrol.csv":                             {1, "Team"},
		"/groups/root/decisions.csv":             {1, "openssl"},
		"/updates/" + s.update + "/devices.csv":  {1, "web1"},
		"/updates/" + s.update + "/devices.json": {-1, `"device_name":"web1"`},
		"/feeds.csv":                             {0, ""},
	} {
		body := expect(t, d.get(path), http.StatusOK)
		if want.has != "" && want.has != "access" && !strings.Contains(body, want.has) {
			t.Errorf("%s lacks %q: %s", path, want.has, body)
		}
		if want.rows >= 0 && want.has != "access" {
			if got := rows(path); len(got) != want.rows {
				t.Errorf("%s has %d rows, want %d", path, len(got), want.rows)
			}
		}
	}
	if body := expect(t, d.get("/access.json"), http.StatusOK); strings.Contains(body, "assent_") || !strings.Contains(body, "root-v") {
		t.Error("the export of access tokens holds one, or none is listed")
	}
	page := expect(t, d.get("/updates/"+s.update+"?state=applicable"), http.StatusOK)
	has(t, page, `/updates/`+s.update+`/devices.csv?`)
}

// TestDevices_AThousandAreMovedAtOnceAndBack: they are looked up together, and one that is not there refuses all.
func TestDevices_AThousandAreMovedAtOnceAndBack(t *testing.T) {
	s := newSite(t)
	s.Group("g-other", "Elsewhere", fleet.Root)
	var ids []string
	for i := range 120 {
		ids = append(ids, string(s.Device(fmt.Sprint("bulk", i), "g-team").ID))
	}
	b := s.browser(s.tokens["d"])
	form := url.Values{"act": {"move"}, "select": ids}
	has(t, expect(t, b.post("/devices/confirm", form), http.StatusOK), "Move: 120 devices?", "and 20 more devices")
	expect(t, b.post("/devices/confirm", url.Values{"act": {"move"}, "select": append(ids, "nobody")}), http.StatusNotFound)
	expect(t, b.post("/devices/change", url.Values{"act": {"move"}, "to": {"g-other"}, "devices": {strings.Join(ids, " ")}}), http.StatusSeeOther)
	page := expect(t, b.get("/devices?group=g-other"), http.StatusOK)
	has(t, page, "Moved 120 devices to Elsewhere.", ">Undo<", "of 120 devices")
}

// TestBrowser_AnUpdatesPagePrintsAsASheet: what is only for clicking is gone, nothing is cut off, and what is folded is shown.
func TestBrowser_AnUpdatesPagePrintsAsASheet(t *testing.T) {
	s := newSite(t)
	s.decide("openssl@3.0.2", approval.Approved)
	b := s.chromium(t)
	b.signIn(s.tokens["d"], "/updates/"+s.update)
	_, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Media: "print"})
	must(t, err)
	b.do(chromedp.EmulateViewport(794, 1123))
	if left := js[string](b, `[...document.querySelectorAll(".top, .side, button, .btn, nav, .table-tools, .selection-bar, input, select")].filter((e) => e.checkVisibility() && e.getClientRects().length).map((e) => e.outerHTML.slice(0, 80)).join("\n")`); left != "" {
		t.Errorf("printed though it is only for clicking:\n%s", left)
	}
	if wide := js[int64](b, "document.documentElement.scrollWidth"); wide > 794 {
		t.Errorf("the sheet is %d pixels wide", wide)
	}
	if cut := js[int](b, `[...document.querySelectorAll("main *")].filter((e) => ["auto", "scroll"].includes(getComputedStyle(e).overflowX) && e.scrollWidth > e.clientWidth + 1).length`); cut != 0 {
		t.Errorf("%d things are cut off", cut)
	}
	for _, part := range []string{"Facts", "Status by scope", "Where it stands", "Files, revision 1", "web1"} {
		if !js[bool](b, `document.querySelector("main").innerText.includes("`+part+`")`) {
			t.Errorf("the sheet lacks %q", part)
		}
	}
	b.keep("update-print")
}
