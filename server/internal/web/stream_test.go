package web_test

import (
	"bufio"
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"assent/approval"
	"assent/fleet"
	"assent/installation"
	"assent/ledger"
)

// listen opens a stream over the network and returns its events one by one: "name data".
func (b *browser) listen(path string) (next func() string) {
	b.s.t.Helper()
	r, err := http.NewRequestWithContext(b.s.t.Context(), http.MethodGet, b.s.URL+path, nil)
	must(b.s.t, err)
	r.Header.Set("Cookie", "assent="+b.cookie)
	res, err := http.DefaultClient.Do(r)
	must(b.s.t, err)
	b.s.t.Cleanup(func() { _ = res.Body.Close() })
	if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "text/event-stream" {
		b.s.t.Fatalf("%s: %d %s", path, res.StatusCode, res.Header.Get("Content-Type"))
	}
	lines := bufio.NewScanner(res.Body)
	return func() string {
		var out []string
		for lines.Scan() {
			if lines.Text() == "" {
				return strings.Join(out, " ")
			}
			_, value, _ := strings.Cut(lines.Text(), ": ")
			out = append(out, value)
		}
		return "closed"
	}
}

// TestStream_TellsWhatHappensAndEndsWithTheSession: the piece comes again only when it is another, and nothing of it
// to whom the update's page would not be shown.
func TestStream_TellsWhatHappensAndEndsWithTheSession(t *testing.T) {
	s := newSite(t)
	s.decide("openssl@3.0.2", approval.Approved)
	b := s.browser(s.tokens["v"])
	next := b.listen("/updates/" + s.update + "/stream")
	if first := next(); !strings.HasPrefix(first, "piece ") || !strings.Contains(first, "assigned") {
		t.Fatalf("first: %s", first)
	}
	s.Group("g-idle", "Idle", fleet.Root) // changes nothing of it
	s.device.Report(s.updateID(), installation.Downloading, "", "")
	if second := next(); !strings.Contains(second, "downloading") || !strings.Contains(second, "web1") {
		t.Errorf("second: %s", second)
	}
	s.Act("server", ledger.OperatorRemove{Name: "root-v"})
	if last := next(); last != "end " {
		t.Errorf("the stream goes on after the person was removed: %s", last)
	}
	if last := next(); last != "closed" {
		t.Errorf("after the end: %s", last)
	}
}

// TestStream_OnePersonOpensNoMoreThanAFew at once.
func TestStream_OnePersonOpensNoMoreThanAFew(t *testing.T) {
	s := newSite(t)
	b := s.browser(s.tokens["v"])
	path := "/updates/" + s.update + "/stream"
	for range 8 {
		b.listen(path)()
	}
	if res := b.get(path); res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("one too many: %d", res.StatusCode)
	}
	if res := s.browser(s.tokens["a"]).get(path + "?once=1"); res.StatusCode != http.StatusOK {
		t.Errorf("another person: %d", res.StatusCode)
	}
}

// TestBrowser_AnUpdatesPageTellsWhatHappensWithoutLoadingAgain in a real browser.
func TestBrowser_AnUpdatesPageTellsWhatHappensWithoutLoadingAgain(t *testing.T) {
	s := newSite(t)
	s.decide("openssl@3.0.2", approval.Approved)
	b := s.chromium(t)
	b.signIn(s.tokens["v"], "/updates/"+s.update)
	js[bool](b, `window.same = true`)
	s.device.Report(s.updateID(), installation.Downloading, "", "")
	b.await(`document.querySelector("#update-live").innerText.includes("downloading") && window.same`)
	b.do(chromedp.Focus("#update-live a"))
	s.device.Report(s.updateID(), installation.Downloaded, "", "")
	s.device.Report(s.updateID(), installation.Installing, "", "")
	js[bool](b, `document.querySelector("#update-live a").blur(); true`)
	b.await(`document.querySelector("#update-live").innerText.includes("installing") && window.same && document.querySelector("#update-live time").dataset.local !== undefined`)
	b.keep("update-live")
}
