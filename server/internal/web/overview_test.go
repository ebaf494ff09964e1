package web_test

import (
	"encoding/json"
	"fmt"
	"html"
	"regexp"
	"strings"
	"testing"

	"assent/approval"
	"assent/catalog"
	"assent/client"
	"assent/wire"
)

// decide makes a decision as the administrator, for all devices.
func (s *site) decide(update string, status approval.Status) {
	s.t.Helper()
	c, err := client.New(client.Config{Server: s.URL, Token: s.tokens["d"]})
	must(s.t, err)
	_, err = c.Decide(s.t.Context(), client.Decide{Updates: []string{update}, Status: status})
	must(s.t, err)
}

// TestOverview_EachNumberIsTheLengthOfTheListThatItOpens offers updates of all sorts and follows the links.
func TestOverview_EachNumberIsTheLengthOfTheListThatItOpens(t *testing.T) {
	s := newSite(t)
	severities := []catalog.Severity{catalog.Critical, catalog.High, catalog.High, catalog.Medium, catalog.Low, "", ""}
	for i, severity := range severities {
		s.device.Offer(fmt.Sprint("pkg", i), "1.0", func(o *wire.Offer) {
			o.Items[0].Severity, o.Items[0].Security = severity, severity != ""
		})
	}
	s.device.CheckIn()
	s.decide("pkg1@1.0", approval.Approved)
	b := s.browser(s.tokens["d"])
	page := text(t, b.get("/"))
	found := regexp.MustCompile(`(?s)<a class="tally[^"]*" href="(/updates\?[^"]+)">\s*<span class="n">([^<]+)</span>`).FindAllStringSubmatch(page, -1)
	sum := 0
	for _, m := range found {
		href := html.UnescapeString(m[1])
		if href == "/updates?status=approved" {
			continue // a part of that list: no filter says what has grown
		}
		var list []json.RawMessage
		if err := json.Unmarshal([]byte(text(t, b.get(strings.Replace(href, "?", ".json?", 1)))), &list); err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(len(list)) != m[2] {
			t.Errorf("the overview says %s, its list %s has %d", m[2], href, len(list))
		}
		sum += len(list)
	}
	if len(found) < 7 || sum < len(severities) {
		t.Errorf("%d numbers found, %d in all: the test looks at too little", len(found), sum)
	}
}

// TestOverview_AcceptedRiskStandsBesideComplianceAndNeverImprovesIt is A4 on the page.
func TestOverview_AcceptedRiskStandsBesideComplianceAndNeverImprovesIt(t *testing.T) {
	s := newSite(t)
	s.device.Offer("curl", "8.0", nil)
	s.device.CheckIn()
	figure := func() string {
		m := regexp.MustCompile(`<p class="figure">([^<]+)</p>`).FindStringSubmatch(text(t, s.browser(s.tokens["v"]).get("/")))
		if m == nil {
			return ""
		}
		return m[1]
	}
	if got := figure(); got != "" {
		t.Errorf("without a decision the figure is %q", got)
	}
	s.decide("openssl@3.0.2", approval.Approved)
	s.device.Install("openssl")
	if got := figure(); got != "100 %" {
		t.Errorf("all installed: %q", got)
	}
	s.decide("curl@8.0", approval.Declined)
	page := text(t, s.browser(s.tokens["v"]).get("/"))
	if got := figure(); got != "50.0 %" || !strings.Contains(page, "<dt>Declined: accepted risk</dt><dd>1</dd>") {
		t.Errorf("with accepted risk: %q", got)
	}
}
