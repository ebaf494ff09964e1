package web_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"assent/client"
	"assent/fleet"
)

// TestDevicePackages_AreSearchedSortedPagedAndExported as the device last reported them.
func TestDevicePackages_AreSearchedSortedPagedAndExported(t *testing.T) {
	s := newSite(t)
	for _, name := range []string{"bash", "curl", "zlib1g"} {
		s.device.Has(name, "1.0")
	}
	s.device.CheckIn()
	b := s.browser(s.tokens["V"])
	has(t, expect(t, b.get("/devices/web1"), http.StatusOK), `href="/devices/`+string(s.device.ID)+`/packages">4 installed</a>`)
	path := "/devices/" + string(s.device.ID) + "/packages"
	names := func(query string) string {
		t.Helper()
		var list []client.PackageInfo
		if err := json.Unmarshal([]byte(text(t, b.get(path+".json"+query))), &list); err != nil {
			t.Fatal(err)
		}
		out := mappedNames(list)
		return strings.Join(out, " ")
	}
	for query, want := range map[string]string{"": "bash curl openssl zlib1g", "?sort=-name": "zlib1g openssl curl bash", "?search=SSL": "openssl", "?hold=true": ""} {
		if got := names(query); got != want {
			t.Errorf("%q: %q, want %q", query, got, want)
		}
	}
	page := expect(t, b.get(path+"?limit=2"), http.StatusOK)
	has(t, page, "1–2 of 4 packages")
	has(t, page, "Next page")
	for _, bad := range []string{"?sort=nonsense", "?hold=perhaps", "?limit=x"} {
		expect(t, b.get(path+bad), http.StatusUnprocessableEntity)
	}
	s.Group("g-other", "Elsewhere", fleet.Root)
	other := s.Device("db1", "g-other")
	expect(t, b.get("/devices/"+string(other.ID)+"/packages"), http.StatusNotFound)
	has(t, expect(t, s.browser(s.tokens["v"]).get("/devices/"+string(other.ID)+"/packages"), http.StatusOK), "has not reported")
}

func mappedNames(list []client.PackageInfo) (out []string) {
	for _, p := range list {
		out = append(out, p.Name)
	}
	return out
}
