// Package chromium drives Debian's headless Chromium for tests of the console: a tab that writes down whatever goes
// wrong on it, waits for what pages say and never for a time, measures accessibility with axe-core and takes pictures.
//
// Guarantees: a test fails by itself if the browser reported a blocked thing, an exception or a missing file, unless
// the test says which one it expects; a click that leads to another page is over when that page is loaded; the browser
// ends with the test. It knows nothing of Assent.
package chromium

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// Limits are for a machine that does other things at the same time: they end what hangs, they do not measure.
const (
	wholeLimit = 15 * time.Minute
	stepLimit  = time.Minute
)

// program is Debian's.
const program = "/usr/bin/chromium"

// Step is one thing that is done on a page.
type Step = chromedp.Action[chromedp.Void]

// Tab is a page in the browser.
type Tab struct {
	// URL is what paths are opened below.
	URL string

	t   testing.TB
	ctx context.Context

	mu       sync.Mutex
	wrong    []string
	expected []string
}

// Open starts the browser with a tab of 1440 by 900 pixels. Further options are those of chromedp.
func Open(t testing.TB, url string, options ...chromedp.ExecAllocatorOption) *Tab {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), wholeLimit)
	t.Cleanup(cancel)
	standard := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]), chromedp.ExecPath(program), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.WSURLReadTimeout(2*time.Minute), chromedp.Flag("hide-scrollbars", true), chromedp.Flag("font-render-hinting", "none"))
	ctx, cancel = chromedp.NewExecAllocator(ctx, append(standard, options...)...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	b := &Tab{URL: url, t: t, ctx: ctx}
	b.must(chromedp.Do(ctx, chromedp.EmulateViewport(1440, 900))) // starts the browser, which lives as long as this context
	b.must(chromedp.Listen(ctx, b.listen))
	t.Cleanup(func() {
		for _, w := range b.Wrong() {
			t.Error("in the browser: " + w)
		}
	})
	return b
}

func (b *Tab) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *Tab) listen(ev any) {
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

// Wrong is what went wrong so far and was not expected.
func (b *Tab) Wrong() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(b.wrong), func(w string) bool {
		return slices.ContainsFunc(b.expected, func(part string) bool { return strings.Contains(w, part) })
	})
}

// Expect says that something wrong whose report contains this text is what the test is about.
func (b *Tab) Expect(part string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expected = append(b.expected, part)
}

// Context is the tab's, for chromedp itself.
func (b *Tab) Context() context.Context { return b.ctx }

// Do takes steps one after another. A step that met the page while it was changing is taken again.
func (b *Tab) Do(steps ...Step) {
	b.t.Helper()
	for _, step := range steps {
		b.one(step)
	}
}

func (b *Tab) one(step Step) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, stepLimit)
	defer cancel()
	err := chromedp.Do(ctx, step)
	for err != nil && ctx.Err() == nil && (strings.Contains(err.Error(), "Cannot find context") || strings.Contains(err.Error(), "ould not find node")) {
		err = chromedp.Do(ctx, step)
	}
	if err != nil {
		b.t.Fatalf("%v; the page says %s", err, b.Says())
	}
}

// Follow takes steps of which the last leads to another page, and returns when that page is loaded: its style sheets
// too, so that nothing moves any more under the next click. It works with script switched off.
func (b *Tab) Follow(steps ...Step) {
	b.t.Helper()
	last := len(steps) - 1
	b.Do(steps[:last]...)
	ctx, cancel := context.WithTimeout(b.ctx, stepLimit)
	defer cancel()
	if _, err := chromedp.RunResponse(ctx, steps[last]); err != nil {
		b.t.Fatalf("%v; the page says %s", err, b.Says())
	}
}

// Says is where the tab is and the beginning of what the page says, for messages.
func (b *Tab) Says() string {
	text, _ := chromedp.Run(b.ctx, chromedp.Evaluate[string](`location.href + "\n" + document.body.innerText.slice(0, 4000)`))
	return text
}

// Open goes to a path and waits until the page is loaded.
func (b *Tab) Open(path string) {
	b.t.Helper()
	b.one(chromedp.Navigate(b.URL + path))
}

// Await waits until an expression of the page holds (as JavaScript sees it), also over a change of pages.
func (b *Tab) Await(expression string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, stepLimit)
	defer cancel()
	for {
		_, err := chromedp.Run(ctx, chromedp.Poll[bool]("!!("+expression+")", chromedp.WithPollingTimeout(stepLimit)))
		if err == nil {
			return
		}
		if ctx.Err() != nil || !strings.Contains(err.Error(), "-32000") {
			b.t.Fatalf("%s: %v; the page says %s", expression, err, b.Says())
		}
	}
}

// Eval is the value of an expression of the page; promises are awaited.
func Eval[T any](b *Tab, expression string) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, stepLimit)
	defer cancel()
	out, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("%.300s: %v; the page says %s", expression, err, b.Says())
	}
	return out
}

// Size sets the size of the window in pixels.
func (b *Tab) Size(width, height int64) {
	b.t.Helper()
	b.one(chromedp.EmulateViewport(width, height))
}

// Scheme sets the system's colours, "light" or "dark", and asks for no motion.
func (b *Tab) Scheme(name string) {
	b.t.Helper()
	_, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}, {Name: "prefers-reduced-motion", Value: "reduce"}}})
	b.must(err)
}

// WithoutScript switches the script of pages off, from the next page on.
func (b *Tab) WithoutScript() {
	b.t.Helper()
	_, err := chromedp.Call(b.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	b.must(err)
}

// Overflow is by how many pixels the page is wider than the window.
func (b *Tab) Overflow() int {
	b.t.Helper()
	return Eval[int](b, `document.documentElement.scrollWidth - document.documentElement.clientWidth`)
}

// Picture writes what the window shows into a PNG file.
func (b *Tab) Picture(file string) {
	b.t.Helper()
	picture, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	b.must(err)
	b.must(os.WriteFile(file, picture, 0o644))
}
