package web_test

import (
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"assent/fleet"
	"assent/wire"
)

// updateRows are the rows of the route table's test about updates, decisions and what belongs to them.
func updateRows() []row {
	return []row{
		{"GET", "/updates", readers, "", 200},
		{"GET", "/updates.csv", readers, "", 200},
		{"GET", "/updates.json", readers, "", 200},
		{"GET", "/updates/seamless", readers, "", 200},
		{"GET", "/updates/seamless.csv", readers, "", 200},
		{"GET", "/updates/seamless.json", readers, "", 200},
		{"GET", "/updates/{update}", readers, "", 200},
		{"GET", "/updates/decide?status=approved&select={update}&scope=g-team", approvers, "", 200},
		{"POST", "/updates/decide", approvers, "status=approved&select=none", 404},
		{"POST", "/updates/decide/do", approvers, "status=undefined&select=none", 404},
		{"POST", "/updates/decide/undo", approvers, "", 422},
		{"GET", "/updates/{update}/rollback?group=g-team", approvers, "", 200},
		{"POST", "/updates/{update}/rollback", approvers, "scope=g-team", 200},
		{"POST", "/updates/{update}/rollback/do", approvers, "scope=g-team", 200},
		{"GET", "/updates/{update}/history", "vad", "", 200},
		{"GET", "/updates/{update}/live", readers, "", 200},
		{"GET", "/updates/{update}/stream?once=1", readers, "", 200},
		{"GET", "/exceptions", readers, "", 200},
		{"POST", "/exceptions", approvers, "update=x", 422},
		{"POST", "/exceptions/99/end", approvers, "", 404},
		{"GET", "/agreements", readers, "", 200},
		{"POST", "/agreements/accept", approvers, "update=x", 422},
		{"GET", "/agreements/withdraw?digest=0123456789", approvers, "", 404},
		{"POST", "/agreements/withdraw", "ad", "digest=0123456789", 404},
	}
}

var field = regexp.MustCompile(`<input[^>]* name="([^"]+)"[^>]* value="([^"]*)"`)

// hidden reads a hidden or filled field of a page's form.
func hidden(t testing.TB, page, name string) string {
	t.Helper()
	for _, m := range field.FindAllStringSubmatch(page, -1) {
		if m[1] == name {
			return html.UnescapeString(m[2])
		}
	}
	return ""
}

// decides goes the way of a person without script: looks at what the act means, and presses the button.
func (b *browser) decides(form url.Values) *http.Response {
	b.s.t.Helper()
	page := text(b.s.t, b.post("/updates/decide", form))
	form.Set("seen", hidden(b.s.t, page, "seen"))
	return b.post("/updates/decide/do", form)
}

// undo presses the undo button that the next page shows.
func (b *browser) undo() *http.Response {
	b.s.t.Helper()
	page := text(b.s.t, b.get("/exceptions"))
	_, form, ok := strings.Cut(page, `<form action="/updates/decide/undo"`)
	if !ok {
		b.s.t.Fatal("no undo is offered")
	}
	form, _, _ = strings.Cut(form, "</form>")
	values := url.Values{}
	for _, m := range field.FindAllStringSubmatch(form, -1) {
		values.Add(m[1], html.UnescapeString(m[2]))
	}
	return b.post("/updates/decide/undo", values)
}

// status is an update's status in a group, as the list says.
func (b *browser) status(group, update string) string {
	b.s.t.Helper()
	for _, status := range []string{"approved", "declined", "undefined"} {
		if strings.Contains(text(b.s.t, b.get("/updates.csv?group="+group+"&status="+status)), update) {
			return status
		}
	}
	return ""
}

func TestUpdates_TheListFiltersSortsAndLinksEachNumber(t *testing.T) {
	s := newSite(t)
	s.device.Has("zlib", "1.0")
	zlib := string(s.device.Offer("zlib", "1.1", func(o *wire.Offer) { o.Items[0].Security = true }))
	s.device.CheckIn()
	b := s.browser(s.tokens["a"])
	for path, want := range map[string][]string{
		"/updates?group=g-team":        {s.update, zlib, "/updates/" + zlib + "?group=g-team#devices", `name="all"`},
		"/updates?search=zli":          {zlib},
		"/updates?search=nothing":      {"No update matches."},
		"/updates?security=true":       {zlib},
		"/updates?sort=-name":          {zlib, s.update},
		"/updates/seamless":            {"No feed has published anything yet"},
		"/updates?status=approved":     {"No update matches."},
		"/updates?state=applicable":    {zlib, s.update},
		"/updates?origin=Debian:other": {"Debian:other", "No update matches."},
	} {
		page, at := text(t, b.get(path)), 0
		for _, part := range want {
			i := strings.Index(page[at:], part)
			if i < 0 {
				t.Errorf("%s lacks %q (after what stands before it)", path, part)
				continue
			}
			if path == "/updates?sort=-name" {
				at += i
			}
		}
		if strings.HasPrefix(path, "/updates?se") && strings.Contains(page, `data-open="/updates/`+s.update) {
			t.Errorf("%s shows what does not match", path)
		}
	}
	if strings.Contains(text(t, s.browser(s.tokens["v"]).get("/updates")), `value="approved" data-key`) {
		t.Error("a viewer is offered to approve")
	}
}

func TestDecide_ShowsWhatItMeansThenDoesItAndUndoesIt(t *testing.T) {
	s := newSite(t)
	b := s.browser(s.tokens["A"])
	form := url.Values{"status": {"approved"}, "select": {s.update}, "query": {"search=ssl"}}
	page := text(t, b.post("/updates/decide", form))
	for _, part := range []string{"openssl 3.0.2", `<option value="g-team" selected>`, "Devices on which something changes</dt><dd>1<", "Approve 1 update"} {
		if !strings.Contains(page, part) {
			t.Errorf("the page lacks %q", part)
		}
	}
	if b.status("g-team", s.update) != "undefined" {
		t.Fatal("looking approved it")
	}
	res := b.decides(form)
	if res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != "/updates?search=ssl" {
		t.Fatalf("%d to %q: %s", res.StatusCode, res.Header.Get("Location"), text(t, res))
	}
	if got := b.status("g-team", s.update); got != "approved" {
		t.Fatalf("it is %s", got)
	}
	if res := b.undo(); res.StatusCode != http.StatusSeeOther {
		t.Fatalf("undo: %d, %s", res.StatusCode, text(t, res))
	}
	if got := b.status("g-team", s.update); got != "undefined" {
		t.Errorf("after the undo it is %s", got)
	}
}

func TestDecide_UndoOfALiftPutsTheVeryDeclineBack(t *testing.T) {
	s := newSite(t)
	b := s.browser(s.tokens["a"])
	if res := b.decides(url.Values{"status": {"declined"}, "select": {s.update}, "scope": {"g-team"}, "reason": {"breaks it"}, "reach": {"later"}, "expires": {"2099-01-31"}}); res.StatusCode != http.StatusSeeOther {
		t.Fatalf("declining: %d %s", res.StatusCode, text(t, res))
	}
	b.get("/exceptions") // reads the message away
	form := url.Values{"status": {"approved"}, "select": {s.update}, "scope": {"g-team"}}
	if page := text(t, b.post("/updates/decide", form)); !strings.Contains(page, "only lifting it by name") || hidden(t, page, "seen") != "" {
		t.Error("a declined update can be approved without lifting")
	}
	form.Set("lift", "1")
	if res := b.decides(form); res.StatusCode != http.StatusSeeOther || b.status("g-team", s.update) != "approved" {
		t.Fatalf("lifting: %d", res.StatusCode)
	}
	if res := b.undo(); res.StatusCode != http.StatusSeeOther {
		t.Fatalf("undo: %d %s", res.StatusCode, text(t, res))
	}
	page := text(t, b.get("/updates/"+s.update+"?group=g-team"))
	for _, part := range []string{"breaks it", "all later", "2099-01-31"} {
		if !strings.Contains(page, part) {
			t.Errorf("the decline came back without %q", part)
		}
	}
}

func TestDecide_AnUndoNeverPassesWhatSomebodyDecidedSince(t *testing.T) {
	s := newSite(t)
	first, second := s.browser(s.tokens["a"]), s.browser(s.tokens["d"])
	first.decides(url.Values{"status": {"approved"}, "select": {s.update}, "scope": {"root"}})
	second.decides(url.Values{"status": {"declined"}, "select": {s.update}, "scope": {"root"}})
	if res := first.undo(); res.StatusCode != http.StatusConflict || first.status("root", s.update) != "declined" {
		t.Errorf("the undo of an approval passed a later decline: %d, %s", res.StatusCode, first.status("root", s.update))
	}
}

// TestDecide_WhatWasNotSeenIsNotDone changes the act, and the update's files, between looking and pressing the button.
func TestDecide_WhatWasNotSeenIsNotDone(t *testing.T) {
	s := newSite(t)
	b := s.browser(s.tokens["a"])
	form := url.Values{"status": {"approved"}, "select": {s.update}, "scope": {"g-team"}}
	seen := hidden(t, text(t, b.post("/updates/decide", form)), "seen")
	if seen == "" {
		t.Fatal("the page offers no act")
	}
	for name, change := range map[string]url.Values{"without looking": {"seen": {""}}, "another scope": {"scope": {"root"}}, "another end": {"expires": {"2099-01-01"}},
		"another status": {"status": {"declined"}}, "everything": {"all": {"1"}}} {
		other := url.Values{"status": {"approved"}, "select": {s.update}, "scope": {"g-team"}, "seen": {seen}}
		for key, values := range change {
			other[key] = values
		}
		if res := b.post("/updates/decide/do", other); res.StatusCode == http.StatusSeeOther {
			t.Errorf("%s: it was done", name)
		}
	}
	s.device.Offer("openssl", "3.0.2", func(o *wire.Offer) {
		more := o.Items[0]
		more.Name, more.SHA256, more.Installed = "libssl", wire.Digest([]byte("libssl")), ""
		o.Items = append(o.Items, more)
	})
	s.device.CheckIn()
	form.Set("seen", seen)
	if res := b.post("/updates/decide/do", form); res.StatusCode != http.StatusConflict || !strings.Contains(text(t, res), "not what you looked at") {
		t.Errorf("with another file: %d", res.StatusCode)
	}
	if got := b.status("g-team", s.update) + b.status("root", s.update); got != "undefinedundefined" {
		t.Errorf("something was done: %s", got)
	}
}

func TestDecide_EverythingThatMatchesIsOneActAndNeverMore(t *testing.T) {
	s := newSite(t)
	for _, name := range []string{"aaa", "bbb", "ccc"} {
		s.device.Has(name, "1")
		s.device.Offer(name, "2", nil)
	}
	s.device.CheckIn()
	b := s.browser(s.tokens["A"])
	form := url.Values{"status": {"declined"}, "all": {"1"}, "query": {"search=aaa"}, "select": {s.update}}
	if res := b.decides(form); res.StatusCode != http.StatusSeeOther {
		t.Fatalf("%d: %s", res.StatusCode, text(t, res))
	}
	declined := strings.Split(strings.TrimSpace(text(t, b.get("/updates.csv?status=declined"))), "\n")[1:]
	if len(declined) != 1 || !strings.HasPrefix(declined[0], "aaa,") {
		t.Errorf("declined: %q", declined)
	}
	if res := b.post("/updates/decide", url.Values{"status": {"approved"}, "all": {"1"}, "query": {"severity=hihg"}}); res.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("a slip in the filter selects: %d", res.StatusCode)
	}
	bulk := url.Values{"status": {"undefined"}, "all": {"1"}, "query": {"search=aaa"}, "lift": {"1"}}
	b.decides(bulk)
	if page := text(t, b.get("/updates.csv?status=declined")); !strings.Contains(page, "aaa,") {
		t.Error("a bulk act passed a decline")
	}
}

// TestN25_AnApproverOfOneGroupDecidesNothingElsewhere tries every act on another team's group and device.
func TestN25_AnApproverOfOneGroupDecidesNothingElsewhere(t *testing.T) {
	s := newSite(t)
	s.Group("g-other", "Elsewhere", fleet.Root)
	secret := s.Device("secret-db", "g-other")
	secret.Has("openssl", "3.0.1")
	secret.Offer("openssl", "3.0.2", nil)
	secret.CheckIn()
	b, all := s.browser(s.tokens["A"]), s.browser(s.tokens["a"])
	all.decides(url.Values{"status": {"declined"}, "select": {s.update}, "scope": {"g-other"}, "reason": {"hush"}})
	for _, path := range []string{"/updates", "/updates/" + s.update, "/updates/decide?status=approved&select=" + s.update, "/updates/" + s.update + "/rollback", "/exceptions", "/agreements"} {
		if page := text(t, b.get(path)); strings.Contains(page, "secret-db") || strings.Contains(page, "Elsewhere") || strings.Contains(page, "hush") {
			t.Errorf("%s shows what is outside the scope", path)
		}
	}
	if !strings.Contains(text(t, all.get("/updates/"+s.update)), "hush") {
		t.Error("an approver of all does not see the decision: the test looks at nothing")
	}
	for path, form := range map[string]url.Values{
		"/updates/decide":                       {"status": {"approved"}, "select": {s.update}},
		"/updates/decide/do":                    {"status": {"approved"}, "select": {s.update}, "seen": {"x"}},
		"/updates/decide/undo":                  {"status": {"undefined"}, "was": {"declined"}, "select": {s.update}, "act": {"9"}},
		"/updates/" + s.update + "/rollback/do": {"seen": {"x"}},
		"/exceptions":                           {"update": {s.update}, "reason": {"x"}, "expires": {"2099-01-01"}},
	} {
		for _, scope := range []string{"g-other", "root"} {
			form.Set("scope", scope)
			res := b.post(path, form)
			if !slices.Contains([]int{http.StatusForbidden, http.StatusNotFound}, res.StatusCode) {
				t.Errorf("POST %s in %s: %d %s", path, scope, res.StatusCode, text(t, res))
			}
		}
	}
	if all.status("g-other", s.update) != "declined" || all.status("root", s.update) != "undefined" {
		t.Error("something was done")
	}
}

func TestExceptions_AreMadeListedAndEnded(t *testing.T) {
	s := newSite(t)
	b := s.browser(s.tokens["A"])
	b.decides(url.Values{"status": {"declined"}, "select": {s.update}})
	res := b.post("/exceptions", url.Values{"update": {s.update}, "scope": {"g-team"}, "reason": {"try <b>it</b>"}, "expires": {"2099-01-01"}})
	if res.StatusCode != http.StatusSeeOther {
		t.Fatalf("%d: %s", res.StatusCode, text(t, res))
	}
	page := text(t, b.get("/exceptions"))
	if !strings.Contains(page, "try &lt;b&gt;it&lt;/b&gt;") {
		t.Error("the exception is not listed, or its reason became markup")
	}
	end := regexp.MustCompile(`/exceptions/\d+/end`).FindString(page)
	if res := b.post(end, nil); res.StatusCode != http.StatusSeeOther || !strings.Contains(text(t, b.get("/exceptions")), "No exception from a decline stands.") {
		t.Errorf("ending it: %d", res.StatusCode)
	}
}

func TestUpdatePage_SaysWhereItStandsAndWhoDecided(t *testing.T) {
	s := newSite(t)
	b := s.browser(s.tokens["a"])
	b.decides(url.Values{"status": {"approved"}, "select": {s.update}, "scope": {"g-team"}, "reason": {"tested"}})
	s.device.Install("openssl")
	page := text(t, b.get("/updates/"+s.update))
	for _, part := range []string{"root-a", "tested", "Debian:bookworm", wire.Digest([]byte("openssl3.0.2")), "web1", "Roll back", `?state=installed#devices`} {
		if !strings.Contains(page, part) {
			t.Errorf("the page lacks %q", part)
		}
	}
	if page := text(t, b.get("/updates/"+s.update+"/history")); !strings.Contains(page, "root-a") || !strings.Contains(page, "/ledger/") {
		t.Errorf("the history does not name the act: %s", page)
	}
	if page := text(t, b.get("/updates/"+s.update+"?state=failed")); strings.Contains(page, ">web1<") {
		t.Error("the devices are not narrowed by state")
	}
	if page := text(t, s.browser(s.tokens["v"]).get("/updates/"+s.update)); strings.Contains(page, "/updates/decide") || strings.Contains(page, "/rollback") {
		t.Error("a viewer is offered acts")
	}
	if page := text(t, b.get("/updates/"+s.update+"/rollback")); !strings.Contains(page, "web1") || !strings.Contains(page, "Goes back") {
		t.Error("the rollback's page does not say what each device can")
	}
}

// TestToasts_AreNotLostToAPageThatFollows lets another tab's queue ask before the person sees what the act did.
func TestToasts_AreNotLostToAPageThatFollows(t *testing.T) {
	s := newSite(t)
	b := s.browser(s.tokens["a"])
	b.decides(url.Values{"status": {"approved"}, "select": {s.update}, "scope": {"g-team"}})
	r := httptest.NewRequest(http.MethodGet, "/queue?after=0&round=3", nil)
	r.Header.Set("Cookie", "assent="+b.cookie)
	r.Header.Set("HX-Request", "true")
	rec := httptest.NewRecorder()
	s.Handler.ServeHTTP(rec, r)
	if rec.Code != http.StatusOK || strings.Contains(rec.Body.String(), "Approved openssl") {
		t.Errorf("the piece has the message: %d", rec.Code)
	}
	if page := text(t, b.get("/updates")); !strings.Contains(page, "Approved openssl 3.0.2 in Team") {
		t.Error("the message is lost")
	}
}
