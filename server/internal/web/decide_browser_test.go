package web_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"assent/wire"
)

// TestBrowser_DecidesByKeyboardAloneSeesTheImpactAndUndoes approves with j, x, a and Enter.
func TestBrowser_DecidesByKeyboardAloneSeesTheImpactAndUndoes(t *testing.T) {
	s := newSite(t)
	s.device.Has("zlib", "1")
	s.device.Offer("zlib", "2", nil)
	s.device.CheckIn()
	b := s.chromium(t)
	b.signIn(s.tokens["d"], "/updates")
	b.keep("updates")
	b.do(chromedp.KeyEvent("j"), chromedp.KeyEvent("x"), chromedp.KeyEvent("a"))
	b.await(`document.activeElement?.dataset.decide !== undefined && document.querySelector("#impact").innerText.includes("Approve 1 update")`)
	seen := js[string](b, `document.querySelector("[name=seen]").value`)
	js[bool](b, `(() => { const s = document.querySelector("#scope"); s.value = "g-team"; s.dispatchEvent(new Event("change", {bubbles: true})); return true })()`)
	b.await(`document.querySelector("[name=seen]") && document.querySelector("[name=seen]").value !== "` + seen + `"`) // the impact follows the form
	b.keep("decide")
	b.do(chromedp.Focus("[data-decide]"), chromedp.KeyEvent(kb.Enter))
	b.await(`location.pathname === "/updates" && document.querySelector(".toasts").innerText.includes("Approved openssl 3.0.2 in Team")`)
	if got := s.browser(s.tokens["d"]).status("g-team", s.update); got != "approved" {
		t.Errorf("it is %s", got)
	}
	b.open("/queue")
	b.await(`document.querySelector("#queue-body").innerText.includes("openssl")`)
	b.open("/account")
	b.do(chromedp.Click(`form[action="/updates/decide/undo"] button`))
	b.await(`location.pathname.startsWith("/updates/u") && document.querySelector(".toasts").innerText.includes("Took act")`)
	b.keep("update")
}

// TestBrowser_TheQueueFollowsWithoutLoadingAgain waits for an install that was approved elsewhere.
func TestBrowser_TheQueueFollowsWithoutLoadingAgain(t *testing.T) {
	s := newSite(t)
	b := s.chromium(t)
	b.signIn(s.tokens["v"], "/queue")
	js[bool](b, `window.same = true`)
	s.browser(s.tokens["a"]).decides(url.Values{"status": {"approved"}, "select": {s.update}, "scope": {"g-team"}})
	b.await(`document.querySelector("#queue-body").innerText.includes("web1") && window.same`)
}

// TestBrowser_ApprovesAndDeclinesWithoutScript does the same with script switched off.
func TestBrowser_ApprovesAndDeclinesWithoutScript(t *testing.T) {
	s := newSite(t)
	b := s.chromium(t)
	b.signIn(s.tokens["a"], "/updates")
	b.WithoutScript()
	for _, want := range []string{"approved", "declined"} {
		b.open("/updates?group=g-team")
		b.follow(chromedp.Click(`[name=select]`), chromedp.Click(`.selection-bar button[value="`+want+`"]`))
		b.follow(chromedp.Click(`[data-decide]`))
		if got := s.browser(s.tokens["a"]).status("g-team", s.update); got != want {
			t.Errorf("it is %s, want %s: %s", got, want, b.says())
		}
		b.follow(chromedp.Click(`.toasts form button`)) // Undo
		if got := s.browser(s.tokens["a"]).status("g-team", s.update); got != "undefined" {
			t.Errorf("after the undo it is %s: %s", got, b.says())
		}
	}
}

// TestBrowser_PagesAboutUpdatesFitAPhoneAndBreakNoPolicy opens each page, narrow and wide, with hostile texts.
func TestBrowser_PagesAboutUpdatesFitAPhoneAndBreakNoPolicy(t *testing.T) {
	s, id := shop(t)
	s.device.Has("evil", "1")
	s.device.Offer("evil", "2", func(o *wire.Offer) {
		o.Items[0].Summary = `<img src=x onerror="document.title='broken'">` + strings.Repeat("W", 200)
		o.Items[0].Origin = strings.Repeat("O", 60) + ":x"
	})
	s.device.CheckIn()
	a := s.browser(s.tokens["a"])
	a.decides(url.Values{"status": {"declined"}, "select": {s.update}, "scope": {"root"}, "reason": {strings.Repeat("reason-", 50)}})
	a.post("/exceptions", url.Values{"update": {s.update}, "scope": {"g-team"}, "reason": {"<b>x</b>"}, "expires": {"2099-01-01"}})
	pack := a.post("/packages", url.Values{"update": {id}, "name": {strings.Repeat("N", 100)}}).Header.Get("Location")
	b := s.chromium(t)
	b.signIn(s.tokens["d"], "/updates")
	for name, path := range map[string]string{"updates": "/updates?columns=name&columns=summary&columns=origin&columns=flags", "seamless": "/updates/seamless", "update-page": "/updates/" + s.update, "update-feed": "/updates/" + id,
		"decide-agreement": "/updates/decide?status=approved&select=" + id, "rollback": "/updates/" + s.update + "/rollback", "exceptions": "/exceptions", "agreements": "/agreements", "queue": "/queue", "feeds": "/feeds",
		"feed": "/feeds/acme", "packages": "/packages", "package": pack, "deploy": "/deployments/new?update=" + id + "&to=root", "deployments": "/deployments"} {
		for size, width := range map[string]int64{"wide": 1440, "phone": 390} {
			b.do(chromedp.EmulateViewport(width, 900))
			b.open(path)
			if wide := js[int64](b, "document.documentElement.scrollWidth"); wide > width {
				t.Errorf("%s is %d pixels wide at %d", path, wide, width)
			}
			if js[bool](b, `document.title.includes("broken") || !document.querySelector("h1")`) {
				t.Errorf("%s is broken: %s", path, b.says())
			}
			b.keep(name + "-" + size)
		}
	}
}
