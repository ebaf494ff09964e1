package web_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"assent/fleet"
	"assent/installation"
)

const hostileName = `"><script>alert(1)</script><img src=x onerror=alert(2)>`

// expect fails unless the answer has the status, and returns its body.
func expect(t testing.TB, res *http.Response, status int) string {
	t.Helper()
	body := text(t, res)
	if res.StatusCode != status {
		t.Fatalf("status %d, want %d: %.600s", res.StatusCode, status, body)
	}
	return body
}

// piece asks as htmx does.
func (b *browser) piece(path string) *http.Response {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.Header.Set("Cookie", "assent="+b.cookie)
	r.Header.Set("HX-Request", "true")
	rec := httptest.NewRecorder()
	b.s.Handler.ServeHTTP(rec, r)
	return rec.Result()
}

// has fails for each text that is not in the page; lacks for each that is.
func has(t testing.TB, page string, texts ...string) {
	t.Helper()
	for _, want := range texts {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}

func lacks(t testing.TB, page string, texts ...string) {
	t.Helper()
	for _, bad := range texts {
		if strings.Contains(page, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
}

// entries is how many acts the ledger has.
func (s *site) entries() string {
	s.t.Helper()
	_, rest, _ := strings.Cut(expect(s.t, s.browser(s.tokens["v"]).get("/ledger/checkpoint"), 200), "The signed head of ")
	n, _, _ := strings.Cut(rest, " ")
	return n
}

func TestDevicePage_ShowsFactsProgressAndTheReasonsOfEveryUpdate(t *testing.T) {
	s := newSite(t)
	s.device.Event("guard_refused", "somebody ran apt install")
	b := s.browser(s.tokens["v"])
	page := expect(t, b.get("/devices/"+string(s.device.ID)), 200)
	has(t, page, "debian 12", "6.1.0", "1 installed", "block declined", "guard refused", "somebody ran apt install", `href="/devices/`+string(s.device.ID)+`/updates?verdict=none"`, `data-stream="`)
	expect(t, s.browser(s.tokens["d"]).post("/devices/change", url.Values{"act": {"quarantine"}, "devices": {"web1"}, "reason": {"looks cloned"}}), 303)
	has(t, expect(t, b.get("/devices/web1"), 200), "quarantined: looks cloned")
	list := expect(t, b.get("/devices/web1/updates"), 200)
	has(t, list, "openssl", `/why/`+s.update+`">`, "applicable")
	lacks(t, expect(t, b.get("/devices/web1/updates?verdict=install"), 200), `/why/`+s.update)
	expect(t, b.get("/devices/web1/updates?verdict=maybe"), 422)
	expect(t, b.get("/devices/web1/updates?sort=nonsense"), 422)
	expect(t, b.get("/devices/web1/updates?cursor=-1"), 422)
	has(t, expect(t, b.get("/devices/web1/updates.json"), 200), `"name":"openssl"`)
}

// TestDevicePage_NumbersOpenListsOfAsManyUpdates decides in the device's own group, which the root group does not see.
func TestDevicePage_NumbersOpenListsOfAsManyUpdates(t *testing.T) {
	s := newSite(t)
	s.device.Has("vim", "1")
	s.device.Offer("vim", "2", nil)
	s.device.CheckIn()
	expect(t, s.browser(s.tokens["a"]).decides(url.Values{"status": {"approved"}, "select": {s.update}, "scope": {"g-team"}}), 303)
	b := s.browser(s.tokens["v"])
	page := expect(t, b.get("/devices/web1"), 200)
	tallies := regexp.MustCompile(`class="tally[^>]*href="([^"]+)">\s*<span class="n">(\d+)</span><span class="label">([^<]+)<`).FindAllStringSubmatch(page, -1)
	if len(tallies) != 5 {
		t.Fatalf("%d numbers on the page", len(tallies))
	}
	for _, m := range tallies {
		list := expect(t, b.get(strings.ReplaceAll(m[1], "&amp;", "&")), 200)
		if n := strings.Count(list, "<tr data-row"); fmt.Sprint(n) != m[2] {
			t.Errorf("%s says %s, and its list has %d", m[3], m[2], n)
		}
	}
	has(t, page, `<span class="n">1</span><span class="label">Undecided`, `<span class="n">1</span><span class="label">To install`)
}

func TestV1_TheLivePieceTellsWhatIsUnderWay(t *testing.T) {
	s := newSite(t)
	b := s.browser(s.tokens["d"])
	lacks(t, expect(t, b.piece("/devices/web1/live"), 200), "<html", "Under way")
	s.approve()
	s.device.Report(s.updateID(), installation.Assigned, "", "")
	s.device.Report(s.updateID(), installation.Downloading, "", "")
	has(t, expect(t, b.piece("/devices/web1/live"), 200), "Under way", "downloading", "openssl 3.0.2")
	has(t, expect(t, b.get("/devices/web1"), 200), `data-stream="/devices/`+string(s.device.ID)+`/stream"`)
	stream := b.get("/devices/web1/stream?once=1")
	if kind := stream.Header.Get("Content-Type"); kind != "text/event-stream" {
		t.Errorf("the stream is %q", kind)
	}
	has(t, text(t, stream), "event: piece", "downloading")
}

func TestDevices_ActsAreAskedAboutFirstAndLeaveOneEntry(t *testing.T) {
	s := newSite(t)
	s.Group("g-other", "Elsewhere", fleet.Root)
	s.Device("web2", "g-team")
	b := s.browser(s.tokens["d"])
	ask := expect(t, b.post("/devices/confirm", url.Values{"act": {"move"}, "select": {"web1", "web2"}}), 200)
	has(t, ask, "2 devices?", "web1", "web2", `<option value="g-other">`)
	_, rest, _ := strings.Cut(ask, `name="devices" value="`)
	ids, _, _ := strings.Cut(rest, `"`)
	before := s.entries()
	expect(t, b.post("/devices/change", url.Values{"act": {"move"}, "devices": {ids}, "to": {"g-other"}}), 303)
	page := expect(t, b.get("/devices?group=g-other"), 200)
	has(t, page, "web1", "web2", "Moved 2 devices to Elsewhere.", `name="to" value="g-team"`)
	if after := s.entries(); after == before {
		t.Errorf("the act left no entry: %s", after)
	}
	expect(t, b.post("/devices/change", url.Values{"act": {"move"}, "devices": {ids}, "to": {"g-team"}}), 303) // what Undo sends
	lacks(t, expect(t, b.get("/devices?group=g-other"), 200), "web1")
	before = s.entries()
	expect(t, b.post("/devices/change", url.Values{"act": {"move"}, "devices": {ids}, "to": {"g-team"}}), 303)
	has(t, expect(t, b.get("/devices"), 200), "Nothing changed")
	if s.entries() != before {
		t.Error("nothing changed, and yet there is an entry")
	}
	expect(t, b.post("/devices/change", url.Values{"act": {"retire"}, "devices": {"web2"}}), 303)
	expect(t, b.post("/devices/change", url.Values{"act": {"release"}, "devices": {"web2"}}), 410)
	lacks(t, expect(t, b.get("/devices/web2"), 200), `value="release"`, `value="retire"`)
	for form, status := range map[string]int{"act=move&devices=web1": 422, "act=explode&devices=web1": 422, "act=refresh&devices=web1": 422, "act=retire": 422, "act=retire&devices=nobody": 404} {
		expect(t, b.send("POST", "/devices/change", form), status)
	}
}

func TestDevices_AllThatMatchIsWhatTheAddressSays(t *testing.T) {
	s := newSite(t)
	for i := range 3 {
		s.Device(fmt.Sprintf("db%d", i), "g-team")
	}
	s.Group("g-other", "Elsewhere", fleet.Root)
	s.Device("db-secret", "g-other")
	b := s.browser(s.tokens["d"])
	page := expect(t, b.post("/devices/confirm", url.Values{"act": {"quarantine"}, "all": {"1"}, "query": {"search=db&group=g-team"}}), 200)
	has(t, page, `name="back" value="/devices?group=g-team&amp;search=db"`)
	for back, want := range map[string]string{"/devices?search=db": "/devices?search=db", "//evil.test/devices": "/devices/web1", "/sign-out": "/devices/web1", "": "/devices/web1"} {
		if to := b.post("/devices/refresh", url.Values{"devices": {"web1"}, "back": {back}}).Header.Get("Location"); to != want {
			t.Errorf("back to %q leads to %q, want %q", back, to, want)
		}
	}
	has(t, page, "3 devices?", "db0", "db2")
	lacks(t, page, "web1", "db-secret")
	mine := s.browser(s.tokens["D"])
	lacks(t, expect(t, mine.post("/devices/confirm", url.Values{"act": {"quarantine"}, "all": {"1"}, "query": {"search=db"}}), 200), "db-secret")
	expect(t, mine.post("/devices/confirm", url.Values{"act": {"retire"}, "all": {"1"}, "query": {"group=g-other"}}), 403)
	expect(t, mine.post("/devices/confirm", url.Values{"act": {"retire"}, "all": {"1"}, "query": {"search=nothing"}}), 404)
	expect(t, mine.post("/devices/confirm", url.Values{"act": {"retire"}, "all": {"1"}, "query": {"state=broken"}}), 422)
	expect(t, mine.post("/devices/confirm", url.Values{"act": {"retire"}}), 422)
}

// TestN25_OnlyWhatAPersonMayDoIsOfferedAndTheRestIsRefused looks as a viewer, an approver and an administrator of one group.
func TestN25_OnlyWhatAPersonMayDoIsOfferedAndTheRestIsRefused(t *testing.T) {
	s := newSite(t)
	s.Group("g-other", "Elsewhere", fleet.Root)
	other := s.Device("secret-db", "g-other")
	viewer, approver, admin := s.browser(s.tokens["V"]), s.browser(s.tokens["A"]), s.browser(s.tokens["D"])
	for _, path := range []string{"/devices", "/devices/web1"} {
		lacks(t, expect(t, viewer.get(path), 200), "/devices/confirm", `name="act"`)
		page := expect(t, approver.get(path), 200)
		has(t, page, `value="refresh"`)
		lacks(t, page, `value="retire"`, `value="move"`)
		has(t, expect(t, admin.get(path), 200), `value="retire"`, `value="move"`)
	}
	lacks(t, expect(t, viewer.get("/groups"), 200), "/groups/create", "Elsewhere", `href="/enrol"`, `href="/ledger"`, `href="/operators"`)
	lacks(t, expect(t, approver.get("/groups/g-team"), 200), "/groups/g-team/change", "/groups/g-team/delete")
	page := expect(t, admin.get("/groups/g-team"), 200)
	has(t, page, "/groups/g-team/change")
	lacks(t, page, "/groups/g-team/delete", `name="parent"`) // the group that one's own role counts in

	expect(t, approver.post("/devices/confirm", url.Values{"act": {"retire"}, "select": {"web1"}}), 403)
	before := s.entries()
	for form, status := range map[string]int{"act=retire&devices=" + string(other.ID): 404, "act=move&devices=web1&to=g-other": 403, "act=move&devices=web1&to=root": 403, "act=retire&devices=web1+" + string(other.ID): 404} {
		expect(t, admin.send("POST", "/devices/change", form), status)
	}
	expect(t, admin.send("POST", "/devices/refresh", "devices="+string(other.ID)), 404)
	for _, path := range []string{"/devices/" + string(other.ID), "/devices/" + string(other.ID) + "/live", "/devices/secret-db/updates", "/devices/secret-db/why/" + s.update, "/groups/g-other", "/groups/root", "/events?device=secret-db"} {
		expect(t, admin.get(path), 404)
	}
	expect(t, admin.send("POST", "/groups/g-other/change", "name=X&was_name=Elsewhere"), 404)
	expect(t, admin.send("POST", "/groups/g-other/delete", ""), 404)
	expect(t, admin.send("POST", "/groups/create", "name=New&parent=g-other"), 403)
	expect(t, admin.send("POST", "/enrol/create", "to=g-other"), 403)
	expect(t, admin.send("POST", "/access/create", "operator=root-d"), 403)
	if after := s.entries(); after != before {
		t.Errorf("refused attempts left entries: %s, then %s", before, after)
	}
}

func TestN26_HostileTextsOfDevicesAreHarmlessOnTheirPages(t *testing.T) {
	s := newSite(t)
	d := s.Device(hostileName, "g-team")
	d.Has("lib", "1.0")
	d.Offer("lib", "2.0", nil)
	d.Event("guard_refused", hostileName)
	d.CheckIn()
	b := s.browser(s.tokens["d"])
	expect(t, b.post("/devices/change", url.Values{"act": {"quarantine"}, "devices": {string(d.ID)}, "reason": {hostileName}}), 303)
	for _, path := range []string{"/devices", "/devices/" + string(d.ID), "/devices/" + string(d.ID) + "/updates", "/events", "/ledger", "/devices/" + string(d.ID) + "/why?update=lib@2.0"} {
		page := expect(t, b.get(path), 200)
		lacks(t, page, "<script>alert", "<img src=x")
		has(t, page, "alert(")
	}
	page := expect(t, b.post("/devices/confirm", url.Values{"act": {"release"}, "select": {string(d.ID)}}), 200)
	lacks(t, page, "<script>alert")
	has(t, page, "&lt;script&gt;alert")
}
