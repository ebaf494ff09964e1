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
	"assent/fleet"
	"assent/installation"
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

// id is the id of an update by its name@version.
func (s *site) id(ref string) catalog.UpdateID {
	s.t.Helper()
	c, err := client.New(client.Config{Server: s.URL, Token: s.tokens["d"]})
	must(s.t, err)
	u, err := c.Update(s.t.Context(), ref, "")
	must(s.t, err)
	return u.ID
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
	for _, pkg := range []string{"pkg1", "pkg2", "pkg3"} {
		s.decide(pkg+"@1.0", approval.Approved)
	}
	s.device.Offer("pkg1", "1.0", func(o *wire.Offer) { // it grows
		extra := o.Items[0]
		extra.Name, extra.SHA256 = "pkg1-extra", wire.Digest([]byte("extra"))
		o.Items = append(o.Items, extra)
	})
	s.device.CheckIn()
	s.device.Report(s.id("pkg2@1.0"), installation.Failed, installation.NoSpace, "full")
	away := s.Device("away", fleet.Root)
	away.Disconnect()
	b := s.browser(s.tokens["d"])
	page := text(t, b.get("/"))
	found := regexp.MustCompile(`(?s)<a class="tally[^"]*" href="(/(?:updates|devices|queue)\?[^"]+)">\s*<span class="n">([^<]+)</span>`).FindAllStringSubmatch(page, -1)
	sum := 0
	for _, m := range found {
		href := html.UnescapeString(m[1])
		var list []json.RawMessage
		if err := json.Unmarshal([]byte(text(t, b.get(strings.Replace(href, "?", ".json?", 1)))), &list); err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(len(list)) != m[2] {
			t.Errorf("the overview says %s, its list %s has %d", m[2], href, len(list))
		}
		sum += len(list)
	}
	if len(found) < 20 || sum < len(severities)+5 {
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
