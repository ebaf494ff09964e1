package web_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// TestViews_AListIsSavedOpenedAndDeletedWithoutScript for oneself, and by an administrator for everybody.
func TestViews_AListIsSavedOpenedAndDeletedWithoutScript(t *testing.T) {
	s := newSite(t)
	v, d := s.browser(s.tokens["v"]), s.browser(s.tokens["d"])
	res := v.post("/views", url.Values{"name": {"My <b>"}, "list": {"updates"}, "query": {"severity=high&view=seamless&group=root&cursor=x"}, "shared": {""}})
	if to := res.Header.Get("Location"); res.StatusCode != http.StatusSeeOther || to != "/updates/seamless?group=root&severity=high" {
		t.Errorf("%d to %q", res.StatusCode, to)
	}
	if res := v.post("/views", url.Values{"name": {"all"}, "list": {"updates"}, "shared": {"1"}}); res.StatusCode != http.StatusForbidden {
		t.Errorf("a viewer saves for everybody: %d", res.StatusCode)
	}
	if res := d.post("/views", url.Values{"name": {"Team's"}, "list": {"updates"}, "query": {"needed=true"}, "shared": {"1"}}); res.StatusCode != http.StatusSeeOther {
		t.Errorf("%d", res.StatusCode)
	}
	page := text(t, v.get("/views?list=updates&query=status%3Dapproved"))
	for _, want := range []string{`href="/updates/seamless?group=root&amp;severity=high">My &lt;b&gt;</a>`, `href="/updates?needed=true">Team&#39;s</a>`, "for everybody, by root-d", `name="query" value="status=approved"`} {
		if !strings.Contains(page, want) {
			t.Errorf("the menu lacks %q", want)
		}
	}
	if strings.Count(page, "/delete") != 1 || strings.Contains(page, `name="shared"`) {
		t.Error("a viewer is offered to delete or to save what everybody sees")
	}
	if page := text(t, d.get("/views?list=updates")); strings.Contains(page, "My &lt;b&gt;") || strings.Count(page, "/delete") != 1 {
		t.Error("an administrator sees the view of another, or cannot delete the shared one")
	}
	for _, path := range []string{"/updates", "/updates/seamless", "/devices", "/queue", "/events"} {
		if page := text(t, v.get(path+"?group=root")); !strings.Contains(page, `href="/views?list=`) {
			t.Errorf("%s has no menu of views", path)
		}
	}
}

// TestBrowser_TheMenuOfViewsOpensInTheList saves a view and opens it.
func TestBrowser_TheMenuOfViewsOpensInTheList(t *testing.T) {
	s := newSite(t)
	b := s.chromium(t)
	b.signIn(s.tokens["d"], "/updates?status=undefined")
	js[bool](b, `[...document.querySelectorAll("details.pop summary")].find((e) => e.innerText.includes("Views")).click(); true`)
	b.await(`document.querySelector("#view-name") !== null`)
	b.keep("views")
	b.follow(chromedp.SendKeys("#view-name", "Open ones"), chromedp.Click(`form[action="/views"] button`))
	b.await(`document.querySelector(".toasts")?.innerText.includes("Saved the view Open ones.") && location.search === "?status=undefined"`)
	b.open("/updates")
	js[bool](b, `[...document.querySelectorAll("details.pop summary")].find((e) => e.innerText.includes("Views")).click(); true`)
	b.await(`document.querySelector(".view-list a") !== null`)
	b.follow(chromedp.Click(`.view-list a`))
	b.await(`location.search === "?status=undefined"`)

	b.do(chromedp.SendKeys("[data-table-search]", "openss"))
	b.await(`location.search.includes("search=openss") && document.querySelector(".table-tools a[download]").href.includes("search=openss")`)
	js[bool](b, `[...document.querySelectorAll("details.pop summary")].find((e) => e.innerText.includes("Views")).click(); true`)
	b.await(`document.querySelector("#view-name") !== null`)
	b.follow(chromedp.SendKeys("#view-name", "Searched"), chromedp.Click(`form[action="/views"] button:not([aria-label])`))
	b.await(`location.search.includes("search=openss") && location.search.includes("status=undefined")`)
}
