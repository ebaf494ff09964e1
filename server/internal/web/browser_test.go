package web_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"assent/fleet"
)

// tab is a page in headless Chromium, which writes down whatever goes wrong on it.
type tab struct {
	t   *testing.T
	ctx context.Context
	url string

	mu    sync.Mutex
	wrong []string
}

// chromium starts Debian's Chromium and opens a tab. A test fails if anything was blocked, thrown or not found on it.
func (s *site) chromium(t *testing.T) *tab {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	t.Cleanup(cancel)
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath("/usr/bin/chromium"), chromedp.NoSandbox, chromedp.DisableGPU)
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	b := &tab{t: t, ctx: ctx, url: s.URL}
	must(t, chromedp.Do(ctx, chromedp.EmulateViewport(1440, 900))) // starts the browser, which lives as long as this context
	if err := chromedp.Listen(ctx, b.listen); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if s.Violations() != 0 {
			t.Errorf("browsers reported %d blocked things", s.Violations())
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, w := range b.wrong {
			t.Error("in the browser: " + w)
		}
	})
	return b
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (b *tab) listen(ev any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := ev.(type) {
	case *log.EventEntryAdded:
		if e.Entry.Level == "error" || strings.Contains(e.Entry.Text, "Content Security Policy") {
			b.wrong = append(b.wrong, e.Entry.Text+" "+e.Entry.URL)
		}
	case *runtime.EventExceptionThrown:
		b.wrong = append(b.wrong, fmt.Sprintf("%s %+v", e.ExceptionDetails.Text, e.ExceptionDetails.Exception))
	}
}

// do acts on the page, one step after another. A step that met the page while it was changing is taken again.
func (b *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 30*time.Second)
	defer cancel()
	for _, a := range actions {
		err := chromedp.Do(ctx, a)
		for err != nil && ctx.Err() == nil && (strings.Contains(err.Error(), "Cannot find context") || strings.Contains(err.Error(), "ould not find node")) {
			err = chromedp.Do(ctx, a)
		}
		if err != nil {
			b.t.Fatalf("%v; the page says %s", err, b.says())
		}
	}
}

func (b *tab) says() string {
	text, _ := chromedp.Run(b.ctx, chromedp.Evaluate[string](`location.href + "\n" + document.body.innerText.slice(0, 1500)`))
	return text
}

func (b *tab) open(path string) {
	b.t.Helper()
	b.do(chromedp.Navigate(b.url + path))
}

// await waits until an expression of the page is true, also over a change of pages.
func (b *tab) await(expression string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 15*time.Second)
	defer cancel()
	for {
		_, err := chromedp.Run(ctx, chromedp.Poll[bool](expression))
		if err == nil {
			return
		}
		if ctx.Err() != nil || !strings.Contains(err.Error(), "-32000") {
			b.t.Fatalf("%s: %v; the page says %s", expression, err, b.says())
		}
	}
}

func js[T any](b *tab, expression string) T {
	b.t.Helper()
	out, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression))
	must(b.t, err)
	return out
}

// keep writes a picture of the page where ASSENT_SCREENSHOTS says, if it does.
func (b *tab) keep(name string) {
	b.t.Helper()
	dir := os.Getenv("ASSENT_SCREENSHOTS")
	if dir == "" {
		return
	}
	picture, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	must(b.t, err)
	must(b.t, os.WriteFile(filepath.Join(dir, name+".png"), picture, 0o644))
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
	_, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}}})
	must(t, err)
	b.await(`document.documentElement.dataset.bsTheme === "dark"`) // follows the system at once
	b.open("/")
	b.keep("overview-dark")
	b.do(chromedp.Click(".theme button"))
	b.await(`document.documentElement.dataset.theme === "light"`) // and the person's choice wins
}
