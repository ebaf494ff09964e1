package e2e

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"assent/lab/chromium"
	"assent/lab/debrepo"
)

// desk is an administrator at the console of a real server with real devices. Everything that people do is done there,
// in Chromium, over TLS whose certificate is checked against Assent's own CA.
type desk struct {
	*script
	tab *chromium.Tab
}

// sitDown starts a server with devices that are not enrolled yet, and signs in with the link of its first start.
func sitDown(t *testing.T, devices ...string) *desk {
	t.Helper()
	s := &script{raise(t, specs(devices)...), t}
	s.try(s.Server.Secure())
	s.try(s.Server.Start(t.Context()))
	ca, err := s.Server.CA()
	s.try(err)
	pin := sha256.Sum256(ca.RawSubjectPublicKeyInfo)
	d := &desk{s, chromium.Open(t, s.Server.URL, chromedp.Flag("ignore-certificate-errors-spki-list", base64.StdEncoding.EncodeToString(pin[:])))}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log("the page says at last: " + d.tab.Says())
		}
	})
	d.tab.Size(1280, 800)
	token, err := os.ReadFile(filepath.Join(s.Server.Data, "first-sign-in"))
	s.try(err)
	d.tab.Open("/sign-in?next=/groups#" + strings.TrimSpace(string(token)))
	d.tab.Await(`document.querySelector("#token").value !== ""`)
	d.follow(chromedp.Click(".sign-in form button"))
	return d
}

// follow clicks what leads to another page.
func (d *desk) follow(steps ...chromium.Step) {
	d.t.Helper()
	d.tab.Follow(steps...)
}

// press follows a button or a link by what stands on it.
func (d *desk) press(label string) {
	d.t.Helper()
	marked := chromium.Eval[bool](d.tab, fmt.Sprintf(`(() => {
		document.querySelectorAll("[data-marked]").forEach((e) => delete e.dataset.marked);
		const it = [...document.querySelectorAll("main a, main button, .toasts button")].find((e) => e.offsetParent && e.innerText.trim().startsWith(%q));
		if (it) it.dataset.marked = "";
		return !!it;
	})()`, label))
	if !marked {
		d.t.Fatalf("nothing says %q; the page says %s", label, d.tab.Says())
	}
	d.follow(chromedp.Click("[data-marked]"))
}

// tick chooses a row of the list on the page.
func (d *desk) tick(label string) {
	d.t.Helper()
	d.tab.Do(chromedp.Click(fmt.Sprintf(`input[aria-label="Select %s"]`, label)))
}

// choose sets a field of the form, as a person would who clicks an option.
func (d *desk) choose(field, label string) {
	d.t.Helper()
	if !chromium.Eval[bool](d.tab, fmt.Sprintf(`(() => {
		const list = document.querySelector(%q), it = [...list.options].find((o) => o.text.trim() === %q);
		if (!it) return false;
		list.value = it.value;
		list.dispatchEvent(new Event("change", {bubbles: true}));
		return true;
	})()`, field, label)) {
		d.t.Fatalf("%s offers no %q; the page says %s", field, label, d.tab.Says())
	}
}

// says waits until the page says something, without loading it again.
func (d *desk) says(text string) {
	d.t.Helper()
	d.tab.Await(fmt.Sprintf(`document.body.innerText.includes(%q)`, text))
}

// untilSays loads a page again until it says all of this.
func (d *desk) untilSays(path string, texts ...string) {
	d.t.Helper()
	d.until(path+" says "+strings.Join(texts, ", "), func() bool {
		d.tab.Open(path)
		page := chromium.Eval[string](d.tab, "document.body.innerText")
		for _, want := range texts {
			if !strings.Contains(page, want) {
				return false
			}
		}
		return true
	})
}

// keep writes a picture of the page for the README, where ASSENT_SCREENSHOTS says. Messages are taken away first.
func (d *desk) keep(name string) {
	d.t.Helper()
	if dir := os.Getenv("ASSENT_SCREENSHOTS"); dir != "" {
		chromium.Eval[bool](d.tab, `document.querySelectorAll("[data-toast]").forEach((e) => e.remove()); document.activeElement?.blur(); true`)
		d.tab.Picture(filepath.Join(dir, name+".png"))
	}
}

// keys types, one key after another.
func (d *desk) keys(keys ...string) {
	d.t.Helper()
	for _, key := range keys {
		d.tab.Do(chromedp.KeyEvent(key))
	}
}

// tabTo presses Tab until a thing has the focus, as somebody without a mouse does.
func (d *desk) tabTo(selector string, modifiers ...chromedp.KeyOption) {
	d.t.Helper()
	for range 120 {
		if chromium.Eval[bool](d.tab, fmt.Sprintf(`document.activeElement?.matches(%q)`, selector)) {
			return
		}
		d.tab.Do(chromedp.KeyEvent(kb.Tab, modifiers...))
	}
	d.t.Fatalf("Tab does not reach %s; the page says %s", selector, d.tab.Says())
}

// TestConsole_TheReadmesStoryByClicksAndByKeyboardAlone tells the story at the console only. The command line is used
// by nobody but the vendor of the feed.
func TestConsole_TheReadmesStoryByClicksAndByKeyboardAlone(t *testing.T) {
	d := sitDown(t, "test1", "web1")
	d.comesBackByPassword()
	d.enrolByTheLine()
	d.seesUpdates()
	d.approvesForTest()
	d.seesItInstalledLive()
	d.approvesForAllByKeyboard()
	d.declinesByKeyboard()
	d.undoes()
	d.moves()
	d.rollsBack()
	d.deploys()
	d.looksBack()
}

// comesBackByPassword sets a password, for the link works only once, signs out, and in again.
func (d *desk) comesBackByPassword() {
	const words = "seven calm herons wait"
	d.press("set a password")
	d.tab.Open("/account/password")
	d.follow(chromedp.SendKeys("#password", words), chromedp.SendKeys("#again", words), chromedp.Click(`main form button`))
	d.follow(chromedp.Click("details.who summary"), chromedp.Click(`form[action="/sign-out"] button`))
	d.follow(chromedp.SendKeys("#name", "admin"), chromedp.SendKeys("#password", words), chromedp.Click(".sign-in form button"))
	d.says("Compliance")
}

// enrolByTheLine makes groups, and enrols each device with the line that the page shows.
func (d *desk) enrolByTheLine() {
	for device, group := range map[string]string{"test1": "Test", "web1": "Web"} {
		d.tab.Open("/groups")
		d.follow(chromedp.SendKeys("#name", group), chromedp.Click(`form[action="/groups/create"] button`))
		d.tab.Open("/enrol")
		d.choose("#to", group)
		d.follow(chromedp.Click(`form[action="/enrol/create"] button`))
		line := chromium.Eval[string](d.tab, `document.querySelector("#secret").innerText`)
		d.try(d.Device(device).WriteFile("/etc/assent-agent/config.json", []byte(`{"scan": "1s"}`), 0o644))
		d.run(device, strings.Fields(line)...)
		d.try(d.Device(device).StartAgent(d.t.Context()))
	}
	d.untilSays("/devices?only=connected", "test1", "web1")
}

// seesUpdates has the vendor publish, and the devices asked to look now.
func (d *desk) seesUpdates() {
	d.publish(1)
	d.until("both devices could take Acme's updates", func() bool {
		d.tab.Open("/devices")
		d.tick("test1")
		d.tick("web1")
		d.follow(chromedp.Click(`.selection-bar button[value=refresh]`))
		d.press("Look for updates now")
		d.tab.Open("/updates?search=acme-suite")
		return chromium.Eval[bool](d.tab, `[...document.querySelectorAll("tr[data-row]")].some((r) => /\t2\t/.test(r.innerText))`)
	})
	d.until("both devices know what comes along", func() bool {
		d.tab.Open("/updates?search=acme-suite")
		d.tick("acme-suite 1.1")
		d.follow(chromedp.Click(`.selection-bar button[value=approved]`))
		return !strings.Contains(chromium.Eval[string](d.tab, `document.querySelector("#impact").innerText`), "still working out")
	})
	d.tab.Open("/updates?search=acme-&sort=name")
	d.keep("updates")
}

// approvesForTest approves in one group, with what it means before the button.
func (d *desk) approvesForTest() {
	d.tab.Open("/updates?search=acme-")
	d.tick("acme-suite 1.1")
	d.tick("acme-db 1.1")
	d.follow(chromedp.Click(`.selection-bar button[value=approved]`))
	d.choose("#scope", "Test")
	d.tab.Await(`/Devices on which something changes\s+1\b/.test(document.querySelector("#impact").innerText) && document.querySelector("#impact").innerText.includes("acme-newdep")`)
	d.keep("decide")
	d.follow(chromedp.Click("[data-decide]"))
	d.says("in Test")
	d.untilSays("/devices/test1/updates?search=acme-db", "installed")
	d.has("test1", "acme-suite-a", "1.1")
	d.has("test1", "acme-newdep", "1.0")
	d.has("web1", "acme-suite-a", "1.0")
}

// seesItInstalledLive watches an install on the device's page, which is not loaded again.
func (d *desk) seesItInstalledLive() {
	d.hold("test1")
	d.tab.Open("/updates?search=acme-slow")
	d.tick("acme-slow 1.1")
	d.follow(chromedp.Click(`.selection-bar button[value=approved]`))
	d.choose("#scope", "Test")
	d.tab.Await(`document.querySelector("#scope").selectedOptions[0].text.trim() === "Test" && /changes\s+1\b/.test(document.querySelector("#impact").innerText)`)
	d.follow(chromedp.Click("[data-decide]"))
	d.tab.Open("/devices/test1")
	chromium.Eval[bool](d.tab, `window.same = true`)
	d.inPostinst("test1")
	d.tab.Await(`document.querySelector("#device-live").innerText.includes("installing") && window.same`)
	d.keep("device")
	d.release("test1")
	d.tab.Await(`!document.querySelector("#device-live").innerText.includes("Under way") && window.same`)
	d.untilSays("/devices/test1/updates?search=acme-slow", "installed")
	d.has("test1", "acme-slow", "1.1")
}

// approvesForAllByKeyboard uses no pointer: Ctrl-K, j, x, a, Enter.
func (d *desk) approvesForAllByKeyboard() {
	d.tab.Open("/")
	d.tab.Do(chromedp.KeyEvent("k", chromedp.KeyModifiers(chromedp.ModifierCtrl)))
	d.tab.Await(`document.querySelector("#palette").open`)
	d.keys(strings.Split("acme-suite", "")...)
	d.tab.Await(`document.querySelector("[data-for]")?.dataset.for === "acme-suite" && document.querySelectorAll("[data-hit]").length === 1`)
	d.follow(chromedp.KeyEvent(kb.Enter))
	d.says("acme-suite 1.1")
	d.keep("update")
	d.follow(chromedp.KeyEvent("a"))
	d.tab.Await(`document.activeElement?.dataset.decide !== undefined`)
	d.follow(chromedp.KeyEvent(kb.Enter))
	d.says("Approved acme-suite 1.1 in All devices")
	d.untilSays("/devices/web1/updates?search=acme-suite", "installed")
	d.has("web1", "acme-suite-b", "1.1")

	d.keys("g")
	d.follow(chromedp.KeyEvent("u"))
	d.keys("/")
	d.keys(strings.Split("acme-data", "")...)
	d.tab.Await(`document.querySelectorAll("tr[data-row]").length === 1`)
	d.keys(kb.Escape, "j", "k", "x")
	d.tab.Await(`document.querySelector("tr.chosen")`)
	d.follow(chromedp.KeyEvent("a"))
	d.tab.Await(`document.activeElement?.dataset.decide !== undefined`)
	d.follow(chromedp.KeyEvent(kb.Enter))
	d.untilSays("/devices/web1/updates?search=acme-data", "installed")
}

// declinesByKeyboard gives a reason too, meets the wall on the device and asks why.
func (d *desk) declinesByKeyboard() {
	d.tab.Open("/updates?search=acme-app&sort=version")
	d.keys("j")
	for chromium.Eval[bool](d.tab, `!/2\.0/.test(document.querySelector("[data-row].at").innerText)`) {
		d.keys("j")
	}
	d.keys("x")
	d.follow(chromedp.KeyEvent("d"))
	d.tab.Await(`document.querySelector("[data-decide]")`)
	d.tabTo("#reason", chromedp.KeyModifiers(chromedp.ModifierShift))
	d.keys(strings.Split("breaks our reports", "")...)
	d.keys(kb.Tab) // the field tells that it has changed, and what it means is asked for anew
	d.tab.Await(`!document.querySelector(".htmx-request") && document.querySelector("[data-decide]")`)
	d.tabTo("[data-decide]")
	d.follow(chromedp.KeyEvent(kb.Enter))
	d.says("Declined acme-app 2.0")
	d.until("the wall stands on web1", func() bool {
		out, _, _, err := d.Device("web1").Run(d.t.Context(), "assent-agent", "why", "acme-app")
		return err == nil && strings.Contains(out, "breaks our reports")
	})
	d.fails("web1", "declined", aptGet("install", "acme-app=2.0", "acme-lib=2.0")...)
	d.has("web1", "acme-app", "1.0")
	d.untilSays("/events?device=web1", "guard refused")
	d.tab.Open("/devices/web1")
	d.tab.Do(chromedp.SendKeys("#ask", "acme-app@2.0"))
	d.press("Ask")
	d.says("breaks our reports")
	d.says("How this was decided")
	d.keep("why")
}

// undoes takes an approval back from the message that told of it.
func (d *desk) undoes() {
	d.tab.Open("/updates?search=acme-big")
	d.tick("acme-big 1.1")
	d.follow(chromedp.Click(`.selection-bar button[value=declined]`))
	d.follow(chromedp.Click("[data-decide]"))
	d.says("Declined acme-big 1.1")
	d.press("Undo")
	d.says("undefined")
	d.tab.Open("/updates?search=acme-big&status=undefined")
	d.says("acme-big")
}

// moves a device into another group and back again.
func (d *desk) moves() {
	d.tab.Open("/devices")
	d.tick("web1")
	d.follow(chromedp.Click(`.selection-bar button[value=move]`))
	d.choose("#to", "Test")
	d.press("Move")
	d.says("Moved 1 device to Test.")
	d.press("Undo")
	d.says("Moved 1 device to Web.")
}

// rollsBack takes an update back on all devices that have it, and declines it in the same act.
func (d *desk) rollsBack() {
	d.tab.Open("/updates?search=acme-suite")
	d.follow(chromedp.Click(`tr[data-row] td a`))
	update := chromium.Eval[string](d.tab, `location.pathname`)
	d.until("both devices can go back", func() bool {
		d.tab.Open(update + "/rollback")
		d.tab.Do(chromedp.SendKeys("#reason", "prints twice")) // to decline it too is ticked: it is still approved
		d.press("Show what it means")
		return strings.Contains(chromium.Eval[string](d.tab, `document.body.innerText`), "2 of 2 devices would go back")
	})
	d.press("Roll back on 2 devices")
	d.until("both are back", func() bool {
		return d.version("test1", "acme-suite-a") == "1.0" && d.version("web1", "acme-suite-a") == "1.0"
	})
	d.untilSays(update, "prints twice")
}

// deploys follows a vendor's feed, and puts its application onto a device that lacks it.
func (d *desk) deploys() {
	vendor, err := d.NewVendor("acme")
	d.try(err)
	d.assent("feed", "init", vendor.Dir, "--name", "acme")
	deb, err := vendor.Deb(debrepo.Package{Name: "acme-note", Version: "1.0", Description: "notes"})
	d.try(err)
	d.assent("feed", "add", vendor.Dir, deb)
	d.try(vendor.Publish(d.t.Context()))
	root, err := os.ReadFile(vendor.Root())
	d.try(err)
	digest := sha256.Sum256(root)
	d.tab.Open("/feeds")
	d.tab.Do(chromedp.SendKeys("#feed-name", "acme"), chromedp.SendKeys("#feed-url", vendor.URL), chromedp.SendKeys("#feed-digest", hex.EncodeToString(digest[:])))
	d.press("Verify and subscribe")
	d.untilSays("/updates/seamless", "acme-note")
	d.follow(chromedp.Click(`tr[data-row] td a`))
	update := chromium.Eval[string](d.tab, `location.pathname`)
	d.press("Make an installation package")
	d.tab.Open(update)
	d.follow(chromedp.KeyEvent("a"))
	d.follow(chromedp.Click("[data-decide]"))
	d.tab.Open("/packages")
	d.follow(chromedp.Click(`tr[data-row] td a`))
	d.press("Deploy")
	d.choose("#to", "Web")
	d.press("Show what it means")
	d.until("web1 says that it could take it", func() bool {
		d.press("Show what it means")
		return strings.Contains(chromium.Eval[string](d.tab, `document.body.innerText`), "1 device would get it")
	})
	d.press("Deploy")
	d.until("web1 has the application", func() bool { return d.version("web1", "acme-note") == "1.0" })
	d.has("test1", "acme-note", "")
	d.until("the deployment is done", func() bool {
		d.tab.Open("/deployments")
		return chromium.Eval[bool](d.tab, `/\t1\t1\t0\t0\t0\t/.test(document.querySelector("tr[data-row]").innerText)`)
	})
}

// looksBack opens the overview in both themes, and the ledger, where everything stands.
func (d *desk) looksBack() {
	d.tab.Open("/")
	d.tab.Await(`document.querySelector(".coverage") && !document.querySelector(".htmx-request")`)
	d.keep("overview")
	d.tab.Scheme("dark")
	d.tab.Await(`document.documentElement.dataset.bsTheme === "dark"`)
	d.tab.Open("/")
	d.tab.Await(`document.querySelector(".coverage") && !document.querySelector(".htmx-request")`)
	d.keep("overview-dark")
	d.tab.Open("/ledger")
	for _, text := range []string{"acme-suite 1.1", "breaks our reports", "prints twice"} {
		d.says(text)
	}
}
