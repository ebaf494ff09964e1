package web_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"assent/approval"
	"assent/client"
)

// TestTrend_NothingApprovedIsNeverAHundredPercent looks before anything is decided, after a decline and after an approval.
func TestTrend_NothingApprovedIsNeverAHundredPercent(t *testing.T) {
	s := newSite(t)
	b := s.browser(s.tokens["v"])
	if page := text(t, b.get("/overview/trend")); !strings.Contains(page, "There are no figures") {
		t.Error("without a sample the page does not say so")
	}
	s.device.Offer("curl", "8.0", nil)
	s.device.CheckIn()
	s.decide("curl@8.0", approval.Declined)
	s.Sample()
	if page := text(t, b.get("/overview/trend")); !strings.Contains(page, "nothing approved") || strings.Contains(page, "100 %") {
		t.Error("only declined: the page does not say that nothing is approved")
	}
	s.decide("openssl@3.0.2", approval.Approved)
	s.device.Install("openssl")
	s.Sample()
	page := text(t, b.get("/overview/trend"))
	for _, want := range []string{`<td class="text-end">50.0 %</td><td class="text-end">1</td><td class="text-end">1</td><td class="text-end">1</td>`, `data-chart="{`, "under a minute"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	var days []client.TrendDay
	if err := json.Unmarshal([]byte(text(t, b.get("/overview/trend.json"))), &days); err != nil || len(days) != 1 || days[0].Compliance.Risk != 1 {
		t.Errorf("%v, %+v", err, days)
	}
}

// TestBrowser_TheOverviewDrawsItsChartsAndKeepsTheFiguresAsTables in a real browser, with another range by a click.
func TestBrowser_TheOverviewDrawsItsChartsAndKeepsTheFiguresAsTables(t *testing.T) {
	s := newSite(t)
	s.decide("openssl@3.0.2", approval.Approved)
	s.Sample()
	b := s.chromium(t)
	b.signIn(s.tokens["v"], "/")
	b.await(`document.querySelectorAll("#trend .chart canvas").length === 4`)
	b.keep("overview-trend")
	b.do(chromedp.Click(`#trend a.btn:nth-child(3)`))
	b.await(`document.querySelector("#trend a.btn-primary")?.innerText === "a year" && document.querySelectorAll("#trend .chart canvas").length === 4 && location.pathname === "/"`)
	if n := js[int](b, `document.querySelectorAll("#trend table").length`); n != 4 {
		t.Errorf("%d tables of figures", n)
	}
}
