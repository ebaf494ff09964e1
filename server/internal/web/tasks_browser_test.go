package web_test

import (
	"testing"

	"github.com/chromedp/chromedp"
)

// TestBrowser_WritesATaskWithALivePreviewAndWithoutScript: with script the preview follows the form; without it the buttons do.
func TestBrowser_WritesATaskWithALivePreviewAndWithoutScript(t *testing.T) {
	s := newSite(t)
	b := s.chromium(t)
	b.signIn(s.tokens["d"], "/tasks")
	b.follow(chromedp.Click(`a[href="/tasks/new"]`))
	b.do(chromedp.SendKeys("#name", "Every night"))
	js[bool](b, `(() => { const set = (q, v) => { const e = document.querySelector(q); e.value = v; e.dispatchEvent(new Event("change", {bubbles: true})) };
		set("[name='r0.admits']", "approved_or_undefined"); set("[name='r0.field']", "name"); set("[name='r0.op']", "is"); set("[name='r0.values']", "openssl"); return true })()`)
	b.await(`document.querySelector("#task-preview").innerText.includes("It matches 1 update now; 1 would install on 1 device")`)
	b.keep("task")
	js[bool](b, `(() => { const e = document.querySelector("[name='r0.values']"); e.value = "nothing-like-it"; e.dispatchEvent(new Event("change", {bubbles: true})); return true })()`)
	b.await(`document.querySelector("#task-preview").innerText.includes("It matches none of the")`)
	b.WithoutScript()
	b.open("/tasks/new")
	b.do(chromedp.SendKeys("#name", "Without script"))
	b.follow(chromedp.Click(`button[name=turn]`))
	b.do(chromedp.SendKeys("[name='r0.criteria']", `name == "openssl"`))
	b.follow(chromedp.Click(`button[data-key=p]`))
	b.follow(chromedp.Click(`button[formaction="/tasks"]`))
	if got := s.task("without-script"); len(got.Rules) != 1 || got.Rules[0].Criteria != `name == "openssl"` {
		t.Errorf("%+v", got)
	}
}
