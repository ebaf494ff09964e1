package web_test

import (
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"assent/catalog"
	"assent/content"
	"assent/fleet"
	"assent/trust/trusttest"
)

// thingRows are the rows of the route table's test about the queue, feeds, packages and deployments.
func thingRows() []row {
	return []row{
		{"GET", "/queue", readers, "", 200},
		{"GET", "/queue.csv", readers, "", 200},
		{"GET", "/queue.json", readers, "", 200},
		{"GET", "/feeds", "d", "", 200},
		{"POST", "/feeds", "d", "name=acme&url=nonsense&root_sha256=x", 422},
		{"GET", "/feeds/none", "d", "", 404},
		{"POST", "/feeds/none/refresh", "d", "", 404},
		{"POST", "/feeds/none/unsubscribe", "d", "confirm=none", 404},
		{"GET", "/channels", "d", "", 200},
		{"GET", "/channels/new?kind=mail", "d", "", 200},
		{"POST", "/channels", "d", "name=ops&kind=webhook&address=nonsense", 422},
		{"GET", "/channels/none", "d", "", 404},
		{"GET", "/channels/none/edit", "d", "", 404},
		{"POST", "/channels/none", "d", "name=x", 404},
		{"POST", "/channels/none/test", "d", "", 404},
		{"POST", "/channels/none/delete", "d", "confirm=none", 404},
		{"GET", "/packages", readers, "", 200},
		{"POST", "/packages", "ad", "update=none", 404},
		{"GET", "/packages/none", readers, "", 404},
		{"POST", "/packages/none/download", approvers, "", 404},
		{"GET", "/packages/none/delete", approvers, "", 404},
		{"POST", "/packages/none/delete", "ad", "", 404},
		{"GET", "/deployments", readers, "", 200},
		{"GET", "/deployments/new?update={update}", approvers, "", 200},
		{"POST", "/deployments/new", approvers, "update=none&to=g-team", 404},
		{"POST", "/deployments", approvers, "update=none", 404},
		{"POST", "/deployments/99/end", approvers, "", 404},
	}
}

// shop is a site whose server follows the feed acme, with one release that has an agreement and hostile release notes.
func shop(t testing.TB) (*site, string) {
	t.Helper()
	s := newSite(t)
	f := trusttest.NewFeed(t, "acme")
	m := trusttest.Manifest("ledger", "2.0")
	m.Title, m.Notes, m.CVEs = "Ledger <i>Pro</i>", "<script>alert(1)</script> fixed", []string{"CVE-2026-1234"}
	m.Agreements = []catalog.Agreement{trusttest.Agreement("eula", "Be <b>nice</b>.")}
	id := string(f.AddWith(m, [][]byte{[]byte("Be <b>nice</b>.")}, []byte("payload")))
	f.Publish()
	d := s.browser(s.tokens["d"])
	res := d.post("/feeds", url.Values{"name": {"acme"}, "url": {f.URL()}, "root_sha256": {content.Digest(f.Root())}})
	if res.StatusCode != http.StatusSeeOther {
		t.Fatalf("subscribing: %d %s", res.StatusCode, text(t, res))
	}
	s.AwaitFeed("acme")
	return s, id
}

func TestFeeds_AreVerifiedBeforeTheyAreFollowed(t *testing.T) {
	s, _ := shop(t)
	d := s.browser(s.tokens["d"])
	page := text(t, d.get("/feeds"))
	for range 1000 {
		if !strings.Contains(page, ">fetching<") { // the server looks at its own pace, too
			break
		}
		time.Sleep(5 * time.Millisecond)
		page = text(t, d.get("/feeds"))
	}
	if !strings.Contains(page, ">verified<") {
		t.Errorf("the feed is not listed as verified: %s", page)
	}
	res := d.post("/feeds", url.Values{"name": {"other"}, "url": {"http://127.0.0.1:1/none"}, "root_sha256": {strings.Repeat("a", 64)}})
	if page := text(t, res); res.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(page, `value="other"`) || !strings.Contains(page, "data-problem-text") {
		t.Errorf("a feed that cannot be read: %d", res.StatusCode)
	}
	if res := d.post("/feeds/acme/unsubscribe", url.Values{"confirm": {"acm"}}); res.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("given up without its name: %d", res.StatusCode)
	}
	if res := d.post("/feeds/acme/unsubscribe", url.Values{"confirm": {"acme"}}); res.StatusCode != http.StatusSeeOther || !strings.Contains(text(t, d.get("/feeds")), "follows no feed") {
		t.Errorf("giving it up: %d", res.StatusCode)
	}
}

func TestA7_AgreementsAreReadAndTickedBeforeAnApproval(t *testing.T) {
	s, id := shop(t)
	b := s.browser(s.tokens["a"])
	for _, path := range []string{"/updates/" + id, "/updates/decide?status=approved&select=" + id} {
		page := text(t, b.get(path))
		if !strings.Contains(page, "Be &lt;b&gt;nice&lt;/b&gt;.") || strings.Contains(page, "<script>alert") || strings.Contains(page, "<i>Pro") {
			t.Errorf("%s does not show the text, or shows it as markup", path)
		}
	}
	if page := text(t, b.get("/agreements")); !strings.Contains(page, "Waiting for acceptance") {
		t.Error("what waits for acceptance is not listed")
	}
	form := url.Values{"status": {"approved"}, "select": {id}, "scope": {"root"}}
	if res := b.decides(form); res.StatusCode != http.StatusConflict || !strings.Contains(text(t, res), "must be accepted first") {
		t.Fatalf("approved without a tick: %d", res.StatusCode)
	}
	digest := regexp.MustCompile(`name="accept" value="([0-9a-f]{64})"`).FindStringSubmatch(text(t, b.get("/updates/"+id)))
	if digest == nil {
		t.Fatal("the page offers no acceptance")
	}
	form.Set("accept", digest[1])
	if res := b.decides(form); res.StatusCode != http.StatusSeeOther || b.status("root", id) != "approved" {
		t.Fatalf("approving: %d %s", res.StatusCode, text(t, res))
	}
	if page := text(t, b.get("/agreements")); !strings.Contains(page, "root-a") || strings.Contains(page, "Waiting for acceptance") {
		t.Error("the acceptance is not listed")
	}
	if res := b.post("/agreements/withdraw", url.Values{"digest": {digest[1]}, "reason": {"legal says no"}}); res.StatusCode != http.StatusSeeOther {
		t.Errorf("withdrawing: %d", res.StatusCode)
	}
	if page := text(t, b.get("/agreements")); !strings.Contains(page, "Waiting for acceptance") {
		t.Error("the acceptance still stands")
	}
	scoped := s.browser(s.tokens["A"])
	if page := text(t, scoped.get("/updates/"+id)); strings.Contains(page, "/agreements/accept") {
		t.Error("an approver of one group is offered to accept for all")
	}
	form.Set("scope", "g-team")
	if page := text(t, scoped.post("/updates/decide", form)); strings.Contains(page, `name="accept"`) || strings.Contains(page, "data-decide") || !strings.Contains(page, "somebody who approves for all devices") {
		t.Error("an approver of one group can accept for all along with an approval")
	}
	scoped.post("/updates/decide/do", form)
	if page := text(t, b.get("/agreements")); !strings.Contains(page, "Waiting for acceptance") {
		t.Error("an approver of one group accepted for all")
	}
}

func TestPackages_AreMadeDownloadedDeployedAndDeleted(t *testing.T) {
	s, id := shop(t)
	b := s.browser(s.tokens["a"])
	res := b.post("/packages", url.Values{"update": {id}, "name": {"My ledger"}})
	here := res.Header.Get("Location")
	if res.StatusCode != http.StatusSeeOther || !strings.HasPrefix(here, "/packages/") {
		t.Fatalf("making it: %d %s", res.StatusCode, text(t, res))
	}
	page := text(t, b.get(here))
	if !strings.Contains(page, "My ledger") || !strings.Contains(page, "agreements that must be accepted") || strings.Contains(page, "/deployments/new") {
		t.Error("a package that is held says so and is not offered for deployment")
	}
	digest := regexp.MustCompile(`name="accept" value="([0-9a-f]{64})"`).FindStringSubmatch(text(t, b.get("/updates/"+id)))[1]
	b.post("/agreements/accept", url.Values{"update": {id}, "accept": {digest}})
	res = b.post(here+"/download", url.Values{"arch": {"amd64"}})
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK || !strings.Contains(res.Header.Get("Content-Disposition"), "attachment") || len(body) == 0 {
		t.Errorf("the download: %d, %d bytes, %v", res.StatusCode, len(body), err)
	}
	form := url.Values{"update": {id}, "to": {"g-team"}}
	page = text(t, b.post("/deployments/new", form))
	if !strings.Contains(page, "web1") {
		t.Error("the rehearsal does not name the device")
	}
	if res := b.post("/deployments", form); res.StatusCode != http.StatusOK {
		t.Errorf("deploying without having looked: %d", res.StatusCode)
	}
	if !strings.Contains(text(t, b.get("/deployments")), "Nothing is deployed.") {
		t.Fatal("it was deployed without having been shown")
	}
	form.Set("seen", hidden(t, page, "seen"))
	if res := b.post("/deployments", form); res.StatusCode != http.StatusSeeOther {
		t.Fatalf("deploying: %d %s", res.StatusCode, text(t, res))
	}
	end := regexp.MustCompile(`/deployments/\d+/end`).FindString(text(t, b.get("/deployments")))
	if res := b.post(end, nil); res.StatusCode != http.StatusSeeOther || !strings.Contains(text(t, b.get("/deployments")), "Nothing is deployed.") {
		t.Errorf("ending it: %d", res.StatusCode)
	}
	if res := b.post(here+"/delete", nil); res.StatusCode != http.StatusSeeOther || !strings.Contains(text(t, b.get("/packages")), "no installation package yet") {
		t.Errorf("deleting it: %d", res.StatusCode)
	}
}

func TestN25_AnApproverOfOneGroupDeploysNowhereElse(t *testing.T) {
	s, id := shop(t)
	s.Group("g-other", "Elsewhere", fleet.Root)
	secret := s.Device("secret-db", "g-other")
	b := s.browser(s.tokens["A"])
	for _, to := range []url.Values{{"to": {"g-other"}}, {"to": {"root"}}, {"devices": {"secret-db"}}, {"devices": {string(secret.ID)}}} {
		to.Set("update", id)
		to.Set("seen", "x")
		for _, path := range []string{"/deployments/new", "/deployments"} {
			res := b.post(path, to)
			if page := text(t, res); res.StatusCode != http.StatusForbidden && res.StatusCode != http.StatusNotFound || strings.Contains(page, "Elsewhere") {
				t.Errorf("POST %s %v: %d", path, to, res.StatusCode)
			}
		}
	}
}

func TestQueue_FollowsWhatHappensAndStopsByItself(t *testing.T) {
	s := newSite(t)
	b := s.browser(s.tokens["a"])
	page := text(t, b.get("/queue"))
	live := regexp.MustCompile(`hx-get="(/queue\?[^"]*)"`).FindStringSubmatch(page)
	if live == nil || !strings.Contains(page, "Nothing is on its way.") {
		t.Fatalf("the queue is not live, or not empty: %s", page)
	}
	b.decides(url.Values{"status": {"approved"}, "select": {s.update}, "scope": {"g-team"}})
	next := text(t, b.get(strings.ReplaceAll(live[1], "&amp;", "&")))
	if !strings.Contains(next, "web1") || !strings.Contains(next, "openssl") || !strings.Contains(next, "round=2") || strings.Contains(next, `href="/queue?after`) {
		t.Error("the next look does not show the install, or its links would wait")
	}
	if last := text(t, b.get("/queue?after=0&round=30")); strings.Contains(last, "hx-get=\"/queue") || !strings.Contains(last, "Follow again") {
		t.Error("it follows for ever")
	}
	if res := b.get("/queue?after=x"); res.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("nonsense: %d", res.StatusCode)
	}
	if other := text(t, b.get("/queue?state=failed")); strings.Contains(other, ">web1<") {
		t.Error("the queue is not narrowed by state")
	}
}

// TestA6_WhatWaitsForAServerAndWhatWasRecalledIsShownAndLeftAlone selects everything of a feed: what can be approved is,
// and the rest is named with the reason before the button and after it.
func TestA6_WhatWaitsForAServerAndWhatWasRecalledIsShownAndLeftAlone(t *testing.T) {
	s := newSite(t)
	f := trusttest.NewFeed(t, "acme")
	gated := trusttest.Manifest("ledger", "9.0")
	gated.MinServer = "99.0.0"
	late := string(f.Add(gated, []byte("late")))
	plain := string(f.Add(trusttest.Manifest("mail", "1.0"), []byte("mail")))
	f.Add(trusttest.Manifest("chat", "1.0"), []byte("chat"))
	f.Revoke("chat", "1.0", "eats <b>data</b>")
	f.Publish()
	if res := s.browser(s.tokens["d"]).post("/feeds", url.Values{"name": {"acme"}, "url": {f.URL()}, "root_sha256": {content.Digest(f.Root())}}); res.StatusCode != http.StatusSeeOther {
		t.Fatalf("subscribing: %d", res.StatusCode)
	}
	s.AwaitFeed("acme")
	b := s.browser(s.tokens["a"])
	if list := text(t, b.get("/updates/seamless")); !strings.Contains(list, "needs server 99.0.0") || !strings.Contains(list, "recalled") || !strings.Contains(list, `action="/updates/decide?view=seamless"`) {
		t.Error("the list does not flag what is gated and recalled")
	}
	if page := text(t, b.get("/updates/decide?status=approved&select="+late)); !strings.Contains(page, "minimum server version 99.0.0") || strings.Contains(page, "data-decide") {
		t.Error("a gated update alone is offered for approval, or does not say what to do")
	}
	if page := text(t, b.get("/updates/"+late)); !strings.Contains(page, "It needs server 99.0.0 or newer: upgrade the server") {
		t.Error("its page does not prompt for the upgrade")
	}
	form := url.Values{"status": {"approved"}, "all": {"1"}, "query": {""}, "view": {"seamless"}}
	page := text(t, b.post("/updates/decide", form))
	for _, part := range []string{"1 update approved", "Left alone", "99.0.0", "eats &lt;b&gt;data&lt;/b&gt;"} {
		if !strings.Contains(page, part) {
			t.Errorf("the page lacks %q", part)
		}
	}
	if res := b.decides(form); res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != "/updates/seamless" {
		t.Fatalf("approving: %d to %s", res.StatusCode, res.Header.Get("Location"))
	}
	if after := text(t, b.get("/updates/seamless")); !strings.Contains(after, "Approved mail 1.0 in All devices") || !strings.Contains(after, "Left alone: ") {
		t.Error("what happened is not told")
	}
	if b.status("root", plain) != "approved" || b.status("root", late) != "undefined" || b.status("root", s.update) != "undefined" {
		t.Error("the wrong updates were approved")
	}
}
