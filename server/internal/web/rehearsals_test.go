package web_test

import (
	"strings"
	"testing"

	"assent/installation"
	"assent/wire"
)

func TestRehearsals_StandOnTheOverviewInTheirListAndWhereTheUpdateIs(t *testing.T) {
	s := newSite(t)
	b := s.browser(s.tokens["d"])
	if page := text(t, b.get("/")); strings.Contains(page, "Rehearsed beforehand") {
		t.Error("nothing was rehearsed, and the overview speaks of it")
	}
	if page := text(t, b.get("/rehearsals")); !strings.Contains(page, "Nothing is known that would fail") {
		t.Error("the empty list says nothing")
	}
	s.approve()
	s.device.Rehearse(wire.Rehearsed{Update: s.updateID(), Cause: installation.NoSpace, Detail: "The file system of /usr is too small <b>.", Kept: []string{"/etc/ssl/openssl.cnf"}})
	for path, words := range map[string][]string{
		"/":                                {"Rehearsed beforehand", "would fail in their next window", `href="/rehearsals"`},
		"/rehearsals":                      {"fail: no space", "too small &lt;b&gt;", "/etc/ssl/openssl.cnf"},
		"/rehearsals?only=kept":            {"/etc/ssl/openssl.cnf"},
		"/devices/web1":                    {"would fail: no space", "0 would install, 1 would fail", "Rehearse now"},
		"/updates/" + string(s.updateID()): {"would fail: no space"},
	} {
		page := text(t, b.get(path))
		for _, w := range words {
			if !strings.Contains(page, w) {
				t.Errorf("%s does not say %q", path, w)
			}
		}
	}
}
