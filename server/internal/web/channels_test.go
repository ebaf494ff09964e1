package web_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

func TestAChannelIsMadeTestedChangedAndDeletedOnItsPages(t *testing.T) {
	got := make(chan string, 10)
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got <- r.Header.Get("webhook-signature")
		if r.URL.Path == "/broken" {
			w.WriteHeader(http.StatusBadGateway)
		}
	}))
	t.Cleanup(hook.Close)
	s := newSite(t)
	b := s.browser(s.tokens["d"])
	form := url.Values{"name": {"ops <b>"}, "kind": {"webhook"}, "address": {hook.URL + "/hook"}, "events": {"halt", "failed"}, "group": {"g-team"}, "digest": {"08:00"}, "zone": {"UTC"},
		"quiet": {"22:00-22:01"}, "freezes": {"12-20 01-06 Christmas\r\n"}}
	body := text(t, b.post("/channels", form))
	secret := regexp.MustCompile(`whsec_[A-Za-z0-9+/=]+`).FindString(strings.ReplaceAll(strings.ReplaceAll(body, "&#43;", "+"), "&#61;", "="))
	id := regexp.MustCompile(`href="/channels/(c[a-z0-9]+)"`).FindStringSubmatch(body)
	if secret == "" || id == nil {
		t.Fatalf("the secret is not shown: %s", body)
	}
	page := text(t, b.get("/channels/"+id[1]))
	for _, want := range []string{"ops &lt;b&gt;", "Christmas", "A rollout was halted", "Team, with all below", "22:00-22:01"} {
		if !strings.Contains(page, want) {
			t.Errorf("%s is not on the page: %s", want, page)
		}
	}
	if strings.Contains(page, secret) || strings.Contains(text(t, b.get("/channels/"+id[1]+"/edit")), secret) {
		t.Error("the secret is shown again")
	}
	if res := b.post("/channels/"+id[1]+"/test", nil); res.StatusCode != http.StatusSeeOther {
		t.Errorf("the test: %d", res.StatusCode)
	}
	if sig := <-got; !strings.HasPrefix(sig, "v1,") {
		t.Errorf("the test is signed %q", sig)
	}
	form.Set("address", hook.URL+"/broken")
	form.Set("freezes", "nonsense")
	if res := b.post("/channels/"+id[1], form); res.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(text(t, res), "Christmas.") {
		t.Errorf("a bad freeze: %d", res.StatusCode)
	}
	form.Del("freezes")
	if res := b.post("/channels/"+id[1], form); res.StatusCode != http.StatusSeeOther {
		t.Fatalf("changing: %d %s", res.StatusCode, text(t, res))
	}
	b.post("/channels/"+id[1]+"/test", nil)
	if page = text(t, b.get("/channels/"+id[1])); !strings.Contains(page, "502 Bad Gateway") || strings.Contains(page, "Christmas") {
		t.Errorf("the failure is not shown: %s", page)
	}
	if list := text(t, b.get("/channels")); !strings.Contains(list, "ops &lt;b&gt;") {
		t.Errorf("it is not in the list: %s", list)
	}
	if res := b.post("/channels/"+id[1]+"/delete", url.Values{"confirm": {"other"}}); res.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("deleted without its name: %d", res.StatusCode)
	}
	if res := b.post("/channels/"+id[1]+"/delete", url.Values{"confirm": {"ops <b>"}}); res.StatusCode != http.StatusSeeOther {
		t.Errorf("deleting: %d", res.StatusCode)
	}
	if res := b.get("/channels/" + id[1]); res.StatusCode != http.StatusNotFound {
		t.Errorf("it is still there: %d", res.StatusCode)
	}
}
