package web_test

import (
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
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

// TestBrowser_CompletesExpressions: what is typed into an expression gets suggestions, by keyboard and by mouse, and the preview
// follows what was taken.
func TestBrowser_CompletesExpressions(t *testing.T) {
	s := newSite(t)
	b := s.chromium(t)
	b.signIn(s.tokens["d"], "/tasks/new")
	b.do(chromedp.SendKeys("#name", "Suggested"))
	b.follow(chromedp.Click(`button[name=turn]`))
	rule := `document.querySelector("#r0-criteria").value`
	suggests := func(text string) string {
		return `[...document.querySelectorAll("#suggestions:not([hidden]) [role=option]")].some((o) => o.dataset.text === ` + "`" + text + "`)"
	}
	b.do(chromedp.SendKeys("#r0-criteria", "na"))
	b.await(suggests("name"))
	b.do(chromedp.KeyEvent(kb.ArrowDown), chromedp.KeyEvent(kb.Tab))
	b.await(rule + ` === "name"`)
	b.await(`document.querySelector("#suggestions").hidden && document.activeElement.id === "r0-criteria"`)
	b.do(chromedp.KeyEvent(` == "openssl" && severity >= `))
	b.await(suggests(`"high"`))
	b.do(chromedp.KeyEvent(kb.Escape))
	b.await(`document.querySelector("#suggestions").hidden`)
	b.do(chromedp.KeyEvent(" ", chromedp.KeyModifiers(chromedp.ModifierCtrl)))
	b.await(suggests(`"high"`))
	js[bool](b, `(() => { [...document.querySelectorAll("#suggestions [role=option]")].find((o) => o.dataset.text === '"high"').dispatchEvent(new MouseEvent("mousedown", {bubbles: true, cancelable: true})); return true })()`)
	b.await(rule + " === `name == \"openssl\" && severity >= \"high\"`")
	b.await(`document.querySelector("#task-preview").innerText.includes("It matches ")`)
	b.do(chromedp.SendKeys("#selection", "os"))
	b.await(suggests("os"))
}
