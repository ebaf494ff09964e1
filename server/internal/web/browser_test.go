package web_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"assent/fleet"
	"assent/lab/chromium"
)

// tab is a page of the console in headless Chromium.
type tab struct {
	*chromium.Tab
	t   *testing.T
	ctx context.Context
}

// chromium opens a tab at the console. A test fails if anything was blocked, thrown or not found on it.
func (s *site) chromium(t *testing.T) *tab {
	t.Helper()
	b := chromium.Open(t, s.URL)
	t.Cleanup(func() {
		if s.Violations() != 0 {
			t.Errorf("browsers reported %d blocked things", s.Violations())
		}
	})
	return &tab{Tab: b, t: t, ctx: b.Context()}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (b *tab) do(steps ...chromium.Step) {
	b.t.Helper()
	b.Do(steps...)
}

func (b *tab) follow(steps ...chromium.Step) {
	b.t.Helper()
	b.Follow(steps...)
}

func (b *tab) says() string { return b.Says() }

func (b *tab) open(path string) {
	b.t.Helper()
	b.Open(path)
}

func (b *tab) await(expression string) {
	b.t.Helper()
	b.Await(expression)
}

func js[T any](b *tab, expression string) T {
	b.t.Helper()
	return chromium.Eval[T](b.Tab, expression)
}

// keep writes a picture of the page where ASSENT_SCREENSHOTS says, if it does.
func (b *tab) keep(name string) {
	b.t.Helper()
	if dir := os.Getenv("ASSENT_SCREENSHOTS"); dir != "" {
		b.Picture(filepath.Join(dir, name+".png"))
	}
}

// signIn follows a sign-in link and presses Enter.
func (b *tab) signIn(token, next string) {
	b.t.Helper()
	b.open("/sign-in?next=" + next + "#" + token)
	b.await(`document.querySelector("#token").value !== "" && location.hash === ""`)
	b.do(chromedp.Click(".sign-in button"))
	b.await(`document.querySelector("h1.page-title") !== null`)
}

// TestBrowser_SignsInSeesTheOverviewAndUsesTheKeyboard is the smoke test in a real browser.
func TestBrowser_SignsInSeesTheOverviewAndUsesTheKeyboard(t *testing.T) {
	s := newSite(t)
	s.Device(`<script>document.title="broken"</script>`, fleet.Root)
	b := s.chromium(t)
	b.open("/")
	if at := js[string](b, "location.pathname"); at != "/sign-in" {
		t.Fatalf("a stranger is at %s", at)
	}
	b.keep("sign-in")
	b.signIn(s.Access("root-d", time.Hour, true), "/")
	b.await(`document.querySelector(".coverage") !== null`) // htmx works
	if !js[bool](b, `document.querySelectorAll("time[data-local]").length > 0 && document.querySelectorAll("svg.icon use").length > 10`) {
		t.Errorf("no times in the viewer's zone, or no icons: %s", b.says())
	}
	b.keep("overview-light")

	// The palette: Ctrl-K, words, arrow, Enter.
	b.do(chromedp.KeyEvent("k", chromedp.KeyModifiers(chromedp.ModifierCtrl)))
	b.await(`document.querySelector("#palette").open && document.querySelectorAll("[data-hit]").length > 2`)
	b.do(chromedp.SendKeys("#palette input", "my acc"))
	b.await(`document.querySelectorAll("[data-hit]").length === 1 && document.querySelector("[data-for]").dataset.for === "my acc"`)
	b.do(chromedp.KeyEvent(kb.ArrowDown), chromedp.KeyEvent(kb.Enter))
	b.await(`location.pathname === "/account"`)
}

// TestBrowser_ListsAreSearchedAndWalkedByKeyboardAndFitAPhone also shows a hostile name and both themes.
func TestBrowser_ListsAreSearchedAndWalkedByKeyboardAndFitAPhone(t *testing.T) {
	s := newSite(t)
	evil := `<img src=x onerror="document.title='broken'">` + strings.Repeat("W", 60)
	s.Device(evil, fleet.Root)
	b := s.chromium(t)
	b.signIn(s.tokens["a"], "/devices")
	b.await(`document.querySelectorAll("[data-row]").length === 2`)
	if !js[bool](b, `document.body.innerText.includes("<img src=x") && !document.title.includes("broken")`) {
		t.Error("the hostile name is not shown as it is")
	}
	b.do(chromedp.KeyEvent("j"), chromedp.KeyEvent("j"))
	if !js[bool](b, `document.querySelectorAll("[data-row]")[1].classList.contains("at")`) {
		t.Error("j does not move")
	}
	b.do(chromedp.KeyEvent("?"))
	b.await(`document.querySelector("#keys").open`)
	b.do(chromedp.Click("#keys button"))
	b.do(chromedp.SendKeys("[data-table-search]", "web1"))
	b.await(`document.querySelectorAll("[data-row]").length === 1 && location.search.includes("search=web1") && document.querySelector(".chip") !== null`)

	b.open("/devices")
	b.do(chromedp.EmulateViewport(390, 844))
	if wide := js[int](b, "document.documentElement.scrollWidth"); wide > 390 {
		t.Errorf("the page is %d pixels wide on a phone", wide)
	}
	b.keep("devices-phone")
	b.do(chromedp.EmulateViewport(1440, 900))
	b.Scheme("dark")
	b.await(`document.documentElement.dataset.bsTheme === "dark"`) // follows the system at once
	b.open("/")
	b.keep("overview-dark")
	b.do(chromedp.Click(".theme button"))
	b.await(`document.documentElement.dataset.theme === "light"`) // and the person's choice wins
}
