package web_test

import (
	"strings"
	"testing"

	"assent/approval"
	"assent/catalog"
	"assent/client"
	"assent/fleet"
)

// updateID is the id of the site's update.
func (s *site) updateID() catalog.UpdateID { return catalog.UpdateID(s.update) }

// approve and decline decide on the site's update everywhere, as an administrator at the command line would.
func (s *site) approve() { s.t.Helper(); s.decideAs(approval.Approved) }
func (s *site) decline() { s.t.Helper(); s.decideAs(approval.Declined) }

func (s *site) decideAs(status approval.Status) {
	s.t.Helper()
	c, err := client.New(client.Config{Server: s.URL, Token: s.tokens["d"]})
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := c.Decide(s.t.Context(), client.Decide{Updates: []string{s.update}, Scope: string(fleet.Root), Status: status, Reason: "tried"}); err != nil {
		s.t.Fatal(err)
	}
}

// TestPromise3_WhyShowsTheSentenceAndTheWholePathFromBothSides compares the page with what the API says.
func TestPromise3_WhyShowsTheSentenceAndTheWholePathFromBothSides(t *testing.T) {
	s := newSite(t)
	s.approve()
	c, err := client.New(client.Config{Server: s.URL, Token: s.tokens["v"]})
	if err != nil {
		t.Fatal(err)
	}
	want, err := c.Why(t.Context(), "web1", s.update)
	if err != nil || len(want.Verdict.Reasons) == 0 {
		t.Fatalf("no reasons to look for: %v", err)
	}
	b := s.browser(s.tokens["v"])
	for _, path := range []string{"/devices/web1/why/" + s.update, "/updates/" + s.update + "/why/web1", "/devices/web1/why?update=openssl@3.0.2"} {
		page := unescaped(expect(t, b.get(path), 200))
		has(t, page, "Why openssl 3.0.2 on web1?", unquoted(want.Sentence), "To install", `<a href="/ledger/`)
		for _, r := range want.Verdict.Reasons {
			has(t, page, unquoted(r.Text), "<code>"+r.Rule+"</code>")
		}
	}
	scoped := expect(t, s.browser(s.tokens["V"]).get("/devices/web1/why/"+s.update), 200)
	lacks(t, scoped, "/ledger/")                              // not theirs to read
	has(t, scoped, "in a group above")                        // whose name they do not see
	expect(t, b.get("/devices/web1/why?update=nothing"), 404) // and not an empty page
	expect(t, b.get("/devices/web1/why"), 404)
}

func TestPromise3_WhyOffersWhatCanBeDoneAboutItToWhoMayDoIt(t *testing.T) {
	s := newSite(t)
	path := "/devices/web1/why/" + s.update
	approver := s.browser(s.tokens["A"])
	page := unescaped(expect(t, approver.get(path), 200))
	link := "/updates/decide?back=" + strings.ReplaceAll(path, "/", "%2F") + "&select=" + s.update + "&status="
	has(t, page, link+"approved", link+"declined")
	expect(t, approver.get(link+"approved"), 200)
	lacks(t, expect(t, s.browser(s.tokens["V"]).get(path), 200), "/updates/decide")
	s.approve()
	lacks(t, expect(t, approver.get(path), 200), "/updates/decide") // nothing more to do
	s.device.Install("openssl")
	s.decline()
	has(t, expect(t, approver.get(path), 200), "/updates/"+s.update+"/rollback")
}

// unescaped and unquoted make a page and a sentence comparable: code stands between tags on one, backticks in the other.
func unescaped(page string) string {
	return strings.NewReplacer("&#34;", `"`, "&#39;", "'", "&lt;", "<", "&gt;", ">", "&#43;", "+", "&amp;", "&").Replace(page)
}

func unquoted(sentence string) string {
	var out strings.Builder
	for i, part := range strings.Split(sentence, "`") {
		if i > 0 {
			out.WriteString([]string{"</code>", "<code>"}[i%2])
		}
		out.WriteString(part)
	}
	return out.String()
}
