package web_test

import (
	"strings"
	"testing"

	"assent/approval"
)

// TestDecide_TheImpactSaysWhenAndWhoCannotBeRolledBack before the button is pressed.
func TestDecide_TheImpactSaysWhenAndWhoCannotBeRolledBack(t *testing.T) {
	s := newSite(t)
	b := s.browser(s.tokens["a"])
	page := text(t, b.get("/updates/decide?status=approved&select="+s.update))
	for _, want := range []string{"<dt>When</dt>", "any time", "Install approved updates"} {
		if !strings.Contains(page, want) {
			t.Errorf("an approval: the page lacks %q", want)
		}
	}
	s.decide("openssl@3.0.2", approval.Approved)
	s.device.Install("openssl")
	page = text(t, b.get("/updates/decide?status=declined&select="+s.update))
	if want := `<a href="/updates/` + s.update + `/rollback">1 device cannot be rolled back</a>`; !strings.Contains(page, want) || strings.Contains(page, "<dt>When</dt>") {
		t.Errorf("a decline: the page lacks %q, or says when it installs", want)
	}
}
