package web_test

import (
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"assent/fleet"
	"assent/installation"
	"assent/ledger"
)

// TestBrowser_DevicesAreMovedByKeyboardAndToldLive selects, confirms and undoes in a real browser, and waits for
// progress without loading the page again.
func TestBrowser_DevicesAreMovedByKeyboardAndToldLive(t *testing.T) {
	s := newSite(t)
	s.Group("g-other", "Elsewhere", fleet.Root)
	b := s.chromium(t)
	b.signIn(s.tokens["d"], "/devices")
	b.do(chromedp.KeyEvent("j"), chromedp.KeyEvent("x"), chromedp.KeyEvent("m"))
	b.await(`document.querySelector("#to") !== null`)
	b.keep("device-confirm")
	js[bool](b, `document.querySelector("#to").value = "g-other"; true`)
	b.do(chromedp.Click(`main form button`))
	b.await(`document.querySelector(".toasts")?.innerText.includes("Moved 1 device to Elsewhere.") && location.pathname === "/devices"`)
	b.do(chromedp.Click(`.toasts form button`))
	b.await(`document.querySelector(".toasts")?.innerText.includes("Moved 1 device to Team.")`)

	s.approve()
	b.open("/devices/web1")
	js[bool](b, `window.same = true`)
	s.device.Report(s.updateID(), installation.Assigned, "", "")
	s.device.Report(s.updateID(), installation.Downloading, "", "")
	b.await(`document.querySelector("#device-live").innerText.includes("downloading") && window.same`)
	b.keep("device")
}

// TestBrowser_GroupsTokensAndDevicesAreChangedWithoutScript does each sort of act with script switched off.
func TestBrowser_GroupsTokensAndDevicesAreChangedWithoutScript(t *testing.T) {
	s := newSite(t)
	b := s.chromium(t)
	b.signIn(s.tokens["d"], "/groups")
	b.WithoutScript()
	b.open("/groups")
	b.follow(chromedp.SendKeys("#name", "Front"), chromedp.Click(`form[action="/groups/create"] button`))
	b.follow(chromedp.SetValue("#name", "Front-desk"), chromedp.Click(`main form[action$="/change"] button`))
	has(t, expect(t, s.browser(s.tokens["v"]).get("/groups"), 200), ">Front-desk<")
	b.follow(chromedp.Click(`.toasts form button`)) // Undo
	has(t, expect(t, s.browser(s.tokens["v"]).get("/groups"), 200), ">Front<")
	b.follow(chromedp.Click(`form[action$="/delete"] button`))
	lacks(t, expect(t, s.browser(s.tokens["v"]).get("/groups"), 200), ">Front<")

	b.open("/enrol")
	b.follow(chromedp.Click(`main form button`))
	b.do(chromedp.WaitVisible("#secret"))
	b.open("/devices")
	b.follow(chromedp.Click(`[name=select]`), chromedp.Click(`button[value=quarantine]`))
	b.follow(chromedp.SendKeys("#reason", "looks odd"), chromedp.Click(`main form button`))
	b.do(chromedp.WaitVisible(`.toasts [data-toast]`))
	has(t, expect(t, s.browser(s.tokens["v"]).get("/devices/web1"), 200), "quarantined: looks odd")
}

// TestBrowser_PagesAboutDevicesPeopleAndTheRecordFitAPhoneAndBreakNoPolicy opens each page, narrow and wide.
func TestBrowser_PagesAboutDevicesPeopleAndTheRecordFitAPhoneAndBreakNoPolicy(t *testing.T) {
	s := newSite(t)
	s.Act("server", ledger.GroupCreate{Group: fleet.Group{ID: "g-a", Name: strings.Repeat("W", 60), Parent: "g-team", Guard: fleet.ApprovedOnly, Test: true}})
	s.device.Event("guard_refused", strings.Repeat("long-", 200))
	s.approve()
	b := s.chromium(t)
	b.signIn(s.tokens["d"], "/devices")
	for name, path := range map[string]string{"device-show": "/devices/web1", "device-updates": "/devices/web1/updates", "why": "/devices/web1/why/" + s.update, "groups": "/groups", "group": "/groups/g-team",
		"ledger": "/ledger", "ledger-entry": "/ledger/2", "checkpoint": "/ledger/checkpoint", "events": "/events", "operators": "/operators", "operator": "/operators/edit?name=team-v", "tokens": "/access", "enrol": "/enrol"} {
		for size, width := range map[string]int64{"wide": 1440, "phone": 390} {
			b.do(chromedp.EmulateViewport(width, 900))
			b.open(path)
			if wide := js[int64](b, "document.documentElement.scrollWidth"); wide > width {
				t.Errorf("%s is %d pixels wide at %d", path, wide, width)
			}
			b.keep(name + "-" + size)
		}
	}
	b.do(chromedp.EmulateViewport(1440, 900))
	b.open("/enrol")
	b.do(chromedp.Click(`main form button`))
	b.await(`document.querySelector("#secret")?.innerText.startsWith("assent-agent enrol") && !document.querySelector("[data-copy]").hidden`)
	b.keep("enrol-made")
}
